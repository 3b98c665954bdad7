"""
Tests for L{quebert.mediator._past}.
"""

from __future__ import annotations

import math
from typing import Any

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from quebert.errors import BadStatus
from quebert.mediator._past import answer_of, failures_in, field_of, history_of
from quebert.policy import History
from quebert.test.mediating import FakeMessage, FakeResponse, UnreadableMessage


class PastTests(SynchronousTestCase):
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
        read = history_of(FakeMessage(b"", {"headers": headers}), {})
        self.assertEqual(read, told)
        counted = History(2, in_body=2)
        for message in (
            FakeMessage(b""),
            FakeMessage(b"", {"headers": "none"}),
            UnreadableMessage(b""),
        ):
            self.assertEqual(history_of(message, {"failures": 2}), counted)
            self.assertEqual(history_of(message, {}), History())

    def test_answer(self) -> None:
        """
        An answer has its status, and what of its text is whole.
        """
        error = BadStatus(503, "busy", body="säge".encode()[:2])
        answer = answer_of(Failure(error))
        assert answer is not None
        self.assertEqual((answer.status, answer.body), (503, "s"))
        self.assertIsNone(answer_of(Failure(ValueError())))

    def test_fields(self) -> None:
        """
        A field may come several times, or not at all; another library's headers tell
        none.
        """
        response = FakeResponse(503)
        response.headers = Headers({"retry-after": ["5", "9"]})
        self.assertEqual(field_of(response, b"Retry-After"), ["5", "9"])
        self.assertEqual(field_of(response, b"other"), [])
        self.assertEqual(field_of(object(), b"other"), [])
