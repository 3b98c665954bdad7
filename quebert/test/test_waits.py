"""
Tests for L{quebert.amqp.watch._waits}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.watch._waits import Waits


class WaitsTests(SynchronousTestCase):
    """
    Tests for L{Waits}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.waits = Waits(lambda: self.clock)

    def test_wait(self) -> None:
        """
        Each wait ends in its time.
        """
        short, long = self.waits.wait(1), self.waits.wait(2)
        self.clock.advance(1)
        self.successResultOf(short)
        self.assertNoResult(long)
        self.clock.advance(1)
        self.successResultOf(long)

    def test_end(self) -> None:
        """
        All waits can be ended at once, and leave nothing behind.
        """
        waiting = [self.waits.wait(1), self.waits.wait(2)]
        self.waits.end()
        for each in waiting:
            self.successResultOf(each)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """
        A wait that is cancelled is over.
        """
        wait = self.waits.wait(1)
        wait.cancel()
        self.successResultOf(wait)
        self.assertEqual(self.clock.getDelayedCalls(), [])
