"""
Tests for C{quebert._reentrancy}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert._reentrancy import NonReentrant


class NonReentrantTests(SynchronousTestCase):
    """
    Work that asks for itself.
    """

    def test_within(self) -> None:
        """
        What is asked for from within is done once, when the work has been done.
        """
        events: list[str] = []

        def work() -> None:
            events.append("begin")
            if len(events) < 4:
                again()
                again()
            events.append("end")

        again = NonReentrant(work)
        again()
        self.assertEqual(events, ["begin", "end"] * 3)

    def test_error(self) -> None:
        """
        Work that has failed can be asked for again.
        """
        results = [True, False]

        def work() -> None:
            again()
            if not results.pop():
                raise ValueError

        again = NonReentrant(work)
        self.assertRaises(ValueError, again)
        self.assertEqual(results, [True])
        self.assertRaises(IndexError, again)
        self.assertEqual(results, [])
