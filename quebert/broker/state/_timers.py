"""
What is to be done at its time.  Pure: the time is told.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import attrs

__all__ = ["Timer", "Timers"]

#: Timers that may be there, cancelled or not, before any is forgotten.
FEWEST = 1_000


@attrs.define(order=False, eq=False)
class Timer:
    """
    Something that is to be done.

    @ivar time: when, in seconds of the epoch.
    """

    time: float
    _call: Callable[[], None] | None

    def cancel(self) -> None:
        """
        It is not to be done any more.
        """
        self._call = None

    @property
    def cancelled(self) -> bool:
        """
        Whether nothing is left to be done.
        """
        return self._call is None

    def fire(self) -> None:
        """
        Do it, once.
        """
        call, self._call = self._call, None
        if call is not None:
            call()


class Timers:
    """
    Calls by their times.

    @param now: the time at which it begins, in seconds of the epoch.
    @ivar now: what time it is taken to be.
    @ivar ahead: by how many seconds the time of day is ahead of it, since somebody has
        set that.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.ahead = 0.0
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._sweep_at = FEWEST

    def at(self, time: float, call: Callable[[], None]) -> Timer:
        """
        C{call} is to be called at C{time}.
        """
        timer = Timer(time, call)
        if len(self._heap) >= self._sweep_at:
            self._sweep()
        heapq.heappush(self._heap, (time, next(self._numbers), timer))
        return timer

    def _sweep(self) -> None:
        """
        Forget what was cancelled: its time may be years ahead.
        """
        self._heap = [each for each in self._heap if not each[2].cancelled]
        heapq.heapify(self._heap)
        self._sweep_at = max(FEWEST, 2 * len(self._heap))

    @property
    def next(self) -> float | None:
        """
        When there is something to be done.
        """
        while self._heap and self._heap[0][2].cancelled:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def move_to(self, now: float) -> None:
        """
        It is C{now}: do what is due, in its order, each at its own time.
        """
        while (time := self.next) is not None and time <= now:
            self.now = max(self.now, time)
            heapq.heappop(self._heap)[2].fire()
        self.now = now
