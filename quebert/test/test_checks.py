"""
Tests for L{quebert.test.checks}.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from twisted.trial.unittest import SynchronousTestCase

from quebert.test.checks import refusal, run_machine


class _Failing(RuleBasedStateMachine):
    """
    A machine whose first step fails.
    """

    @rule(number=st.just(5))
    def step(self, number: int) -> None:
        """
        Fail.
        """
        raise ValueError(f"no {number}")


class RunMachineTests(SynchronousTestCase):
    """
    Sequences of a state machine.
    """

    def test_failure(self) -> None:
        """
        The text of a failure has the error and the steps that lead to it.
        """
        few = settings(max_examples=5, database=None)
        text = refusal(AssertionError, run_machine, _Failing, few)
        self.assertIn("ValueError: no 5", text)
        self.assertIn("state.step(number=5)", text)
