"""
Tests for L{quebert.mediator._judging}: what is not attempted now.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import BadTask, NoDefaultURL
from quebert.mediator._judging import DOUBT, early, expired, given_up, no_task
from quebert.outcome import EXHAUSTED, EXPIRED, POISON, Bury, Discard, Retry
from quebert.policy import History, RetryPolicy
from quebert.task import BOUNDS, Schedule
from quebert.test.mediating import NOW


def as_it_is(now: float) -> float:
    """
    The time of a clock that nobody has set.
    """
    return now


class TimeTests(SynchronousTestCase):
    """
    L{expired} and L{early}.
    """

    def test_expired(self) -> None:
        """
        A task that has expired is discarded; if only since the clock was set, it is
        judged again soon.
        """
        times = Schedule(None, NOW)
        self.assertIsNone(expired({}, times, NOW, as_it_is))
        outcome = expired({"uuid": "1"}, times, NOW + 1, as_it_is)
        assert isinstance(outcome, Discard)
        self.assertIn("task 1 for ", outcome.reason)
        self.assertEqual(outcome.kind, EXPIRED)
        again = expired({}, times, NOW + 1, lambda now: now - 1)
        self.assertEqual(again, Retry(after=DOUBT, attempted=False))

    def test_early(self) -> None:
        """
        An early task waits until its time; if it was not early before the clock was
        set, a moment at most.
        """
        times = Schedule(NOW + 90, None)
        self.assertIsNone(early(times, NOW + 90, as_it_is))
        outcome = early(times, NOW + 89.5, as_it_is)
        self.assertEqual(outcome, Retry(after=0.5, attempted=False))
        for set_by, after in ((0, 90), (-88, DOUBT), (-3600, DOUBT), (-50, 40)):

            def unset(now: float, set_by: float = set_by) -> float:
                return now - set_by

            outcome = early(times, NOW, unset)
            self.assertEqual(outcome, Retry(after=after, attempted=False), set_by)


class GivenUpTests(SynchronousTestCase):
    """
    L{given_up}.
    """

    def test_limits(self) -> None:
        """
        A task that has had its attempts is buried with its history.
        """
        history = History(2, NOW, NOW, 500)
        self.assertIsNone(given_up({}, history, RetryPolicy(max_attempts=3), NOW))
        outcome = given_up({}, history, RetryPolicy(max_attempts=2), NOW)
        assert isinstance(outcome, Bury)
        self.assertEqual(outcome.kind, EXHAUSTED)
        self.assertEqual(outcome.headers["quebert-attempts"], 2)
        self.assertIn("this mediator makes no more attempts at it", outcome.reason)


class NoTaskTests(SynchronousTestCase):
    """
    L{no_task}.
    """

    def test_kinds(self) -> None:
        """
        It is buried or discarded as is wanted; what another mediator can do is buried.
        """
        error = BadTask("url is missing")
        text = "not a task (uuid 1): url is missing"
        found = no_task({"uuid": "1"}, error, BOUNDS, bury=True)
        self.assertEqual(found, Bury(text, POISON))
        found = no_task({"uuid": "1"}, error, BOUNDS, bury=False)
        self.assertEqual(found, Discard(text))
        found = no_task(None, NoDefaultURL("no URL"), BOUNDS, bury=False)
        self.assertEqual(
            found, Bury("a task that another mediator may do: no URL", POISON)
        )

    def test_long_uuid(self) -> None:
        """
        A uuid that is too long is not told.
        """
        long = {"uuid": "x" * (BOUNDS.uuid + 1)}
        found = no_task(long, BadTask("no"), BOUNDS, bury=False)
        self.assertEqual(found, Discard("not a task: no"))
