"""
Tests for L{quebert._turn}: what is done at the end of the reactor's turn.
"""

from __future__ import annotations

import os
import time

from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._turn import EndOfTurn


class EndOfTurnTests(SynchronousTestCase):
    """
    Something is called once a turn, if that is asked for.
    """

    def setUp(self) -> None:
        """
        Begin a turn.
        """
        self.clock = Clock()
        self.calls = 0
        self.turn = EndOfTurn(self.clock, self.call)

    def call(self) -> None:
        """
        Count.
        """
        self.calls += 1

    def test_once(self) -> None:
        """
        However often it is asked for, it is called once, and not before the end.
        """
        for turns in (1, 2):
            self.turn.ask()
            self.turn.ask()
            self.assertEqual(self.calls, turns - 1)
            self.clock.advance(0)
            self.clock.advance(0)
            self.assertEqual(self.calls, turns)

    def test_now(self) -> None:
        """
        It can be had at once, where it was asked for.
        """
        self.turn.now()
        self.assertEqual(self.calls, 0)
        self.turn.ask()
        self.turn.now()
        self.assertEqual(self.calls, 1)
        self.clock.advance(0)
        self.assertEqual(self.calls, 1)

    def test_cancel(self) -> None:
        """
        It can be given up, and asked for again.
        """
        self.turn.ask()
        self.turn.cancel()
        self.clock.advance(0)
        self.assertEqual(self.calls, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.turn.ask()
        self.clock.advance(0)
        self.assertEqual(self.calls, 1)

    def test_clock_set_back(self) -> None:
        """
        It is called all the same where the clock is set back meanwhile.
        """
        reactor = SelectReactor()
        for descriptor in (reactor.waker.i, reactor.waker.o):
            self.addCleanup(os.close, descriptor)
        turn = EndOfTurn(reactor, self.call)
        turn.ask()
        reactor.seconds = lambda: time.time() - 3600
        reactor.runUntilCurrent()
        self.assertEqual(self.calls, 1)
