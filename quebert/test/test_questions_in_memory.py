"""
Questions about tasks, and tasks that are cancelled, in mediators whose broker and
executors are in memory.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel

from quebert.amqp import Watcher, WatchOptions
from quebert.amqp.coordination import (
    CANCEL,
    FIND,
    PATIENCE,
    REMEMBERED,
    RETRY_NOW,
    Answers,
    Cancellation,
    Question,
    _known_cancelled,
    add_cancelled,
    ask_mediators,
    set_paused,
)
from quebert.amqp.coordination._cancellation import REMEMBERED_AFTER_MET
from quebert.amqp.watch import (
    DROPPED,
    RETRYING,
    RUNNING,
    WAITING,
    HeldTask,
    _held_tasks,
    identity_of,
)
from quebert.mediator import Mediator, PolicyMediator
from quebert.policy import RetryPolicy
from quebert.task import format_time
from quebert.test.mediating import FakeHTTP
from quebert.test.memory_network import NetworkTestCase, RefusingWire
from quebert.test.support import logged


class HeedingCallback:
    """
    A callback that is asked about its tasks, and ends none of them.

    @ivar messages: those that it has.
    """

    heeds_cancelled = True

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def attempt(self, message: Any) -> Deferred[None]:
        """
        Begin a request.
        """
        message.may_request("http://a/x")
        self.messages.append(message)
        return Deferred()


class QuestionsTestCase(NetworkTestCase):
    """
    A queue whose mediators make requests that the test answers.
    """

    def setUp(self) -> None:
        super().setUp()
        self.http = FakeHTTP()

    def watch(self, prefetch: int = 2, client: Any = None) -> Watcher:
        """
        Have one more mediator.
        """
        client = client or self.client()
        policy = RetryPolicy(min_backoff=4, max_backoff=4)
        mediator = PolicyMediator(
            defaulturl="http://a/",
            http=self.http,
            reactor=self.network,
            policy=policy,
            now=client.now,
        )
        options = WatchOptions(prefetch=prefetch)
        watching = client.watch(
            "", "tasks", "", mediator.messageReceived, options=options
        )
        watcher: Watcher = self.result(watching)
        return watcher

    def add(self, *uuids: str, **fields: Any) -> None:
        """
        Add tasks.
        """
        client = self.client()
        for each in uuids:
            body = json.dumps({"url": "/x", "uuid": each, **fields}).encode()
            self.result(client.publish("", "tasks", body, {"delivery-mode": 2}))
        self.network.settle()

    def ask(self, kind: str, *uuids: str, cancelled: bool = False) -> Answers:
        """
        Ask all mediators; without uuids, of all tasks.
        """
        at = self.network.seconds() + 1_700_000_000
        some = tuple(Cancellation(each, at, "ada") for each in uuids if cancelled)
        question = Question(kind, uuids or None, some)
        asking = self.begin(ask_mediators(self.wire, "tasks", question))
        self.network.pass_time(PATIENCE + 0.5)
        return self.successResultOf(asking)

    def keep(self, some: list[Cancellation]) -> None:
        """
        Have the broker keep that tasks are cancelled, and tell nobody.
        """
        client = self.client()

        async def publish(queue: str, body: bytes) -> None:
            await client.publish("", queue, body)

        self.result(add_cancelled(self.wire, "tasks", some, publish))

    def cancel(self, *uuids: str) -> Answers:
        """
        Cancel tasks.
        """
        return self.ask(CANCEL, *uuids, cancelled=True)

    def states(self, answers: Answers) -> dict[str, tuple[str, bool | None]]:
        """
        What was told of each task.
        """
        return {
            task.uuid: (task.state, task.attempted)
            for answer in answers.answers
            for task in answer.tasks
        }

    def requested(self) -> list[Any]:
        """
        The uuids of all requests so far.
        """
        bodies = [json.loads(each.data or b"{}") for each in self.http.requests]
        return [each["uuid"] for each in bodies]


class QuestionsTests(QuestionsTestCase):
    """
    What is asked, and answered.
    """

    def test_nobody(self) -> None:
        """
        Where no mediator ever was, there is no answer, and nobody is silent.
        """
        self.assertEqual(self.ask(FIND), Answers())

    def test_states(self) -> None:
        """
        A mediator tells which tasks it has, where they are, and since when.
        """
        self.watch(prefetch=1)
        self.add("a")
        self.network.pass_time(1)
        self.add("b")
        answers = self.ask(FIND)
        self.assertEqual(self.states(answers), {"a": (RUNNING, True)})
        [(name, task)] = answers.of("a")
        self.assertTrue(name)
        self.assertEqual((task.url, answers.silent), ("/x", 0))
        self.assertLess(task.since, self.network.seconds() + 1_700_000_000 - 1)
        self.assertEqual(list(answers.of("b")), [])  # it is in the queue

    def test_retrying(self) -> None:
        """
        A task whose attempt has failed waits there; on demand it waits no longer.
        """
        watcher = self.watch()
        self.add("a")
        self.http.requests[0].answer(500)
        self.network.settle()
        self.assertEqual(self.states(self.ask(FIND, "a")), {"a": (RETRYING, True)})
        self.assertEqual(watcher.held, 1)
        self.http.requests.clear()
        told = self.states(self.ask(RETRY_NOW, "a", "b"))
        self.assertEqual(told, {"a": (RETRYING, True)})
        self.assertEqual(self.requested(), ["a"])

    def test_early(self) -> None:
        """
        So does a task whose time comes in some seconds.
        """
        self.watch()
        moment = format_time(self.network.seconds() + 1_700_000_000 + 4.5)
        self.add("a", run_at=moment)
        self.assertEqual(self.requested(), [])
        told = self.states(self.ask(RETRY_NOW, "a"))
        self.assertEqual(told, {"a": (RETRYING, False)})
        self.assertEqual(self.requested(), ["a"])
        self.assertLess(self.network.seconds(), 4.5)

    def test_running(self) -> None:
        """
        A task that is being attempted is not said to be wanted before its time.
        """
        callback = HeedingCallback()
        self.result(self.client().watch("", "tasks", "", callback.attempt))
        self.add("a")
        told = self.states(self.ask(RETRY_NOW, "a"))
        self.assertEqual(told, {"a": (RUNNING, True)})
        self.assertEqual([each.runs_now for each in callback.messages], [False])

    def test_paused(self) -> None:
        """
        A mediator whose queue is paused has no consumer, and answers.
        """
        self.watch()
        self.add("a")
        self.result(set_paused(self.wire, "tasks", True))
        self.network.pass_time(1)
        answers = self.ask(FIND, "a")
        self.assertEqual(self.states(answers), {"a": (RUNNING, True)})
        self.assertEqual([each.consumers for each in answers.answers], [0])

    def test_no_mediator(self) -> None:
        """
        A callback that is no mediator's does not answer, and is noticed.
        """
        client = self.client()
        self.result(client.watch("", "tasks", "", lambda message: Deferred()))
        self.watch()
        answers = self.ask(FIND)
        self.assertEqual((len(answers.answers), answers.silent), (1, 1))

    def test_stopped(self) -> None:
        """
        A watch that has ended does not answer any more.
        """
        watcher = self.watch()
        self.result(watcher.stop())
        self.assertEqual(self.ask(FIND), Answers())

    def test_unheard(self) -> None:
        """
        No answer is waited for where mediators were, and none hears the question.
        """
        client = self.client()
        self.watch(client=client)
        self.result(client.stop(0))
        asking = self.begin(ask_mediators(self.wire, "tasks", Question(FIND, None)))
        self.network.settle()
        self.assertEqual(self.successResultOf(asking), Answers())

    def test_asked_again(self) -> None:
        """
        A mediator that does not answer is asked again after half a second, and then
        after twice as long.
        """
        client, asked = self.client(), list[float]()
        now = self.network.seconds
        self.patch(client.questions, "asked", lambda message: asked.append(now()))
        self.watch(client=client)
        self.assertEqual(self.ask(FIND).silent, 1)
        self.assertEqual([each - asked[0] for each in asked], [0.0, 0.5, 1.5])

    def test_may_not_look(self) -> None:
        """
        Who may not see how many mediators there are has their answers, and is not told
        how many are silent.
        """
        self.watch()
        refusing: Any = RefusingWire(self.wire, "tasks")
        answers = self.result(ask_mediators(refusing, "tasks", Question(FIND, None)))
        self.assertEqual((len(answers.answers), answers.silent), (1, None))

    def test_nonsense(self) -> None:
        """
        What is no question, or wants no answer, is passed over.
        """
        self.watch()
        client = self.client()
        for body, properties in (
            (b"nonsense", {"reply-to": "nowhere"}),
            (b'{"kind": "find", "uuids": null}', {}),
            (b'{"kind": "find", "uuids": null}', {"reply-to": "nowhere"}),
        ):
            publishing = client.publish("quebert.control", "tasks", body, properties)
            self.result(publishing)
        self.assertEqual(len(self.ask(FIND).answers), 1)

    def test_redelivered(self) -> None:
        """
        Of a task that another mediator had, and lost, nobody knows whether it was
        attempted.
        """
        first = self.watch()
        self.add("a")
        self.network.cut()
        self.network.settle()
        self.wire = self.connect()
        self.network.pass_time(5)
        told = self.states(self.ask(FIND, "a"))
        self.assertIn(told, ({"a": (RUNNING, True)}, {"a": (WAITING, None)}))
        self.assertGreater(first.counts.returned, 0)


class CancelledTasksTests(QuestionsTestCase):
    """
    Tasks that are cancelled.
    """

    def test_waiting(self) -> None:
        """
        A task that waits for a place is dropped when it is its turn.
        """
        watcher = self.watch(prefetch=0)
        self.result(set_paused(self.wire, "tasks", True))
        self.network.pass_time(1)
        self.add("a", "b")
        self.cancel("b")
        self.result(set_paused(self.wire, "tasks", False))
        self.network.pass_time(1)
        self.assertEqual(self.requested(), ["a"])
        self.assertEqual(watcher.counts.discarded, 1)
        self.assertEqual(self.states(self.ask(FIND, "b")), {"b": (DROPPED, False)})

    def test_running(self) -> None:
        """
        The attempt that is under way is the last.
        """
        watcher = self.watch()
        self.add("a")
        self.assertEqual(self.states(self.cancel("a")), {"a": (RUNNING, True)})
        self.http.requests[0].answer(500)
        self.network.settle()
        self.assertEqual((watcher.counts.discarded, watcher.in_flight), (1, 0))
        self.assertEqual(self.states(self.ask(FIND, "a")), {"a": (DROPPED, True)})

    def test_retrying(self) -> None:
        """
        A task that waits for its retry is not tried again.
        """
        watcher = self.watch()
        self.add("a")
        self.http.requests[0].answer(500)
        self.network.settle()
        self.cancel("a")
        self.network.pass_time(6)
        self.assertEqual(self.requested(), ["a"])
        self.assertEqual(watcher.counts.discarded, 1)

    def test_other_forms(self) -> None:
        """
        However JSON writes a uuid, it is the same; a number is one, too.
        """
        self.watch()
        self.cancel("a/ä", "5")
        client = self.client()
        for text in (r'"a\/\u00e4"', '"a/ä"', "5", '"5"', "null", '"6"'):
            body = f'{{"url": "/x", "uuid": {text}}}'.encode()
            self.result(client.publish("", "tasks", body))
        self.network.settle()
        self.assertEqual(self.requested(), [None, "6"])

    def test_later(self) -> None:
        """
        A mediator that begins later knows what was cancelled before, and forgets it
        after thirty days.
        """
        now = self.network.seconds() + 1_700_000_000
        some = [Cancellation("a", now, "ada")]
        self.keep(some)
        client = self.client()
        watcher = self.watch(client=client)
        self.add("a", "b")
        self.assertEqual(self.requested(), ["b"])
        self.assertEqual(list(client.questions.cancelled_in("tasks")), ["a"])
        self.assertEqual(watcher.counts.discarded, 1)
        client.questions._now = lambda: some[0].until
        self.network.pass_time(70)
        self.assertEqual(dict(client.questions.cancelled_in("tasks")), {})

    def test_reconnected(self) -> None:
        """
        What was cancelled while a mediator had no connection is known with the next.
        """
        client = self.client()
        self.watch(client=client)
        self.network.cut()
        self.network.settle()
        self.wire = self.connect()
        now = self.network.seconds() + 1_700_000_000
        some = [Cancellation("a", now)]
        self.keep(some)
        self.network.pass_time(10)
        self.assertEqual(dict(client.questions.cancelled_in("tasks")), {"a": some[0]})

    def test_met(self) -> None:
        """
        When a mediator has dropped a task, all forget it a day later; so does whoever
        reads the register.  If the message came back before, a copy may come as well.
        """
        now = self.network.seconds() + 1_700_000_000
        both = self.client(), self.client()
        for client in both:
            self.watch(client=client)
        self.cancel("a")
        self.keep([Cancellation("a", now, "ada")])
        self.add("a")
        self.network.pass_time(10)
        third = self.client()
        self.watch(client=third)
        for client in (*both, third):
            known: Any = client.questions.cancelled_in("tasks")
            self.assertLess(known["a"].kept, REMEMBERED_AFTER_MET + 20)
        self.assertEqual(self.requested(), [])

    def test_met_redelivered(self) -> None:
        """
        If its message came back before, a copy may come as well, and nothing is
        forgotten sooner.
        """
        client = self.client()
        first = self.watch(client=client)
        self.add("a")
        self.network.cut()
        self.network.settle()
        self.wire = self.connect()
        self.keep([Cancellation("a", self.network.seconds() + 1_700_000_000)])
        self.network.pass_time(20)
        self.assertEqual(first.counts.discarded, 1)
        known: Any = client.questions.cancelled_in("tasks")
        self.assertEqual(known["a"].kept, REMEMBERED)

    def test_met_in_vain(self) -> None:
        """
        If that cannot be told, or the mediator ends before, it is known for longer.
        """
        client = self.client()
        self.watch(client=client)
        self.cancel("a", "b")
        self.add("a")
        self.call("exchange_delete", exchange="quebert.control")
        self.network.pass_time(10)
        self.add("b")
        self.result(client.stop(0))
        self.network.pass_time(10)
        self.assertEqual(self.requested(), [])

    def test_wrong_clock(self) -> None:
        """
        What a program tells whose clock is wrong by more than an hour is as of now.
        """
        client = self.client()
        self.watch(client=client)
        at = self.network.seconds() + 1_700_000_000 - 1e8
        question = Question(CANCEL, ("a",), (Cancellation("a", at),))
        asking = self.begin(ask_mediators(self.wire, "tasks", question))
        self.network.pass_time(1)
        self.successResultOf(asking)
        known: Any = client.questions.cancelled_in("tasks")
        self.assertLess(abs(known["a"].at - at - 1e8), 5)

    def test_full(self) -> None:
        """
        A mediator that knows too many does not say that it knows another.
        """
        self.patch(_known_cancelled, "MOST_CANCELLED", 1)
        self.watch()
        self.assertEqual(self.cancel("a", "b").silent, 0)
        self.assertEqual(self.cancel("c").silent, 1)

    def test_dropped(self) -> None:
        """
        Of the tasks that it has dropped, a mediator remembers the last ones.
        """
        self.patch(_held_tasks, "_MOST_TOLD", 2)
        self.watch()
        self.cancel("a", "b", "c")
        self.add("a", "b", "a", "c")
        told = self.states(self.ask(FIND, "a", "b", "c"))
        self.assertEqual(set(told), {"a", "c"})

    def test_many_at_once(self) -> None:
        """
        Of many tasks that are cancelled together, the one that a mediator has is told.
        """
        self.watch()
        self.add("7")
        told = self.states(self.cancel(*map(str, range(40))))
        self.assertEqual(told, {"7": (RUNNING, True)})

    def test_hooks(self) -> None:
        """
        A task whose pre-hooks run is not requested if it is cancelled meanwhile.
        """
        preparing: list[Deferred[None]] = []

        def prepare(task: Any) -> Deferred[None]:
            preparing.append(Deferred())
            return preparing[-1]

        mediator = Mediator(http=self.http, reactor=self.network)
        mediator.add_prehook(prepare)
        watching = self.client().watch("", "tasks", "", mediator.messageReceived)
        watcher = self.result(watching)
        self.add("a")
        self.assertEqual(self.states(self.cancel("a")), {"a": (WAITING, False)})
        preparing[0].callback(None)
        self.network.settle()
        self.assertEqual((self.requested(), watcher.counts.discarded), ([], 1))

    def test_hidden(self) -> None:
        """
        A mediator that may not read what is cancelled says so, and goes on.
        """
        client = self.client()
        self.addCleanup(client.questions.end)
        refusing: Any = RefusingWire(self.wire, "quebert.cancelled.v2:tasks")
        with logged(LogLevel.warn) as lines:
            for _ in range(2):
                self.result(client.questions.catch_up(refusing, "tasks", None))
        [line] = lines
        self.assertIn("which tasks are cancelled", line)
        self.assertIn("quebert.cancelled.v2:tasks", line)
        self.keep([Cancellation("a", self.network.seconds() + 1_700_000_000)])
        self.result(client.questions.catch_up(self.wire, "tasks", None))
        self.assertEqual([*client.questions.cancelled_in("tasks")], ["a"])


class IdentityTests(NetworkTestCase):
    """
    Tests for L{identity_of}.
    """

    def test_odd(self) -> None:
        """
        What is no task has no identity.
        """
        for body in (b"", b"[]", b"5", b"\xff", b'{"uuid": {}, "url": []}', b"{}"):
            self.assertEqual(identity_of(body), ("", ""))
        self.assertEqual(identity_of(b'{"uuid": 5, "url": "/x"}'), ("5", "/x"))
        self.assertEqual(HeldTask("a", WAITING, 1.0).attempted, False)
