"""
Batches of attempts to bytes.  Pure.
"""

from __future__ import annotations

import json
import sys
import zlib
from array import array
from collections.abc import Sequence
from typing import Any

from quebert.events._batch_format import (
    DROPPED,
    LENGTH,
    MAGIC,
    MOMENTS,
    TEXTS,
    VERSION,
)
from quebert.events._columns import Columns
from quebert.events._records import AttemptBatch

__all__ = ["body_of", "compressed", "encode_batch"]

_NAN = float("nan")
_UUID, _DASHES = 36, (8, 13, 18, 23)


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
    return MAGIC + bytes([VERSION]) + DROPPED.pack(dropped) + data


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
    for name in MOMENTS:
        moments = getattr(columns, name)
        if moments.count(None) == len(moments):
            missing.append(name)
        else:
            pieces.append(_written("d", [_NAN if t is None else t for t in moments]))
    for name in TEXTS:
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
    whole = b"".join((LENGTH.pack(len(first)), first, *pieces))
    return zlib.compress(whole, 1)


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
