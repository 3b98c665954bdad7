"""
How many values a JSON text has, and how deep they are, without decoding it.  Pure.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Generator

from quebert._bounds import Bounds
from quebert.errors import BadTask

__all__ = ["PIECE", "measure"]

#: Bytes that are looked at between two yields.
PIECE = 32_768

# What tells the number and the levels of values: quotes, commas and brackets.  The
# brackets of objects become those of arrays.
_MARKS = bytes.maketrans(b"{}", b"[]")
_NO_MARKS = bytes(set(range(256)) - set(b'",[]{}'))
_OPENING, _CLOSING = b"[]"
# Marks that are counted together where all of a piece may be too deep.
_FEW = 64
_utf_8 = getincrementaldecoder("utf-8")


def measure(body: bytes, bounds: Bounds) -> Generator[None, None, None]:
    """
    Check a JSON text piece by piece.  It yields after each of them, so that its caller
    can do something else in between.

    An empty array counts as two values.  A text that is no JSON may pass.

    @raise BadTask: C{body} is not in UTF-8, or has too many values or levels.
    """
    utf_8 = _utf_8()
    at = values = level = inside = 0
    while at < len(body):
        piece = body[at : at + PIECE]
        if _ends_within_escape(piece):
            piece = body[at : at + PIECE + 1]
        at += len(piece)
        try:
            utf_8.decode(piece, at == len(body))
        except UnicodeDecodeError as e:
            raise BadTask(f"the body is not JSON in UTF-8: {e.reason}") from None
        marks, inside = _outside_strings(piece, inside)
        values += len(marks) - marks.count(_CLOSING)
        if values > bounds.values:
            raise BadTask(f"the body is JSON of more than {bounds.values} values")
        level = _level_after(marks, level, bounds.depth)
        yield


def _ends_within_escape(piece: bytes) -> bool:
    if piece[-1:] != b"\\":
        return False
    return len(piece) - len(piece.rstrip(b"\\")) & 1 == 1


def _outside_strings(piece: bytes, inside: int) -> tuple[bytes, int]:
    """
    The commas and brackets of a piece that stand outside strings.

    @param inside: 1 where the piece begins within a string, else 0.
    @return: and the same for the next piece.
    """
    if b"\\" in piece:
        # Outside strings there may be no backslash: such a text is refused later.
        piece = piece.replace(rb"\\", b"").replace(rb"\"", b"")
    # Without strings that have no marks, and with adjacent ones in one: there are few
    # left to split at.  What stands in a string still stands in one.
    marks = piece.translate(_MARKS, _NO_MARKS).replace(b'""', b"")
    parts = marks.split(b'"')
    return b"".join(parts[inside::2]), inside ^ len(parts) - 1 & 1


def _level_after(marks: bytes, level: int, most: int) -> int:
    """
    How deep a text is nested after a piece of it.

    @param level: before it.
    @raise BadTask: there are more than C{most} levels.
    """
    opened, closed = marks.count(_OPENING), marks.count(_CLOSING)
    if level + opened <= most:
        return level + opened - closed
    for at in range(0, len(marks), _FEW):
        some = marks[at : at + _FEW]
        opened = some.count(_OPENING)
        if level + opened > most:
            _check_level(some, level, most)
        level += opened - some.count(_CLOSING)
    return level


def _check_level(marks: bytes, level: int, most: int) -> None:
    for bracket in marks.replace(b",", b""):
        level += 1 if bracket == _OPENING else -1
        if level > most:
            text = f"the body is JSON nested too deeply: more than {most} levels"
            raise BadTask(text)
