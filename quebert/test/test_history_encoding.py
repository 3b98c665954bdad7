"""
Tests for the rows and the page tokens of the history.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import UnknownPageToken
from quebert.events import OUTCOMES
from quebert.history import BUCKETS, LIVES, HistoryQuery
from quebert.history._encoding import (
    ATTEMPTS,
    LARGEST,
    NUMBERS,
    OUTCOME_OF,
    attempt_row,
    bucket_of,
    micros,
    packed,
    prefix_ranges,
    shortened,
    unpacked,
)
from quebert.history._streams import OLDEST, ReadPart, merged
from quebert.history._tokens import FIRST, parsed, token
from quebert.test.checks import QUICK
from quebert.test.history_records import record_of

#: Uuids as they are, and what others put in their place.
UUIDS = st.uuids().map(str) | st.text(max_size=40) | st.uuids().map(lambda u: u.hex)


def _is_usual(uuid: str) -> bool:
    try:
        return str(UUID(uuid)) == uuid
    except ValueError:
        return False


def _is_in(raw: bytes, ranges: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(first <= raw <= last for first, last in ranges)


class PackedTests(SynchronousTestCase):
    """
    Tests for L{packed} and L{prefix_ranges}.
    """

    @QUICK
    @given(UUIDS)
    def test_both_ways(self, uuid: str) -> None:
        """
        A uuid comes back as it was; one that is written as usual takes 17 bytes.
        """
        raw = packed(uuid)
        self.assertEqual(unpacked(raw), uuid.encode("utf-8", "replace").decode())
        if _is_usual(uuid):
            self.assertEqual(len(raw), 17)

    @QUICK
    @given(UUIDS, UUIDS, st.integers(0, 40))
    def test_prefixes(self, uuid: str, other: str, length: int) -> None:
        """
        A prefix finds the uuids that begin with it, and no other.
        """
        ranges = prefix_ranges(uuid[:length])
        if uuid:
            self.assertTrue(_is_in(packed(uuid), ranges))
        if other:
            begins = other.startswith(uuid[:length])
            if _is_usual(other):
                begins = other.startswith(uuid[:length].lower())
            self.assertEqual(_is_in(packed(other), ranges), begins)

    def test_capital_letters(self) -> None:
        """
        Capital letters in a prefix do not matter.
        """
        uuid = "6f9619ff-8b86-4011-b42d-00c04fc964ff"
        for length in range(37):
            ranges = prefix_ranges(uuid.upper()[:length])
            self.assertTrue(_is_in(packed(uuid), ranges), length)
        self.assertFalse(_is_in(packed(uuid), prefix_ranges(uuid + "0")))


class ValueTests(SynchronousTestCase):
    """
    Tests for what becomes of single values.
    """

    @QUICK
    @given(st.floats() | st.integers(-(10**400), 10**400) | st.none())
    def test_micros(self, time: float | None) -> None:
        """
        A time is a number that a column takes, or none.
        """
        value = micros(time)
        if value is None:
            self.assertFalse(time is not None and abs(time) < 1e12)
        else:
            self.assertLessEqual(abs(value), LARGEST)

    @QUICK
    @given(st.text() | st.text("\0\ud800a\u2603"), st.integers(1, 50))
    def test_shortened(self, text: str, limit: int) -> None:
        """
        A text is one that every database takes, and no longer than it may be; one that
        fits is kept.
        """
        short = shortened(text, limit)
        self.assertLessEqual(len(short.encode()), limit)
        self.assertNotIn("\0", short)
        if "\0" not in text and len(text.encode("utf-8", "replace")) <= limit:
            self.assertEqual(short, text.encode("utf-8", "replace").decode())

    def test_buckets(self) -> None:
        """
        A duration is counted with those that are not longer than the bound.
        """
        self.assertEqual(bucket_of(-1.0), 0)
        self.assertEqual(bucket_of(0.005), 0)
        self.assertEqual(bucket_of(0.0051), 1)
        self.assertEqual(bucket_of(math.inf), len(BUCKETS))

    def test_outcomes(self) -> None:
        """
        The numbers of outcomes are those that are in databases already.
        """
        self.assertEqual(
            ATTEMPTS,
            {
                "done": 0,
                "retry": 1,
                "expired": 2,
                "discarded": 3,
                "buried": 4,
                "postponed": 5,
                "cancelled": 6,
            },
        )
        self.assertEqual(
            {n: name for n, name in OUTCOME_OF.items() if n > 6},
            {
                16: "added",
                17: "delayed",
                18: "running",
                19: "cancelled",
                20: "discarded",
                21: "buried",
                22: "redriven",
            },
        )
        self.assertEqual(set(NUMBERS), {*OUTCOMES, *LIVES})

    def test_no_record(self) -> None:
        """
        A record without an outcome, or with times that are none, is refused.
        """
        for wrong in ({"outcome": "eaten"}, {"started": math.nan}, {"ended": math.inf}):
            self.assertRaises(ValueError, attempt_row, record_of(1, **wrong), 1, 1, 1)


class TokenTests(SynchronousTestCase):
    """
    Tests for the tokens of pages.
    """

    @QUICK
    @given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1))
    def test_both_ways(self, ended: int, entry: int) -> None:
        """
        A token stands for its place in its query, and for none in another.
        """
        query = HistoryQuery(queue="q")
        text = token((ended, entry), query)
        self.assertEqual(parsed(text, query), (ended, entry))
        self.assertRaises(UnknownPageToken, parsed, text, HistoryQuery())
        self.assertEqual(parsed("", query), FIRST)

    @QUICK
    @given(st.text())
    def test_other_texts(self, text: str) -> None:
        """
        No other text is a token.
        """
        if text:
            self.assertRaises(UnknownPageToken, parsed, text, HistoryQuery())


class MergedTests(SynchronousTestCase):
    """
    Tests for L{merged}.
    """

    def test_nothing(self) -> None:
        """
        Without streams there is nothing.
        """
        self.assertEqual(merged([]), ReadPart({}, OLDEST))

    @QUICK
    @given(
        st.lists(
            st.tuples(st.lists(st.integers(0, 30), unique=True), st.integers(0, 20)),
            max_size=5,
        )
    )
    def test_reach(self, streams: list[tuple[list[int], int]]) -> None:
        """
        Nothing is left out that is newer than the end, and the newest is first.
        """
        all_places = {(n, k) for k, (numbers, _) in enumerate(streams) for n in numbers}
        parts = []
        for k, (numbers, read) in enumerate(streams):
            places = [(n, k) for n in sorted(numbers, reverse=True)]
            end = places[read - 1] if 0 < read <= len(places) else OLDEST
            some = places[:read] if end != OLDEST else places
            parts.append(ReadPart(dict.fromkeys(some, b"x"), end))
        found = merged(parts)
        wanted = {place for place in all_places if place >= found.end}
        self.assertEqual(list(found.found), sorted(wanted, reverse=True))
