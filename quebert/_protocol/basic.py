"""
The methods of the class C{basic} that are written often, without the tables of
L{quebert._protocol.methods}.  Pure.
"""

from __future__ import annotations

import struct

from quebert._protocol.frames import FRAME_END, FRAME_METHOD

__all__ = ["SETTLEMENT", "ack", "nack_with_requeue"]

#: The arguments of ack and nack, behind their class and number: delivery tag, and bits,
#: of which the first is C{multiple}.
SETTLEMENT = struct.Struct(">4xQB")

_SETTLE = struct.Struct(">BHIHHQBB")  # a whole frame of ack or nack
_SETTLE_SIZE = 13  # of its payload


def ack(channel: int, delivery_tag: int, *, multiple: bool = False) -> bytes:
    """
    C{basic.ack} of one delivery, or with C{multiple} of all up to it.
    """
    return _SETTLE.pack(
        FRAME_METHOD, channel, _SETTLE_SIZE, 60, 80, delivery_tag, multiple, FRAME_END
    )


def nack_with_requeue(
    channel: int, delivery_tag: int, *, multiple: bool = False
) -> bytes:
    """
    C{basic.nack} of a delivery, or of all up to it, which are to be delivered again.
    """
    flags = 2 | multiple
    return _SETTLE.pack(
        FRAME_METHOD, channel, _SETTLE_SIZE, 60, 120, delivery_tag, flags, FRAME_END
    )
