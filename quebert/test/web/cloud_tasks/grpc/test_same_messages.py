"""
The messages that are read from JSON are those that are sent over gRPC.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import attrs
from google.protobuf.descriptor import FieldDescriptor
from twisted.trial.unittest import SynchronousTestCase

from quebert.test.web.cloud_tasks.test_hostile_requests import RIGHT
from quebert.web.cloud_tasks import METHODS
from quebert.web.cloud_tasks._errors import TYPE
from quebert.web.cloud_tasks._proto import (
    FieldKind,
    fields_of,
    proto_size,
    read_message,
    written,
)
from quebert.web.cloud_tasks.grpc._descriptors import POOL
from quebert.web.cloud_tasks.grpc._proto_json import shape_of
from quebert.web.cloud_tasks.grpc._schema import METHODS as REMOTE

#: The types of each method.
TYPES = {name: types for table in REMOTE.values() for name, types in table.items()}
_SCALARS = {
    value: name
    for name, value in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}
#: Fields that nothing reads or answers.
_LEFT_OUT = {
    *("google.iam.v1.Policy.bindings", "google.rpc.Status.details"),
    *(f"google.cloud.location.Location.{n}" for n in ("display_name", "labels")),
    "google.cloud.location.Location.metadata",
}


def differences(kind: type[Any], theirs: Any) -> Iterator[str]:
    """
    How a class and a descriptor differ, with all that is in them.
    """
    ours = fields_of(kind)
    for field in theirs.fields:
        if field.name not in ours and field.full_name not in _LEFT_OUT:
            yield f"{field.full_name} is missing"
    for name, each in ours.items():
        field = theirs.fields_by_name.get(name)
        if field is None or field.number != each.number:
            yield f"{theirs.full_name}.{name} is another field"
            continue
        is_map = each.kind.name == "Map"
        if field.is_repeated != (each.is_list or is_map):
            yield f"{field.full_name} is repeated, or not"
        if is_map:
            yield from _kinds(
                each.kind.inner, field.message_type.fields_by_name["value"]
            )
        else:
            yield from _kinds(each.kind, field)


def _kinds(kind: FieldKind, field: Any) -> Iterator[str]:
    inner: Any = kind.inner
    if isinstance(inner, type) and issubclass(inner, IntEnum):
        theirs = {each.name: each.number for each in field.enum_type.values}
        if theirs != {each.name: int(each) for each in inner}:
            yield f"{field.full_name} has other values"
    elif isinstance(inner, type) and attrs.has(inner):
        yield from differences(inner, field.message_type)
    elif kind.name.startswith("TYPE_"):
        if _SCALARS[field.type] != kind.name:
            yield f"{field.full_name} is {_SCALARS[field.type]}"
    elif kind.name not in ("Any", "Message", f"{TYPE}{field.message_type.full_name}"):
        yield f"{field.full_name} is {field.message_type.full_name}"


class SameMessagesTests(SynchronousTestCase):
    """
    Both tables.
    """

    def test_fields(self) -> None:
        """
        Each method has the same messages in both: names, numbers and types of all
        fields.
        """
        self.assertEqual(set(TYPES), set(METHODS))
        found: list[str] = []
        for name, (request, answer) in TYPES.items():
            ours = METHODS[name]
            for kind, theirs in ((ours.request, request), (ours.response, answer)):
                found += differences(kind, POOL.FindMessageTypeByName(theirs))
        self.assertEqual(sorted(set(found)), [])

    def test_sizes(self) -> None:
        """
        A message has the size that protobuf gives it, and comes back over gRPC as it
        was.
        """
        for name, plain in RIGHT.items():
            if "Iam" not in name:
                kind, shape = METHODS[name].request, shape_of(TYPES[name][0])
                message = read_message(kind, plain)
                theirs = shape.write(written(message))
                self.assertEqual(proto_size(message), theirs.ByteSize(), name)
                self.assertEqual(read_message(kind, shape.read(theirs)), message)
