"""
The line in the log for each task that is done.

It costs more than anything else that a mediator does for a small task: see
C{docs/logs.rst}.
"""

from __future__ import annotations

from quebert._log import log_line
from quebert.outcome import Done
from quebert.task_events import AttemptEnded, TaskEvent

__all__ = ["log_done"]


def log_done(event: TaskEvent) -> None:
    """
    An observer that logs tasks that are done.  Of others, the mediator and the watch
    tell.
    """
    if isinstance(event, AttemptEnded) and isinstance(event.outcome, Done):
        attempt, ms = event.attempt, round(event.seconds * 1000, 1)
        uuid, url, number = attempt.uuid or "(no uuid)", attempt.url, attempt.number
        status = event.status or "no request"
        log_line(
            "quebert.tasks",
            f"Task {uuid} for {url} is done: {status}, attempt {number}, {ms} ms.",
            {
                "uuid": attempt.uuid,
                "url": url,
                "status": event.status,
                "attempt": number,
                "ms": ms,
            },
        )
