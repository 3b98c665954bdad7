"""
Many time limits on one timer.

A reactor's own timers cost microseconds each, and nearly all of ours are for
something that ends in time.  Nothing here knows what is limited; when a task expires is
told by C{task/_times}.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert._log import Logger
from quebert._turn import EndOfTurn
from quebert.clock import stopwatch_of

__all__ = ["Deadlines"]

# Seconds at least between two looks at what is late: however many limits there
# are, looking at them all takes but a small part of the time.
_SPACING = 0.1
# The part of the time that may go by in telling what is late, beside one in each turn.
_PART = 0.1
_NEVER = float("inf")
_NOW = float("-inf")

T = TypeVar("T")


class Deadlines(Generic[T]):
    """
    Calls C{late} with each thing whose time is over.  While nothing is under way, there
    is no timer.

    @param clock: gives what keeps the time, when it is needed.
    @param late: called, once, with each thing that has not ended in its time,
        or up to a tenth of a second after it, and later where many are late at once.
        Each call may take a while, in which other events wait: in a turn of the reactor
        there is one, and more only where they take a tenth of the time that the turn
        before took.  The last of 4,000 was called after 2 s, at 50 µs a call.
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
        self._looked_at = _NOW
        self._told_at = _NOW
        self._next_look = _NEVER
        self._overdue: deque[T] = deque()  # as of the last look
        self._turn: EndOfTurn  # in which the next one is told
        self._seconds: Callable[[], float]

    def begin(self, thing: T, seconds: float) -> None:
        """
        C{thing}, which must be hashable, has so long from now on.
        """
        clock = self._clock
        if clock is None:
            clock = self._clock = self._given()
            self._seconds = stopwatch_of(clock)
            self._turn = EndOfTurn(clock, partial(self._go_on, clock))
        end = self._seconds() + seconds
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
            self._timer, self._next_look = None, _NEVER

    def _look_at(self, when: float, clock: IReactorTime) -> None:
        if self._timer is not None:
            self._timer.cancel()
        now = self._seconds()
        # A clock may be set back.
        when = max(when, min(self._looked_at, now) + _SPACING)
        self._next_look = when
        self._timer = clock.callLater(max(0.0, when - now), self._look, clock)

    def _look(self, clock: IReactorTime) -> None:
        self._timer, self._next_look = None, _NOW
        now = self._looked_at = self._told_at = self._seconds()
        self._overdue.extend(each for each, end in self._ends.items() if end <= now)
        self._go_on(clock)

    def _go_on(self, clock: IReactorTime) -> None:
        """
        Tell some of those that are late; when all are told, wait for the next look.
        """
        overdue, ends = self._overdue, self._ends
        if not overdue:
            self._next_look = _NEVER
            if ends:
                self._look_at(min(ends.values()), clock)
            return
        self._turn.ask()
        now = self._seconds()
        until = now + _PART * (now - self._told_at)
        while overdue:
            thing = overdue.popleft()
            # Unless it has ended since the look, or has begun again.
            if ends.get(thing, _NEVER) <= self._looked_at:
                del ends[thing]
                self._tell(thing)
                if self._seconds() >= until:
                    break
        self._told_at = self._seconds()

    def _tell(self, thing: T) -> None:
        try:
            self._late(thing)
        except Exception:
            self.log.failure("{thing} could not be ended in its time", thing=thing)
