"""
What happened in the last minute, second by second: numbers, and how long things took.
Pure, and of a fixed size, however much happens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import ceil, log2
from typing import Generic, TypeVar

__all__ = ["BOUNDS", "SECONDS", "Durations", "SecondCounts"]

T = TypeVar("T")

#: Seconds that are remembered, beside the one that is not over.
SECONDS = 60
# Durations are told to within a fifth: four bounds for each doubling, of a millisecond
# to half an hour.
_SHORTEST = 0.001
_BY_DOUBLING = 4
#: Seconds: what took up to this long is counted together.  The last one has no end.
BOUNDS = tuple(_SHORTEST * 2 ** (n / _BY_DOUBLING) for n in range(84))


class _Ring(Generic[T]):
    """
    Something for each second; the clock may go back, which counts as standing still,
    or as a new beginning where it goes far.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._slots = [make() for _ in range(SECONDS + 1)]
        self._last = 0

    def at(self, now: float) -> int:
        """
        The present second, with all that is too old forgotten.
        """
        size, second = len(self._slots), int(now)
        if second < self._last - size:
            self._slots = [self._make() for _ in self._slots]
            self._last = second
        second = max(second, self._last)
        for passed in range(max(self._last, second - size) + 1, second + 1):
            self._slots[passed % size] = self._make()
        self._last = second
        return second

    def __getitem__(self, second: int) -> T:
        return self._slots[second % len(self._slots)]

    def __setitem__(self, second: int, value: T) -> None:
        self._slots[second % len(self._slots)] = value


class SecondCounts:
    """
    Numbers by second.
    """

    def __init__(self) -> None:
        self._numbers = _Ring(float)

    def add(self, now: float, number: float) -> None:
        """
        Add to the number of this second.
        """
        self._numbers[self._numbers.at(now)] += number

    def series(self, now: float) -> tuple[float, ...]:
        """
        The numbers of the last seconds that are over, the oldest first.
        """
        last = self._numbers.at(now)
        return tuple(self._numbers[each] for each in range(last - SECONDS, last))

    def rate(self, now: float, seconds: int) -> float:
        """
        The mean of the last seconds that are over.
        """
        return sum(self.series(now)[-seconds:]) / seconds


class Durations:
    """
    How many things took how long, by second.
    """

    def __init__(self) -> None:
        self._columns: _Ring[Counter[int]] = _Ring(Counter)

    def add(self, now: float, durations: Iterable[float]) -> None:
        """
        Note durations in seconds.
        """
        self._columns[self._columns.at(now)].update(map(_bucket, durations))

    def quantiles(self, now: float, *shares: float) -> tuple[float | None, ...]:
        """
        The durations that these shares of all of the last minute did not exceed;
        C{None} where there were none.
        """
        total: Counter[int] = Counter()
        for _, column in self.columns(now):
            total.update(column)
        found = sorted(total.items())
        return tuple(_quantile(found, each) for each in shares)

    def columns(self, now: float) -> list[tuple[int, Counter[int]]]:
        """
        Each second, the oldest first, with the number of durations by the index of
        their bound in L{BOUNDS}.
        """
        last = self._columns.at(now)
        seconds = range(last - SECONDS, last + 1)
        return [(each, self._columns[each]) for each in seconds]


def _bucket(seconds: float) -> int:
    if not seconds > _SHORTEST:  # nor a number, perhaps
        return 0
    if seconds >= BOUNDS[-1]:
        return len(BOUNDS) - 1
    return ceil(_BY_DOUBLING * log2(seconds / _SHORTEST))


def _quantile(found: Sequence[tuple[int, int]], share: float) -> float | None:
    rest = share * sum(count for _, count in found)
    for bucket, count in found:
        rest -= count
        if rest <= 0:
            return BOUNDS[bucket]
    return None
