"""
The HTTP client: makes the requests that tasks ask for.

L{Dispatcher} is what mediators use, and makes the requests of L{Agent}.  What goes over
a connection is HTTP/1.1: C{_agent} makes the bytes of a request, C{_connection} writes
them and has one request follow the other, C{_reader} reads the answer, and C{_pool}
keeps connections.  Another version of HTTP would be another C{_connection} with a
reader of its own, to which C{_agent} would have to leave the bytes of the request;
C{_pool} would have to give one connection to several requests, and TLS
(C{_host_tls}) to offer it by ALPN.
"""

from quebert.http._agent import Agent
from quebert.http._host_tls import HostTLS
from quebert.http._limits import Limits
from quebert.http.dispatch import Dispatcher

__all__ = ["Agent", "Dispatcher", "HostTLS", "Limits"]
