"""
One origin: whether a request may go there now, or when.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import attrs

from quebert.errors import ConfigError
from quebert.limits._adaptive import AdaptiveLimit, AdaptiveSettings
from quebert.limits._breaker import CLOSED, Breaker, BreakerSettings
from quebert.limits._bucket import TokenBucket
from quebert.limits._rate import Rate, burst_of

__all__ = ["GIVEN_UP", "Origin", "OriginLimits", "OriginStatus"]

#: The status of a request that was ended here: it says nothing of its origin.
GIVEN_UP = 0

#: Seconds up to which those that wait are told times as close together as they may
#: go.  Beyond, they are lined up behind all that were told so before.
NEAR = 5.0
#: Seconds that anything is told to wait, at most.
LONGEST = 3600.0
# And at least: each that comes again costs something.
_SHORTEST = 0.025
# Between two of them, where nothing tells how many its origin can take.
_APART = 0.002
# Of how many answers the mean time is that they take.
_ANSWERS = 8


def _rate(given: object) -> Rate | None:
    return None if given is None else Rate.of(given)  # type: ignore[arg-type]


@attrs.frozen
class OriginLimits:
    """
    What an origin may be asked; each is C{None} for no limit.

    @ivar rate: requests per second.
    @ivar burst: how many at once; a quarter of a second's by default.
    @ivar concurrency: how many requests may run at the same time.
    @ivar breaker: when to leave it in peace.
    @ivar adaptive: how many it can take is found out.
    """

    rate: Rate | None = attrs.field(default=None, converter=_rate)
    burst: float | None = None
    concurrency: int | None = None
    breaker: BreakerSettings | None = None
    adaptive: AdaptiveSettings | None = None

    def __attrs_post_init__(self) -> None:
        if self.rate is not None:
            burst_of(self.rate, self.burst)
        elif self.burst is not None:
            raise ConfigError(f"burst={self.burst!r:.40} needs a rate beside it")
        if self.concurrency is not None and not self.concurrency >= 1:
            raise ConfigError(f"concurrency={self.concurrency} must be at least 1")


@attrs.frozen
class OriginStatus:
    """
    How an origin is doing.

    @ivar in_flight: requests that are there now.
    @ivar concurrency: and how many may be; C{None} for no limit.
    @ivar breaker: C{"closed"}, C{"open"}, C{"half-open"}, or C{None} without one.
    @ivar opened: how often it has opened.
    @ivar rate: requests per second that may go; C{None} for no limit.
    @ivar admitted: requests that went.
    @ivar refused: those that were told to wait, each time.
    @ivar seconds: that an answer takes, about.
    @ivar open_until: until when its breaker lets no request go, by the clock of
        L{Origins.admit<quebert.limits.Origins.admit>}; C{None} unless it is open.
    """

    in_flight: int
    concurrency: float | None
    breaker: str | None
    opened: int
    rate: float | None
    admitted: int
    refused: int
    seconds: float
    open_until: float | None = None


class Origin:
    """
    @ivar used: when it was last asked for.
    @ivar waiting: what is to be called when a request has ended.
    """

    __slots__ = (
        "_adaptive",
        "_admitted",
        "_breaker",
        "_bucket",
        "_far",
        "_most",
        "_near",
        "_refused",
        "_seconds",
        "in_flight",
        "limits",
        "used",
        "waiting",
    )

    def __init__(self, limits: OriginLimits) -> None:
        self.limits = limits
        self.in_flight = 0
        self.used = 0.0
        rate, breaker, adaptive = limits.rate, limits.breaker, limits.adaptive
        self._most = limits.concurrency or math.inf
        self._bucket = TokenBucket.of(rate, limits.burst) if rate else None
        self._breaker = Breaker(breaker) if breaker else None
        self._adaptive = AdaptiveLimit(adaptive) if adaptive else None
        self._admitted = self._refused = 0
        self._seconds = 0.1
        self._near = self._far = float("-inf")
        self.waiting: deque[Callable[[], bool]] = deque()

    @property
    def concurrency(self) -> float | None:
        """
        How many may be in flight.
        """
        fixed, adaptive = self.limits.concurrency, self._adaptive
        if adaptive is None:
            return fixed
        return adaptive.limit if fixed is None else min(adaptive.limit, fixed)

    @property
    def is_full(self) -> bool:
        """
        Whether as many requests run as may run at the same time.
        """
        concurrency = self.concurrency
        return concurrency is not None and self.in_flight + 1 > concurrency

    @property
    def is_well(self) -> bool:
        """
        Whether its breaker is not open.
        """
        return self._breaker is None or self._breaker.state == CLOSED

    def admit(self, now: float) -> float:
        """
        Let a request go, or tell for how many seconds to wait.
        """
        breaker, bucket, adaptive = self._breaker, self._bucket, self._adaptive
        one_more = self.in_flight + 1
        if breaker is not None and not breaker.failures:  # it has nothing to say
            breaker = None
        if breaker is not None and (wait := breaker.wait(now)):
            return self._later(now, wait)
        if one_more > self._most or (adaptive and one_more > adaptive.limit):
            return self._later(now, self._by_concurrency)
        if bucket is not None and (wait := bucket.take(now)):
            return self._later(now, wait)
        if breaker is not None:
            breaker.begun(now)
        self.in_flight = one_more
        self._admitted += 1
        return 0.0

    def ended(self, now: float, status: int | None, seconds: float) -> bool:
        """
        A request has ended.

        @return: whether the breaker has opened, or closed, by that.
        """
        self.in_flight -= 1
        breaker = self._breaker
        if status == GIVEN_UP:
            if breaker is not None:
                breaker.given_up(now - seconds)
            return False
        if self._adaptive is not None:
            self._adaptive.ended(now, status, seconds, self.in_flight + 1)
        self._seconds += (seconds - self._seconds) / _ANSWERS
        good = status is not None and status < 500
        if breaker is None or (good and not breaker.failures):  # nearly always
            return False
        was_closed = breaker.state == CLOSED
        breaker.ended(now, now - seconds, good)
        return (breaker.state == CLOSED) is not was_closed

    def call_when_free(self, again: Callable[[], bool]) -> None:
        """
        Call C{again} once when a request has ended, so that one more may run.  For each
        request that ends, one of those that wait is called, in their order.

        @param again: returns whether it makes a request; if not, the next is called.
        """
        self.waiting.append(again)

    def tell_free(self) -> None:
        """
        A request has ended: call one that waits for that.
        """
        for _ in range(len(self.waiting)):
            if self.is_full or self.waiting.popleft()():
                return

    def _later(self, now: float, wait: float) -> float:
        """
        Seconds until this one may try again: not all at the same time.
        """
        self._refused += 1
        step = self._step()
        if self._near > now + NEAR or self._far > now + LONGEST:
            self._near = self._far = now  # the clock was set back
        at = max(now + max(wait, _SHORTEST), self._near + step)
        if at <= now + NEAR:
            self._near = at
        else:
            at = max(now + max(wait, NEAR), self._far + step)
            self._far = at = min(at, now + max(wait, LONGEST))
        return at - now

    def _step(self) -> float:
        """
        Seconds from one that may go to the next, about.
        """
        bucket = self._bucket
        return max(self._by_concurrency, 1 / bucket.rate if bucket else 0.0)

    @property
    def _by_concurrency(self) -> float:
        """
        Seconds from one request that may go to the next, about, as far as the limit of
        requests in flight is concerned.
        """
        concurrency = self.concurrency
        return self._seconds / concurrency if concurrency else _APART

    @property
    def status(self) -> OriginStatus:
        """
        How it is doing.
        """
        breaker, rate = self._breaker, self.limits.rate
        return OriginStatus(
            self.in_flight,
            self.concurrency,
            breaker.state if breaker else None,
            breaker.opened if breaker else 0,
            rate.per_second if rate else None,
            self._admitted,
            self._refused,
            self._seconds,
            breaker.open_until if breaker else None,
        )
