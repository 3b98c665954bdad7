"""
Deletes tasks whose rows say so, and goes on with those of which an earlier process, or
an earlier try, could not tell that they are deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime

from quebert._lanes import all_of
from quebert.created_tasks._boundaries import TaskBroker, TaskRows
from quebert.created_tasks._deletions_read import DeletionsRead
from quebert.created_tasks._in_hand import TasksInHand
from quebert.created_tasks._row_pages import DOUBTFUL, FEW, pages
from quebert.created_tasks._states import DELETING
from quebert.created_tasks._values import CreatedTask, NewTask, RowQuery
from quebert.errors import BrokerError, BrokerUnreachable
from quebert.operations import Cancelled

__all__ = ["UNREAD", "TaskDeletions"]

#: Why nobody knows what has become of a task that is deleted.
UNREAD = "notes of ends and deletions are not read"
# Tasks that are deleted side by side.
_SIDE_BY_SIDE = 100
# Seconds until a task is deleted again whose note nobody has read.
_AGAIN = 600.0


class TaskDeletions:
    """
    Deletes tasks, and waits until the notes of their deletions are read.

    @param in_hand: the tasks that somebody has in hand.
    @param now: gives the seconds since the epoch.
    @param clock: times how long notes are waited for.
    """

    def __init__(
        self,
        rows: TaskRows,
        broker: TaskBroker,
        in_hand: TasksInHand,
        now: Callable[[], float],
        clock: IReactorTime,
    ) -> None:
        self._rows = rows
        self._broker = broker
        self._in_hand = in_hand
        self._now = now
        self._notes = DeletionsRead(rows, clock)
        # Those that are being deleted, maybe elsewhere, and when they may be again.
        self._deleting: dict[str, float] = {}

    async def delete(
        self, task: NewTask, by: str
    ) -> tuple[Cancelled, CreatedTask | None]:
        """
        Delete a task whose row is C{DELETING}.

        @return: the result, and the row then: it tells the end of a task that has ended
            meanwhile, and is C{DELETING} still where nobody reads notes.
        """
        with self._notes.awaited(task.uuid):
            cancelled = await self._broker.cancel(task, by)
            return cancelled, await self._notes.row(task.uuid)

    def notes_read(self, uuids: Iterable[str]) -> None:
        """
        The notes of some deletions are read, and the rows say what the notes say.
        """
        self._notes.read(uuids)

    async def delete_again(self, is_alone: bool) -> int:
        """
        Delete tasks once more, some at a time.  When a task cannot be deleted, the
        other tasks of its queue wait until the next time.

        @param is_alone: whether no other process may be deleting them.
        @return: how many tasks are deleted.
        @raise BrokerError: why the first of these cannot be deleted.
        """
        now, seen, self._deleting = self._now(), self._deleting, {}
        first = now if is_alone else now + DOUBTFUL
        left: dict[str, BrokerError] = {}
        away: list[BrokerError] = []
        done = 0
        query = RowQuery(states=(DELETING,), size=FEW, bodies=False)
        async for rows in pages(self._rows, query, left):
            self._deleting.update(
                {r.task.uuid: seen.get(r.task.uuid, first) for r in rows}
            )
            tasks = [
                r.task
                for r in rows
                if r.task.uuid not in self._in_hand
                and self._deleting[r.task.uuid] <= now
            ]
            with self._in_hand.handling(tasks):
                problems = await all_of(
                    (self._try_to_delete(each, away) for each in tasks), _SIDE_BY_SIDE
                )
            for task, problem in zip(tasks, problems, strict=True):
                if problem is None:
                    done += 1
                else:
                    left.setdefault(task.queue, problem)
            if away or not any(problems):
                break
        for problem in left.values():
            raise problem
        return done

    async def _try_to_delete(
        self, task: NewTask, away: list[BrokerError]
    ) -> BrokerError | None:
        """
        Delete a task, or tell why that cannot be done.

        @param away: why no task can be deleted now; then this one is not tried.
        """
        if away:
            return away[0]
        try:
            _, row = await self.delete(task, "")
        except BrokerError as e:
            if isinstance(e, BrokerUnreachable):
                away.append(e)
            return e
        if row is None or row.state != DELETING:
            return None
        self._deleting[task.uuid] = self._now() + _AGAIN  # the note is there
        unread = BrokerError(f"{UNREAD}, such as that of the task {task.uuid}")
        away.append(unread)
        return unread
