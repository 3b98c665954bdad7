"""
Callback tasks: what a mediator and its watch publish when a task has ended.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

import attrs
from twisted.trial.unittest import SkipTest

from quebert.amqp.coordination import Cancellation
from quebert.amqp.watch import flight_sign
from quebert.amqp.watch._one_suspect import GATHERING
from quebert.amqp.watch._record import POISONOUS, SUSPECT
from quebert.amqp.wire import ALONE, ENDS, FLIGHT, IN_QUESTION
from quebert.errors import BrokerRefused, Forbidden, MessageRefused, PublishRefused
from quebert.mediator import Mediator, PolicyMediator
from quebert.policy import RetryPolicy
from quebert.task import _json, decode, format_time
from quebert.task_ends import ENDED
from quebert.test.mediating import URL, FakeHTTP, body_of
from quebert.test.notes import end_note_in
from quebert.test.test_watcher import Publication, WatcherTestCase

CALLBACK = "https://caller.example/ended?key=1"


class Refusing(FakeHTTP):
    """
    A client whose guard refuses all requests.
    """

    def request(self, *args: Any, **options: Any) -> Any:
        """
        Refuse one.
        """
        raise Forbidden("the guard refuses it")


@attrs.frozen(kw_only=True)
class End:
    """
    How a task ends.

    @ivar http: answers its request.
    @ivar task: its fields.
    @ivar told: what its callback tells, beside the times and what is the same for all.
    @ivar first: the queue to which something is published before.
    """

    http: FakeHTTP
    told: dict[str, Any]
    task: dict[str, Any] = attrs.field(factory=dict)
    first: str | None = None


_NAME = f"task u for {URL}"
_OLD = {"timestamp": format_time(1), "ttl": 1}
_DISCARD = {"Quebert-Outcome": "discard; reason=old"}
_NO_ATTEMPT = {"attempts": 0, "answers": 0, "status": None, "answer": None}

TABLE = {
    "json": End(
        http=FakeHTTP(200, b'{"size": 7}'),
        told={"outcome": "done", "status": 200, "answer": {"json": {"size": 7}}},
    ),
    "no answer": End(
        http=FakeHTTP(204), told={"outcome": "done", "status": 204, "answer": None}
    ),
    "filter": End(
        http=FakeHTTP(200),
        task={"filter": True},
        told={"outcome": "done", **_NO_ATTEMPT},
    ),
    "large task": End(
        http=FakeHTTP(200, "größer".encode()),
        task={"params": "x" * 100_000},
        told={"outcome": "done", "status": 200, "answer": {"text": "größer"}},
    ),
    "exhausted": End(
        http=FakeHTTP(500, b"sorry"),
        task={"retry": {"max_attempts": 1}},
        told={
            "outcome": "exhausted",
            "status": 500,
            "answer": {"text": "sorry"},
            "reason": f"{_NAME} is given up after 1"
            " attempt in 0 s: POST http://executor.example/run was answered 500",
        },
        first="queue.dead",
    ),
    "discarded": End(
        http=FakeHTTP(200, b"no", _DISCARD),
        told={"outcome": "discarded", "status": 200, "answer": {"text": "no"}},
    ),
    "expired": End(
        http=FakeHTTP(200),
        task=_OLD,
        told={"outcome": "expired", "reason": f"{_NAME} has expired", **_NO_ATTEMPT},
    ),
    "forbidden": End(
        http=Refusing(),
        told={"outcome": "forbidden", "status": None, "answer": None},
        first="queue.dead",
    ),
    "no task": End(
        http=FakeHTTP(200),
        task={"timeout": "soon"},
        told={"outcome": "poison", **_NO_ATTEMPT},
        first="queue.dead",
    ),
}


class CallbackTestCase(WatcherTestCase):
    """
    A watch with a mediator.
    """

    def watch(self, http: FakeHTTP, **options: Any) -> Mediator:
        """
        Begin with a mediator.
        """
        mediator = PolicyMediator(
            http=http,
            clock=self.clock,
            now=self.clock.seconds,
            policy=RetryPolicy(max_attempts=2),
            **options,
        )
        self.begin(callback=mediator.messageReceived)
        return mediator

    def add(self, **fields: Any) -> None:
        """
        Deliver a task.
        """
        body = body_of(**{"uuid": "u", "callback_url": CALLBACK, **fields})
        self.deliver(body, **{"message-id": "u"})
        self.advance(0)  # a large one is read in steps

    @property
    def last(self) -> Publication:
        """
        What was published last.
        """
        return self.client.publisher.publications[-1]

    @property
    def told(self) -> dict[str, Any]:
        """
        What the last callback task tells.
        """
        last = self.last
        self.assertEqual((last.exchange, last.routing_key), ("", "queue"))
        params: dict[str, Any] = decode(last.body)["params"]
        return params


class EndsTests(CallbackTestCase):
    """
    What leads to a callback.
    """

    def test_table(self) -> None:
        """
        Each end does: the callback task is published, and the message is acknowledged
        once RabbitMQ has confirmed it.
        """
        for name, end in TABLE.items():
            with self.subTest(name):
                self.watch(end.http)
                before = len(self.client.publisher.publications)
                self.add(**end.task)
                if end.first is not None:
                    self.assertEqual(self.last.routing_key, end.first)
                    self.confirm()
                told = self.told
                self.assertEqual({**told, **end.told}, told)
                self.assertEqual((told["uuid"], told["queue"]), ("u", "queue"))
                self.assertEqual(told["ended"], format_time(self.clock.seconds()))
                attempts = end.told.get("attempts", 1)
                self.assertEqual(told["attempts"], attempts)
                self.assertIs(told["first_attempt"] is None, not attempts)
                self.check_settled([], [])
                self.confirm()
                self.check_settled([1], [])
                published = len(self.client.publisher.publications) - before
                self.assertEqual(published, 1 + (end.first is not None))
                self.end()

    def test_task(self) -> None:
        """
        The callback is an ordinary task of the same queue and priority, which asks for
        no callback.
        """
        self.watch(FakeHTTP(200))
        body = body_of(uuid="u", callback_url=CALLBACK, ttl=5)
        self.deliver(body, **{"priority": 7, "message-id": "u", "expiration": "9"})
        task, now = decode(self.last.body), self.clock.seconds()
        self.assertEqual(task.keys(), {"url", "params", "uuid", "timestamp"})
        self.assertEqual((task["url"], task["timestamp"]), (CALLBACK, format_time(now)))
        self.assertEqual(
            self.last.properties,
            {
                "content-type": "application/json",
                "delivery-mode": 2,
                "priority": 7,
                "message-id": task["uuid"],
                "timestamp": int(now),
            },
        )
        self.confirm()
        self.deliver(self.last.body, **{"message-id": task["uuid"]})
        self.assertEqual(len(self.client.publisher.publications), 1)
        self.check_counts(received=2, done=2)

    def test_attempts(self) -> None:
        """
        A retry is no end; the callback counts all attempts.
        """
        http = FakeHTTP()
        self.watch(http)
        self.add()
        http.requests[0].answer(503, b"not yet")
        self.assertEqual(self.client.publisher.publications, [])
        self.advance(5)
        again = self.last
        self.assertEqual(decode(again.body)["callback_url"], CALLBACK)
        self.confirm()
        self.deliver(again.body, **again.properties)
        http.requests[1].answer(200)
        told = self.told
        self.assertEqual((told["outcome"], told["attempts"]), ("done", 2))
        self.assertEqual((told["status"], told["answers"]), (200, 2))
        self.assertLess(told["first_attempt"], told["last_attempt"])
        self.assertIsNone(told["answer"])  # that of the last attempt counts

    def test_cancelled(self) -> None:
        """
        A task that is cancelled while its request is made, or before, ends, too.
        """
        http = FakeHTTP()
        self.watch(http)
        self.add()
        gone: Any = self.client.questions.cancelled_in("queue")
        mark = gone["u"] = Cancellation("u", 0.0, "ada")
        http.requests[0].answer(503)
        self.assertEqual(self.told["outcome"], "cancelled")
        self.assertEqual((self.told["status"], self.told["attempts"]), (503, 1))
        self.add()
        self.assertEqual(self.told["reason"], mark.reason)
        self.assertEqual(self.told["attempts"], 0)

    def test_purged(self) -> None:
        """
        A task that is dropped since its queue was purged, or deleted, has no callback,
        which would be in that queue; its end is noted.
        """
        mediator = self.watch(FakeHTTP(200))
        mediator.drop_before = self.clock.seconds()
        self.add(timestamp=format_time(1))
        self.check_counts(received=1, discarded=1)
        body = body_of(uuid="u", callback_url=CALLBACK, timestamp=format_time(1))
        self.deliver(body, **{"message-id": "u", "reply-to": ENDED})
        self.assertEqual(self.last.routing_key, ENDED)
        mediator.drop_before = math.inf
        self.add()
        self.assertEqual(len(self.client.publisher.publications), 1)

    def test_end_note(self) -> None:
        """
        With an end note, the callback task is confirmed first.
        """
        self.watch(FakeHTTP(200))
        body = body_of(uuid="u", callback_url=CALLBACK)
        self.deliver(body, **{"message-id": "u", "reply-to": ENDED})
        self.assertEqual(self.told["outcome"], "done")
        self.confirm()
        self.check_settled([], [])
        self.assertEqual(self.last.routing_key, ENDED)
        self.assertEqual(end_note_in(self.last.body).outcome, "done")
        self.confirm()
        self.check_settled([1], [])

    def test_hooks(self) -> None:
        """
        Hooks change nothing.
        """
        results: list[Any] = []
        mediator = self.watch(FakeHTTP(200, b"[1]"))
        mediator.add_prehook(lambda task: task.update(seen=True))
        mediator.add_posthook(lambda task, result: results.append(result))
        self.add()
        self.assertEqual(self.told["answer"], {"json": [1]})
        self.assertEqual(results, [[1]])

    def test_without(self) -> None:
        """
        C{null} is no callback, and a task that is none has none.
        """
        self.watch(FakeHTTP(200))
        self.add(callback_url=None)
        self.deliver(b'["callback_url"]')
        self.assertEqual(
            [e.routing_key for e in self.client.publisher.publications], ["queue.dead"]
        )

    def test_bad(self) -> None:
        """
        A task with a callback that cannot be requested is set aside, without a request.
        """
        http = FakeHTTP(200)
        self.watch(http)
        for url in ("ftp://x/", "", 7, {"url": "/x"}, "http://[", "/" + "x" * 8_192):
            self.add(callback_url=url)
            self.assertEqual(self.last.routing_key, "queue.dead")
            self.assertIn("callback_url", self.last.headers["quebert-reason"])
            self.confirm()
        self.assertEqual(http.requests, [])
        self.check_counts(received=6, buried=6)

    def test_no_default_url(self) -> None:
        """
        So is one whose callback is partial, where nothing completes it.
        """
        self.watch(FakeHTTP(200), defaulturl=None)
        self.add(callback_url="/ended")
        self.assertIn("callback_url", self.last.headers["quebert-reason"])


class AnswerTests(CallbackTestCase):
    """
    What is told of an answer.
    """

    def test_not_kept(self) -> None:
        """
        Where dead letters keep no answers, callbacks tell none: whoever adds a task may
        not reach what its mediator may.
        """
        for code in (200, 500):
            self.watch(FakeHTTP(code, b"internal"), keep_answers=False)
            self.add(retry={"max_attempts": 1})
            if code == 500:
                self.confirm()
            self.assertIsNone(self.told["answer"])
            self.end()

    def test_secrets(self) -> None:
        """
        The answer to a failed attempt is told as a dead letter tells it.
        """
        self.watch(FakeHTTP(500, b"you sent t0p-secret and key=12345" + b"x" * 3_000))
        headers = {"Authorization": "t0p-secret"}
        url = "https://caller.example/?key=12345"
        self.add(retry={"max_attempts": 1}, headers=headers, callback_url=url)
        self.confirm()
        answer = self.told["answer"]
        self.assertIs(answer["truncated"], True)
        self.assertLessEqual(len(answer["text"]), 2_048)
        self.assertNotIn("t0p-secret", answer["text"])
        self.assertNotIn("12345", answer["text"])

    def test_quickly(self) -> None:
        """
        The mediator encodes it as quickly as other tasks.
        """
        if find_spec("orjson") is None:
            raise SkipTest("there is no orjson")
        self.patch(_json, "_to_text", None)
        self.watch(FakeHTTP(200, b"[1]"))
        self.add()
        self.assertEqual(self.told["answer"], {"json": [1]})
        self.assertIsNone(self.told["reason"])

    def test_max_body(self) -> None:
        """
        An answer is left out with which the mediator would refuse its own callback.
        """
        self.watch(FakeHTTP(200, b"x" * 5_000), max_body=2_000)
        self.add()
        self.assertEqual(self.told["answer"], {"truncated": True})


class RefusedTests(CallbackTestCase):
    """
    A broker that does not take a callback task.
    """

    def test_again(self) -> None:
        """
        It is published again until RabbitMQ takes it; the message has no place
        meanwhile, and what waits is counted.
        """
        self.watch(FakeHTTP(200, b"x" * 50_000))
        self.add()
        first = self.last
        for _ in range(3):
            self.confirm(PublishRefused("full"))
            self.advance(5)
        self.assertIsNot(self.last, first)
        self.assertEqual(self.last.body, first.body)
        self.assertEqual(self.watcher.held, 1)
        ledger = self.watcher._deliveries.ledger
        self.assertGreater(ledger.bytes, 50_000)
        self.confirm()
        self.check_settled([1], [])
        self.assertEqual(ledger.bytes, 0)

    def test_too_large(self) -> None:
        """
        One that is too large for the broker is published without the answer.
        """
        self.watch(FakeHTTP(200, b"x" * 60_000))
        self.add()
        self.assertEqual(len(self.told["answer"]["text"]), 60_000)
        self.confirm(MessageRefused(406, "too large"))
        self.assertEqual(self.told["answer"], {"truncated": True})
        self.confirm()
        self.check_settled([1], [])

    def test_lost(self) -> None:
        """
        Where the channel is lost, RabbitMQ delivers the task again.
        """
        self.watch(FakeHTTP(200))
        self.add()
        self.channel.lose()
        self.check_counts(received=1, returned=1)

    def test_stopped(self) -> None:
        """
        So it does where the watch is stopped meanwhile.
        """
        self.watch(FakeHTTP(200))
        self.add()
        stopped = self.watcher.stop()
        self.confirm(BrokerRefused(403, "no"))
        self.successResultOf(stopped)
        self.check_settled([], [1])


class PoisonTests(CallbackTestCase):
    """
    A task that ends its mediators.
    """

    def deliver_poison(self, flight: str, callback: object) -> None:
        """
        Deliver a task that has ended its mediators often.
        """
        self.client.signs.add(flight_sign(flight))
        record = {ENDS: SUSPECT + 2, ALONE: POISONOUS - 1, FLIGHT: flight}
        body = body_of(uuid="u", callback_url=callback)
        self.channel.deliver(body, {**record, IN_QUESTION: 1})
        self.clock.advance(GATHERING)

    def test_poison(self) -> None:
        """
        It is set aside without being attempted, and has its callback.
        """
        self.watch(FakeHTTP(200))
        for name, callback in (("a", CALLBACK), ("b", None), ("c", 7)):
            self.deliver_poison(name * 32, callback)
            self.assertEqual(self.last.routing_key, "queue.dead")
            self.confirm()
            if callback == CALLBACK:
                self.assertEqual(self.told["outcome"], "poison")
                self.assertIn("its mediator ended 6 times", self.told["reason"])
                self.check_settled([], [])
                self.confirm()
        self.check_counts(received=3, buried=3)

    def test_no_mediator(self) -> None:
        """
        What the callback of a watch says of its messages only a mediator knows.
        """
        self.begin()
        self.deliver_poison("a" * 32, CALLBACK)
        self.confirm()
        self.check_counts(received=1, buried=1)
