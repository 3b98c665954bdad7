"""
Tests for L{quebert._steady}: calls by the monotonic clock.
"""

from __future__ import annotations

import os
import time

from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._steady import SteadyCall

#: Seconds: far more than it takes.
PATIENCE = 60.0


class SteadyCallTests(SynchronousTestCase):
    """
    Something is called once, after some seconds.
    """

    def setUp(self) -> None:
        """
        Nothing was called yet.
        """
        self.calls = 0

    def call(self) -> None:
        """
        Count.
        """
        self.calls += 1

    def reactor(self) -> SelectReactor:
        """
        A reactor that does not run.
        """
        reactor = SelectReactor()
        for descriptor in (reactor.waker.i, reactor.waker.o):
            self.addCleanup(os.close, descriptor)
        return reactor

    def test_once(self) -> None:
        """
        It is called when its time has come, and not again.
        """
        clock = Clock()
        steady = SteadyCall(clock, 2.0, self.call)
        clock.advance(1.0)
        self.assertEqual((self.calls, steady.active()), (0, True))
        clock.advance(1.0)
        self.assertEqual((self.calls, steady.active()), (1, False))
        clock.advance(10.0)
        self.assertEqual(self.calls, 1)

    def test_cancel(self) -> None:
        """
        It can be given up.
        """
        clock = Clock()
        steady = SteadyCall(clock, 2.0, self.call)
        steady.cancel()
        clock.advance(2.0)
        self.assertEqual((self.calls, steady.active()), (0, False))

    def test_clock_set_back(self) -> None:
        """
        It is called in time where the clock is set back meanwhile.
        """
        reactor = self.reactor()
        SteadyCall(reactor, 0.05, self.call)
        reactor.seconds = lambda: time.time() - 3600
        reactor.doIteration(PATIENCE)  # until it is woken
        reactor.runUntilCurrent()
        self.assertEqual(self.calls, 1)

    def test_cancelled_too_late(self) -> None:
        """
        It is not called where it is given up after its time, while the reactor was
        busy.
        """
        reactor = self.reactor()
        steady = SteadyCall(reactor, 0.0, self.call)
        steady._timer.join(PATIENCE)
        steady.cancel()
        reactor.iterate(0)
        self.assertEqual(self.calls, 0)
