"""
Tasks that are created over HTTP, as values.  Pure.
"""

from __future__ import annotations

import attrs

from quebert.task_ends import EndNote

__all__ = [
    "CreatedTask",
    "NewTask",
    "RowQuery",
    "Standing",
    "TaskChange",
]


@attrs.frozen(kw_only=True)
class NewTask:
    """
    A task that is to be created.  All times are in seconds since the epoch.

    @ivar queue: the queue that it goes to, by the default exchange.
    @ivar uuid: no other task that is created over HTTP has it.
    @ivar body: the task as JSON, as it goes to RabbitMQ.
    @ivar created: when it was asked for.
    @ivar due: when it may run, not before.
    @ivar name: unique in the queue; C{None} for none.
    @ivar digest: of the request, where C{uuid} was made from a key of the client: the
        same uuid with another digest is another request.
    """

    queue: str
    uuid: str
    body: bytes
    created: float
    due: float = 0.0
    name: str | None = None
    digest: bytes = b""


@attrs.frozen(kw_only=True)
class CreatedTask:
    """
    A task that was created: its row.

    @ivar task: as it was created; without its body once it has ended.
    @ivar state: one of L{quebert.created_tasks.STATES}.
    @ivar end: C{None} until it has ended, or is deleted.
    @ivar held_until: when its name is free again, and the row goes; 0 until it has
        ended.
    @ivar number: a row that was added later has a greater one; 0 where it is not known.
    """

    task: NewTask
    state: str
    end: EndNote | None = None
    held_until: float = 0.0
    number: int = attrs.field(default=0, eq=False)


@attrs.frozen(kw_only=True)
class Standing:
    """
    What a process is among those that have the rows of one database.

    @ivar leads: whether it is the one that goes on with what was begun.  There is one
        at most; when that ends, or is killed, another one is it.
    @ivar is_alone: whether no other process has the rows now.
    @ivar older: the number of the newest row that none of the others has written, since
        it was there when the first of them began; 0 where that is not known.
    """

    leads: bool
    is_alone: bool
    older: int = 0


@attrs.frozen(kw_only=True)
class TaskChange:
    """
    A change of a row; nothing where the row is not there, or its state has no such
    change.

    @ivar uuid: of the task.
    @ivar event: one of L{quebert.created_tasks.EVENTS}.
    @ivar end: of a task that has ended.
    @ivar held_until: see L{CreatedTask}.
    """

    uuid: str
    event: str
    end: EndNote | None = None
    held_until: float = 0.0


@attrs.frozen(kw_only=True)
class RowQuery:
    """
    Conditions for a list of tasks, the oldest first; an empty one lets all through.

    @ivar queue: the name of the queue.
    @ivar except_queues: the names of queues whose tasks are left out.
    @ivar name: of the task, whole.
    @ivar states: any of these.
    @ivar before: created before that time, in seconds since the epoch.
    @ivar after: only those behind this position, which a list before has given.
    @ivar size: how many at most.
    @ivar bodies: whether the rows are to have their bodies, which may be large.
    @ivar body_bytes: with so many bytes of bodies there are enough rows.
    """

    queue: str = ""
    except_queues: tuple[str, ...] = ()
    name: str = ""
    states: tuple[str, ...] = ()
    before: float | None = None
    after: int = 0
    size: int = 100
    bodies: bool = True
    body_bytes: int = 16_000_000
