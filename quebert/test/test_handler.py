"""
Tests for L{quebert.amqp.watch._handler}: from a message to an outcome, by way of a
callback.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.properties import encode_properties
from quebert.amqp.watch import DeliveredMessage
from quebert.amqp.watch._handler import ERROR_LIMIT, Handler
from quebert.amqp.wire import ERRORS, NOT_BEFORE
from quebert.outcome import Bury, Discard, Done, Retry


class HandlerTests(SynchronousTestCase):
    """
    A handler, whose callback answers as the test says.
    """

    def setUp(self) -> None:
        """
        Make one.
        """
        self.answer: Any = None
        self.called: list[DeliveredMessage] = []
        self.decided: list[Any] = []
        self.handler = self.make(1.0)

    def make(self, error_delay: float) -> Handler:
        """
        A handler; the time is 1000 s.
        """
        return Handler(self.callback, error_delay, lambda: 1000.0, lambda: 0.0)

    def callback(self, message: DeliveredMessage) -> Any:
        """
        What the user does with a message.
        """
        self.called.append(message)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def call(self, **headers: Any) -> DeliveredMessage:
        """
        Call the callback with another message.
        """
        message = DeliveredMessage("consumer", 1, False, "flow", "queue")
        names = {"errors": ERRORS, "not_before": NOT_BEFORE}
        told = {names[name]: value for name, value in headers.items()}
        message.encoded_properties = encode_properties({"headers": told})
        self.handler.call(message, lambda _, outcome: self.decided.append(outcome))
        return message

    def test_answers(self) -> None:
        """
        Each kind of answer is an outcome, also where it comes later.
        """
        retry, bury, discard, done = Retry(after=5), Bury("why"), Discard("why"), Done()
        answers: tuple[tuple[Any, Any], ...] = (
            (None, Done()),
            (done, done),
            ("text \u00e9", Retry(body="text \u00e9".encode())),
            (b"bytes", Retry(body=b"bytes")),
            (retry, retry),
            (bury, bury),
            (discard, discard),
        )
        for answer, outcome in answers:
            self.answer = answer
            self.call()
            self.assertEqual(self.decided.pop(), outcome)
            self.answer = later = Deferred[Any]()
            self.call()
            self.assertEqual(self.decided, [])
            later.callback(answer)
            self.assertEqual(self.decided.pop(), outcome)
            self.assertEqual(later.result, answer)
        self.assertEqual(self.handler.at_work, {})

    def test_wrong_answers(self) -> None:
        """
        What is no outcome, or one that cannot be carried out, is the callback's
        failure, and the log tells what it is.
        """
        text: Any = "text"
        nothing: Any = None
        wrong: Any = (
            (5, "must return None, bytes, str or an Outcome, not int"),
            (Retry(body=text), "the body of a Retry must be bytes, not str"),
            (Retry(after=text), "Retry(after=...) must be seconds, not str"),
            (Bury(nothing), "Bury(reason=...) must be a text, not NoneType"),
        )
        for answer, told in wrong:
            self.answer = answer
            self.call()
            (failure,) = self.flushLoggedErrors(TypeError)
            self.assertIn(told, str(failure.value))
            self.assertEqual(self.decided.pop().after, 1.0)

    def test_failures(self) -> None:
        """
        The message comes again later each time, up to a limit; 0 stays 0, and a delay
        beyond the limit does not grow.
        """
        self.answer = ValueError("no")
        for delay, expected in (
            (1.0, [1, 2, 4, 8, 16, 32, 64, 120, 120]),
            (50.0, [50, 100, ERROR_LIMIT]),
            (0.0, [0, 0]),
            (500.0, [500, 500]),
        ):
            self.handler = self.make(delay)
            for errors, seconds in enumerate(expected):
                message = self.call(errors=errors)
                self.assertEqual(self.decided.pop().after, seconds)
                self.assertEqual(message.errors, errors + 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 16)

    def test_not_due(self) -> None:
        """
        A message that is not due waits for the rest, which is no attempt.
        """
        for due in (1000.5, 1030.0):
            self.call(not_before=due, errors=3)
            self.assertEqual(self.called, [])
            self.assertEqual(
                self.decided.pop(), Retry(after=due - 1000, attempted=False)
            )
        for due in (999.5, 1000.0):
            self.call(not_before=due)
            self.assertEqual(self.decided.pop(), Done())

    def test_failures_in_a_row(self) -> None:
        """
        An attempt that does not fail ends the row; what was no attempt does not.
        """
        for answer, errors in (
            (None, 0),
            (Discard("no"), 0),
            (Retry(), 0),
            (Retry(attempted=False), 3),
        ):
            self.answer = answer
            self.assertEqual(self.call(errors=3).errors, errors)

    def test_strange_counts(self) -> None:
        """
        Anybody can write headers.
        """
        self.answer = Retry(attempted=False)
        for value, errors in ((-5, 0), (1e300, 10**6), ("x", 0), (2.5, 2)):
            self.assertEqual(self.call(errors=value).errors, errors)

    def test_given_up(self) -> None:
        """
        Nobody wants the outcomes of messages that were given up, however their
        callbacks end; those of later ones are wanted.
        """
        for end in ("answers", "fails", "is cancelled"):
            self.answer = later = Deferred[Any]()
            message = self.call()
            self.assertEqual(self.handler.give_up(), [message])
            self.assertEqual(list(self.handler.at_work), [message])
            if end == "answers":
                later.callback(None)
            elif end == "fails":
                later.errback(ValueError("no"))
            else:
                self.handler.cancel(message)
            self.assertEqual(self.decided, [None])
            self.decided.clear()
            self.handler.cancel(message)  # it has ended
            self.answer = None
            self.call()
            self.assertEqual(self.decided.pop(), Done())
            self.assertEqual(self.handler.give_up(), [])
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_again_after_it_was_given_up(self) -> None:
        """
        A message that was given up and comes again is like any other.
        """
        self.answer = later = Deferred[Any]()
        message = self.call()
        self.handler.give_up()
        later.callback(None)
        self.answer = None
        self.handler.call(message, lambda _, outcome: self.decided.append(outcome))
        self.assertEqual(self.decided, [None, Done()])

    def test_cancelled_by_itself(self) -> None:
        """
        A callback that is cancelled by somebody else has failed, which is logged.
        """
        self.answer = later = Deferred[Any]()
        self.call()
        later.cancel()
        self.assertEqual(self.decided.pop().after, 1.0)
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)
