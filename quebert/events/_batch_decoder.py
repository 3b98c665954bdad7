"""
Batches of attempts from bytes.  Pure.
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from collections.abc import Sequence
from math import isfinite, isnan
from typing import Any

from quebert.events._batch_format import (
    DROPPED,
    LENGTH,
    LONGEST,
    LONGEST_ANSWER,
    MAGIC,
    MOMENTS,
    MOST_BYTES,
    MOST_RECORDS,
    TEXTS,
    VERSION,
    UnreadableEvents,
    checked_name,
    unpacked,
)
from quebert.events._columns import Columns
from quebert.events._records import OUTCOMES, AttemptBatch

__all__ = ["decode_batch"]

_LARGE = 2**63


def decode_batch(body: bytes) -> AttemptBatch:
    """
    The batch in the body of a message.

    @raise UnreadableEvents: it is none, or of another version.
    """
    start = len(MAGIC) + 1
    packed = body[:start] + body[start + DROPPED.size :]
    whole = unpacked(packed, MAGIC, VERSION, MOST_BYTES, "batch of attempts")
    try:
        (dropped,) = DROPPED.unpack_from(body, start)
        return _read(whole, dropped)
    except (ValueError, struct.error) as e:
        why = str(e)
    except (LookupError, OverflowError, RecursionError, TypeError):
        why = "a part of it is missing, or wrong"
    raise UnreadableEvents(f"this is no batch of attempts: {why}")


class _ColumnReader:
    """
    Reads columns, one after the other.
    """

    def __init__(self, data: bytes, start: int, count: int) -> None:
        self._data = data
        self._at = start
        self._count = count

    def take(self, size: int) -> bytes:
        """
        The next bytes, so many for each record.
        """
        start, self._at = self._at, self._at + size * self._count
        if self._at > len(self._data):
            raise ValueError("it is cut short")
        return self._data[start : self._at]

    def numbers(self, kind: str) -> array[Any]:
        """
        The next column of numbers.
        """
        numbers = array(kind)
        size, count = numbers.itemsize, self._count
        data, spread = self.take(size), bytearray(size * count)
        for place in range(size):
            spread[place::size] = data[place * count : (place + 1) * count]
        numbers.frombytes(spread)
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers

    def end(self) -> None:
        """
        That was all.
        """
        if self._at != len(self._data):
            raise ValueError("there is more behind its end")


def _read(whole: bytes, dropped: int) -> AttemptBatch:
    (length,) = LENGTH.unpack_from(whole)
    start = LENGTH.size + length
    head = json.loads(whole[LENGTH.size : start])
    count = _whole(head["count"])
    if count > MOST_RECORDS:
        raise ValueError(f"it has more than {MOST_RECORDS} records")
    pieces = _ColumnReader(whole, start, count)
    columns: dict[str, Any] = {
        "started": _finite(pieces.numbers("d")),
        "ended": _finite(pieces.numbers("d")),
        "number": pieces.numbers("I"),
        "status": [status or None for status in pieces.numbers("H")],
    }
    missing = head["missing"]
    for name in MOMENTS:
        if name in missing:
            columns[name] = [None] * count
        else:
            moments = pieces.numbers("d")
            columns[name] = [None if isnan(t) else t for t in moments]
            _finite([t for t in columns[name] if t is not None])
    for name in TEXTS:
        most = LONGEST_ANSWER if name == "answer" else LONGEST
        columns[name] = _column(_texts(head[name], most), pieces, count)
    for queue in head["queue"]:
        checked_name(queue)
    if not set(head["outcome"]).issubset(OUTCOMES):
        raise ValueError("it has an unknown outcome")
    uuids = head.get("uuid")
    columns["uuid"] = _uuids(pieces.take(16)) if uuids is None else _texts(uuids)
    pieces.end()
    return AttemptBatch(
        mediator=_texts([head["mediator"]])[0],
        sequence=_whole(head["sequence"]),
        at=_finite([float(head["at"])])[0],
        dropped=dropped,
        total=_whole(head["total"]),
        records=Columns(**columns).records(),
    )


def _column(texts: list[str], pieces: _ColumnReader, count: int) -> list[str]:
    if len(texts) > 1:
        return [texts[place] for place in pieces.numbers("I")]
    return texts * count if count else []


def _uuids(packed: bytes) -> list[str]:
    digits = packed.hex()
    whole = [digits[start : start + 32] for start in range(0, len(digits), 32)]
    return [f"{d[:8]}-{d[8:12]}-{d[12:16]}-{d[16:20]}-{d[20:]}" for d in whole]


def _texts(value: object, most: int = LONGEST) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(t, str) for t in value):
        raise TypeError("these are no texts")
    if max(map(len, value), default=0) > most:
        raise ValueError(f"a text has over {most} characters")
    joined = "".join(value)
    joined.encode()  # raises ValueError for half a character
    if "\0" in joined:
        raise ValueError("a text has a zero in it")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("this is no number")
    if not 0 <= value < _LARGE:
        raise ValueError("a number is too large")
    return value


def _finite(values: Sequence[float]) -> Sequence[float]:
    if not all(map(isfinite, values)):
        raise ValueError("a time is missing")
    return values
