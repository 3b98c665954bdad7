"""
Tests for L{quebert.mediator._history}.
"""

from __future__ import annotations

import math
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert.mediator._adapters import BareMessage
from quebert.mediator._history import failures_in, history_of
from quebert.policy import History
from quebert.test.mediating import FakeMessage, UnreadableMessage


class HistoryTests(SynchronousTestCase):
    """
    What is known of a task from before.
    """

    def test_failures(self) -> None:
        """
        A count that is no number, or none that a header can hold, does no harm.
        """
        table: list[tuple[Any, int]] = [
            (3, 3),
            (2.9, 2),
            (-1, 0),
            (math.nan, 0),
            (math.inf, 2**31),
            (True, 0),
            ("3", 0),
            (None, 0),
        ]
        for count, failures in table:
            self.assertEqual(failures_in({"failures": count}), failures, count)
        self.assertEqual(failures_in({}), 0)

    def test_history(self) -> None:
        """
        It is read from the headers and the body; headers that cannot be read tell
        nothing.
        """
        told = History(3, 1.0, 2.0, 500)
        headers = {k: v for k, v in told.headers.items() if v is not None}
        read = history_of(BareMessage(FakeMessage(b"", {"headers": headers})), {})
        self.assertEqual(read, told)
        counted = History(2, in_body=2)
        for message in (
            FakeMessage(b""),
            FakeMessage(b"", {"headers": "none"}),
            UnreadableMessage(b""),
        ):
            watched = BareMessage(message)
            self.assertEqual(history_of(watched, {"failures": 2}), counted)
            self.assertEqual(history_of(watched, {}), History())
