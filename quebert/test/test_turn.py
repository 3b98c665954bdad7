"""
Tests for L{quebert._turn}: what is done at the end of the reactor's turn, and
in several.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator

from twisted.internet.defer import CancelledError
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._turn import EndOfTurn, InSteps
from quebert.test.checks import one_turn


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


class InStepsTests(SynchronousTestCase):
    """
    Work is done in steps.
    """

    def setUp(self) -> None:
        """
        Begin a turn.
        """
        self.clock = Clock()
        self.steps = InSteps(lambda: self.clock)
        self.done: list[str] = []

    def work(self, name: str, number: int) -> Generator[None, None, str]:
        """
        Some work.
        """
        for step in range(number):
            self.done.append(f"{name}{step}")
            yield
        return name

    def turn(self) -> list[str]:
        """
        Everything that one turn does.
        """
        self.done.clear()
        one_turn(self.clock)
        return list(self.done)

    def test_one_a_turn(self) -> None:
        """
        There is one step a turn, of the work that came first.
        """
        first = self.steps.do(self.work("a", 2))
        second = self.steps.do(self.work("b", 1))
        self.assertEqual(self.turn(), ["a0"])
        self.assertEqual(self.turn(), ["a1"])
        self.assertNoResult(first)
        self.assertEqual(self.turn(), [])
        self.assertEqual(self.successResultOf(first), "a")
        self.assertEqual(self.turn(), ["b0"])
        self.assertNoResult(second)
        self.turn()
        self.assertEqual(self.successResultOf(second), "b")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_fails(self) -> None:
        """
        Work that fails keeps no other from being done.
        """

        def fails() -> Generator[None, None, None]:
            yield
            raise ValueError("no")

        first, second = self.steps.do(fails()), self.steps.do(self.work("b", 0))
        for _ in range(3):
            self.turn()
        self.failureResultOf(first, ValueError)
        self.assertEqual(self.successResultOf(second), "b")

    def test_cancelled(self) -> None:
        """
        What is cancelled is not done, begun or not.
        """
        works = [self.steps.do(self.work(name, 3)) for name in "abc"]
        self.turn()
        for work in works[:2]:
            work.cancel()
            self.failureResultOf(work, CancelledError)
        self.assertEqual([self.turn() for _ in range(3)], [[], [], ["c0"]])
        for _ in range(3):
            self.turn()
        self.assertEqual(self.successResultOf(works[2]), "c")

    def test_more_meanwhile(self) -> None:
        """
        Whoever waits for some work may have more done.
        """
        more = self.steps.do(self.work("a", 0))
        more.addCallback(lambda _: self.steps.do(self.work("b", 1)))
        for _ in range(3):
            self.turn()
        self.assertEqual(self.successResultOf(more), "b")
