"""
Tests for L{quebert.mediator._backoff_failures}.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert.mediator._backoff_failures import BackoffFailures
from quebert.outcome import Bury, Retry
from quebert.policy import History, RetryPolicy
from quebert.test.mediating import NOW
from quebert.test.mediator.doubles import FakeFailedTask


class BackoffFailureTests(SynchronousTestCase):
    """
    L{BackoffFailures}.
    """

    def setUp(self) -> None:
        """
        One with a limit of 3 attempts.
        """
        self.events: list[Any] = []
        log = Logger(observer=self.events.append)  # type: ignore[arg-type]
        self.policy = BackoffFailures(2, 5, RetryPolicy(max_attempts=3), log)

    def test_counted(self) -> None:
        """
        Count and reason are put into the task, which goes back later each time.
        """
        for attempts, after in ((1, 2), (2, 4)):
            history = History(attempts, NOW, NOW, 500)
            failed = FakeFailedTask(history=history, error=ValueError())
            outcome = self.policy.outcome(failed, NOW)
            plain = Retry(after=after)
            self.assertEqual(outcome, Retry(b"{}", after, otherwise=plain))
            reason = "ValueError: it failed"
            expected = {"failures": attempts, "traceback": reason}
            self.assertEqual(failed.task, expected)

    def test_maximum(self) -> None:
        """
        No wait is longer than the maximum; both terms can be changed.
        """
        self.policy.limits = RetryPolicy(max_attempts=-1)
        failed = FakeFailedTask(history=History(9, NOW, NOW, 500), body=None)
        self.assertEqual(self.policy.outcome(failed, NOW), Retry(after=5))
        self.policy.constant, self.policy.maxDelay = 1, 7
        self.assertEqual(self.policy.outcome(failed, NOW), Retry(after=1))

    def test_limits(self) -> None:
        """
        It is buried after its attempts, unchanged.
        """
        failed = FakeFailedTask(history=History(3, NOW, NOW, 500))
        outcome = self.policy.outcome(failed, NOW)
        assert isinstance(outcome, Bury)
        self.assertEqual(outcome.headers["quebert-last-answer"], "oops")
        self.assertEqual(failed.task, {})
        self.assertIs(self.policy.limits_for({}), self.policy.limits)

    def test_too_large(self) -> None:
        """
        Where the count makes the task too large, it goes back as it was; nobody is
        told.
        """
        outcome = self.policy.outcome(FakeFailedTask(body=None), NOW)
        self.assertEqual((outcome, self.events), (Retry(after=2), []))

    def test_spoiled(self) -> None:
        """
        So it does where hooks have spoiled it, and the log says why.
        """
        failed = FakeFailedTask(spoiled="url is missing")
        self.assertEqual(self.policy.outcome(failed, NOW), Retry(after=2))
        (line,) = map(formatEvent, self.events)
        told = (
            "Task task 1 is put back as it came, since its hooks made it"
            " invalid: url is missing"
        )
        self.assertEqual(line, told)

    def test_traceback(self) -> None:
        """
        Of a long traceback the end is kept.
        """
        failed = FakeFailedTask(traceback="a" * 9_000 + "b")
        self.policy.traceback = True
        self.policy.outcome(failed, NOW)
        self.assertEqual(failed.task["traceback"], "a" * 3_999 + "b")

    def test_needs(self) -> None:
        """
        It encodes the whole task.
        """
        self.assertTrue(self.policy.needs_whole_task)
