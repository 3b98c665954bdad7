"""
Timers that go by a monotonic clock.

Twisted's reactors ask the time of day for their timers.  When the clock of the machine
is set forward, all timers end at once: running requests fail, connections are given up.
When it is set back by an hour, each timer ends an hour late.  L{use_monotonic_clock}
has the timers of a reactor go by a clock that nobody sets.  All programs of quebert
call it; a script calls it before it watches queues.

C{reactor.seconds()} then begins at the time of day and goes on evenly, so that it still
is the time of day, unless the clock of the machine is set.  What needs the time of day
itself (C{run_at}, C{timestamp} with C{ttl}) asks C{time.time()}.

Whoever compares the time of day with a time that somebody else has written must allow
for a clock that is set, by L{seconds_set}: C{mediator/_judging} for a task that is
early or has expired, C{delays/_rungs} for the headers of a delayed task, and
C{broker/_broker} for what the embedded broker writes.  Signatures and C{Retry-After} go
by the time of day as it is.  L{use_monotonic_clock} is called in C{service/_service},
C{executor/_options}, C{cli/_running} and C{broker/_embedded}.  C{docs/reliability.rst}
tells of clocks, and the doctor compares them (C{doctor/_broker}, C{doctor/_urls}).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from quebert._log import Logger
from quebert._reactor import given_or_global

__all__ = [
    "JUMP",
    "SteadyClock",
    "seconds_set",
    "stopwatch_of",
    "use_monotonic_clock",
]

#: Seconds by which the time of day must move at once to be told in the log.
JUMP = 3.0
#: Seconds between two looks whether the clock was set, at least.
LOOK = 0.05
# Linux's monotonic clock stands still while the machine sleeps.  This one does not: a
# delay of eight hours that began in the evening is over in the morning.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_elapsed = partial(time.clock_gettime, _CLOCK)


def use_monotonic_clock(reactor: Any = None, *, log_jumps: bool = True) -> None:
    """
    Have the timers of a reactor, also those that run, go by a monotonic clock from now
    on.  Call it before an HTTP client is made: the time limits of requests, and of idle
    connections, go by the clock that there was then.  A second call does nothing.

    @param reactor: the global one by default.
    @param log_jumps: whether a line in the log tells that the clock of the machine was
        set, and by how much.
    """
    reactor = given_or_global(reactor)
    if _clock_of(reactor) is not None:
        return
    reactor.seconds = SteadyClock(log_jumps=log_jumps).seconds
    for call in reactor.getDelayedCalls():
        call.seconds = reactor.seconds  # for its reset()


def seconds_set(clock: Any) -> float:
    """
    By how many seconds the time of day is ahead of C{clock.seconds()}, since it was set
    meanwhile; 0 for a clock that is not monotonic.
    """
    steady = _clock_of(clock)
    if steady is None:
        return 0.0
    steady.look()  # it may have been set just now
    return steady.seconds_set


def stopwatch_of(clock: Any) -> Callable[[], float]:
    """
    What tells by how much time C{clock} has gone on between two calls, and nothing
    else: quicker than C{clock.seconds}.
    """
    steady = _clock_of(clock)
    seconds: Callable[[], float] = clock.seconds
    return seconds if steady is None else steady.elapsed


def _clock_of(reactor: Any) -> SteadyClock | None:
    clock = getattr(reactor.seconds, "__self__", None)
    return clock if isinstance(clock, SteadyClock) else None


class SteadyClock:
    """
    Seconds since the epoch, as if the clock of the machine were never set.

    A jump is looked for when the time is asked, which a reactor does several times in
    each turn, but no more often than every L{LOOK} seconds.  There is no timer for it.

    @param time_of_day: the clock of the machine, in seconds since the epoch.
    @param elapsed: a monotonic clock, in seconds.
    @ivar elapsed: that monotonic clock.
    @ivar seconds_set: by how much the clock of the machine was set since it began,
        forward; 0 for less than L{JUMP}.
    """

    log = Logger()

    def __init__(
        self,
        time_of_day: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = _elapsed,
        *,
        log_jumps: bool = True,
    ) -> None:
        self._time_of_day = time_of_day
        self.elapsed = elapsed
        self._log_jumps = log_jumps
        self._epoch = time_of_day() - elapsed()
        self.seconds_set = 0.0
        self._next_look = self._epoch

    def seconds(self) -> float:
        """
        The time.
        """
        now = self._epoch + self.elapsed()
        if now >= self._next_look:
            self.look()
        return now

    def look(self) -> None:
        """
        Look whether the clock was set.
        """
        now = self._epoch + self.elapsed()
        self._next_look = now + LOOK
        if not -JUMP < self._time_of_day() - now - self.seconds_set < JUMP:
            self._look()

    def _look(self) -> None:
        """
        Find out by how much the clock was set.  It is asked anew: the process may have
        been stopped just after the monotonic clock was asked.
        """
        off = self._time_of_day() - self._epoch - self.elapsed()
        jump = off - self.seconds_set
        # A clock that was set right again is never right to the microsecond.
        self.seconds_set = off if abs(off) >= JUMP else 0.0
        if self._log_jumps and abs(jump) >= JUMP:
            self.log.warn(
                "The clock of this machine was set {way} by {seconds:,.0f} s. Delays"
                " and timeouts stay as they are; run_at and ttl go by the new time.",
                way="forward" if jump > 0 else "back",
                seconds=abs(jump),
            )
