"""
L{quebert.amqp.watch._returns}: messages that are given back in good order, seen from a
whole watch.
"""

from __future__ import annotations

import math
from unittest.mock import Mock

from quebert.amqp.delays import PREFIX, LadderRefused
from quebert.amqp.watch._record import SUSPECT
from quebert.amqp.wire import ENDS, FLIGHT, IN_QUESTION, Message
from quebert.errors import BrokerRefused, ChannelLost, PublishRefused
from quebert.test.test_redelivery import A, RedeliveryTestCase
from quebert.test.test_watcher import FakeChannel


class GiveBackTests(RedeliveryTestCase):
    """
    An end in good order.
    """

    def test_waiting(self) -> None:
        """
        What has never been delivered before is given back; of a copy there is another,
        which counts no more ends.
        """
        self.watcher._deliveries.close("suspect")
        first, second = self.deliver(), self.copy(ends=2)
        stopped = self.watcher.stop()
        self.assertEqual(self.old.given_back, [first.delivery_tag])
        self.assertEqual(self.client.signs, self.in_order_signs)
        (headers,) = self.published
        self.assertEqual(headers[ENDS], 2)
        self.assertNotEqual(headers[FLIGHT], A)
        self.confirm()
        self.successResultOf(stopped)
        self.assertEqual(self.old.acked, [second.delivery_tag])

    def test_running(self) -> None:
        """
        The same holds for what runs for too long; its answer counts no more.
        """
        message = self.copy(ends=2)
        stopped = self.watcher.stop(grace=1)
        self.clock.advance(1)
        self.assertEqual(self.cancelled, [message])
        (headers,) = self.published
        self.assertEqual(headers[ENDS], 2)
        self.confirm()
        self.successResultOf(stopped)
        self.assertEqual(self.old.acked, [message.delivery_tag])
        self.check_counts(received=1, returned=1)

    def test_running_for_long(self) -> None:
        """
        That it is given back in good order is told again, where it ran on for long.
        """
        self.deliver()
        stopped = self.watcher.stop(grace=300)
        self.client.signs.clear()
        self.clock.advance(300)
        self.assertEqual(self.client.signs, self.in_order_signs)
        self.successResultOf(stopped)

    def looking(self) -> tuple[Message, FakeChannel]:
        """
        Deliver a message anew, while the broker does not say whether the last mediator
        ended in good order.
        """
        self.give_back_in_order()
        self.client.held.add("queue_declare")
        message = self.old.deliver(redelivered=True)
        self.client.held.clear()
        return message, self.client.channels[-1]

    def test_paused_while_looking(self) -> None:
        """
        A message that is still looked at when its queue is paused goes back.
        """
        message, brief = self.looking()
        self.client.pauses.paused.add("queue")
        self.client.pauses.looks["queue"]()
        brief.answer()
        self.assertEqual(self.old.given_back, [message.delivery_tag])
        self.assertEqual(self.called, [])
        self.check_counts(received=1, returned=1)

    def test_stopped_while_looking(self) -> None:
        """
        So does a suspect when its watch is stopped; it does not begin.
        """
        self.client.held.add("queue_declare")
        headers = {ENDS: SUSPECT, FLIGHT: A, IN_QUESTION: 1}
        self.old.deliver(headers=headers)
        brief = self.client.channels[-1]
        self.client.held.clear()
        stopped = self.watcher.stop()
        brief.answer()
        self.confirm()
        self.successResultOf(stopped)
        self.assertEqual(self.called, [])
        (headers,) = self.published
        self.assertNotIn(IN_QUESTION, headers)
        self.check_counts(received=1, returned=1)

    def test_not_confirmed(self) -> None:
        """
        It is given back where the broker does not take the copy.
        """
        self.watcher._deliveries.close("suspect")
        message = self.copy(ends=2)
        stopped = self.watcher.stop()
        for _ in range(3):  # neither the queue nor the delay ladder takes it
            self.confirm(PublishRefused("full"))
        self.successResultOf(stopped)
        self.assertEqual(self.old.given_back, [message.delivery_tag])

    def test_counted_out(self) -> None:
        """
        A message that RabbitMQ would drop is not given back: a copy takes its place, or
        it goes to the dead letters.
        """
        table = ((0, 0, 0), (2, 2, 1), (0, 0, 3), (20, 3, 1), (math.inf, 3, 1))
        for limit, counted, refused in table:
            self.setUp()
            self.watcher._deliveries.set_highest_count(limit)
            headers = {"x-delivery-count": counted}
            message = self.old.deliver(redelivered=counted > 0, headers=headers)
            if counted:  # no copy is taken as it comes
                self.confirm(PublishRefused("full"))
            self.assertEqual(len(self.called), 1)
            stopped = self.watcher.stop(0)
            for _ in range(refused):
                self.confirm(PublishRefused("full"))
            self.confirm()
            self.successResultOf(stopped)
            self.assertEqual(self.old.given_back, [])
            self.assertEqual(self.old.acked, [message.delivery_tag])

    def test_counted_out_in_vain(self) -> None:
        """
        The same where the delay ladder is refused, too; a message that RabbitMQ would
        not drop is given back then.
        """
        for limit, counted, is_dropped in ((0, 0, True), (20, 3, False)):
            self.setUp()
            self.watcher._deliveries.set_highest_count(limit)
            headers = {"x-delivery-count": counted}
            message = self.old.deliver(redelivered=counted > 0, headers=headers)
            if counted:
                self.confirm(PublishRefused("full"))
            stopped = self.watcher.stop(0)
            for _ in range(3):
                self.confirm(BrokerRefused(403, "ACCESS_REFUSED"))
            if is_dropped:
                last = self.client.publisher.publications[-1]
                self.assertEqual(last.routing_key, "queue.dead")
                self.confirm()
            self.successResultOf(stopped)
            settled = self.old.acked if is_dropped else self.old.given_back
            self.assertEqual(settled, [message.delivery_tag])

    def test_counted_out_without_a_rung(self) -> None:
        """
        The same where the delay ladder has no rung for the copy, or nobody knows.
        """
        for error in (LadderRefused("no"), ChannelLost("gone")):
            self.setUp()
            rung_for = Mock(side_effect=error)
            self.patch(self.client.ladder, "rung_for", rung_for)
            self.watcher._deliveries.set_highest_count(0)
            message = self.old.deliver()
            stopped = self.watcher.stop(0)
            self.confirm(PublishRefused("full"))
            *_, last = self.client.publisher.publications
            self.assertEqual(last.routing_key, "queue.dead")
            self.confirm()
            self.successResultOf(stopped)
            self.assertEqual(self.old.acked, [message.delivery_tag])

    def test_full(self) -> None:
        """
        Where the queue is full, the copy waits on the delay ladder, and counts no more
        ends; the message needs no place until that is confirmed.
        """
        for ends in range(1, SUSPECT):
            self.begin(exchange="", queue_type=self.queue_type)
            self.watcher._deliveries.close("suspect")
            message = self.copy(ends=ends)
            channel, stopped = self.channel, self.watcher.stop()
            self.confirm(PublishRefused("full"))
            *_, copy = self.client.publisher.publications
            self.assertEqual(copy.exchange, f"{PREFIX}.wait.1s")
            self.assertEqual(copy.headers[ENDS], ends)
            self.assertEqual(self.watcher.held, 1)
            self.confirm()
            self.successResultOf(stopped)
            self.assertEqual(channel.acked, [message.delivery_tag])
