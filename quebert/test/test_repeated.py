"""
L{quebert._repeated}, on a clock of the test's.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from quebert._repeated import PERIOD, QUIET, RepeatedState, RepeatedWarning


@implementer(ILogObserver)
class Lines:
    """
    Keeps what is logged.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        self._lines.append(formatEvent(event))

    def take(self) -> list[str]:
        """
        What was logged since the last time.
        """
        lines, self._lines = self._lines, []
        return lines


class RepeatedWarningTests(SynchronousTestCase):
    """
    Tests for L{RepeatedWarning}.
    """

    def setUp(self) -> None:
        self.told = (lines := Lines()).take
        self.clock = Clock()
        self.warning = RepeatedWarning(
            Logger(observer=lines),
            lambda: self.clock,
            "{thing} fails",
            "{thing} works again",
            thing="It",
        )

    def wait(self, seconds: float) -> None:
        """
        Let time pass, second by second.
        """
        self.clock.pump([1.0] * int(seconds))

    def test_several_at_a_time(self) -> None:
        """
        Failures can be counted together.
        """
        self.warning.met("a", 40)
        self.assertEqual(self.told(), ["It fails, 40 times: a"])
        self.warning.met("a", 1000)
        self.wait(PERIOD)
        self.assertEqual(self.told(), ["It fails, 1,000 times more: a"])
        self.warning.succeeded()
        self.wait(QUIET)
        (over,) = self.told()
        self.assertIn("after 1,040 failures", over)

    def test_first(self) -> None:
        """
        The first failure is logged at once, and each other cause.
        """
        self.warning.met("full")
        self.warning.met("full")
        self.warning.met(ValueError("gone"))
        self.assertEqual(self.told(), ["It fails: full", "It fails: gone"])

    def test_once_a_minute(self) -> None:
        """
        The others are counted, and logged once a minute for each cause.
        """
        for _ in range(2 * int(PERIOD)):
            for _ in range(100):
                self.warning.met("full")
            self.wait(1)
        first, *others = self.told()
        self.assertEqual(first, "It fails: full")
        self.assertEqual(len(others), 2)
        self.assertRegex(others[0], r"^It fails, \d,\d{3} times more: full$")

    def test_over(self) -> None:
        """
        Once it has worked, and has not failed for some seconds, it is over.  The next
        failure is the first again.
        """
        self.warning.met("full")
        self.wait(10)
        self.warning.met("full")
        self.warning.succeeded()
        self.told()
        self.wait(QUIET)
        self.wait(QUIET)
        self.assertEqual(self.told(), ["It works again, after 2 failures in 10 s."])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.warning.met("full")
        self.assertEqual(self.told(), ["It fails: full"])

    def test_now_and_then(self) -> None:
        """
        What works now and then is not over.
        """
        for _ in range(50):
            self.warning.met("full")
            self.warning.succeeded()
            self.wait(1)
        self.assertEqual(self.told(), ["It fails: full"])

    def test_comes_back(self) -> None:
        """
        What begins again and again soon after it was over is logged about once a
        minute, too, and is over when it has not failed for a minute.
        """
        for _ in range(120):
            self.warning.met("full")
            self.warning.succeeded()
            self.wait(10)
        told = self.told()
        self.assertLess(len(told), 20 + 10)
        self.assertIn("It fails, 6 times more: full", told)
        self.wait(PERIOD)
        self.assertEqual(len(self.told()), 1)
        self.wait(PERIOD)
        self.warning.met("full")
        self.warning.succeeded()
        self.wait(QUIET)
        self.assertEqual(len(self.told()), 2)

    def test_state_comes_back(self) -> None:
        """
        The same of a state.
        """
        told = (lines := Lines()).take
        log = Logger(observer=lines)
        state = RepeatedState(log, lambda: self.clock, "It rests", "It goes on")
        for _ in range(120):
            state.begun("low")
            state.over()
            self.wait(10)
        self.assertLess(len(told()), 10)
        self.wait(PERIOD)
        self.assertIn("interruptions", "".join(told()))
        self.wait(PERIOD)
        state.begun("low")
        state.over()
        self.wait(QUIET)
        self.assertEqual(told(), ["It rests: low", "It goes on."])

    def test_forgotten(self) -> None:
        """
        What nobody has tried again for long is forgotten, without a word.
        """
        self.warning.met("full")
        self.told()
        self.wait(1000)
        self.assertEqual(self.told(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_causes(self) -> None:
        """
        However many causes there are, few lines tell of them.
        """
        for n in range(1000):
            self.warning.met(f"cause {n}")
        told = self.told()
        self.assertEqual(len(told), 11)
        self.assertEqual(told[-1], "It fails: for other reasons, too")

    def test_end(self) -> None:
        """
        Nothing is logged any more of what has ended.
        """
        self.warning.met("full")
        self.warning.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])
