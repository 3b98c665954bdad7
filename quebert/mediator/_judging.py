"""
Tasks that are not attempted now: they are cancelled, have expired, are early, or had
their attempts; and messages that are no task.

Somebody may have set the clock of the machine wrong since this process began, and may
set it right soon.  So a task that is early, or has expired, only because the clock was
set is judged again after L{DOUBT} seconds at most.

Nothing here reads a clock: C{unset} gives that other time where it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from quebert.boundaries import WatchedMessage
from quebert.errors import BadTask, NoDefaultURL
from quebert.mediator._describe import name_of, one_line
from quebert.outcome import CANCELLED, EXPIRED, POISON, Bury, Discard, Outcome, Retry
from quebert.policy import History, RetryPolicy, exhausted
from quebert.task import Bounds, Schedule, Task

__all__ = ["DOUBT", "cancelled", "early", "expired", "given_up", "no_task", "purged"]

#: Seconds after which a task is judged again that is early or has expired only if the
#: clock of the machine was set rightly.
DOUBT = 5.0
_NO_MORE = "this mediator makes no more attempts at it"

Unset = Callable[[float], float]


def cancelled(uuid: object, message: WatchedMessage) -> Discard | None:
    """
    What becomes of a task that somebody has cancelled; C{None} of another.

    @param uuid: of the task, as the task has it.
    """
    if uuid is None:
        return None
    mark = message.cancelled_tasks.get(uuid if isinstance(uuid, str) else str(uuid))
    if mark is None or not mark.covers(message):
        return None
    return Discard(mark.reason, CANCELLED)


def purged(task: Task, added: float | None, before: float) -> Discard | None:
    """
    What becomes of a task whose queue was purged, or deleted, after it was created;
    C{None} of another.

    @param added: when it was created, as far as it says so itself.
    @param before: when the queue was purged; infinity if it was deleted.
    """
    if before == math.inf:
        return Discard(f"task {name_of(task)}: its queue was deleted", CANCELLED)
    if added is None or added >= before:
        return None
    return Discard(f"task {name_of(task)}: its queue was purged", CANCELLED)


def expired(task: Task, times: Schedule, now: float, unset: Unset) -> Outcome | None:
    """
    What becomes of a task whose time to live is over; C{None} where it is not.

    @param unset: from the time to what it would be if nobody had set the clock.
    """
    if not times.expired(now):
        return None
    if times.expired(unset(now)):
        return Discard(f"task {name_of(task)} has expired", EXPIRED)
    return Retry(after=DOUBT, attempted=False)


def early(times: Schedule, now: float, unset: Unset) -> Outcome | None:
    """
    What becomes of a task whose time has not come; C{None} where it has.

    @param unset: as for L{expired}.
    """
    seconds = times.early(now)
    if seconds <= 0:
        return None
    after = min(seconds, max(times.early(unset(now)), DOUBT))
    return Retry(after=after, attempted=False)


def given_up(
    task: Task, history: History, limits: RetryPolicy, now: float
) -> Outcome | None:
    """
    What becomes of a task that has had its attempts, at mediators of other limits;
    C{None} where it has not.
    """
    if not limits.given_up(history):
        return None
    return exhausted(history, None, now, name_of(task), _NO_MORE)


def no_task(decoded: Any, error: BadTask, bounds: Bounds, bury: bool) -> Outcome:
    """
    What becomes of a message that a mediator can make no request for.

    @param decoded: what its body says, if it could be decoded.
    @param bury: whether it is kept for somebody to look at.
    """
    known = decoded.get("uuid") if isinstance(decoded, dict) else None
    if isinstance(known, str) and len(known) > bounds.uuid:
        known = None
    name = f" (uuid {one_line(known)})" if known else ""
    if isinstance(error, NoDefaultURL):  # another mediator can
        return Bury(f"a task{name} that another mediator may do: {error}", POISON)
    why = f"not a task{name}: {error}"
    return Bury(why, POISON) if bury else Discard(why)
