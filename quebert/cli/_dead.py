"""
What is printed of dead letters: one of them whole, or a list.  Pure.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from quebert._secrets import HIDDEN, NAME, masked
from quebert._text import cut, printable, shown_url
from quebert.amqp.wire import RUN_NOW
from quebert.cli._columns import columns
from quebert.cli._moments import moment
from quebert.operations import DeadLetter
from quebert.policy import BURIED_AT, FIRST_ATTEMPT, LAST_ATTEMPT

__all__ = ["Listing", "plain", "whole"]

# Headers with a time.
_TIMES = {BURIED_AT, FIRST_ATTEMPT, LAST_ATTEMPT, RUN_NOW}
# Fields whose values are URLs.
_URLS = {"callback_url", "url"}
# Characters of a text in a table: anybody can publish texts of any length.
_CELL_WIDTH = 200
# How many reasons are told at least.
_REASONS = 10


# -- One of them


def whole(letter: DeadLetter, secrets: bool = False) -> Iterator[str]:
    """
    All of it, in lines.

    @param secrets: whether C{Authorization} and the like are shown, and users and
        passwords in URLs.
    """
    for name, value in letter.properties.items():
        if name != "headers":
            yield f"{name}: {_shown(name, _plain(value), secrets)}"
    for name, value in letter.headers.items():
        told = moment(value) if name in _TIMES else _plain(value)
        yield f"{name}: {_shown(name, told, secrets)}"
    yield ""
    yield from _body(letter, secrets).splitlines()


def plain(letter: DeadLetter, secrets: bool = False) -> dict[str, Any]:
    """
    All of it, as JSON has it: a task as it is, and any other body as a text.

    @param secrets: as in L{whole}.
    """

    def values(given: Mapping[str, Any]) -> dict[str, Any]:
        return {n: _plain_value(n, v, secrets) for n, v in given.items()}

    properties = {k: v for k, v in letter.properties.items() if k != "headers"}
    found = {"properties": values(properties), "headers": values(letter.headers)}
    if letter.task:
        task = letter.task if secrets else _without_secrets("", letter.task)
        return {**found, "task": task}
    return {**found, "body": _body(letter, secrets)}


def _plain_value(name: str, value: Any, secrets: bool) -> Any:
    if isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _shown(name, _plain(value), secrets)


def _body(letter: DeadLetter, secrets: bool) -> str:
    if letter.task:
        task = letter.task if secrets else _without_secrets("", letter.task)
        return json.dumps(task, indent=2, ensure_ascii=False)
    text = letter.body.decode("utf-8", "backslashreplace")
    return text if secrets else masked(text)


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if isinstance(value, str) else repr(value)


def _shown(name: str, text: str, secrets: bool) -> str:
    if secrets:
        return text
    return HIDDEN if NAME.search(name) else masked(text)


def _without_secrets(name: str, value: Any) -> Any:
    """
    What a task has under C{name}, without secrets.  A task is not nested deeper than
    the C{depth} of L{Bounds<quebert.task.Bounds>}.
    """
    if isinstance(value, dict):
        return {
            masked(key): HIDDEN if NAME.search(key) else _without_secrets(key, inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(name, each) for each in value]
    if not isinstance(value, str):
        return value
    return shown_url(value) if name in _URLS else masked(value)


# -- A list of them


class Listing:
    """
    How many there are of which kind, for which reason, and the first of them.

    @param most: how many of them, and how many reasons.
    @ivar first: rows of uuid, URL, attempts, moment, kind and reason.
    """

    def __init__(self, most: int) -> None:
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.first: list[tuple[str, ...]] = []
        self._most = most

    def add(self, letter: DeadLetter) -> None:
        """
        Count another.
        """
        kind, reason = _cell(letter.kind), _cell(letter.common_reason)
        self.reasons[kind, reason] += 1
        if len(self.first) < self._most:
            url = shown_url(letter.url)
            row = letter.uuid, url, letter.attempts, moment(letter.buried_at)
            self.first.append((*map(_cell, row), kind, reason))

    @property
    def kinds(self) -> Counter[str]:
        """
        How many there are of each kind.
        """
        kinds: Counter[str] = Counter()
        for (kind, _), count in self.reasons.items():
            kinds[kind] += count
        return kinds

    @property
    def plain(self) -> dict[str, Any]:
        """
        All that, for programs.
        """
        names = "uuid", "url", "attempts", "buried", "kind", "reason"
        common = self.reasons.most_common(max(_REASONS, self._most))
        return {
            "kinds": dict(self.kinds),
            "reasons": [
                {"count": count, "kind": kind, "reason": reason}
                for (kind, reason), count in common
            ],
            "first": [dict(zip(names, row, strict=True)) for row in self.first],
        }

    def lines(self) -> Iterator[str]:
        """
        All that, for people.
        """
        kinds = self.kinds.most_common()
        yield ", ".join(f"{count} {kind}" for kind, count in kinds)
        rows: list[tuple[str, ...]] = [("count", "kind", "reason")]
        common = self.reasons.most_common(max(_REASONS, self._most))
        rows += [(str(count), *which) for which, count in common]
        yield ""
        yield from columns(rows)
        others = len(self.reasons) - len(common)
        if others:
            yield f"and {others} other reasons"
        if self.first:
            yield ""
            head = "uuid", "url", "attempts", "buried", "kind", "reason"
            yield from columns([head, *self.first])


def _cell(text: str) -> str:
    """
    A text as it is in a table: never empty, and cut at the end if it is long.
    """
    return printable(cut(masked(text), _CELL_WIDTH)) or "-"
