"""
Tests for L{quebert.telemetry._requests}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from opentelemetry.context import attach, detach, set_value
from opentelemetry.trace import SpanKind, StatusCode
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.boundaries import SigningHTTPClient
from quebert.errors import IncompleteAnswer
from quebert.mediator import Mediator
from quebert.outcome import Done, Retry
from quebert.signatures import SharedSecret, Signer
from quebert.telemetry._instruments import Instruments
from quebert.telemetry._requests import CURRENT, RequestSpan, traced_client
from quebert.test.mediating import FakeHTTP, message
from quebert.test.telemetry.recording import Recorded, attributes_of, traceparent

URL = "http://localhost:8000/a"
COMMON = {
    "http.request.method": "POST",
    "server.address": "localhost",
    "server.port": 8000,
    "url.scheme": "http",
}


@attrs.define
class FakeTask:
    """
    What a request is made for.
    """

    number: int = 1
    was_cancelled: bool = False
    request: RequestSpan | None = None
    error: str = "?"


@attrs.define
class OpenAnswer:
    """
    A response whose body comes when a test says so.
    """

    code: int = 200
    phrase: bytes = b"Fine"
    body: Deferred[bytes] = attrs.field(factory=Deferred)

    def content(self) -> Deferred[bytes]:
        """
        The body.
        """
        return self.body


class ScriptedHTTP:
    """
    An HTTP client that answers as it is told.
    """

    def __init__(self) -> None:
        self.answer: Callable[[], Any] = Deferred
        self.headers: list[Mapping[str, str]] = []

    def request(self, method: str, url: str, *, headers: Any, **more: Any) -> Any:
        """
        Note the headers.
        """
        self.headers.append(headers)
        return self.answer()


class ScriptedSigningHTTP(ScriptedHTTP):
    """
    One that signs.
    """

    def make_request(
        self, method: str, url: str, fields: Any, body: Any, sign: Any = None
    ) -> Any:
        """
        Note the headers.
        """
        more = {} if sign is None else sign()
        return self.request(method, url, headers={**dict(fields), **more}, data=body)


class RequestTests(SynchronousTestCase):
    """
    Each request has a span, from its beginning to the last byte of the answer.
    """

    def setUp(self) -> None:
        self.recorded = Recorded()
        self.http: Any = ScriptedHTTP()
        self.task = FakeTask()

    @property
    def client(self) -> Any:
        """
        The traced client.
        """
        sdk = self.recorded.sdk
        return traced_client(sdk, Instruments(sdk.meter), self.http)

    def request(self, answer: Callable[[], Any], **headers: str) -> Any:
        """
        Make a request for the task.
        """
        self.http.answer = answer
        token = attach(set_value(CURRENT, self.task))
        try:
            return self.client.request("POST", URL, headers=headers, data=b"{}")
        finally:
            detach(token)

    def answered(self, code: int) -> dict[str, Any]:
        """
        The attributes of the span of a request that was answered at once.
        """
        answer = OpenAnswer(code)
        answer.body.callback(b"")
        response = self.successResultOf(self.request(lambda: succeed(answer)))
        self.successResultOf(response.content())
        return dict(attributes_of(self.recorded.spans[-1]))

    def test_answered(self) -> None:
        """
        The span has what the conventions ask for, and the request tells of it.
        """
        told = self.answered(200)
        [span] = self.recorded.spans
        self.assertEqual((span.name, span.kind), ("POST", SpanKind.CLIENT))
        self.assertEqual(span.status.status_code, StatusCode.UNSET)
        expected = {**COMMON, "url.full": URL, "http.response.status_code": 200}
        self.assertEqual(told, expected)
        headers = [{"traceparent": traceparent(span.context)}]
        self.assertEqual(self.http.headers, headers)
        self.assertEqual(self.task.error, "")
        point = frozenset({**COMMON, "http.response.status_code": 200}.items())
        points = self.recorded.points("http.client.request.duration")
        self.assertEqual(points, {point: 1})

    def test_statuses(self) -> None:
        """
        A 4xx and a 5xx are errors of the request; a redirection is one of the task.
        """
        for code, error, of_task in (
            (204, None, ""),
            (302, None, "302"),
            (404, "404", "404"),
            (503, "503", "503"),
        ):
            told = self.answered(code)
            self.assertEqual(told.get("error.type"), error)
            self.assertEqual(self.task.error, of_task)
            is_error = self.recorded.spans[-1].status.status_code is StatusCode.ERROR
            self.assertEqual(is_error, error is not None)

    def test_again(self) -> None:
        """
        Another attempt tells how many there were before it.
        """
        self.assertNotIn("http.request.resend_count", self.answered(200))
        self.task.number = 3
        self.assertEqual(self.answered(200)["http.request.resend_count"], 2)

    def test_body(self) -> None:
        """
        The span ends with the body; the response is otherwise as it was.
        """
        answer = OpenAnswer()
        response = self.successResultOf(self.request(lambda: succeed(answer)))
        self.assertEqual((response.code, response.phrase), (200, b"Fine"))
        body = response.content()
        self.assertEqual(self.recorded.spans, [])
        answer.body.callback(b"all")
        self.assertEqual(self.successResultOf(body), b"all")
        self.assertEqual(len(self.recorded.spans), 1)

    def test_body_cut_short(self) -> None:
        """
        A body that ends early is an error, whatever the status.
        """
        answer = OpenAnswer()
        response = self.successResultOf(self.request(lambda: succeed(answer)))
        body = response.content()
        answer.body.errback(IncompleteAnswer("it ended early", b""))
        self.failureResultOf(body, IncompleteAnswer)
        told = attributes_of(self.recorded.spans[0])
        self.assertEqual(told["error.type"], "IncompleteAnswer")
        self.assertEqual(told["http.response.status_code"], 200)

    def test_body_not_read(self) -> None:
        """
        Where nobody reads the body, the span ends with the task.
        """
        answer = OpenAnswer(500)
        self.successResultOf(self.request(lambda: succeed(answer)))
        assert self.task.request is not None
        self.task.request.end()
        self.task.request.end()
        [span] = self.recorded.spans
        self.assertEqual(attributes_of(span)["error.type"], "500")

    def test_no_answer(self) -> None:
        """
        An error is told by its kind; it fails the request as before.
        """
        failing = self.request(lambda: fail(ConnectionRefusedError("at secret")))
        self.failureResultOf(failing, ConnectionRefusedError)

        def raising() -> Any:
            raise KeyError("secret")

        self.assertRaises(KeyError, self.request, raising)

        async def coroutine() -> Any:
            raise LookupError("secret")

        self.failureResultOf(self.request(coroutine), LookupError)
        types = [attributes_of(each)["error.type"] for each in self.recorded.spans]
        self.assertEqual(types, ["ConnectionRefusedError", "KeyError", "LookupError"])
        self.assertEqual(self.task.error, "LookupError")

    def test_cancelled(self) -> None:
        """
        A request is cancelled since it takes too long, or since nobody wants it.
        """
        for was_cancelled, error in ((False, "timeout"), (True, "cancelled")):
            self.task.was_cancelled = was_cancelled
            requesting = self.request(Deferred)
            requesting.addErrback(lambda _: None)
            requesting.cancel()
            told = attributes_of(self.recorded.spans[-1])
            self.assertEqual(told["error.type"], error)

    def test_own_headers(self) -> None:
        """
        A task's own trace is left as it is.
        """
        self.request(Deferred, Traceparent="mine")
        self.request(Deferred, tracestate="mine", other="x")
        own = [{"Traceparent": "mine"}, {"tracestate": "mine", "other": "x"}]
        self.assertEqual(self.http.headers, own)

    def test_without_task(self) -> None:
        """
        A request that is made for no task has a span, too.
        """
        answer = OpenAnswer()
        self.http.answer = lambda: succeed(answer)
        response = self.successResultOf(self.client.request("GET", URL))
        answer.body.callback(b"")
        self.successResultOf(response.content())
        self.assertEqual([each.name for each in self.recorded.spans], ["GET"])

    def test_signing(self) -> None:
        """
        A client signs if that which makes the requests can.
        """
        self.assertNotIsInstance(self.client, SigningHTTPClient)
        self.http = ScriptedSigningHTTP()
        self.assertIsInstance(self.client, SigningHTTPClient)
        signer = Signer([SharedSecret.generate()])
        mediator = Mediator(http=self.client, clock=Clock(), signer=signer)
        mediator.messageReceived(message(uuid="u-1"))
        [headers] = self.http.headers
        self.assertIn("webhook-signature", {name.lower() for name in headers})
        self.assertIn("traceparent", headers)

    def test_mediator(self) -> None:
        """
        A mediator has it make its requests: its outcomes are the same.
        """
        for code, expected in ((200, Done), (500, Retry)):
            self.http = FakeHTTP(code)
            mediator = Mediator(http=self.client, clock=Clock())
            outcome = self.successResultOf(mediator.messageReceived(message()))
            self.assertIsInstance(outcome, expected)
        self.assertEqual(len(self.recorded.spans), 2)

    def test_mediator_times_out(self) -> None:
        """
        A request that takes longer than its task may is a timeout.
        """
        clock = Clock()
        mediator = Mediator(http=self.client, clock=clock)
        self.http.answer = Deferred
        receiving = mediator.messageReceived(message(timeout=5))
        clock.advance(6)
        self.assertIsInstance(self.successResultOf(receiving), Retry)
        told = attributes_of(self.recorded.spans[0])
        self.assertEqual(told["error.type"], "timeout")

    def test_broken(self) -> None:
        """
        Where no span can be made, the request is made without.
        """
        client = self.client
        self.patch(client, "_tracer", None)
        self.http.answer = lambda: succeed("answer")
        answered = client.request("POST", URL, headers={"a": "b"})
        self.assertEqual(self.successResultOf(answered), "answer")
        self.assertEqual(self.http.headers, [{"a": "b"}])
        self.assertEqual(len(self.flushLoggedErrors()), 1)
