"""
A task that a client of an HTTP API asks for, checked as C{add_task} checks one.
"""

from __future__ import annotations

from typing import Any

from quebert import task as tasks
from quebert._bounds import BOUNDS
from quebert.created_tasks._values import NewTask
from quebert.producer import task_body

__all__ = ["requested"]


def requested(
    now: float,
    queue: str,
    url: str,
    params: Any = None,
    /,
    *,
    name: str | None = None,
    digest: bytes = b"",
    max_body: int = BOUNDS.body,
    **fields: Any,
) -> NewTask:
    """
    A task to create.

    @param now: seconds since the epoch.
    @param name: unique in the queue; C{None} for none.
    @param digest: see L{NewTask}.
    @param max_body: bytes that a mediator takes at most.
    @param fields: as for L{quebert.task.make}.
    @raise BadTask: a field is wrong, or a mediator would set the task aside.
    @raise TypeError: one of C{fields} is no field of a task.
    """
    if name is not None and "callback_url" in fields:
        fields["callback_name"] = name
    task = tasks.make(now, url, params, **fields)
    due = tasks.schedule(task).run_at if "run_at" in task else None
    return NewTask(
        queue=queue,
        uuid=task["uuid"],
        body=task_body(task, max_body),
        created=now,
        due=now if due is None else due,
        name=name,
        digest=digest,
    )
