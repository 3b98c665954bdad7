"""
Tests for L{quebert.mediator._attempt}: one request and its whole answer, in its time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._deadlines import Deadlines
from quebert._secrets import LONGEST
from quebert.errors import BadStatus, IncompleteAnswer, RequestTimedOut
from quebert.mediator._attempt import Attempt


class FakeResponse:
    """
    A response whose body the test delivers.
    """

    def __init__(self, code: int, cancelled: Callable[[Any], None]) -> None:
        self.code = code
        self.body: Deferred[bytes] = Deferred(cancelled)

    def content(self) -> Deferred[bytes]:
        """
        Fires when the test says so.
        """
        return self.body


class BrokenResponse:
    """
    A response that has lost its body.
    """

    code = 200

    def content(self) -> Deferred[bytes]:
        """
        Fails before there is anything to wait for.
        """
        raise ZeroDivisionError


class FakeAdmitted:
    """
    Notes how the request has ended, each time that it is told.
    """

    def __init__(self) -> None:
        self.ends: list[BaseException | None] = []
        self.ended = self.ends.append


class AttemptTests(SynchronousTestCase):
    """
    An attempt of 10 seconds at the most.
    """

    def setUp(self) -> None:
        """
        Make the request.
        """
        self.clock = Clock()
        self.cancelled: list[str] = []
        deadlines = Deadlines(lambda: self.clock, Attempt.late)
        self.answering: Deferred[Any] = Deferred(self._cancelling("request"))
        admitted: Any = FakeAdmitted()
        self.ends: list[BaseException | None] = admitted.ends
        attempt = Attempt(
            self.answering, "POST", "http://a/", 10, deadlines, admitted=admitted
        )
        self.success = attempt.success

    def _cancelling(self, what: str) -> Callable[[Any], None]:
        return lambda _: self.cancelled.append(what)

    def answer(self, code: int = 200) -> FakeResponse:
        """
        Send the head.
        """
        response = FakeResponse(code, self._cancelling("body"))
        self.answering.callback(response)
        return response

    def check_over(self) -> None:
        """
        Nothing is left, and nothing comes later; admission control was told once.
        """
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.ends), 1)

    def test_success(self) -> None:
        """
        It fires with the body when its last byte is there, and not before.
        """
        response = self.answer(201)
        self.assertNoResult(self.success)
        self.assertEqual(self.ends, [])
        response.body.callback(b"done")
        self.assertEqual(self.successResultOf(self.success), b"done")
        self.check_over()
        self.assertEqual(self.ends, [None])

    def test_result(self) -> None:
        """
        Where nobody wants the body, it fires with something else, just as late; a
        failure has the body still.
        """
        done = object()
        for code in (200, 500):
            deadlines = Deadlines(lambda: self.clock, Attempt.late)
            answering: Deferred[Any] = Deferred()
            attempt = Attempt(
                answering, "POST", "http://a/", 10, deadlines, result=done
            )
            response = FakeResponse(code, self._cancelling("body"))
            answering.callback(response)
            self.assertNoResult(attempt.success)
            response.body.callback(b"body")
            if code == 200:
                self.assertIs(self.successResultOf(attempt.success), done)
            else:
                error = self.failureResultOf(attempt.success, BadStatus).value
                self.assertEqual(error.body, b"body")

    def test_status(self) -> None:
        """
        It fails with any status but 2xx, once the body is there.
        """
        response = self.answer(404)
        self.assertNoResult(self.success)
        response.body.callback(b"")
        error = self.failureResultOf(self.success, BadStatus).value
        self.assertEqual(error.status, 404)
        self.assertEqual(str(error), "POST http://a/ was answered 404")
        self.check_over()
        self.assertEqual(self.ends, [error])

    def test_answer(self) -> None:
        """
        With it comes the answer, and the first bytes of its body: 2 KB, and what a
        secret may have beyond them.
        """
        response = self.answer(503)
        response.body.callback(b"x" * 100_000)
        error = self.failureResultOf(self.success, BadStatus).value
        self.assertIs(error.response, response)
        self.assertEqual(error.body, b"x" * (2048 + LONGEST))

    def test_overruled(self) -> None:
        """
        A 2xx can be no success, when somebody who is asked says so; of others
        nobody is asked.
        """
        asked: list[object] = []
        for code, verdict in ((200, True), (201, False), (500, False)):

            def overruled(response: object, verdict: bool = verdict) -> bool:
                asked.append(response)
                return verdict

            deadlines = Deadlines(lambda: self.clock, Attempt.late)
            answering: Deferred[Any] = Deferred()
            attempt = Attempt(answering, "POST", "http://a/", 10, deadlines, overruled)
            success = attempt.success
            response = FakeResponse(code, self._cancelling("body"))
            answering.callback(response)
            response.body.callback(b"body")
            if code == 201:
                self.assertEqual(self.successResultOf(success), b"body")
            else:
                error = self.failureResultOf(success, BadStatus).value
                self.assertEqual(error.status, code)
                self.assertIs(error.response, response)
        self.assertEqual(len(asked), 2)

    def test_failures(self) -> None:
        """
        It fails as the request does, or the body.
        """
        self.answering.errback(ZeroDivisionError())
        self.failureResultOf(self.success, ZeroDivisionError)
        self.check_over()
        self.setUp()
        self.answer().body.errback(ZeroDivisionError())
        self.failureResultOf(self.success, ZeroDivisionError)
        self.check_over()

    def test_status_of_a_cut_answer(self) -> None:
        """
        A body that does not end well does not hide a status that is no success.
        """
        cut = IncompleteAnswer("the body was cut short", b"x" * 20_000)
        for how, body in (
            (lambda r: r.body.errback(cut), b"x" * (2048 + LONGEST)),
            (lambda r: r.body.errback(ZeroDivisionError("oh")), b""),
            (lambda r: self.clock.advance(10.2), b""),
        ):
            self.setUp()
            response = self.answer(413)
            how(response)
            error = self.failureResultOf(self.success, BadStatus).value
            self.assertEqual((error.status, error.body), (413, body))
            self.assertIs(error.response, response)
            self.assertIn("POST http://a/ was answered 413; ", str(error))
            self.check_over()
            self.assertEqual(self.ends, [error])

    def test_cut_success(self) -> None:
        """
        A success must be whole, unless its head says that it is none.
        """
        for overruled in (None, lambda response: False, lambda response: True):
            deadlines = Deadlines(lambda: self.clock, Attempt.late)
            answering: Deferred[Any] = Deferred()
            attempt = Attempt(answering, "POST", "http://a/", 10, deadlines, overruled)
            success = attempt.success
            response = FakeResponse(200, self._cancelling("body"))
            answering.callback(response)
            response.body.errback(IncompleteAnswer("cut short"))
            says_none = overruled is not None and overruled(response)
            expected = BadStatus if says_none else IncompleteAnswer
            self.failureResultOf(success, expected)

    def test_broken_response(self) -> None:
        """
        A response that raises when it is asked for its body is a failure.
        """
        self.answering.callback(BrokenResponse())
        self.failureResultOf(self.success, ZeroDivisionError)
        self.check_over()

    def test_late(self) -> None:
        """
        What is waited for when the time is over is cancelled: the head, or the
        body.
        """
        for begin, waited_for in ((lambda: None, "request"), (self.answer, "body")):
            self.clock.advance(5)
            begin()
            self.clock.advance(4.9)
            self.assertNoResult(self.success)
            self.clock.advance(0.2)
            error = self.failureResultOf(self.success, RequestTimedOut).value
            self.assertEqual(str(error), "no complete answer within 10 s")
            self.assertEqual(self.cancelled, [waited_for])
            self.check_over()
            self.setUp()

    def test_cancel(self) -> None:
        """
        Cancelling it cancels what is waited for.
        """
        for begin, waited_for in (
            (lambda: None, "request"),
            (self.answer, "body"),
            (lambda: self.answer(413), "body"),
        ):
            begin()
            self.success.cancel()
            self.failureResultOf(self.success, CancelledError)
            self.assertEqual(self.cancelled, [waited_for])
            self.check_over()
            self.setUp()

    def test_answers_when_cancelled(self) -> None:
        """
        What answers as it is cancelled is late; what gives the body then has
        been in time.
        """
        deadlines = Deadlines(lambda: self.clock, Attempt.late)
        response = FakeResponse(200, lambda body: body.callback(b"done"))
        for has_head in (False, True):
            answering: Deferred[Any] = Deferred(lambda d: d.callback(response))
            attempt = Attempt(answering, "GET", "http://a/", 10, deadlines)
            success = attempt.success
            if has_head:
                answering.callback(response)
            self.clock.advance(10)
            if has_head:
                self.assertEqual(self.successResultOf(success), b"done")
            else:
                self.failureResultOf(success, RequestTimedOut)
        self.failureResultOf(self.success, RequestTimedOut)
