"""
Tests for L{quebert.mediator._answers}: what is read of an answer.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import BadStatus
from quebert.mediator._answers import answer_in, header_of, status_in
from quebert.policy import FailedAnswer
from quebert.test.mediating import FakeResponse


class AnswerTests(SynchronousTestCase):
    """
    Errors, with an answer and without.
    """

    def test_without(self) -> None:
        """
        An exception of another kind has no answer.
        """
        for error in (None, ValueError(), ConnectionError()):
            self.assertIsNone(status_in(error))
            self.assertIsNone(answer_in(error))

    def test_with(self) -> None:
        """
        A wrong status has one; a character that is cut off is left out of its text.
        """
        error = BadStatus(503, "was answered 503", None, "é€".encode()[:-1])
        self.assertEqual(status_in(error), 503)
        self.assertEqual(answer_in(error), FailedAnswer(503, "é"))

    def test_header(self) -> None:
        """
        All values of a header field are given, as text; none of what is no response.
        """
        response = FakeResponse(200, {"A": "b"})
        response.headers.addRawHeader(b"a", b"\xff")
        self.assertEqual(header_of(response, b"a"), ["b", "\ufffd"])
        self.assertEqual(header_of(response, b"c"), [])
        self.assertEqual(header_of(None, b"a"), [])
