"""
Rates, as users write them.
"""

from __future__ import annotations

import math
import re
from typing import Union

import attrs

from quebert.errors import ConfigError

__all__ = ["Rate", "RateLike", "burst_of"]

_PER = {"s": 1.0, "m": 60.0, "h": 3600.0}
_RATE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*/\s*([smh])\s*", re.ASCII)
# Seconds of a rate that may come at once unless told otherwise: a process that is
# kept from its work for so long makes up for it.
_BURST = 0.25


def _positive(instance: object, attribute: object, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"a rate must be more than 0 per second, not {value:g}")


@attrs.frozen
class Rate:
    """
    So many per second.

    @ivar per_second: how many.
    """

    per_second: float = attrs.field(converter=float, validator=_positive)

    @classmethod
    def parse(cls, text: str) -> Rate:
        """
        Read C{"500/s"}, C{"30/m"} or C{"10/h"}.

        @raise ConfigError: it is none of them; the text says what would be right.
        """
        found = _RATE.fullmatch(text)
        if found is None:
            raise ConfigError(
                f"{text!r} is no rate: it must be a number and a unit, such as"
                " 500/s, 30/m or 10/h"
            )
        number, unit = found.groups()
        if not float(number) > 0:
            raise ConfigError(
                f"{text!r} must be more than 0; for no limit, give no rate"
            )
        return cls(float(number) / _PER[unit])

    @classmethod
    def of(cls, given: RateLike) -> Rate:
        """
        A rate from what users may give for one.

        @raise ConfigError: it is none.
        """
        if isinstance(given, Rate):
            return given
        if isinstance(given, str):
            return cls.parse(given)
        number: object = given
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            kind = type(number).__name__
            raise ConfigError(
                f"a rate must be a text or a number per second, not {kind}"
            )
        return cls(number)

    def __str__(self) -> str:
        for unit, seconds in _PER.items():
            number = round(self.per_second * seconds, 6)
            if number >= 1:
                return f"{number:g}/{unit}"
        return f"{self.per_second * 3600:g}/h"


#: A L{Rate}, what L{Rate.parse} reads, or a number per second.
RateLike = Union[Rate, str, float]


def burst_of(rate: Rate, burst: float | None) -> float:
    """
    How many may come at once: what is given, else a quarter of a second's, and at
    least one.

    @raise ConfigError: less than one is given.
    """
    if burst is None:
        return max(1.0, rate.per_second * _BURST)
    if not (math.isfinite(burst) and burst >= 1):
        raise ConfigError(f"burst={burst:g} must be at least 1")
    return float(burst)
