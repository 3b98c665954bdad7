"""
Tests for L{quebert.clock}: timers by a monotonic clock.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from quebert.broker import EmbeddedBroker
from quebert.clock import (
    JUMP,
    LOOK,
    SteadyClock,
    stopwatch_of,
    use_monotonic_clock,
)
from quebert.executor import ExecutorOptions, makeService

NOW = 1_800_000_000.0


class Times:
    """
    The clocks of a machine: that of the time of day, and the monotonic one.
    """

    def __init__(self) -> None:
        self.of_day = NOW
        self.since_boot = 5_000.0

    def pass_by(self, seconds: float) -> None:
        """
        Have time pass.
        """
        self.of_day += seconds
        self.since_boot += seconds


class SteadyClockTests(SynchronousTestCase):
    """
    Time that passes evenly, and a line in the log for each jump.
    """

    def setUp(self) -> None:
        """
        Begin.
        """
        self.times = Times()
        self.clock = self.make()
        self.observer = EventLoggingObserver()
        globalLogPublisher.addObserver(self.observer)
        self.addCleanup(globalLogPublisher.removeObserver, self.observer)

    def make(self, *, log_jumps: bool = True) -> SteadyClock:
        """
        A clock.
        """
        return SteadyClock(
            lambda: self.times.of_day,
            lambda: self.times.since_boot,
            log_jumps=log_jumps,
        )

    @property
    def told(self) -> list[str | None]:
        """
        What is in the log.
        """
        return [formatEvent(each) for each in self.observer]

    def test_time_of_day(self) -> None:
        """
        It begins at the time of day, and is the time of day while nobody sets that.
        """
        self.assertEqual(self.clock.seconds(), NOW)
        self.times.pass_by(86_400.5)
        self.assertEqual(self.clock.seconds(), NOW + 86_400.5)
        self.assertEqual(self.told, [])

    def test_jumps(self) -> None:
        """
        It does not heed that the time of day is set; each jump is told once, with its
        direction and its size.
        """
        table = {
            3_600: "forward by 3,600 s",
            -3_600: "back by 3,600 s",
            86_400: "forward by 86,400 s",
            -86_405.2: "back by 86,405 s",
        }
        passed = 0
        for jump, told in table.items():
            self.times.of_day += jump
            for _ in range(3):
                self.times.pass_by(10)
                passed += 10
                self.assertEqual(self.clock.seconds(), NOW + passed)
            (line,) = self.told
            assert line is not None
            self.assertIn(f"was set {told}.", line)
            self.observer._events.clear()

    def test_set_right(self) -> None:
        """
        A clock that was set wrong and right again counts as not set, although it is not
        right to the microsecond.
        """
        self.times.of_day += 3_600
        self.clock.look()
        self.assertAlmostEqual(self.clock.seconds_set, 3_600)
        self.times.of_day -= 3_600.25
        self.clock.look()
        self.assertEqual(self.clock.seconds_set, 0.0)
        self.assertEqual(len(self.told), 2)

    def test_stopwatch(self) -> None:
        """
        A stopwatch goes on like the clock, whether that is steady or not.
        """

        class Steady:
            seconds = self.clock.seconds

        clocks: list[Any] = [Steady(), Clock()]
        for clock in clocks:
            stopwatch = stopwatch_of(clock)
            began, before = stopwatch(), clock.seconds()
            self.times.pass_by(10)
            self.times.of_day += 3_600
            if isinstance(clock, Clock):
                clock.advance(10)
            self.assertEqual(stopwatch() - began, 10)
            self.assertEqual(clock.seconds() - before, 10)

    def test_small_jumps(self) -> None:
        """
        A small jump is not told, but several of them are together.
        """
        for _ in range(3):
            self.assertEqual(self.told, [])
            self.times.of_day += JUMP / 2.5
            self.clock.look()
        self.assertEqual(len(self.told), 1)

    def test_looks(self) -> None:
        """
        A jump is looked for when the time is asked, but not each time.
        """
        self.clock.seconds()
        self.times.of_day += 3_600
        self.clock.seconds()
        self.assertEqual(self.told, [])
        self.times.of_day += LOOK
        self.times.since_boot += LOOK
        self.clock.seconds()
        self.assertEqual(len(self.told), 1)

    def test_stopped_between(self) -> None:
        """
        A process that is stopped just after it has asked the first of the two clocks
        takes that for no jump.
        """
        asked = [NOW, NOW + 3_600]

        def of_day() -> float:
            if asked:
                self.times.of_day = asked.pop(0)
                self.times.since_boot += self.times.of_day - NOW
            return self.times.of_day

        clock = SteadyClock(of_day, lambda: self.times.since_boot)
        clock.seconds()
        self.assertEqual(clock.seconds(), NOW + 3_600)
        self.assertEqual(self.told, [])

    def test_not_told(self) -> None:
        """
        Others may tell it.
        """
        clock = self.make(log_jumps=False)
        self.times.of_day += 3_600
        self.assertEqual(clock.seconds(), NOW)
        self.assertEqual(self.told, [])


class UseTests(SynchronousTestCase):
    """
    L{use_monotonic_clock}.
    """

    def setUp(self) -> None:
        """
        A reactor that does not run, and a clock that is about to be set.
        """
        self.reactor = SelectReactor()
        for descriptor in (self.reactor.waker.i, self.reactor.waker.o):
            self.addCleanup(os.close, descriptor)
        self.jump = 0.0
        real = time.time
        self.patch(self.reactor, "seconds", lambda: real() + self.jump)
        self.patch(time, "time", lambda: real() + self.jump)
        self.fired: list[float] = []

    def call_later(self, seconds: float) -> Deferred[None]:
        """
        Fires after so many seconds.
        """
        called: Deferred[None] = Deferred()
        self.reactor.callLater(seconds, called.callback, None)
        return called

    def test_timers(self) -> None:
        """
        Timers from before and from after it fire in their time, whether the clock is
        set forward or back.
        """
        for jump in (3_600.0, -3_600.0, 86_400.0, -86_400.0):
            before = self.call_later(0.02), self.call_later(1_800)
            use_monotonic_clock(self.reactor, log_jumps=False)
            after = self.call_later(0.02), self.call_later(1_800)
            self.jump += jump
            self.reactor.iterate(0)  # nothing is due because of the jump
            while not (before[0].called and after[0].called):
                self.reactor.iterate(0.05)
            self.assertEqual((before[1].called, after[1].called), (False, False), jump)

    def test_reset(self) -> None:
        """
        A timer from before it may be put off after a jump.
        """
        called: Deferred[None] = Deferred()
        timer = self.reactor.callLater(1_800, called.callback, None)
        use_monotonic_clock(self.reactor, log_jumps=False)
        self.jump += 86_400.0
        timer.reset(0.0)
        self.reactor.iterate(0)
        self.assertTrue(called.called)

    def test_twice(self) -> None:
        """
        Once is enough.
        """
        use_monotonic_clock(self.reactor)
        seconds = self.reactor.seconds
        use_monotonic_clock(self.reactor)
        self.assertEqual(self.reactor.seconds, seconds)


class ProgramTests(SynchronousTestCase):
    """
    What uses it.  C{test_clock_jumps} is about mediators, C{test_crash} about
    C{quebert broker}.
    """

    def test_executor(self) -> None:
        """
        C{twistd quexecutor} does.
        """
        used: list[bool] = []
        patched = "use_monotonic_clock", lambda: used.append(True)
        self.patch(sys.modules["quebert.executor._options"], *patched)
        options = ExecutorOptions()
        options.parseOptions(["--function=os.path.join"])
        makeService(options)
        self.assertEqual(used, [True])

    def test_embedded_broker(self) -> None:
        """
        So does a broker in a thread, whose reactor is its own.
        """
        with EmbeddedBroker() as broker:
            seconds = broker._reactor.seconds
        self.assertIsInstance(seconds.__self__, SteadyClock)
