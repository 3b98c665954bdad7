"""
Tests for L{quebert.amqp.delays._shared_backoff}.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.delays._shared_backoff import SharedBackoff


class SharedBackoffTests(SynchronousTestCase):
    """
    When publications to one place may be tried.
    """

    def setUp(self) -> None:
        """
        A backoff, and those who may try, in their order.
        """
        self.clock = Clock()
        self.backoff = SharedBackoff(lambda: self.clock, 3.0)
        self.tried: list[str] = []

    def wait(self, name: str) -> None:
        """
        Ask whether C{name} may try.
        """
        asked = Deferred.fromCoroutine(self.backoff.may_try())
        asked.addCallback(lambda _: self.tried.append(name))

    def test_one_for_each_pause(self) -> None:
        """
        After a failure one may try for each pause, and all after a success.
        """
        self.backoff.failed()
        for name in "abc":
            self.wait(name)
        self.clock.advance(1)
        self.assertEqual(self.tried, ["a"])
        self.backoff.failed()
        self.clock.advance(1.9)
        self.assertEqual(self.tried, ["a"])
        self.clock.advance(0.2)
        self.assertEqual(self.tried, ["a", "b"])
        self.backoff.reset()
        self.assertEqual(self.tried, ["a", "b", "c"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_tried(self) -> None:
        """
        One that may try, and does not, lets the next one try.
        """
        self.backoff.failed()
        for name in "ab":
            self.wait(name)
        self.clock.advance(1)
        self.backoff.not_tried()
        self.assertEqual(self.tried, ["a", "b"])
        self.backoff.not_tried()
        self.wait("c")
        self.assertEqual(self.tried, ["a", "b", "c"])

    def test_nobody_waits(self) -> None:
        for name in "ab":
            self.wait(name)
        self.backoff.reset()
        self.backoff.not_tried()
        self.wait("c")
        self.assertEqual(self.tried, ["a", "b", "c"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_pauses(self) -> None:
        """
        Each pause is twice as long as the one before, up to the longest; after a
        success they begin anew.
        """
        for _ in range(2):
            for number, pause in enumerate((1, 2, 3, 3), 1):
                self.backoff.failed()
                self.backoff.failed()  # of those that were on their way
                self.assertEqual(self.backoff.failures, number)
                tried = len(self.tried)
                self.wait("a")
                self.clock.advance(pause - 0.01)
                self.assertEqual(len(self.tried), tried)
                self.clock.advance(0.01)
                self.assertEqual(len(self.tried), tried + 1)
            self.backoff.reset()

    def test_failed_while_one_may_try(self) -> None:
        """
        A failure of one that was on its way begins no other pause while nobody wants to
        try; then there is one that may.
        """
        self.backoff.failed()
        self.clock.advance(1)
        self.backoff.failed()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        for name in "ab":
            self.wait(name)
        self.assertEqual(self.tried, ["a"])

    def test_reset_while_one_may_try(self) -> None:
        self.backoff.failed()
        self.clock.advance(1)
        self.backoff.reset()
        self.backoff.failed()
        self.wait("a")
        self.assertEqual(self.tried, [])

    def test_not_tried_in_a_pause(self) -> None:
        """
        A pause is not shorter since somebody does not try.
        """
        self.backoff.failed()
        self.wait("a")
        self.backoff.not_tried()
        self.assertEqual(self.tried, [])
