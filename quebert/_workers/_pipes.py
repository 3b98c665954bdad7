"""
What a supervisor and its workers say to each other, and over which pipes.
"""

from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.logger import LogLevel, eventAsText

from quebert._log import of_lines
from quebert._log_output import OBJECT, object_of

__all__ = ["ENVIRONMENT", "LIFELINE", "REPORTS", "Report"]

#: The environment variable by which a process knows that it is a worker: the
#: supervisor's C{sys.path}, in JSON.
ENVIRONMENT = "QUEBERT_WORKER"
#: A worker's descriptors.
LIFELINE = 0
REPORTS = 3


@attrs.frozen
class Report:
    """
    What a worker reports: a line for the log (C{text}), that it has read its
    configuration, and reads it again at a SIGHUP (C{grace}), how it is doing (C{told}),
    or that it is up.

    A log event crosses as its text: what a hook has put into it may be anything,
    and the text is what the log of a single process would show.

    @ivar time: seconds since the epoch.
    @ivar level: the name of a C{LogLevel}: that of the line, or, with C{grace}, that
        from which on the worker logs.
    @ivar text: of as many lines as it has.
    @ivar grace: seconds that what runs may take after a SIGTERM.
    @ivar fields: the JSON object that stands for a log event, if the log is JSON.
    @ivar told: a JSON object that only those understand who run the worker and the
        supervisor.
    """

    time: float = 0.0
    level: str = "info"
    text: str | None = None
    grace: float | None = None
    fields: dict[str, Any] | None = None
    told: dict[str, Any] | None = None

    @classmethod
    def of(cls, event: dict[str, Any], *, with_object: bool = False) -> Report:
        """
        The report of a log event, with its traceback, if it has one.
        """
        level = event.get("log_level") or LogLevel.info
        text = eventAsText(event, includeTimestamp=False)
        made = object_of(event) if with_object else None
        return cls(event.get("log_time") or 0.0, level.name, text, fields=made)

    def event(self, name: str) -> dict[str, Any]:
        """
        The log event of which this is the report.

        @param name: the worker's.
        """
        return {
            "log_level": LogLevel.lookupByName(self.level),
            "log_namespace": __name__,
            "log_system": name,
            "log_time": self.time,
            "log_worker": name,
            **({} if self.fields is None else {OBJECT: self.fields}),
            **of_lines(self.text or ""),
        }

    def line(self) -> bytes:
        """
        Itself in one line.
        """
        values = [
            *(self.time, self.level, self.text),
            *(self.grace, self.fields, self.told),
        ]
        return json.dumps(values).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Report | None:
        """
        What L{line} has written; C{None} for anything else.
        """
        try:
            time, level, text, grace, fields, told = json.loads(line)
            LogLevel.lookupByName(level)
        except (TypeError, ValueError):  # no JSON, no list, no six, no level
            return None
        return cls(time, level, text, grace, fields, told)
