"""
The methods of the class C{basic} that are written and read often: publish, deliver,
get-ok, ack, and nack.  Pure.

Each is written and read here, without the tables of L{quebert._protocol.methods}, which
client and embedded broker use for all other methods.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TypeVar

from quebert._protocol.frames import FRAME_END, FRAME_METHOD
from quebert._protocol.values import CodecError, encode_shortstr

__all__ = [
    "ONE",
    "SETTLEMENT",
    "UP_TO",
    "acks_on",
    "deliver",
    "deliver_head",
    "get_ok",
    "nack_with_requeue",
    "publish_mandatory",
    "read_deliver",
    "read_get_ok",
    "read_publish",
]

_T = TypeVar("_T")

_INDEX = struct.Struct(">HH")  # of the class and of the method
_PUBLISH = _INDEX.pack(60, 40) + b"\0\0"  # a reserved short
_DELIVER = _INDEX.pack(60, 60)
_GET_OK = _INDEX.pack(60, 71)

# -- From the client to the broker: publish


@lru_cache(256)  # nearly always to the same few queues
def publish_mandatory(exchange: str, routing_key: str) -> bytes:
    """
    The payload of a mandatory C{basic.publish}.

    @raise CodecError: a name is too long.
    """
    address = encode_shortstr(exchange) + encode_shortstr(routing_key)
    return b"%b%b\x01" % (_PUBLISH, address)


def read_publish(payload: bytes) -> tuple[str, str, int]:
    """
    The exchange, the routing key, and the bits of a C{basic.publish}: 1 for mandatory,
    2 for immediate.

    @raise CodecError: it is cut short, or too long.
    @raise IndexError: it is cut short.
    """
    begin = 7
    end = begin + payload[6]
    key_begin = end + 1
    key_end = key_begin + payload[end]
    if key_end + 1 != len(payload):
        raise CodecError("basic.publish is cut short, or too long")
    return (
        payload[begin:end].decode("utf-8", "surrogateescape"),
        payload[key_begin:key_end].decode("utf-8", "surrogateescape"),
        payload[key_end],
    )


# -- From the broker to the client: deliver and get-ok

_TAG = struct.Struct(">QB")
# The delivery tag, whether it is redelivered, and the size of its exchange's name.
_DELIVERY = struct.Struct(">QBB")
_COUNT = struct.Struct(">I")


def deliver_head(consumer_tag: str) -> bytes:
    """
    What all C{basic.deliver} to one consumer begin with.

    @raise CodecError: the tag is too long.
    """
    return _DELIVER + encode_shortstr(consumer_tag)


def deliver(
    head: bytes, delivery_tag: int, redelivered: bool, exchange: str, routing_key: str
) -> bytes:
    """
    The payload of a C{basic.deliver}.

    @param head: what L{deliver_head} has made.
    """
    return b"".join(
        (
            head,
            _TAG.pack(delivery_tag, redelivered),
            encode_shortstr(exchange),
            encode_shortstr(routing_key),
        )
    )


def read_deliver(payload: bytes, make: Callable[[str, int, bool, str, str], _T]) -> _T:
    """
    What C{make} makes of a C{basic.deliver}.

    @param make: called with consumer tag, delivery tag, whether it is redelivered,
        exchange, and routing key.
    @raise struct.error: it is cut short; or C{IndexError}.
    """
    end = 5 + payload[4]
    tag, redelivered, size = _DELIVERY.unpack_from(payload, end)
    at = end + _DELIVERY.size
    return make(
        payload[5:end].decode("utf-8", "surrogateescape"),
        tag,
        redelivered == 1,
        payload[at : at + size].decode("utf-8", "surrogateescape"),
        payload[at + size + 1 :].decode("utf-8", "surrogateescape"),
    )


def get_ok(
    delivery_tag: int,
    redelivered: bool,
    exchange: str,
    routing_key: str,
    message_count: int,
) -> bytes:
    """
    The payload of a C{basic.get-ok}.

    @param message_count: how many more messages are in the queue.
    """
    message = deliver(_GET_OK, delivery_tag, redelivered, exchange, routing_key)
    return message + _COUNT.pack(message_count)


def read_get_ok(payload: bytes, make: Callable[[str, int, bool, str, str], _T]) -> _T:
    """
    What C{make} makes of a C{basic.get-ok}, as by L{read_deliver}: it is a delivery
    with an empty consumer tag, and with a count at its end.
    """
    return read_deliver(payload[:4] + b"\x00" + payload[4:-4], make)


# -- Both ways: ack, of deliveries and of publications; from the client: nack

#: The arguments of ack and nack, behind their class and number: delivery tag, and bits,
#: of which the first is C{multiple}.
SETTLEMENT = struct.Struct(">4xQB")

_SETTLE = struct.Struct(">BHIHHQH")  # a whole frame of ack or nack
_SETTLE_SIZE = 13  # of its payload


#: The bits of an ack, and the end of its frame: for one delivery, or for all up to it.
ONE, UP_TO = FRAME_END, 1 << 8 | FRAME_END


def acks_on(channel: int) -> Callable[[int, int], bytes]:
    """
    A function that makes frames of C{basic.ack} on a channel, of a delivery tag and
    L{ONE} or L{UP_TO}.  It is all in C, as each message needs a frame.
    """
    return partial(_SETTLE.pack, FRAME_METHOD, channel, _SETTLE_SIZE, 60, 80)


def nack_with_requeue(
    channel: int, delivery_tag: int, *, multiple: bool = False
) -> bytes:
    """
    The frame of a C{basic.nack} of a delivery, or of all up to it, which are to be
    delivered again.
    """
    end = (2 | multiple) << 8 | FRAME_END
    return _SETTLE.pack(FRAME_METHOD, channel, _SETTLE_SIZE, 60, 120, delivery_tag, end)
