"""
The answers that are read in one turn of the reactor.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.tcp import Connection as TCPConnection
from twisted.python.failure import Failure
from zope.interface import implementer

from quebert._log import Logger

__all__ = ["Reads"]

# Connections that are read in a turn; the others wait until the next one.
_AT_ONCE = 256
_EPOLL: Any = getattr(select, "epoll", None)  # Linux has it
_READABLE = getattr(select, "EPOLLIN", 1)


@implementer(IReadDescriptor)
class Reads:
    """
    Reads what comes over TCP connections: one event of the reactor for all of a turn.

    From an event of the reactor to C{dataReceived}, Twisted makes 13 calls, which is
    3 µs of the CPU time of a task.  So the reactor watches one epoll set (epoll(7)),
    and the connections are in that set.  Such a connection has this object for its
    reactor, as long as all that is to be done is to read.  When the connection has
    ended, has failed, or has to wait until it can be written to, it goes back to the
    real reactor.

    Where there is no epoll, or the reactor watches no file descriptors, all connections
    stay with the reactor.
    """

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._is_possible = _EPOLL is not None and IReactorFDSet.providedBy(reactor)
        self._epoll: Any = None  # while there are connections in it
        self._reading: dict[int, TCPConnection] = {}  # by their file descriptors

    def add(self, tcp: TCPConnection) -> None:
        """
        Read what comes over a connection, from now on.
        """
        if self._is_possible:
            tcp.stopReading()
            tcp.reactor = cast(IReactorFDSet, self)
            tcp.startReading()

    # -- What a connection asks of its reactor

    def addReader(self, tcp: TCPConnection) -> None:
        """
        It is to be read.
        """
        number = tcp.fileno()
        if number in self._reading:
            return
        if self._epoll is None:
            self._epoll = _EPOLL()
            self._reactor.addReader(self)
        self._epoll.register(number, _READABLE)
        self._reading[number] = tcp

    def removeReader(self, tcp: TCPConnection) -> None:
        """
        It is not to be read for now, or is about to be closed.
        """
        number = tcp.fileno()
        if self._reading.pop(number, None) is None:
            return
        self._epoll.unregister(number)
        if not self._reading:
            self._reactor.removeReader(self)
            self._epoll.close()
            self._epoll = None

    def addWriter(self, tcp: TCPConnection) -> None:
        """
        It waits until it can be written to: then nothing is read here, since the
        reactor would not know that there is something to be read before it ends.
        """
        self._give_back(tcp)
        self._reactor.addWriter(tcp)

    def removeWriter(self, tcp: TCPConnection) -> None:
        """
        It waits for that no more.
        """
        self._reactor.removeWriter(tcp)

    def callLater(
        self, seconds: float, call: Callable[..., object], *arguments: Any
    ) -> Any:
        """
        See L{IReactorTime}.
        """
        return self._reactor.callLater(seconds, call, *arguments)

    # -- What the reactor asks

    def fileno(self) -> int:
        """
        The file descriptor of the epoll set; -1 while there is none.
        """
        return -1 if self._epoll is None else int(self._epoll.fileno())

    def logPrefix(self) -> str:
        """
        For the log.
        """
        return "HTTP client"

    def doRead(self) -> None:
        """
        Read what has come.
        """
        for number, event in self._epoll.poll(0, _AT_ONCE):
            tcp: Any = self._reading.get(number)
            if tcp is None:  # another one that was read has ended it, or has paused it
                continue
            if event != _READABLE:
                self._give_back(tcp)
                continue
            try:
                data = tcp.socket.recv(tcp.bufferSize)
            except BlockingIOError:
                continue
            except OSError:
                self._lose(tcp, Failure(CONNECTION_LOST))
                continue
            if not data:
                self._give_back(tcp)
                continue
            try:
                tcp.protocol.dataReceived(data)
            except BaseException:  # as Twisted does
                why = Failure()
                self.log.failure("An answer could not be read", why)
                self._lose(tcp, why)

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor ends, and ends the connections.
        """
        for tcp in list(self._reading.values()):
            self._lose(tcp, reason)

    def _give_back(self, tcp: TCPConnection) -> None:
        """
        Have the reactor deal with a connection from now on.
        """
        is_read = tcp.fileno() in self._reading
        self.removeReader(tcp)
        tcp.reactor = self._reactor
        if is_read:
            tcp.startReading()

    def _lose(self, tcp: TCPConnection, why: Failure) -> None:
        if tcp.connected:  # else it was lost meanwhile
            tcp.connectionLost(why)
