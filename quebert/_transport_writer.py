"""
Writing to a transport, in order, and large data in pieces.

A piece is made and written when the transport has sent most of what was written before.
If 3 MiB were written whole, they would be copied twice at once: that takes 3 ms, in
which all else waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.tcp import Connection as TCPConnection
from zope.interface import implementer

__all__ = ["TransportWriter"]


@implementer(IPushProducer)
class TransportWriter:
    """
    What one connection writes.

    @ivar may_send: whether L{write_last} may write into the socket, as it may once
        after each read from it.  Who reads sets this.
    """

    def __init__(self) -> None:
        self.may_send = False
        self._transport: Any = None
        self._tcp: Any = None  # the transport, if it is TCP without TLS
        # Large data, and what follows it; nearly always empty.
        self._waiting: deque[Iterator[bytes]] = deque()
        self._paused = False

    def begin(self, transport: Any) -> None:
        """
        Write to a transport from now on.
        """
        self._transport = transport
        if isinstance(transport, TCPConnection) and not transport.TLS:
            self._tcp = transport

    def write(self, data: bytes) -> None:
        """
        Write data, behind the pieces that are still to be written.
        """
        if self._waiting:
            self._waiting.append(iter((data,)))
        else:
            self._transport.write(data)

    def write_last(self, data: bytes) -> None:
        """
        Write data that nothing follows in this turn of the reactor: straight into the
        socket, unless something waits to be sent before.  The reactor would have to be
        told to look when the socket can be written to, and then to look no more.  What
        else is written in the same turn is sent together, by the reactor.
        """
        tcp = self._tcp
        if not self.may_send or tcp is None or not tcp.connected or self._waiting:
            self.write(data)
            return
        self.may_send, sent = False, 0
        if not (tcp.dataBuffer or tcp._tempDataBuffer):
            try:
                sent = tcp.getHandle().send(data)
            except OSError:  # it is full, or lost, as writing will find out
                sent = 0
        if sent < len(data):
            tcp.write(data[sent:])

    def write_pieces(self, pieces: Iterator[bytes]) -> None:
        """
        Write all C{pieces}, each of which is made when the transport has room.
        """
        self._waiting.append(pieces)
        if len(self._waiting) == 1:
            self._transport.registerProducer(self, True)
            self.resumeProducing()

    def pauseProducing(self) -> None:
        """
        The transport has enough to send.
        """
        self._paused = True

    def resumeProducing(self) -> None:
        """
        It has sent most of it.
        """
        self._paused = False
        while self._waiting and not self._paused:
            piece = next(self._waiting[0], None)
            if piece is None:
                self._waiting.popleft()
            else:
                self._transport.write(piece)
        if not self._waiting:
            self._transport.unregisterProducer()

    def stopProducing(self) -> None:
        """
        The connection is lost.
        """
        self._paused = True
        self._waiting.clear()
