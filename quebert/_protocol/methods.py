"""
The methods of AMQP 0-9-1 with RabbitMQ's extensions, to and from bytes.  Pure; the
tables are pamqp's.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from pamqp import base, commands

from quebert._bounds import SHORT_STRING
from quebert._protocol.frames import FRAME_METHOD, frame
from quebert._protocol.values import decode_arguments, encode_arguments

__all__ = [
    "METHODS",
    "METHODS_BY_INDEX",
    "MethodLayout",
    "encode_method",
    "method_frame",
    "reply_text",
]

_WITH_CONTENT = frozenset(
    {"basic.publish", "basic.return", "basic.deliver", "basic.get-ok"}
)


@attrs.frozen(eq=False)
class MethodLayout:
    """
    How a method is written.

    @ivar name: AMQP's, like C{"queue.declare-ok"}.
    @ivar numbers: of its class and of itself.
    @ivar index: the same, as the payload of its frame begins.
    @ivar fields: the names of its arguments, in AMQP's order, with underscores.
    @ivar types: their AMQP types.
    @ivar responses: the names of the methods that answer it.
    @ivar has_content: whether a content follows.
    """

    name: str
    numbers: tuple[int, int]
    index: bytes
    fields: tuple[str, ...]
    types: tuple[str, ...]
    responses: tuple[str, ...]
    has_content: bool

    def encode(self, arguments: Sequence[Any]) -> bytes:
        """
        The payload of a method frame.

        @raise CodecError: an argument does not fit its type.
        """
        return self.index + encode_arguments(self.types, arguments)

    def decode(self, payload: bytes) -> list[Any]:
        """
        The arguments in the payload of a method frame.

        @raise CodecError: they are malformed.
        """
        return decode_arguments(self.types, payload, 4)


def _name(name: str) -> str:
    """
    AMQP's name for what pamqp calls such as C{Queue.DeclareOk}.
    """
    return re.sub(r"(?<=[a-z])([A-Z])", r"-\1", name).lower()


def _layout(index: int, command: type[base.Frame]) -> MethodLayout:
    name = _name(command.name)
    fields = command.attributes()
    return MethodLayout(
        name,
        divmod(index, 2**16),
        struct.pack(">I", index),
        tuple(field.rstrip("_") for field in fields),
        tuple(command.amqp_type(field) for field in fields),
        tuple(map(_name, command.valid_responses)),
        name in _WITH_CONTENT,
    )


_LAYOUTS = [_layout(index, each) for index, each in commands.INDEX_MAPPING.items()]

#: All methods, by their names.
METHODS: Mapping[str, MethodLayout] = {each.name: each for each in _LAYOUTS}
#: The same, by what the payload of their frames begins with.
METHODS_BY_INDEX: Mapping[bytes, MethodLayout] = {each.index: each for each in _LAYOUTS}


def encode_method(name: str, arguments: Sequence[Any] = ()) -> bytes:
    """
    The payload of a method frame, with the arguments in AMQP's order.

    @raise CodecError: an argument does not fit its type.
    """
    return METHODS[name].encode(arguments)


def method_frame(channel: int, name: str, arguments: Sequence[Any] = ()) -> bytes:
    """
    A method as a frame, as by L{encode_method}.
    """
    return frame(FRAME_METHOD, channel, encode_method(name, arguments))


def reply_text(text: str) -> str:
    """
    As much of C{text} as the reply text of a C{close} may hold.
    """
    raw = text.encode("utf-8", "replace")
    if len(raw) <= SHORT_STRING:
        return text
    return raw[: SHORT_STRING - 3].decode("utf-8", "ignore") + "..."
