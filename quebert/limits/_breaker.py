"""
The circuit breaker: an origin whose requests fail again and again gets none for a
while.

====================  ==================  =====================================
state                 becomes             when
====================  ==================  =====================================
C{"closed"}           C{"open"}           C{failures} requests in a row fail
C{"open"}             C{"half-open"}      its pause is over
C{"half-open"}        C{"closed"}         the one request that may go succeeds
C{"half-open"}        C{"open"}           it fails: for twice the pause
====================  ==================  =====================================
"""

from __future__ import annotations

import attrs

from quebert.errors import ConfigError

__all__ = ["CLOSED", "HALF_OPEN", "OPEN", "Breaker", "BreakerSettings"]

#: The states of a breaker.
CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"

# Seconds by which a request may seem to have begun before it was let go.
_BLUR = 0.005


@attrs.frozen
class BreakerSettings:
    """
    @ivar failures: in a row, after which it opens.
    @ivar pause: seconds until the first request tries whether all is well again.
    @ivar longest_pause: seconds, up to which the pause doubles with each that fails.
    """

    failures: int = 5
    pause: float = 5.0
    longest_pause: float = 300.0

    def __attrs_post_init__(self) -> None:
        if not self.failures >= 1:
            raise ConfigError(f"failures={self.failures} must be at least 1")
        if not 0 < self.pause <= self.longest_pause < float("inf"):
            raise ConfigError(
                f"pause={self.pause:g} must be more than 0 seconds, and"
                f" longest_pause={self.longest_pause:g} no less"
            )


class Breaker:
    """
    @ivar settings: after how many failures it opens, and for how long.
    @ivar state: C{"closed"}, C{"open"} or C{"half-open"}, as of when it was last
        asked.
    @ivar failures: how many requests have failed in a row until it opened, or until
        now; 0 only while it is closed.
    @ivar opened: how often it has opened.
    """

    def __init__(self, settings: BreakerSettings | None = None) -> None:
        self.settings = settings or BreakerSettings()
        self.state = CLOSED
        self.opened = 0
        self.failures = 0
        self._pause = self.settings.pause
        self._until = 0.0
        self._probe: float | None = None  # when it went

    @property
    def open_until(self) -> float | None:
        """
        Until when no request may go; C{None} unless it is open.
        """
        return self._until if self.state == OPEN else None

    def wait(self, now: float) -> float:
        """
        Seconds until a request may go; 0 for at once.
        """
        if self.state == CLOSED:
            return 0.0
        # A clock that was set back does not make it longer.
        self._until = min(self._until, now + self._pause)
        if now < self._until:
            return self._until - now
        self.state = HALF_OPEN
        if self._probe is None:
            return 0.0
        # One is on its way; where it is lost, the next one goes some time.
        self._probe = min(self._probe, now)
        lost = self._probe + self.settings.longest_pause
        if now >= lost:
            return 0.0
        return min(self.settings.pause, lost - now)

    def begun(self, now: float) -> None:
        """
        A request goes, as L{wait} has let it.
        """
        self._probe = now

    def ended(self, now: float, began: float, good: bool) -> None:
        """
        A request has ended.

        @param began: when it had begun: one from before says nothing of now.
        @param good: C{Origin.ended} decides: an answer below 500 is.
        """
        if self.state == CLOSED:
            self.failures = 0 if good else self.failures + 1
            if self.failures >= self.settings.failures:
                self._open(now, self.settings.pause)
        elif self._probe is not None and began >= self._probe - _BLUR:
            if good:
                self._close()
            else:
                self._open(now, min(self._pause * 2, self.settings.longest_pause))

    def given_up(self, began: float) -> None:
        """
        A request was ended here: where it was the one that was to tell how the origin
        is, another one may go.
        """
        if self._probe is not None and began >= self._probe - _BLUR:
            self._probe = None

    def _open(self, now: float, pause: float) -> None:
        self.state = OPEN
        self.opened += 1
        self._pause = pause
        self._until = now + pause
        self._probe = None

    def _close(self) -> None:
        self.state = CLOSED
        self.failures = 0
        self._probe = None
