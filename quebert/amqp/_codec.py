"""
The AMQP 0-9-1 encoding of values, field tables and basic properties.  Pure.

Types have the meanings that RabbitMQ gives them (its errata to section 4.2.1
of the specification).  Reading never loses anything: text that is not UTF-8
comes out as bytes, or with surrogate escapes in a short string; a timestamp no
C{datetime} can hold comes out as its number.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from quebert.errors import QuebertError

__all__ = [
    "CodecError",
    "amend_properties",
    "decode_arguments",
    "decode_properties",
    "decode_table",
    "encode_arguments",
    "encode_properties",
    "encode_shortstr",
    "encode_table",
]

Table = Mapping[str, Any]


class CodecError(QuebertError, ValueError):
    """
    Bytes that are no value, or a value that has no bytes.
    """


# -- Reading: each reader takes the buffer and an offset, and returns the value
# -- and the offset behind it.

Reader = Callable[[bytes, int], tuple[Any, int]]


def _fixed(format: str) -> Reader:
    packed = struct.Struct(format)
    size, unpack_from = packed.size, packed.unpack_from

    def read(data: bytes, at: int) -> tuple[Any, int]:
        return unpack_from(data, at)[0], at + size

    return read


_octet, _long, _longlong = _fixed(">B"), _fixed(">I"), _fixed(">Q")


def _slice(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    end = at + size
    if end > len(data):
        raise CodecError(f"{size} bytes announced, {len(data) - at} there")
    return data[at:end], end


def _shortstr(data: bytes, at: int) -> tuple[str, int]:
    raw, at = _slice(data, at + 1, _octet(data, at)[0])
    return raw.decode("utf-8", "surrogateescape"), at


def _longbytes(data: bytes, at: int) -> tuple[bytes, int]:
    return _slice(data, at + 4, _long(data, at)[0])


def _longstr(data: bytes, at: int) -> tuple[str | bytes, int]:
    raw, at = _longbytes(data, at)
    try:
        return raw.decode("utf-8"), at
    except UnicodeDecodeError:
        return raw, at


def _decimal(data: bytes, at: int) -> tuple[Decimal, int]:
    scale, at = _octet(data, at)
    (mantissa,) = struct.unpack_from(">i", data, at)
    return Decimal(mantissa).scaleb(-scale), at + 4


def _timestamp(data: bytes, at: int) -> tuple[datetime | int, int]:
    seconds, at = _longlong(data, at)
    try:
        return datetime.fromtimestamp(seconds, UTC), at
    except (ValueError, OverflowError, OSError):
        return seconds, at


def _array(data: bytes, at: int) -> tuple[list[Any], int]:
    inner, end = _longbytes(data, at)
    values, at = [], 0
    while at < len(inner):
        value, at = _value(inner, at)
        values.append(value)
    return values, end


def _table(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    inner, end = _longbytes(data, at)
    table, at = {}, 0
    while at < len(inner):
        name, at = _shortstr(inner, at)
        table[name], at = _value(inner, at)
    return table, end


def _value(data: bytes, at: int) -> tuple[Any, int]:
    reader = _TABLE_TYPES.get(data[at : at + 1])
    if reader is None:
        raise CodecError(f"no table value has the type {data[at : at + 1]!r}")
    return reader(data, at + 1)


def _boolean(data: bytes, at: int) -> tuple[bool, int]:
    return _octet(data, at)[0] != 0, at + 1


def _void(data: bytes, at: int) -> tuple[None, int]:
    return None, at


_TABLE_TYPES: dict[bytes, Reader] = {
    b"t": _boolean,
    b"b": _fixed(">b"),
    b"B": _fixed(">B"),
    b"s": _fixed(">h"),
    b"u": _fixed(">H"),
    b"I": _fixed(">i"),
    b"i": _fixed(">I"),
    b"l": _fixed(">q"),
    b"L": _fixed(">q"),
    b"f": _fixed(">f"),
    b"d": _fixed(">d"),
    b"D": _decimal,
    b"S": _longstr,
    b"A": _array,
    b"T": _timestamp,
    b"F": _table,
    b"V": _void,
    b"x": _longbytes,
}


def decode_table(data: bytes) -> dict[str, Any]:
    """
    The field table that C{data} begins with.

    @raise CodecError: it is cut short, or not a table.
    """
    table, _ = _guarded(_table, data, 0)
    return dict(table)


def _split_table(data: bytes) -> dict[str, bytes]:
    """
    The fields of a table by name, each still encoded.
    """
    inner, _ = _guarded(_longbytes, data, 0)
    fields, at = {}, 0
    while at < len(inner):
        start = at
        name, at = _guarded(_shortstr, inner, at)
        _, at = _guarded(_value, inner, at)
        fields[name] = inner[start:at]
    return fields


def _guarded(read: Reader, data: bytes, at: int) -> tuple[Any, int]:
    try:
        return read(data, at)
    except (struct.error, RecursionError) as e:
        raise CodecError(str(e)) from None


# -- Writing

Writer = Callable[[Any], bytes]

_UNWRITABLE = (
    struct.error,
    ArithmeticError,
    AttributeError,
    RecursionError,
    TypeError,
    ValueError,
)


def _shown(value: object) -> str:
    try:
        return f"{value!r:.40}"
    except (ValueError, RecursionError):
        return f"this {type(value).__name__}"


def encode_shortstr(value: str | bytes) -> bytes:
    """
    A short string: its length in one octet, then its bytes.

    @raise CodecError: it is longer than 255 bytes.
    """
    try:
        raw = (
            value.encode("utf-8", "surrogateescape")
            if isinstance(value, str)
            else value
        )
    except UnicodeEncodeError as e:
        raise CodecError(f"{value[:40]!r} is no shortstr: {e}") from None
    if len(raw) > 255:
        raise CodecError(f"{value[:40]!r}... is longer than 255 bytes")
    return bytes((len(raw),)) + raw


def _write_longstr(value: str | bytes) -> bytes:
    if not isinstance(value, (str, bytes, bytearray, memoryview)):
        raise TypeError("it is neither text nor bytes")
    raw = value.encode("utf-8") if isinstance(value, str) else bytes(value)
    return struct.pack(">I", len(raw)) + raw


def _write_decimal(value: Decimal) -> bytes:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise CodecError(f"{value} is not a finite decimal")
    scale = max(0, -exponent)
    return struct.pack(">Bi", scale, int(value.scaleb(scale)))


def _write_timestamp(value: datetime | float | str) -> bytes:
    if isinstance(value, str):
        raise TypeError("it is text")
    if isinstance(value, datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=UTC)
        value = value.timestamp()
    return struct.pack(">Q", int(value))


def _write_int(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return struct.pack(">ci", b"I", value)
    return struct.pack(">cq", b"l", value)


def _write_array(values: Iterable[Any]) -> bytes:
    return _write_longstr(b"".join(map(_write_value, values)))


def _write_field(name: str, value: Any) -> bytes:
    try:
        return encode_shortstr(name) + _write_value(value)
    except CodecError:
        raise
    except _UNWRITABLE as e:
        raise CodecError(f"{name}: {_shown(value)} cannot be written: {e}") from None


def _write_value(value: Any) -> bytes:
    for kind, write in _VALUE_WRITERS:
        if isinstance(value, kind):
            return write(value)
    raise CodecError(f"no table value can hold a {type(value).__name__}")


# In this order: a bool is an int, too.
_VALUE_WRITERS: tuple[tuple[Any, Writer], ...] = (
    (str, lambda v: b"S" + _write_longstr(v)),
    (bool, lambda v: b"t" + bytes((v,))),
    (int, _write_int),
    (float, lambda v: b"d" + struct.pack(">d", v)),
    ((bytes, bytearray, memoryview), lambda v: b"x" + _write_longstr(v)),
    (type(None), lambda v: b"V"),
    (datetime, lambda v: b"T" + _write_timestamp(v)),
    (Decimal, lambda v: b"D" + _write_decimal(v)),
    (Mapping, lambda v: b"F" + encode_table(v)),
    ((list, tuple), lambda v: b"A" + _write_array(v)),
)


def encode_table(table: Table) -> bytes:
    """
    C{table} as a field table.

    @raise CodecError: a name is too long, or a value has no AMQP type.
    """
    return _write_longstr(b"".join(_write_field(*field) for field in table.items()))


# -- The arguments of methods, by the types of their fields

_READERS: dict[str, Reader] = {
    "octet": _octet,
    "short": _fixed(">H"),
    "long": _long,
    "longlong": _longlong,
    "timestamp": _longlong,
    "shortstr": _shortstr,
    "longstr": _longstr,
    "table": _table,
}

_WRITERS: dict[str, Writer] = {
    "octet": struct.Struct(">B").pack,
    "short": struct.Struct(">H").pack,
    "long": struct.Struct(">I").pack,
    "longlong": struct.Struct(">Q").pack,
    "timestamp": _write_timestamp,
    "shortstr": encode_shortstr,
    "longstr": _write_longstr,
    "table": encode_table,
}


def decode_arguments(types: Sequence[str], data: bytes, at: int) -> list[Any]:
    """
    The arguments of a method, whose fields have the given AMQP types.  Bits
    that follow each other share an octet (section 4.2.5.2).
    """
    values: list[Any] = []
    bit = 8
    for type in types:
        if type != "bit":
            value, at = _guarded(_READERS[type], data, at)
            bit = 8
        else:
            if bit == 8:
                (octet, at), bit = _guarded(_octet, data, at), 0
            value = bool(octet >> bit & 1)
            bit += 1
        values.append(value)
    return values


def encode_arguments(types: Sequence[str], values: Sequence[Any]) -> bytes:
    """
    The reverse of L{decode_arguments}.

    @raise CodecError: a value does not fit its type.
    """
    pieces = bytearray()
    bit = 8
    for type, value in zip(types, values, strict=True):
        if type != "bit":
            pieces += _written(type, value)
            bit = 8
        else:
            if bit == 8:
                pieces.append(0)
                bit = 0
            pieces[-1] |= bool(value) << bit
            bit += 1
    return bytes(pieces)


def _written(type: str, value: Any) -> bytes:
    try:
        return _WRITERS[type](value)
    except CodecError:
        raise
    except _UNWRITABLE as e:
        raise CodecError(f"{_shown(value)} is no {type}: {e}") from None


# -- The basic properties, as in a content header behind the body's size

_PROPERTIES: tuple[tuple[str, str, int], ...] = tuple(
    (name, type, 0x8000 >> place)
    for place, (name, type) in enumerate(
        (
            ("content-type", "shortstr"),
            ("content-encoding", "shortstr"),
            ("headers", "table"),
            ("delivery-mode", "octet"),
            ("priority", "octet"),
            ("correlation-id", "shortstr"),
            ("reply-to", "shortstr"),
            ("expiration", "shortstr"),
            ("message-id", "shortstr"),
            ("timestamp", "timestamp"),
            ("type", "shortstr"),
            ("user-id", "shortstr"),
            ("app-id", "shortstr"),
            ("cluster-id", "shortstr"),
        )
    )
)
_NO_TABLE = struct.pack(">I", 0)
_NAMES = frozenset(name for name, _, _ in _PROPERTIES)


def decode_properties(data: bytes) -> dict[str, Any]:
    """
    The properties by their AMQP names, those that are there.

    @raise CodecError: they are cut short, or of an unknown type.
    """
    return {name: value for name, value, _ in _properties(data)}


def _properties(data: bytes) -> Iterator[tuple[str, Any, bytes]]:
    """
    Name, value and bytes of each property.
    """
    flags, at = _guarded(_READERS["short"], data, 0)
    for name, type, mask in _PROPERTIES:
        if flags & mask:
            start = at
            value, at = _guarded(_READERS[type], data, at)
            yield name, value, data[start:at]


def amend_properties(
    data: bytes, *, changes: Table, headers: Table, dropped: Collection[str] = ()
) -> bytes:
    """
    Encoded properties, byte for byte as they came but for some.

    @param changes: properties to set, or with C{None} to remove.
    @param headers: headers to set, or with C{None} to remove.
    @param dropped: further headers to remove.
    """
    fields = {name: raw for name, _, raw in _properties(data)}
    was_empty = fields.get("headers") == _NO_TABLE
    table = _split_table(fields.pop("headers", _NO_TABLE))
    kept = (raw for k, raw in table.items() if k not in headers and k not in dropped)
    added = (_write_field(k, v) for k, v in headers.items() if v is not None)
    if (written := b"".join((*kept, *added))) or was_empty:
        fields["headers"] = _write_longstr(written)
    types = {name: type for name, type, _ in _PROPERTIES}
    for name, value in changes.items():
        fields.pop(name, None)
        if value is not None:
            fields[name] = _property(name, types[name], value)
    return _joined(fields)


def _joined(fields: Mapping[str, bytes]) -> bytes:
    flags = sum(mask for name, _, mask in _PROPERTIES if name in fields)
    ordered = (fields[name] for name, _, _ in _PROPERTIES if name in fields)
    return struct.pack(">H", flags) + b"".join(ordered)


def encode_properties(properties: Table) -> bytes:
    """
    The reverse of L{decode_properties}.

    @raise CodecError: a property is unknown, or of the wrong type.
    """
    unknown = set(properties) - _NAMES
    if unknown:
        raise CodecError(f"{min(unknown)!r} is no basic property")
    return _joined(
        {
            name: _property(name, type, properties[name])
            for name, type, _ in _PROPERTIES
            if properties.get(name) is not None
        }
    )


def _property(name: str, type: str, value: Any) -> bytes:
    try:
        return _written(type, value)
    except CodecError as e:
        raise CodecError(f"{name}: {e}") from None
