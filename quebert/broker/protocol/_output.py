"""
What is said to one client: gathered during a turn of the reactor, written at its
end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

__all__ = ["CONGESTED", "SWAMPED", "Output"]

#: Bytes that wait for the client to read: beyond, it is congested, ...
CONGESTED = 256 * 2**10
#: ... and beyond this, nothing is read from it either, and no more of what has come.
SWAMPED = 16 * 2**20


@implementer(IPushProducer)
class Output:
    """
    @param transport: what is written to; it can be told to read no more.
    @param relieved: called when the client is congested no longer.
    @ivar congested: whether what is written waits for the client to read: it is
        to get nothing that it has not asked for.
    @ivar wrote: whether anything was written since this was last set to false.
    """

    def __init__(self, transport: Any, relieved: Callable[[], None]) -> None:
        self._transport = transport
        self._relieved = relieved
        self._gathered: list[bytes] = []
        self._size = 0
        self._unread = 0  # bytes since the client was last known to have read all
        self._paused = False
        self._ending = False
        self.congested = False
        self.wrote = True
        transport.registerProducer(self, True)

    @property
    def swamped(self) -> bool:
        """
        Whether so much waits that nothing more is to be asked for.  Once it is less,
        C{relieved} is called.
        """
        return self._size > SWAMPED or (self._paused and self._unread > SWAMPED)

    def gather(self, data: bytes) -> None:
        """
        C{data} is to be said.
        """
        self._gathered.append(data)
        self._size += len(data)
        if self._size > CONGESTED:
            self.congested = True

    def flush(self) -> None:
        """
        Write what was gathered.
        """
        if not self._gathered:
            return
        data, self._gathered, self._size = b"".join(self._gathered), [], 0
        self.wrote = True
        self._unread += len(data)
        self._transport.write(data)
        if self._ending:
            self._transport.loseConnection()
        elif self._paused and self._unread > SWAMPED:
            self._transport.pauseProducing()
        elif self.congested and not self._paused:
            self.resumeProducing()

    def end(self) -> None:
        """
        Close the transport, once all is written.
        """
        if not self._ending:
            self._ending = True
            self._transport.unregisterProducer()  # or it would not be closed
        if not self._gathered:
            self._transport.loseConnection()

    def discard(self) -> None:
        """
        Nobody listens any more.
        """
        self._gathered.clear()

    def pauseProducing(self) -> None:
        """
        The client does not read as fast as we write.
        """
        self.congested = self._paused = True

    def resumeProducing(self) -> None:
        """
        It has read all.
        """
        self.congested = self._paused = False
        if self._unread > SWAMPED:
            self._transport.resumeProducing()
        self._unread = 0
        self._relieved()

    def stopProducing(self) -> None:
        """
        The connection is lost; its protocol does what is to be done.
        """
