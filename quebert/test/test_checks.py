"""
Tests for L{quebert.test.checks}.
"""

from __future__ import annotations

import ast
from pathlib import Path

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


class PropertiesTests(SynchronousTestCase):
    """
    The tests of properties.
    """

    def test_settings(self) -> None:
        """
        Each has settings of ours: by default one fails whose example takes 0.2 s, which
        happens on a machine under load.
        """
        for path in sorted(Path(__file__).parent.rglob("test_*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    how = " ".join(map(ast.unparse, node.decorator_list))
                    if "given(" in how:
                        where = f"{path.name}:{node.lineno}: {node.name}"
                        self.assertTrue("QUICK" in how or "settings(" in how, where)
