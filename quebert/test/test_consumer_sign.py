"""
Tests for L{quebert.amqp.coordination._consumer_sign}, with the broker in memory.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from quebert.amqp.coordination._consumer_sign import ConsumerSign
from quebert.amqp.queues import CLASSIC
from quebert.errors import BrokerRefused
from quebert.test.memory_network import NetworkTestCase


class ConsumerSignTests(NetworkTestCase):
    """
    Signs.
    """

    def sign(self, *, exclusive: bool = False) -> ConsumerSign:
        """
        One more sign of a queue.
        """
        return ConsumerSign("sign", CLASSIC, exclusive=exclusive)

    def consumers(self) -> int:
        """
        How many give it.
        """
        if "sign" not in self.depths():
            return 0
        found = self.call("queue_declare", queue="sign", passive=True)
        return int(found.consumer_count)

    def test_given(self) -> None:
        """
        Several give a sign, each once, until they take it back.
        """
        signs = [self.sign(), self.sign()]
        for each in (*signs, *signs):
            self.assertTrue(self.result(each.give(self.wire)))
        self.assertEqual(self.consumers(), 2)
        self.result(signs[0].take_back())
        self.assertEqual((self.consumers(), signs[0].is_given), (1, False))
        self.result(signs[0].take_back())  # nothing is left to be done

    def test_exclusive(self) -> None:
        """
        One at a time has a lock, over the same connection, too.
        """
        first, second = self.sign(exclusive=True), self.sign(exclusive=True)
        self.assertTrue(self.result(first.give(self.wire)))
        self.assertFalse(self.result(second.give(self.wire)))
        self.assertFalse(second.is_given)
        self.result(first.take_back())
        self.assertTrue(self.result(second.give(self.wire)))

    def test_deleted(self) -> None:
        """
        Where somebody deletes the queue, nobody gives its sign any more.
        """
        sign = self.sign()
        self.result(sign.give(self.wire))
        self.call("queue_delete", queue="sign")
        self.network.settle()
        self.assertFalse(sign.is_given)
        self.result(sign.give(self.wire))
        self.assertEqual(self.consumers(), 1)

    def test_given_up(self) -> None:
        """
        Nobody who has stopped waiting for RabbitMQ gives a sign.
        """
        for steps in range(20):
            sign = self.sign()
            giving = self.begin(sign.give(self.wire))
            for _ in range(steps):
                self.network.step()
            if giving.called:
                break
            giving.cancel()
            self.network.settle()
            self.failureResultOf(giving, CancelledError)
            self.assertEqual((self.consumers(), sign.is_given), (0, False))
        self.assertTrue(self.successResultOf(giving))
        self.assertEqual(self.consumers(), 1)

    def test_refused(self) -> None:
        """
        A queue that cannot be declared so is no sign.
        """
        self.call("queue_declare", queue="sign", durable=False, exclusive=False)
        giving = self.begin(self.sign(exclusive=True).give(self.wire))
        self.network.settle()
        self.failureResultOf(giving, BrokerRefused)
