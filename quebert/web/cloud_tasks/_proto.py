"""
Messages of protocol buffers as frozen values: read from JSON, written as JSON, and
measured.  Pure.

Theory of operation.  A message is a class of attrs, and each of its attributes has the
number and the L{Kind} of a field.  So one line says all there is to say about a field:
its name in the .proto (which in JSON is in camelCase), its number, its type, and what
it is where it is missing.  Durations and times are whole numbers of nanoseconds; a time
counts from 1970.

In what comes from outside a field may have either name, an enum may be a number or a
name, and C{null} is a missing field (proto JSON,
U{https://protobuf.dev/programming-guides/json/}).  The sentences of the errors are
Google's, as its REST servers have them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Any, TypeVar

import attrs

from quebert.web.cloud_tasks import _scalars as scalars
from quebert.web.cloud_tasks._errors import TYPE, CloudTasksError, Code

__all__ = [
    "FIELD",
    "FieldKind",
    "ProtoField",
    "any_message",
    "boolean",
    "camel",
    "data",
    "double",
    "duration",
    "enum",
    "fields_of",
    "free_form",
    "int32",
    "int64",
    "map_of",
    "mask",
    "message",
    "optional",
    "proto_size",
    "read_message",
    "repeated",
    "snake",
    "text",
    "timestamp",
    "written",
    "wrong_value",
]

T = TypeVar("T")
#: Under which an attribute has its L{ProtoField}.
FIELD = "proto"
# Items of any list: no method takes so many, and to read one takes a while.
_MOST_ITEMS = 10_000
# Characters of a value that a sentence shows.
_SHOWN = 100


@attrs.frozen
class FieldKind:
    """
    The type of a field.

    @ivar name: as errors show it, such as C{TYPE_INT32}.
    @ivar read: makes a value of one of JSON, at a path.
    @ivar write: the other way round; enums as numbers, if its second argument is true.
    @ivar size: bytes of a value in the wire format, without the field's number.
    @ivar inner: the class of a message or an enum; of a map or a list, the kind of its
        values.
    """

    name: str
    read: Callable[[str, Any], Any]
    write: Callable[[Any, bool], Any]
    size: Callable[[Any], int]
    inner: Any = None


@attrs.frozen
class ProtoField:
    """
    A field of a message.

    @ivar number: in the wire format.
    @ivar is_list: whether it is repeated.
    @ivar has_presence: whether it is written where it is empty, but there.
    """

    number: int
    kind: FieldKind
    is_list: bool = False
    has_presence: bool = False


# -- Errors


def wrong_value(path: str, kind: str, value: object) -> CloudTasksError:
    """
    Something is not of its type.
    """
    try:
        shown = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        shown = type(value).__name__
    text = f"Invalid value at '{path}' ({kind}), {shown[:_SHOWN]}"
    return _bad_request(path, text)


def _unknown(path: str, name: object) -> CloudTasksError:
    at = f" at '{path}'" if path else ""
    shown = str(name)[:_SHOWN].encode("utf-8", "replace").decode()
    text = f'Invalid JSON payload received. Unknown name "{shown}"{at}: Cannot find'
    return _bad_request(path, f"{text} field.")


def _bad_request(path: str, text: str) -> CloudTasksError:
    violation = {"field": path, "description": text}
    detail = {"@type": f"{TYPE}google.rpc.BadRequest", "fieldViolations": [violation]}
    return CloudTasksError(Code.INVALID_ARGUMENT, text, [detail])


# -- Kinds


def _scalar(
    name: str,
    read: Callable[[Any], Any],
    write: Callable[[Any], Any],
    size: Callable[[Any], int],
) -> FieldKind:
    def checked(path: str, value: Any) -> Any:
        try:
            return read(value)
        except ValueError:
            raise wrong_value(path, name, value) from None

    return FieldKind(name, checked, lambda value, _: write(value), size)


def _same(value: Any) -> Any:
    return value


_TEXT = _scalar("TYPE_STRING", scalars.read_text, _same, scalars.size_of_text)
_DATA = _scalar(
    "TYPE_BYTES", scalars.read_bytes, scalars.written_bytes, scalars.size_of_bytes
)
_BOOL = _scalar("TYPE_BOOL", scalars.read_bool, _same, lambda _: 1)
_INT32 = _scalar("TYPE_INT32", scalars.read_int32, _same, scalars.size_of_int)
_INT64 = _scalar("TYPE_INT64", scalars.read_int64, str, scalars.size_of_int)
_DOUBLE = _scalar("TYPE_DOUBLE", scalars.read_double, _same, lambda _: 8)
_DURATION = _scalar(
    f"{TYPE}google.protobuf.Duration",
    scalars.read_duration,
    scalars.written_duration,
    scalars.size_of_seconds,
)
_TIMESTAMP = _scalar(
    f"{TYPE}google.protobuf.Timestamp",
    scalars.read_timestamp,
    scalars.written_timestamp,
    scalars.size_of_seconds,
)
_MASK = _scalar(
    f"{TYPE}google.protobuf.FieldMask",
    scalars.read_mask,
    lambda paths: ",".join(camel(each) for each in paths),
    lambda paths: scalars.size_of_part(
        sum(1 + scalars.size_of_text(each) for each in paths)
    ),
)


def _enum_kind(kind: type[IntEnum]) -> FieldKind:
    name = f"{TYPE}google.cloud.tasks.v2.{kind.__name__}"

    def read(path: str, value: Any) -> Any:
        try:
            if isinstance(value, str) and value in kind.__members__:
                return kind[value]
            return kind(scalars.read_int32(value))
        except ValueError:
            raise wrong_value(path, name, value) from None

    def write(value: Any, as_numbers: bool) -> Any:
        return int(value) if as_numbers else value.name

    return FieldKind(name, read, write, scalars.size_of_int, kind)


def _message_kind(kind: type[Any]) -> FieldKind:
    def size(value: Any) -> int:
        return scalars.size_of_part(proto_size(value))

    def read(path: str, value: Any) -> Any:
        return read_message(kind, value, path)

    return FieldKind(kind.__name__, read, written, size, kind)


def _map_kind(inner: FieldKind) -> FieldKind:
    """
    A map from texts.
    """

    def read(path: str, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise wrong_value(path, "Map", value)
        return {
            _TEXT.read(path, name): inner.read(f"{path}[{name[:_SHOWN]}]", each)
            for name, each in value.items()
        }

    def write(value: Any, as_numbers: bool) -> Any:
        return {str(n): inner.write(each, as_numbers) for n, each in value.items()}

    def size(value: Any) -> int:
        # Each is a message of its own; the number of the field comes before the first.
        parts = (2 + _TEXT.size(n) + inner.size(each) for n, each in value.items())
        sizes = [scalars.size_of_part(each) for each in parts]
        return sum(sizes) + max(0, len(sizes) - 1)

    return FieldKind("Map", read, write, size, inner)


def _written_any(value: Any, as_numbers: bool) -> Any:
    return {"@type": f"{TYPE}{value.TYPE}", **written(value, as_numbers)}


# -- Fields


def _field(number: int, kind: FieldKind, default: Any = None, **more: bool) -> Any:
    found = ProtoField(number, kind, **more)
    return attrs.field(default=default, metadata={FIELD: found})


def text(number: int) -> Any:
    """
    A C{string}.
    """
    return _field(number, _TEXT, "")


def data(number: int) -> Any:
    """
    C{bytes}; base64 in JSON.
    """
    return _field(number, _DATA, b"")


def boolean(number: int) -> Any:
    """
    A C{bool}.
    """
    return _field(number, _BOOL, False)


def int32(number: int) -> Any:
    """
    An C{int32}.
    """
    return _field(number, _INT32, 0)


def int64(number: int) -> Any:
    """
    An C{int64}; a text in JSON.
    """
    return _field(number, _INT64, 0)


def double(number: int) -> Any:
    """
    A C{double}.
    """
    return _field(number, _DOUBLE, 0.0)


def duration(number: int) -> Any:
    """
    A C{google.protobuf.Duration}, in nanoseconds; C{None} where it is missing.
    """
    return _field(number, _DURATION)


def timestamp(number: int) -> Any:
    """
    A C{google.protobuf.Timestamp}, in nanoseconds since 1970; C{None} where it is
    missing.
    """
    return _field(number, _TIMESTAMP)


def mask(number: int) -> Any:
    """
    A C{google.protobuf.FieldMask}: paths with the names of the .proto.
    """
    return _field(number, _MASK, ())


def enum(number: int, kind: type[IntEnum]) -> Any:
    """
    An enum, 0 where it is missing.
    """
    return _field(number, _enum_kind(kind), kind(0))


def message(number: int, kind: type[Any]) -> Any:
    """
    Another message; C{None} where it is missing.
    """
    return _field(number, _message_kind(kind))


def any_message(number: int) -> Any:
    """
    A C{google.protobuf.Any}, of our answers alone: a message with its C{TYPE}.
    """
    kind = FieldKind("Any", _unreadable, _written_any, proto_size)
    return _field(number, kind)


def free_form(number: int) -> Any:
    """
    A message that is not looked into.
    """
    kind = FieldKind("Message", lambda _, value: value, lambda value, _: value, len)
    return _field(number, kind)


def _unreadable(path: str, value: Any) -> Any:
    raise wrong_value(path, "Any", value)


def optional(field: Any) -> Any:
    """
    The same field, C{None} where it is missing.
    """
    found = attrs.evolve(field.metadata[FIELD], has_presence=True)
    return attrs.field(default=None, metadata={FIELD: found})


def repeated(field: Any) -> Any:
    """
    Any number of the same.
    """
    found = attrs.evolve(field.metadata[FIELD], is_list=True)
    return attrs.field(default=(), metadata={FIELD: found})


def map_of(number: int, field: Any) -> Any:
    """
    A map from texts to the same.
    """
    kind = _map_kind(field.metadata[FIELD].kind)
    found = ProtoField(number, kind)
    return attrs.field(factory=dict, metadata={FIELD: found})


# -- Messages


def camel(name: str) -> str:
    """
    The name of a field in JSON.
    """
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), name)


def snake(name: str) -> str:
    """
    The name of a field in the .proto.
    """
    return re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", name)


def fields_of(kind: type[Any]) -> Mapping[str, ProtoField]:
    """
    The fields of a message, by their names in the .proto.
    """
    if kind not in _fields:
        found = {each.name: each.metadata[FIELD] for each in attrs.fields(kind)}
        _fields[kind] = found
        _in_json[kind] = {camel(each): each for each in found} | {n: n for n in found}
    return _fields[kind]


# Both are worked out once for each class; the second has the names by those in JSON.
_fields: dict[type[Any], Mapping[str, ProtoField]] = {}
_in_json: dict[type[Any], Mapping[str, str]] = {}


def read_message(kind: type[T], value: object, path: str = "") -> T:
    """
    A message from JSON.

    @param path: where it stands in the request.
    @raise CloudTasksError: a field is not known, or not of its type.
    """
    if not isinstance(value, Mapping):
        raise wrong_value(path, kind.__name__, value)
    fields, names = fields_of(kind), _in_json[kind]
    found = {}
    for given, each in value.items():
        name = names.get(given)
        if name is None:
            raise _unknown(path, given)
        if each is not None:
            found[name] = _read_field(fields[name], _joined(path, name), each)
    return kind(**found)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _read_field(field: ProtoField, path: str, value: object) -> Any:
    if not field.is_list:
        return field.kind.read(path, value)
    if not isinstance(value, (list, tuple)):
        raise wrong_value(path, field.kind.name, value)
    if len(value) > _MOST_ITEMS:
        text = f"'{path}' must have at most {_MOST_ITEMS} items, not {len(value)}"
        raise _bad_request(path, text)
    return tuple(
        field.kind.read(f"{path}[{number}]", each) for number, each in enumerate(value)
    )


def _there(value: Any) -> Iterator[tuple[str, ProtoField, Any]]:
    """
    The fields of a message that are not empty.
    """
    for name, field in fields_of(type(value)).items():
        each = getattr(value, name)
        if each or (each is not None and _has_presence(field)):
            yield name, field, each


def _has_presence(field: ProtoField) -> bool:
    return field.has_presence or field.kind in (_DURATION, _TIMESTAMP)


def written(value: Any, as_numbers: bool = False) -> dict[str, Any]:
    """
    A message as JSON, without empty fields.

    @param as_numbers: whether enums are numbers, not names.
    """
    found = {}
    for name, field, each in _there(value):
        write = field.kind.write
        if field.is_list:
            found[camel(name)] = [write(one, as_numbers) for one in each]
        else:
            found[camel(name)] = write(each, as_numbers)
    return found


def proto_size(value: Any) -> int:
    """
    Bytes of a message in the wire format.
    """
    total = 0
    for _, field, each in _there(value):
        key = 1 if field.number < 16 else 2
        for one in each if field.is_list else (each,):
            total += key + field.kind.size(one)
    return total
