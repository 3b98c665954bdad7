"""
What values may be: each kind is a function from what TOML has to what is meant.

They raise L{Wrong}, whose text goes on from the key: "must be ...".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from math import isfinite
from typing import Any, TypeVar
from urllib.parse import urlsplit

from quebert._url import check_default, without_userinfo
from quebert.config._problems import Wrong
from quebert.errors import ConfigError
from quebert.limits import Rate

__all__ = [
    "argument",
    "array",
    "choice",
    "dotted_name",
    "duration",
    "flag",
    "http_url",
    "name",
    "number",
    "rate",
    "real",
    "seconds",
    "shown",
    "text",
]

T = TypeVar("T")
Kind = Callable[[Any], T]

#: Seconds: what the broker can delay a task for at most.
LONGEST = 2.0**28 - 1
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?([smhd])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


# Of a number that nobody wants to see whole, and that Python may refuse to print.
_MANY_BITS = 1_000


def shown(value: object) -> str:
    """
    A value as a sentence may have it: without a user and a password, if it is a URL.
    """
    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "an array"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > _MANY_BITS:
        return "a number of many digits"
    whole = str(value)
    if isinstance(value, str):
        whole = json.dumps(without_userinfo(value), ensure_ascii=False)
    return whole if len(whole) <= 40 else f"{whole[:40]}..."


def _must(right: str, value: object) -> Wrong:
    return Wrong(f"must be {right}, not {shown(value)}")


def flag(value: object) -> bool:
    """
    A boolean.
    """
    if isinstance(value, bool):
        return value
    raise _must("true or false", value)


def number(least: int, most: int, *, unlimited: bool = False) -> Kind[int]:
    """
    A whole number.

    @param unlimited: -1 will do, too.
    """
    or_none = ", or -1 for no limit" if unlimited else ""

    def read(value: object) -> int:
        found = value if isinstance(value, int) and not isinstance(value, bool) else -2
        if least <= found <= most or (unlimited and found == -1):
            return found
        raise _must(f"a whole number from {least} to {most}{or_none}", value)

    return read


def argument(value: object) -> str | int | float | bool:
    """
    The value of an argument of AMQP.
    """
    fits = isinstance(value, (str, bool, float))
    if fits or (isinstance(value, int) and abs(value) < 2**63):
        return value  # type: ignore[return-value]
    raise _must("a text, a number, or true or false", value)


def _real(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) <= 1e15 else None  # not for a nan either


def real(least: float, most: float) -> Kind[float]:
    """
    A number.
    """

    def read(value: object) -> float:
        found = _real(value)
        if found is None or not least <= found <= most:
            raise _must(f"a number from {least:g} to {most:g}", value)
        return found

    return read


def duration(
    least: float = 0.0, most: float = LONGEST, *, unlimited: bool = False
) -> Kind[float]:
    """
    A time: a number of seconds, or a text with a unit.

    @param unlimited: -1 will do, too.
    """
    some = f"from {least:g} to {most:.0f}" if least else f"up to {most:.0f}"
    right = f'seconds {some}, or a text like "90s", "5m", "2h" or "7d"'
    if unlimited:
        right += ", or -1 for no limit"

    def read(value: object) -> float:
        found = _real(value)
        if isinstance(value, str) and (parts := _DURATION.fullmatch(value)):
            found = float(parts[1]) * _UNITS[parts[2]]
        if unlimited and found == -1:
            return -1.0
        if found is None or not (isfinite(found) and least <= found <= most):
            raise _must(right, value)
        return found

    return read


def seconds(text: str, least: float = 0.0) -> float:
    """
    A time as a command line or a table of a spreadsheet has it: a number of seconds, or
    a number with a unit, such as C{90}, C{"90s"}, C{"5m"}, C{"2h"} or C{"1d"}.

    @raise ConfigError: it is none; the text goes on from what it is of.
    """
    value: object = text.strip()
    with suppress(ValueError):
        value = float(text)
    try:
        return duration(least)(value)
    except Wrong as e:
        raise ConfigError(str(e)) from None


def rate(value: object) -> Rate:
    """
    How many in a time: a number a second, or a text with a unit.
    """
    try:
        if isinstance(value, str):
            return Rate.parse(value)
        return Rate(_real(value) or 0.0)
    except ConfigError:
        right = 'more than 0 a second, or a text like "500/s", "30/m" or "10/h"'
        raise _must(right, value) from None


def text(value: object) -> str:
    """
    A text that is not empty, on one line.
    """
    if isinstance(value, str) and value and not _CONTROL.search(value):
        return value
    raise _must("a text on one line", value)


def name(value: object) -> str:
    """
    A name for AMQP, which may be empty.
    """
    if isinstance(value, str) and len(value.encode()) <= 255:
        return value
    raise _must("a text of 255 bytes at most", value)


def choice(*choices: str) -> Kind[str]:
    """
    One of some texts.
    """
    right = " or ".join(shown(each) for each in choices)

    def read(value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise _must(right, value)

    return read


def dotted_name(value: object) -> str:
    """
    The name of a function.
    """
    if isinstance(value, str):
        names = value.split(".")
        if len(names) > 1 and all(each.isidentifier() for each in names):
            return value
    raise _must('the name of a function, like "module.function"', value)


def array(of: Kind[T]) -> Kind[tuple[T, ...]]:
    """
    An array of one kind.
    """

    def read(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise _must("an array", value)
        return tuple(element(n, each) for n, each in enumerate(value))

    def element(number: int, value: object) -> T:
        try:
            return of(value)
        except Wrong as e:
            raise Wrong(str(e), (number, *e.path)) from None

    return read


def http_url(value: object) -> str:
    """
    Where web servers are; without a password, which it would show to all.
    """
    try:
        url = check_default(value)
    except ValueError as e:
        raise Wrong(str(e)) from None
    if "@" in urlsplit(url).netloc:
        raise Wrong(
            "must hold no user and password: give them as headers.Authorization,"
            ' which is { env = "NAME" } or { file = "PATH" }'
        )
    return url
