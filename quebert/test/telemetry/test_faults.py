"""
Tests for L{quebert.telemetry._faults}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.telemetry._faults import PERIOD, Faults


class FaultTests(SynchronousTestCase):
    """
    Faults are told once in a while.
    """

    def test_told(self) -> None:
        """
        The first of a while is told.
        """
        told: list[str] = []
        clock = Clock()
        faults = Faults(told.append, clock.seconds)
        for text in ("a", "b"):
            faults.met(text)
        clock.advance(PERIOD)
        faults.met("c")
        self.assertEqual(told, ["a", "c"])
