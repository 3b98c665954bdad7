"""
The audit log: each change, with its time, its user and its result.

Each line is an object of JSON.  It goes to the log, and, where one is named, to a file
that is opened anew for each line, so that it can be moved away at any time.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from typing import Any

from quebert._log import Logger
from quebert._text import one_line, what_is_wrong
from quebert.errors import ConfigError
from quebert.web._exchange import Caller

__all__ = ["Audit"]

# Characters of a text that somebody else has chosen.
_MOST = 500


class Audit:
    """
    Writes it.

    @param path: of the file; C{None} for the log alone.
    @param now: gives the time of day.
    @raise ConfigError: the file cannot be written.
    @ivar problem: why the last line is not in the file; empty if it is.
    """

    log = Logger()

    def __init__(
        self, path: str | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._now = now
        self.problem = ""
        self._is_cut = False
        self.check()
        if self.problem:
            raise ConfigError(self.problem)

    def check(self) -> None:
        """
        See whether the file can be written.
        """
        self._append("")

    def note(self, caller: Caller, action: str, result: str, **about: Any) -> None:
        """
        Write a line.

        @param about: such as the queue, or the uuid of the task.
        """
        fields = {
            "at": round(self._now(), 3),
            "who": caller.shown,
            "address": caller.address,
            "action": action,
            **{name: _short(each) for name, each in about.items()},
            "result": _short(result),
        }
        line = json.dumps(fields)
        self._append(f"{line}\n")
        self.log.info("Audit: {line}", line=line, audit=True)

    def _append(self, text: str) -> None:
        if self._path is None:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            opened = os.open(self._path, flags, 0o600)
            try:
                self._write(opened, text.encode("ascii"))
            finally:
                os.close(opened)
        except OSError as e:
            why = what_is_wrong(e)
            self.problem = f"the audit log {self._path} cannot be written: {why}"
            if text:
                self.log.error("{problem}", problem=self.problem)
        else:
            self.problem = ""

    def _write(self, opened: int, line: bytes) -> None:
        """
        @raise OSError: not all of it was written.  What was is ended before the next.
        """
        start = b"\n" if self._is_cut else b""
        whole = start + line
        written = os.write(opened, whole)
        self._is_cut = written < len(whole) and written != len(start)
        if written < len(whole):  # the disk was full in the middle
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return one_line(value, _MOST)
    if isinstance(value, (list, tuple)):
        return [_short(each) for each in value]
    return value
