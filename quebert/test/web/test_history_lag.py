"""
L{HistoryLag}: how far the history is behind.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.web.cluster._history_feeder import HistoryLag


class HistoryLagTests(SynchronousTestCase):
    """
    How long a batch that was heard of has not been written.
    """

    def test_behind(self) -> None:
        """
        It is the age of the oldest one.
        """
        lag = HistoryLag()
        self.assertEqual(lag.behind(5.0), 0.0)
        lag.heard("a", 7, 10.0)
        lag.heard("b", 1, 11.0)
        lag.heard("a", 8, 12.0)
        self.assertEqual(lag.behind(15.0), 5.0)
        lag.written("a", 7)
        self.assertEqual(lag.behind(15.0), 4.0)
        lag.written("b", 1)
        self.assertEqual(lag.behind(15.0), 3.0)
        lag.written("a", 8)
        self.assertEqual(lag.behind(15.0), 0.0)

    def test_dropped(self) -> None:
        """
        One that never comes is forgotten once a later one is written.
        """
        lag = HistoryLag()
        lag.heard("dead", 9, 1.0)
        lag.heard("a", 1, 2.0)
        lag.heard("a", 2, 3.0)
        lag.written("a", 1)
        self.assertEqual(lag.behind(5.0), 2.0)

    def test_written_first(self) -> None:
        """
        A batch may be written before others hear of it.
        """
        lag = HistoryLag()
        lag.written("a", 3)
        lag.heard("a", 2, 1.0)
        lag.heard("a", 3, 2.0)
        self.assertEqual(lag.behind(9.0), 0.0)

    def test_bounded(self) -> None:
        """
        While nothing is written, not all is remembered.
        """
        lag = HistoryLag()
        for number in range(20_000):
            lag.heard("a", number + 1, float(number))
        self.assertEqual(lag.behind(20_000.0), 10_000.0)
        for number in range(20_000):
            lag.written(str(number), 1)
        self.assertEqual(lag.behind(20_000.0), 10_000.0)
        lag.written("a", 20_000)
        self.assertEqual(lag.behind(20_000.0), 0.0)
