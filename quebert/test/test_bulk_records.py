"""
From the bytes of a file to records.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.bulk import _records
from quebert.bulk._records import RecordSplitter, TaskRecord, is_line, is_row
from quebert.test.checks import QUICK


def split(
    data: bytes, *cuts: int, is_whole: Callable[[bytes], bool] = is_line
) -> list[TaskRecord]:
    """
    The records of a file that comes in pieces.
    """
    records, found = RecordSplitter(is_whole), list[TaskRecord]()
    places = [0, *sorted(cuts), len(data)]
    for begin, end in pairwise(places):
        if data[begin:end]:
            found.extend(records.feed(data[begin:end]))
    return [*found, *records.end()]


class RecordSplitterTests(SynchronousTestCase):
    """
    L{RecordSplitter} splits what is read.
    """

    def test_lines(self) -> None:
        """
        Lines have numbers; the last one needs no line break.
        """
        expected = [
            TaskRecord(1, 1, b"a"),
            TaskRecord(2, 1, b""),
            TaskRecord(3, 1, b"b"),
            TaskRecord(4, 1, b"c"),
        ]
        self.assertEqual(split(b"a\n\nb\r\nc"), expected)
        self.assertEqual(split(b"a\n\nb\r\nc\n"), expected)
        self.assertEqual(split(b""), [])

    @QUICK
    @given(
        st.binary().map(lambda raw: raw.replace(b"a", b"\n").replace(b"b", b'"')),
        st.lists(st.integers(0, 50)),
        st.sampled_from([is_line, is_row]),
    )
    def test_pieces(
        self, data: bytes, cuts: list[int], is_whole: Callable[[bytes], bool]
    ) -> None:
        """
        It makes no difference where a file is cut, and each line is in one record.
        """
        cuts = [each for each in cuts if each <= len(data)]
        whole = split(data, is_whole=is_whole)
        self.assertEqual(split(data, *cuts, is_whole=is_whole), whole)
        line = 1
        for each in whole:
            self.assertEqual(each.line, line)
            line += each.lines
        missing = data != b"" and not data.endswith(b"\n")
        self.assertEqual(line - 1, data.count(b"\n") + missing)

    def test_rows(self) -> None:
        """
        A quoted field may have line breaks.
        """
        found = split(b'a,"b\nc ""d\n",e\nf,g\n', is_whole=is_row)
        expected = [TaskRecord(1, 3, b'a,"b\nc ""d\n",e'), TaskRecord(4, 1, b"f,g")]
        self.assertEqual(found, expected)

    def test_open_quote(self) -> None:
        """
        A quote that is not closed is refused, and takes a part of a large file at most.
        """
        [found] = split(b'a,"b\nc,d\n', is_whole=is_row)
        self.assertEqual((found.line, found.lines), (1, 2))
        self.assertEqual(found.too_long, "a quoted field is not closed")
        self.patch(_records, "MAX_ROW", 20)
        first, *others = split(b'a,"b\n' + b"c,d\n" * 9, is_whole=is_row)
        self.assertIn("not closed, or very long", first.too_long)
        self.assertEqual({each.too_long for each in others}, {""})

    def test_open_quote_of_many_lines(self) -> None:
        """
        It takes no longer where the lines behind the quote are short.
        """
        lines = 2**19 + 1
        first, *others = split(b'"' + b"\n" * (2 * lines), is_whole=is_row)
        self.assertGreater(first.lines, lines)
        self.assertEqual(first.lines + len(others), 2 * lines)

    def test_long_line(self) -> None:
        """
        Of a line that is too long, not all is kept; the next one is read.
        """
        self.patch(_records, "MAX_RECORD", 2_000)
        data = b"x" * 5_000 + b"\n" + b"y" * 2_000 + b"\nz"
        for cuts in ((), (10, 3_000, 4_999), (5_000,), range(0, 7_000, 7)):
            long, largest, last = split(data, *cuts)
            self.assertEqual(long.too_long, "it is longer than 2000 bytes")
            self.assertLessEqual(len(long.raw), 2_000)
            self.assertEqual((largest.line, len(largest.raw)), (2, 2_000))
            self.assertEqual(largest.too_long, "")
            self.assertEqual(last, TaskRecord(3, 1, b"z"))
