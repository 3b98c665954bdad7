"""
Batches of attempts as bytes.  Pure.

A batch is L{MAGIC}, a byte for the version, 8 bytes with the number of records that
were dropped before it, which is known only when it is sent, and a zlib stream of::

    length    of the head, 4 bytes
    head      JSON: the fields of the batch, the number of records, and the texts
    columns   in the order of this module, each of that many records

A column of times is of doubles, and C{NaN} stands for C{None}.  Columns of texts that
repeat have an index into a list of texts in the head.  A uuid in its usual form takes
16 bytes.  Of all numbers, the first bytes of a column come first, then the second
bytes, and so on: so zlib is quick, and finds what is alike.  All numbers are
little-endian.

A change of all this takes another L{VERSION}.  A key of the head that a reader does not
know is passed over.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from array import array
from collections.abc import Sequence
from math import isfinite, isnan
from typing import Any

from quebert.errors import QuebertError
from quebert.events._columns import Columns
from quebert.events._records import OUTCOMES, AttemptBatch

__all__ = [
    "MOST_RECORDS",
    "UnreadableEvents",
    "body_of",
    "compressed",
    "decode_batch",
    "encode_batch",
    "unpacked",
]

#: How a batch begins.
MAGIC = b"QBE"
#: The version that is written, and read.
VERSION = 1
#: Records that a batch may have.
MOST_RECORDS = 100_000
#: Bytes that it may have before it is compressed.
MOST_BYTES = 16 * 2**20

_LENGTH, _DROPPED = struct.Struct("<I"), struct.Struct("<Q")
#: Columns of texts that repeat.
_TEXTS = ("queue", "url", "outcome", "reason", "answer")
#: Columns of times, of which some may be missing.
_MOMENTS = ("added", "due", "retry_at")
_NAN = float("nan")
_LARGE = 2**63
_UUID, _DASHES = 36, (8, 13, 18, 23)


class UnreadableEvents(QuebertError, ValueError):
    """
    What came is no batch of events, or one of another version.
    """


def encode_batch(batch: AttemptBatch) -> bytes:
    """
    A batch as the body of a message.
    """
    columns = Columns.of(batch.records)
    data = compressed(columns, batch.mediator, batch.sequence, batch.at, batch.total)
    return body_of(data, batch.dropped)


def body_of(data: bytes, dropped: int) -> bytes:
    """
    The body of a message.

    @param data: as L{compressed} gives it.
    @param dropped: as in L{AttemptBatch}.
    """
    return MAGIC + bytes([VERSION]) + _DROPPED.pack(dropped) + data


def compressed(
    columns: Columns, mediator: str, sequence: int, at: float, total: int
) -> bytes:
    """
    The fields of a batch, as in L{AttemptBatch}, and its records.
    """
    head: dict[str, Any] = {
        "mediator": mediator,
        "sequence": sequence,
        "at": at,
        "total": total,
        "count": len(columns),
    }
    pieces: list[bytes] = [
        _written("d", columns.started),
        _written("d", columns.ended),
        _written("I", columns.number),
        _written("H", [status or 0 for status in columns.status]),
    ]
    missing = []
    for name in _MOMENTS:
        moments = getattr(columns, name)
        if moments.count(None) == len(moments):
            missing.append(name)
        else:
            pieces.append(_written("d", [_NAN if t is None else t for t in moments]))
    for name in _TEXTS:
        texts, indices = _indexed(getattr(columns, name))
        head[name] = texts
        if len(texts) > 1:
            pieces.append(_written("I", indices))
    head["missing"] = missing
    packed = _packed_uuids(columns.uuid)
    if packed is None:
        head["uuid"] = list(columns.uuid)
    else:
        pieces.append(packed)
    first = json.dumps(head, separators=(",", ":")).encode("ascii")
    whole = b"".join((_LENGTH.pack(len(first)), first, *pieces))
    return zlib.compress(whole, 1)


def decode_batch(body: bytes) -> AttemptBatch:
    """
    The batch in the body of a message.

    @raise UnreadableEvents: it is none, or of another version.
    """
    start = len(MAGIC) + 1
    packed = body[:start] + body[start + _DROPPED.size :]
    whole = unpacked(packed, MAGIC, VERSION, MOST_BYTES, "batch of attempts")
    try:
        (dropped,) = _DROPPED.unpack_from(body, start)
        return _read(whole, dropped)
    except (ValueError, struct.error) as e:
        why = str(e)
    except (LookupError, OverflowError, RecursionError, TypeError):
        why = "a part of it is missing, or wrong"
    raise UnreadableEvents(f"this is no batch of attempts: {why}")


def unpacked(body: bytes, magic: bytes, version: int, most: int, what: str) -> bytes:
    """
    What is behind C{magic} and the version.

    @param most: bytes that it may have.
    @param what: what to call it.
    @raise UnreadableEvents: it is not that, or of another version.
    """
    if body[: len(magic)] != magic or len(body) <= len(magic):
        raise UnreadableEvents(f"this is no {what}: it begins with {body[:4]!r}")
    found = body[len(magic)]
    if found != version:
        raise UnreadableEvents(
            f"this {what} is of version {found} of the format, and this program reads"
            f" version {version}: run the same version of quebert everywhere"
        )
    unpacking = zlib.decompressobj()
    try:
        whole = unpacking.decompress(body[len(magic) + 1 :], most)
    except zlib.error as e:
        raise UnreadableEvents(f"this is no {what}: {e}") from None
    if unpacking.unconsumed_tail or not unpacking.eof:
        why = "it is cut short" if len(whole) < most else f"it has over {most} bytes"
        raise UnreadableEvents(f"this is no {what}: {why}")
    return whole


# -- Writing


def _written(kind: str, values: Sequence[float]) -> bytes:
    numbers = array(kind, values)
    if sys.byteorder == "big":
        numbers.byteswap()
    size, data = numbers.itemsize, numbers.tobytes()
    return b"".join([data[place::size] for place in range(size)])


def _indexed(column: Sequence[str]) -> tuple[list[str], Sequence[int]]:
    """
    The different texts, and the index of each.
    """
    texts = list(dict.fromkeys(column))
    if len(texts) < 2:  # nearly always
        return texts, ()
    places = {text: place for place, text in enumerate(texts)}
    return texts, [places[text] for text in column]


def _packed_uuids(uuids: Sequence[str]) -> bytes | None:
    """
    16 bytes of each; C{None} if one is not in the usual form.  All are looked at
    together, since that is quick.
    """
    count, joined = len(uuids), "\n".join(uuids)
    if len(joined) != count * (_UUID + 1) - (count > 0):
        return None
    marks = [joined[place :: _UUID + 1] for place in (*_DASHES, _UUID)]
    if marks != ["-" * count] * len(_DASHES) + ["\n" * (count - 1)]:
        return None
    digits = joined.replace("-", "").replace("\n", "")
    try:
        packed = bytes.fromhex(digits)
    except ValueError:
        return None
    return packed if packed.hex() == digits else None


# -- Reading


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
    (length,) = _LENGTH.unpack_from(whole)
    start = _LENGTH.size + length
    head = json.loads(whole[_LENGTH.size : start])
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
    for name in _MOMENTS:
        if name in missing:
            columns[name] = [None] * count
        else:
            moments = pieces.numbers("d")
            columns[name] = [None if isnan(t) else t for t in moments]
            _finite([t for t in columns[name] if t is not None])
    for name in _TEXTS:
        columns[name] = _column(_texts(head[name]), pieces, count)
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


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(t, str) for t in value):
        raise TypeError("these are no texts")
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
