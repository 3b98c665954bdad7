"""
Listening on a TCP port.

Theory of operation.  Where a process may open no more files, Twisted accepts a
connection by a file that it keeps in reserve, and closes it.  In that moment another
thread can take the file, and Twisted does not get it back.  From then on the connection
cannot be accepted, and does not go away.  The reactor tries again in each turn: that
takes a whole processor, and writes 45,000 lines of log a second.  So a port rests when
it could accept nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.tcp import Port

__all__ = ["BACKLOG", "REST", "host_of", "listen"]

#: Connections that may wait to be accepted.  Beyond, their clients try again after a
#: second: a mediator that starts may make hundreds at once.
BACKLOG = 1_024
#: Seconds in which nothing is accepted after nothing could be.
REST = 0.5


def listen(
    reactor: Any, port: int, factory: IProtocolFactory, interface: str = ""
) -> Any:
    """
    A port that listens, as C{reactor.listenTCP} makes it.

    @raise twisted.internet.error.CannotListenError: it cannot.
    """
    listening = reactor.listenTCP(port, factory, BACKLOG, interface=interface)
    if isinstance(listening, Port):
        accept = partial(_accept, reactor, listening, listening.doRead)
        listening.doRead = accept  # type: ignore[method-assign]
    return listening


def _accept(reactor: Any, port: Port, accept: Callable[[], object]) -> None:
    before = port.sessionno
    accept()
    if port.sessionno == before and port.connected:
        port.stopReading()
        reactor.callLater(REST, _go_on, port)


def _go_on(port: Port) -> None:
    if port.connected:
        port.startReading()


def host_of(address: IAddress | None) -> str:
    """
    The host of a client's address; empty for a client on a Unix socket.
    """
    return address.host if isinstance(address, IPv4Address | IPv6Address) else ""
