"""
Tests for L{quebert.service._lag}: by how much the reactor is late.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.service._lag import LOOK, WINDOW, Lag


class LagTests(SynchronousTestCase):
    """
    L{Lag} looks at a timer.
    """

    def test_late(self) -> None:
        """
        The longest lag is told for a window at least, and two at most.
        """
        clock = Clock()
        lag = Lag(clock)
        lag.start()
        lag.start()
        clock.pump([LOOK] * 10)
        self.assertEqual(lag.most, 0.0)
        clock.advance(LOOK + 2.0)
        clock.pump([LOOK] * int(WINDOW / LOOK))
        self.assertEqual(lag.most, 2.0)
        clock.pump([LOOK] * int(WINDOW / LOOK))
        self.assertEqual(lag.most, 0.0)
        lag.stop()
        lag.stop()
        self.assertEqual(clock.getDelayedCalls(), [])
