"""
L{ReceivedTask}: a task with what its request tells.  Pure, but for the clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from quebert import task as tasks
from quebert.errors import BadTask

__all__ = ["ReceivedTask"]

#: The request header that tells the number of an attempt.
ATTEMPT = "quebert-attempt"
#: Seconds that a mediator gives a task that does not say, and any at most, unless it
#: was told otherwise.
DEFAULT_TIMEOUT, MAX_TIMEOUT = 600.0, 1_500.0


class ReceivedTask(dict[str, Any]):
    """
    A task, which is a dict.

    @ivar path: of the request, relative to where the executor is mounted; C{""} where
        that is not known.
    @ivar attempt: the number of this attempt, from 1.  A hint: an attempt is not
        counted whose mediator died.
    """

    __slots__ = ("_ends", "_now", "attempt", "path")

    def __init__(
        self,
        fields: dict[str, Any],
        *,
        path: str = "",
        attempt: int | None = None,
        began: float | None = None,
        now: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(fields)
        self.path = path
        self.attempt = _attempt(fields) if attempt is None else attempt
        self._now = now
        self._ends = (now() if began is None else began) + _timeout(fields)

    @classmethod
    def decode(
        cls,
        body: bytes,
        headers: Iterable[tuple[str, str]] = (),
        *,
        path: str = "",
        began: float | None = None,
    ) -> ReceivedTask:
        """
        The task that a request brings.

        @param headers: of the request; of these C{Quebert-Attempt} is read.
        @param path: of the request.
        @param began: when it came, by C{time.monotonic}; now by default.
        @raise BadTask: C{body} is no object in JSON, or nested too deeply, or of too
            many values.
        """
        task = tasks.decode(body)
        if not isinstance(task, dict):
            raise BadTask("the body is JSON, but a task is an object: {...}")
        return cls(task, path=path, attempt=_number(headers), began=began)

    def seconds_left(self) -> float:
        """
        Seconds until the mediator waits no longer, less than 0 when it does not.

        They count from when the request came.  Its C{timeout} is that of the task, or
        else the 600 s that mediators have by default, and 1,500 s at most.
        """
        return self._ends - self._now()


def _number(headers: Iterable[tuple[str, str]]) -> int | None:
    """
    The number of the attempt, if the headers tell one.
    """
    found = [value for name, value in headers if name.lower() == ATTEMPT]
    if len(found) != 1 or not re.fullmatch("[0-9]{1,9}", found[0]):
        return None
    return int(found[0])


def _attempt(task: tasks.Task) -> int:
    failures = task.get("failures")
    return failures + 1 if type(failures) is int and failures > 0 else 1


def _timeout(task: tasks.Task) -> float:
    timeout = task.get("timeout")
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        return DEFAULT_TIMEOUT
    return float(min(timeout, MAX_TIMEOUT)) if timeout > 0 else DEFAULT_TIMEOUT
