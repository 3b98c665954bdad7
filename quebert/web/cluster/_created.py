"""
The tasks that are created over HTTP, as C{quebert web} keeps them: their rows, their
way to RabbitMQ, and what mediators tell of their ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

from twisted.internet.task import deferLater

from quebert._log import Logger
from quebert.created_tasks import (
    CreatedTask,
    CreatedTasks,
    NewTask,
    RowQuery,
    Standing,
    TaskChange,
)
from quebert.errors import TaskStoreClosed, TaskStoreError
from quebert.leases import LeaseRows
from quebert.operations import BrokerAccess
from quebert.task_store import StoredLeaseRows, StoredTaskRows, open_task_rows
from quebert.web.cluster._end_notes import EndNoteReader
from quebert.web.cluster._keep_going import KeepGoing
from quebert.web.cluster._task_broker import PublishedTasks

__all__ = ["CreatedTaskKeeper"]

# Seconds until it is seen again whether there is something to go on with; and whether
# rows are to be looked at whose end nobody may tell.
_PACE, _LOOK_PACE = 5.0, 60.0


class CreatedTaskKeeper:
    """
    Keeps created tasks.  Where their database cannot be used none can be created, and
    all else goes on.  While another process has its file, this one tries again and
    again to open it: it has the tasks once the other one has ended.

    @param now: gives the seconds since the epoch.
    @ivar tasks: the tasks.
    @ivar published: publishes them.
    """

    log = Logger()

    def __init__(
        self,
        broker: BrokerAccess,
        rows: StoredTaskRows | ClosedRows,
        now: Callable[[], float],
    ) -> None:
        self._reactor = broker.reactor
        self._rows = rows
        self.published = PublishedTasks(broker)
        self.tasks = CreatedTasks(rows, self.published, now, broker.reactor)
        self._ends = EndNoteReader(broker, self.tasks)
        self._begins: tuple[Callable[[], None], ...] = (self._ends.start,)
        self._has_begun = False
        self._going = KeepGoing(
            self._go_on,
            broker.reactor,
            self.log,
            "What was begun with created tasks cannot be gone on with",
            "What was begun with created tasks goes on again",
            "",
        )
        self._ending = KeepGoing(
            self._end_unended,
            broker.reactor,
            self.log,
            "Tasks whose end nobody tells cannot be looked for",
            "Tasks whose end nobody tells are looked for again",
            "",
        )
        self._begins += (self._ending.start,)

    @classmethod
    async def open(
        cls, broker: BrokerAccess, where: str, now: Callable[[], float]
    ) -> CreatedTaskKeeper:
        """
        Open the database.

        @param where: a file, or the URL of a PostgreSQL.
        @raise ConfigError: there is no such kind of database, or a package is missing.
        """
        rows: StoredTaskRows | ClosedRows
        try:
            rows = await open_task_rows(where, reactor=broker.reactor)
        except TaskStoreError as e:
            rows = ClosedRows(str(e))
            cls.log.error("No tasks can be created: {why}", why=e)
        return cls(broker, rows, now)

    @property
    def problems(self) -> Sequence[str]:
        """
        Why tasks cannot be created, or why their ends are not known; sentences.
        """
        found = [self._rows.problem]
        if self._is_open:
            found.append(self._going.problem)
        if self._has_begun:
            found += [self._ends.problem, self._ending.problem]
        return tuple(dict.fromkeys(filter(None, found)))

    @property
    def _is_open(self) -> bool:
        return not isinstance(self._rows, ClosedRows)

    @property
    def lease_rows(self) -> LeaseRows | None:
        """
        The rows of leases, in the same database; C{None} where that cannot be used.
        """
        rows = self._rows
        return None if isinstance(rows, ClosedRows) else StoredLeaseRows(rows)

    def start(self, *begins: Callable[[], None]) -> None:
        """
        Begin to read ends, and to go on with what an earlier process has begun, as soon
        as this process has the rows.

        @param begins: called then, too.
        """
        self._begins += begins
        if self._is_open:
            self._going.start()

    async def stop(self) -> None:
        """
        End.  What has begun is ended first, if it does not take long; the next process
        goes on with the rest.
        """
        await self._going.stop()
        await self._ending.stop()
        await self._ends.stop()
        await self.published.stop()
        await self._rows.close()

    async def _go_on(self) -> None:
        while not self._going.is_stopped:
            await self.tasks.leads()  # fails as long as another process has the file
            self._begin()
            done = await self.tasks.go_on()
            self._going.goes()
            pace = 0.0 if done else _PACE
            await self._going.wait(deferLater(self._reactor, pace))

    async def _end_unended(self) -> None:
        """
        This is not done in the course of L{_go_on}, since it may take minutes.
        """
        while not self._ending.is_stopped:
            has_more = await self.tasks.end_unended()
            self._ending.goes()
            pace = 0.0 if has_more else _LOOK_PACE
            await self._ending.wait(deferLater(self._reactor, pace))

    def _begin(self) -> None:
        """
        The rows are there: whoever has them is to have what comes for them, too.
        """
        if not self._has_begun and not self._going.is_stopped:
            self._has_begun = True
            for begin in self._begins:
                begin()


class ClosedRows:
    """
    A database that cannot be used.

    @ivar problem: why.
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem

    def _fail(self) -> NoReturn:
        raise TaskStoreClosed(self.problem)

    async def add(
        self, tasks: Sequence[NewTask], now: float
    ) -> Sequence[CreatedTask | None]:
        """
        Fail.
        """
        self._fail()

    async def change(
        self, changes: Sequence[TaskChange]
    ) -> Sequence[CreatedTask | None]:
        """
        Fail.
        """
        self._fail()

    async def find(self, uuid: str) -> CreatedTask | None:
        """
        Fail.
        """
        self._fail()

    async def page(self, query: RowQuery) -> tuple[Sequence[CreatedTask], int]:
        """
        Fail.
        """
        self._fail()

    async def note_published(self, uuids: Sequence[str]) -> None:
        """
        Fail.
        """
        self._fail()

    async def queues(self) -> Sequence[str]:
        """
        Fail.
        """
        self._fail()

    async def standing(self) -> Standing:
        """
        Fail.
        """
        self._fail()

    async def sweep(self, now: float) -> int:
        """
        Fail.
        """
        self._fail()

    async def close(self) -> None:
        """
        There is nothing to close.
        """
