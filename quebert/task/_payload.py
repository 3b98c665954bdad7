"""
The body of a request, as a task has it: any bytes, in base64.  Pure.
"""

from __future__ import annotations

import binascii

from quebert.errors import BadTask
from quebert.task._json import kind_of

__all__ = ["read_payload", "written_payload"]


def read_payload(payload: object) -> bytes:
    """
    The bytes that the C{payload} of a task is.

    @raise BadTask: it is not base64, in the alphabet of RFC 4648, section 4, with
        padding and without line breaks.
    """
    if not isinstance(payload, str):
        raise BadTask(f"payload must be base64 in a string, not {kind_of(payload)}")
    try:
        return binascii.a2b_base64(payload, strict_mode=True)
    except ValueError:
        text = "payload must be base64 with padding (RFC 4648, section 4)"
        raise BadTask(text) from None


def written_payload(payload: object) -> str:
    """
    Bytes as the C{payload} of a task.

    @raise BadTask: C{payload} is no bytes.
    """
    if not isinstance(payload, (bytes, bytearray, memoryview)):
        raise BadTask(f"payload must be bytes, not {kind_of(payload)}")
    return binascii.b2a_base64(payload, newline=False).decode("ascii")
