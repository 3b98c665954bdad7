"""
L{CreatedTaskKeeper}: how it goes on, and what it does where there is no database.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.created_tasks import RowQuery
from quebert.errors import BrokerError, TaskStoreClosed, TaskStoreError
from quebert.operations import BrokerAccess
from quebert.task_store._boundaries import TaskStoreInUse
from quebert.test.created_tasks.doubles import MemoryRows, new_task
from quebert.web.cluster import _created
from quebert.web.cluster._created import ClosedRows, CreatedTaskKeeper


class CreatedTaskKeeperTests(SynchronousTestCase):
    """
    Tests for L{CreatedTaskKeeper}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.access = BrokerAccess(self.clock, "amqp://127.0.0.1:1/")
        self.ends = mock.Mock(problem="", stop=lambda: succeed(None))
        self.patch(_created, "EndNoteReader", lambda broker, tasks: self.ends)

    def keeper(self, rows: Any) -> CreatedTaskKeeper:
        """
        One with these rows.
        """
        keeper = CreatedTaskKeeper(self.access, rows, self.clock.seconds)
        if isinstance(rows, MemoryRows):
            keeper._rows = mock.Mock(problem="", close=lambda: succeed(None))
        return keeper

    def done(self, work: Coroutine[Any, Any, Any]) -> Any:
        """
        What comes of some work at once.
        """
        return self.successResultOf(Deferred.fromCoroutine(work))

    def test_paced(self) -> None:
        """
        It goes on at once while there is something to go on with, else every five
        seconds, and after a failure in two; a failure is a problem while it lasts.
        """
        keeper = self.keeper(MemoryRows())
        results: list[Any] = [3, 2, 0, BrokerError("RabbitMQ is away"), 0, 0]
        go_on = mock.AsyncMock(side_effect=results)
        self.patch(keeper.tasks, "go_on", go_on)
        keeper.start()
        self.ends.start.assert_called_once_with()
        for seconds, calls in ((0, 3), (4.9, 3), (0.1, 4), (1.9, 4), (0.1, 5), (5, 6)):
            self.clock.advance(seconds)
            self.assertEqual(go_on.call_count, calls)
            problems = ["RabbitMQ is away"] if calls == 4 else []
            self.assertEqual(list(keeper.problems), problems)
        self.done(keeper.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unended(self) -> None:
        """
        Rows whose end nobody tells are looked for beside all else: step by step, and
        then once in a minute.
        """
        keeper = self.keeper(MemoryRows())
        self.patch(keeper.tasks, "go_on", lambda: Deferred())
        results: list[Any] = [True, True, False, BrokerError("no answer"), False]
        look = mock.AsyncMock(side_effect=results)
        self.patch(keeper.tasks, "end_unended", look)
        keeper.start()
        for seconds, calls in ((0, 3), (59, 3), (1, 4), (1, 4), (1, 5)):
            self.clock.advance(seconds)
            self.assertEqual(look.call_count, calls)
            problems = ["no answer"] if calls == 4 else []
            self.assertEqual(list(keeper.problems), problems)
        self.done(keeper._ending.stop())

    def test_problems(self) -> None:
        """
        What is wrong with the database, or with the reading of ends, is a problem.
        """
        rows = MemoryRows()
        keeper = self.keeper(rows)
        self.ends.problem = "RabbitMQ is away"
        keeper.start()
        self.assertEqual(list(keeper.problems), ["RabbitMQ is away"])
        rows.problem = TaskStoreError("the disk is full")
        self.clock.advance(5)
        found = list(keeper.problems)
        self.assertEqual(found, ["the disk is full", "RabbitMQ is away"])

    def test_in_use(self) -> None:
        """
        While another process has the database, nothing that comes for its tasks is
        taken; it is as soon as that process has ended.
        """
        rows = MemoryRows()
        rows.problem = TaskStoreInUse("another process has it")
        keeper, leases = self.keeper(rows), mock.Mock()
        keeper.start(leases)
        self.clock.advance(10)
        self.ends.start.assert_not_called()
        self.assertEqual(list(keeper.problems), ["another process has it"])
        rows.problem = None
        for _ in range(3):
            self.clock.advance(2)
            self.ends.start.assert_called_once_with()
            leases.assert_called_once_with()
        self.assertEqual(list(keeper.problems), [])

    def test_closed(self) -> None:
        """
        Without a database nothing is created, asked for or read: ends are left to the
        process that has the database.
        """
        keeper = self.keeper(ClosedRows("another process has it"))
        keeper.start()
        self.ends.start.assert_not_called()
        self.assertEqual(keeper.problems, ("another process has it",))
        works = (
            keeper.tasks.create([new_task()]),
            keeper.tasks.find("u"),
            keeper.tasks.page(RowQuery()),
            keeper.tasks.delete("u", "me"),
            keeper.tasks.go_on(),
            keeper.tasks.end_unended(),
        )
        for work in works:
            self.failureResultOf(Deferred.fromCoroutine(work), TaskStoreClosed)
        self.done(keeper.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])
