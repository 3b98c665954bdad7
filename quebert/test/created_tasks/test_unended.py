"""
Tests for L{quebert.created_tasks._unended}.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.created_tasks import (
    ENDED,
    PUBLISHED,
    CreatedTask,
    EndNote,
    RowQuery,
    Standing,
    _unended,
)
from quebert.created_tasks._unended import AFTER_TTL, AT_LAST, PACE, WITHOUT_QUEUE
from quebert.errors import BrokerError, TaskEnded
from quebert.task import decode, format_time
from quebert.test.created_tasks.doubles import (
    MemoryBroker,
    MemoryRows,
    in_memory,
    new_task,
)

_START = 1_700_000_000.0


class UnendedTasksTests(SynchronousTestCase):
    """
    Tests for L{UnendedTasks}, by L{CreatedTasks.end_unended}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.rightNow = _START
        self.rows, self.broker = MemoryRows(), MemoryBroker()
        self.tasks = in_memory(self.clock, rows=self.rows, broker=self.broker)

    def done(self, work: Coroutine[Any, Any, Any]) -> Any:
        """
        Do something, at once.
        """
        return self.successResultOf(Deferred.fromCoroutine(work))

    def create(self, uuid: str, **fields: Any) -> None:
        """
        Create a task now.
        """
        given = fields.pop("body", {})
        body = {"url": "http://x/", "timestamp": format_time(_START), **given}
        task = new_task(
            uuid, created=self.clock.seconds(), body=json.dumps(body).encode(), **fields
        )
        self.done(self.tasks.create([task]))

    def row(self, uuid: str) -> CreatedTask:
        """
        The row of a task.
        """
        row: CreatedTask = self.done(self.tasks.find(uuid))
        return row

    def ended_after(self, seconds: float) -> int:
        """
        How many rows end, or go, when so much time passes.
        """
        self.clock.advance(seconds)
        gone, before = self.done(self.tasks.go_on()), self.ended()
        while self.done(self.tasks.end_unended()):
            pass
        return int(gone) + self.ended() - before

    def ended(self) -> int:
        """
        How many rows have ended.
        """
        return sum(row.state == ENDED for _, row in self.rows.rows.values())

    def test_at_last(self) -> None:
        """
        A task that nobody tells anything of has ended a month after its time; its name
        is free an hour later.  If its end is told after all, that counts.
        """
        self.create("u", name="n")
        self.create("v", due=_START + AT_LAST)
        self.create("w", queue="other")
        self.assertEqual(self.ended_after(AT_LAST), 0)
        self.assertEqual(self.row("u").state, PUBLISHED)
        self.assertEqual(self.ended_after(PACE), 2)
        row = self.row("u")
        assert row.end is not None
        self.assertEqual((row.state, row.end.outcome), (ENDED, "unknown"))
        self.assertEqual(row.end.reason, "its end was not told for a month")
        self.assertEqual(row.held_until, self.clock.seconds() + 3_600)
        self.failureResultOf(Deferred.fromCoroutine(self.tasks.run_now("u")), TaskEnded)
        self.assertEqual(self.row("v").state, PUBLISHED)
        note = EndNote(uuid="u", queue="tasks", outcome="done", ended=1.0)
        self.done(self.tasks.ended([note]))
        self.assertEqual(self.row("u").end, note)
        self.create("w", name="n")
        self.assertEqual(self.ended_after(AT_LAST), 1 + 2)  # two rows go
        self.assertEqual(self.row("v").state, ENDED)

    def test_after_ttl(self) -> None:
        """
        No attempt begins at a task whose C{ttl} is over: it has ended a day later.
        """
        self.create("u", body={"ttl": 600})
        self.create("v", body={"ttl": 0})
        self.assertEqual(self.ended_after(AFTER_TTL + 600), 0)
        self.assertEqual(self.ended_after(PACE), 1)
        end = self.row("u").end
        assert end is not None
        reason = "its ttl is over, and its end was not told for a day"
        self.assertEqual(end.reason, reason)
        self.assertEqual(self.row("v").state, PUBLISHED)

    def test_without_queue(self) -> None:
        """
        Where the queue is gone, a task has ended an hour after its time.
        """
        self.broker.lacking = {"gone"}
        self.create("u", queue="gone")
        self.create("v", queue="gone", due=_START + 86_400)
        self.create("w")
        self.assertEqual(self.ended_after(WITHOUT_QUEUE), 0)
        self.assertEqual(self.ended_after(PACE), 1)
        end = self.row("u").end
        assert end is not None
        self.assertEqual(end.reason, "there is no queue gone any more")
        for each in "vw":
            self.assertEqual(self.row(each).state, PUBLISHED)

    def test_paced(self) -> None:
        """
        It looks once an hour, and again at once if RabbitMQ was away.
        """
        self.broker.lacking = {"tasks"}
        self.assertEqual(self.ended_after(0), 0)
        self.create("u")
        self.assertEqual(self.ended_after(PACE - 1), 0)
        self.clock.advance(PACE)
        self.broker.problem = BrokerError("it is away")
        for _ in range(2):
            looking = Deferred.fromCoroutine(self.tasks.end_unended())
            self.failureResultOf(looking, BrokerError)
        self.broker.problem = None
        self.assertEqual(self.ended_after(1), 1)

    def test_many(self) -> None:
        """
        A look reads some rows of each queue; the next one goes on behind them.
        """
        self.patch(_unended, "_FEW", 2)
        self.patch(_unended, "_STEPS", 2)
        for n in range(8):
            self.create(f"late-{n}", due=_START + 2 * AT_LAST)
        for n in range(3):
            self.create(f"{n}")
        self.create("other", queue="other")
        found = [self.ended_after(AT_LAST + PACE)]
        found += [self.ended_after(PACE) for _ in range(3)]
        self.assertEqual(found, [1, 1, 3, 3])  # rows go an hour later

    def test_steps(self) -> None:
        """
        Each step reads few rows, and with little in them, and decodes no body without a
        C{ttl}; of rows that are too young to be looked at no more than a page is read.
        """
        self.patch(_unended, "_FEW", 2)
        queries: list[RowQuery] = []
        page = self.rows.page

        def asked(query: RowQuery) -> Deferred[Any]:
            queries.append(query)
            return page(query)

        self.patch(self.rows, "page", asked)
        decoded = mock.Mock(side_effect=decode)
        self.patch(_unended, "decode", decoded)
        self.create("old", body={"ttl": 1})
        self.create("older", body={"params": 1})
        self.create("oldest")
        self.clock.advance(AFTER_TTL + PACE)
        for n in range(10):
            self.create(f"{n}", body={"ttl": 600})
        queries.clear()
        self.assertTrue(self.done(self.tasks.end_unended()))
        self.assertEqual(len(queries), 1)
        self.assertLess(queries[0].body_bytes, 2_000_000)
        self.assertEqual(self.row("old").state, ENDED)
        self.assertEqual(decoded.call_count, 1)
        self.assertFalse(self.done(self.tasks.end_unended()))
        self.assertEqual(len(queries), 2)

    def test_one_queue_fails(self) -> None:
        """
        While RabbitMQ does not tell whether there is a queue, other queues are looked
        at; when it tells, none of its rows was left out.
        """
        self.create("u", queue="bad")
        self.create("v", queue="gone")
        self.broker.lacking = {"bad", "gone"}
        has_queue, bad = self.broker.has_queue, {"bad"}

        def asked(name: str) -> Deferred[bool]:
            return fail(BrokerError("no answer")) if name in bad else has_queue(name)

        self.patch(self.broker, "has_queue", asked)
        self.clock.advance(WITHOUT_QUEUE + PACE)
        looking = Deferred.fromCoroutine(self.tasks.end_unended())
        self.failureResultOf(looking, BrokerError)
        self.assertTrue(self.done(self.tasks.end_unended()))
        self.assertEqual(self.row("v").state, ENDED)
        bad.clear()
        self.assertFalse(self.done(self.tasks.end_unended()))
        self.assertEqual(self.row("u").state, ENDED)

    def test_led_by_another(self) -> None:
        """
        The process that leads looks.
        """
        self.create("u")
        self.rows.standing_is = Standing(leads=False, is_alone=False)
        self.assertEqual(self.ended_after(AT_LAST + PACE), 0)
        self.rows.standing_is = Standing(leads=True, is_alone=False)
        self.assertEqual(self.ended_after(0), 1)
