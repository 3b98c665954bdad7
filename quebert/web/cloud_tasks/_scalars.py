"""
The scalar values of protocol buffers: from JSON, to JSON, and their sizes in the wire
format.  Pure.

What reads raises C{ValueError} where a value is not of the type.  Anybody may send such
values: a length is checked before anything else is done with a text.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = [
    "SECOND",
    "read_bool",
    "read_bytes",
    "read_double",
    "read_duration",
    "read_int32",
    "read_int64",
    "read_mask",
    "read_text",
    "read_timestamp",
    "size_of_bytes",
    "size_of_int",
    "size_of_part",
    "size_of_seconds",
    "size_of_text",
    "written_bytes",
    "written_duration",
    "written_fraction",
    "written_timestamp",
]

#: Nanoseconds of a second.
SECOND = 1_000_000_000
# Characters of a number, a time or a duration.
_LONGEST = 64
# Characters of a mask; paths of it.
_LONGEST_MASK, _MOST_PATHS = 8_192, 100
# Seconds of a duration: ten thousand years.
_MOST_SECONDS = 315_576_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT = re.compile(r"-?[0-9]+", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_DURATION = re.compile(r"(-?)([0-9]+)(?:\.([0-9]{1,9}))?s", re.ASCII)
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.([0-9]{1,9})[0-9]*)?(Z|z|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
_PATH = re.compile(r"\*|[a-z][A-Za-z0-9_]*(?:\.[a-z][A-Za-z0-9_]*)*", re.ASCII)


def _short(value: Any, pattern: re.Pattern[str]) -> re.Match[str]:
    found = None
    if isinstance(value, str) and len(value) <= _LONGEST:
        found = pattern.fullmatch(value)
    if found is None:
        raise ValueError
    return found


# -- From JSON


def read_text(value: Any) -> str:
    """
    A text that UTF-8 can have.
    """
    if not isinstance(value, str):
        raise ValueError
    value.encode("utf-8")
    return value


def read_bytes(value: Any) -> bytes:
    """
    Bytes in base64, of either alphabet, with padding or without.
    """
    if not isinstance(value, str):
        raise ValueError
    plain = value.replace("-", "+").replace("_", "/").rstrip("=")
    if len(value) - len(plain) > 2:
        raise ValueError
    return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)


def read_bool(value: Any) -> bool:
    """
    True or false.
    """
    if not isinstance(value, bool):
        raise ValueError
    return value


def _read_int(value: Any, bits: int) -> int:
    if isinstance(value, str):
        value = int(_short(value, _INT)[0])
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError
    if isinstance(value, float) and not value.is_integer():
        raise ValueError
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise ValueError
    return int(value)


def read_int32(value: Any) -> int:
    """
    A whole number of 32 bits; it may be a text.
    """
    return _read_int(value, 32)


def read_int64(value: Any) -> int:
    """
    A whole number of 64 bits; it may be a text.
    """
    return _read_int(value, 64)


def read_double(value: Any) -> float:
    """
    A finite number; it may be a text.
    """
    if isinstance(value, str):
        value = float(_short(value, _NUMBER)[0])
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError
    try:
        found = float(value)
    except OverflowError:
        raise ValueError from None
    if not math.isfinite(found):
        raise ValueError
    return found


def read_duration(value: Any) -> int:
    """
    Nanoseconds of a text such as C{"1.5s"}.
    """
    sign, seconds, fraction = _short(value, _DURATION).groups()
    if int(seconds) > _MOST_SECONDS:
        raise ValueError
    found = int(seconds) * SECOND + int((fraction or "").ljust(9, "0"))
    return -found if sign else found


def read_timestamp(value: Any) -> int:
    """
    Nanoseconds since 1970 of a time by RFC 3339.
    """
    day, time, fraction, zone = _short(value, _TIMESTAMP).groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{time}{zone.upper()}").astimezone(UTC)
    except OverflowError:
        raise ValueError from None
    since = moment - _EPOCH
    seconds = since.days * 86_400 + since.seconds
    return seconds * SECOND + int((fraction or "").ljust(9, "0"))


def read_mask(value: Any) -> tuple[str, ...]:
    """
    The paths of a mask, which has commas between them; each with the names of the
    .proto, whichever it has.
    """
    if not isinstance(value, str) or len(value) > _LONGEST_MASK:
        raise ValueError
    paths = [each.strip() for each in value.split(",") if each.strip()]
    if len(paths) > _MOST_PATHS or not all(map(_PATH.fullmatch, paths)):
        raise ValueError
    return tuple(
        re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", each) for each in paths
    )


# -- To JSON


def written_bytes(value: bytes) -> str:
    """
    Base64.
    """
    return base64.b64encode(value).decode("ascii")


def written_fraction(nanoseconds: int) -> str:
    """
    A fraction of a second, with no, three, six or nine digits.
    """
    for digits in (0, 3, 6, 9):
        number, rest = divmod(nanoseconds, 10 ** (9 - digits))
        if not rest:
            break
    return f".{number:0{digits}}" if digits else ""


def written_duration(nanoseconds: int) -> str:
    """
    A duration such as C{"1.500s"}.
    """
    seconds, fraction = divmod(abs(nanoseconds), SECOND)
    sign = "-" if nanoseconds < 0 else ""
    return f"{sign}{seconds}{written_fraction(fraction)}s"


def written_timestamp(nanoseconds: int) -> str:
    """
    A time by RFC 3339, in UTC.
    """
    seconds, fraction = divmod(nanoseconds, SECOND)
    moment = _EPOCH.replace(tzinfo=None) + timedelta(seconds=seconds)
    return f"{moment.isoformat()}{written_fraction(fraction)}Z"


# -- Sizes


def size_of_int(value: int) -> int:
    """
    Bytes of a varint.
    """
    if value < 0:
        return 10
    return max(1, (value.bit_length() + 6) // 7)


def size_of_part(length: int) -> int:
    """
    Bytes of something of that length with its length before it.
    """
    return size_of_int(length) + length


def size_of_bytes(value: bytes) -> int:
    """
    The same of bytes.
    """
    return size_of_part(len(value))


def size_of_text(value: str) -> int:
    """
    The same of a text.
    """
    return size_of_part(len(value.encode("utf-8", "surrogatepass")))


def size_of_seconds(nanoseconds: int) -> int:
    """
    The same of a duration, or a time.
    """
    seconds, fraction = divmod(abs(nanoseconds), SECOND)
    total = 0
    for each in (seconds if nanoseconds >= 0 else -seconds, fraction):
        total += 1 + size_of_int(each) if each else 0
    return size_of_part(total)
