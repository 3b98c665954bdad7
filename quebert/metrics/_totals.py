"""
The fold from attempts to numbers.  Pure.

It takes attempts a batch at a time, as most of what it does is then done in C: each
attempt costs half a microsecond.  A flood of queues takes no more memory than
L{MOST_QUEUES}: what comes after them counts under the name L{OTHERS}.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, Union

from quebert.events import FINAL, OUTCOMES, AttemptRecord, Columns, was_requested

__all__ = [
    "LIFE",
    "MOST_QUEUES",
    "OTHERS",
    "REQUEST",
    "STATUSES",
    "WAIT",
    "Histogram",
    "QueueTotals",
    "Row",
    "Totals",
    "rows_of",
]

#: The queue, number, added, due, started, ended, status and outcome of an attempt, as
#: in L{AttemptRecord}.
Row = tuple[
    str,
    int,
    Union[float, None],
    Union[float, None],
    float,
    float,
    Union[int, None],
    str,
]

#: Queues that have figures of their own.
MOST_QUEUES = 200
#: The name of all that is beyond a limit.
OTHERS = "(others)"
#: The classes of statuses; C{"none"} where there was no answer.
STATUSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other", "none")

#: Upper bounds of the buckets, in seconds: of requests, of waits, of whole lives.
REQUEST = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
WAIT = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
LIFE = (0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0, 604800.0)

# Seconds: a longer time is a wrong clock.
_LONGEST = 1e10
_KNOWN = frozenset(OUTCOMES)

_FIELDS = (
    *("queue", "number", "added", "due"),
    *("started", "ended", "status", "outcome"),
)
_row = attrgetter(*_FIELDS)


def rows_of(records: Iterable[AttemptRecord]) -> list[Row]:
    """
    The columns of some records that are folded.
    """
    return list(map(_row, records))


class Histogram:
    """
    How many values there were, by their size.

    @param bounds: the upper bound of each bucket, but of the last one.
    @ivar counts: of each bucket.
    @ivar total: of all values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, values: Sequence[float]) -> None:
        """
        Count some values; a clock may have been set back meanwhile.
        """
        if not values:
            return
        total = sum(values)
        if not (min(values) >= 0.0 and total <= _LONGEST):  # not a number, too
            values = [_sane(each) for each in values]
            total = sum(values)
        find = partial(bisect_left, self.bounds)
        for place, number in Counter(map(find, values)).items():
            self.counts[place] += number
        self.total += total

    def merge(self, counts: Sequence[int], total: float) -> None:
        """
        Add the figures of another one with the same bounds.
        """
        self.counts = [a + b for a, b in zip(self.counts, counts, strict=True)]
        self.total += total


def _sane(value: float) -> float:
    return min(value, _LONGEST) if value > 0.0 else 0.0


class QueueTotals:
    """
    The figures of one queue.

    @ivar attempts: how many had which class of status, and which outcome.
    @ivar request: how long requests took.
    @ivar wait: how long tasks that were due waited to begin.
    @ivar life: how old tasks were that are over.
    """

    def __init__(self) -> None:
        self.attempts: Counter[tuple[str, str]] = Counter()
        self.request = Histogram(REQUEST)
        self.wait = Histogram(WAIT)
        self.life = Histogram(LIFE)

    def add(
        self,
        numbers: Sequence[int],
        added: Sequence[float | None],
        due: Sequence[float | None],
        started: Sequence[float],
        ended: Sequence[float],
        statuses: Sequence[int | None],
        outcomes: Sequence[str],
    ) -> None:
        """
        Count some attempts, of which each column has a field.
        """
        pairs = Counter(zip(statuses, outcomes, strict=True))
        for (status, outcome), number in pairs.items():
            known = outcome if outcome in _KNOWN else "other"
            self.attempts[_class_of(status), known] += number
        self.request.add(
            [
                end - begin
                for status, outcome, begin, end in zip(
                    statuses, outcomes, started, ended, strict=True
                )
                if status is not None or was_requested(None, outcome, end - begin)
            ]
        )
        self.wait.add(
            [
                begin - since
                for when, first, number, begin in zip(
                    due, added, numbers, started, strict=True
                )
                if (since := first if when is None and number == 1 else when)
                is not None
            ]
        )
        self.life.add(
            [
                end - first
                for first, outcome, end in zip(added, outcomes, ended, strict=True)
                if first is not None and outcome in FINAL
            ]
        )

    def as_json(self) -> dict[str, Any]:
        """
        The figures, for L{merge}.
        """
        return {
            "attempts": [[*key, number] for key, number in self.attempts.items()],
            "request": [self.request.counts, self.request.total],
            "wait": [self.wait.counts, self.wait.total],
            "life": [self.life.counts, self.life.total],
        }

    def merge(self, figures: Mapping[str, Any]) -> None:
        """
        Add those of another process.
        """
        for status, outcome, number in figures["attempts"]:
            self.attempts[status, outcome] += number
        self.request.merge(*figures["request"])
        self.wait.merge(*figures["wait"])
        self.life.merge(*figures["life"])


def _class_of(status: int | None) -> str:
    if status is None:
        return "none"
    return f"{status // 100}xx" if 100 <= status < 600 else "other"


class Totals:
    """
    The figures of all queues.

    @param most: of how many, at most.
    @ivar queues: by their names.
    """

    def __init__(self, most: int = MOST_QUEUES) -> None:
        self.queues: dict[str, QueueTotals] = {}
        self._most = most

    def add(self, rows: Iterable[Row]) -> None:
        """
        Count some attempts.
        """
        groups: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            groups[row[0]].append(row)
        for queue, some in groups.items():
            _, *columns = zip(*some, strict=True)
            self._of(queue).add(*columns)

    def add_columns(self, columns: Columns) -> None:
        """
        The same of columns, in which the attempts of a queue follow each other.
        """
        fields = [getattr(columns, name) for name in _FIELDS[1:]]
        end = 0
        for queue, run in groupby(columns.queue):
            start, end = end, end + len(list(run))
            if start == 0 and end == len(columns.queue):  # nearly always
                self._of(queue).add(*fields)
            else:
                self._of(queue).add(*(field[start:end] for field in fields))

    def _of(self, queue: str) -> QueueTotals:
        if queue not in self.queues and len(self.queues) >= self._most:
            queue = OTHERS
        return self.queues.setdefault(queue, QueueTotals())

    def take(self) -> dict[str, Any]:
        """
        The figures since the last time, as JSON has them.
        """
        taken = {name: each.as_json() for name, each in self.queues.items()}
        self.queues = {}
        return taken

    def merge(self, figures: Mapping[str, Any]) -> None:
        """
        Add the figures that L{take} gave in another process.
        """
        for queue, each in figures.items():
            self._of(queue).merge(each)
