"""
Proto JSON, beside that of protobuf.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from twisted.trial.unittest import SynchronousTestCase

from quebert.web.cloud_tasks.grpc._descriptors import POOL, message_class
from quebert.web.cloud_tasks.grpc._proto_json import shape_of
from quebert.web.cloud_tasks.grpc._schema import METHODS

#: All messages of requests and answers.
NAMES = sorted(
    {n for table in METHODS.values() for pair in table.values() for n in pair}
)
_VALUES: dict[int, Any] = {
    FieldDescriptor.TYPE_BOOL: True,
    FieldDescriptor.TYPE_BYTES: b"\xff\x00",
    FieldDescriptor.TYPE_DOUBLE: 0.5,
    FieldDescriptor.TYPE_ENUM: 1,
    FieldDescriptor.TYPE_INT32: -3,
    FieldDescriptor.TYPE_INT64: 2**40,
    FieldDescriptor.TYPE_STRING: "tëxt",
}
_TEXTS = {
    "google.protobuf.Duration": "-20.500s",
    "google.protobuf.Timestamp": "2026-12-01T01:02:03.456789Z",
    "google.protobuf.FieldMask": "aB,cD.eF",
}


def fill(message: Any) -> Any:
    """
    Give each field of a message a value; of a C{oneof} the last.
    """
    name = message.DESCRIPTOR.full_name
    if name in _TEXTS:
        message.FromJsonString(_TEXTS[name])
        return message
    if name == "google.protobuf.Any":
        message.Pack(message_class("google.rpc.Help")(links=[{"url": "u"}]))
        return message
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is None:
            given = _VALUES[field.type]
            if field.is_repeated:
                value.extend([given, given])
            else:
                setattr(message, field.name, given)
        elif field.message_type.GetOptions().map_entry:
            value["k"] = "v"
        else:
            fill(value.add() if field.is_repeated else value)
            if not field.is_repeated:
                value.SetInParent()
    return message


class MessageShapeTests(SynchronousTestCase):
    """
    Tests for L{MessageShape}.
    """

    def test_same(self) -> None:
        """
        A message is read and written as protobuf does it, with all of its fields and
        with none.
        """
        for name in NAMES:
            shape = shape_of(name)
            for message in (message_class(name)(), fill(message_class(name)())):
                theirs = json_format.MessageToDict(message, descriptor_pool=POOL)
                self.assertEqual(shape.read(message), theirs, name)
                self.assertEqual(shape.write(theirs), message, name)

    def test_enums(self) -> None:
        """
        An enum is written by its name or its number; an unknown number is read as such.
        """
        shape = shape_of("google.cloud.tasks.v2.Task")
        for view in "FULL", 2:
            self.assertEqual(shape.read(shape.write({"view": view})), {"view": "FULL"})
        self.assertEqual(shape.read(shape.write({"view": 9})), {"view": 9})

    def test_keys(self) -> None:
        """
        Keys may be those of the .proto, and C{None} is no value.
        """
        shape = shape_of("google.cloud.tasks.v2.Task")
        written = shape.write({"dispatch_count": 2, "name": None})
        self.assertEqual(shape.read(written), {"dispatchCount": 2})

    def test_wrong(self) -> None:
        """
        An answer with an unknown key or value is none.
        """
        shape = shape_of("google.cloud.tasks.v2.Task")
        wrong: list[dict[str, Any]] = [
            {"unknown": 1},
            {"view": "NONE"},
            {"name": 1},
            {"createTime": "now"},
        ]
        for each in wrong:
            with self.assertRaises((KeyError, TypeError, ValueError)):
                shape.write(each)

    def test_no_number(self) -> None:
        """
        A number that JSON does not have is refused.
        """
        shape = shape_of("google.cloud.tasks.v2.RateLimits")
        message = message_class(shape.name)(max_dispatches_per_second=float("nan"))
        self.assertRaises(ValueError, shape.read, message)
