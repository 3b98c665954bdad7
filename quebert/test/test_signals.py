"""
Tests for C{quebert._signals}.
"""

from __future__ import annotations

import signal

from twisted.trial.unittest import SynchronousTestCase

from quebert._signals import signal_in_words, signal_name


class SignalTests(SynchronousTestCase):
    """
    What a signal is called.
    """

    def test_named(self) -> None:
        """
        By its name, and by what the system says of it.
        """
        self.assertEqual(signal_name(signal.SIGSEGV), "SIGSEGV")
        words = signal_in_words(signal.SIGSEGV)
        self.assertEqual(words, "SIGSEGV (segmentation fault)")

    def test_no_name(self) -> None:
        """
        By its number, if it has no name, whether or not there is such a signal.
        """
        for number in (signal.SIGRTMIN + 3, 1_000):
            self.assertEqual(signal_name(number), f"signal {number:d}")
            self.assertEqual(signal_in_words(number), f"signal {number:d}")
