"""
From the bytes of a file to its records: lines, or several lines where one record of a
CSV file has line breaks within quotes.  Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from quebert._bounds import BOUNDS

__all__ = ["MAX_RECORD", "RecordSplitter", "TaskRecord", "is_line", "is_row"]

#: Bytes that a record may have.  A longer one is refused, and not kept.
MAX_RECORD = BOUNDS.body + 2**16
#: Bytes that a record of several lines may have: where a quote is not closed, all that
#: follows looks like one record.
MAX_ROW = 2**20
# Bytes that are kept of a record that is too long.
_KEPT = 1_000


@attrs.frozen
class TaskRecord:
    """
    What one task is made of.

    @ivar line: the number of its first line, from 1.
    @ivar lines: how many lines it has.
    @ivar raw: these, without the last line break.
    @ivar too_long: why it is refused, or the empty text.
    """

    line: int
    lines: int
    raw: bytes
    too_long: str = ""


def is_line(raw: bytes) -> bool:
    """
    Whether a record ends with a line of JSON Lines: always.
    """
    return True


def is_row(raw: bytes) -> bool:
    """
    Whether a line of a CSV file (RFC 4180) closes all quotes that it opens.  One that
    does not opens or closes one for the lines behind it.
    """
    return raw.count(b'"') % 2 == 0


class RecordSplitter:
    """
    Splits what is read into records, however it is cut into pieces.

    @param is_whole: tells whether a line is a whole record, if no quote is open.
    """

    def __init__(self, is_whole: Callable[[bytes], bool]) -> None:
        self._is_whole = is_whole
        self._line = 1  # of the record that has begun
        self._begun: list[bytes] = []  # the lines of it that are complete
        self._begun_size = 0  # bytes of these
        self._is_open = False  # whether a quote is
        self._rest = b""  # of a line that is not complete
        self._is_cut = False  # too long, and not all of it is kept

    def feed(self, data: bytes) -> Iterator[TaskRecord]:
        """
        The records that are complete with some more bytes.
        """
        first, *others = data.split(b"\n")
        self._add(first)
        for each in others:
            yield from self._line_ended()
            self._rest = each

    def _add(self, piece: bytes) -> None:
        """
        More of the same line.
        """
        if self._is_cut:
            return
        if len(self._rest) + len(piece) > MAX_RECORD:
            self._is_cut = True
            self._rest = (self._rest + piece)[:_KEPT]
        else:
            self._rest += piece

    def end(self) -> Iterator[TaskRecord]:
        """
        The last record, where no line break follows it, or where a quote is not closed.
        """
        if self._rest:
            yield from self._line_ended()
        if self._begun:
            yield self._record("a quoted field is not closed")

    def _line_ended(self) -> Iterator[TaskRecord]:
        line, self._rest = self._rest.removesuffix(b"\r"), b""
        is_cut, self._is_cut = self._is_cut, False
        self._begun.append(line)
        self._begun_size += len(line) + 1
        self._is_open ^= not self._is_whole(line)
        if is_cut:
            yield self._record(f"it is longer than {MAX_RECORD} bytes")
        elif not self._is_open:
            yield self._record()
        elif self._begun_size > MAX_ROW:
            yield self._record("a quoted field is not closed, or very long")

    def _record(self, too_long: str = "") -> TaskRecord:
        lines, self._begun, self._begun_size = self._begun, [], 0
        self._is_open = False
        raw = lines[0] if len(lines) == 1 else b"\n".join(lines)
        record = TaskRecord(self._line, len(lines), raw, too_long)
        self._line += len(lines)
        return record
