"""
The part of a large task that a mediator reads, without the memory and the time that the
other fields take when they are decoded.  Pure.

A large body is looked through in pieces, so that its reader can do something else after
each of them.  The fields that a mediator does not read are checked, and not decoded:
whether they are JSON in UTF-8, of how many levels, and of how many values.
"""

from __future__ import annotations

from collections.abc import Generator

try:
    import msgspec
except ImportError:  # then all is decoded
    msgspec = None  # type: ignore[assignment, unused-ignore]

from quebert._bounds import BOUNDS, Bounds
from quebert.errors import BadTask
from quebert.task._json import Task, decode
from quebert.task._keywords import FIELDS
from quebert.task._measure import measure

__all__ = ["CAN_READ_PART", "LARGE", "read_part"]

#: Bytes of a body that is decoded whole, which takes no longer than one step with a
#: larger one.
LARGE = 16_384
#: Whether there is a library that does so.
CAN_READ_PART = msgspec is not None

_NO_OBJECT = "a task is a JSON object"

# Bytes that a field may have which is decoded, unless it is a payload: all headers
# together may have so many characters, and the longest form of one in JSON is "\u0000".
_FIELD = 6 * BOUNDS.all_headers

if CAN_READ_PART:
    # The two that are left out may be large, and mediators do not read them.
    _NAMES = sorted(FIELDS - {"params", "traceback"})
    _unset = [(name, msgspec.Raw, msgspec.UNSET) for name in _NAMES]
    _fields = msgspec.json.Decoder(msgspec.defstruct("Fields", _unset))


def read_part(body: bytes, bounds: Bounds = BOUNDS) -> Generator[None, None, Task]:
    """
    The task in C{body}, without the fields that executors alone read.  It yields after
    each piece of the body.

    Numbers of the fields that are left out may have any number of digits.

    @param bounds: how many levels and values it may have.
    @raise BadTask: it is no object in JSON (RFC 8259), nested too deeply, of too many
        values, or a field that a mediator reads is too large.
    """
    yield from measure(body, bounds)
    try:
        fields = _fields.decode(body)
    except msgspec.ValidationError:
        raise BadTask(_NO_OBJECT) from None
    except ValueError as e:
        if b"\\ud" in body or b"\\uD" in body:
            # JSON may have half a surrogate pair, which msgspec refuses.
            whole: object = decode(body, bounds)
            if not isinstance(whole, dict):
                raise BadTask(_NO_OBJECT) from None
            return {name: whole[name] for name in _NAMES if name in whole}
        raise BadTask(f"the body is not JSON in UTF-8: {e}") from None
    task = {}
    for name in _NAMES:
        raw = getattr(fields, name)
        if raw is not msgspec.UNSET:
            encoded = bytes(raw)
            # The memory of a payload is known, if it is a string.
            is_payload = name == "payload" and encoded.startswith(b'"')
            if len(encoded) > _FIELD and not is_payload:
                text = f"{name} must have at most {_FIELD} bytes, not {len(encoded)}"
                raise BadTask(text)
            task[name] = decode(encoded, bounds)
    yield
    return task
