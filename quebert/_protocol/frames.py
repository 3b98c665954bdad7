"""
The frames of AMQP 0-9-1 (section 2.3.5), and those that are written often.
Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = [
    "BODY",
    "CONTENT_HEADER",
    "FRAME_END",
    "FRAME_MAX",
    "FRAME_MIN",
    "FRAME_START",
    "HEADER",
    "HEARTBEAT",
    "HEARTBEAT_FRAME",
    "METHOD",
    "PROTOCOL_HEADER",
    "ack",
    "body_frames",
    "frame",
    "nack_with_requeue",
]

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_END = 0xCE
#: Bytes that a frame has at most, unless the other side wants less.
FRAME_MAX = 131_072
#: And how many each side must take (section 1.2, frame-min-size).
FRAME_MIN = 4_096
#: Type, channel, and the payload's size.
FRAME_START = struct.Struct(">BHI")
#: Class, weight, and the body's size.
CONTENT_HEADER = struct.Struct(">HHQ")
HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"

_SETTLE = struct.Struct(">BHIHHQBB")  # a whole frame of ack or nack


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """
    Any frame.
    """
    return FRAME_START.pack(kind, channel, len(payload)) + payload + b"\xce"


def body_frames(channel: int, body: bytes, most: int) -> Iterator[bytes]:
    """
    The frames of a body, one by one: each is made when it is asked for.

    @param most: bytes of the payload of each frame.
    """
    view = memoryview(body)
    for at in range(0, len(body), most):
        payload = view[at : at + most]
        start = FRAME_START.pack(BODY, channel, len(payload))
        yield b"".join((start, payload, b"\xce"))


def ack(channel: int, delivery_tag: int, *, multiple: bool = False) -> bytes:
    """
    C{basic.ack} of one delivery, or with C{multiple} of all up to it.
    """
    return _SETTLE.pack(METHOD, channel, 13, 60, 80, delivery_tag, multiple, FRAME_END)


def nack_with_requeue(
    channel: int, delivery_tag: int, *, multiple: bool = False
) -> bytes:
    """
    C{basic.nack} of a delivery, or of all up to it, which are to be delivered again.
    """
    flags = 2 | multiple
    return _SETTLE.pack(METHOD, channel, 13, 60, 120, delivery_tag, flags, FRAME_END)
