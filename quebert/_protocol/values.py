"""
The AMQP 0-9-1 encoding of values, field tables and arguments.  Pure.

Types have the meanings that RabbitMQ gives them (its errata to section 4.2.1
of the specification).  Reading keeps values that are odd: text that is not UTF-8
comes out as bytes, or with surrogate escapes in a short string; a timestamp no
C{datetime} can hold comes out as its number.

Reading loses two things.  The AMQP type of a number is lost: all integers become
C{int}, for example.  Of the fields of a table that have the same name, only the last
is kept.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from quebert.errors import QuebertError

__all__ = [
    "CodecError",
    "Long",
    "Table",
    "decode_arguments",
    "decode_field",
    "decode_table",
    "decode_value",
    "encode_arguments",
    "encode_field",
    "encode_longstr",
    "encode_shortstr",
    "encode_table",
    "encode_value",
    "header_text",
    "split_table",
]

Table = Mapping[str, Any]


class CodecError(QuebertError, ValueError):
    """
    Bytes that are no value, or a value that has no bytes.
    """


class Long(int):
    """
    An integer that is written as a C{long-long-int}, however small it is.
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


# Of an array and a table no copy is made: they may be nested, and each level would
# copy all levels within.


def _extent(data: bytes, at: int) -> tuple[int, int]:
    """
    Where the values of an array or a table begin and end.
    """
    size, at = _long(data, at)
    if at + size > len(data):
        raise CodecError(f"{size} bytes announced, {len(data) - at} there")
    return at, at + size


def _ended(at: int, end: int) -> int:
    if at != end:
        raise CodecError(f"the last value is {at - end} bytes longer than its table")
    return end


def _array(data: bytes, at: int) -> tuple[list[Any], int]:
    values: list[Any] = []
    at, end = _extent(data, at)
    while at < end:
        value, at = _value(data, at)
        values.append(value)
    return values, _ended(at, end)


def _table(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    table: dict[str, Any] = {}
    at, end = _extent(data, at)
    while at < end:
        name, at = _shortstr(data, at)
        table[name], at = _value(data, at)
    return table, _ended(at, end)


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


def split_table(data: bytes) -> dict[str, bytes]:
    """
    The fields of a table by name, each still encoded.  What is nested in a field is
    not read: it may be nested too deeply for that.

    @raise CodecError: as for L{decode_table}.
    """
    inner, _ = _guarded(_longbytes, data, 0)
    fields, at = {}, 0
    while at < len(inner):
        start = at
        name, at = _guarded(_shortstr, inner, at)
        if inner[at : at + 1] in _SIZED:
            _, at = _guarded(_longbytes, inner, at + 1)
        else:
            _, at = _guarded(_value, inner, at)
        fields[name] = inner[start:at]
    return fields


def decode_field(data: bytes) -> Any:
    """
    The value of a field that L{split_table} has found.

    @raise CodecError: it is cut short, nested too deeply, or of an unknown type.
    """
    _, at = _guarded(_shortstr, data, 0)
    return _guarded(_value, data, at)[0]


# The types of values that begin with their size.
_SIZED = frozenset({b"A", b"F", b"S", b"x"})


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


def header_text(name: str) -> str | bytes:
    """
    The name of a queue or an exchange, or a routing key, as the value of a header.
    RabbitMQ takes names in any encoding.
    """
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


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


def encode_longstr(value: str | bytes) -> bytes:
    """
    A long string: its length in four octets, then its bytes.
    """
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


def _write_float(value: float) -> bytes:
    if not math.isfinite(value):  # for which RabbitMQ closes the connection
        raise ValueError("it is not finite")
    return b"d" + struct.pack(">d", value)


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
    return encode_longstr(b"".join(map(_write_value, values)))


def encode_field(name: str, value: Any) -> bytes:
    """
    A field of a table: its name, its type, its value.

    @raise CodecError: they have no bytes.
    """
    try:
        return encode_shortstr(name) + _write_value(value)
    except CodecError:
        raise
    except _UNWRITABLE as e:
        # The text of struct.error differs between the versions of Python.
        reason = "a number is out of range" if isinstance(e, struct.error) else e
        raise CodecError(
            f"{name}: {_shown(value)} cannot be written: {reason}"
        ) from None


def _write_value(value: Any) -> bytes:
    for kind, write in _VALUE_WRITERS:
        if isinstance(value, kind):
            return write(value)
    raise CodecError(f"no table value can hold a {type(value).__name__}")


# In this order: a bool is an int, too.
_VALUE_WRITERS: tuple[tuple[Any, Writer], ...] = (
    (str, lambda v: b"S" + encode_longstr(v)),
    (bool, lambda v: b"t" + bytes((v,))),
    (Long, lambda v: b"l" + struct.pack(">q", v)),
    (int, _write_int),
    (float, _write_float),
    ((bytes, bytearray, memoryview), lambda v: b"x" + encode_longstr(v)),
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
    return encode_longstr(b"".join(encode_field(*field) for field in table.items()))


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
    "longstr": encode_longstr,
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
            value, at = decode_value(type, data, at)
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
            pieces += encode_value(type, value)
            bit = 8
        else:
            if bit == 8:
                pieces.append(0)
                bit = 0
            pieces[-1] |= bool(value) << bit
            bit += 1
    return bytes(pieces)


def decode_value(type: str, data: bytes, at: int) -> tuple[Any, int]:
    """
    A value of an AMQP type, and the offset behind it.

    @raise CodecError: it is cut short, or malformed.
    """
    return _guarded(_READERS[type], data, at)


def encode_value(type: str, value: Any) -> bytes:
    """
    The reverse of L{decode_value}.

    @raise CodecError: the value is not of that type.
    """
    try:
        return _WRITERS[type](value)
    except CodecError:
        raise
    except _UNWRITABLE as e:
        raise CodecError(f"{_shown(value)} is no {type}: {e}") from None
