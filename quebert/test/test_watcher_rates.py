"""
Watches with a rate, or in a group: what they fetch, and when it begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from quebert._consumer_timeout import LONGEST_WAIT
from quebert.amqp import PriorityGroup
from quebert.amqp.coordination import throttles_of
from quebert.amqp.link import Session
from quebert.amqp.watch import DeliveredMessage, Throttle, in_order_sign
from quebert.amqp.watch._record import SUSPECT
from quebert.amqp.wire import ENDS, FLIGHT, IN_QUESTION
from quebert.errors import ConfigError
from quebert.outcome import Retry
from quebert.test import test_watcher
from quebert.test.test_watcher import FakeChannel, WatcherTestCase


class RateTests(WatcherTestCase):
    """
    C{WatchOptions(rate=...)}, by itself.
    """

    def begin_with(self, rate: str, **options: Any) -> FakeChannel:
        """
        Start a watch with a rate.
        """
        return self.begin(rate=rate, share_rate=False, **options)

    def bodies(self) -> int:
        """
        How many have begun.
        """
        return len(self.called)

    def test_refused(self) -> None:
        """
        A rate or burst that makes no sense is refused.
        """
        for wrong in (
            {"rate": "5"},
            {"rate": 0},
            {"rate": 1, "burst": 0},
            {"burst": 5},
            {"group": PriorityGroup(), "weight": 0},
        ):
            self.assertRaises(ConfigError, self.make, **wrong)

    def test_none(self) -> None:
        """
        Without a rate there is none to tell of.
        """
        self.assertIsNone(self.watcher.pace)

    def test_no_faster(self) -> None:
        """
        Messages begin no faster than that; the others wait.
        """
        self.begin_with("10/s", burst=5)
        messages = [self.deliver() for _ in range(30)]
        self.assertEqual(self.bodies(), 5)
        for _ in range(21):
            self.advance(0.05)
        self.assertEqual(self.bodies(), 15)
        self.assertEqual(self.called, messages[:15])
        pace = self.watcher.pace
        assert pace is not None
        self.assertEqual((pace.rate, pace.share, pace.members), (10, 10, 1))
        self.assertGreater(pace.delayed, 0)

    def test_prefetch(self) -> None:
        """
        No more is fetched than begins in a minute.
        """
        channel = self.begin_with("30/m", prefetch=100)
        self.assertEqual(channel.argument("basic_qos", "prefetch_count"), [30])
        channel = self.begin_with("100/s", prefetch=100)
        self.assertEqual(channel.argument("basic_qos", "prefetch_count"), [100])

    def test_long_callbacks(self) -> None:
        """
        However little is fetched, as many messages are with the callback as may be:
        another consumer takes over when all of a prefetch have begun.
        """
        channel = self.begin_with("3/m", prefetch=10)
        for _ in range(20):
            while channel.room():
                self.deliver()
                self.assertLessEqual(len(self.watcher._deliveries._places._waiting), 3)
            self.advance(20)
        self.assertEqual(len(self.running), 10)
        self.assertEqual(len(channel.consumers), 1)

    def test_rest(self) -> None:
        """
        Where the next may begin only after minutes, nothing is fetched until then.
        """
        channel = self.begin_with("10/h")
        first = self.deliver()
        self.assertEqual(channel.consumers, {})
        self.assertFalse(self.watcher.consuming)
        self.finish(first)
        self.advance(359)
        self.assertEqual(channel.consumers, {})
        self.advance(2)
        self.assertTrue(self.watcher.consuming)
        self.assertEqual(list(channel.consumers.values()), [1])
        self.deliver()
        self.assertEqual(self.bodies(), 2)
        self.assertEqual(channel.consumers, {})

    def test_rest_and_lost(self) -> None:
        """
        A connection that is lost meanwhile does not make it any faster.
        """
        channel = self.begin_with("10/h")
        self.finish(self.deliver())
        channel.lose_connection()
        self.assertIsNot(self.channel, channel)
        self.assertEqual(self.channel.consumers, {})
        self.advance(361)
        self.assertEqual(len(self.channel.consumers), 1)
        self.assertTrue(self.watcher.consuming)

    def test_rest_and_stop(self) -> None:
        """
        It can be stopped meanwhile.
        """
        self.begin_with("10/h")
        self.finish(self.deliver())

    def test_crossing(self) -> None:
        """
        What the broker has sent meanwhile goes back at once.
        """
        channel = self.begin_with("10/h")
        old = next(iter(channel.consumers))
        self.deliver()
        channel.consumers[old] = 0  # it has not heard yet
        crossing = self.deliver()
        self.assertEqual(channel.given_back, [crossing.delivery_tag])
        del channel.consumers[old]
        self.assertEqual(self.bodies(), 1)

    def test_share_shrinks(self) -> None:
        """
        What was fetched goes back when others come and its turn is far off then.
        """
        channel = self.begin_with("6/m", prefetch=10)
        for _ in range(4):
            self.deliver()
        self.assertEqual(self.bodies(), 1)
        pace = self.pace
        pace.shared_by(100)
        self.deliver()
        self.assertEqual(len(channel.given_back), 4)
        self.assertEqual(channel.consumers, {})

    def test_share_grows(self) -> None:
        """
        Where it fetches nothing, since its turn is far off, it fetches sooner when
        others leave.
        """
        channel = self.begin_with("6/m", prefetch=10)
        self.finish(self.deliver())
        self.pace.shared_by(100)
        self.deliver()
        self.advance(5)
        self.assertEqual(channel.consumers, {})
        self.pace.shared_by(1)
        self.advance(21)
        self.assertEqual(len(channel.consumers), 1)

    def test_share_shrinks_again(self) -> None:
        """
        Of what went back before there is a copy, so that RabbitMQ does not count on:
        no mediator has ended with it.
        """
        channel = self.begin_with("6/m", prefetch=10, queue_type="quorum")
        self.deliver()
        counted = {"x-delivery-count": SUSPECT - 1}
        again = self.deliver(headers=counted, redelivered=True)
        pace = self.pace
        pace.shared_by(100)
        crossing = self.deliver()
        self.assertEqual(channel.given_back, [crossing.delivery_tag])
        (copy,) = self.client.publisher.publications
        self.assertEqual(copy.headers[ENDS], 0)
        self.confirm()
        self.assertEqual(channel.acked, [again.delivery_tag])

    def test_retries(self) -> None:
        """
        What waits for its retry counts when it comes again, not before.
        """
        self.begin_with("1/s")
        message = self.deliver()
        self.finish(message, Retry(after=0.5))
        self.advance(0.5)
        self.client.publisher.confirm()
        self.deliver()
        self.assertEqual(self.bodies(), 1)
        self.advance(0.5)
        self.assertEqual(self.bodies(), 2)


class Night(Throttle):
    """
    A throttle as somebody may add it: no message begins between 22:00 and 06:00.
    """

    limits_fetching = True

    def __init__(self, session: Session) -> None:
        self._session = session
        self._timers: list[IDelayedCall] = []

    def _left(self) -> float:
        """
        Seconds until the night is over; 0 by day.
        """
        hours = self._session.now() / 3600 % 24
        return (6 - hours) % 24 * 3600 if hours >= 22 or hours < 6 else 0.0

    def _call_at_dawn(self, call: Callable[[], None]) -> None:
        self._timers.append(self._session.reactor.callLater(self._left(), call))

    def may_begin(self, again: Callable[[], None]) -> bool:
        """
        See L{Throttle.may_begin}.
        """
        if by_night := self._left() > 0:
            self._call_at_dawn(again)
        return not by_night

    @property
    def is_far(self) -> bool:
        """
        See L{Throttle.is_far}.
        """
        return self._left() > 60

    def call_when_near(self, wake: Callable[[], None]) -> None:
        """
        See L{Throttle.call_when_near}.
        """
        self._call_at_dawn(wake)

    async def leave(self) -> None:
        """
        See L{Throttle.leave}.
        """
        for timer in self._timers:
            if timer.active():
                timer.cancel()


class NightTests(WatcherTestCase):
    """
    A throttle that goes by the time of day, which its session tells.
    """

    def begin_at(self, hour: float, **options: Any) -> None:
        """
        Start a watch with the throttle, and with those that its options ask for.
        """

        def night(session: Session, queue: str, options: Any) -> Iterator[Throttle]:
            yield Night(session)
            yield from throttles_of(session, queue, options)

        self.patch(test_watcher, "throttles_of", night)
        began = self.clock.seconds()
        self.begin(
            now=lambda: hour * 3600 + self.clock.seconds() - began,
            share_rate=False,
            **options,
        )

    def test_day(self) -> None:
        """
        By day, messages begin; at night, one that comes goes back, and nothing is
        consumed until the morning.
        """
        self.begin_at(21.9)
        self.finish(self.deliver())
        self.clock.advance(0.2 * 3600)
        message = self.deliver()
        self.assertEqual(self.channel.given_back, [message.delivery_tag])
        self.assertFalse(self.watcher.consuming)
        self.clock.advance(7.8 * 3600)
        self.assertFalse(self.watcher.consuming)
        self.clock.advance(0.2 * 3600)
        self.assertTrue(self.watcher.consuming)
        again = self.deliver()
        self.assertEqual(self.called[1:], [again])

    def test_night(self) -> None:
        """
        A watch that begins at night consumes nothing before the morning.
        """
        self.begin_at(3)
        self.clock.advance(2.9 * 3600)
        self.assertEqual((self.watcher.consuming, self.watcher.resting), (False, True))
        self.clock.advance(0.2 * 3600)
        self.assertEqual((self.watcher.consuming, self.watcher.resting), (True, False))

    def test_dawn(self) -> None:
        """
        What comes in the last minute of the night waits here.
        """
        self.begin_at(6 - 30 / 3600)
        message = self.deliver()
        self.assertEqual(self.called, [])
        self.clock.advance(31)
        self.assertEqual(self.called, [message])

    def deliver_examined(self, **options: Any) -> DeliveredMessage:
        """
        Deliver a message whose examination waits for RabbitMQ.
        """
        self.client.held.add("queue_declare")
        message = self.deliver(**options)
        self.client.held.clear()
        return message

    def end_examination(self) -> None:
        """
        RabbitMQ answers.
        """
        for each in self.client.channels:
            while each.pending:
                each.answer()
        self.check()

    def check_copied(self, message: DeliveredMessage) -> None:
        """
        A copy, with which no mediator has ended, takes the place of the message, which
        is held no more; nothing is consumed until the morning.
        """
        self.assertEqual(self.called, [])
        (copy,) = self.client.publisher.publications
        self.assertEqual(copy.headers[ENDS], 0)
        self.confirm()
        self.assertEqual(self.channel.acked[-1:], [message.delivery_tag])
        self.assertEqual(self.watcher.in_flight, 0)
        self.assertEqual(self.channel.consumers, {})
        self.clock.advance(8 * 3600)
        self.assertTrue(self.watcher.consuming)

    def test_examined_while_resting(self) -> None:
        """
        A message whose examination ends while the watch rests is not held.
        """
        self.begin_at(22 - 1 / 3600)
        self.client.signs.add(in_order_sign("queue", self.clock.seconds()))
        message = self.deliver_examined(redelivered=True)
        self.clock.advance(2)
        crossing = self.deliver()
        self.assertEqual(self.channel.given_back, [crossing.delivery_tag])
        self.assertEqual(self.watcher.in_flight, 1)
        self.end_examination()
        self.check_copied(message)

    def test_examined_at_nightfall(self) -> None:
        """
        Nor is one at whose examination it is found that the night has begun.
        """
        self.begin_at(22 - 1 / 3600)
        self.client.signs.add(in_order_sign("queue", self.clock.seconds()))
        message = self.deliver_examined(redelivered=True)
        self.clock.advance(2)
        self.assertTrue(self.watcher.consuming)
        self.end_examination()
        self.check_copied(message)

    def test_suspect_while_resting(self) -> None:
        """
        A suspect, which throttles do not hold back, waits no longer than by day for
        its turn.
        """
        self.begin_at(22 - 1 / 3600)
        running = self.deliver()
        headers = {ENDS: SUSPECT, FLIGHT: "a" * 32, IN_QUESTION: True}
        suspect = self.deliver_examined(headers=headers)
        self.clock.advance(2)
        self.deliver()
        self.assertFalse(self.watcher.consuming)
        self.end_examination()
        self.clock.advance(LONGEST_WAIT)
        self.assertEqual(self.called, [running])
        self.confirm()
        self.assertEqual(self.channel.acked, [suspect.delivery_tag])

    def test_waiting_at_nightfall(self) -> None:
        """
        What waits for its turn when the night begins is given back then, although
        nothing else happens.
        """
        self.begin_at(22 - 1 / 3600, rate="1/m", burst=1, prefetch=3)
        self.finish(self.deliver())
        waiting = self.deliver()
        self.clock.advance(59)
        self.assertEqual(self.channel.given_back, [])
        self.clock.advance(2)
        self.assertEqual(self.channel.given_back, [waiting.delivery_tag])
        self.assertFalse(self.watcher.consuming)
        self.assertEqual(self.watcher.in_flight, 0)

    def test_group_at_nightfall(self) -> None:
        """
        The same where a message waits for a place of its group.
        """
        group = PriorityGroup(1, ageing=600)
        other = group.join(1, lambda: self.clock)
        self.begin_at(22 - 1 / 3600, group=group)
        message = DeliveredMessage("", 1, False, "", "")
        other.entered()
        other.begun(message)
        waiting = self.deliver()
        self.clock.advance(2)
        self.assertEqual(self.channel.given_back, [])
        other.left(message)
        self.assertEqual(self.called, [])
        self.assertEqual(self.channel.given_back, [waiting.delivery_tag])
        self.assertFalse(self.watcher.consuming)


class GroupTests(WatcherTestCase):
    """
    C{WatchOptions(group=...)}.
    """

    def test_places(self) -> None:
        """
        Watches of one group share its places.
        """
        group = PriorityGroup(2, ageing=60)
        self.begin(group=group, weight=3)
        self.deliver()
        high = self.watcher, self.channel
        self.begin(group=group, weight=1)
        messages = [self.deliver() for _ in range(3)]
        self.assertEqual(len(self.called), 2)
        waiting = high[1].deliver()
        self.assertEqual(len(self.called), 2)
        self.finish(messages[0])
        self.assertEqual(self.called[2:], [waiting])
        self.advance(60)
        self.assertEqual(self.called[3:], [messages[1]])
        for message, _ in list(self.running):
            self.finish(message)
        self.assertEqual(group.running, 1)
        self.finish(self.running[0][0])
        self.assertEqual(group.running, 0)

    def test_lost(self) -> None:
        """
        With the connection the places are not lost.
        """
        group = PriorityGroup(2)
        channel = self.begin(group=group)
        for _ in range(4):
            self.deliver()
        channel.lose_connection()
        running: list[tuple[DeliveredMessage, Deferred[Any]]] = list(self.running)
        self.assertEqual(group.running, 2)
        for message, _ in running:
            self.finish(message)
        self.assertEqual(group.running, 0)
