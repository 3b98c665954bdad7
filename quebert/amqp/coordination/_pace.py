"""
The rate of one watch: how quickly its messages begin.

Knows no broker: L{SharedRate<quebert.amqp.coordination._shared_rate.SharedRate>} tells
it how much of the rate is its own.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert.amqp.watch import DeliveredMessage, PaceStatus, Throttle
from quebert.limits import Rate, TokenBucket, burst_of

__all__ = ["FETCHED_AHEAD", "Pace"]

#: Seconds: no more messages are fetched than may begin in so many.  Others could not
#: have a message meanwhile that waits here for its turn.
FETCHED_AHEAD = 60.0
# Seconds at least between two looks: at high rates, several begin at each.
_TICK = 0.002


class Pace(Throttle):
    """
    The throttle of a watch with a rate.

    @param rate: of the whole queue; C{burst} likewise.
    @param clock: gives what keeps the time, when it is needed.
    @ivar bucket: holds the share of the rate that is ours.
    @ivar members: how many share the rate.
    @ivar delayed: how often messages had to wait.
    @ivar passed_on: how many turns we have given to others.
    @ivar got: how many turns others have given to us.
    """

    limits_fetching = True

    def __init__(
        self, rate: Rate, burst: float | None, clock: Callable[[], IReactorTime]
    ) -> None:
        self.rate = rate.per_second
        self.burst = burst_of(rate, burst)
        self.bucket = TokenBucket(self.rate, self.burst)
        self.members = 1
        self.delayed = 0
        self.passed_on = 0.0
        self.got = 0.0
        self._clock = clock
        self._again: Callable[[], None] = lambda: None
        self._timer: IDelayedCall | None = None
        self._waking: IDelayedCall | None = None

    def may_begin(self, again: Callable[[], None]) -> bool:
        """
        See L{Throttle.may_begin}.
        """
        clock = self._clock()
        wait = self.bucket.wait(clock.seconds())
        if not wait:
            return True
        if self._timer is None:
            self.delayed += 1
            self._again = again
            self._timer = clock.callLater(max(wait, _TICK), self._look)
        return False

    def _look(self) -> None:
        self._timer = None
        self._again()

    def begun(self, message: DeliveredMessage) -> None:
        """
        See L{Throttle.begun}.
        """
        if not message.was_begun:  # else it has counted
            self.bucket.take(self._clock().seconds())

    def shared_by(self, members: int) -> None:
        """
        So many keep to this rate together.
        """
        self.members = members
        rate, burst = self.rate / members, self.burst / members
        self.bucket.change(rate, burst, self._clock().seconds())
        if self._timer is not None:
            self._timer.reset(0)  # the next may begin sooner, or later
        if self._waking is not None and self._waking.active():
            self._waking.reset(max(self.wait, _TICK))

    async def leave(self) -> None:
        """
        See L{Throttle.leave}.
        """
        for timer in (self._timer, self._waking):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._waking = None

    def call_when_near(self, wake: Callable[[], None]) -> None:
        """
        See L{Throttle.call_when_near}.
        """
        if self._waking is not None and self._waking.active():
            self._waking.cancel()
        self._waking = self._clock().callLater(max(self.wait, _TICK), wake)

    @property
    def wait(self) -> float:
        """
        Seconds until one may begin.
        """
        return self.bucket.wait(self._clock().seconds())

    def prefetch(self, prefetch: int) -> int:
        """
        See L{Throttle.prefetch}: no more than begin within L{FETCHED_AHEAD} seconds.
        """
        fit = min(65535, max(1, int(self.bucket.rate * FETCHED_AHEAD)))
        return min(prefetch, fit) if prefetch else fit

    @property
    def is_far(self) -> bool:
        """
        See L{Throttle.is_far}: not within L{FETCHED_AHEAD} seconds.
        """
        return self.wait > FETCHED_AHEAD

    @property
    def status(self) -> PaceStatus:
        """
        See L{Throttle.status}.
        """
        return PaceStatus(
            self.rate,
            self.bucket.rate,
            self.members,
            self.delayed,
            self.passed_on,
            self.got,
        )
