"""
The line in the log for each task that is done.

It costs more than anything else that a mediator does for a small task: see
C{docs/logs.rst}.
"""

from __future__ import annotations

from quebert._log import Logger
from quebert.outcome import Done
from quebert.task_events import AttemptEnded, TaskEvent

__all__ = ["log_done"]

_log = Logger(namespace="quebert.tasks")


def log_done(event: TaskEvent) -> None:
    """
    An observer that logs tasks that are done.  Of others, the mediator and the watch
    tell.
    """
    if isinstance(event, AttemptEnded) and isinstance(event.outcome, Done):
        attempt = event.attempt
        _log.info(
            "Task {uuid} for {url} is done: {status}, attempt {attempt}, {ms:.1f} ms.",
            uuid=attempt.uuid or "(no uuid)",
            url=attempt.url,
            status=event.status or "no request",
            attempt=attempt.number,
            ms=round(event.seconds * 1000, 1),
        )
