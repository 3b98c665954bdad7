"""
Tests for L{quebert.operations._series}: the last minute, by seconds.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.operations._series import BOUNDS, SECONDS, Durations, SecondCounts


class CountsTests(SynchronousTestCase):
    """
    Numbers by second.
    """

    def test_series(self) -> None:
        """
        Only seconds that are over are told, the oldest first.
        """
        counts = SecondCounts()
        counts.add(100.2, 3)
        counts.add(100.9, 4)
        counts.add(102.0, 5)
        self.assertEqual(counts.series(102.5)[-3:], (0.0, 7.0, 0.0))
        self.assertEqual(counts.series(103.0)[-3:], (7.0, 0.0, 5.0))
        self.assertEqual(len(counts.series(103.0)), SECONDS)
        self.assertEqual(counts.rate(103.0, 3), 4.0)

    def test_forgets(self) -> None:
        """
        A number is told for a minute.
        """
        counts = SecondCounts()
        counts.add(100, 3)
        self.assertEqual(counts.series(160)[0], 3)
        self.assertEqual(sum(counts.series(161)), 0)
        counts.add(10**9, 1)  # without going through each second
        self.assertEqual(sum(counts.series(10**9 + 1)), 1)

    def test_clock_back(self) -> None:
        """
        A clock that goes back stands still.
        """
        counts = SecondCounts()
        counts.add(100, 3)
        counts.add(40, 4)
        self.assertEqual(counts.series(101)[-1], 7)

    def test_clock_far_back(self) -> None:
        """
        One that was set back by an hour does not stand still for an hour.
        """
        counts = SecondCounts()
        counts.add(10_000, 3)
        counts.add(6_400, 4)
        self.assertEqual(counts.series(6_401)[-2:], (0.0, 4.0))

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.floats(0, 200), st.integers(0, 9))))
    def test_none_is_lost(self, events: list[tuple[float, int]]) -> None:
        """
        The sum of the series is that of all numbers of the last minute.
        """
        counts = SecondCounts()
        events.sort()
        for now, number in events:
            counts.add(now, number)
        wanted = sum(n for now, n in events if 201 - SECONDS <= int(now) < 201)
        self.assertEqual(sum(counts.series(201)), wanted)


class DurationsTests(SynchronousTestCase):
    """
    How long things took.
    """

    def test_quantiles(self) -> None:
        """
        A quantile is told to within a fifth, and is never too low.
        """
        durations = Durations()
        durations.add(100, (n / 1000 for n in range(1, 101)))
        half, most = durations.quantiles(100.5, 0.5, 0.99)
        assert half is not None
        assert most is not None
        self.assertTrue(0.05 <= half <= 0.05 * 1.2, half)
        self.assertTrue(0.099 <= most <= 0.099 * 1.2, most)

    def test_none(self) -> None:
        """
        There is none where nothing happened in the last minute.
        """
        durations = Durations()
        self.assertEqual(durations.quantiles(1, 0.5), (None,))
        durations.add(1, [1.0])
        self.assertEqual(durations.quantiles(100, 0.5), (None,))

    def test_odd(self) -> None:
        """
        What cannot be a duration does no harm.
        """
        durations = Durations()
        odd = [-1.0, 0.0, float("nan"), float("inf"), 1e300]
        durations.add(1, odd)
        self.assertEqual(durations.quantiles(1, 0.5, 1), (BOUNDS[0], BOUNDS[-1]))

    @settings(deadline=None)
    @given(st.floats(BOUNDS[0], BOUNDS[-1]))
    def test_bounds(self, seconds: float) -> None:
        """
        Each is counted below the first bound that is not smaller.
        """
        durations = Durations()
        durations.add(1, [seconds])
        (found,) = durations.quantiles(1, 0.5)
        assert found is not None
        self.assertTrue(seconds <= found * 1.0001 <= seconds * 1.2)
