"""
The methods of AMQP 0-9-1 with RabbitMQ's extensions, to and from bytes.  Pure;
the tables are pamqp's.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import attrs
from pamqp import base, commands

from quebert._protocol.codec import decode_arguments, encode_arguments
from quebert._protocol.frames import FRAME_METHOD, frame
from quebert.broker.state import AMQPConnectionError

__all__ = ["Method", "decode_method", "fields_of", "method_frame", "name_of"]


@attrs.frozen
class _Layout:
    name: str  # like "basic.publish"
    index: bytes
    fields: tuple[str, ...]
    types: tuple[str, ...]


def _layout(index: int, command: type[base.Frame]) -> _Layout:
    klass, method = (part for part in command.name.split("."))
    hyphens = "".join(f"-{c.lower()}" if c.isupper() else c for c in method)
    fields = command.attributes()
    return _Layout(
        f"{klass.lower()}.{hyphens.lstrip('-')}",
        struct.pack(">I", index),
        tuple(field.rstrip("_") for field in fields),
        tuple(command.amqp_type(field) for field in fields),
    )


_LAYOUTS = [_layout(index, each) for index, each in commands.INDEX_MAPPING.items()]
_BY_INDEX = {layout.index: layout for layout in _LAYOUTS}
_BY_NAME = {layout.name: layout for layout in _LAYOUTS}


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


def fields_of(name: str) -> dict[str, str]:
    """
    The fields of a method, in order, with their AMQP types.
    """
    layout = _BY_NAME[name]
    return dict(zip(layout.fields, layout.types, strict=True))


def name_of(payload: bytes) -> tuple[str, tuple[int, int]]:
    """
    The name and the numbers of the method of a method frame, whose arguments are not
    decoded: they can take much time and memory.

    @raise struct.error: there is no method in it.
    @raise AMQPConnectionError: there is no such method.
    """
    klass, number = struct.unpack_from(">HH", payload)
    layout = _BY_INDEX.get(payload[:4])
    if layout is None:
        text = f"NOT_IMPLEMENTED - there is no method {klass}.{number}"
        raise AMQPConnectionError(540, text)
    return layout.name, (klass, number)


def decode_method(payload: bytes) -> Method:
    """
    The method of a method frame.

    @raise CodecError: its arguments are malformed.
    @raise AMQPConnectionError: there is no such method.
    """
    name, index = name_of(payload)
    layout = _BY_NAME[name]
    values = decode_arguments(layout.types, payload, 4)
    arguments = dict(zip(layout.fields, values, strict=True))
    return Method(name, index, arguments)


def method_frame(channel: int, name: str, arguments: Sequence[Any] = ()) -> bytes:
    """
    A method as a frame, with its arguments in AMQP's order.

    @raise CodecError: an argument does not fit its type.
    """
    layout = _BY_NAME[name]
    encoded = encode_arguments(layout.types, arguments)
    return frame(FRAME_METHOD, channel, layout.index + encoded)
