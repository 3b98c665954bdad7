"""
The states of a task that is created over HTTP, and what leads from which to which.
Pure.

Theory of operation.  A task has a row from before it is published until its name is
free again.  A row is C{NEW} until RabbitMQ is known to have the message: after a kill
nobody knows whether it was published, so each C{NEW} row is published again.  RabbitMQ
may get a task twice so, and never not at all.  A row is C{DELETING} until all
mediators are known to drop the task, and the ends that they told before are read; after
a kill they are told again.

To add a state: C{STATES}, L{LIVING}, if its task may run still, and the events that
lead to it and from it in L{CHANGES}; L{quebert.created_tasks.CreatedTasks}, if
something has to go on after a kill; the conditions in C{task_store/_queries}, with
indexes in C{task_store/_schema}; C{_summary} and C{_with_row} in C{web/_tasks};
C{STATES} in C{client/_calls}; and C{docs/web.rst}.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from quebert.created_tasks._values import CreatedTask, TaskChange
from quebert.task_ends import EndNote

__all__ = [
    "CHANGES",
    "DELETE",
    "DELETED",
    "DELETING",
    "END",
    "ENDED",
    "EVENTS",
    "LIVING",
    "LOSE",
    "NEW",
    "PUBLISH",
    "PUBLISHED",
    "REMOVE",
    "STATES",
    "WITHDRAW",
    "Change",
    "is_changed_by",
]

#: The row is written; nobody knows whether RabbitMQ has the message.
NEW = "new"
#: RabbitMQ has confirmed the message.
PUBLISHED = "published"
#: Somebody has deleted it, and mediators may not know.
DELETING = "deleting"
#: No mediator begins an attempt any more.
DELETED = "deleted"
#: Its mediator has told its end.
ENDED = "ended"

#: All of them.
STATES = (NEW, PUBLISHED, DELETING, DELETED, ENDED)
#: Those of a task that may run still.
LIVING = (NEW, PUBLISHED)

#: RabbitMQ has confirmed the message.
PUBLISH = "publish"
#: RabbitMQ has refused the message: the row goes.
WITHDRAW = "withdraw"
#: A mediator tells the end.
END = "end"
#: Nobody will tell the end.
LOSE = "lose"
#: A client deletes it.
DELETE = "delete"
#: The note of its deletion is read: mediators that have answered will drop it.
REMOVE = "remove"


@attrs.frozen
class Change:
    """
    A change of rows.

    @ivar of: the states that have it.
    @ivar to: the state after it; C{None} where the row goes.
    """

    of: tuple[str, ...]
    to: str | None


#: What each event does.  A task may end twice: as a duplicate, or as a dead letter that
#: was put back, or when nobody was to tell it any more.
CHANGES: Mapping[str, Change] = {
    PUBLISH: Change((NEW,), PUBLISHED),
    WITHDRAW: Change((NEW,), None),
    END: Change((NEW, PUBLISHED, DELETING, ENDED), ENDED),
    LOSE: Change((PUBLISHED,), ENDED),
    DELETE: Change((NEW, PUBLISHED), DELETING),
    REMOVE: Change((DELETING,), DELETED),
}
#: All events.
EVENTS = tuple(CHANGES)


def is_changed_by(row: CreatedTask, change: TaskChange) -> bool:
    """
    Whether a change is one of a row.
    """
    is_of_task = change.end is None or _is_of(row, change.end)
    return is_of_task and row.state in CHANGES[change.event].of


def _is_of(row: CreatedTask, end: EndNote) -> bool:
    """
    Whether an end is that of a row.  It tells the queue: whoever adds tasks to another
    queue cannot end this task by its uuid.  And it tells when its task was created: an
    earlier one, whose row is gone, may have had the same uuid, and be a dead letter
    that was put back.
    """
    is_older = end.sent is not None and end.sent < int(row.task.created)
    return end.queue == row.task.queue and not is_older
