"""
Tests for C{quebert.http._slow_answers}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.http._slow_answers import SlowAnswers


class Answering:
    """
    A connection.

    @ivar ended: why it was ended.
    """

    def __init__(self) -> None:
        self.paused = False
        self.received = 0
        self.ended: list[str] = []

    def end(self, reason: str) -> None:
        """
        Be told.
        """
        self.ended.append(reason)


class SlowAnswersTests(SynchronousTestCase):
    """
    Answers that come, of 10 bytes a second at least, in each 5 s.
    """

    def setUp(self) -> None:
        """
        An answer of which there is the head, of 1,000 bytes.
        """
        self.clock = Clock()
        self.slow = SlowAnswers(self.clock)
        self.answer = Answering()
        self.answer.received = 1_000
        self.slow.begin(self.answer, 10.0, 5.0)

    def test_quick(self) -> None:
        """
        One that comes as quickly as it must goes on.
        """
        for _ in range(5):
            self.answer.received += 50
            self.clock.advance(5.0)
        self.assertEqual(self.answer.ended, [])

    def test_slow(self) -> None:
        """
        One that comes more slowly is ended, whatever had come before.
        """
        self.answer.received += 5_000
        self.clock.advance(5.0)
        self.answer.received += 49
        self.clock.advance(4.9)
        self.assertEqual(self.answer.ended, [])
        self.clock.advance(0.1)
        self.assertEqual(self.answer.ended, ["fewer than 50 bytes came in 5 s"])
        self.clock.advance(10.0)
        self.assertEqual(len(self.answer.ended), 1)

    def test_paused(self) -> None:
        """
        One of which nobody wants more for now need not come.
        """
        self.answer.paused = True
        self.clock.advance(5.0)
        self.answer.paused = False
        self.assertEqual(self.answer.ended, [])
        self.clock.advance(5.0)
        self.assertEqual(len(self.answer.ended), 1)

    def test_over(self) -> None:
        """
        One that is there, or was ended, is not looked at any more.
        """
        self.slow.end(self.answer)
        self.slow.end(self.answer)
        self.assertEqual(self.clock.getDelayedCalls(), [])
