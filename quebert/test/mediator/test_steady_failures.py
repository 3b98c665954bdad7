"""
Tests for L{quebert.mediator._steady_failures}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.mediator._steady_failures import SteadyFailures
from quebert.outcome import Retry
from quebert.test.mediating import NOW
from quebert.test.mediator.doubles import FakeFailedTask


class SteadyFailureTests(SynchronousTestCase):
    """
    L{SteadyFailures}.
    """

    def test_steady(self) -> None:
        """
        Each failure is followed by the same delay, which can be changed, and each is
        told.
        """
        policy = SteadyFailures(2.5)
        self.assertEqual(policy.outcome(FakeFailedTask(), NOW), Retry(after=2.5))
        policy.delay = 0
        self.assertEqual(policy.outcome(FakeFailedTask(), NOW), Retry(after=0))
        self.assertTrue(policy.is_told(10**6))

    def test_defaults(self) -> None:
        """
        It has no limits, heeds no answer, numbers no attempt, and reads no task.
        """
        policy = SteadyFailures(1)
        self.assertIsNone(policy.limits_for)
        self.assertIsNone(policy.overrules)
        self.assertIsNone(policy.attempt_header)
        self.assertFalse(policy.needs_whole_task)
