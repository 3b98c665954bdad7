"""
Tests for L{quebert.operations._why_words}: numbers and times in sentences.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.operations._why_words import before, counted, moment, pace, span


class WhyWordsTests(SynchronousTestCase):
    """
    A reader is not to calculate.
    """

    def test_counted(self) -> None:
        """
        One is one.
        """
        self.assertEqual(counted(1, "task"), "1 task")
        self.assertEqual(counted(20, "request"), "20 requests")
        self.assertEqual(before(0), "this task is the next")
        self.assertEqual(before(1), "1 task is before it")
        self.assertEqual(before(2), "2 tasks are before it")

    def test_pace(self) -> None:
        """
        Where less than one comes in two seconds, it is told how long one takes.
        """
        for rate, text in (
            (0.001, "one task in 17 minutes"),
            (0.5, "one task in 2 seconds"),
            (0.75, "0.75 tasks a second"),
            (1.0, "1 task a second"),
            (20.0, "20 tasks a second"),
            (0.0, "0 tasks a second"),
        ):
            self.assertEqual(pace(rate), text)

    def test_times(self) -> None:
        """
        A time has the unit that suits it, and a moment is the same everywhere.
        """
        self.assertEqual(span(119.0), "119 seconds")
        self.assertEqual(span(7200.0), "2 hours")
        self.assertEqual(span(200_000.0), "2 days")
        self.assertEqual(moment(1_700_000_000.0), "2023-11-14 22:13:20 UTC")
        self.assertEqual(moment(1e300), "a time beyond all calendars")
