"""
The HTTP edge: making the requests that tasks ask for.
"""

from quebert.http._agent import Agent
from quebert.http._host_tls import HostTLS
from quebert.http._limits import Limits
from quebert.http.dispatch import Dispatcher

__all__ = ["Agent", "Dispatcher", "HostTLS", "Limits"]
