"""
A task as JSON, which is the same with orjson and without.  Pure.
"""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

try:
    import orjson
except ImportError:  # it is quicker, and not needed
    orjson = None  # type: ignore[assignment, unused-ignore]

from quebert._bounds import BOUNDS, Bounds
from quebert.errors import BadTask
from quebert.task._measure import measure

__all__ = ["Task", "decode", "encode", "kind_of"]

#: A task: its fields by their names.
Task = dict[str, Any]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(number: str) -> float:
    """
    What a float can hold of a number: infinity could not be written again.
    """
    return max(-sys.float_info.max, min(float(number), sys.float_info.max))


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)

_AS_JSON = 0
if orjson is not None:
    _AS_JSON |= orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
    _AS_JSON |= orjson.OPT_PASSTHROUGH_SUBCLASS
# Of a whole number of more than 64 bits, which has as many digits at least,
# orjson makes a float.  Times in nanoseconds have 19, and are common.
_TIME = b"0" * 19
_LONG = _TIME + b"0"
_LONG_NEGATIVE = b"-" + _TIME
_DIGITS_AS_0 = bytes.maketrans(b"123456789", b"0" * 9)


def decode(body: bytes, bounds: Bounds = BOUNDS) -> Any:
    """
    What the JSON in C{body}, in UTF-8, says; the same with orjson, and without.

    @param bounds: how many levels and values it may have.  A body of any length is
        read: who knows the bound of a body has checked its length.
    @raise BadTask: it is not JSON (RFC 8259), nested too deeply, or of too many values.
    """
    size = len(body)  # a small one can be neither too deep nor of too many values
    if size > bounds.depth and (
        size > bounds.values or body.count(b"[") + body.count(b"{") > bounds.depth
    ):
        for _ in measure(body, bounds):
            pass
    digits = body.translate(_DIGITS_AS_0)
    long = _TIME in digits and (_LONG in digits or _LONG_NEGATIVE in digits)
    if orjson is not None and not long:
        try:
            return orjson.loads(body)
        except ValueError:
            pass  # json takes more, and has the last word
    try:
        return _decoder.decode(body.decode("utf-8"))
    except ValueError as e:
        raise BadTask(f"the body is not JSON in UTF-8: {e}") from None
    except RecursionError:
        raise BadTask("the body is JSON nested too deeply to be read") from None


def encode(task: Task) -> bytes:
    """
    The task as JSON in UTF-8; the same with orjson, and without, but that orjson
    knows some more types, UUIDs and enumerations.

    @raise ValueError: a value has no form in JSON; likewise C{TypeError}.
    """
    if orjson is not None:
        try:
            body = orjson.dumps(task, option=_AS_JSON)
        except TypeError:
            pass  # json takes more, and has the last word
        else:
            if b"null" not in body:  # which it makes of what is not finite, too
                return body
    try:
        return _to_text(task).encode("utf-8")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        # Half a surrogate pair, which JSON can say only as an escape.
        return _to_ascii(task).encode("ascii")


# Made once: that takes longer than to encode a small task.
_STRICT: dict[str, Any] = {"allow_nan": False, "separators": (",", ":")}
_to_text = json.JSONEncoder(ensure_ascii=False, **_STRICT).encode
_to_ascii = json.JSONEncoder(ensure_ascii=True, **_STRICT).encode


def kind_of(value: object) -> str:
    """
    What JSON calls a value.
    """
    names: dict[type, str] = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)
