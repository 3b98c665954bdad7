"""
Tests for L{quebert.metrics._totals}: the fold from attempts to numbers.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.events import OUTCOMES, AttemptRecord, Columns
from quebert.metrics._totals import (
    LIFE,
    OTHERS,
    REQUEST,
    WAIT,
    Histogram,
    Row,
    Totals,
    rows_of,
)
from quebert.test.checks import QUICK

NAMES = ("number", "added", "due", "started", "ended", "status", "outcome")
TIMES = st.none() | st.floats(0, 1e9)
ROWS: st.SearchStrategy[Row] = st.tuples(
    st.sampled_from(["a", "b", "é"]),
    st.integers(1, 3),
    TIMES,
    TIMES,
    st.floats(0, 1e9),
    st.floats(0, 1e9),
    st.none() | st.integers(0, 700),
    st.sampled_from([*OUTCOMES, "unheard of"]),
)


def row(queue: str = "a", **changed: Any) -> Row:
    """
    An attempt that was done at once.
    """
    fields: dict[str, Any] = {
        "number": 1,
        "added": 100.0,
        "due": None,
        "started": 101.0,
        "ended": 103.0,
        "status": 200,
        "outcome": "done",
    }
    found: Any = (queue, *(fields | changed).values())
    return found  # type: ignore[no-any-return]


def count(histogram: Histogram, bound: float) -> int:
    """
    How many values are in the bucket with an upper bound.
    """
    return histogram.counts[list(histogram.bounds).index(bound)]


def columns_of(**some: list[Any]) -> Columns:
    """
    Columns, with the fields that do not matter.
    """
    count = len(some["queue"])
    rest = ("uuid", "url", "reason", "answer")
    texts: dict[str, Any] = {name: [""] * count for name in rest}
    return Columns(retry_at=[None] * count, **texts, **some)


class TotalsTests(SynchronousTestCase):
    """
    L{Totals} counts attempts.
    """

    def test_one(self) -> None:
        """
        An attempt counts by its status and outcome, and in each histogram.
        """
        totals = Totals()
        totals.add([row()])
        found = totals.queues["a"]
        self.assertEqual(found.attempts, {("2xx", "done"): 1})
        self.assertEqual((count(found.request, 2.5), found.request.total), (1, 2.0))
        self.assertEqual((count(found.wait, 1.0), found.wait.total), (1, 1.0))
        self.assertEqual((count(found.life, 5.0), found.life.total), (1, 3.0))

    def test_due(self) -> None:
        """
        A retry waits from when it was due; one of which that is not known does not
        count.
        """
        totals = Totals()
        totals.add([row(number=2, due=100.5), row(number=2)])
        self.assertEqual(totals.queues["a"].wait.total, 0.5)

    def test_no_request(self) -> None:
        """
        What was not attempted has no duration, and what is not over has no life.
        """
        totals = Totals()
        rows = [
            row(status=None, outcome="expired"),
            row(status=None, outcome="postponed"),
            row(status=None, outcome="buried", ended=101.0),
            row(status=None, outcome="retry"),
        ]
        totals.add(rows)
        found = totals.queues["a"]
        self.assertEqual(sum(found.request.counts), 1)  # of the retry
        self.assertEqual(sum(found.life.counts), 2)

    def test_odd_statuses(self) -> None:
        """
        However odd statuses and outcomes are, their labels are few.
        """
        totals = Totals()
        totals.add([row(status=n, outcome=f"outcome {n}") for n in range(-5, 2_000)])
        self.assertEqual(len(totals.queues["a"].attempts), 6)

    def test_wrong_clocks(self) -> None:
        """
        A clock that was set back gives no negative time, and no time is endless.
        """
        totals = Totals()
        totals.add([row(ended=50.0), row(ended=float("nan")), row(ended=float("inf"))])
        found = totals.queues["a"].request
        self.assertEqual((found.counts[0], found.counts[-1]), (2, 1))
        self.assertTrue(0 <= found.total < float("inf"))

    def test_flood_of_queues(self) -> None:
        """
        Queues beyond the limit count together.
        """
        for totals, most in (Totals(most=3), 3), (Totals(), 200):
            totals.add([row(f"queue {n}") for n in range(most + 7)])
            self.assertEqual(len(totals.queues), most + 1)
            self.assertEqual(totals.queues[OTHERS].attempts["2xx", "done"], 7)

    def test_records(self) -> None:
        """
        Records are folded by their fields.
        """
        record = AttemptRecord(
            uuid="u",
            queue="a",
            url="/",
            number=1,
            started=101.0,
            ended=103.0,
            outcome="done",
            added=100.0,
            status=200,
        )
        self.assertEqual(rows_of([record]), [row()])

    @QUICK
    @given(st.lists(ROWS))
    def test_any(self, rows: list[Row]) -> None:
        """
        Nothing is counted twice or forgotten, whatever comes, in one process or two.
        """
        whole, first, second = Totals(), Totals(), Totals()
        whole.add(rows)
        for queue, *fields in rows:
            columns = {name: [value] for name, value in zip(NAMES, fields, strict=True)}
            first.add_columns(columns_of(queue=[queue], **columns))
        second.merge(json.loads(json.dumps(first.take())))
        self.assertEqual(first.queues, {})
        for name, number in Counter(each[0] for each in rows).items():
            found, again = whole.queues[name], second.queues[name]
            self.assertEqual(found.attempts.total(), number)
            self.assertEqual(found.attempts, again.attempts)
            for kind in ("request", "wait", "life"):
                one, other = getattr(found, kind), getattr(again, kind)
                self.assertEqual(one.counts, other.counts)
                self.assertAlmostEqual(one.total, other.total, delta=1e-3)

    def test_columns(self) -> None:
        """
        Columns count as rows do, of one queue or of several.
        """
        rows = [row("a"), row("a", status=500), row("b"), row("a"), row("c"), row("c")]
        for some in (rows, rows[:2], []):
            totals, expected = Totals(), Totals()
            expected.add(some)
            by_field: list[Any] = list(zip(*some, strict=True))
            by_field = by_field or [[] for _ in row()]
            names = ("queue", *NAMES)
            fields = {n: list(v) for n, v in zip(names, by_field, strict=True)}
            totals.add_columns(columns_of(**fields))
            self.assertEqual(totals.take(), expected.take())

    def test_bounds(self) -> None:
        """
        The bounds of buckets rise; a value that is a bound is in its bucket.
        """
        for bounds in (REQUEST, WAIT, LIFE):
            self.assertEqual(sorted(set(bounds)), list(bounds))
            histogram = Histogram(bounds)
            histogram.add(bounds)
            self.assertEqual(histogram.counts, [*(1 for _ in bounds), 0])
