"""
Log events that can be printed, whatever a task, an answer or a broker has put into
them.

L{make_printable} is the one place: it fixes the text of an event, so that whoever
formats the event later gets no control character, and no more than a few KB.  It does
so by C{log_flattened}, which C{twisted.logger} uses in place of the values of an event.
The values and the exception stay in the event for those who do more than print it.

L{Logger} does it for all that quebert logs, in any process.  L{print_safely} does it
for all that a process logs: Twisted's own events and those of hooks, too.

To log another event: C{log = Logger()} in a class, with a format whose fields hold no
secret (L{quebert._secrets}, L{shown_url<quebert._text.shown_url>}).  A warning that can
come once for each task or attempt, and tells of no single one, is logged by
L{RepeatedWarning<quebert._repeated.RepeatedWarning>}, whose owner ends it.  A debug
line for each is made printable also where nobody wants it: ask for the level before.
C{quebert} commands show what is logged from C{log_problems} of C{cli/_running} on; a
worker's events reach its supervisor as text, or as JSON.  Each plain value of an event
is a field of the JSON that L{quebert._log_output} makes, so it must hold no secret,
either.  A line that operators look for is told in C{docs}.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from io import StringIO
from string import Formatter
from typing import Any, NamedTuple

import twisted.logger
from twisted.logger import LogEvent, LogLevel, globalLogPublisher

# They are private, and as they were in the first twisted.logger (Twisted 15.2).
from twisted.logger._flatten import KeyFlattener
from twisted.logger._format import formatWithCall
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from quebert._text import cut, one_line, printable_lines

__all__ = [
    "Logger",
    "log_line",
    "make_printable",
    "of_lines",
    "print_safely",
    "traceback_of",
]

# Characters of the values of one event, all together, and of its format.
_MOST = 2_000
# Characters of a traceback: its beginning tells where, its end tells what.
_TRACEBACK_HEAD = 1_000
_TRACEBACK_TAIL = 2_000
# Characters of the text of an exception.
_MOST_OF_ERROR = 1_000
_DONE = "log_flattened"


class _Field(NamedTuple):
    """
    A field of a format.

    @ivar key: what C{twisted.logger} calls it in C{log_flattened}.
    """

    key: str
    name: str
    spec: str | None
    conversion: str | None


class Logger(twisted.logger.Logger):
    """
    A logger whose events can be printed by any observer.
    """

    def emit(
        self, level: LogLevel, format: str | None = None, **kwargs: object
    ) -> None:
        """
        Emit an event, as C{twisted.logger.Logger.emit} does.
        """
        event: dict[str, Any] = {**kwargs, "log_format": format}
        make_printable(event)
        super().emit(level, event.pop("log_format"), **event)


def print_safely() -> None:
    """
    Have all that this process logs be printable from now on.

    To be called before logging begins: observers are called in the order in which
    they were added.
    """
    globalLogPublisher.addObserver(make_printable)  # type: ignore[arg-type]


def make_printable(event: LogEvent) -> None:
    """
    Fix the text of C{event}, and of its exception, as a text that can be printed.
    """
    failure = event.get("log_failure")
    if isinstance(failure, Failure) and not isinstance(failure, _PrintableFailure):
        event["log_failure"] = _PrintableFailure.like(failure)
    if isinstance(event.get("log_system"), str):
        event["log_system"] = one_line(event["log_system"], _MOST)
    if event.get("log_format") is None or _DONE in event:
        return
    text = _as_text(event["log_format"])
    try:
        event["log_format"], fields = _parsed(text)
    except ValueError:  # it is no format
        shown = one_line(text, _MOST)
        event["log_format"] = shown.replace("{", "{{").replace("}", "}}")
    else:
        event[_DONE] = _values(fields, event)


def of_lines(text: str) -> LogEvent:
    """
    The part of a log event that has C{text} for its text, which may have several lines.
    """
    shown = _shortened(printable_lines(text))
    return {"log_format": "{text}", "text": text, _DONE: {"text!s:": shown}}


def log_line(namespace: str, line: str, fields: Mapping[str, object]) -> None:
    """
    Log, at the level C{info}, a line that can be printed as it is.  That costs a tenth
    of what L{Logger} does: what writes it need not format it (L{quebert._log_output}).

    @param fields: for those who read more than the line; they can be printed, too.
    """
    globalLogPublisher(
        {
            "log_fields": fields,
            "log_format": "{log_line}",
            "log_level": LogLevel.info,
            "log_line": line,
            "log_namespace": namespace,
            "log_time": time.time(),
            _DONE: {"log_line!s:": line},
            **fields,
        }
    )


def traceback_of(error: BaseException) -> str:
    """
    The traceback of an exception, as it can be printed.
    """
    return _PrintableFailure.like(Failure(error)).getTraceback()


def _as_text(format: object) -> str:
    return (
        format.decode("utf-8", "replace") if isinstance(format, bytes) else str(format)
    )


@lru_cache(256)
def _parsed(text: str) -> tuple[str, list[_Field]]:
    """
    A format that can be printed, and its fields.

    @raise ValueError: the format is malformed.
    """
    shown = cut(printable_lines(text), _MOST)
    keys = KeyFlattener()
    fields = [
        _Field(keys.flatKey(name, spec, conversion or "s"), name, spec, conversion)
        for _, name, spec, conversion in Formatter().parse(shown)
        if name is not None
    ]
    return shown, fields


def _values(fields: Iterable[_Field], event: LogEvent) -> dict[str, str]:
    """
    What stands for each field of the format.
    """
    values, left = dict[str, str](), _MOST
    for field in fields:
        value = values[field.key] = one_line(_formatted(field, event), left)
        left -= len(value)
    return values


def _formatted(field: _Field, event: LogEvent) -> str:
    name, spec, conversion = field.name, field.spec or "", field.conversion
    try:
        if name in event and not conversion and "{" not in spec:  # nearly always
            return format(event[name], spec)
        which = f"!{conversion}" if conversion else ""
        return formatWithCall(f"{{{name}{which}:{spec}}}", event)
    except Exception as e:  # whatever str() of a value, or its format, does
        return f"({type(e).__name__} when {name} was to be shown)"


def _shortened(text: str) -> str:
    if len(text) <= _TRACEBACK_HEAD + _TRACEBACK_TAIL:
        return text
    return f"{text[:_TRACEBACK_HEAD]}\n...\n{text[-_TRACEBACK_TAIL:]}"


class _PrintableFailure(Failure):
    """
    A failure whose texts can be printed.  All else is as in the failure it is like.
    """

    @classmethod
    def like(cls, failure: Failure) -> _PrintableFailure:
        """
        The printable one of C{failure}.
        """
        made = cls.__new__(cls)
        made.__dict__.update(failure.__dict__)
        return made

    def getErrorMessage(self) -> str:
        """
        The text of the exception.
        """
        return one_line(safe_str(self.value), _MOST_OF_ERROR)

    def printTraceback(
        self,
        file: Any = None,
        elideFrameworkCode: Any = False,
        detail: str = "default",
    ) -> None:
        """
        Write the traceback.
        """
        told = Failure.__new__(Failure)
        # The class of the exception is told by its type, which stays.
        told.__dict__.update(self.__dict__, value=self.getErrorMessage())
        text = StringIO()
        told.printTraceback(text, elideFrameworkCode, detail)
        if file is None:
            from twisted.python.log import logerr as file
        file.write(_shortened(printable_lines(text.getvalue())))
