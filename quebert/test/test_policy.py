"""
How long a failed task waits.
"""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.policy import exponential
from quebert.test.checks import QUICK

ATTEMPTS = st.integers(1, 20) | st.integers(1, 2**63)


class ExponentialTests(SynchronousTestCase):
    """
    L{exponential} is the wait before a retry.
    """

    def test_growth(self) -> None:
        """
        The n-th retry comes after C{constant ** n} seconds.
        """
        waits = [exponential(n, constant=1.5, maximum=120) for n in (0, 1, 2, 3)]
        self.assertEqual(waits, [1.0, 1.5, 2.25, 3.375])

    def test_maximum(self) -> None:
        """
        It never comes after more than the maximum.
        """
        waits = [exponential(n, constant=1.5, maximum=120) for n in (11, 12, 1000)]
        self.assertEqual(waits, [1.5**11, 120.0, 120.0])
        self.assertEqual(exponential(1, constant=50, maximum=10), 10.0)

    def test_constant_wait(self) -> None:
        """
        A constant of one is a wait that stays the same.
        """
        self.assertEqual(exponential(2**63, constant=1, maximum=120), 1.0)

    def test_huge(self) -> None:
        """
        A huge number of attempts is the maximum, never an overflow.
        """
        for attempt in (10_000, 10**9, 2**63, 10**400):
            self.assertEqual(exponential(attempt, constant=1.5, maximum=120), 120.0)

    def test_huge_is_cheap(self) -> None:
        """
        A huge number of attempts costs nothing, with an integer constant
        neither: the number may come from a message.
        """
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.assertEqual(exponential(10**8, constant=2, maximum=120), 120.0)
        _, peak = tracemalloc.get_traced_memory()
        self.assertLess(peak, 100_000)

    def test_float(self) -> None:
        """
        It is a float, also where all that is given is integers.
        """
        for attempt in (1, 100):
            wait = exponential(attempt, constant=2, maximum=120)
            self.assertIsInstance(wait, float)

    @QUICK
    @given(ATTEMPTS, ATTEMPTS, st.floats(1, 1e9), st.floats(0, 1e9))
    def test_order(self, one: int, other: int, constant: float, maximum: float) -> None:
        """
        A later retry never comes sooner, and none after the maximum.
        """
        less, more = (
            exponential(n, constant=constant, maximum=maximum)
            for n in sorted((one, other))
        )
        self.assertLessEqual(less, more)
        self.assertLessEqual(more, maximum)
        self.assertGreaterEqual(less, min(1.0, maximum))
