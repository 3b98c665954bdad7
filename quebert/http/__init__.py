"""
The HTTP client: makes the requests that tasks ask for.

L{Dispatcher} is what mediators use, and makes the requests of L{Agent}.  What goes over
a connection is HTTP/1.1: C{_agent} makes the bytes of a request, C{_connection} writes
them (those that the socket does not take at once by C{_request_writer}) and has one
request follow the other, C{_reader} reads the answer, and C{_pool} keeps connections.
Another version of HTTP would be another C{_connection} with a reader and a writer of
its own, which would make the bytes of the request instead of C{_agent};
C{_pool} would have to give one connection to several requests (it takes one out of the
idle ones for a request, and C{_writes} keeps one request for each), and its
C{_ConnectionFactory} to offer it by ALPN (Twisted's C{IProtocolNegotiationFactory};
L{HostTLS} need not change; C{Agent._endpoint} wraps TLS around an endpoint).
What stands in the way: C{_pool} makes a connection before the TLS handshake, when
nobody knows the version; C{HTTPExchange.data}, and the head that C{_response} keeps and
parses again, are bytes of HTTP/1.1; and to cancel a request, or to cut an answer,
closes its connection (C{HTTPConnection.abandon}, C{Response}, C{_slow_answers}).
Whether a host may have it would be a field of L{Host<quebert.config.Host>}, as a limit
is.

What changes together:

 - Another limit of connections or answers: L{Limits}; C{_pool}, or for answers
   C{_reader}, C{_response} and C{_slow_answers}; a field of L{Host
   <quebert.config.Host>}, read by C{config/_host.py} and passed on by C{_connections}
   in C{service/_ways}; C{docs/limits.rst}.
 - Another rule of when requests are written, one by one or together: C{_writes}.
 - Another scheme of URLs: C{_URL} and C{_endpoint} in C{_agent}; L{quebert._url};
   C{SCHEMES} in C{guard/_guard}, and C{config/_guard.py}.
 - Trailers: those of an answer are dropped (C{_HeadReader} in C{_response}), and count
   as framing.  A request has none.
 - Headers of the connection, such as C{Trailer} or C{Upgrade}, are refused in a task by
   C{task/_request}, and in a configuration file by C{config/_outside}.
"""

from quebert.http._agent import Agent
from quebert.http._host_tls import HostTLS
from quebert.http._limits import Limits
from quebert.http.dispatch import Dispatcher

__all__ = ["Agent", "Dispatcher", "HostTLS", "Limits"]
