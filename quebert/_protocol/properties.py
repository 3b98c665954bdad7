"""
The basic properties of a message (AMQP 0-9-1 reference, section 1.8), as they stand in
a content header behind the body's size.  Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from quebert._protocol.values import (
    CodecError,
    Table,
    decode_value,
    encode_field,
    encode_longstr,
    encode_value,
    split_table,
)

__all__ = [
    "TIMESTAMP",
    "amend_properties",
    "decode_properties",
    "encode_properties",
    "split_headers",
]

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
#: The bit of C{timestamp} in the second byte of encoded properties.
TIMESTAMP = 0x40
_NO_TABLE = struct.pack(">I", 0)
_TYPES = {name: type for name, type, _ in _PROPERTIES}
# A table is a longstr on the wire (section 4.2.5.5), and need not be read to be kept.
_TABLE_UNREAD = {**_TYPES, "headers": "longstr"}


def decode_properties(data: bytes) -> dict[str, Any]:
    """
    The properties by their AMQP names, those that are there.

    @raise CodecError: they are cut short, or of an unknown type.
    """
    return {name: value for name, value, _ in _properties(data)}


def split_headers(data: bytes) -> dict[str, bytes]:
    """
    The headers among encoded properties by name, each still encoded.

    @raise CodecError: as for L{decode_properties}, but for what is in the headers.
    """
    fields = {name: raw for name, _, raw in _properties(data, _TABLE_UNREAD)}
    return split_table(fields.get("headers", _NO_TABLE))


def _properties(
    data: bytes, types: Mapping[str, str] = _TYPES
) -> Iterator[tuple[str, Any, bytes]]:
    """
    Name, value and bytes of each property.

    @param types: of the properties, to read them as.
    """
    flags, at = decode_value("short", data, 0)
    for name, _, mask in _PROPERTIES:
        if flags & mask:
            start = at
            value, at = decode_value(types[name], data, at)
            yield name, value, data[start:at]


def amend_properties(
    data: bytes, *, changes: Table, headers: Table, dropped: Collection[str] = ()
) -> bytes:
    """
    Encoded properties, byte for byte as they came but for some.  Where a header is
    there twice, only the last one is kept.

    @param changes: properties to set, or with C{None} to remove.
    @param headers: headers to set, or with C{None} to remove.
    @param dropped: further headers to remove.
    """
    fields = {name: raw for name, _, raw in _properties(data, _TABLE_UNREAD)}
    was_empty = fields.get("headers") == _NO_TABLE
    table = split_table(fields.pop("headers", _NO_TABLE))
    kept = (raw for k, raw in table.items() if k not in headers and k not in dropped)
    added = (encode_field(k, v) for k, v in headers.items() if v is not None)
    if (written := b"".join((*kept, *added))) or was_empty:
        fields["headers"] = encode_longstr(written)
    for name, value in changes.items():
        fields.pop(name, None)
        if value is not None:
            fields[name] = _property(name, _TYPES[name], value)
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
    unknown = properties.keys() - _TYPES
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
        return encode_value(type, value)
    except CodecError as e:
        raise CodecError(f"{name}: {e}") from None
