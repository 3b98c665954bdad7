"""
How many requests an origin can take at once, found out by trying: one more for
each round that goes well, and a part of them when it says that it is too much.
"""

from __future__ import annotations

import attrs

from quebert.errors import ConfigError

__all__ = ["AdaptiveLimit", "AdaptiveSettings"]

#: The statuses by which an origin says that it is too much.
TOO_MUCH = frozenset({429, 503})


@attrs.frozen
class AdaptiveSettings:
    """
    @ivar floor: how many may always be in flight.
    @ivar ceiling: and how many at most.
    @ivar start: with how many it begins.
    @ivar latency: seconds; an answer that takes longer counts like a 503.  C{None}
        for however long.
    @ivar decrease: what is left of the limit when it is too much.
    """

    floor: int = 1
    ceiling: int = 250
    start: int = 20
    latency: float | None = None
    decrease: float = 0.7

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.floor <= self.ceiling:
            raise ConfigError(
                f"floor={self.floor} must be at least 1, and"
                f" ceiling={self.ceiling} no less"
            )
        if self.latency is not None and not self.latency > 0:
            raise ConfigError(f"latency={self.latency:g} must be more than 0 seconds")
        if not 0 < self.decrease < 1:
            raise ConfigError(f"decrease={self.decrease:g} must be between 0 and 1")


class AdaptiveLimit:
    """
    @ivar settings: between which bounds it moves, and how.
    @ivar limit: how many may be in flight now; a part of one is on the way to one
        more.
    """

    def __init__(self, settings: AdaptiveSettings | None = None) -> None:
        self.settings = settings or AdaptiveSettings()
        low, high = self.settings.floor, self.settings.ceiling
        self.limit = float(min(max(low, self.settings.start), high))
        self._decreased = float("-inf")

    def ended(
        self, now: float, status: int | None, seconds: float, in_flight: int
    ) -> None:
        """
        A request has ended.

        @param status: C{None} where there was no answer.
        @param in_flight: how many there were, this one too.
        """
        latency = self.settings.latency
        slow = latency is not None and seconds > latency
        if slow or status is None or status in TOO_MUCH:
            self._decrease(now, now - seconds)
        elif in_flight * 2 >= self.limit:  # else it was not put to the test
            grown = self.limit + 1 / self.limit
            self.limit = min(grown, self.settings.ceiling)

    def _decrease(self, now: float, began: float) -> None:
        # Those that were under way already tell nothing of the new limit.
        self._decreased = min(self._decreased, now)
        if began >= self._decreased:
            less = self.limit * self.settings.decrease
            self.limit = max(less, self.settings.floor)
            self._decreased = now
