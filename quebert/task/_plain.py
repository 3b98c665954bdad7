"""
The forms in JSON of values that JSON does not have, but programs do.  Pure.
"""

from __future__ import annotations

import dataclasses
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import attrs

__all__ = ["plain"]

#: What the encoders of JSON know, or are to refuse.
_KNOWN = (dict, list, tuple, str, int, float)


def plain(value: object) -> Any:
    """
    What stands for C{value} in JSON: for a UUID and a Decimal their text, so that no
    digit is lost; for a date, a time, or both, their text by ISO 8601; for an
    enumeration its value; for an object of a dataclass or of attrs its fields.

    @raise TypeError: there is nothing.
    @raise ValueError: a Decimal is no number.
    """
    if isinstance(value, _KNOWN):
        pass
    elif isinstance(value, UUID):
        return str(value)
    elif isinstance(value, (datetime, date, time)):
        return value.isoformat()
    elif isinstance(value, Decimal):
        if value.is_finite():
            return str(value)
        raise ValueError(f"{value} is no number")
    elif isinstance(value, Enum):
        return value.value
    elif isinstance(value, type):
        pass
    elif dataclasses.is_dataclass(value):
        return _fields(value, dataclasses.fields(value))
    elif attrs.has(kind := type(value)):
        return _fields(value, attrs.fields(kind))
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _fields(value: object, fields: Any) -> dict[str, Any]:
    try:
        return {field.name: getattr(value, field.name) for field in fields}
    except AttributeError as e:
        raise TypeError(f"a field of it has no value: {e}") from None
