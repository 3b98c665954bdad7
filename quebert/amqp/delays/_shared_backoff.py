"""
The backoff that all publications to one place share.

As long as none fails, all may publish.  After a failure, all wait.  After a pause,
which grows with each failure, one may try.  Its success lets all go on; its failure
begins the next pause.  One that does not try after all calls
L{SharedBackoff.not_tried}, and the next one may.  So however many wait, a queue that
takes nothing is asked once for each pause.

This is no circuit breaker, as L{Breaker<quebert.limits.Breaker>} is for a host.  That
opens after several failures in a row, and says for how many seconds a task is to wait
elsewhere.  Here one failure is enough, since the others would fail, too; and who
publishes waits here, in line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert.policy import exponential

__all__ = ["SharedBackoff"]


class SharedBackoff:
    """
    @param clock: gives the clock that pauses go by.
    @param longest: seconds that a pause lasts at most.
    @ivar failures: how many pauses there were in a row; 0 if nobody has to wait.
    """

    def __init__(self, clock: Callable[[], IReactorTime], longest: float) -> None:
        self.failures = 0
        self._clock = clock
        self._longest = longest
        self._timer: IDelayedCall | None = None
        self._one_may_try = False
        self._waiters: deque[Deferred[None]] = deque()

    async def may_try(self) -> None:
        """
        Returns when the caller may publish: at once if nobody has to wait, after a
        pause if it is first in line, or after L{reset}.  The caller then calls
        L{failed}, L{reset}, or L{not_tried}.
        """
        if self._one_may_try:
            self._one_may_try = False
        elif self.failures:
            waiter: Deferred[None] = Deferred()
            self._waiters.append(waiter)
            await waiter

    def failed(self) -> None:
        """
        A publication has failed.
        """
        if self._timer is None and not self._one_may_try:
            pause = exponential(self.failures, constant=2, maximum=self._longest)
            self.failures += 1
            self._timer = self._clock().callLater(pause, self._try_one)

    def not_tried(self) -> None:
        """
        The caller might have tried, and does not.
        """
        if self.failures and self._timer is None:
            self._try_one()

    def _try_one(self) -> None:
        self._timer = None
        if self._waiters:
            self._waiters.popleft().callback(None)
        else:
            self._one_may_try = True

    def reset(self) -> None:
        """
        A publication has succeeded, or there is reason to try again: nobody waits any
        longer.
        """
        if not self.failures:  # nearly always
            return
        self.failures, self._one_may_try = 0, False
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        waiters, self._waiters = self._waiters, deque()
        for each in waiters:
            each.callback(None)
