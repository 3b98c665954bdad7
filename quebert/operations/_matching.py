"""
Which dead letters are meant.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import attrs

from quebert.errors import ConfigError
from quebert.operations._dead_letter import DeadLetter

__all__ = ["WAITING_FIELDS", "Match", "check_waiting", "matched"]

_FIELDS: Mapping[str, Callable[[DeadLetter], str]] = {
    "kind": lambda letter: letter.kind,
    "reason": lambda letter: letter.reason,
    "status": lambda letter: letter.status,
    "answer": lambda letter: letter.answer,
    "attempts": lambda letter: letter.attempts,
    "uuid": lambda letter: letter.uuid,
    "url": lambda letter: letter.url,
}
#: Those that a task has which waits.
WAITING_FIELDS = ("uuid", "url", "attempts", "status")
_MATCH = re.compile(r"(?P<field>\w+)(?P<not>!?)(?P<how>[=~])(?P<text>.*)", re.DOTALL)


@attrs.frozen
class Match:
    """
    What a field of a dead letter must be, or hold.  It is called with a
    L{DeadLetter}, and tells whether it is so.

    @ivar field: C{kind}, C{reason}, C{status} (of the last answer), C{answer} (its
        beginning), C{attempts}, C{uuid} or C{url}; of a dead letter that does not tell
        it, the field is empty.
    @ivar text: the whole field where C{whole}, and C{*} in it stands for anything; else
        a part of it, in capitals or not.
    @ivar whole: whether C{text} is the whole field.
    @ivar wanted: C{False} inverts the match.
    @raise ConfigError: there is no such field.
    """

    field: str = attrs.field()
    text: str
    whole: bool = True
    wanted: bool = True

    @field.validator
    def _check_field(self, attribute: object, field: str) -> None:
        if field not in _FIELDS:
            known = ", ".join(_FIELDS)
            raise ConfigError(f"{field!r} is no field of a dead letter: {known} are")

    @classmethod
    def parse(cls, text: str) -> Match:
        """
        Read C{field=text}, C{field!=text}, C{field~part} or C{field!~part}.

        @raise ConfigError: it is none of them.
        """
        found = _MATCH.fullmatch(text)
        if found is None or found["field"] not in _FIELDS:
            raise ConfigError(
                f"{text} must be FIELD=TEXT, FIELD!=TEXT, FIELD~PART or"
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


def check_waiting(matches: Iterable[Match]) -> None:
    """
    Look whether tasks that wait have the fields of matches: of a field that no such
    task has, C{!=} would match all of them.

    @raise ConfigError: they have not.
    """
    for each in matches:
        if each.field not in WAITING_FIELDS:
            raise ConfigError(
                f"{each.field!r} is a field of dead letters alone: tasks that wait have"
                f" {', '.join(WAITING_FIELDS)}"
            )
