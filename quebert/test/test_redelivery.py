"""
Tests of messages that are delivered anew, and of those that may be why.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from quebert._consumer_timeout import LONGEST_WAIT
from quebert.amqp.watch import DeliveredMessage
from quebert.amqp.watch._one_suspect import GATHERING, LONGEST_GATHERING
from quebert.amqp.watch._record import POISONOUS, SUSPECT
from quebert.amqp.watch._suspects import PATIENCE, PERIOD, in_order_sign
from quebert.amqp.wire import (
    ALONE,
    DELAY,
    ENDS,
    FLIGHT,
    IN_QUESTION,
    NOT_BEFORE,
    copied_properties,
)
from quebert.errors import BrokerRefused, ChannelLost, PublishRefused
from quebert.outcome import POISON, Retry
from quebert.test.test_watcher import START, FakeChannel, FakeWire, WatcherTestCase

A, B = "a" * 32, "b" * 32


def sign(flight: str) -> str:
    """
    The queue that a mediator leaves behind.
    """
    return f"quebert.flight.{flight}"


class RedeliveryTestCase(WatcherTestCase):
    """
    A watcher that consumes.
    """

    queue_type: str | None = None

    def setUp(self) -> None:
        super().setUp()
        self.old = self.begin(exchange="", queue_type=self.queue_type)

    def anew(self, ends: int = 0, alone: int = 0, flight: str = A) -> DeliveredMessage:
        """
        Deliver a message that was delivered before.
        """
        headers = {ENDS: ends, ALONE: alone, FLIGHT: flight} if ends else None
        return self.deliver(headers=headers, redelivered=True)

    def copy(
        self, ends: int = 1, flight: str = A, body: bytes = b"copy"
    ) -> DeliveredMessage:
        """
        Deliver a copy, for the first time; no other suspect comes for a while.
        """
        message = self.deliver(body, headers={ENDS: ends, FLIGHT: flight})
        self.clock.advance(GATHERING)
        return message

    @property
    def in_order_signs(self) -> set[str]:
        """
        The queues that tell that messages are given back in good order now.
        """
        now = self.clock.seconds()
        return {in_order_sign("queue", when) for when in (now, now + PERIOD)}

    def give_back_in_order(self) -> None:
        """
        Another mediator has given messages back.
        """
        self.client.signs |= self.in_order_signs

    @property
    def published(self) -> list[dict[str, Any]]:
        """
        The headers of what was published.
        """
        return [each.headers for each in self.client.publisher.publications]


class ReplaceTests(RedeliveryTestCase):
    """
    A message that is delivered anew.
    """

    queue_type = "quorum"

    def test_copy(self) -> None:
        """
        A copy takes its place before its task is attempted.
        """
        message = self.deliver(
            b"body",
            {"x-delivery-count": 3, "x-acquired-count": 8, "kept": "yes"},
            redelivered=True,
            **{"user-id": "guest", "message-id": "1", "priority": 5},
        )
        self.assertEqual(self.called, [])
        self.assertEqual(self.channel.acked, [])
        (copy,) = self.client.publisher.publications
        self.assertEqual((copy.exchange, copy.routing_key), ("", "queue"))
        self.assertEqual(copy.body, b"body")
        flight = copy.headers.pop(FLIGHT)
        self.assertRegex(flight, "^[0-9a-f]{32}$")
        self.assertEqual(
            copy.properties,
            {
                "headers": {
                    "kept": "yes",
                    "quebert-exchange": "flow",
                    "quebert-routing-key": "tasks.low",
                    ENDS: 3,
                },
                "delivery-mode": 2,
                "message-id": "1",
                "priority": 5,
            },
        )
        self.confirm()
        self.assertEqual(self.channel.acked, [message.delivery_tag])
        self.assertEqual(self.called, [])
        self.check_counts(received=1, returned=1)

    def test_few(self) -> None:
        """
        As long as a quorum queue has counted few deliveries, the message keeps its
        place at the head of the queue.
        """
        for count in (1, 2):
            headers = {"x-delivery-count": count}
            message = self.deliver(headers=headers, redelivered=True)
            self.assertEqual(self.called[-1], message)
        self.assertEqual(self.published, [])

    def test_in_order(self) -> None:
        """
        So it does where a mediator has just given it back in good order.
        """
        self.give_back_in_order()
        self.client.held.add("channel_open")
        first, second = (self.old.deliver(redelivered=True) for _ in range(2))
        self.client.held.clear()
        brief = self.client.channels[-1]
        self.assertEqual(self.called, [])
        brief.answer()
        self.assertEqual(self.called, [first, second])
        self.assertEqual(self.published, [])

    def test_many_in_order(self) -> None:
        """
        Where a quorum queue has counted many deliveries, and the last was given back in
        good order, none of them counts as an end.
        """
        self.give_back_in_order()
        self.deliver(headers={"x-delivery-count": SUSPECT}, redelivered=True)
        (headers,) = self.published
        self.assertEqual(headers[ENDS], 0)
        self.confirm()
        self.assertEqual(self.called, [])
        copy = self.deliver(b"copy", headers)
        self.assertEqual(self.called, [copy])
        self.assertTrue(copy.redelivered)
        self.assertEqual(copy.routing_key, "tasks.low")
        # Another copy would have taken its place in good order.
        self.old.deliver(b"copy", headers, redelivered=True)
        self.assertEqual(self.called, [copy])
        self.assertEqual(self.published[-1][ENDS], 1)

    def test_counted_by_rabbitmq(self) -> None:
        """
        A message that others have had so often that it is a suspect at once gets a
        name, by which the ends that are to come are counted.  RabbitMQ may soon drop
        it.  So a copy replaces it at once, and waits when it comes.
        """
        self.deliver(headers={"x-delivery-count": SUSPECT + 1}, redelivered=True)
        (headers,) = self.published
        self.assertEqual((headers[ENDS], headers[IN_QUESTION]), (SUSPECT, 2))
        self.assertRegex(headers[FLIGHT], "^[0-9a-f]{32}$")
        self.assertEqual(self.client.publisher.publications[-1].exchange, "")
        self.confirm()
        self.deliver(headers=headers)
        waiting = self.client.publisher.publications[-1]
        self.assertEqual(waiting.delay, PATIENCE)
        told = {ENDS: SUSPECT, IN_QUESTION: 1, FLIGHT: headers[FLIGHT]}
        self.assertEqual(told.items() - waiting.headers.items(), set())
        self.assertEqual(self.called, [])

    def test_no_longer_in_order(self) -> None:
        """
        What ends in good order is told of for two minutes at most, however often
        somebody looks, which has the broker keep the sign.
        """
        self.give_back_in_order()
        self.anew()
        self.clock.advance(PERIOD)
        self.anew()
        self.assertEqual(len(self.called), 2)
        self.clock.advance(PERIOD)
        self.anew()
        self.assertEqual(len(self.called), 2)
        self.assertEqual([each[ENDS] for each in self.published], [1])

    def test_not_in_order(self) -> None:
        """
        Otherwise a copy is made, which counts one end.
        """
        self.anew()
        (headers,) = self.published
        self.assertEqual(headers[ENDS], 1)

    def test_attempted(self) -> None:
        """
        The copy is attempted as the message would have been.
        """
        message = self.channel.deliver(
            headers={
                ENDS: 1,
                FLIGHT: A,
                "quebert-exchange": "other",
                "quebert-routing-key": "of.it",
            }
        )
        self.assertEqual(self.called, [message])
        self.assertTrue(message.redelivered)
        self.assertEqual((message.exchange, message.routing_key), ("other", "of.it"))
        self.finish(message, Retry())
        (headers,) = self.published
        self.assertEqual(headers, {})

    def test_not_begun(self) -> None:
        """
        What is known of the ends stays where the task was put off, not attempted.
        """
        message = self.copy(ends=2)
        self.finish(message, Retry(attempted=False))
        (headers,) = self.published
        self.assertEqual((headers[ENDS], headers[FLIGHT]), (2, A))

    def test_not_acknowledged(self) -> None:
        """
        A copy waits until the broker has the acknowledgement of what it replaces: a
        task that ended its mediator before would be there twice.
        """
        original = self.anew()
        (headers,) = self.published
        copy = self.copy(flight=headers[FLIGHT])
        self.assertEqual(self.called, [])
        self.client.held.add("channel_flow")
        self.confirm()
        self.assertEqual(self.old.acked, [original.delivery_tag])
        self.assertEqual(self.called, [])
        self.old.answer()
        self.assertEqual(self.called, [copy])
        self.finish(copy)
        self.check_counts(received=2, returned=1, done=1)

    def test_several_without_flight(self) -> None:
        """
        Copies that have no name of their own do not disturb each other.
        """
        headers = {ENDS: SUSPECT}
        for _ in range(2):
            self.deliver(headers=headers, redelivered=True)
        self.confirm()
        self.confirm()
        self.check_counts(received=2, returned=2)

    def test_lost_before_acknowledged(self) -> None:
        """
        On a channel that is lost meanwhile none begins.
        """
        self.anew()
        (headers,) = self.published
        self.copy(flight=headers[FLIGHT])
        self.client.held.add("channel_flow")
        self.confirm()
        self.old.lose(ChannelLost("gone"))
        self.client.held.clear()
        self.advance(10)
        self.assertEqual(self.called, [])
        self.check_counts(received=2, returned=2)

    def test_any_routing_key(self) -> None:
        """
        A copy remembers a routing key that is no UTF-8.
        """
        key = b"k\xff".decode("utf-8", "surrogateescape")
        original = DeliveredMessage("", 1, True, "flow", key)
        copied = copied_properties(original, {ENDS: 1})
        assert copied is not None
        copy = self.channel.deliver(raw=copied, exchange="")
        self.assertEqual((copy.exchange, copy.routing_key), ("flow", key))

    def test_route_of_copy(self) -> None:
        """
        A copy of a copy that has waited in the broker remembers where the message came
        from, not where it has waited.
        """
        headers = {ENDS: 3, "quebert-exchange": "first", "quebert-routing-key": "of.it"}
        self.deliver(headers=headers, redelivered=True)
        (copied,) = self.published
        self.assertEqual(copied["quebert-exchange"], "first")
        self.assertEqual(copied["quebert-routing-key"], "of.it")

    def test_no_room(self) -> None:
        """
        Where there is no room for headers of ours, a copy has none: RabbitMQ would drop
        the message at last.
        """
        payload = self.old.client.max_payload
        large = {"x-delivery-count": 19, "x": "x" * (payload - 100)}
        message = self.old.deliver(headers=large, redelivered=True)
        (headers,) = self.published
        self.assertEqual(headers, {"x": large["x"]})
        self.confirm()
        self.assertEqual(self.old.acked, [message.delivery_tag])

    def test_counted(self) -> None:
        """
        Each end is counted.
        """
        self.anew(ends=1)
        (headers,) = self.published
        self.assertEqual(headers[ENDS], 2)
        self.assertNotEqual(headers[FLIGHT], A)

    def test_lost_connection(self) -> None:
        """
        Where this mediator has lost its connection, and has the message again, none
        had ended.
        """
        self.copy(ends=2)
        self.channel.lose(ChannelLost("gone"))
        self.advance(10)
        self.anew(ends=2)
        (headers,) = self.published
        self.assertEqual(headers[ENDS], 2)
        self.anew(ends=2)
        self.assertEqual(self.published[-1][ENDS], 3)

    def test_refused(self) -> None:
        """
        Where the broker refuses the copy, the message is attempted as it is.
        """
        message = self.anew()
        self.confirm(PublishRefused("full"))
        self.assertEqual(self.called, [message])
        self.finish(message)
        self.check_counts(received=1, done=1)

    def test_failed(self) -> None:
        """
        Where a fault of ours keeps it from being looked at, it is attempted as it is:
        what went back would come again at once.
        """

        def fail(*_: Any) -> bool:
            raise ZeroDivisionError

        self.patch(self.client.suspects, "had", fail)
        message = self.deliver(headers={ENDS: 1}, redelivered=True)
        self.assertEqual(self.called, [message])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_unreadable(self) -> None:
        """
        So is one whose properties cannot be read.
        """
        message = self.channel.deliver(raw=b"\xff\xff", redelivered=True)
        self.assertEqual(self.called, [message])
        copying = self.watcher._deliveries._settlement.copy(message, {ENDS: 1}, 0.0)
        self.assertFalse(self.successResultOf(Deferred.fromCoroutine(copying)))

    def test_lost_meanwhile(self) -> None:
        """
        Nothing is settled on a channel that is gone.
        """
        self.anew()
        self.channel.lose(ChannelLost("gone"))
        self.advance(10)
        self.check_counts(received=1, returned=1)
        self.assertEqual(self.called, [])

    def test_stopped_meanwhile(self) -> None:
        """
        A stop waits for the confirm.
        """
        message = self.anew()
        stopped = self.watcher.stop()
        self.assertNoResult(stopped)
        self.confirm()
        self.successResultOf(stopped)
        self.assertEqual(self.old.acked, [message.delivery_tag])


class ClassicTests(RedeliveryTestCase):
    """
    The same in a queue that counts no deliveries.
    """

    def test_forged(self) -> None:
        """
        The header of a count was written by whoever has published the message.
        """
        for count in (1, 2, 50):
            headers = {"x-delivery-count": count}
            self.old.deliver(headers=headers, redelivered=True)
            self.assertEqual(self.published[-1][ENDS], 1)
        self.assertEqual(self.called, [])

    def test_in_order_once(self) -> None:
        """
        That messages were given back in good order is told to one mediator, before it
        attempts any of them: if one of them ends it, that counts.
        """
        self.give_back_in_order()
        self.client.held.add("queue_delete")
        message = self.anew()
        self.assertEqual(self.called, [])
        self.client.held.clear()
        self.client.channels[-1].answer()
        self.assertEqual(self.called, [message])
        self.assertEqual(self.client.signs, set())
        second = self.anew()
        self.assertEqual(self.called, [message, second])
        self.clock.advance(2 * PERIOD)
        self.anew()
        self.assertEqual([each[ENDS] for each in self.published], [1])

    def test_in_order_and_the_clock_set_back(self) -> None:
        """
        What was told of one minute is not believed for an hour where the clock of the
        machine is set back by an hour meanwhile.
        """
        self.give_back_in_order()
        first = self.anew()
        self.assertEqual(self.called, [first])
        self.clock.rightNow -= 3_600
        self.anew()
        self.assertEqual([each[ENDS] for each in self.published], [1])


class LimitedTests(RedeliveryTestCase):
    """
    The same in a quorum queue to which somebody else has given a small delivery limit.
    """

    queue_type = "quorum"

    def begin(self, **options: Any) -> FakeChannel:
        """
        RabbitMQ refuses to declare the queue otherwise.
        """
        self.client.refused["queue_declare"] = BrokerRefused(
            406,
            "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue"
            " 'queue' in vhost '/': received the value '-1' of type 'signedint' but"
            " current is the value '2' of type 'signedint'",
        )
        channel = super().begin(**options)
        self.client.refused.clear()
        return channel

    def test_few(self) -> None:
        """
        A copy takes the place of a message before RabbitMQ would drop it.
        """
        once = self.deliver(headers={"x-delivery-count": 1}, redelivered=True)
        self.deliver(headers={"x-delivery-count": 2}, redelivered=True)
        self.assertEqual(self.called, [once])
        self.assertEqual([each[ENDS] for each in self.published], [2])


class UnnamedTestCase(RedeliveryTestCase):
    """
    The same on RabbitMQ 4 where the watch does not name the type of the queue.  Whoever
    publishes to a classic queue may write a count; a quorum queue writes its own.
    """

    refusals: dict[str, str] = {}

    def begin(self, **options: Any) -> FakeChannel:
        """
        RabbitMQ refuses to declare the queue with some arguments.
        """
        answer_to, refusals = FakeChannel._answer_to, self.refusals

        async def refuse(channel: FakeChannel, method: str, how: Any) -> None:
            given = how.get("arguments") or {}
            wrong = [each for each in refusals if each in given]
            if how.get("queue") == "queue" and wrong:
                channel.lose(BrokerRefused(406, refusals[wrong[0]]))
                raise channel.why
            await answer_to(channel, method, how)

        self.patch(FakeChannel, "_answer_to", refuse)
        told = {"product": "RabbitMQ", "platform": "Erlang/OTP", "version": "4.0.5"}
        client: Any = self.client
        self.client.wire = FakeWire(client, server_properties=told)
        return super().begin(**options)

    @property
    def channel(self) -> FakeChannel:
        """
        The one that consumes.
        """
        channels = self.client.channels
        return [each for each in channels if "basic_consume" in each.methods()][-1]


class UnnamedQuorumTests(UnnamedTestCase):
    """
    A quorum queue, the default of the virtual host, that somebody else has declared.
    """

    refusals = {
        "x-queue-type": "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for"
        " queue 'queue' in vhost '/': received 'classic' but current is 'quorum'",
        "x-delivery-limit": "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit'"
        " for queue 'queue' in vhost '/': received the value '-1' of type 'signedint'"
        " but current is none",
    }

    def test_given_back_often(self) -> None:
        """
        A copy takes the place of a message that was given back in good order so often
        that RabbitMQ would soon drop it.
        """
        self.give_back_in_order()
        self.deliver(headers={"x-delivery-count": 19}, redelivered=True)
        self.assertEqual(self.called, [])
        self.assertEqual([each[ENDS] for each in self.published], [0])


class UnnamedClassicTests(UnnamedTestCase):
    """
    A classic queue, the default of the virtual host, that was there before: RabbitMQ
    accepts any delivery limit then.
    """

    def test_forged(self) -> None:
        """
        No count is believed, as in other classic queues.
        """
        self.deliver(headers={"x-delivery-count": 1}, redelivered=True)
        self.assertEqual(self.called, [])
        self.assertEqual([each[ENDS] for each in self.published], [1])

    def test_in_order_once(self) -> None:
        """
        That messages were given back in good order is told to one mediator.
        """
        self.give_back_in_order()
        self.anew()
        self.assertEqual(self.client.signs, set())


class AloneTests(RedeliveryTestCase):
    """
    A suspect.
    """

    def test_alone(self) -> None:
        """
        A suspect begins when the others have ended, and then no other does until it
        has.
        """
        first = self.deliver(b"first")
        suspect = self.copy(ends=SUSPECT)
        third = self.deliver(b"third")
        self.assertEqual(self.called, [first])
        self.assertEqual(self.client.signs, set())
        self.finish(first)
        self.assertEqual(self.called, [first, suspect])
        self.assertEqual(self.client.signs, {sign(A)})
        self.assertTrue(suspect.redelivered)
        self.finish(suspect)
        self.assertEqual(self.client.signs, set())
        self.assertEqual(self.called, [first, suspect, third])
        self.finish(third)
        self.assertFalse(self.client.one_suspect.wanted)

    def test_many_at_once(self) -> None:
        """
        However many suspects come whose attempts end at once, they are attempted.
        Anybody can publish suspects that have no name of their own.
        """
        self.at_once[b"quick"] = None
        for _ in range(90):
            self.deliver(b"quick", headers={ENDS: SUSPECT})
        self.clock.advance(GATHERING)
        self.assertEqual(len(self.called), 90)
        self.assertFalse(self.client.one_suspect.wanted)

    def test_lost_while_beginning(self) -> None:
        """
        Where the connection is lost before RabbitMQ has answered that there is a sign,
        the mediator removes that sign, too.
        """
        self.client.held.add("queue_declare")
        self.deliver(headers={ENDS: SUSPECT, FLIGHT: A})
        self.clock.advance(GATHERING)
        self.client.held.clear()
        self.client.signs.add(sign(A))  # RabbitMQ has declared it
        brief = self.client.channels[-1]
        self.old.lose_connection()
        brief.lose(ChannelLost("gone"))
        self.advance(10)
        self.assertEqual(self.client.signs, set())
        self.assertEqual(self.called, [])

    def test_one_after_the_other(self) -> None:
        """
        Others that wait go on between two suspects.
        """
        one, two = self.copy(SUSPECT, A, b"1"), self.copy(SUSPECT, B, b"2")
        third = self.deliver(b"third")
        self.assertEqual(self.called, [one])
        self.finish(one)
        self.assertEqual(self.called, [one, third])
        self.finish(third)
        self.assertEqual(self.called, [one, third, two])
        self.finish(two, Retry())
        self.assertEqual(self.client.signs, set())
        self.assertFalse(self.client.one_suspect.wanted)
        (headers,) = self.published
        self.assertEqual(headers, {})

    def test_fewest_ends_first(self) -> None:
        """
        Of those that come together, the one begins first that was alone at the fewest
        ends.
        """
        headers = {ENDS: SUSPECT, FLIGHT: A}
        often, never, once = (
            self.deliver(b"%d" % alone, headers={**headers, ALONE: alone})
            for alone in (2, 0, 1)
        )
        self.assertEqual(self.called, [])
        self.clock.advance(GATHERING)
        for expected in ([never], [never, once], [never, once, often]):
            self.assertEqual(self.called, expected)
            self.finish(expected[-1])

    def test_coming_one_by_one(self) -> None:
        """
        As long as suspects keep coming, none begins, up to a limit.
        """
        headers = {ENDS: SUSPECT, FLIGHT: A}
        self.deliver(b"often", headers={**headers, ALONE: 2})
        self.clock.advance(GATHERING - 0.1)
        never = self.deliver(b"never", headers={**headers, ALONE: 0})
        self.clock.advance(GATHERING - 0.1)
        self.assertEqual(self.called, [])
        self.clock.advance(0.1)
        self.assertEqual(self.called, [never])

    def test_coming_for_long(self) -> None:
        """
        Suspects that never cease to come keep none from its attempt.
        """
        headers = {ENDS: SUSPECT, FLIGHT: A}
        waited = 0.0
        while not self.called:
            self.deliver(headers=headers)
            self.clock.advance(GATHERING / 2)
            waited += GATHERING / 2
        self.assertEqual(waited, LONGEST_GATHERING)

    def test_begins_meanwhile(self) -> None:
        """
        A watch that begins while a suspect is attempted waits for its end.
        """
        self.at_once[b"other"] = None
        suspect, first = self.copy(SUSPECT), self.watcher
        second = self.make(exchange="")
        self.client.watchers = [first, second]
        self.successResultOf(Deferred.fromCoroutine(second.start()))
        other = self.client.channels.pop().deliver(b"other")
        self.assertEqual(self.called, [suspect])
        self.finish(suspect)
        self.assertEqual(self.called, [suspect, other])
        self.successResultOf(second.stop())

    def test_at_once(self) -> None:
        """
        Suspects that are answered at once hold nobody up.
        """
        self.at_once[b"copy"] = None
        for n in range(3):
            self.copy(SUSPECT, f"{n:032x}")
        self.assertEqual(len(self.called), 3)
        self.check_counts(received=3, done=3)
        self.assertFalse(self.client.one_suspect.wanted)

    def test_taken_back(self) -> None:
        """
        Suspects that wait when it ends go back, and are not attempted.
        """
        first = self.deliver()
        self.copy(SUSPECT)
        stopped = self.watcher.stop()
        (headers,) = self.published
        self.assertEqual(headers[ENDS], SUSPECT)
        self.confirm()
        self.finish(first)
        self.successResultOf(stopped)
        self.assertEqual(self.called, [first])
        self.assertFalse(self.client.one_suspect.wanted)

    def test_long_wait(self) -> None:
        """
        A suspect whose turn does not come goes back as a copy, before RabbitMQ closes
        the channel that holds it; others go on meanwhile.
        """
        first, suspect = self.deliver(), self.copy(SUSPECT)
        self.clock.advance(LONGEST_WAIT - 1)
        self.assertEqual(self.published, [])
        self.clock.advance(1)
        (headers,) = self.published
        self.assertEqual(headers[ENDS], SUSPECT)
        self.confirm()
        self.assertEqual(self.old.acked, [suspect.delivery_tag])
        other = self.deliver()
        self.assertEqual(self.called, [first, other])
        self.assertFalse(self.client.one_suspect.wanted)

    def test_lost_while_waiting(self) -> None:
        """
        One whose channel is lost holds nobody up.
        """
        first = self.deliver()
        self.copy(SUSPECT)
        self.channel.lose(ChannelLost("gone"))
        self.advance(10)
        self.finish(first)
        second = self.deliver()
        self.assertEqual(self.called, [first, second])

    def test_lost_while_running(self) -> None:
        """
        With the next connection the sign goes: the mediator lives.
        """
        suspect = self.copy(SUSPECT)
        self.assertEqual(self.client.signs, {sign(A)})
        self.channel.lose_connection()
        self.advance(10)
        self.assertEqual(self.client.signs, set())
        other, again = self.deliver(b"other"), self.copy(SUSPECT, B)
        self.assertEqual(self.called, [suspect, other])
        self.finish(other)
        self.assertEqual(self.called, [suspect, other, again])
        self.finish(suspect)
        self.assertEqual(self.client.signs, {sign(B)})
        self.finish(again)
        self.assertFalse(self.client.one_suspect.wanted)

    def test_lost_while_others_run(self) -> None:
        """
        A suspect of another watch waits no longer for a callback whose channel is lost.
        """
        first, running = self.watcher, self.deliver()
        self.client.watchers = [first, second] = [first, self.make(exchange="")]
        self.successResultOf(Deferred.fromCoroutine(second.start()))
        channel = self.client.channels[-1]
        suspect = channel.deliver(headers={ENDS: SUSPECT, FLIGHT: A})
        self.clock.advance(GATHERING)
        self.assertEqual(self.called, [running])
        self.old.lose(ChannelLost("gone"))
        self.assertEqual(self.called, [running, suspect])

    def test_lost_before_sign_is_gone(self) -> None:
        """
        Where the connection is lost before the sign is gone, it goes with the next.
        """
        suspect = self.copy(SUSPECT)
        self.client.held.add("queue_delete")
        self.finish(suspect)
        self.assertEqual(self.client.signs, {sign(A)})
        self.client.held.clear()
        self.client.channels[-1].lose(ChannelLost("gone"))
        self.old.lose_connection()
        self.advance(10)
        self.assertEqual(self.client.signs, set())

    def signing(self) -> FakeChannel:
        """
        Deliver a suspect; the channel on which the broker is asked for its sign.
        """
        self.client.held.add("queue_declare")
        self.copy(SUSPECT)
        self.client.held.clear()
        return self.client.channels[-1]

    def test_lost_while_signing(self) -> None:
        """
        One whose channel is lost before its sign is there leaves none.
        """
        brief = self.signing()
        self.old.lose(ChannelLost("gone"))
        brief.answer()
        self.advance(10)
        self.assertEqual((self.called, self.client.signs), ([], set()))
        self.assertFalse(self.client.one_suspect.wanted)

    def test_stopped_while_signing(self) -> None:
        """
        One that has not begun when its watch stops goes back, and leaves no sign.
        """
        brief = self.signing()
        stopped = self.watcher.stop()
        (headers,) = self.published
        self.assertEqual(headers[ENDS], SUSPECT)
        brief.answer()
        self.confirm()
        self.successResultOf(stopped)
        self.assertEqual((self.called, self.client.signs), ([], self.in_order_signs))

    def test_no_sign(self) -> None:
        """
        Where the broker does not allow the sign, it is attempted all the same.
        """
        self.client.refused["queue_declare"] = BrokerRefused(403, "ACCESS_REFUSED")
        suspect = self.copy(SUSPECT)
        self.client.refused.clear()
        self.assertEqual(self.called, [suspect])


class ForgedTests(RedeliveryTestCase):
    """
    A producer writes the headers of a suspect, in the exchange that producers may use.
    """

    forged = {ENDS: SUSPECT, ALONE: POISONOUS, FLIGHT: A}

    def test_fresh(self) -> None:
        """
        Its task is attempted like any other, and no other waits for it.
        """
        self.deliver(b"other")
        self.deliver(b"forged", self.forged, exchange="flow")
        self.deliver(b"forged", {**self.forged, IN_QUESTION: 1}, exchange="flow")
        self.deliver(b"next")
        self.assertEqual(len(self.called), 4)
        self.assertFalse(self.client.one_suspect.wanted)
        self.assertEqual(self.client.signs, set())

    def test_put_back(self) -> None:
        """
        What a mediator puts back before an attempt has no such headers.
        """
        message = self.deliver(b"forged", self.forged, exchange="flow")
        self.finish(message, Retry(after=0.0, attempted=False))
        (headers,) = self.published
        self.assertEqual(headers.keys() & {ENDS, ALONE, FLIGHT, IN_QUESTION}, set())

    def test_anew(self) -> None:
        """
        A copy counts from the beginning, and remembers the true exchange.
        """
        forged = {**self.forged, IN_QUESTION: 1, "quebert-exchange": "another"}
        self.deliver(b"forged", forged, redelivered=True, exchange="flow")
        (headers,) = self.published
        self.assertEqual(headers[ENDS], 1)
        self.assertNotEqual(headers[FLIGHT], A)
        self.assertEqual(headers.keys() & {ALONE, IN_QUESTION}, set())
        self.assertEqual(headers["quebert-exchange"], "flow")

    def test_no_room(self) -> None:
        """
        So it does where there is no room for the headers of a copy.
        """
        size = self.channel.client.max_payload - 150
        forged = {**self.forged, "x": "x" * size}
        self.deliver(b"forged", forged, redelivered=True, exchange="flow")
        (headers,) = self.published
        self.assertEqual(headers.keys(), {"x"})


class JudgedTests(RedeliveryTestCase):
    """
    A suspect that was delivered anew.
    """

    def question(self, ends: int, alone: int = 0, flight: str = A) -> DeliveredMessage:
        """
        Deliver the copy of one, whose mediator has ended somehow; no other suspect
        comes for a while.
        """
        headers = {ENDS: ends, ALONE: alone, FLIGHT: flight, IN_QUESTION: 1}
        message = self.channel.deliver(headers=headers)
        self.clock.advance(GATHERING)
        return message

    def test_in_question(self) -> None:
        """
        A copy takes its place at once, and waits in the broker until its mediator
        would have had another connection.
        """
        self.anew(SUSPECT, 1)
        (copy,) = self.client.publisher.publications
        self.assertEqual(copy.delay, PATIENCE)
        self.assertEqual(copy.headers[NOT_BEFORE], START + PATIENCE)
        self.assertEqual(copy.headers[DELAY], PATIENCE)
        told = {ENDS: SUSPECT, ALONE: 1, FLIGHT: A, IN_QUESTION: 1}
        self.assertEqual(told.items() - copy.headers.items(), set())
        self.confirm()
        self.check_counts(received=1, returned=1)

    def test_again(self) -> None:
        """
        So does the next, where a mediator ends that was to find out.
        """
        headers = {ENDS: SUSPECT, FLIGHT: A, IN_QUESTION: 1}
        self.deliver(headers=headers, redelivered=True)
        (copy,) = self.client.publisher.publications
        self.assertEqual(copy.delay, PATIENCE)
        self.assertEqual(headers.items() - copy.headers.items(), set())

    def test_not_acknowledged(self) -> None:
        """
        This copy, too, waits until the broker has the acknowledgement of what it
        replaces.
        """
        original = self.anew(SUSPECT)
        copy = self.question(SUSPECT)
        self.assertEqual(self.called, [])
        self.confirm()
        self.assertEqual(self.old.acked, [original.delivery_tag])
        self.clock.advance(GATHERING)
        self.assertEqual(self.called, [copy])

    def test_early(self) -> None:
        """
        One that comes before its time, as a policy shortens its wait, waits for the
        rest: its mediator may not have another connection yet.  The sign of that
        mediator stays, for whoever judges the copy.
        """
        self.client.signs.add(sign(A))
        due = {NOT_BEFORE: START + 5000, DELAY: 5000}
        question = {ENDS: SUSPECT, FLIGHT: A, IN_QUESTION: 1}
        self.deliver(headers={**question, **due})
        self.clock.advance(GATHERING)
        (copy,) = self.client.publisher.publications
        self.assertGreater(copy.delay, 4_000)
        self.assertEqual(question.items() - copy.headers.items(), set())
        self.assertEqual(self.called, [])
        self.confirm()
        self.assertEqual(self.client.signs, {sign(A)})
        self.check_counts(received=1, retried=1)

    def test_sudden(self) -> None:
        """
        Where its mediator has left its sign, it has ended suddenly.
        """
        self.client.signs.add(sign(A))
        self.question(SUSPECT)
        (headers,) = self.published
        self.assertNotIn(IN_QUESTION, headers)
        self.assertNotEqual(headers[FLIGHT], A)
        self.assertEqual((headers[ENDS], headers[ALONE]), (SUSPECT + 1, 1))
        # Another mediator has to know it as well, if this one ends.
        self.assertEqual(self.client.signs, {sign(A)})
        self.confirm()
        self.assertEqual(self.client.signs, set())

    def test_poison(self) -> None:
        """
        After so many times it is set aside.
        """
        self.client.signs.add(sign(A))
        message = self.question(SUSPECT + 2, POISONOUS - 1)
        (buried,) = self.client.publisher.publications
        self.assertEqual(buried.routing_key, "queue.dead")
        self.assertEqual(buried.headers["quebert-kind"], POISON)
        self.assertEqual(buried.headers[ENDS], SUSPECT + 3)
        reason = buried.headers["quebert-reason"]
        self.assertIn("its mediator ended 6 times", reason)
        self.confirm()
        self.assertEqual(self.channel.acked, [message.delivery_tag])
        self.check_counts(received=1, buried=1)
        self.assertEqual(self.called, [])

    def test_not_set_aside(self) -> None:
        """
        Where it could not be set aside, another mediator has to know as well.
        """
        self.client.signs.add(sign(A))
        message = self.question(SUSPECT + 2, POISONOUS - 1)
        stopped = self.watcher.stop()
        self.confirm(PublishRefused("full"))
        self.successResultOf(stopped)
        self.assertEqual(self.channel.given_back, [message.delivery_tag])
        self.assertIn(sign(A), self.client.signs)

    def test_channel_lost_meanwhile(self) -> None:
        """
        So it has where the channel is lost before.
        """
        self.client.signs.add(sign(A))
        message = self.question(SUSPECT, 1)
        self.old.lose()
        self.advance(10)
        self.assertEqual(self.client.signs, {sign(A)})
        self.channel.deliver(headers=message.headers, redelivered=True)
        headers = self.published[-1]
        self.assertEqual((headers[IN_QUESTION], headers[FLIGHT]), (1, A))

    def test_own_sign(self) -> None:
        """
        Where RabbitMQ delivers a suspect anew that this mediator attempts, its mediator
        has not ended.
        """
        suspect = self.copy(SUSPECT)
        self.question(SUSPECT, POISONOUS - 1)
        self.assertEqual(self.published, [])
        self.assertEqual(self.client.signs, {sign(A)})
        self.finish(suspect)

    def check_not_counted(self) -> None:
        """
        It is attempted.
        """
        message = self.question(SUSPECT + 2, POISONOUS - 1)
        self.assertEqual(self.called, [message])
        self.assertEqual(self.published, [])

    def test_not_begun(self) -> None:
        """
        Without a sign nobody had begun, or the mediator lives.
        """
        self.check_not_counted()

    def test_not_told(self) -> None:
        """
        What the broker does not tell is not counted.
        """
        self.client.signs.add(sign(A))
        self.client.refused["queue_declare"] = BrokerRefused(403, "ACCESS_REFUSED")
        self.check_not_counted()
        self.client.refused.clear()

    def test_forged(self) -> None:
        """
        Nor is what names no copy.
        """
        self.client.signs.add(sign("x"))
        message = self.question(SUSPECT + 2, POISONOUS - 1, flight="x")
        self.assertEqual(self.called, [message])

    def test_lost_meanwhile(self) -> None:
        """
        On a channel that is lost meanwhile nothing is settled, nor attempted.
        """
        self.client.held.add("channel_open")
        self.question(SUSPECT)
        self.client.held.clear()
        brief = self.client.channels[-1]
        self.old.lose(ChannelLost("gone"))
        brief.answer()
        self.advance(10)
        self.check_counts(received=1, returned=1)
        self.assertEqual(self.called, [])

    def test_nonsense(self) -> None:
        """
        Headers that nobody of us has written do no harm.
        """
        for ends, alone, flight in (
            ("many", None, 7),
            (-1, 1e300, b"\xff"),
            (True, [], {}),
            (2**62, 2**62, A),
        ):
            channel: FakeChannel = self.channel
            headers: dict[str, Any] = {ENDS: ends, ALONE: alone, FLIGHT: flight}
            channel.deliver(headers=headers, redelivered=True)
            self.confirm()
        self.check_counts(received=4, returned=4)
