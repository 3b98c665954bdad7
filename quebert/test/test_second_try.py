"""
Tests for C{quebert.http._second_try}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.http._second_try import was_missed


class MissedTests(SynchronousTestCase):
    """
    Whether a server was closing a connection as a request came.
    """

    def test_soon(self) -> None:
        """
        It was if that is heard within a second of the request, or before it was sent.
        """
        for seconds in (None, 0.0, 0.02, 1.0):
            self.assertTrue(was_missed(seconds, used=True, is_second_try=False))

    def test_late(self) -> None:
        """
        It was not if that is heard later, nor if the clock was set back.
        """
        for seconds in (1.1, -0.1):
            self.assertFalse(was_missed(seconds, used=True, is_second_try=False))

    def test_first_request(self) -> None:
        """
        No server has waited for long for the first request over a connection.
        """
        for seconds in (None, 0.0):
            self.assertFalse(was_missed(seconds, used=False, is_second_try=False))

    def test_twice(self) -> None:
        """
        There is no third try.
        """
        for seconds in (None, 0.0):
            self.assertFalse(was_missed(seconds, used=True, is_second_try=True))
