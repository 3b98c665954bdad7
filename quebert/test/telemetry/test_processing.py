"""
Tests for L{quebert.telemetry._processing}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import attrs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from quebert.outcome import EXPIRED, Bury, Discard, Done, Outcome, Retry
from quebert.telemetry._instruments import Instruments
from quebert.telemetry._processing import Processor
from quebert.test.telemetry.recording import (
    PARENT,
    SPAN,
    TRACE,
    Recorded,
    attributes_of,
    traceparent,
)

COMMON = {
    "messaging.system": "rabbitmq",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
    "messaging.destination.name": "flow:tasks.high:tasks",
}


@attrs.define
class RoutedTask:
    """
    A message as a mediator gets it.
    """

    properties: Any
    body: bytes = b'{"url": "/"}'
    exchange: str = "flow"
    routing_key: str = "tasks.high"


def message(**headers: Any) -> RoutedTask:
    """
    A message with these headers.
    """
    return RoutedTask({"message-id": "u-1", "headers": headers})


class Unreadable(RoutedTask):
    """
    A message whose properties cannot be decoded.
    """

    @property
    def properties(self) -> Any:
        """
        What a real one raises.
        """
        raise ValueError("no table value has this type")

    @properties.setter
    def properties(self, value: object) -> None:
        """
        They are what they are.
        """


class ProcessingTests(SynchronousTestCase):
    """
    Each message that is processed has a span.
    """

    def setUp(self) -> None:
        self.recorded = Recorded()

    def process(
        self, came: Any, callback: Callable[[Any], Deferred[Any]]
    ) -> Deferred[Outcome]:
        """
        Process a message.
        """
        sdk = self.recorded.sdk
        processor = Processor(sdk, Instruments(sdk.meter), "tasks", callback)
        return processor(came)

    def processed(self, came: Any, outcome: Outcome) -> Outcome:
        """
        The outcome that comes out where this one came in.
        """
        return self.successResultOf(self.process(came, lambda _: succeed(outcome)))

    def test_done(self) -> None:
        """
        The span has what the conventions ask for; the span that has sent the message
        is its parent, and it has a link to it.
        """
        done = Done()
        self.assertIs(self.processed(message(traceparent=PARENT), done), done)
        [span] = self.recorded.spans
        self.assertEqual(span.name, "process flow:tasks.high:tasks")
        self.assertEqual(span.kind, SpanKind.CONSUMER)
        assert span.parent is not None
        self.assertEqual(f"{span.parent.trace_id:032x}", TRACE)
        self.assertEqual(f"{span.parent.span_id:016x}", SPAN)
        self.assertEqual([each.context for each in span.links], [span.parent])
        self.assertEqual(span.status.status_code, StatusCode.UNSET)
        self.assertEqual(
            attributes_of(span),
            {
                **COMMON,
                "messaging.rabbitmq.destination.routing_key": "tasks.high",
                "messaging.message.id": "u-1",
                "messaging.message.body.size": 12,
                "quebert.task.attempt": 1,
                "quebert.task.outcome": "done",
            },
        )
        for name in (
            "messaging.client.consumed.messages",
            "messaging.process.duration",
        ):
            of_queue = {**COMMON, "messaging.destination.name": "tasks"}
            points = self.recorded.points(name)
            self.assertEqual(points, {frozenset(of_queue.items()): 1})

    def test_not_done(self) -> None:
        """
        What becomes of the task, and why.
        """
        for outcome, told in (
            (Retry(after=8), {"outcome": "retry", "retry_after": 8.0}),
            (Discard("has expired", EXPIRED), {"outcome": "expired"}),
            (Bury("had 5 attempts", "exhausted"), {"outcome": "buried"}),
        ):
            self.processed(message(traceparent=PARENT), outcome)
            span = self.recorded.spans[-1]
            self.assertEqual(span.status.status_code, StatusCode.ERROR)
            given = attributes_of(span)
            for name, value in told.items():
                self.assertEqual(given[f"quebert.task.{name}"], value)
        types = [attributes_of(each)["error.type"] for each in self.recorded.spans]
        self.assertEqual(types, ["_OTHER", "expired", "exhausted"])
        reasons = [each.status.description for each in self.recorded.spans]
        self.assertEqual(reasons, [None, "has expired", "had 5 attempts"])

    def test_postponed(self) -> None:
        """
        A message that nothing was done with has no span, and no headers.
        """
        retry = Retry(attempted=False)
        self.assertIs(self.processed(message(), retry), retry)
        self.assertEqual(self.recorded.spans, [])
        points = self.recorded.points("messaging.client.consumed.messages")
        self.assertEqual(points, {})

    def test_attempts(self) -> None:
        """
        The headers of the message tell how many attempts there were.
        """
        came = message(
            **{
                "quebert-attempts": 2,
                "quebert-first-attempt": 1.0,
                "quebert-last-attempt": 2.0,
            }
        )
        self.processed(came, Done())
        told = attributes_of(self.recorded.spans[0])
        self.assertEqual(told["quebert.task.attempt"], 3)

    def test_untraced(self) -> None:
        """
        A message that nobody has traced tells of its first span from then on.
        """
        outcomes: list[Outcome] = [
            Retry(headers={"a": 1}, otherwise=Retry(headers={"b": 2})),
            Bury("no more", headers={"a": 1}),
        ]
        for outcome in outcomes:
            changed = self.processed(message(), outcome)
            span = self.recorded.spans[-1]
            self.assertEqual((span.parent, span.links), (None, ()))
            told = {"traceparent": traceparent(span.context)}
            assert isinstance(changed, (Retry, Bury))
            self.assertEqual(changed.headers, {"a": 1, **told})
            if isinstance(changed, Retry):
                assert changed.otherwise is not None
                self.assertEqual(changed.otherwise.headers, {"b": 2, **told})
        for unchanged in (Done(), Discard("has expired")):
            self.assertIs(self.processed(message(), unchanged), unchanged)

    def test_traced_retry(self) -> None:
        """
        The outcome of a traced message is as it was: its headers stay.
        """
        retry = Retry(headers={"a": 1})
        self.assertIs(self.processed(message(traceparent=PARENT), retry), retry)

    def test_current(self) -> None:
        """
        The span is current while the callback is called, and no longer.
        """
        seen: list[Any] = []

        def callback(message: Any) -> Deferred[Any]:
            seen.append(get_current_span().get_span_context())
            return succeed(Done())

        self.successResultOf(self.process(message(), callback))
        self.assertEqual(seen, [self.recorded.spans[0].context])
        self.assertFalse(get_current_span().get_span_context().is_valid)

    def test_failed(self) -> None:
        """
        A callback that fails has failed.
        """
        failing = self.process(message(), lambda _: fail(KeyError("secret")))
        self.failureResultOf(failing, KeyError)
        [span] = self.recorded.spans
        self.assertEqual(attributes_of(span)["error.type"], "KeyError")

        def raising(message: Any) -> Deferred[Any]:
            raise KeyError

        self.assertRaises(KeyError, self.process, message(), raising)
        self.assertFalse(get_current_span().get_span_context().is_valid)

    def test_cancelled(self) -> None:
        """
        Cancelling reaches the callback, and what it makes of that is the outcome.
        """
        deciding: Deferred[Outcome] = Deferred()
        deciding.addErrback(lambda f: Retry(after=f.trap(CancelledError) and 3))
        decided = self.process(message(traceparent=PARENT), lambda _: deciding)
        self.assertNoResult(decided)
        decided.cancel()
        self.assertEqual(self.successResultOf(decided), Retry(after=3))

    def test_cancelled_in_vain(self) -> None:
        """
        A callback that goes on for a while ends into nothing.
        """
        slow: Deferred[Outcome] = Deferred(lambda _: None)
        deciding: Deferred[Outcome] = succeed(None).addCallback(lambda _: slow)
        slow.addErrback(lambda _: later)
        later: Deferred[Outcome] = Deferred(lambda d: None)
        decided = self.process(message(), lambda _: deciding)
        decided.cancel()
        self.failureResultOf(decided, CancelledError)
        later.callback(Done())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_sampling(self) -> None:
        """
        Whoever began the trace decides whether it is recorded.
        """
        self.recorded = Recorded(ParentBased(ALWAYS_ON))
        self.processed(message(traceparent=PARENT[:-1] + "0"), Done())
        self.assertEqual(self.recorded.spans, [])
        self.processed(message(traceparent=PARENT), Done())
        self.processed(message(), Done())
        self.assertEqual(len(self.recorded.spans), 2)
        points = self.recorded.points("messaging.process.duration")
        self.assertEqual(list(points.values()), [3])

    def test_odd_messages(self) -> None:
        """
        Whatever a message has for properties, it is processed.
        """
        odd: list[Any] = [
            Unreadable(None),
            RoutedTask({}),
            RoutedTask({"headers": None, "message-id": b"\xff"}),
            RoutedTask({"headers": {"traceparent": 7, "quebert-attempts": "x"}}),
            RoutedTask({"message-id": "\ud800\n" * 999}, routing_key="é\ud800" * 99),
            RoutedTask({}, exchange="\udcff", routing_key=""),
        ]
        for each in odd:
            self.assertEqual(self.processed(each, Done()), Done())
        self.assertEqual(len(self.recorded.spans), len(odd))
        encode_spans(self.recorded.spans).SerializeToString()  # all can be exported

    def test_broken(self) -> None:
        """
        Where no span can be made, the message is processed without.
        """
        sdk = self.recorded.sdk
        processor = Processor(
            sdk, Instruments(sdk.meter), "tasks", lambda _: succeed(Done())
        )
        with mock.patch.object(processor, "_tracer", None):
            self.assertEqual(self.successResultOf(processor(message())), Done())
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.patch(processor, "instruments", None)
        self.assertEqual(self.successResultOf(processor(message())), Done())
        self.assertEqual(self.flushLoggedErrors(), [])  # just told
