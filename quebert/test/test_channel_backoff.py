"""
Tests for C{quebert.amqp.watch._channel_backoff}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.watch._channel_backoff import (
    LASTING,
    LONGEST_CHANNEL_WAIT,
    ChannelBackoff,
)
from quebert.errors import BrokerRefused, ChannelLost, ReplyCode

LOST = ChannelLost("gone")


class ChannelBackoffTests(SynchronousTestCase):
    """
    Seconds between the attempts to make a channel.
    """

    def setUp(self) -> None:
        """
        There is a channel.
        """
        self.backoff = ChannelBackoff()
        self.backoff.succeeded(100.0)

    def test_failures(self) -> None:
        """
        They grow with each failure, up to a limit.
        """
        seconds = [self.backoff.failed(LOST) for _ in range(30)]
        self.assertGreater(seconds[0], 0.0)
        self.assertEqual(seconds, sorted(seconds))
        self.assertEqual(seconds[-1], LONGEST_CHANNEL_WAIT)

    def test_lasted(self) -> None:
        """
        A channel that has lasted is replaced at once, however often.
        """
        for _ in range(5):
            seconds = self.backoff.lost(100.0 + LASTING, alone=True)
            self.assertEqual(seconds, 0.0)

    def test_not_lasted(self) -> None:
        """
        So is the first that has not lasted; then they grow.
        """
        seconds = [self.backoff.lost(101.0, alone=True) for _ in range(4)]
        self.assertEqual(seconds[0], 0.0)
        self.assertGreater(seconds[1], 0.0)
        self.assertEqual(seconds, sorted(seconds))
        self.assertLess(seconds[2], seconds[3])

    def test_connection_lost(self) -> None:
        """
        A channel that was lost with its connection is replaced at once, and those
        before it do not count.
        """
        for _ in range(3):
            self.backoff.lost(101.0, alone=True)
        self.assertEqual(self.backoff.lost(101.0, alone=False), 0.0)
        self.assertEqual(self.backoff.lost(101.0, alone=True), 0.0)

    def test_failures_in_a_row(self) -> None:
        """
        Failures of before do not count once there was a channel.
        """
        first = self.backoff.failed(LOST)
        self.backoff.failed(LOST)
        self.backoff.lost(100.0 + LASTING, alone=True)
        self.assertEqual(self.backoff.failed(LOST), first)

    def test_rabbitmq_fails(self) -> None:
        """
        What makes RabbitMQ fail is asked for seldom: each time, all queues lose their
        connection.
        """
        failure = BrokerRefused(ReplyCode.INTERNAL_ERROR, "INTERNAL_ERROR")
        for _ in range(30):
            seconds = self.backoff.failed(failure)
        self.assertGreater(seconds, 10 * LONGEST_CHANNEL_WAIT)
