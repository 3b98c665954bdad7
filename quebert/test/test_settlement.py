"""
L{quebert.amqp.watch._settlement} and L{quebert.amqp.watch._deliveries}: what becomes of
messages, seen from a whole watch.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from quebert._consumer_timeout import HOLD_LIMIT
from quebert._protocol.properties import encode_properties
from quebert.amqp.watch import Budget, DeliveredMessage
from quebert.amqp.wire import (
    ALONE,
    DELAY,
    ENDS,
    FLIGHT,
    IN_QUESTION,
    NOT_BEFORE,
)
from quebert.errors import (
    BrokerUnreachable,
    MessageRefused,
    PublishRefused,
    Unroutable,
)
from quebert.outcome import POISON, Bury, Discard, Retry
from quebert.test.support import logged
from quebert.test.test_watcher import Publication, WatcherTestCase

#: The queue that tells that a suspect is attempted alone.
SIGN = "quebert.flight." + "a" * 32


class SettlementTestCase(WatcherTestCase):
    """
    A watch that holds messages for a few seconds.
    """

    options = {"prefetch": 2, "hold_up_to": 5}

    def setUp(self) -> None:
        super().setUp()
        self.begin()

    @property
    def publications(self) -> list[Publication]:
        """
        What was published.
        """
        return self.client.publisher.publications

    def outcome(
        self, outcome: Any, body: bytes = b"task", **options: Any
    ) -> DeliveredMessage:
        """
        Deliver a message whose callback says at once what becomes of it.
        """
        self.at_once[body] = outcome
        return self.deliver(body, **options)


class PutBackTests(SettlementTestCase):
    """
    Messages that go back to their queue.
    """

    def test_held(self) -> None:
        """
        Those that wait here are counted as held, and have no place.
        """
        self.assertEqual(self.watcher.held, 0)
        for _ in range(2):
            self.outcome(Retry(after=3))
        self.assertEqual(self.watcher.held, 2)
        self.advance(3)
        self.confirm()
        self.assertEqual(self.watcher.held, 1)

    def test_hold_limit(self) -> None:
        """
        A message waits here for no longer than its delivery may be held; for the rest
        it waits in the broker.
        """
        self.watcher.stop(0)
        self.begin(hold_up_to=HOLD_LIMIT)
        message = self.deliver()
        self.advance(HOLD_LIMIT - 10)
        self.finish(message, Retry(after=60))
        self.advance(9)
        self.assertEqual(self.publications, [])
        self.advance(1)
        (publication,) = self.publications
        self.assertEqual(publication.delay, 50)
        self.assertAlmostEqual(publication.headers[DELAY], 50, 5)
        self.assertEqual(publication.headers[NOT_BEFORE], self.clock.seconds() + 50)

    def test_at_once(self) -> None:
        """
        A message that goes back at once keeps its place until RabbitMQ has it; one for
        which there is no connection does not.
        """
        for is_ready, held in ((True, 0), (False, 1)):
            self.client.publisher.ready = is_ready
            self.outcome(Retry())
            self.assertEqual(self.watcher.held, held)
            self.confirm()
            self.check_settled(self.channel.acked, [])

    def test_later_in_the_broker(self) -> None:
        """
        One that is to wait in the broker has no place, since that may take its time.
        """
        self.outcome(Retry(after=60))
        self.assertEqual(self.watcher.held, 1)

    def test_otherwise(self) -> None:
        """
        Where the broker refuses a message as it would go back, it goes back otherwise;
        without that it is set aside, and the broker's reason is told.
        """
        refusal = MessageRefused(311, "too large")
        self.outcome(Retry(body=b"large", otherwise=Retry(body=b"small")))
        self.confirm(refusal)
        self.assertEqual(self.publications[-1].body, b"small")
        self.confirm(refusal)
        buried = self.publications[-1]
        self.assertEqual((buried.routing_key, buried.body), ("queue.dead", b"task"))
        reason = buried.headers["quebert-reason"]
        self.assertIn("the broker refuses the task as it would go back", reason)
        self.assertIn("too large", reason)
        self.confirm()
        self.check_counts(received=1, buried=1)

    def test_very_long(self) -> None:
        """
        A wait without an end is one of many years.
        """
        self.outcome(Retry(after=float("inf")))
        self.assertEqual(self.publications[0].headers[DELAY], 1e9)


class HandOverTests(SettlementTestCase):
    """
    Messages that go to another queue.
    """

    def test_confirmed(self) -> None:
        """
        A message goes there at once, with the headers of a retry, and is acknowledged
        once RabbitMQ has confirmed it.
        """
        self.outcome(Retry(after=3, headers={"quebert-attempts": 1}, queue="other"))
        (handed,) = self.publications
        self.assertEqual((handed.exchange, handed.routing_key), ("", "other"))
        self.assertEqual(handed.body, b"task")
        self.assertEqual(handed.headers["quebert-attempts"], 1)
        self.assertNotIn(NOT_BEFORE, handed.headers)
        self.check_settled([], [])
        self.confirm()
        self.check_settled([1], [])
        self.check_counts(received=1, retried=1)

    def test_no_queue(self) -> None:
        """
        The queue is declared where it is missing.
        """
        self.outcome(Retry(queue="other"))
        self.confirm(Unroutable("no queue"))
        declared = [
            given["queue"]
            for channel in self.client.channels
            for method, given in channel.calls
            if method == "queue_declare"
        ]
        self.assertIn("other", declared)
        self.confirm()
        self.check_settled([1], [])

    def test_refused(self) -> None:
        """
        Where RabbitMQ refuses it, it is published again, and the message waits.
        """
        self.outcome(Retry(queue="other"))
        self.confirm(PublishRefused("full"))
        self.check_settled([], [])
        self.advance(5)
        self.assertEqual([p.routing_key for p in self.publications], 2 * ["other"])
        self.confirm()
        self.check_settled([1], [])

    def test_lost(self) -> None:
        """
        Nothing is acknowledged when the channel is lost before the confirm.
        """
        self.outcome(Retry(queue="other"))
        self.channel.lose()
        self.assertEqual(self.channel.acked, [])


class RemovedTests(SettlementTestCase):
    """
    Messages that leave the queue without being done.
    """

    def test_discarded(self) -> None:
        """
        One line tells which task, of which queue, and why; reasons are cut.
        """
        for reason, told in (("too old", "too old"), ("x" * 5_000, "x" * 1_000)):
            with logged() as lines:
                self.outcome(Discard(reason))
            self.assertEqual(
                lines,
                [f"Task (no uuid) of queue 'queue' is discarded, and is gone: {told}"],
            )

    def test_discarded_late(self) -> None:
        """
        Nothing is told of one that RabbitMQ delivers again.
        """
        message = self.deliver()
        self.channel.lose()
        with logged() as lines:
            self.finish(message, Discard("too old"))
        self.assertEqual(lines, [])

    def test_not_buried(self) -> None:
        """
        A message is not said to be buried where it is not ours any more, or is lost
        before RabbitMQ has confirmed it.
        """
        settlement, message = self.watcher._deliveries._settlement, self.deliver()
        burying = Deferred.fromCoroutine(settlement.bury(message, Bury("no task")))
        self.assertEqual(len(self.publications), 1)
        self.channel.lose()
        self.assertFalse(self.successResultOf(burying))
        burying = Deferred.fromCoroutine(settlement.bury(message, Bury("no task")))
        self.assertFalse(self.successResultOf(burying))
        self.assertEqual(len(self.publications), 1)

    def test_buried(self) -> None:
        """
        A dead letter is kept on disk, and its reason cut.
        """
        self.outcome(Bury("x" * 5_000, POISON, {"mine": 1}))
        (buried,) = self.publications
        self.assertEqual(buried.headers["quebert-reason"], "x" * 1_000)
        self.assertEqual(buried.headers["mine"], 1)

    def test_unreadable(self) -> None:
        """
        One whose properties cannot be read is buried with those that tell of it.
        """
        self.outcome(Bury("no task", POISON), raw=b"\xff\xff\xff")
        (buried,) = self.publications
        self.assertEqual(buried.properties["delivery-mode"], 2)
        self.assertEqual(buried.headers["quebert-kind"], POISON)


class CopyTests(SettlementTestCase):
    """
    Copies that take the places of messages that were not attempted.
    """

    options = {"exchange": ""}

    def test_waiting_copy(self) -> None:
        """
        A message whose copy is to wait in the broker needs no place meanwhile.
        """
        headers = {ENDS: 3, FLIGHT: "a" * 32}
        self.deliver(headers=headers, redelivered=True)
        self.assertEqual(self.watcher.held, 1)
        self.confirm()
        self.deliver(headers={**headers, ENDS: 1}, redelivered=True)
        self.assertEqual(self.watcher.held, 0)

    def judged(self, body: bytes = b"task") -> DeliveredMessage:
        """
        Deliver a suspect whose last mediator has left its sign.
        """
        self.client.signs.add(SIGN)
        headers = {ENDS: 3, FLIGHT: "a" * 32, IN_QUESTION: 1}
        return self.deliver(body, headers=headers)

    def test_end_is_counted(self) -> None:
        """
        The sign of a sudden end goes when the copy has taken the place.
        """
        self.judged()
        self.assertEqual(self.client.signs, {SIGN})
        self.confirm()
        self.assertEqual(self.client.signs, set())

    def test_end_is_not_counted(self) -> None:
        """
        It remains where the broker refuses the copy.
        """
        self.judged()
        self.confirm(PublishRefused("full"))
        self.assertEqual(self.client.signs, {SIGN})

    def test_lost_while_judging(self) -> None:
        """
        Nor is anything published for a message that RabbitMQ delivers again.
        """
        self.client.held.add("queue_declare")
        self.judged()
        brief = self.client.channels[-1]
        self.client.held.clear()
        self.channel.lose()
        brief.answer()
        self.assertEqual((self.publications, self.client.signs), ([], {SIGN}))

    def test_not_buried(self) -> None:
        """
        Where it is to be set aside, and the channel is lost before, the sign remains.
        """
        self.client.signs.add(SIGN)
        headers = {ENDS: 5, ALONE: 2, FLIGHT: "a" * 32, IN_QUESTION: 1}
        self.deliver(headers=headers)
        self.channel.lose()
        self.assertEqual(self.client.signs, {SIGN})

    def test_buried(self) -> None:
        """
        Where it was set aside, the sign goes.
        """
        self.client.signs.add(SIGN)
        headers = {ENDS: 5, ALONE: 2, FLIGHT: "a" * 32, IN_QUESTION: 1}
        self.deliver(headers=headers)
        self.confirm()
        self.assertEqual(self.client.signs, set())
        self.check_counts(received=1, buried=1)

    def test_refused(self) -> None:
        """
        Where the broker refuses the copy, the message itself is attempted.
        """
        refusals = (
            MessageRefused(311, "large"),
            PublishRefused("full"),
            Unroutable("no"),
        )
        for refusal in refusals:
            message = self.deliver(redelivered=True)
            self.confirm(refusal)
            self.assertIs(self.called[-1], message)
            self.finish(message)


class LightTests(WatcherTestCase):
    """
    Which messages are weighed.
    """

    def test_properties_count(self) -> None:
        """
        Large properties take memory, too.
        """
        self.client.budget = Budget(200_000)
        self.begin(prefetch=5)
        large = encode_properties({"headers": {"mine": "x" * 50_000}})
        first = self.deliver(b"1", raw=large)
        self.deliver(b"2", raw=large)
        self.assertEqual(self.called, [first])

    def test_asks_the_mediator(self) -> None:
        """
        A callback that is the method of an object which knows the memory of its tasks
        is asked; of another nobody knows better than by counting.
        """

        class Mediator:
            def __init__(self, callback: Any) -> None:
                self.message_received = callback
                self.asked: list[bytes] = []

            def memory_of(self, body: bytes) -> int:
                self.asked.append(body)
                return 1

            def received(self, message: DeliveredMessage) -> Any:
                return self.message_received(message)

        mediator = Mediator(self.callback)
        self.client.budget = Budget(200)
        self.begin(prefetch=5, callback=mediator.received)
        for _ in range(2):
            self.deliver(b"x" * 150)
        self.assertEqual(len(self.called), 2)
        self.assertEqual(mediator.asked, [b"x" * 150] * 2)


class EndTests(WatcherTestCase):
    """
    What is left of a watch.
    """

    def check_nothing_shared(self) -> None:
        """
        Nothing of the watch is known to its client.
        """
        self.assertEqual(self.client.budget.parts, set())
        self.assertEqual(self.client.publisher.shuts, 1)
        self.assertEqual(self.client.pauses.looks, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped(self) -> None:
        """
        A watch that was stopped publishes no more, and takes no memory.
        """
        self.begin()
        self.successResultOf(self.watcher.stop())
        self.check_nothing_shared()

    def test_not_begun(self) -> None:
        """
        The same for one that could not begin.
        """
        self.client.unreachable = BrokerUnreachable("no answer")
        starting = Deferred.fromCoroutine(self.watcher.start())
        self.failureResultOf(starting, BrokerUnreachable)
        self.check_nothing_shared()

    def test_short_grace(self) -> None:
        """
        Less than a second is time, too.
        """
        self.begin()
        message = self.deliver()
        stopped = self.watcher.stop(grace=0.5)
        self.advance(0.25)
        self.finish(message)
        self.successResultOf(stopped)
        self.check_counts(received=1, done=1)

    def test_turned_away_while_stopping(self) -> None:
        """
        Nor longer than for the last callback that may not make its request.
        """
        self.begin()
        message = self.deliver()
        stopped = self.watcher.stop(grace=300)
        message.turned_away = True
        self.finish(message, Retry(attempted=False))
        self.successResultOf(stopped)
        self.assertEqual(self.channel.given_back, [message.delivery_tag])
