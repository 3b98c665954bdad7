"""
Texts from outside: what is printed of them, and small languages that they are in.
"""

from __future__ import annotations

import math
import unicodedata
from typing import Any

from twisted.logger import formatEvent
from twisted.python.failure import Failure

from quebert._log import make_printable, of_lines
from quebert._text import cut, one_line, printable, printable_lines, width
from quebert.errors import ConfigError
from quebert.limits import Rate
from quebert.operations import DeadLetter, Match
from quebert.policy import directive, retry_after
from quebert.task import format_time, parse_time
from quebert.test.fuzz.choices import Choices
from quebert.test.mediating import NOW

__all__ = ["check"]

#: Characters of an event that is logged: its format and its values.
_MOST = 4_100
#: Control characters, those that change the direction, surrogates, line separators.
_FORBIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def check(data: bytes) -> None:
    """
    The first byte chooses what the others are.
    """
    choices = Choices(data)
    _KINDS[choices.octet() % len(_KINDS)](choices)


def _is_harmless(text: str) -> bool:
    return not any(unicodedata.category(each) in _FORBIDDEN for each in text)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _printed(choices: Choices) -> None:
    limit = choices.octet()
    text = _text(choices.rest())
    for shown in (printable(text), *printable_lines(text).split("\n")):
        assert _is_harmless(shown), ascii(shown)
        assert printable(shown) == shown
        assert width(shown) <= 2 * len(shown)
    line = one_line(text, limit)
    assert _is_harmless(line), ascii(line)
    assert len(line) <= max(limit, 1)
    assert len(cut(text, limit)) <= max(limit, 1)


def _logged(choices: Choices) -> None:
    """
    No event can do anything to a terminal, or take more than a few KB.
    """
    format = _text(choices.short())
    event: dict[str, Any] = {"log_format": format, "log_system": _text(choices.short())}
    for name in ("a", "b", "why", "log_source"):
        event[name] = choices.pick((_text, bytes, _Shown, _Failing, len))(
            choices.short()
        )
    if choices.flag():
        event["log_failure"] = Failure(ValueError(_text(choices.short())))
    make_printable(event)
    text = formatEvent(event)
    assert _is_harmless(text.replace("\n", "")), ascii(text)
    assert len(text) <= _MOST, len(text)
    failure = event.get("log_failure")
    if failure is not None:
        told = failure.getTraceback() + failure.getErrorMessage()
        assert _is_harmless(told.replace("\n", "")), ascii(told)
    assert _is_harmless(event["log_system"])
    lines = formatEvent(of_lines(format))
    assert _is_harmless(lines.replace("\n", "")), ascii(lines)


class _Shown:
    """
    An object whose text somebody else has chosen.
    """

    def __init__(self, data: bytes) -> None:
        self.text = _text(data)

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


class _Failing:
    """
    An object that has no text.
    """

    def __init__(self, data: bytes) -> None:
        self.text = _text(data)

    def __str__(self) -> str:
        raise ValueError(self.text)

    __repr__ = __str__


def _times(choices: Choices) -> None:
    text = choices.rest().decode("utf-8", "replace")
    try:
        when = parse_time(text)
    except (ValueError, OverflowError):
        return
    assert math.isfinite(when)
    if -6e10 < when < 2e11:
        assert abs(parse_time(format_time(when)) - when) < 1e-4


def _answers(choices: Choices) -> None:
    text = choices.rest().decode("latin-1")
    after = retry_after(text, NOW)
    assert after is None or after >= 0
    try:
        found = directive(text)
    except ValueError as e:
        assert len(str(e)) < 200
    else:
        assert found.verb in ("retry-after", "discard", "bury")
        assert found.seconds >= 0
        assert _is_harmless(found.reason)


def _rates(choices: Choices) -> None:
    text = choices.rest().decode("utf-8", "replace")
    try:
        rate = Rate.parse(text)
    except ConfigError:
        return
    assert 0 < rate.per_second < math.inf
    _ = str(rate)


def _dead(choices: Choices) -> None:
    """
    What is shown of a dead letter, and whether it is meant by a pattern.
    """
    kinds = ("kind=exhausted", "reason=*a*a*b", "url~a", "status!=500", "uuid=a*", "x")
    pattern = choices.text() if choices.flag() else choices.pick(kinds)
    names = ("kind", "reason", "last-status", "last-answer", "attempts", "buried-at")
    headers = {
        f"quebert-{choices.pick(names)}": choices.pick((_text, bytes, len, repr))(
            choices.short()
        )
        for _ in range(choices.octet() % 8)
    }
    letter = DeadLetter({"headers": headers}, choices.rest())
    _ = letter.common_reason, letter.kind, letter.reason
    _ = letter.status, letter.url, letter.uuid
    try:
        match = Match.parse(pattern)
    except ConfigError:
        return
    match(letter)


_KINDS = (_printed, _logged, _times, _answers, _rates, _dead)
