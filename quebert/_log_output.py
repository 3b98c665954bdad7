"""
What a program's log is written with: from which level on, as text or as JSON.

JSON is one object a line: C{time} (ISO 8601, UTC), C{level}, C{namespace} and
C{message}; C{worker}, C{error} and C{traceback} where there are any; and the event's
own fields.  A field is a text, a number, a boolean, or the text of an exception;
anything else is left out, and a long text is cut.  Whoever logs takes care that no
field holds a secret (L{quebert._log}).  C{docs/logs.rst} tells it to users.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
    formatEventAsClassicLogText,
    formatTime,
)
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from zope.interface import directlyProvides

from quebert._log import make_printable
from quebert._text import one_line, printable

__all__ = [
    "LEVELS",
    "OBJECT",
    "LevelFilter",
    "as_json",
    "as_text",
    "object_of",
    "stream_observer",
]

#: The levels by their names.
LEVELS: Mapping[str, Any] = {each.name: each for each in LogLevel.iterconstants()}
#: Where an event holds the object that stands for it: one that another process has
#: made.
OBJECT = "log_object"

# Characters of a field, and of a message.
_FIELD_LIMIT = 1_000
_MESSAGE_LIMIT = 8_000
_NAME_LIMIT = 100
_MOST_FIELDS = 50
# Readers of JSON take numbers for floats, or for 64 bits.
_MOST_NUMBER = 2**63
# Ours, and those that twisted.python.log puts into an event.
_RESERVED = frozenset(
    {
        "error",
        "failure",
        "format",
        "isError",
        "level",
        "message",
        "namespace",
        "system",
        "time",
        "traceback",
        "worker",
    }
)

Observe = Callable[[LogEvent], object]


class LevelFilter:
    """
    Lets log events pass from a level on, which may be changed at any time.

    @param level: its name.
    """

    def __init__(self, level: str = "info") -> None:
        self.level = level

    @property
    def level(self) -> str:
        """
        The name of the level.
        """
        return self._level

    @level.setter
    def level(self, name: str) -> None:
        self._level, least = name, LEVELS[name]
        self._passing = frozenset(each for each in LEVELS.values() if each >= least)

    def before(self, observe: Observe) -> Any:
        """
        An observer that passes events on to C{observe}.
        """

        def passing(event: LogEvent) -> None:
            if event.get("log_level", LogLevel.info) in self._passing:
                observe(event)

        directlyProvides(passing, ILogObserver)
        return passing


def stream_observer(stream: TextIO, format: str) -> FileLogObserver:
    """
    Writes log events to a stream.

    @param format: C{"text"} or C{"json"}.
    """
    return FileLogObserver(stream, as_json if format == "json" else as_text)


def as_text(event: LogEvent) -> str | None:
    """
    A log event as twistd writes it.
    """
    if "log_line" not in event:
        return formatEventAsClassicLogText(event, _local_time)
    origin = f"{event['log_namespace']}#{event['log_level'].name}"
    return f"{_local_time(event['log_time'])} [{origin}] {event['log_line']}\n"


def _local_time(when: float | None) -> str:
    return "-" if when is None else _of_second(int(when))


@lru_cache(1)
def _of_second(when: int) -> str:
    return formatTime(when)


@lru_cache(1)
def _utc_of_second(when: int) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def as_json(event: LogEvent) -> str:
    """
    A log event as a line of JSON.
    """
    made = event.get(OBJECT)
    if made is None:
        made = object_of(event)
    if "log_worker" in event:
        made = {**made, "worker": event["log_worker"]}
    return f"{json.dumps(made)}\n"


def object_of(event: LogEvent) -> dict[str, Any]:
    """
    The JSON object that stands for a log event.
    """
    if "log_line" in event:  # each task has one
        return {**_beginning(event, event["log_line"]), **event["log_fields"]}
    make_printable(event)
    made = _beginning(event, one_line(formatEvent(event), _MESSAGE_LIMIT))
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        kind = getattr(failure.type, "__name__", "")
        made["error"] = f"{kind}: {failure.getErrorMessage()}"
        made["traceback"] = failure.getTraceback()
    _add_fields(made, event)
    return made


def _beginning(event: LogEvent, message: str) -> dict[str, Any]:
    """
    What each event has.
    """
    when = event.get("log_time") or 0.0
    level = event.get("log_level") or LogLevel.info
    return {
        "time": f"{_utc_of_second(int(when))}.{int(when % 1 * 1e6):06}Z",
        "level": level.name,
        "namespace": printable(str(event.get("log_namespace") or "")),
        "message": message,
    }


def _add_fields(made: dict[str, Any], event: LogEvent) -> None:
    count = len(made) + _MOST_FIELDS
    for name, value in event.items():
        if name.startswith("log_") or name in _RESERVED or len(made) >= count:
            continue
        if isinstance(value, BaseException):
            value = safe_str(value)
        if isinstance(value, str):
            made[printable(name[:_NAME_LIMIT])] = one_line(value, _FIELD_LIMIT)
        elif value is None or isinstance(value, bool) or _is_number(value):
            made[printable(name[:_NAME_LIMIT])] = value


def _is_number(value: object) -> bool:
    if isinstance(value, int):
        return -_MOST_NUMBER <= value < _MOST_NUMBER
    return isinstance(value, float) and math.isfinite(value)
