"""
Creates tasks, and goes on after a kill with what was begun.

Theory of operation.  The row of a task is written first, with its body and its name.
Then the task is published, and the caller has its answer once RabbitMQ has confirmed
it.  Nothing is kept in memory alone: whenever the process is killed, the next one finds
the row, and publishes the task or has mediators drop it.

A task is deleted once the mediators have answered, and the note of its deletion is read
(L{quebert.created_tasks._deletions_read}): if it had ended before, its end is in the
row by then, and counts.

Several processes may have the rows of one database.  Each creates tasks.  One of them
I{leads}: it alone goes on with what was begun before, by an earlier try or by a process
that may have been killed.  It leaves a row alone that is so young that another process
may be publishing or deleting the task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.interfaces import IReactorTime

from quebert._lanes import all_of
from quebert.created_tasks._boundaries import TaskBroker, TaskRows
from quebert.created_tasks._deletions import UNREAD, TaskDeletions
from quebert.created_tasks._in_hand import TasksInHand
from quebert.created_tasks._publications import TaskPublications
from quebert.created_tasks._row_pages import DOUBTFUL
from quebert.created_tasks._states import DELETE, DELETING, END, LIVING, NEW, REMOVE
from quebert.created_tasks._unended import UnendedTasks
from quebert.created_tasks._values import CreatedTask, NewTask, RowQuery, TaskChange
from quebert.errors import (
    BrokerError,
    NameTaken,
    QuebertError,
    TaskEnded,
    TaskUnknown,
    TooManyTasks,
    UUIDTaken,
)
from quebert.operations import MARKED, TOO_LATE, Cancelled, RunNow
from quebert.outcome import CANCELLED
from quebert.task_ends import DeletionNote, EndNote

__all__ = ["WINDOW", "CreatedTasks"]

#: Seconds for which a name is held when its task has ended, as Cloud Tasks does.
WINDOW = 3_600.0
#: Bytes of tasks that are being created at most, however slow the database and RabbitMQ
#: are, and those that a task takes beside its body, about.
MOST_BYTES, _BESIDE = 64 * 2**20, 1_024


class CreatedTasks:
    """
    The tasks that are created over HTTP.

    @param now: gives the seconds since the epoch.
    @param clock: times how long notes are waited for.
    @param window: seconds for which a name is held when its task has ended.
    """

    def __init__(
        self,
        rows: TaskRows,
        broker: TaskBroker,
        now: Callable[[], float],
        clock: IReactorTime,
        window: float = WINDOW,
    ) -> None:
        self._rows = rows
        self._broker = broker
        self._now = now
        self._window = window
        self._in_hand = TasksInHand()
        self._publications = TaskPublications(rows, broker, self._in_hand)
        self._deletions = TaskDeletions(rows, broker, self._in_hand, now, clock)
        self._unended = UnendedTasks(rows, broker, now, window)
        self._bytes = 0  # of tasks that are being created

    # -- What clients ask for

    async def create(
        self, tasks: Sequence[NewTask]
    ) -> list[CreatedTask | QuebertError]:
        """
        Create tasks.  A task that has the uuid and the digest of one that is there
        already is that one.

        @return: for each its row, or why it is not created: L{NameTaken}, L{UUIDTaken},
            or the L{BrokerError} with which RabbitMQ has refused it.  Where RabbitMQ
            has not answered, the error's C{added} is C{None}, and the task is published
            later.
        @raise TaskStoreError: the database does not answer.
        @raise TooManyTasks: others are being created that have too many bytes.
        """
        size = sum([len(each.body) + _BESIDE for each in tasks])
        if self._bytes and self._bytes + size > MOST_BYTES:
            raise TooManyTasks(
                "too many tasks wait for the database and RabbitMQ: try again later"
            )
        self._bytes += size
        try:
            return await self._create(tasks)
        finally:
            self._bytes -= size

    async def _create(
        self, tasks: Sequence[NewTask]
    ) -> list[CreatedTask | QuebertError]:
        held = await self._rows.add(tasks, self._now())
        new = [t for t, row in zip(tasks, held, strict=True) if row is None]
        with self._in_hand.handling(new):  # in the turn in which the rows are written
            published = await self._publications.publish(new)
        if len(new) == len(tasks):  # as nearly always
            return [published[each.uuid] for each in tasks]
        found = list(zip(tasks, held, strict=True))
        same = [row.task.uuid for t, row in found if row and _is_same(t, row)]
        # Side by side: while RabbitMQ takes nothing, each waits for it as long.
        repeated = iter(await all_of(self._repeated(each) for each in same))
        results: list[CreatedTask | QuebertError] = []
        for task, row in found:
            if row is None:
                results.append(published[task.uuid])
            elif _is_same(task, row):
                results.append(next(repeated))
            else:
                results.append(_taken(task, row))
        return results

    async def _repeated(self, uuid: str) -> CreatedTask | QuebertError:
        """
        The answer to a request that was made before: as the first one has it.
        """
        async with self._in_hand.alone(uuid):
            found = await self._rows.find(uuid)
            if found is None:
                return TaskUnknown(f"RabbitMQ has refused the task {uuid} meanwhile")
            if found.state != NEW:
                return found
            if await self._may_have_in_hand(found):
                return BrokerError(f"another process may be publishing the task {uuid}")
            return (await self._publications.publish([found.task], again=True))[uuid]

    async def _may_have_in_hand(self, row: CreatedTask) -> bool:
        """
        Whether another process may be publishing a task now: the one that has written
        its row, or, after a while, the one that leads.
        """
        standing = await self._rows.standing()
        if row.task.created < self._now() - DOUBTFUL:
            return not (standing.is_alone or standing.leads)
        is_left = 0 < row.number <= standing.older
        return not (standing.is_alone or is_left)

    async def find(self, uuid: str) -> CreatedTask:
        """
        A task by its uuid.

        @raise TaskUnknown: there is none.
        """
        found = await self._rows.find(uuid)
        if found is None:
            raise TaskUnknown(f"there is no task {uuid}")
        return found

    async def page(self, query: RowQuery) -> tuple[Sequence[CreatedTask], int]:
        """
        Tasks, the oldest first, and the position for L{RowQuery.after}: 0 where there
        are no more.
        """
        return await self._rows.page(query)

    async def delete(self, uuid: str, by: str) -> Cancelled:
        """
        Have no mediator begin an attempt at a task; one that is under way is the last.
        Its name stays held for a while.

        @param by: the name of the user, for the log and the history.
        @return: the result, which is L{MARKED<quebert.operations.MARKED>} where the
            notes of ends are not read: then the task may have ended before.
        @raise TaskUnknown: there is none.
        @raise TaskEnded: it has ended, or is deleted already.
        @raise BrokerError: RabbitMQ is away: the task is deleted once it is back.
        """
        async with self._in_hand.alone(uuid):
            [row] = await self._rows.change([TaskChange(uuid=uuid, event=DELETE)])
            if row is None:
                row = await self.find(uuid)
                if row.state != DELETING:
                    raise TaskEnded(f"the task {uuid} is {row.state}")
                # An earlier request to delete it has got no result.
            cancelled, row = await self._deletions.delete(row.task, by)
            if cancelled.result != TOO_LATE and row is not None:
                if row.end is not None and row.end.outcome != CANCELLED:
                    raise TaskEnded(f"the task {uuid} is {row.state}")
                if row.state == DELETING:
                    return _marked(cancelled)
            return cancelled

    async def run_now(self, uuid: str) -> RunNow:
        """
        Have a task that waits for its time run now.

        @raise TaskUnknown: there is none.
        @raise TaskEnded: it has ended, or is deleted.
        @raise BrokerError: nobody knows whether it does.
        """
        async with self._in_hand.alone(uuid):
            row = await self.find(uuid)
            if row.state not in LIVING:
                raise TaskEnded(f"the task {uuid} is {row.state}")
            return await self._broker.run_now(row.task.queue, uuid)

    # -- What mediators tell

    async def ended(self, notes: Sequence[EndNote | DeletionNote]) -> None:
        """
        Tasks have ended, or are deleted; returns once the rows say so.

        @raise TaskStoreError: the database does not answer.
        """
        held_until = self._now() + self._window
        await self._rows.change([_change(each, held_until) for each in notes])
        self._deletions.notes_read(
            [each.uuid for each in notes if isinstance(each, DeletionNote)]
        )

    # -- What goes on by itself

    async def go_on(self) -> int:
        """
        Publish or delete some tasks for which an earlier process, or an earlier try,
        has only begun to, and remove rows whose names are free again.  To be called at
        the start, and then from time to time.

        @return: how many tasks and rows that is; 0 where all is done, or RabbitMQ takes
            nothing, or another process does that.
        @raise TaskStoreError: the database does not answer.
        @raise BrokerError: RabbitMQ does not, or some tasks cannot be deleted; then all
            else is done.
        """
        await self._publications.note_again()
        standing = await self._rows.standing()
        if not standing.leads:
            return 0
        old = self._now() - DOUBTFUL
        return (
            await self._publications.publish_again(old)
            + await self._rows.sweep(self._now())
            + await self._deletions.delete_again(standing.is_alone)
        )

    async def end_unended(self) -> bool:
        """
        Look at some rows, and end those whose end nobody will tell.  To be called from
        time to time, beside L{go_on}: there may be millions of rows.

        @return: whether there are more to look at now.
        @raise TaskStoreError: the database does not answer.
        @raise BrokerError: RabbitMQ does not.
        """
        return await self.leads() and await self._unended.step()

    async def leads(self) -> bool:
        """
        Whether this process goes on with what was begun.

        @raise TaskStoreError: the database does not answer.
        """
        return (await self._rows.standing()).leads


def _change(note: EndNote | DeletionNote, held_until: float) -> TaskChange:
    """
    What a note changes.
    """
    if isinstance(note, EndNote):
        return TaskChange(uuid=note.uuid, event=END, end=note, held_until=held_until)
    return TaskChange(uuid=note.uuid, event=REMOVE, held_until=held_until)


def _marked(cancelled: Cancelled) -> Cancelled:
    """
    The result where nobody knows whether a task had ended.
    """
    problems = *cancelled.problems, f"{UNREAD}: it may have ended before"
    return attrs.evolve(cancelled, result=MARKED, problems=problems)


def _is_same(task: NewTask, row: CreatedTask) -> bool:
    """
    Whether a row is of the same request.
    """
    ours = row.task
    return bool(task.digest) and (ours.uuid, ours.digest) == (task.uuid, task.digest)


def _taken(task: NewTask, row: CreatedTask) -> QuebertError:
    if row.task.uuid == task.uuid:
        return UUIDTaken(f"there is a task {task.uuid} already")
    text = f"the queue {task.queue} has a task of the name {task.name} already"
    return NameTaken(f"{text}: {row.task.uuid}, which is {row.state}")
