"""
Ends the rows of tasks whose end nobody will tell.

Theory of operation.  A mediator tells the end of each task before it acknowledges the
message.  A message that RabbitMQ drops has no end: the queue was purged by other means
than ours, or deleted, or had too many messages, or one was too old for it.  AMQP does
not tell whether a message is still somewhere: on the delay ladder, with a mediator, in
the queue of dead letters.  So this goes by time:

  - No attempt begins at a task whose C{ttl} is over.  A day later, the last one has
    ended, too, and was told, or never will be.
  - Where the queue itself is gone, nothing brings a task back whose time has come.
  - Else nobody knows for certain, and a row is kept for a month from the time at which
    its task was to run, as long as Cloud Tasks keeps a task at most.

A row that was ended so has the outcome L{UNKNOWN}, and its name is free an hour later.
A mediator that tells the end of its task after all is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quebert.created_tasks._boundaries import TaskBroker, TaskRows
from quebert.created_tasks._states import LOSE, PUBLISHED
from quebert.created_tasks._values import CreatedTask, NewTask, RowQuery, TaskChange
from quebert.errors import BadTask
from quebert.task import decode, schedule
from quebert.task_ends import EndNote

__all__ = ["UNKNOWN", "UnendedTasks"]

#: The outcome of a task whose end nobody has told.
UNKNOWN = "unknown"
#: Seconds after the end of its C{ttl}, after its time where there is no queue, and
#: after its time else.
AFTER_TTL, WITHOUT_QUEUE, AT_LAST = 86_400.0, 3_600.0, 31 * 86_400.0
#: Seconds between two looks.
PACE = 3_600.0
# Rows of a queue that are read at a time; and in one look, the next of which goes on
# behind them.
_FEW, _PAGES = 500, 20


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

    async def end_some(self) -> int:
        """
        End rows, if it is time to look again.

        @return: how many.
        @raise TaskStoreError: the database does not answer.
        @raise BrokerError: RabbitMQ does not.
        """
        if self._now() < self._next:
            return 0
        ended = 0
        queues = await self._rows.queues()
        self._after = {each: self._after.get(each, 0) for each in queues}
        for queue in queues:
            ended += await self._end_of(queue)
        self._next = self._now() + PACE
        return ended

    async def _end_of(self, queue: str) -> int:
        has_queue: bool | None = None
        ended = 0
        for _ in range(_PAGES):
            query = RowQuery(
                queue=queue,
                states=(PUBLISHED,),
                before=self._now() - WITHOUT_QUEUE,
                after=self._after[queue],
                size=_FEW,
            )
            rows, self._after[queue] = await self._rows.page(query)
            if rows and has_queue is None:
                has_queue = await self._broker.has_queue(queue)
            changes = self._changes(rows, has_queue is not False)
            if changes:
                await self._rows.change(changes)
                ended += len(changes)
            if not self._after[queue]:
                break
        return ended

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
    due = max(task.due, task.created)
    if not has_queue and now > due + WITHOUT_QUEUE:
        return f"there is no queue {task.queue} any more"
    if now > due + AT_LAST:
        return "its end was not told for a month"
    expires = _expiry(task.body)
    if expires is not None and now > expires + AFTER_TTL:
        return "its ttl is over, and its end was not told for a day"
    return ""


def _expiry(body: bytes) -> float | None:
    try:
        return schedule(decode(body)).expires_at
    except BadTask:
        return None
