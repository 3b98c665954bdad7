"""
The HTTP client: makes the requests that tasks ask for.

L{Dispatcher} is what mediators use, and makes the requests of L{Agent}.  What goes over
a connection is HTTP/1.1: C{_request_writer} writes it, C{_reader} reads it,
C{_connection} has one request follow the other, and C{_pool} keeps
connections.  Another version of HTTP would be another C{_connection}, with a writer and
a reader of its own; C{_pool} would have to give one connection to several requests.
"""

from quebert.http._agent import Agent
from quebert.http._host_tls import HostTLS
from quebert.http._limits import Limits
from quebert.http.dispatch import Dispatcher

__all__ = ["Agent", "Dispatcher", "HostTLS", "Limits"]
