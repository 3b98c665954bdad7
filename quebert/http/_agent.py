"""
L{Agent}: an HTTP/1.1 client that costs little, for many small requests.

It keeps connections open, reads answers with llhttp, and starts no timer for a
request.  Redirects, cookies and encodings are not its business.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any
from urllib.parse import unquote

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IConsumer, IStreamClientEndpoint
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from quebert import __version__
from quebert._host import wrong_with
from quebert._url import REMEMBERED, SHORT, normal
from quebert.errors import ConfigError, ExecutorError
from quebert.guard import Guard
from quebert.http._exchange import HTTPExchange
from quebert.http._guarded import GuardedEndpoint
from quebert.http._limits import NO_HOSTS, Limits
from quebert.http._names import Names
from quebert.http._pool import Pool
from quebert.http._proxied import ProxiedEndpoint
from quebert.http._request_writer import SMALL
from quebert.http._response import Response

__all__ = ["CONNECT_TIMEOUT", "Agent"]

#: Seconds in which a connection must be made.
CONNECT_TIMEOUT = 30.0

# Nothing that could end the request line, or another line, is let through.
_URL = re.compile(
    r"(?P<origin>(?P<scheme>https?|http\+unix)://"
    r"(?P<authority>\[[0-9a-f:.]+\](?::[0-9]{1,5})?|[\w.~%!$&'()*+,;=-]+(?::[0-9]{0,5})?))"
    r"(?P<target>(?:[/?][!-\"$-~]*)?)(?:#.*)?",
    re.ASCII | re.IGNORECASE,
)
_USER_AGENT = f"quebert/{__version__}"
_PORTS = {"http": 80, "https": 443}
# What is ours to say, or said but once.
_FIELDS_WE_WRITE = frozenset(
    {"content-length", "transfer-encoding", "host", "user-agent"}
)
_DEFAULT_GUARD = Guard()
# These say how long their body is even where there is none (RFC 9110, 8.6).
_WITH_BODY = {"POST", "PUT", "PATCH"}


@implementer(IAgent)
class Agent:
    """
    Makes requests.

    @param policy: makes TLS connections; by default with the platform's
        authorities.
    @param hosts: the limits of some hosts, by C{"host"} or C{"host:port"} in lower
        case, instead of C{limits}; but C{connections} are counted over all hosts.
    @param guard: permits or refuses each connection.
    @param names: looks up hosts.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        policy: IPolicyForHTTPS | None = None,
        limits: Limits | None = None,
        hosts: Mapping[str, Limits] = NO_HOSTS,
        connectTimeout: float = CONNECT_TIMEOUT,
        guard: Guard = _DEFAULT_GUARD,
        names: Names | None = None,
    ) -> None:
        self._reactor = reactor
        self._policy = policy
        self._connect_timeout = connectTimeout
        self._names = names or Names(reactor, connectTimeout)
        self._pool = Pool(reactor, limits or Limits(), hosts)
        self._guard = guard
        self._origins = self._pool.origins_of(guard)

    def guarded(self, guard: Guard) -> Agent:
        """
        The same with another guard.  No connection that was made under one guard is
        used under another.  So C{Limits.connections} counts those of all guards, and
        the limits of each origin hold for each guard.
        """
        other = copy.copy(self)
        other._guard = guard
        other._origins = self._pool.origins_of(guard)
        return other

    def change_limits(self, limits: Limits, hosts: Mapping[str, Limits]) -> None:
        """
        Have other limits for requests from now on.
        """
        self._pool.change(limits, hosts)

    def send(
        self,
        method: str,
        url: str,
        fields: Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
        sign: Callable[[], Mapping[str, str]] | None = None,
    ) -> Deferred[Response]:
        """
        Make a request whose body is at hand.

        @param url: absolute, in ASCII; C{http+unix://%2Frun%2Fapp.sock/path}
            for a server at a Unix socket.
        @param fields: of the header, beside the host and the length.  Who
            makes the request is said, too, unless they do.
        @param sign: gives the last fields of the header.  It is called as the request
            is written, which may have waited for a connection, and for the end of a
            turn of the reactor.  It must not raise an exception, nor make or cancel
            requests; names and values must be ASCII without line breaks.
        @return: fires with the L{Response} as soon as there is its head.
            Fails with L{ExecutorError<quebert.errors.ExecutorError>}, of which
            L{Forbidden<quebert.errors.Forbidden>} is the guard's.  Cancelling it
            closes the connection.
        """
        parts = _remembered_parts(url) if len(url) <= SHORT else _parts_of(url)
        if parts is None:
            why = "it is no valid http:// or https:// URL"
            return fail(ExecutorError(f"the URL cannot be requested: {why}"))
        name, scheme, authority, target = parts
        host = "localhost" if scheme == "http+unix" else authority
        size = len(body) if body else 0
        has_body = body is not None or method in _WITH_BODY
        head = _head(method, target, host, fields, size if has_body else None)
        if head is None:
            return fail(ExecutorError("the method or a header has a line break"))
        data = head.encode("utf-8", "surrogateescape")
        large = body if body and size > SMALL else b""
        joined = b"" if large else body or b""
        if sign is None:
            data, finish = data + joined, None
        else:
            finish = partial(_signed, data, sign, joined)
        exchange = HTTPExchange(data, method == "HEAD", finish, large)
        origin = self._origins.get(name)
        if origin is None:  # or known by another spelling
            name = _name_of(name)
            origin = self._origins.get(name)
        if origin is None:
            try:
                endpoint = self._endpoint(scheme.lower(), authority)
            except ExecutorError as e:
                return fail(e)
            except ConfigError as e:
                return fail(ExecutorError(f"TLS to {authority} cannot be used: {e}"))
            origin = self._pool.add(self._origins, name, endpoint)
        if not origin.start(exchange):
            origin.wait(exchange)
        return exchange.answered

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        The same as C{IAgent} has it.  The body is collected before it is sent.
        """
        fields = [
            (_text(name), _text(value))
            for name, values in (headers or Headers()).getAllRawHeaders()
            for value in values
        ]
        coroutine = self._collected_and_sent(
            _text(method), _text(uri), fields, bodyProducer
        )
        return Deferred.fromCoroutine(coroutine)

    async def _collected_and_sent(
        self,
        method: str,
        url: str,
        fields: list[tuple[str, str]],
        producer: IBodyProducer | None,
    ) -> IResponse:
        if producer is None:
            return await self.send(method, url, fields)
        body = _Collector()
        await producer.startProducing(body)
        return await self.send(method, url, fields, b"".join(body.pieces))

    def _endpoint(self, scheme: str, authority: str) -> IStreamClientEndpoint:
        """
        What leads to an origin.

        @raise Forbidden: the guard refuses the origin.
        @raise ExecutorError: nothing can lead there.
        """
        timeout = self._connect_timeout
        if scheme == "http+unix":
            self._guard.check(scheme, "", None)
            path = unquote(authority)
            return UNIXClientEndpoint(self._reactor, path, round(timeout))
        host, port = _host_and_port(authority, _PORTS[scheme])
        if why := wrong_with(host, scheme == "https"):
            raise ExecutorError(f"the URL cannot be requested: {why}")
        host = host.strip("[]")
        self._guard.check(scheme, host, port)
        kind = GuardedEndpoint if self._guard.proxy is None else ProxiedEndpoint
        plain = kind(self._reactor, self._names, self._guard, host, port, timeout)
        if scheme == "http":
            return plain
        policy = self._policy or BrowserLikePolicyForHTTPS()
        return wrapClientTLS(policy.creatorForNetloc(host.encode(), port), plain)


def _parts_of(url: str) -> tuple[str, str, str, str] | None:
    """
    Origin, scheme, authority, and target of a URL; C{None} of one that is not valid.
    """
    parts = _URL.fullmatch(url)
    return None if parts is None else (parts[1], parts[2], parts[3], parts[4])


_remembered_parts = lru_cache(REMEMBERED)(_parts_of)


def _name_of(origin: str) -> str:
    """
    An origin in one of its spellings, so that all of them share its limits.
    """
    return normal(origin) if origin[:5].lower() != "http+" else origin


def _head(
    method: str,
    target: str,
    host: str,
    fields: Iterable[tuple[str, str]],
    length: int | None,
) -> str | None:
    """
    The head of a request, or C{None} where something in it would break it.
    """
    user_agent, lines, number = _USER_AGENT, "", 4
    for name, value in fields:
        kind = name.lower()
        if kind not in _FIELDS_WE_WRITE:
            lines += f"{name}: {value}\r\n"
            number += 1
        elif kind == "host":
            host = value
        elif kind == "user-agent":
            user_agent = value
    if length is not None:
        lines += f"Content-Length: {length}\r\n"
        number += 1
    slash = "" if target[:1] == "/" else "/"
    head = (
        f"{method} {slash}{target} HTTP/1.1\r\n"
        f"Host: {host}\r\nUser-Agent: {user_agent}\r\n{lines}\r\n"
    )
    return head if number == head.count("\n") == head.count("\r") else None


def _signed(head: bytes, sign: Callable[[], Mapping[str, str]], body: bytes) -> bytes:
    """
    A request, with some more fields at the end of its head.
    """
    lines = "".join(f"{name}: {value}\r\n" for name, value in sign().items())
    return b"".join((head[:-2], lines.encode("ascii"), b"\r\n", body))


def _host_and_port(authority: str, default: int) -> tuple[str, int]:
    if authority.endswith("]"):
        return authority, default
    host, colon, port = authority.rpartition(":")
    if not colon:
        return authority, default
    return host, int(port or default)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


@implementer(IConsumer)
class _Collector:
    """
    Takes a body.
    """

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self._producer: Any = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Take from C{producer} what it has.
        """
        self._producer = producer
        while not streaming and self._producer is not None:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """
        That was all.
        """
        self._producer = None

    def write(self, data: bytes) -> None:
        """
        Take some.
        """
        self.pieces.append(data)
