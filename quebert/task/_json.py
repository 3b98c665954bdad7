"""
A task as JSON, which is the same with orjson and without.  Pure.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any, NoReturn

try:
    import orjson
except ImportError:  # it is quicker, and not needed
    orjson = None  # type: ignore[assignment, unused-ignore]

from quebert._bounds import BOUNDS, Bounds
from quebert.errors import BadTask
from quebert.task._measure import measure
from quebert.task._plain import plain

__all__ = [
    "Task",
    "check_size",
    "decode",
    "decode_bounded",
    "encode",
    "encode_finite",
    "encode_new",
    "kind_of",
    "may_hold",
]

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
# A letter, a digit, or one of _ . : - which no encoder escapes, although it may.
_ESCAPED = re.compile(rb"\\u00(?:2[deDE]|3[0-9aA]|[46][1-9a-fA-F]|5[0-9aAfF]|7[0-9aA])")


def may_hold(text: bytes, body: bytes) -> bool:
    """
    Whether a string of the JSON in C{body} may hold C{text}, as it is or escaped (RFC
    8259, section 7), which is quicker told than by decoding it.

    @param text: letters, digits, C{_.:-} and quotes.
    """
    if text in body:
        return True
    if b"\\" not in body:  # which is told most quickly
        return False
    return b"\\u00" in body and _ESCAPED.search(body) is not None


def decode(body: bytes, bounds: Bounds = BOUNDS) -> Any:
    """
    What the JSON in C{body}, in UTF-8, says; the same with orjson, and without.

    @param bounds: how many levels and values it may have.  A body of any length is
        read: who knows the bound of a body has checked its length.
    @raise BadTask: it is not JSON (RFC 8259), nested too deeply, or of too many values.
    """
    size = len(body)  # a small one can be neither too deep nor of too many values
    if size > bounds.values or (
        size > bounds.depth and body.count(b"[") + body.count(b"{") > bounds.depth
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


def decode_bounded(body: bytes, bounds: Bounds) -> Any:
    """
    What the body of a message says, within all bounds.

    @raise BadTask: the body is too large, is not JSON, is nested too deeply, or has too
        many values; or there is no memory for it.
    """
    check_size(body, bounds)
    try:
        return decode(body, bounds)
    except MemoryError as e:
        raise BadTask("the body cannot be decoded: there is no memory for it") from e


def check_size(body: bytes, bounds: Bounds) -> None:
    """
    Look whether the body of a message is small enough to be decoded.

    @raise BadTask: it is not.
    """
    if len(body) > bounds.body:
        most = bounds.body
        raise BadTask(f"the body must have at most {most} bytes, not {len(body)}")


def encode(task: Task) -> bytes:
    """
    The task as JSON in UTF-8; it says the same with orjson, and without.  Values of
    L{plain}'s types may be in it.

    @raise ValueError: a value has no form in JSON; likewise C{TypeError}.
    """
    try:
        return _quickly(task) or _text(task).encode("utf-8")
    except UnicodeEncodeError:
        # Half a surrogate pair, which JSON can say only as an escape.
        return _to_ascii(task).encode("ascii")


def encode_finite(value: Any) -> bytes:
    """
    The same for any value that has no number but finite ones: orjson writes C{null} for
    others, so L{encode} leaves whatever has a C{null} to C{json}, which takes ten times
    as long.
    """
    if orjson is not None:
        try:
            return orjson.dumps(value)
        except TypeError:
            pass
    return encode(value)


def encode_new(task: Task) -> bytes:
    """
    The same for a task that a producer makes: it must be text in UTF-8, and no object
    may have a key twice, as a dict with the keys 1 and "1" would.

    @raise ValueError: a value has no form in JSON; likewise C{TypeError}.
    """
    body = _quickly(task)
    if body is not None:
        return body
    text = _text(task)
    try:
        body = text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a text has half a surrogate pair in it") from None
    _twice.decode(text)
    return body


def _quickly(task: Task) -> bytes | None:
    """
    The task as JSON, if orjson has a form for it.
    """
    if orjson is not None:
        try:
            body = orjson.dumps(task, default=plain, option=_AS_JSON)
        except TypeError:
            return None  # json takes more, and has the last word
        if b"null" not in body:  # which it makes of what is not finite, too
            return body
    return None


def _text(task: Task) -> str:
    try:
        return _to_text(task)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise ValueError(f"the key {twice!r:.40} would be there twice")


_twice = json.JSONDecoder(object_pairs_hook=_refuse_twice)

# Made once: that takes longer than to encode a small task.
_STRICT: dict[str, Any] = {
    "allow_nan": False,
    "separators": (",", ":"),
    "default": plain,
}
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
