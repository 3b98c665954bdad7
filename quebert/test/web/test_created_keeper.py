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
from quebert.errors import BrokerError, TaskStoreClosed
from quebert.operations import BrokerAccess
from quebert.test.created_tasks.doubles import new_task
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
        return CreatedTaskKeeper(self.access, rows, self.clock.seconds)

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
        rows = mock.Mock(problem="", close=lambda: succeed(None))
        keeper = self.keeper(rows)
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

    def test_problems(self) -> None:
        """
        What is wrong with the database, or with the reading of ends, is a problem.
        """
        keeper = self.keeper(mock.Mock(problem="the disk is full"))
        self.ends.problem = "RabbitMQ is away"
        found = list(keeper.problems)
        self.assertEqual(found, ["the disk is full", "RabbitMQ is away"])

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
        )
        for work in works:
            self.failureResultOf(Deferred.fromCoroutine(work), TaskStoreClosed)
        self.done(keeper.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])
