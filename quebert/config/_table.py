"""
Reading a TOML file key by key, with a note of each thing that is wrong.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path as File
from typing import Any, TypeVar

from quebert._text import what_is_wrong
from quebert.config._kinds import shown
from quebert.config._positions import Path, lines
from quebert.config._problems import BadConfig, Problem, Wrong

__all__ = ["LARGEST_FILE", "Document", "Table"]

T = TypeVar("T")

#: What some keys are called elsewhere, our own options among it.
_ELSEWHERE = {
    "amqp_url": "url",
    "callback_timeout": "slow_after",
    "max_events": "prefetch",
    "max_in_flight": "concurrency",
    "maxevents": "prefetch",
    "prefetch_count": "prefetch",
    "queue": "queues",
    "routing_key": "key",
    "routingkey": "key",
    "type": "queue_type",
    "uri": "url",
}
#: Bytes of a file that is read.
LARGEST_FILE = 4 * 2**20
# Characters of a path that a problem shows.
_LONGEST = 500
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_AT = re.compile(r" \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)$")


class Document:
    """
    A file and what is wrong with it.

    @ivar folder: what paths in it are relative to.
    @raise BadConfig: it cannot be read, or is not TOML.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.folder = File(path).absolute().parent
        self.problems: list[Problem] = []
        text = self._text()
        try:
            self._data = tomllib.loads(text)
            self._lines = lines(text)
        except RecursionError:
            raise self._unreadable(1, "it is nested too deeply") from None
        except ValueError as e:  # numbers of more digits than Python takes, too
            raise self._not_toml(e, text) from None

    def _unreadable(self, line: int, why: str) -> BadConfig:
        return BadConfig([Problem(self._path, line, why)])

    def _text(self) -> str:
        data = b""
        try:
            with File(self._path).open("rb") as file:
                data = file.read(LARGEST_FILE + 1)
            if len(data) > LARGEST_FILE:  # a device may have no end
                raise OSError(f"it has more than {LARGEST_FILE} bytes")
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as e:
            line = data.count(b"\n", 0, e.start) + 1
            raise self._unreadable(line, "the file must be in UTF-8") from None
        except (OSError, ValueError) as e:
            why = what_is_wrong(e)
            raise self._unreadable(1, f"the file cannot be read: {why}") from None

    def _not_toml(self, error: ValueError, text: str) -> BadConfig:
        told = str(error)
        found = _AT.search(told)
        line = text.count("\n") + 1
        if found is None:
            line = 1
        elif found[1]:
            line = int(found[1])
        what = told[: found.start()] if found else told
        column = f" in column {found[2]}" if found and found[2] else ""
        return self._unreadable(line, f"this is not TOML{column}: {what}")

    def root(self) -> Table:
        """
        The table of all.
        """
        return Table(self, self._data, ())

    def wrong(self, path: Path, text: str) -> None:
        """
        Note that something is wrong at C{path}, or where it should be.
        """
        place = path
        while place and place not in self._lines:
            place = place[:-1]
        line = self._lines.get(place, 1)
        self.problems.append(Problem(self._path, line, f"{_dotted(path)} {text}"))

    def check(self) -> None:
        """
        @raise BadConfig: something was wrong.
        """
        if self.problems:
            raise BadConfig(self.problems)


class Table:
    """
    A table of a file, of which each key is to be asked for.

    @ivar path: where it is.
    """

    def __init__(self, document: Document, data: Mapping[str, Any], path: Path) -> None:
        self.document = document
        self.path = path
        self._data = data
        self._known: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def know(self, *keys: str) -> None:
        """
        Have others deal with C{keys}.
        """
        self._known += keys

    def get(self, key: str, kind: Callable[[Any], T], default: T) -> T:
        """
        The value of C{key}; C{default} where it is missing, or wrong.
        """
        self._known.append(key)
        if key not in self._data:
            return default
        try:
            return kind(self._data[key])
        except Wrong as e:
            self.document.wrong((*self.path, key, *e.path), str(e))
            return default

    def has_table(self, key: str) -> bool:
        """
        Whether C{key} is a table.
        """
        return isinstance(self._data.get(key), dict)

    def given(self, **kinds: Callable[[Any], Any]) -> dict[str, Any]:
        """
        The values of those keys that are there.
        """
        missing = object()
        found = {key: self.get(key, kind, missing) for key, kind in kinds.items()}
        return {key: value for key, value in found.items() if value is not missing}

    def table(self, key: str) -> Table:
        """
        The table that C{key} is; an empty one where it is missing, or none.
        """
        return Table(self.document, self.get(key, _table, {}), (*self.path, key))

    def tables(self, key: str, *, ignore_case: bool = False) -> dict[str, Table]:
        """
        The tables in the table that C{key} is, by their names.

        @param ignore_case: whether two names that differ in capitals alone are
            noted as the same.
        """
        outer = self.table(key)
        if ignore_case:
            outer.check_case()
        found = {name: outer.table(name) for name in outer}
        return {name: table for name, table in found.items() if outer.has_table(name)}

    def check_case(self) -> None:
        """
        Note each key that differs from an earlier one in capitals alone.
        """
        first: dict[str, str] = {}
        for key in self._data:
            same = first.setdefault(key.lower(), key)
            if same != key:
                self.wrong(key, f"is the same as {same}: capitals make no difference")

    def wrong(self, key: str, text: str) -> None:
        """
        Note that something is wrong with C{key}.
        """
        self.document.wrong((*self.path, key), text)

    def end(self) -> None:
        """
        Note each key that was not asked for.
        """
        for key in self._data:
            if key not in self._known:
                self.wrong(key, f"is not known{self._meant(key)}")

    def _meant(self, key: str) -> str:
        lower = key.lower().replace("-", "_")
        guess = _ELSEWHERE.get(lower)
        if guess not in self._known:
            close = get_close_matches(lower, self._known, n=1)
            guess = close[0] if close else None
        if guess:
            return f"; did you mean {guess}?"
        return f": there can be {', '.join(sorted(self._known))}"


def _table(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise Wrong(f"must be a table, not {shown(value)}")


def _dotted(path: Path) -> str:
    """
    A path as TOML writes it.
    """
    told = ""
    for part in path:
        if isinstance(part, int):
            told += f"[{part}]"
            continue
        word = part if _BARE.fullmatch(part) else shown(part)
        told += f".{word}" if told else word
    return told if len(told) <= _LONGEST else f"{told[:_LONGEST]}..."
