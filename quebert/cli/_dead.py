"""
What there is to tell of messages that were given up, and which of them are meant.
Pure.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import attrs
from twisted.web.http import RESPONSES

from quebert import task as tasks
from quebert._secrets import HIDDEN, NAME
from quebert._text import cut, printable, shown_url, width
from quebert._url import without_userinfo
from quebert.errors import BadTask, ConfigError
from quebert.outcome import FORBIDDEN

__all__ = ["DeadLetter", "Listing", "Match", "matched"]

_OURS = "quebert-"
# Of the announcement's, which count attempts in the body.
_FAILURES = ("failures", "traceback")
# Characters of a text in a table: anybody can publish texts of any length.
_CELL_WIDTH = 200
# How many reasons are told at least.
_REASONS = 10
_STATUS = re.compile("[0-9]{3}")
# A name of a secret in a text that is no JSON: all that follows on the line is hidden.
# Counts are bounded, so that the time is linear.
_SECRET_LINE = re.compile(
    rf"((?:{NAME.pattern})[\w-]{{0,20}}[\"']?\s{{0,8}}[:=]).*", re.IGNORECASE
)
_USERINFO = re.compile(r"//[^/\s@]*@")


class DeadLetter:
    """
    A message in C{<queue>.dead}, whoever has put it there.

    @param properties: of the message, by their AMQP names.
    """

    def __init__(self, properties: Mapping[str, Any], body: bytes) -> None:
        self.properties = properties
        self.headers: Mapping[str, Any] = properties.get("headers", {})
        self.body = body

    def _text(self, name: str) -> str:
        value = self.headers.get(_OURS + name)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return "" if value is None else str(value)

    @cached_property
    def _task(self) -> dict[str, Any]:
        try:
            task = tasks.decode(self.body)
        except BadTask:
            return {}
        return task if isinstance(task, dict) else {}

    @property
    def kind(self) -> str:
        """
        C{"exhausted"}, C{"poison"} or C{"forbidden"}.
        """
        return self._text("kind")

    @property
    def reason(self) -> str:
        """
        Why it was given up, in a sentence.
        """
        return self._text("reason")

    @property
    def gist(self) -> str:
        """
        Why, without what is its own, so that many have the same.
        """
        told, given_up, why = self.reason.partition(" is given up ")
        if not given_up or not told.startswith("task "):
            why = self.reason
        elif self._answer_is_why(why):
            phrase = RESPONSES.get(int(self.status), b"").decode()
            return f"{self.status} {phrase}".rstrip()
        else:
            why = why.partition(": ")[2] or why
        for own in (self.uuid, self.url, shown_url(self.url)):
            why = why.replace(own, "...") if own else why
        return why

    def _answer_is_why(self, why: str) -> bool:
        """
        Whether it was given up since its last answer was no success.
        """
        if self.kind == FORBIDDEN or why.startswith("by its executor"):
            return False
        return _STATUS.fullmatch(self.status) is not None

    @property
    def status(self) -> str:
        """
        What it was answered last, if it was.
        """
        return self._text("last-status")

    @property
    def answer(self) -> str:
        """
        How the body of that answer begins.
        """
        return self._text("last-answer")

    @property
    def attempts(self) -> str:
        """
        How often it was tried.
        """
        return self._text("attempts")

    @property
    def uuid(self) -> str:
        """
        The task's; where it is no task, the message's.
        """
        return _text_of(self._task.get("uuid", self.properties.get("message-id", "")))

    @property
    def url(self) -> str:
        """
        What it requests, without a password.
        """
        return without_userinfo(_text_of(self._task.get("url", "")))

    @property
    def buried(self) -> str:
        """
        When it was given up, by the clock on the wall here.
        """
        return _moment(self.headers.get(f"{_OURS}buried-at"))

    @property
    def anew(self) -> bytes:
        """
        The body with which it begins anew: as it is, but for a count of failures.
        """
        if not any(name in self._task for name in _FAILURES):
            return self.body
        return tasks.encode({k: v for k, v in self._task.items() if k not in _FAILURES})

    @property
    def history(self) -> list[str]:
        """
        The headers that tell of its life so far: ours, and a broker's count of
        deliveries.
        """
        counted = "x-delivery-count"
        return [k for k in self.headers if k.startswith(_OURS) or k == counted]

    def lines(self, secrets: bool = False) -> Iterator[str]:
        """
        All of it, for people.

        @param secrets: whether C{Authorization} and the like are shown, and users and
            passwords in URLs.
        """
        for name, value in self.properties.items():
            if name != "headers":
                yield f"{name}: {_shown(name, _plain(value), secrets)}"
        for name, value in self.headers.items():
            told = _moment(value) if name in _TIMES else _plain(value)
            yield f"{name}: {_shown(name, told, secrets)}"
        yield ""
        yield from self._pretty(secrets).splitlines()

    def _pretty(self, secrets: bool) -> str:
        if self._task:
            task = self._task if secrets else _without_secrets("", self._task)
            return json.dumps(task, indent=2, ensure_ascii=False)
        text = self.body.decode("utf-8", "backslashreplace")
        return text if secrets else _masked(text)


_TIMES = {_OURS + name for name in ("buried-at", "first-attempt", "last-attempt")}


def _moment(when: Any) -> str:
    if not isinstance(when, (int, float)):
        return ""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
    except (ValueError, OverflowError, OSError):
        return ""


def _text_of(value: Any) -> str:
    """
    A field that should be a text; other values are not shown, since nobody knows what
    is in them.
    """
    return value if isinstance(value, str) else HIDDEN


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if isinstance(value, str) else repr(value)


def _shown(name: str, text: str, secrets: bool) -> str:
    if secrets:
        return text
    return HIDDEN if NAME.search(name) else _masked(text)


def _masked(text: str) -> str:
    """
    A text of any kind, without what is told to be a secret in it.
    """
    return _SECRET_LINE.sub(rf"\1 {HIDDEN}", _USERINFO.sub(f"//{HIDDEN}@", text))


def _without_secrets(name: str, value: Any) -> Any:
    """
    What a task has under C{name}, without secrets.  A task is not nested deeper than
    the C{depth} of L{Bounds<quebert.task.Bounds>}.
    """
    if isinstance(value, dict):
        return {
            _masked(key): HIDDEN if NAME.search(key) else _without_secrets(key, inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(name, each) for each in value]
    if not isinstance(value, str):
        return value
    return shown_url(value) if name == "url" else _masked(value)


# -- Which are meant

_FIELDS: Mapping[str, Callable[[DeadLetter], str]] = {
    "kind": lambda letter: letter.kind,
    "reason": lambda letter: letter.reason,
    "status": lambda letter: letter.status,
    "answer": lambda letter: letter.answer,
    "attempts": lambda letter: letter.attempts,
    "uuid": lambda letter: letter.uuid,
    "url": lambda letter: letter.url,
}
_MATCH = re.compile(r"(?P<field>\w+)(?P<not>!?)(?P<how>[=~])(?P<text>.*)", re.DOTALL)


@attrs.frozen
class Match:
    """
    What a field must be, or hold.

    @ivar text: all of it, where C{whole}, and C{*} in it is anything; else a part,
        in capitals or not.
    @ivar wanted: whether it must match, or must not.
    """

    field: str
    text: str
    whole: bool = True
    wanted: bool = True

    @classmethod
    def parse(cls, text: str) -> Match:
        """
        Read C{field=text}, C{field!=text}, C{field~part} or C{field!~part}.

        @raise ConfigError: it is none of them.
        """
        found = _MATCH.fullmatch(text)
        if found is None or found["field"] not in _FIELDS:
            raise ConfigError(
                f"--match {text} must be FIELD=TEXT, FIELD!=TEXT, FIELD~PART or"
                f" FIELD!~PART, with a field of {', '.join(_FIELDS)}"
            )
        whole, wanted = found["how"] == "=", not found["not"]
        return cls(found["field"], found["text"], whole, wanted)

    def __call__(self, letter: DeadLetter) -> bool:
        value = _FIELDS[self.field](letter)
        return self._is_in(value) == self.wanted

    def _is_in(self, value: str) -> bool:
        if not self.whole:
            return self.text.casefold() in value.casefold()
        first, *others = self.text.split("*")
        if not others:
            return value == first
        *middle, last = others
        # The earliest place of a part leaves most room for the parts after it, so each
        # part is searched for once.  A regular expression would try all places.
        at, end = len(first), len(value) - len(last)
        for part in middle:
            place = value.find(part, at, end)
            if place < 0:
                return False
            at = place + len(part)
        return at <= end and value.startswith(first) and value.endswith(last)


def matched(matches: Iterable[Match], letter: DeadLetter) -> bool:
    """
    Whether it is as all of them want it.
    """
    return all(match(letter) for match in matches)


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
        kind, reason = _cell(letter.kind), _cell(letter.gist)
        self.reasons[kind, reason] += 1
        if len(self.first) < self._most:
            url = shown_url(letter.url)
            row = letter.uuid, url, letter.attempts, letter.buried
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
        yield from _columns(rows)
        others = len(self.reasons) - len(common)
        if others:
            yield f"and {others} other reasons"
        if self.first:
            yield ""
            head = "uuid", "url", "attempts", "buried", "kind", "reason"
            yield from _columns([head, *self.first])


def _cell(text: str) -> str:
    """
    A text as it is in a table: never empty, and cut at the end if it is long.
    """
    return printable(cut(_masked(text), _CELL_WIDTH)) or "-"


def _columns(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell + " " * (most - width(cell))
            for cell, most in zip(row, widths, strict=True)
        )
        yield "  ".join(cells).rstrip()
