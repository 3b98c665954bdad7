"""
L{ProxiedEndpoint}: a way to a host through an HTTP proxy, which looks up and judges
the names of hosts in the guard's place.

The proxy opens a tunnel (C{CONNECT}: RFC 9110, section 9.3.6), for C{http}, too, so
that whatever uses the endpoint does not see the difference.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from quebert.errors import ExecutorError, Forbidden
from quebert.guard import Guard, parsed
from quebert.http._guarded import GuardedEndpoint

__all__ = ["ProxiedEndpoint"]

# Bytes of the head of a proxy's answer.
_HEAD_LIMIT = 16_384
_STATUS = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})\b")
# What Smokescreen adds to its status 407, which means "log in" elsewhere.
_DENIED = b"\nx-smokescreen-error:"


class ProxiedEndpoint(GuardedEndpoint):
    """
    Has the proxy of a guard connect to a host.  The guard judges addresses in URLs;
    names are for the proxy to judge.  The connection to the proxy may take C{timeout}
    seconds, and then its answer as many.
    """

    async def _connect(self, factory: IProtocolFactory) -> Any:
        address, own = parsed(self._host), self._guard.own_addresses(self._port)
        permits = self._guard.permits
        if address is not None and not permits(address, self._host, self._port, own):
            raise Forbidden("the guard refuses the address of the host")
        host = f"[{self._host}]" if ":" in self._host else self._host
        tunnel = _Tunnel(f"{host}:{self._port}", factory)
        await self._endpoint_of_proxy().connect(Factory.forProtocol(lambda: tunnel))
        try:
            return await tunnel.opened.addTimeout(self._timeout, self._reactor)
        except TimeoutError:
            text = f"the proxy did not answer in {self._timeout:g} s"
            raise ExecutorError(text) from None

    def _endpoint_of_proxy(self) -> GuardedEndpoint:
        proxy = self._guard.proxy
        assert proxy is not None
        assert proxy.port is not None
        allowed = Guard(allow=[proxy])  # the operator's, wherever it is
        return GuardedEndpoint(
            self._reactor, self._names, allowed, proxy.host, proxy.port, self._timeout
        )


class _Tunnel(Protocol):
    """
    Asks for a tunnel; then another protocol has the connection.

    @ivar opened: fires with that protocol.
    """

    def __init__(self, authority: str, factory: IProtocolFactory) -> None:
        self.opened: Deferred[Any] = Deferred(self._given_up)
        self._authority = authority
        self._factory = factory
        self._head = b""
        self._inner: Any = None

    def connectionMade(self) -> None:
        head = f"CONNECT {self._authority} HTTP/1.1\r\nHost: {self._authority}\r\n\r\n"
        transport: Any = self.transport
        transport.write(head.encode())

    def dataReceived(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.dataReceived(data)
        elif not self.opened.called:
            self._read(data)

    def _read(self, data: bytes) -> None:
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end and len(self._head) <= _HEAD_LIMIT:
            return
        status = _STATUS.match(head) if end else None
        if status is None:
            self._fail(ExecutorError("the proxy's answer is not HTTP"))
        elif status[1].startswith(b"2"):
            self._open(rest)
        elif status[1] == b"403" or _DENIED in head.lower():
            self._fail(Forbidden("the proxy refuses the host"))
        else:
            self._fail(ExecutorError(f"the proxy answered {status[1].decode()}"))

    def _open(self, rest: bytes) -> None:
        transport: Any = self.transport
        inner: Any = self._factory.buildProtocol(transport.getPeer())
        self._inner, self._head = inner, b""
        inner.makeConnection(transport)
        if rest:
            inner.dataReceived(rest)
        self.opened.callback(inner)

    def _fail(self, error: ExecutorError) -> None:
        transport: Any = self.transport
        transport.abortConnection()
        self.opened.errback(error)

    def _given_up(self, opened: Deferred[Any]) -> None:
        transport: Any = self.transport
        transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif not self.opened.called:
            self.opened.errback(ExecutorError("the proxy closed the connection"))
