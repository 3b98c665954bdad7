"""
L{GuardedEndpoint}: the one way from a host and a port to a connection.

Theory of operation: a name is looked up once for a connection; the guard judges each
address that was found; the addresses that it permits are dialled as they are, and
nothing is looked up again.  So neither a second answer of the DNS, nor another
attempt, nor a redirect, nor one of several addresses leads past the guard.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any

from twisted.internet import address as addresses_of_twisted
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
)
from twisted.internet.interfaces import (
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IStreamClientEndpoint,
)
from zope.interface import implementer

from quebert.errors import Forbidden
from quebert.guard import Address, Guard, faces
from quebert.http._names import Names

__all__ = ["GuardedEndpoint"]


@implementer(IStreamClientEndpoint)
class GuardedEndpoint:
    """
    Connects to those addresses of a host that a guard permits, to several of them as
    C{HostnameEndpoint} does ("happy eyeballs", RFC 8305).

    @param timeout: seconds for each connection.
    """

    def __init__(
        self,
        reactor: Any,
        names: Names,
        guard: Guard,
        host: str,
        port: int,
        timeout: float,
    ) -> None:
        self._reactor = reactor
        self._names = names
        self._guard = guard
        self._host = host
        self._port = port
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """
        Connect; fails with L{Forbidden} where the guard refuses that.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> Any:
        permitted = await self._permitted()
        return await self._dialling(permitted).connect(factory)

    async def _permitted(self) -> list[Address]:
        found = await self._names.addresses(self._host)
        own: set[Address] = set()
        for host in self._guard.own_hosts(self._port):
            own |= _with_neighbours(await self._names.addresses(host), found)
        permits = self._guard.permits
        ours = [a for a in found if permits(a, self._host, self._port, own)]
        if not ours:
            raise Forbidden("the guard refuses the address of the host")
        return ours

    def _dialling(self, permitted: list[Address]) -> IStreamClientEndpoint:
        reactor, port, timeout = self._reactor, self._port, self._timeout
        if len(permitted) > 1:
            pinned = _Pinned(reactor, permitted)
            return HostnameEndpoint(pinned, "pinned.invalid", port, timeout)
        (address,) = permitted
        if isinstance(address, IPv4Address):
            return TCP4ClientEndpoint(reactor, str(address), port, timeout)
        return TCP6ClientEndpoint(reactor, str(address), port, timeout)


@implementer(IReactorPluggableNameResolver)
class _Pinned:
    """
    A reactor, as far as C{HostnameEndpoint} needs it, whose resolver knows one answer.
    """

    def __init__(self, reactor: Any, answer: list[Address]) -> None:
        self.connectTCP = reactor.connectTCP
        self.callLater = reactor.callLater
        self.seconds = reactor.seconds
        self.nameResolver = self
        self._answer = answer

    def installNameResolver(self, resolver: Any) -> Any:
        """
        There is to be no other resolver.
        """
        raise NotImplementedError

    def resolveHostName(
        self, receiver: Any, hostName: str, portNumber: int = 0, *_: Any
    ) -> Any:
        """
        Tell the receiver the answer.
        """
        receiver.resolutionBegan(None)
        for each in self._answer:
            kind = f"IPv{each.version}Address"
            address = getattr(addresses_of_twisted, kind)
            receiver.addressResolved(address("TCP", str(each), portNumber))
        receiver.resolutionComplete()


def _with_neighbours(own: Iterable[Address], found: Iterable[Address]) -> set[Address]:
    """
    The addresses C{own}; if this machine has one of them, also those of C{found} that
    it has: what listens at one of its addresses may listen at all.
    """
    mine = {face for address in own for face in faces(address)}
    if any(map(_is_here, mine)):
        mine |= {f for a in found for f in faces(a) if _is_here(f)}
    return mine


def _is_here(address: Address) -> bool:
    """
    Whether this machine has an address, so that a socket can be bound to it.
    """
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True
