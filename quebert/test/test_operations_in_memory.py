"""
Operations on tasks, with mediators and the embedded broker in memory.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from quebert import operations
from quebert._protocol.properties import amend_properties
from quebert.amqp import Message, WatchOptions
from quebert.amqp.coordination import Answers, MediatorAnswer, set_paused
from quebert.amqp.delays import LadderSearch, arrivals_of
from quebert.amqp.queues import KIND, REASON
from quebert.amqp.watch import DROPPED, HeldTask
from quebert.amqp.wire import IN_QUESTION
from quebert.errors import BrokerError, BrokerRefused, ConfigError, MayNotLook
from quebert.events import EventReader
from quebert.limits import Rate
from quebert.mediator import PolicyMediator
from quebert.operations import (
    CANCELLED,
    MARKED,
    NOT_DELAYED,
    NOT_FOUND,
    RUNS_NOW,
    TOO_LATE,
    BrokerAccess,
    Cancelled,
    DeadLetter,
    Match,
    Progress,
    RunNow,
    _access,
    _cancelling,
    _taking,
    _task_search,
)
from quebert.operations._cancel_events import CancelEvents
from quebert.operations._taking import Taking
from quebert.operations._task_search import TaskSearch
from quebert.task import format_time
from quebert.task_ends import ENDED
from quebert.test.events.test_reader import Kept
from quebert.test.memory_network import _Client
from quebert.test.test_questions_in_memory import QuestionsTestCase


class OperationsTestCase(QuestionsTestCase):
    """
    A queue with mediators, and operations on its tasks.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(_access, "TxAMQPClient", _Client)
        url = "amqp://guest:guest@rabbit.example/?heartbeat=0"
        self.access = BrokerAccess(self.network, url)

    def delay(self, *uuids: str, seconds: float = 1000.0) -> None:
        """
        Add tasks whose time comes later.
        """
        moment = self.network.seconds() + 1_700_000_000 + seconds
        self.add(*uuids, run_at=format_time(moment))

    def run_now(self, uuid: str, **options: Any) -> RunNow:
        """
        Have a task run now.
        """
        return self.result(operations.run_now(self.access, "tasks", uuid, **options))

    def cancel_one(self, uuid: str, **options: Any) -> Cancelled:
        """
        Cancel a task.
        """
        return self.result(operations.cancel(self.access, "tasks", uuid, **options))


class RunNowTests(OperationsTestCase):
    """
    Tests for L{operations.run_now}.
    """

    def test_delayed(self) -> None:
        """
        A delayed task comes to a mediator at once, another one does not.
        """
        self.watch()
        self.delay("a", "b", "c")
        ran = self.run_now("b")
        self.assertEqual((ran.uuid, ran.result), ("b", RUNS_NOW))
        self.assertEqual(ran.text, "it waited for its time, and is in tasks now")
        self.assertEqual(ran.problems, ())
        self.network.settle()
        self.assertEqual(self.requested(), ["b"])
        ran = self.run_now("b")
        self.assertEqual(ran.result, NOT_DELAYED)
        self.assertIn("is attempting it", ran.text)
        self.http.requests.pop().answer(200)
        self.network.settle()
        self.assertEqual(self.run_now("b").result, NOT_FOUND)

    def test_no_mediator(self) -> None:
        """
        If no mediator consumes the queue, that is said; then the task waits there for
        nothing else.
        """
        watcher = self.watch()
        self.delay("a")
        self.result(watcher.stop())
        ran = self.run_now("a")
        self.assertEqual(ran.result, RUNS_NOW)
        self.assertIn("tasks now, which no mediator consumes", ran.text)
        ran = self.run_now("a")
        self.assertEqual(ran.result, NOT_DELAYED)
        self.assertIn("it waits in tasks for a mediator", ran.text)
        self.assertEqual(self.run_now("b").result, NOT_FOUND)

    def test_delayed_without_mediator(self) -> None:
        """
        A task that no mediator has put on the ladder yet runs as soon as one is there.
        """
        watcher = self.watch()
        self.result(watcher.stop())
        self.delay("a", "b")
        ran = self.run_now("a")
        self.assertEqual(ran.result, RUNS_NOW)
        self.assertIn("for a mediator, and not for its time any more", ran.text)
        self.assertEqual(self.run_now("a").result, NOT_DELAYED)
        self.watch()
        self.network.settle()
        self.assertEqual(self.requested(), ["a"])

    def test_between_rungs(self) -> None:
        """
        A task that is on its way from one rung to the next, while there is no mediator,
        runs as soon as one is there.  A suspect is not found until it is known how its
        last mediator has ended.
        """
        watcher = self.watch()
        self.delay("a", "b", "suspect")
        self.result(watcher.stop())
        client = self.client()
        wire = self.result(client.connected())
        search = LadderSearch(
            wire, client.ladder, client.make_publisher(), client.now, 9
        )
        arrivals = arrivals_of("tasks")

        async def bring(message: Message) -> bool:
            headers = {IN_QUESTION: 1} if b'"suspect"' in message.body else {}
            encoded = message.encoded_properties
            properties = amend_properties(encoded, changes={}, headers=headers)
            await client.make_publisher().publish(
                "", arrivals, message.body, properties
            )
            return True

        self.result(search.through(bring))
        ran = self.run_now("a")
        self.assertEqual(ran.result, RUNS_NOW)
        self.assertEqual(self.run_now("a").result, NOT_DELAYED)
        self.assertEqual(self.run_now("suspect").result, NOT_FOUND)
        self.watch()
        self.network.settle()
        self.assertEqual(self.requested(), ["a"])

    def test_held(self) -> None:
        """
        A task that waits in a mediator for its retry begins; one that is dropped does
        not.
        """
        self.watch()
        self.add("a")
        self.http.requests.pop().answer(500)
        self.network.settle()
        ran = self.run_now("a")
        self.assertEqual(ran.result, RUNS_NOW)
        self.assertIn("it waited in mediator", ran.text)
        self.assertEqual(self.requested(), ["a"])
        self.cancel_one("a")
        self.http.requests.pop().answer(500)
        self.network.settle()
        ran = self.run_now("a")
        self.assertEqual(ran.result, NOT_DELAYED)
        self.assertIn("has dropped it", ran.text)

    def test_waits_for_its_turn(self) -> None:
        """
        A delayed task that a mediator has not read yet, as it waits for its turn there,
        runs then, and not at its time.
        """
        client = self.client()
        mediator = PolicyMediator(
            defaulturl="http://a/", http=self.http, reactor=self.network, now=client.now
        )
        options = WatchOptions(rate=Rate(0.1), burst=1, share_rate=False, prefetch=5)
        callback = mediator.messageReceived
        self.result(client.watch("", "tasks", "", callback, options=options))
        self.add("first")
        self.delay("a")
        ran = self.run_now("a")
        self.assertEqual(ran.result, NOT_DELAYED)
        self.assertIn("begins it when it is its turn", ran.text)
        self.network.pass_time(20)
        self.assertEqual(self.requested(), ["first", "a"])

    def test_wrong(self) -> None:
        """
        What can be no uuid is refused, and so is a queue that is not there.
        """
        self.failure(operations.run_now(self.access, "tasks", "a"), ConfigError)
        self.watch()
        for uuid in "", "a" * 256:
            self.failure(operations.run_now(self.access, "tasks", uuid), ConfigError)
        self.assertEqual(self.run_now("a" * 255).result, NOT_FOUND)


class CancelTests(OperationsTestCase):
    """
    Tests for L{operations.cancel}.
    """

    def test_delayed(self) -> None:
        """
        A delayed task is taken out; another one stays.
        """
        self.watch()
        self.delay("a", "b")
        told = self.cancel_one("a")
        self.assertEqual((told.result, told.attempted), (CANCELLED, False))
        self.assertEqual(told.problems, ())
        self.assertEqual(self.run_now("a").result, NOT_FOUND)
        self.assertEqual(self.run_now("b").result, RUNS_NOW)

    def test_held(self) -> None:
        """
        Mediators are asked: one attempts a task, another waits for its retry.
        """
        self.watch()
        self.add("a", "b")
        self.http.requests.pop().answer(500)
        self.network.settle()
        told = self.cancel_one("a")
        self.assertEqual((told.result, told.attempted), (TOO_LATE, True))
        self.assertIn("is attempting it", told.text)
        told = self.cancel_one("b")
        self.assertEqual((told.result, told.attempted), (CANCELLED, True))

    def test_waiting(self) -> None:
        """
        A task that nobody consumes is taken out of its queue, and the others stay.
        """
        self.result(self.watch().stop())
        self.add("a", "b")
        told = self.cancel_one("a")
        self.assertEqual((told.result, told.attempted), (CANCELLED, False))
        self.assertEqual(self.depths()["tasks"], 1)
        self.watch()
        self.network.settle()
        self.assertEqual(self.requested(), ["b"])

    def test_came_back(self) -> None:
        """
        Of a task that a mediator had, and lost, nobody knows whether it was attempted.
        """
        watcher = self.watch()
        self.add("a")
        self.result(watcher.stop(0))
        told = self.cancel_one("a")
        self.assertEqual((told.result, told.attempted), (MARKED, None))

    def test_behind_others(self) -> None:
        """
        A task that waits behind others is not seen, and marked; it is told how many
        wait.
        """
        self.watch(prefetch=1)
        self.add("a", "b", "c")
        told = self.cancel_one("c")
        self.assertEqual((told.result, told.attempted), (MARKED, None))
        self.assertIn("2 messages wait in tasks", told.problems)
        told = self.cancel_one("x")
        self.assertEqual(told.result, MARKED)

    def test_nowhere(self) -> None:
        """
        A task that is nowhere is not attempted if it comes.
        """
        self.watch()
        told = self.cancel_one("a")
        self.assertEqual((told.result, told.problems), (NOT_FOUND, ()))
        self.add("a")
        self.assertEqual(self.requested(), [])

    def test_no_mediator(self) -> None:
        """
        A consumer that is no mediator may attempt a task that was not seen.
        """
        watching = self.client().watch("", "tasks", "", lambda message: Deferred())
        self.result(watching)
        told = self.cancel_one("a")
        self.assertEqual((told.result, told.attempted), (MARKED, None))
        [problem] = told.problems
        self.assertIn("1 consumers of the queue have not answered", problem)

    def test_comes_meanwhile(self) -> None:
        """
        A task that has come to a mediator while it was looked for elsewhere was dropped
        there.
        """
        self.watch()
        task = HeldTask("a", DROPPED, 1.0, False)

        async def ask(*args: object) -> Answers:
            return Answers((MediatorAnswer("m", 1, (task,), cancelled=1),))

        self.patch(_cancelling, "ask_mediators", ask)
        told = self.cancel_one("a")
        self.assertEqual((told.result, told.attempted), (CANCELLED, False))
        self.assertIn("mediator m has dropped it", told.text)

    def test_hidden(self) -> None:
        """
        Where the depth of the queue is hidden, nothing is said of it.
        """
        self.watch()

        async def depth(*args: object) -> None:
            raise MayNotLook("ACCESS_REFUSED")

        self.patch(_cancelling, "depth", depth)
        told = self.cancel_one("a")
        self.assertEqual((told.result, told.problems), (NOT_FOUND, ()))

    def test_ladder_fails(self) -> None:
        """
        2,000 delayed tasks are looked at; if RabbitMQ ends that, it is told.
        """
        self.watch()
        bounds: list[int] = []

        class Failing:
            unseen = 0

            def __init__(self, *args: Any) -> None:
                bounds.append(args[4])

            async def through(self, visit: object) -> None:
                raise BrokerError("RabbitMQ has closed the channel")

        self.patch(_taking, "LadderSearch", Failing)
        told = self.cancel_one("a")
        self.assertEqual((told.result, bounds), (MARKED, [2_000]))
        [problem] = told.problems
        self.assertIn("not all delayed tasks can be looked at", problem)

    def test_events(self) -> None:
        """
        Batches of 1,000 cancelled tasks are told.
        """
        kept = Kept()
        client = self.client()
        reader = EventReader(client, kept)
        self.result(reader.start())
        events = CancelEvents(client, self.wire, "tasks", "ada")
        message = Message("", 1, False, "", "tasks")
        message.body = b'{"uuid": "a"}'

        async def take() -> None:
            for _ in range(1_001):
                await events.taken(message)
            await events.publish()

        self.result(take())
        self.network.settle()
        self.assertEqual([len(each.records) for each in kept.batches], [1_000, 1])
        self.result(reader.stop())

    def test_no_queue(self) -> None:
        """
        A queue that is not there has nothing to cancel.
        """
        for work in (
            operations.cancel(self.access, "none", "a"),
            operations.cancel_all(self.access, "none", []),
        ):
            self.failure(work, ConfigError)

    def test_all(self) -> None:
        """
        All tasks that match are cancelled, wherever they wait.
        """
        watcher = self.watch(prefetch=1)
        self.delay("d1", "d2", "e1")
        self.add("d3", "d4", "e2")
        some = [Match.parse("uuid~d")]
        told = self.result(operations.cancel_all(self.access, "tasks", some))
        self.assertEqual((told.cancelled, told.too_late), (3, 1))
        self.assertEqual(told.problems, ())
        self.http.requests.pop().answer(500)
        self.network.settle()
        self.assertEqual(self.requested(), ["e2"])
        self.assertEqual(self.run_now("e1").result, RUNS_NOW)
        self.assertEqual(watcher.counts.discarded, 1)


class WhyTests(OperationsTestCase):
    """
    Tests for L{operations.why}.
    """

    def test_uuids(self) -> None:
        """
        A uuid has up to 255 characters.
        """
        self.watch()
        why = self.result(operations.why(self.access, "a" * 255, "tasks"))
        self.assertEqual((why.uuid, why.queue), ("a" * 255, "tasks"))
        for uuid in "", "a" * 256:
            self.failure(operations.why(self.access, uuid, "tasks"), ConfigError)


class TaskSearchTests(OperationsTestCase):
    """
    Tests for L{TaskSearch}.
    """

    def search(
        self, uuid: str, *queues: str, only: str | None = None, most: int = 100
    ) -> TaskSearch:
        """
        Look for a task.
        """
        names: Sequence[str] = queues or ("tasks",)
        search = TaskSearch(self.client(), self.wire, uuid, tuple(names), only=only)
        self.result(search.run(most, is_over=False))
        return search

    def test_everywhere(self) -> None:
        """
        A task is found on the ladder, in a mediator, and in its queue, with its place.
        """
        self.watch(prefetch=1)
        self.delay("a", "b")
        self.add("c", "d", "e")
        found = self.search("b")
        assert found.ladder is not None
        self.assertTrue(found.found)
        self.assertFalse(found.ladder.tried)
        self.assertEqual((found.queue, found.url), ("tasks", "/x"))
        found = self.search("c")
        self.assertEqual([task.uuid for _, task in found.held], ["c"])
        found = self.search("e")
        self.assertEqual((found.queue, found.position), ("tasks", 1))
        found = self.search("x")
        self.assertFalse(found.found)
        self.assertEqual(found.unseen, [])
        self.assertEqual(self.search("b", only="other").found, False)

    def test_dead(self) -> None:
        """
        A task that was given up is found among the dead, with the reason.
        """
        for queue in "tasks", "tasks.dead":
            self.call("queue_declare", queue=queue, durable=True)
        headers = {KIND: "poison", REASON: "broken"}
        properties = {"delivery-mode": 2, "headers": headers}
        body = b'{"url": "/y", "uuid": "a"}'
        self.result(self.client().publish("", "tasks.dead", body, properties))
        found = self.search("a")
        self.assertEqual((found.queue, found.url), ("tasks", "/y"))
        self.assertEqual(found.dead, ("poison", "broken"))
        self.assertIsNone(self.search("b").dead)

    def test_many(self) -> None:
        """
        A queue that somebody consumes is looked at only if few wait there.
        """
        watcher = self.watch(prefetch=1)
        self.add(*(f"t{n}" for n in range(102)))
        found = self.search("t50")
        self.assertFalse(found.found)
        self.assertEqual(found.unseen_ready, {"tasks": 101})
        self.assertEqual(found.unseen, ["the 101 messages in tasks were not looked at"])
        self.result(set_paused(self.wire, "tasks", True))
        self.network.pass_time(1)
        found = self.search("t50")
        self.assertEqual((found.queue, found.position), ("tasks", 49))
        self.assertEqual(watcher.in_flight, 1)

    def test_not_asked(self) -> None:
        """
        If mediators cannot be asked, that is told, and the task is looked for all the
        same.
        """
        self.result(self.watch().stop())
        self.add("a")
        refused = mock.AsyncMock(side_effect=BrokerRefused(403, "ACCESS_REFUSED"))
        self.patch(_task_search, "ask_mediators", refused)
        found = self.search("a")
        self.assertEqual((found.queue, found.position), ("tasks", 0))
        [told] = found.unseen
        self.assertIn("mediators cannot be asked: ", told)
        self.assertIn("ACCESS_REFUSED", told)


class TakingTests(OperationsTestCase):
    """
    Tests for L{Taking}.
    """

    def test_one_is_enough(self) -> None:
        """
        Where one delayed task is enough, no other is looked at.
        """
        self.watch()
        self.delay("a", "b", "c")
        taking = Taking(self.client(), self.wire, "tasks")

        async def take(message: Message) -> bool:
            return True

        self.assertTrue(self.result(taking.from_ladder(take, 100, first=True)))
        self.assertEqual((taking.progress.seen, taking.progress.done), (1, 1))
        self.assertEqual(taking.problems, [])


class DeadLettersInMemoryTests(OperationsTestCase):
    """
    What is done to dead letters.
    """

    def setUp(self) -> None:
        super().setUp()
        for queue in "tasks", "tasks.dead":
            self.call("queue_declare", queue=queue, durable=True)

    def bury(self, *uuids: str, why: str = "broken") -> None:
        """
        Have dead letters.
        """
        client = self.client()
        headers = {KIND: "poison", REASON: why, "shop": "7"}
        for each in uuids:
            body = json.dumps({"url": "/x", "uuid": each}).encode()
            properties = {"delivery-mode": 2, "headers": headers}
            self.result(client.publish("", "tasks.dead", body, properties))

    def dead(self, *matches: str) -> list[str]:
        """
        The uuids of those that match.
        """
        found: list[DeadLetter] = []
        wanted = [Match.parse(each) for each in matches]
        self.result(operations.browse(self.access, "tasks", wanted, found.append))
        return [each.uuid for each in found]

    def test_looking(self) -> None:
        """
        Those that match are seen, in their order, and stay.
        """
        self.bury("a", "b")
        self.bury("c", why="worn")
        for _ in range(2):
            self.assertEqual(self.dead(), ["a", "b", "c"])
            self.assertEqual(self.dead("reason=worn"), ["c"])
        wanted = [Match.parse("uuid=b")]
        found = self.result(operations.find(self.access, "tasks", wanted))
        assert found is not None
        self.assertEqual((found.uuid, found.reason), ("b", "broken"))
        wanted = [Match.parse("uuid=x")]
        self.assertIsNone(self.result(operations.find(self.access, "tasks", wanted)))

    def test_redriven(self) -> None:
        """
        Those that match are put back, as they were added.
        """
        self.bury("a", "b", "c")
        progress = Progress()
        wanted = [Match.parse("uuid=b")]
        driving = operations.redrive(self.access, "tasks", wanted, progress)
        self.result(driving)
        self.assertEqual((progress.seen, progress.done), (3, 1))
        self.assertEqual(self.dead(), ["a", "c"])
        self.watch()
        self.network.settle()
        self.assertEqual(self.requested(), ["b"])

    def test_discarded(self) -> None:
        """
        Those that match are counted, and dropped if that is wanted.
        """
        self.bury("a", "b", "c")
        counted: list[int] = []

        def discard(answer: bool, *matches: str) -> bool:
            def sure(count: int) -> bool:
                counted.append(count)
                return answer

            wanted = [Match.parse(each) for each in matches]
            discarding = operations.discard(self.access, "tasks", wanted, sure=sure)
            return self.result(discarding)

        self.assertFalse(discard(False, "uuid=b"))
        self.assertFalse(discard(True, "uuid=x"))
        self.assertEqual((counted, self.dead()), ([1], ["a", "b", "c"]))
        self.assertTrue(discard(True, "uuid=b"))
        self.assertEqual((counted, self.dead()), ([1, 1], ["a", "c"]))

    def test_another_like_it(self) -> None:
        """
        A dead letter that comes after they were counted stays, also if it is the same
        as one of them.
        """
        self.bury("a", "b")

        def sure(count: int) -> bool:
            self.bury("a")
            return True

        progress = Progress()
        discarding = operations.discard(self.access, "tasks", [], progress, sure)
        self.assertTrue(self.result(discarding))
        self.assertEqual(self.dead(), ["a"])
        self.assertEqual((progress.done, progress.missing), (2, 0))

    def test_end_not_noted(self) -> None:
        """
        Dead letters that RabbitMQ itself has made are discarded also where their ends
        cannot be noted, which is tried once, and logged.
        """
        noting = mock.AsyncMock(side_effect=BrokerError("quebert.ended is full"))
        self.patch(_taking.Taking, "note_ends", noting)
        properties = {"delivery-mode": 2, "reply-to": ENDED, "message-id": "u"}
        for _ in range(2):
            sending = self.client().publish("", "tasks.dead", b"{}", properties)
            self.result(sending)
        with capturedLogs() as events:
            self.result(operations.discard(self.access, "tasks", []))
        self.assertEqual(self.dead(), [])
        noting.assert_awaited_once()
        [event] = [each for each in events if "cannot be noted" in str(each)]
        self.assertIn("quebert.ended is full", str(event["why"]))


class PausingInMemoryTests(OperationsTestCase):
    """
    Pausing a queue, and having it go on.
    """

    def test_paused(self) -> None:
        """
        A paused queue is told as such, with who has paused it, and goes on.
        """
        self.watch()
        now = self.result(operations.pause(self.access, "tasks", by="ada"))
        self.assertEqual((now.paused, now.consumers, now.problems), (True, 0, ()))
        self.add("a")
        self.network.pass_time(1)
        self.assertEqual(self.requested(), [])
        before = self.result(operations.resume(self.access, "tasks"))
        self.assertEqual((before.paused, before.problems), (True, ()))
        self.network.pass_time(1)
        self.assertEqual(self.requested(), ["a"])
        before = self.result(operations.resume(self.access, "tasks"))
        self.assertFalse(before.paused)

    def test_does_not_rest(self) -> None:
        """
        A pause waits five seconds for whoever goes on consuming the queue.
        """
        self.call("queue_declare", queue="tasks")
        channel = self.result(self.wire.open_channel(confirms=False))
        self.result(channel.call("basic_consume", queue="tasks"))
        pausing = self.begin(operations.pause(self.access, "tasks"))
        self.network.pass_time(4.5)
        self.assertNoResult(pausing)
        self.network.pass_time(1.5)
        now = self.successResultOf(pausing)
        self.assertEqual((now.paused, now.consumers), (True, 1))
