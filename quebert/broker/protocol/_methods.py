"""
The methods that clients call.  Pure.
"""

from __future__ import annotations

import struct
from typing import Any

import attrs

from quebert._protocol.methods import METHODS_BY_INDEX
from quebert.broker.state import AMQPConnectionError
from quebert.errors import ReplyCode

__all__ = ["Method", "decode_method", "name_of"]


@attrs.frozen
class Method:
    """
    A method that a client called.

    @ivar name: AMQP's, like C{"queue.declare"}.
    @ivar index: the numbers of its class and of itself.
    @ivar arguments: by the names of its fields, with underscores.
    """

    name: str
    index: tuple[int, int]
    arguments: dict[str, Any]


def name_of(payload: bytes) -> tuple[str, tuple[int, int]]:
    """
    The name and the numbers of the method of a method frame, whose arguments are not
    decoded: they can take much time and memory.

    @raise struct.error: there is no method in it.
    @raise AMQPConnectionError: there is no such method.
    """
    layout = METHODS_BY_INDEX.get(payload[:4])
    if layout is None:
        klass, number = struct.unpack_from(">HH", payload)
        text = f"there is no method {klass}.{number}"
        raise AMQPConnectionError(ReplyCode.NOT_IMPLEMENTED, text)
    return layout.name, layout.numbers


def decode_method(payload: bytes) -> Method:
    """
    The method of a method frame.

    @raise CodecError: its arguments are malformed.
    @raise AMQPConnectionError: there is no such method.
    """
    name, index = name_of(payload)
    layout = METHODS_BY_INDEX[payload[:4]]
    arguments = dict(zip(layout.fields, layout.decode(payload), strict=True))
    return Method(name, index, arguments)
