"""
Message classes of protobuf, made from the tables of L{_schema}.

They are in a pool of their own.  Modules that C{protoc} writes share one pool for the
whole process: ours, beside those of google-cloud-tasks, would be refused there, and
each of their versions works with some versions of protobuf alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from google.protobuf import (
    any_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    message_factory,
    timestamp_pb2,
)
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool

from quebert.web.cloud_tasks.grpc._schema import ENUMS, MESSAGES

__all__ = ["POOL", "message_class"]

_KNOWN = any_pb2, duration_pb2, empty_pb2, field_mask_pb2, timestamp_pb2
_TASKS = "google.cloud.tasks.v2"
_FIELD = re.compile(r"(\w+)=([0-9]+)(?::([*?]?)([\w.<>,]+))?(?:@(\w+))?")
_MAP = re.compile(r"map<(\w+),([\w.]+)>")
_SCALARS = "bool", "bytes", "double", "int32", "int64", "string"


def message_class(name: str) -> Any:
    """
    The class of the messages with a name, such as C{google.cloud.tasks.v2.Task}.
    """
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))


class _File:
    """
    Makes the file of a package.
    """

    def __init__(self, package: str, messages: str, before: list[str]) -> None:
        self._package = package
        self.proto = FileDescriptorProto(
            name=f"{package}.proto", package=package, syntax="proto3", dependency=before
        )
        self._made: dict[str, DescriptorProto] = {}
        self._enums = ENUMS if package == _TASKS else {}
        lines = re.sub(r"\n\s*\+", "", messages).split("\n")
        self._lines = [line.split() for line in lines if line.strip()]

    def make(self) -> bytes:
        """
        The file, as bytes.
        """
        for name, *_ in self._lines:
            self._made[name] = self._room(name, "nested_type").add(
                name=name.rpartition(".")[2]
            )
        for name, values in self._enums.items():
            enum = self._room(name, "enum_type").add(name=name.rpartition(".")[2])
            for value in values:
                enum.value.add(name=value.name, number=value.value)
        for name, *fields in self._lines:
            for field in fields:
                self._add(name, field)
        content: bytes = self.proto.SerializeToString()
        return content

    def _room(self, name: str, kind: str) -> Any:
        """
        Where a message or an enum with that name belongs.
        """
        outer = name.rpartition(".")[0]
        if outer:
            return getattr(self._made[outer], kind)
        return (
            self.proto.message_type if kind == "nested_type" else self.proto.enum_type
        )

    def _add(self, message: str, text: str) -> None:
        found = _FIELD.fullmatch(text)
        assert found is not None, text
        name, number, count, kind, group = found.groups()
        made = self._made[message]
        field = made.field.add(name=name, number=int(number))
        field.label = FieldDescriptorProto.LABEL_OPTIONAL
        if count == "*":
            field.label = FieldDescriptorProto.LABEL_REPEATED
        entry = _MAP.fullmatch(kind or "")
        if entry is not None:
            kind = self._add_entry(message, name, entry)
            field.label = FieldDescriptorProto.LABEL_REPEATED
        self._set_type(field, message, kind or "string")
        if count == "?":
            field.proto3_optional = True
            group = f"_{name}"
        if group is not None:
            groups = [each.name for each in made.oneof_decl]
            if group not in groups:
                made.oneof_decl.add(name=group)
                groups.append(group)
            field.oneof_index = groups.index(group)

    def _add_entry(self, message: str, field: str, types: re.Match[str]) -> str:
        """
        Add the message that a map is a list of; give its name.
        """
        name = field.title().replace("_", "") + "Entry"
        entry = self._made[message].nested_type.add(name=name)
        entry.options.map_entry = True
        for number, part in enumerate(("key", "value"), 1):
            added = entry.field.add(name=part, number=number)
            added.label = FieldDescriptorProto.LABEL_OPTIONAL
            self._set_type(added, message, types[number])
        self._made[f"{message}.{name}"] = entry
        return f"{message}.{name}"

    def _set_type(self, field: Any, message: str, kind: str) -> None:
        if kind in _SCALARS:
            field.type = getattr(FieldDescriptorProto, f"TYPE_{kind.upper()}")
            return
        own = f"{message}.{kind}"
        name = own if own in self._made or own in self._enums else kind
        is_ours = name in self._made or name in self._enums
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        if name in self._enums:
            field.type = FieldDescriptorProto.TYPE_ENUM
        field.type_name = f".{self._package}.{name}" if is_ours else f".{name}"


def _files() -> Iterator[bytes]:
    """
    All files, each after those that it needs.
    """
    before = []
    for each in _KNOWN:
        before.append(each.DESCRIPTOR.name)
        yield each.DESCRIPTOR.serialized_pb
    for package, messages in MESSAGES.items():
        yield _File(package, messages, before).make()
        before.append(f"{package}.proto")


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for each in _files():
        pool.AddSerializedFile(each)
    return pool


#: All message types.
POOL = _pool()
