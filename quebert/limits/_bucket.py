"""
The token bucket: so many per second, and so many at once.
"""

from __future__ import annotations

from quebert.limits._rate import Rate, burst_of

__all__ = ["TokenBucket"]

# A token but for what floats lose.
_WHOLE = 1.0 - 1e-9


class TokenBucket:
    """
    Gives at most C{burst + rate * t} tokens in any C{t} seconds, plus those that
    L{add} brings.  It is full when it is first asked.  While the clock is set back, no
    time passes.

    @param rate: tokens per second.
    @param burst: how many it holds; at least one.
    @ivar tokens: how many it held when it was last asked.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = max(1.0, burst)
        self.tokens = self.burst
        self._at: float | None = None
        self._spilled = 0.0
        self._extra_rate = 0.0
        self._extra_seconds = 0.0

    @classmethod
    def of(cls, rate: Rate, burst: float | None) -> TokenBucket:
        """
        One for what users have set.

        @raise ConfigError: the burst is wrong.
        """
        return cls(rate.per_second, burst_of(rate, burst))

    def wait(self, now: float) -> float:
        """
        Seconds until there is a whole token; 0 when there is one.
        """
        self._pass(now)
        missing = 1.0 - self.tokens
        if self.tokens >= _WHOLE:
            return 0.0
        more = self._extra_seconds * (self.rate + self._extra_rate)
        if missing <= more:
            return missing / (self.rate + self._extra_rate)
        return self._extra_seconds + (missing - more) / self.rate

    def take(self, now: float) -> float:
        """
        Take one token; where there is none, the seconds until there is.  To take
        several at once would be another method.
        """
        wait = self.wait(now)
        if not wait:
            self.tokens -= 1.0
        return wait

    def change(self, rate: float, burst: float, now: float) -> None:
        """
        Have another rate from now on; that brings no tokens.
        """
        self._pass(now)
        self.rate, self.burst = rate, max(1.0, burst)
        self.tokens = min(self.tokens, self.burst)

    def add(self, tokens: float, seconds: float, now: float) -> None:
        """
        Have more tokens come, evenly over the next seconds; it holds more of them
        for as long.
        """
        self._pass(now)
        left = self._extra_rate * self._extra_seconds
        self._extra_rate = (left + tokens) / seconds
        self._extra_seconds = seconds

    def spilled(self, now: float) -> float:
        """
        How many came, since this was asked last, when it was full.
        """
        self._pass(now)
        spilled, self._spilled = self._spilled, 0.0
        return spilled

    def _pass(self, now: float) -> None:
        at, self._at = self._at, now
        if at is None or now <= at:
            return
        seconds, most = now - at, self.burst
        tokens = self.tokens + seconds * self.rate
        if self._extra_seconds:
            some = min(seconds, self._extra_seconds)
            self._extra_seconds -= some
            tokens += some * self._extra_rate
            most += self._extra_rate * self.burst / self.rate
        if tokens > most:
            self._spilled += tokens - most
            tokens = most
        self.tokens = tokens
