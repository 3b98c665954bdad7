"""
The lines of tasks that wait for an origin: whether the first in each may begin now, and
if not, when.

An origin refuses once a request to it was not admitted
(L{Admission<quebert.limits.Admission>}).  Then the first in its line begins as soon as
admission control tells that another request has ended, one for each; or else when the
time is over that it told.  Then one after the other begins, until one is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from itertools import count

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert._consumer_timeout import LONGEST_WAIT
from quebert.amqp.watch._hanging_origin import HangingOrigin
from quebert.limits import WhenFree
from quebert.policy import exponential

__all__ = ["LONGEST_PAUSE", "PATIENCE", "SHORTEST", "OriginLines"]

#: Seconds after which an origin is asked again that has refused a request, at least.
SHORTEST = 0.02
#: And at most, where admission control will tell when one more may run.
LONGEST_PAUSE = 5.0
#: Seconds after which another task of a line begins, where nothing has become of the
#: one that began last: its hooks run, or it waits for memory.
PATIENCE = 1.0


class OriginLines:
    """
    The origins with lines.

    @param begin_next: called when the first in the line of one may begin.
    @ivar ready: those whose first task may begin, as far as is known.
    @ivar refusing: the others.
    """

    def __init__(
        self, clock: Callable[[], IReactorTime], begin_next: Callable[[], None]
    ) -> None:
        self.ready: dict[HangingOrigin, None] = {}
        self.refusing: dict[HangingOrigin, None] = {}
        self._clock = clock
        self._begin_next = begin_next
        # A heap: when an origin is to be looked at, and a number, since origins have no
        # order.
        self._times: list[tuple[float, int, HangingOrigin]] = []
        self._numbers = count()
        self._timer: IDelayedCall | None = None

    @property
    def origins(self) -> list[HangingOrigin]:
        """
        All of them.
        """
        return [*self.ready, *self.refusing]

    def refused(
        self, origin: HangingOrigin, seconds: float, when_free: WhenFree | None
    ) -> float:
        """
        An origin takes no request for C{seconds}, or until C{when_free} tells.

        @return: the seconds, if they are at least L{SHORTEST}, or else that.
        """
        told = seconds if seconds > SHORTEST else SHORTEST
        wait = min(told, LONGEST_WAIT)
        origin.failures += 1
        if when_free is not None:  # it tells in time, nearly always
            most = LONGEST_PAUSE / SHORTEST
            pause = SHORTEST * exponential(origin.failures, constant=2, maximum=most)
            wait = max(wait, pause)
        origin.refuses_until = self._clock().seconds() + wait
        origin.when_free = when_free
        origin.tries = origin.successes = 0
        origin.refusals += 1
        if origin.line:
            self.update(origin)
        return told

    def update(self, origin: HangingOrigin) -> None:
        """
        Something of an origin with a line has changed: note whether it refuses.  If so,
        see to it that the first in its line begins in time.
        """
        if origin.refuses_until and not origin.tries:
            self.ready.pop(origin, None)
            self.refusing[origin] = None
            if origin.timed != origin.refuses_until:
                origin.timed = origin.refuses_until
                self._look_at(origin, origin.timed)
            if origin.when_free is not None and origin.told_by != origin.when_free:
                origin.told_by = origin.when_free
                origin.when_free(partial(self._free, origin, origin.when_free))
        else:
            self.refusing.pop(origin, None)
            self.ready[origin] = None

    def remove(self, origin: HangingOrigin) -> None:
        """
        An origin has no line any more.
        """
        self.ready.pop(origin, None)
        self.refusing.pop(origin, None)
        origin.refuses_until = origin.timed = 0.0
        origin.tries = origin.refusals = origin.successes = origin.slow_due = 0
        if not (self.ready or self.refusing):
            self._times.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def look_in(self, seconds: float, origin: HangingOrigin) -> None:
        """
        In C{seconds}, have the first in the line of an origin begin, unless it refuses
        by then.
        """
        self._look_at(origin, self._clock().seconds() + seconds)

    def _free(self, origin: HangingOrigin, when_free: WhenFree) -> bool:
        """
        A request to an origin has ended, and one more may run.

        @return: whether one is made now.  Else there is no place for it in the watch
            yet.
        """
        if origin.told_by != when_free:
            return False  # another admission control is asked by now
        origin.told_by = None
        if not origin.line:
            return False
        origin.tries += 1
        self.update(origin)
        self._begin_next()
        return not origin.tries

    def _look_at(self, origin: HangingOrigin, due: float) -> None:
        heappush(self._times, (due, next(self._numbers), origin))
        if self._timer is None or self._timer.getTime() > due:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait = max(0.0, self._times[0][0] - self._clock().seconds())
        self._timer = self._clock().callLater(wait, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._clock().seconds()
        while self._times and self._times[0][0] <= now:
            due, _, origin = heappop(self._times)
            if origin.refuses_until <= due and origin.line:
                origin.refuses_until = 0.0
                patience_until = origin.begun + PATIENCE
                if due >= patience_until:
                    origin.slow_due = len(origin.due)
                elif origin.due:
                    self._look_at(origin, patience_until)
                self.update(origin)
        self._begin_next()
        if self._times and self._timer is None:
            self._set_timer()
