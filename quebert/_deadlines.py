"""
Many time limits on one timer.

A reactor's own timers cost microseconds each, and nearly all of ours are for
something that ends in time.  Knows not what it limits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert._log import Logger

__all__ = ["Deadlines"]

# Seconds at least between two looks at what is late: however many limits there
# are, looking at them all takes but a small part of the time.
_SPACING = 0.1

T = TypeVar("T")


class Deadlines(Generic[T]):
    """
    When what is under way is too late.  Nothing is called where nothing is
    under way: then there is no timer, either.

    @param clock: gives what keeps the time, when it is needed.
    @param late: called, once, with each thing that has not ended in its time,
        or up to a tenth of a second after it.
    """

    log = Logger()

    def __init__(
        self, clock: Callable[[], IReactorTime], late: Callable[[T], object]
    ) -> None:
        self._given = clock
        self._late = late
        self._ends: dict[T, float] = {}
        self._clock: IReactorTime | None = None  # once it was needed
        self._timer: IDelayedCall | None = None
        self._looked_at = float("-inf")
        self._next_look = float("inf")

    def begin(self, thing: T, seconds: float) -> None:
        """
        C{thing}, which must be hashable, has so long from now on.
        """
        clock = self._clock
        if clock is None:
            clock = self._clock = self._given()
        end = clock.seconds() + seconds
        self._ends[thing] = end
        if end < self._next_look:
            self._look_at(end, clock)

    def end(self, thing: T) -> None:
        """
        It has ended, in time or not.
        """
        self._ends.pop(thing, None)
        if not self._ends and self._timer is not None:
            self._timer.cancel()
            self._timer, self._next_look = None, float("inf")

    def _look_at(self, when: float, clock: IReactorTime) -> None:
        if self._timer is not None:
            self._timer.cancel()
        now = clock.seconds()
        # A clock may be set back.
        when = max(when, min(self._looked_at, now) + _SPACING)
        self._next_look = when
        self._timer = clock.callLater(max(0.0, when - now), self._look, clock)

    def _look(self, clock: IReactorTime) -> None:
        self._timer, self._next_look = None, float("inf")
        now = self._looked_at = clock.seconds()
        for thing in [each for each, end in self._ends.items() if end <= now]:
            if self._ends.pop(thing, None) is not None:  # not ended just now
                self._tell(thing)
        if self._ends:
            earliest = min(self._ends.values())
            if earliest < self._next_look:
                self._look_at(earliest, clock)

    def _tell(self, thing: T) -> None:
        try:
            self._late(thing)
        except Exception:
            self.log.failure("{thing} could not be ended in its time", thing=thing)
