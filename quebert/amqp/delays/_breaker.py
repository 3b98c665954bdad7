"""
A circuit breaker for publications to one place.

As long as it is closed, all may publish.  A failure opens it: all wait.  After a pause,
which grows with each failure, it is half-open: one may try.  Its success closes the
breaker, and all go on; its failure opens it again.  One that does not try after all
lets the next one try.  So however many wait, a queue that takes nothing is asked once
for each pause.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert.policy import exponential

__all__ = ["ForwardingBreaker"]


class ForwardingBreaker:
    """
    @param clock: gives the clock that pauses go by.
    @param longest: seconds that a pause lasts at most.
    @ivar failures: how often in a row it was opened.
    """

    def __init__(self, clock: Callable[[], IReactorTime], longest: float) -> None:
        self.failures = 0
        self._clock = clock
        self._longest = longest
        self._timer: IDelayedCall | None = None
        self._half_open = False
        self._waiters: deque[Deferred[None]] = deque()

    async def may_try(self) -> None:
        """
        Returns when it is closed, or half-open for the caller, or was L{reset}.  The
        caller then calls L{failed}, L{reset}, or L{not_tried}.
        """
        if self._half_open:
            self._half_open = False
        elif self.failures:
            waiter: Deferred[None] = Deferred()
            self._waiters.append(waiter)
            await waiter

    def failed(self) -> None:
        """
        A publication has failed.
        """
        if self._timer is None and not self._half_open:
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
            self._half_open = True

    def reset(self) -> None:
        """
        Close it: a publication has succeeded, or there is reason to try again.
        """
        if not self.failures:  # nearly always
            return
        self.failures, self._half_open = 0, False
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        waiters, self._waiters = self._waiters, deque()
        for each in waiters:
            each.callback(None)
