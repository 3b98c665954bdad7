"""
Rows and a broker in memory, for whatever stands on L{CreatedTasks}.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime

from quebert.created_tasks import (
    CHANGES,
    PUBLISH,
    CreatedTask,
    CreatedTasks,
    DeletionNote,
    NewTask,
    RowQuery,
    Standing,
    TaskChange,
    is_changed_by,
)
from quebert.created_tasks._states import DELETED, ENDED, NEW
from quebert.errors import BrokerError, PublishRefused, TaskStoreError, Unroutable
from quebert.operations import Cancelled, RunNow

__all__ = ["MemoryBroker", "MemoryRows", "in_memory", "new_task"]


def new_task(uuid: str = "u", **fields: Any) -> NewTask:
    """
    A task.
    """
    given = {"queue": "tasks", "body": b"{}", "created": 100.0, **fields}
    return NewTask(uuid=uuid, **given)


def in_memory(
    clock: IReactorTime,
    now: Callable[[], float] | None = None,
    rows: MemoryRows | None = None,
    broker: MemoryBroker | None = None,
) -> CreatedTasks:
    """
    Tasks that read the notes of their deletions at once.
    """
    broker = broker or MemoryBroker()
    tasks = CreatedTasks(rows or MemoryRows(), broker, now or clock.seconds, clock)
    broker.told = lambda note: Deferred.fromCoroutine(tasks.ended([note]))
    return tasks


class MemoryRows:
    """
    Rows that are kept in a dict.  They outlive whoever uses them.

    @ivar rows: all rows, by their uuids, in the order in which they were added.
    @ivar problem: with which each call fails, if set.
    @ivar standing_is: what C{standing} gives.
    """

    def __init__(self) -> None:
        self.standing_is = Standing(leads=True, is_alone=True)
        self.rows: dict[str, tuple[int, CreatedTask]] = {}
        self.problem: TaskStoreError | None = None
        self._numbers = itertools.count(1)

    def add(
        self, tasks: Sequence[NewTask], now: float
    ) -> Deferred[list[CreatedTask | None]]:
        """
        Add rows.
        """
        return self._done(lambda: [self._add(each, now) for each in tasks])

    def _add(self, task: NewTask, now: float) -> CreatedTask | None:
        name = task.queue, task.name
        rows = [row for _, row in self.rows.values()]
        taken = [row for row in rows if row.task.uuid == task.uuid] + [
            row
            for row in rows
            if row.task.name is not None and (row.task.queue, row.task.name) == name
        ]
        for row in taken:
            if not 0 < row.held_until <= now:
                return row
        for row in taken:
            self.rows.pop(row.task.uuid, None)
        self.rows[task.uuid] = next(self._numbers), CreatedTask(task=task, state=NEW)
        return None

    def change(
        self, changes: Sequence[TaskChange]
    ) -> Deferred[list[CreatedTask | None]]:
        """
        Change rows.
        """
        return self._done(lambda: [self._change(each) for each in changes])

    def _change(self, change: TaskChange) -> CreatedTask | None:
        number, row = self.rows.get(change.uuid, (0, None))
        wanted = CHANGES[change.event]
        if row is None or not is_changed_by(row, change):
            return None
        if wanted.to is None:
            del self.rows[change.uuid]
            return row
        task = attrs.evolve(row.task, body=b"") if change.held_until else row.task
        row = attrs.evolve(
            row,
            task=task,
            state=wanted.to,
            end=change.end or row.end,
            held_until=max(row.held_until, change.held_until),
        )
        self.rows[change.uuid] = number, row
        return row

    def note_published(self, uuids: Sequence[str]) -> Deferred[None]:
        """
        Change rows.
        """
        noted = [TaskChange(uuid=each, event=PUBLISH) for each in uuids]
        return self.change(noted).addCallback(lambda _: None)

    def find(self, uuid: str) -> Deferred[CreatedTask | None]:
        """
        A row.
        """
        return self._done(lambda: self._find(uuid))

    def _find(self, uuid: str) -> CreatedTask | None:
        number, row = self.rows.get(uuid, (0, None))
        return None if row is None else attrs.evolve(row, number=number)

    def page(self, query: RowQuery) -> Deferred[tuple[list[CreatedTask], int]]:
        """
        Some rows.
        """
        return self._done(lambda: self._page(query))

    def _page(self, query: RowQuery) -> tuple[list[CreatedTask], int]:
        found = [
            (number, row)
            for number, row in self.rows.values()
            if number > query.after
            and query.queue in ("", row.task.queue)
            and row.task.queue not in query.except_queues
            and query.name in ("", row.task.name)
            and (not query.states or row.state in query.states)
            and (query.before is None or row.task.created < query.before)
        ]
        page = found[: query.size]
        after = page[-1][0] if len(found) > len(page) else 0
        rows = [row for _, row in page]
        if not query.bodies:
            rows = [attrs.evolve(r, task=attrs.evolve(r.task, body=b"")) for r in rows]
        return rows, after

    def queues(self) -> Deferred[list[str]]:
        """
        The queues of tasks that live.
        """
        over = ENDED, DELETED
        return self._done(
            lambda: sorted(
                {r.task.queue for _, r in self.rows.values() if r.state not in over}
            )
        )

    def standing(self) -> Deferred[Standing]:
        """
        What this process is.
        """
        return self._done(lambda: self.standing_is)

    def sweep(self, now: float) -> Deferred[int]:
        """
        Remove rows whose hold has ended.
        """

        def removed() -> int:
            old = [u for u, (_, row) in self.rows.items() if 0 < row.held_until <= now]
            for uuid in old:
                del self.rows[uuid]
            return len(old)

        return self._done(removed)

    def _done(self, work: Callable[[], Any]) -> Deferred[Any]:
        return succeed(work()) if self.problem is None else fail(self.problem)


class MemoryBroker:
    """
    A broker that has what is published to it.

    @ivar queues: the tasks in each queue.
    @ivar cancelled: the uuids of those that are cancelled.
    @ivar problem: why it takes nothing, if set.
    @ivar full: the names of queues that refuse tasks, and none of whose can be
        cancelled.
    @ivar lacking: the names of queues that are not there.
    @ivar asked: how many tasks it was given.
    @ivar runs: the result of having a task run now.
    @ivar silent: whether it keeps what it is asked in C{waiting}, unanswered.
    @ivar waiting: Deferreds that are to be fired with what C{answers} gives.
    @ivar told: called with each note of a deletion; keeps it in C{notes}, at first.
    @ivar notes: those that nobody has read.
    """

    def __init__(self) -> None:
        self.queues: dict[str, list[NewTask]] = {}
        self.cancelled: list[str] = []
        self.problem: BrokerError | None = None
        self.full: set[str] = set()
        self.lacking: set[str] = set()
        self.asked = 0
        self.runs = "running"
        self.silent = False
        self.waiting: list[Callable[[], None]] = []
        self.notes: list[DeletionNote] = []
        self.told: Callable[[DeletionNote], object] = self.notes.append

    def publish(self, tasks: Sequence[NewTask]) -> Deferred[list[BrokerError | None]]:
        """
        Take tasks, or refuse them.
        """
        return self._answered(lambda: [self._take(each) for each in tasks])

    def _take(self, task: NewTask) -> BrokerError | None:
        self.asked += 1
        if task.queue in self.full:
            return PublishRefused(f"the queue {task.queue} is full")
        if self.problem is None:
            self.queues.setdefault(task.queue, []).append(task)
        return self.problem

    def has_queue(self, name: str) -> Deferred[bool]:
        """
        Whether it has a queue: each that it does not lack.
        """
        if self.problem is not None and not isinstance(self.problem, Unroutable):
            return fail(self.problem)
        return self._answered(lambda: name not in self.lacking)

    def cancel(self, task: NewTask, by: str) -> Deferred[Cancelled]:
        """
        Cancel a task.
        """
        if self.problem is not None:
            return fail(self.problem)
        if task.queue in self.full:
            return fail(BrokerError(f"the queue {task.queue} has too many"))
        self.cancelled.append(task.uuid)
        return self._answered(lambda: self._cancelled(task.uuid))

    def _cancelled(self, uuid: str) -> Cancelled:
        self.told(DeletionNote(uuid))
        return Cancelled(uuid, "cancelled", None, "it is")

    def run_now(self, queue: str, uuid: str) -> Deferred[RunNow]:
        """
        Have a task run now.
        """
        if self.problem is not None:
            return fail(self.problem)
        return self._answered(lambda: RunNow(uuid, self.runs, "it is told"))

    def _answered(self, work: Callable[[], Any]) -> Deferred[Any]:
        if not self.silent:
            return succeed(work())
        answer: Deferred[Any] = Deferred()
        self.waiting.append(lambda: answer.callback(work()))
        return answer

    def answer(self) -> None:
        """
        Answer the first who waits.
        """
        self.waiting.pop(0)()
