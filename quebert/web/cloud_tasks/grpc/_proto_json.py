"""
From messages of protobuf to proto JSON, and back.

C{json_format} of protobuf does the same, and asks the descriptor of each field each
time: a request and its answer took it 73 us, half of what a call costs beside grpcio.
Here that is asked once for each field.  It is left what is rare: C{Any}, which may hold
a message of any type.

U{https://protobuf.dev/programming-guides/json/}
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from functools import cache
from math import isfinite
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor

from quebert.web.cloud_tasks.grpc._descriptors import POOL

__all__ = ["MessageShape", "shape_of"]

Convert = Callable[[Any], Any]
_TEXTS = {f"google.protobuf.{name}" for name in ("Duration", "FieldMask", "Timestamp")}
_ANY = "google.protobuf.Any"


class MessageShape:
    """
    How messages of a type are read and written.

    @ivar name: of the type.
    @ivar read: gives the proto JSON of a message: without fields that are not there,
        and with enums as names.  It raises C{ValueError} for a value that JSON cannot
        have, such as a time beyond all.
    @ivar write: makes the message of proto JSON, whose enums may be names or numbers,
        and whose keys may be as in JSON or as in the .proto.  It raises C{KeyError},
        C{TypeError} or C{ValueError} where that is none.
    """

    def __init__(self, descriptor: Any) -> None:
        self.name: str = descriptor.full_name
        self._class = message_factory.GetMessageClass(descriptor)
        self._read: dict[int, tuple[str, Convert | None]] = {}
        self._write: dict[str, tuple[str, Convert | None]] = {}
        self.read: Convert = self._read_fields
        self.write: Convert = self._write_fields
        if self.name in _TEXTS:
            self.read, self.write = self._class.ToJsonString, self._write_text
        elif self.name == _ANY:
            self.read, self.write = self._read_any, self._write_any
        else:
            for field in descriptor.fields:
                read, write = _converters(field)
                self._read[field.number] = field.json_name, read
                for key in (field.json_name, field.name):
                    self._write[key] = field.name, write

    def parse(self, content: bytes) -> Any:
        """
        The message of some bytes.

        @raise google.protobuf.message.DecodeError: they are none.
        """
        return self._class.FromString(content)

    def _read_fields(self, message: Any) -> dict[str, Any]:
        found = {}
        for field, value in message.ListFields():
            key, convert = self._read[field.number]
            found[key] = value if convert is None else convert(value)
        return found

    def _write_fields(self, given: Mapping[str, Any]) -> Any:
        fields = {}
        for key, value in given.items():
            if value is not None:
                name, convert = self._write[key]
                fields[name] = value if convert is None else convert(value)
        return self._class(**fields)

    def _write_text(self, text: str) -> Any:
        message = self._class()
        message.FromJsonString(text)
        return message

    def _read_any(self, message: Any) -> Any:
        return json_format.MessageToDict(message, descriptor_pool=POOL)

    def _write_any(self, value: Mapping[str, Any]) -> Any:
        return json_format.ParseDict(value, self._class(), descriptor_pool=POOL)


@cache
def shape_of(name: str) -> MessageShape:
    """
    The shape of the messages of a type, such as C{google.cloud.tasks.v2.Task}.
    """
    return MessageShape(POOL.FindMessageTypeByName(name))


def _converters(field: Any) -> tuple[Convert | None, Convert | None]:
    """
    What reads and writes a field; C{None} where there is nothing to do.
    """
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return dict, None  # those of messages stand in an Any alone
    read, write = _single(field)
    if not field.is_repeated:
        return read, write
    return _each(read) or list, _each(write)


def _single(field: Any) -> tuple[Convert | None, Convert | None]:
    match field.type:
        case FieldDescriptor.TYPE_MESSAGE:
            shape = shape_of(field.message_type.full_name)
            return shape.read, shape.write
        case FieldDescriptor.TYPE_ENUM:
            names = {v.number: v.name for v in field.enum_type.values}
            return lambda number: names.get(number, number), None
        case FieldDescriptor.TYPE_BYTES:
            return lambda value: b64encode(value).decode("ascii"), b64decode
        case FieldDescriptor.TYPE_INT64:
            return str, int
        case FieldDescriptor.TYPE_DOUBLE:
            return _finite, None
    return None, None


def _each(convert: Convert | None) -> Convert | None:
    if convert is None:
        return None
    return lambda values: [convert(value) for value in values]


def _finite(value: float) -> float:
    if not isfinite(value):
        raise ValueError(f"{value} is not a number that a field may have.")
    return value
