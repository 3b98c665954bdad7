"""
Tests for L{quebert.cli._amounts}: numbers in few characters.
"""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.cli._amounts import amount, duration, rate, sparkline


class AmountTests(SynchronousTestCase):
    """
    Numbers for a column of five characters.
    """

    def test_amount(self) -> None:
        """
        Large numbers have a letter.
        """
        cases = {
            0: "0",
            9999: "9999",
            9999.6: "10.0k",
            12345: "12.3k",
            123456: "123k",
            999_600: "1.0M",
            10**9: "1.0G",
            -5: "-5",
        }
        self.assertEqual({each: amount(each) for each in cases}, cases)

    def test_rate(self) -> None:
        """
        Small rates have a tenth.
        """
        self.assertEqual(
            [rate(n) for n in (0, 0.25, 9.9, 12.3)], ["0", "0.2", "9.9", "12"]
        )

    def test_duration(self) -> None:
        """
        Durations have a unit.
        """
        cases = {
            0: "0s",
            0.0004: "0ms",
            0.0123: "12ms",
            0.9996: "1.0s",
            3.44: "3.4s",
            42: "42s",
            90: "2m",
            3600: "60m",
            7200: "2h",
            86400 * 3: "3d",
        }
        self.assertEqual({each: duration(each) for each in cases}, cases)

    def test_unknown(self) -> None:
        """
        What nobody tells is a question mark.
        """
        for each in (None, math.inf, math.nan):
            self.assertEqual((amount(each), rate(each), duration(each)), ("?",) * 3)

    @settings(deadline=None)
    @given(st.floats(0, 1e20))
    def test_narrow(self, number: float) -> None:
        """
        None takes more than six characters.
        """
        for each in (amount(number), rate(number), duration(number)):
            self.assertLessEqual(len(each), 6)


class SparklineTests(SynchronousTestCase):
    """
    Series as bars.
    """

    def test_bars(self) -> None:
        """
        The highest is the largest number, and none of any others is empty.
        """
        self.assertEqual(sparkline([0, 1, 50, 100], 10), "▁▂▅█")
        self.assertEqual(sparkline([0, 1, 50, 100], 2), "▅█")
        self.assertEqual(sparkline([0, 1, 50, 100], 4, ascii_only=True), "_.=#")

    def test_none(self) -> None:
        """
        Where nothing happened, the line is flat.
        """
        self.assertEqual(sparkline([0, 0, 0], 9), "▁▁▁")
        self.assertEqual((sparkline([], 9), sparkline([1], 0)), ("", ""))
