"""
Tests for L{quebert.telemetry._instruments}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.telemetry._instruments import MOST_SERIES, OVERFLOW, Instruments
from quebert.test.telemetry.recording import Recorded


class SeriesTests(SynchronousTestCase):
    """
    Whoever chooses hosts cannot have metrics grow without end.
    """

    def test_limit(self) -> None:
        """
        What comes beyond a number of series is one more.
        """
        recorded = Recorded()
        instruments = Instruments(recorded.sdk.meter)
        for _ in range(2):
            for number in range(MOST_SERIES + 10):
                instruments.requested(0.1, {"server.address": f"host-{number}"})
        points = recorded.points("http.client.request.duration")
        self.assertEqual(len(points), MOST_SERIES + 1)
        self.assertEqual(points[frozenset(OVERFLOW.items())], 20)
        self.assertEqual(points[frozenset({"server.address": "host-0"}.items())], 2)
