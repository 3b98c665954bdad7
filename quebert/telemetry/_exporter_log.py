"""
The log of OpenTelemetry, in that of a Twisted program.

The SDK logs by C{logging}, from its own threads, each time that an export fails, and
for each span for which there is no room.  Here each kind of line is logged once in
L{PERIOD}.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import attrs

from quebert._log import Logger
from quebert._text import one_line

__all__ = ["PERIOD", "ExporterLog"]

#: Seconds at least between two lines of one kind.
PERIOD = 60.0
# Kinds of lines that are told apart, and characters of a line.
_MOST_KINDS, _MOST = 100, 500
# What may be logged for each message, as its headers want it.
_OF_MESSAGES = ("opentelemetry.trace", "opentelemetry.propagat", "opentelemetry.bagg")


@attrs.define
class _RepeatedLine:
    """
    @ivar logged_at: when its last line was logged.
    @ivar more: how many lines were not logged since then.
    """

    logged_at: float
    more: int = 0


class ExporterLog(logging.Handler):
    """
    Logs what OpenTelemetry logs.

    @param call: calls a function in the thread of the reactor.
    @param seconds: tells the time.
    """

    log = Logger()

    def __init__(
        self,
        call: Callable[..., object],
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(logging.WARNING)
        self._call = call
        self._seconds = seconds
        self._kinds: dict[str, _RepeatedLine] = {}
        self._mutex = threading.Lock()

    def install(self) -> Callable[[], None]:
        """
        Take all that OpenTelemetry logs.

        @return: to be called once no more is to be taken.
        """
        logger = logging.getLogger("opentelemetry")
        before = logger.propagate
        logger.addHandler(self)
        logger.propagate = False

        def remove() -> None:
            logger.removeHandler(self)
            logger.propagate = before

        return remove

    def emit(self, record: logging.LogRecord) -> None:
        """
        Log a line, unless one of its kind was logged just now.
        """
        if record.name.startswith(_OF_MESSAGES):
            return
        with self._mutex:
            kind = str(record.msg)
            if kind not in self._kinds and len(self._kinds) >= _MOST_KINDS:
                kind = ""
            known, now = self._kinds.get(kind), self._seconds()
            if known is not None and now - known.logged_at < PERIOD:
                known.more += 1
                return
            more = 0 if known is None else known.more
            self._kinds[kind] = _RepeatedLine(now)
        try:
            text = record.getMessage()
        except Exception:  # the values do not suit the format
            text = str(record.msg)
        self._call(self._tell, one_line(text, _MOST), more)

    def _tell(self, text: str, more: int) -> None:
        self.log.warn(
            "OpenTelemetry: {text}{more}",
            text=text,
            more=f"; {more:,} more like it since the last" if more else "",
        )
