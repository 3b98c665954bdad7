"""
Heartbeats (AMQP 0-9-1, section 4.2.7).
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

__all__ = ["Heartbeat"]

#: Half intervals of silence after which the peer is given up: two intervals.
SILENT_BEATS = 4


class Heartbeat:
    """
    @param beat: called each half interval, to write something if nothing else was.
    @param dead: called when nothing was heard for two intervals.
    @ivar heard: to be set when anything comes.
    """

    def __init__(
        self, clock: IReactorTime, beat: Callable[[], None], dead: Callable[[], None]
    ) -> None:
        self._send = beat
        self._dead = dead
        self._silent = 0
        self._loop = LoopingCall(self._beat)
        self._loop.clock = clock
        self.heard = True

    def start(self, interval: float) -> None:
        """
        Begin.

        @param interval: seconds; with 0 there are no heartbeats.
        """
        if interval:
            self._loop.start(interval / 2, now=False)

    def stop(self) -> None:
        """
        End; it is fine if it has not begun.
        """
        if self._loop.running:
            self._loop.stop()

    def _beat(self) -> None:
        self._silent = 0 if self.heard else self._silent + 1
        self.heard = False
        if self._silent >= SILENT_BEATS:
            self._dead()
        else:
            self._send()
