"""
Ends the rows of tasks whose end nobody will tell.

Theory of operation.  A mediator tells the end of each task before it acknowledges the
message.  A message that RabbitMQ drops has no end: the queue was purged by other means
than ours, or deleted, or had too many messages, or one was too old for it.  AMQP does
not tell whether a message is still somewhere: on the delay ladder, with a mediator, in
the queue of dead letters.  So this goes by time:

  - No attempt begins at a task whose C{ttl} is over.  A day later, the last attempt has
    ended, and the end was told, or never will be.
  - Where the queue itself is gone, nothing brings a task back whose time has come.
  - Else nobody knows for certain, and a row is kept for a month from the time at which
    its task was to run, as long as Cloud Tasks keeps a task at most.

A row that was ended so has the outcome L{UNKNOWN}, and its name is free an hour later.
If a mediator tells the end after all, that end counts.

There may be millions of rows.  So a look goes in small steps, and of a body that has no
C{ttl} nothing is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quebert.created_tasks._boundaries import TaskBroker, TaskRows
from quebert.created_tasks._states import LOSE, PUBLISHED
from quebert.created_tasks._values import CreatedTask, NewTask, RowQuery, TaskChange
from quebert.errors import BadTask
from quebert.task import decode, may_hold, schedule
from quebert.task_ends import EndNote

__all__ = ["UNKNOWN", "UnendedTasks"]

#: The outcome of a task whose end nobody has told.
UNKNOWN = "unknown"
#: Seconds after the end of its C{ttl}, after its time where there is no queue, and
#: after its time else.
AFTER_TTL, WITHOUT_QUEUE, AT_LAST = 86_400.0, 3_600.0, 31 * 86_400.0
#: Seconds between two looks.
PACE = 3_600.0
# Rows that are read in a step, and the bytes of their bodies, about: to decode these
# takes some milliseconds.
_FEW, _BYTES = 500, 1_000_000
# Steps of a queue in one look; the next look goes on behind them.
_STEPS = 100
_TTL = b'"ttl"'


class UnendedTasks:
    """
    @param now: gives the seconds since the epoch.
    @param window: seconds for which a name is held then.
    """

    def __init__(
        self,
        rows: TaskRows,
        broker: TaskBroker,
        now: Callable[[], float],
        window: float,
    ) -> None:
        self._rows = rows
        self._broker = broker
        self._now = now
        self._window = window
        self._next = float("-inf")
        self._after: dict[str, int] = {}  # by queue
        self._steps: dict[str, int] = {}  # that are left in this look, by queue

    async def step(self) -> bool:
        """
        Take the next step of a look, if it is time for one.

        @return: whether there are more steps to take now.
        @raise TaskStoreError: the database does not answer.
        @raise BrokerError: RabbitMQ does not tell whether there is a queue.
        """
        if not self._steps:
            if self._now() < self._next:
                return False
            queues = await self._rows.queues()
            self._after = {each: self._after.get(each, 0) for each in queues}
            self._steps = dict.fromkeys(queues, _STEPS)
        if self._steps:
            queue = next(iter(self._steps))
            left = self._steps.pop(queue) - 1
            try:
                has_more = await self._end_some_of(queue)
            except BaseException:
                self._steps[queue] = left + 1  # other queues have their turn
                raise
            if has_more and left:
                self._steps = {queue: left, **self._steps}
        if self._steps:
            return True
        self._next = self._now() + PACE
        return False

    async def _end_some_of(self, queue: str) -> bool:
        """
        End some rows of a queue.

        @return: whether there are more.
        """
        query = RowQuery(
            queue=queue,
            states=(PUBLISHED,),
            after=self._after[queue],
            size=_FEW,
            body_bytes=_BYTES,
        )
        rows, after = await self._rows.page(query)
        has_queue = True
        if any(_may_lack_queue(each.task, self._now()) for each in rows):
            has_queue = await self._broker.has_queue(queue)
        changes = self._changes(rows, has_queue)
        if changes:
            await self._rows.change(changes)
        if rows and rows[-1].task.created >= self._now() - WITHOUT_QUEUE:
            after = 0  # those behind are younger still
        self._after[queue] = after
        return bool(after)

    def _changes(
        self, rows: Sequence[CreatedTask], has_queue: bool
    ) -> list[TaskChange]:
        found = []
        for row in rows:
            why = _why(row.task, self._now(), has_queue)
            if why:
                found.append(self._change(row.task, why))
        return found

    def _change(self, task: NewTask, why: str) -> TaskChange:
        now = self._now()
        end = EndNote(
            uuid=task.uuid, queue=task.queue, outcome=UNKNOWN, ended=now, reason=why
        )
        held_until = now + self._window
        return TaskChange(uuid=task.uuid, event=LOSE, end=end, held_until=held_until)


def _why(task: NewTask, now: float, has_queue: bool) -> str:
    """
    Why nobody will tell the end of a task; empty where somebody may.
    """
    if not has_queue and _may_lack_queue(task, now):
        return f"there is no queue {task.queue} any more"
    if now > max(task.due, task.created) + AT_LAST:
        return "its end was not told for a month"
    expires = _expiry(task.body)
    if expires is not None and now > expires + AFTER_TTL:
        return "its ttl is over, and its end was not told for a day"
    return ""


def _may_lack_queue(task: NewTask, now: float) -> bool:
    return now > max(task.due, task.created) + WITHOUT_QUEUE


def _expiry(body: bytes) -> float | None:
    if not may_hold(_TTL, body):
        return None
    try:
        return schedule(decode(body)).expires_at
    except BadTask:
        return None
