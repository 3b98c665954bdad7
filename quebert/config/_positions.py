"""
On which line of a TOML file each of its keys is.

The standard library's parser knows, and does not tell.  This looks through a text
that it has already taken (TOML 1.0), so that nothing here has to be checked again.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import Union

__all__ = ["Path", "lines"]

Path = tuple[Union[str, int], ...]
"""Keys from the outermost on; of what is in an array, its number."""

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_KEY = re.compile(
    r"""[ \t]* (?P<part> "(?:[^"\\]|\\.)*" | '[^']*' | [\w-]+ ) [ \t]* (?P<dot>\.)?""",
    re.X,
)
_SCALAR = re.compile(
    r"""
    \"{3} (?:[^\\]|\\.)*? \"{3} \"{0,2} | '{3} .*? '{3} '{0,2}
    | "(?:[^"\\]|\\.)*" | '[^']*'
    | [^],}#\n]+
    """,
    re.X | re.S,
)


def lines(text: str) -> dict[Path, int]:
    """
    The line, from 1, of each key, table and element of an array in C{text}, which
    is TOML.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.scan()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._ends = [found.start() for found in re.finditer("\n", text)]
        self._last: dict[Path, int] = {}  # of arrays of tables
        self.lines: dict[Path, int] = {}

    def scan(self) -> None:
        table: Path = ()
        while char := self._next():
            table = self._header() if char == "[" else self._pair(table)

    def _next(self) -> str:
        """
        The next character that means something; empty at the end.
        """
        self._take(_BLANK)
        return self._text[self._at : self._at + 1]

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return found

    def _skip(self, token: str) -> bool:
        found = self._next() == token
        self._at += found
        return found

    def _note(self, path: Path) -> None:
        self.lines.setdefault(path, bisect_right(self._ends, self._at - 1) + 1)

    # -- Tables

    def _header(self) -> Path:
        self._skip("[")
        is_array = self._text.startswith("[", self._at)
        self._at += is_array
        *parents, name = self._key()
        path: Path = ()
        for part in parents:
            path = self._within((*path, part))
        path = (*path, name)
        self._note(path)
        if is_array:
            self._last[path] = self._last.get(path, -1) + 1
            path = self._within(path)
        self._at += 1 + is_array
        return path

    def _within(self, path: Path) -> Path:
        """
        The table that a header means by C{path}: of an array of tables, the last.
        """
        self._note(path)
        if path in self._last:
            path = (*path, self._last[path])
            self._note(path)
        return path

    def _pair(self, table: Path) -> Path:
        path = table
        for part in self._key():
            path = (*path, part)
            self._note(path)
        self._skip("=")
        self._value(path)
        return table

    def _key(self) -> list[str]:
        parts, more = [], True
        while more:
            found = self._take(_KEY)
            part, more = found["part"], bool(found["dot"])
            quoted = part[0] in "\"'"
            parts.append(tomllib.loads(f"key = {part}")["key"] if quoted else part)
        return parts

    # -- Values

    def _value(self, path: Path) -> None:
        if self._skip("["):
            self._array(path)
        elif self._skip("{"):
            self._inline_table(path)
        else:
            self._take(_SCALAR)

    def _array(self, path: Path) -> None:
        number = 0
        while not self._skip("]"):
            self._next()
            self._note((*path, number))
            self._value((*path, number))
            self._skip(",")
            number += 1

    def _inline_table(self, path: Path) -> None:
        while not self._skip("}"):
            self._pair(path)
            self._skip(",")
