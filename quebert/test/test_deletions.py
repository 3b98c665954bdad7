"""
Tests for L{quebert.operations._deletions}, with mediators and a broker in memory.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from quebert.amqp import TxAMQPClient, Watcher
from quebert.amqp.coordination import (
    CONTROL,
    MOST_CANCELLED,
    PATIENCE,
    REMEMBERED,
    Asker,
    MediatorAnswer,
    Questions,
    read_cancelled,
    register_of,
    set_paused,
)
from quebert.amqp.watch import RETURNING
from quebert.amqp.watch._held_tasks import HeldTasks
from quebert.errors import BrokerError, ConfigError, NoSuchQueue
from quebert.mediator import Mediator
from quebert.operations import (
    CANCELLED,
    MARKED,
    TOO_LATE,
    Cancelled,
    Deletions,
    _marking,
)
from quebert.test.mediating import FakeHTTP
from quebert.test.memory_network import NetworkTestCase
from quebert.test.test_questions_in_memory import QuestionsTestCase


class DeletionsTests(QuestionsTestCase):
    """
    Tasks that are deleted, as the API does it.
    """

    def setUp(self) -> None:
        super().setUp()
        self.own = self.client()
        self.deletions = Deletions(self.own)

    def begin_delete(self, uuid: str, **more: Any) -> Deferred[Cancelled]:
        """
        Begin to delete a task.
        """
        return self.begin(self.deletions.delete("tasks", uuid, "ada", **more))

    def delete(self, uuid: str, **more: Any) -> tuple[str, bool | None]:
        """
        Delete a task.
        """
        told = self.result(self.begin_delete(uuid, **more))
        self.assertEqual(told.uuid, uuid)
        return told.result, told.attempted

    def seconds_for(self, uuid: str) -> float:
        """
        In how many seconds a task is deleted.
        """
        began = self.network.seconds()
        self.delete(uuid)
        return self.network.seconds() - began

    def test_results(self) -> None:
        """
        A task that no mediator has is never attempted; one that waits in a mediator is
        dropped; for one that is attempted it is too late.
        """
        self.watch(prefetch=1)
        self.assertEqual(self.delete("a"), (CANCELLED, None))
        self.add("a", "b")
        self.assertEqual(self.requested(), ["b"])
        self.assertEqual(self.delete("b"), (TOO_LATE, True))
        self.assertEqual(self.delete("a"), (CANCELLED, False))

    def test_settling(self) -> None:
        """
        While a mediator may be telling that a task is done, it is asked again; if that
        takes too long, nobody knows.  Other tasks do not wait for that.
        """
        self.watch(prefetch=1)
        self.add("a")
        settling = mock.patch.object(
            HeldTasks, "_state_of", return_value=(RETURNING, True)
        )
        for patience, expected in ((1, CANCELLED), (10, MARKED)):
            with settling:
                deleting = self.begin_delete("a")
                other = self.begin_delete("c")
                self.network.pass_time(patience)
                self.assertEqual(self.successResultOf(other).result, CANCELLED)
                if expected == CANCELLED:
                    self.assertNoResult(deleting)
            self.network.pass_time(1)
            told = self.successResultOf(deleting)
            self.assertEqual((told.result, told.attempted), (expected, True))
            settled = [each for each in told.problems if "may have ended" in each]
            self.assertEqual(bool(settled), expected == MARKED)

    def test_no_mediator(self) -> None:
        """
        Where no mediator is, nobody is waited for, and those that come know the task.
        """
        self.result(self.watch().stop())
        self.assertEqual(self.delete("a"), (CANCELLED, None))
        self.assertLess(self.seconds_for("b"), 0.1)
        self.watch()
        self.add("a", "b", "c")
        self.assertEqual(self.requested(), ["c"])

    def test_two_queues(self) -> None:
        """
        Deletions of two queues that begin together ask over one channel.
        """
        begun, begin = [], Asker.begin

        async def counted(asker: Asker) -> None:
            begun.append(asker)
            await begin(asker)

        self.patch(Asker, "begin", counted)
        self.result(self.watch().stop())
        deleting = self.begin_delete("a")
        other = self.begin(self.deletions.delete("other", "b"))
        self.assertEqual(self.result(deleting).result, CANCELLED)
        self.failure(other, NoSuchQueue)
        self.assertEqual(len(begun), 1)

    def test_many_queues(self) -> None:
        """
        Hundreds of queues can wait for the connection together.
        """
        queues = [f"q{number}" for number in range(300)]
        for each in queues:
            self.call("queue_declare", queue=each, durable=True)
        doing = [self.begin(self.deletions.delete(each, "a")) for each in queues]
        self.network.pass_time(5)
        told = {self.successResultOf(each).result for each in doing}
        self.assertEqual(told, {CANCELLED})

    def test_nobody_hears(self) -> None:
        """
        Where there never was a mediator, tasks of several queues are deleted together,
        although RabbitMQ closes the channel of who asks.
        """
        for each in "bc":
            self.call("queue_declare", queue=each, durable=True)
        for turns in range(20):
            self.call("exchange_delete", exchange=CONTROL)
            doing = []
            for each in "bc":
                doing.append(self.begin(self.deletions.delete(each, str(turns))))
                for _ in range(turns):
                    self.network.step()
            self.network.pass_time(5)
            told = {self.successResultOf(each).result for each in doing}
            self.assertEqual(told, {CANCELLED})

    def test_at_once(self) -> None:
        """
        Who has answered before is waited for, and nobody else: no time passes.  A
        mediator that has left is waited for once more, and one that has come, too.
        """
        first, second = self.watch(), self.watch()
        self.delete("a")
        self.assertLess(self.seconds_for("b"), 0.01)
        self.result(first.stop())
        self.assertGreater(self.seconds_for("c"), 0.09)
        self.assertLess(self.seconds_for("d"), 0.01)
        self.watch()
        self.assertLess(self.seconds_for("e"), 0.01)
        self.result(set_paused(self.wire, "tasks", True))
        self.network.pass_time(1)
        self.assertTrue(second.paused)
        self.assertLess(self.seconds_for("f"), 0.01)

    def test_silent(self) -> None:
        """
        Of a mediator that hangs it is told that it has not answered; after the first
        deletion nobody waits for it for a while.
        """
        self.watch()
        client = self.client()
        self.result(client.watch("", "tasks", "", lambda message: Deferred()))
        told = self.result(self.begin_delete("a"))
        self.assertEqual((told.result, told.attempted), (MARKED, None))
        self.assertIn("1 consumers of the queue have not answered", told.problems[0])
        for each in "bc":
            self.assertLess(self.seconds_for(each), 0.01)
            self.assertEqual(self.delete(each), (MARKED, None))
        self.network.pass_time(30)
        self.assertGreater(self.seconds_for("d"), PATIENCE - 0.1)
        self.result(client.stop(0))
        self.network.pass_time(1)
        self.assertEqual(self.delete("e"), (CANCELLED, None))

    def test_leaves_meanwhile(self) -> None:
        """
        A mediator that is counted, and leaves without an answer, is not waited for.
        """
        deaf = self.client()
        self.patch(deaf.questions, "asked", lambda message: None)
        first, _ = self.watch(client=deaf), self.watch()
        began = self.network.seconds()
        deleting = self.begin_delete("a")
        self.network.pass_time(0.5)
        self.assertNoResult(deleting)
        self.result(first.stop())
        self.assertEqual(self.result(deleting).result, CANCELLED)
        self.assertLess(self.network.seconds() - began, 1.5)

    def test_comes_late(self) -> None:
        """
        A mediator that consumes, and has not heard the question, is asked again.
        """
        heard = Questions.asked
        deaf = [True]

        def asked(questions: Questions, message: Any) -> None:
            if not deaf:
                heard(questions, message)
            deaf.clear()

        self.patch(Questions, "asked", asked)
        self.watch()
        began = self.network.seconds()
        self.assertEqual(self.delete("a"), (CANCELLED, None))
        self.assertLess(self.network.seconds() - began, 1)

    def test_older_version(self) -> None:
        """
        A mediator of an older version knows the task only until it is started anew.
        """

        def answer(*args: Any) -> MediatorAnswer:
            return MediatorAnswer("old", 1, ())

        self.patch(Questions, "_answer", answer)
        self.watch()
        told = self.result(self.begin_delete("a"))
        self.assertEqual(told.result, MARKED)
        self.assertIn("1 mediators are of an older version", told.problems[0])

    def test_grouped(self) -> None:
        """
        Those that come while others are deleted are deleted together.
        """
        self.watch()
        self.delete("a")
        doing = [self.begin_delete(str(each)) for each in range(300)]
        for each in doing:
            self.assertEqual(self.result(each).result, CANCELLED)
        self.assertEqual(self.depths()[register_of("tasks")], 4)

    def test_kept(self) -> None:
        """
        It is known for thirty days after the task was due, and of which task it is.
        """
        client = self.client()
        self.watch(client=client)
        now = self.own.now()
        self.delete("a", due=now + 100.0, sent_by=5.0)
        self.delete("b", due=now - 100.0)
        known: Any = client.questions.cancelled_in("tasks")
        self.assertLess(abs(known["a"].until - now - 100 - REMEMBERED), 1)
        self.assertLess(abs(known["b"].until - now - REMEMBERED), 1)
        self.assertEqual(known["a"].sent_by, 5.0)

    def test_used_again(self) -> None:
        """
        A uuid can be given to a task that is sent later.
        """
        self.watch()
        self.delete("a", sent_by=100.0)
        client = self.client()
        for sent in (100, 101):
            properties = {"timestamp": sent}
            body = b'{"url": "/x", "uuid": "a"}'
            self.result(client.publish("", "tasks", body, properties))
            self.network.settle()
            self.assertEqual(len(self.requested()), sent - 100)

    def test_full(self) -> None:
        """
        When the queue has too many, that is told, and none is cancelled, until some are
        forgotten.
        """
        self.assertEqual(MOST_CANCELLED, 200_000)
        self.patch(_marking, "MOST_CANCELLED", 2)
        client = self.client()
        watcher = self.watch(client=client)
        self.delete("a")
        self.delete("b")
        error = self.failure(self.begin_delete("c"), ConfigError)
        self.assertIn("has 2 cancelled tasks, and may have 2", str(error))
        self.add("c")
        self.assertEqual(self.requested(), ["c"])
        for each in client.questions._known.values():
            each.forget_old(self.own.now() + 2 * REMEMBERED)
        self.assertEqual(self.delete("d"), (CANCELLED, None))
        self.result(watcher.stop())
        self.assertEqual(self.delete("e"), (CANCELLED, None))
        error = self.failure(self.begin_delete("f"), ConfigError)
        self.assertIn("has 4 cancelled tasks", str(error))

    def test_tidy(self) -> None:
        """
        Now and then many messages are replaced by few.
        """
        self.patch(_marking, "_MANY", 250)
        self.patch(_marking, "_LOOK", 300)
        self.result(self.watch().stop())
        wires = []

        async def noting(wire: Any, *given: Any) -> Any:
            wires.append(wire)
            return await read_cancelled(wire, *given)

        self.patch(_marking, "read_cancelled", noting)
        for each in range(300):
            self.delete(str(each))
        self.network.pass_time(1)
        (wire,) = wires  # not the one over which mediators are asked
        self.assertIsNot(wire, self.result(self.own.connected()))
        self.assertEqual(self.depths()[register_of("tasks")], 1)
        self.delete("a")
        self.watch()
        self.add("a", "5", "b")
        self.assertEqual(self.requested(), ["b"])

    def test_no_queue(self) -> None:
        """
        Where there is no such queue, nothing is made.
        """
        self.failure(self.begin_delete("a"), NoSuchQueue)
        self.assertNotIn(register_of("tasks"), self.depths())

    def test_connection_lost(self) -> None:
        """
        Those who are being deleted when the connection is lost fail, and the next ones
        have another.
        """
        self.watch()
        self.delete("a")
        doing = [self.begin_delete(each) for each in "bcd"]
        self.network.cut()
        self.network.pass_time(1)
        self.failureResultOf(doing[0], BrokerError)
        for each in doing[1:]:
            self.assertEqual(self.result(each).result, CANCELLED)
        self.wire = self.connect()
        self.network.pass_time(10)
        self.assertEqual(self.delete("e"), (CANCELLED, None))
        self.deletions.end()


class _Promises(RuleBasedStateMachine):
    """
    Mediators begin, end and lose their connections at any moment, and tasks are
    deleted meanwhile.
    """

    @initialize()
    def prepare(self) -> None:
        """
        There is a queue.
        """
        self.case = NetworkTestCase()
        self.case.setUp()
        self.network = self.case.network
        self.case.call("queue_declare", queue="tasks", durable=True)
        self.deleting = Deletions(self.case.client())
        self.clients: list[TxAMQPClient] = []
        self.watchers: list[tuple[TxAMQPClient, Watcher]] = []
        self.told: set[str] = set()
        self.number = 0
        self.start()

    @rule(
        what=st.sampled_from(["start", "stop", "delete", "delete", "lose"]),
        turns=st.integers(0, 12),
        seconds=st.sampled_from([0.0, 0.0, 0.05, 0.6, 4.0]),
    )
    def happens(self, what: str, turns: int, seconds: float) -> None:
        """
        Something happens, and then some turns of the reactor, and some time passes.
        """
        getattr(self, what)()
        for _ in range(turns):
            self.network.step()
        self.network.pass_time(seconds, 0.05)

    def start(self) -> None:
        """
        Another mediator begins.
        """
        if len(self.clients) >= 3:
            return
        client = self.case.client()
        self.clients.append(client)
        http = FakeHTTP()
        mediator = Mediator(http=http, reactor=self.network)
        watching = client.watch("", "tasks", "", mediator.messageReceived)
        watching.addCallback(lambda each: self.watchers.append((client, each)))
        watching.addErrback(lambda failure: failure.trap(BrokerError))

    def stop(self) -> None:
        """
        A mediator ends.
        """
        if self.clients:
            client = self.clients.pop(0)
            self.watchers = [each for each in self.watchers if each[0] is not client]
            client.stop(0).addErrback(lambda failure: None)

    def delete(self) -> None:
        """
        Delete a task.
        """
        self.number += 1
        uuid = str(self.number)
        doing = Deferred.fromCoroutine(self.deleting.delete("tasks", uuid))
        doing.addCallbacks(self._deleted, self._failed)

    def _deleted(self, cancelled: Cancelled) -> None:
        if cancelled.result == CANCELLED:
            self.told.add(cancelled.uuid)

    def _failed(self, failure: Failure) -> None:
        failure.trap(BrokerError)

    def lose(self) -> None:
        """
        All connections are lost.
        """
        self.network.cut()

    @invariant()
    def known(self) -> None:
        """
        Each mediator that consumes knows all that were told to be cancelled.
        """
        for client, watcher in getattr(self, "watchers", ()):
            if watcher.consuming:
                known = client.questions.cancelled_in("tasks").keys()
                assert self.told <= known, (self.told, known)

    def teardown(self) -> None:
        """
        All are told in the end.
        """
        if hasattr(self, "case"):
            self.network.pass_time(10)
            doing = Deferred.fromCoroutine(self.deleting.delete("tasks", "last"))
            self.network.pass_time(30)
            results: list[Any] = []
            doing.addBoth(results.append)
            assert isinstance(results[0], Cancelled), results
            self.case.doCleanups()


class PromisesTests(NetworkTestCase):
    """
    What is told is true, in whatever order things happen.
    """

    def test_any_order(self) -> None:
        """
        No mediator consumes that does not know a task that was told to be cancelled.
        """
        few = settings(max_examples=8, stateful_step_count=20, deadline=None)
        run_state_machine_as_test(_Promises, settings=few)
