"""
States of mediators as bytes: JSON, compressed.  Pure.

A field that a reader does not know is passed over, and one that is missing has its
default: so a field may be added without another L{VERSION}.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from quebert.events._batch_format import (
    LONGEST,
    MOST_NAMES,
    UnreadableEvents,
    checked_name,
    unpacked,
)
from quebert.events._records import MediatorState, OriginState, WatchState

__all__ = ["decode_state", "encode_state"]

#: How a state begins.
MAGIC = b"QBS"
#: The version that is written, and read.
VERSION = 1
#: Bytes that it may have before it is compressed.
MOST_BYTES = 4 * 2**20
#: Whole numbers are less: so a sum of them is one that a metric can have.
LARGEST = 2**63

Value = TypeVar("Value")
_WHAT = "state of a mediator"


def encode_state(state: MediatorState) -> bytes:
    """
    A state as the body of a message.
    """
    text = json.dumps(attrs.asdict(state), separators=(",", ":"))
    return MAGIC + bytes([VERSION]) + zlib.compress(text.encode("ascii"), 1)


def decode_state(body: bytes) -> MediatorState:
    """
    The state in the body of a message.

    @raise UnreadableEvents: it is none, or of another version.
    """
    whole = unpacked(body, MAGIC, VERSION, MOST_BYTES, _WHAT)
    try:
        fields = json.loads(whole)
        for name in ("queues", "origins", "settings"):
            if len(fields[name]) > MOST_NAMES:
                raise ValueError(f"there are over {MOST_NAMES} {name}")
        for queue in fields["queues"]:
            checked_name(queue)
        fields["queues"] = _values(WatchState, fields["queues"])
        fields["origins"] = _values(OriginState, fields["origins"])
        settings = fields["settings"]
        fields["settings"] = {
            _text(key): _text(settings[key][:LONGEST]) for key in settings
        }
        return _value(MediatorState, fields)
    except (
        AttributeError,
        LookupError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    ):
        why = "a part of it is missing, or wrong"
        raise UnreadableEvents(f"this is no {_WHAT}: {why}") from None


def _values(kind: type[Value], found: Mapping[str, Any]) -> dict[str, Value]:
    return {_text(name): _value(kind, fields) for name, fields in found.items()}


def _value(kind: type[Value], found: Mapping[str, Any]) -> Value:
    known: Any = attrs.fields(kind)  # type: ignore[arg-type]
    fields = {
        each.name: _CHECKS[each.type](found[each.name])
        for each in known
        if each.name in found
    }
    return kind(**fields)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("this is no text")
    if len(value) > LONGEST:
        raise ValueError("a text is too long")
    value.encode()  # raises ValueError for half a character
    if "\0" in value:
        raise ValueError("a text has a zero in it")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("this is neither true nor false")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("this is no number")
    if not math.isfinite(value):
        raise ValueError("this is no number")
    return float(value)


def _whole(value: object) -> int:
    number = _number(value)
    if number != int(number) or not abs(number) < LARGEST:
        raise ValueError("this is no whole number, or too large")
    return int(number)


#: By how the fields of the states are annotated.
_CHECKS: Mapping[Any, Callable[[Any], object]] = {
    "str": _text,
    "bool": _flag,
    "int": _whole,
    "float": _number,
    "float | None": lambda value: None if value is None else _number(value),
    "Mapping[str, WatchState]": lambda value: value,  # which are checked before
    "Mapping[str, OriginState]": lambda value: value,
    "Mapping[str, str]": lambda value: value,
}
