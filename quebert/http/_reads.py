"""
The answers that are read in one turn of the reactor.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.tcp import Connection as TCPConnection
from twisted.python.failure import Failure
from zope.interface import implementer

from quebert._listening import host_of
from quebert._log import Logger

__all__ = ["Reads"]

# Connections that are read in a turn; the others wait until the next one.
_AT_ONCE = 256
_EPOLL: Any = getattr(select, "epoll", None)  # Linux has it
_READABLE = getattr(select, "EPOLLIN", 1)


@implementer(IReadDescriptor)
class Reads:
    """
    Reads what comes over connections: one event of the reactor for all of a turn.

    From an event of the reactor to C{dataReceived}, Twisted makes 13 calls, which is
    3 µs of the CPU time of a task.  So the reactor watches one epoll set (epoll(7)),
    and the connections are in that set.  The attribute C{reactor} of such a connection
    is this object, as long as the connection is only read.  A connection that waits
    until it can be written to goes back to the reactor for good.

    Where there is no epoll, or the reactor watches no file descriptors, all connections
    stay with the reactor.
    """

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._uses_epoll = _EPOLL is not None and IReactorFDSet.providedBy(reactor)
        self._epoll: Any = None  # until there is a connection
        self._reading: dict[int, TCPConnection] = {}  # by their file descriptors

    def add(self, tcp: TCPConnection) -> None:
        """
        Read what comes over a connection, TCP or Unix, from now on.
        """
        if not self._uses_epoll:
            return
        if self._epoll is None:
            try:
                self._epoll = _EPOLL()
            except OSError:  # too many files are open: the reactor reads this one
                return
        tcp.stopReading()
        tcp.reactor = cast(IReactorFDSet, self)
        tcp.startReading()

    # -- What a connection asks of its reactor

    def addReader(self, tcp: TCPConnection) -> None:
        """
        Watch a connection for reading.
        """
        fd = tcp.fileno()
        if self._reading.get(fd) is tcp:
            return
        try:
            self._epoll.register(fd, _READABLE)
            if not self._reading:
                self._reactor.addReader(self)
        except OSError:  # the system watches too many: the reactor may tell so
            with suppress(OSError):
                self._epoll.unregister(fd)
            tcp.reactor = self._reactor
            tcp.startReading()
        else:
            self._reading[fd] = tcp

    def removeReader(self, tcp: TCPConnection) -> None:
        """
        Watch a connection for reading no more.
        """
        fd = tcp.fileno()
        if self._reading.get(fd) is not tcp:
            return
        del self._reading[fd]
        self._epoll.unregister(fd)
        if not self._reading:
            self._reactor.removeReader(self)

    def addWriter(self, tcp: TCPConnection) -> None:
        """
        Have the reactor watch a connection for writing, and for reading, too: a reactor
        that watches it for writing alone would take a hang-up for its end, and leave
        what has come unread.
        """
        is_read = self._reading.get(tcp.fileno()) is tcp
        self.removeReader(tcp)
        tcp.reactor = self._reactor
        if is_read:
            tcp.startReading()
        tcp.startWriting()

    def removeWriter(self, tcp: TCPConnection) -> None:
        """
        Watch a connection for writing no more.
        """
        self._reactor.removeWriter(tcp)

    def callLater(
        self, seconds: float, call: Callable[..., object], *arguments: Any
    ) -> Any:
        """
        As C{IReactorTime} has it.
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
        Read what has come, and find out what has ended, as the reactor does.
        """
        for fd, event in self._epoll.poll(0, _AT_ONCE):
            tcp: Any = self._reading.get(fd)
            if tcp is None:  # what was read of another one has closed or paused it
                continue
            try:
                data = tcp.socket.recv(tcp.bufferSize) if event & _READABLE else b""
            except BlockingIOError:
                continue
            except OSError:
                self._lose(tcp, Failure(CONNECTION_LOST))
                continue
            if not data:
                self._lose(tcp, Failure(CONNECTION_DONE))
                continue
            try:
                tcp.protocol.dataReceived(data)
            except BaseException:  # as Twisted does
                why = Failure()
                self.log.failure("What came from {host} failed", why, host=_host(tcp))
                self._lose(tcp, why)

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor ends, or can watch the epoll set no more.
        """
        for tcp in list(self._reading.values()):
            self._lose(tcp, reason)

    def _lose(self, tcp: TCPConnection, why: Failure) -> None:
        """
        Tell that a connection is lost.  Whatever that does, others go on.
        """
        self.removeReader(tcp)
        try:
            if tcp.connected:  # else it was lost meanwhile
                tcp.connectionLost(why)
        except BaseException:  # as Twisted does
            host = _host(tcp)
            self.log.failure("The end of a connection to {host} failed", host=host)


def _host(tcp: Any) -> str:
    """
    Where a connection leads to, for the log.
    """
    return host_of(tcp.getPeer()) or "a Unix socket"
