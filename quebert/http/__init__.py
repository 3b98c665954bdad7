"""
The HTTP client: makes the requests that tasks ask for.

L{Dispatcher} is what mediators use, and makes the requests of L{Agent}.  What goes over
a connection is HTTP/1.1: C{_agent} makes the bytes of a request, C{_connection} writes
them (those that the socket does not take at once by C{_request_writer}) and has one
request follow the other, C{_reader} reads the answer, and C{_pool} keeps connections.

To add a version of HTTP, begin in C{_pool}, which gives a connection one request at a
time: it takes a connection out of the idle ones for a request, and C{_writes} keeps one
request for each.  Then write another C{_connection}, with a reader and a writer of its
own.  The writer makes the bytes of a request, which C{_agent} makes now.
C{_ConnectionFactory} in C{_pool} offers the version by ALPN (Twisted's
C{IProtocolNegotiationFactory}), for which TLS asks that factory: L{HostTLS} and
C{Agent._endpoint} need no change.  A field of L{Host<quebert.config.Host>} would say
whether a host may have it.

What stands in the way of it: C{_pool} makes an C{HTTPConnection} before the TLS
handshake, when nobody knows the version.  C{HTTPExchange.data}, and the head that
C{_response} keeps and parses again, are bytes of HTTP/1.1.  To cancel a request, or to
cut an answer, closes its connection (C{HTTPConnection.abandon}, C{Response},
C{_slow_answers}).

What changes together:

 - Another limit of connections or answers: L{Limits}; C{_pool}; for answers
   C{_reader}, C{_response}, or C{_slow_answers}, to which C{body_begins} in C{_pool}
   passes them on; a field of L{Host
   <quebert.config.Host>}, read by C{config/_host.py} and passed on by C{_connections}
   in C{service/_ways}; C{docs/limits.rst}.
 - How long it may take to connect: C{Agent._endpoint}, which gives it to each endpoint.
   An origin keeps its endpoint until it has no connection any more, or limits change.
 - Another way to a host, such as another kind of proxy: an endpoint like those in
   C{_guarded} and C{_proxied}; C{Agent._endpoint}, which chooses one; C{Guard.proxy}
   and C{Place.of_proxy} (L{quebert.guard}); C{config/_guard}; C{docs/security.rst},
   C{docs/configuration.rst} and C{examples/quebert.toml}.
 - Another order in which the addresses of a host are tried:
   C{GuardedEndpoint._permitted} in C{_guarded}; C{_names} keeps the first 16 of the
   resolver.
 - Another rule of when a connection is kept, used again or closed, and for how long it
   is kept idle: C{_OriginConnections.released} in C{_pool}.  C{_idle} closes each at
   the time that was set there.
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
