"""
Tests that trial runs, and pytest leaves to it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.trial.unittest import TestCase

__all__ = ["TrialOnlyTestCase"]


class TrialOnlyTestCase(TestCase):
    """
    Tests with the reactor, which trial runs.  Where pytest has begun to run the reactor
    already, trial is not even to begin with one.
    """

    #: Seconds: a test takes one or two, and far longer on a busy machine.
    timeout = 600.0

    def getSkip(self) -> tuple[bool, str | None]:
        """
        Whether the reactor runs, and what to say then.
        """
        reactor: Any = global_reactor
        if reactor.running:
            return True, "the reactor runs already: trial runs this"
        return super().getSkip()
