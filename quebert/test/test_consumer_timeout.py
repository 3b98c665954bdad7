"""
Tests for L{quebert._consumer_timeout}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert._consumer_timeout import (
    CONSUMER_TIMEOUT,
    HOLD_LIMIT,
    LONGEST_REQUEST,
    LONGEST_WAIT,
    wait_left,
)


class ConsumerTimeoutTests(SynchronousTestCase):
    """
    How long messages may be unsettled.
    """

    def test_limits(self) -> None:
        """
        A task that has waited for as long as it may, and whose request takes as long as
        it may, is settled before RabbitMQ takes its message back; so is one that waits
        for its retry.
        """
        self.assertEqual(CONSUMER_TIMEOUT, 30 * 60)
        self.assertLess(LONGEST_WAIT + LONGEST_REQUEST, CONSUMER_TIMEOUT)
        self.assertLess(HOLD_LIMIT, CONSUMER_TIMEOUT)

    def test_left(self) -> None:
        """
        A message may wait for the rest of that time, and then no longer.
        """
        self.assertEqual(wait_left(10.0, 10.0), LONGEST_WAIT)
        self.assertEqual(wait_left(10.0, 11.0), LONGEST_WAIT - 1)
        self.assertEqual(wait_left(10.0, 11.0 + LONGEST_WAIT), 0.0)
