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
from zope.interface import implementer

__all__ = ["TransportWriter"]


@implementer(IPushProducer)
class TransportWriter:
    """
    What one connection writes.
    """

    def __init__(self) -> None:
        self._transport: Any = None
        # Large data, and what follows it; nearly always empty.
        self._waiting: deque[Iterator[bytes]] = deque()
        self._paused = False

    def begin(self, transport: Any) -> None:
        """
        Write to a transport from now on.
        """
        self._transport = transport

    def write(self, data: bytes) -> None:
        """
        Write data, behind the pieces that are still to be written.
        """
        if self._waiting:
            self._waiting.append(iter((data,)))
        else:
            self._transport.write(data)

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
