"""
Tests for L{quebert.telemetry._sending}.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, TraceFlags
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import Unroutable
from quebert.telemetry._sending import MessageSender, MessageSpan
from quebert.test.telemetry.recording import Recorded, attributes_of, traceparent

COMMON = {
    "messaging.system": "rabbitmq",
    "messaging.operation.name": "publish",
    "messaging.operation.type": "send",
    "messaging.destination.name": "flow:tasks.high",
}


def sent(recorded: Recorded) -> MessageSpan:
    """
    The span of a message that is being sent.
    """
    properties = {"delivery-mode": 2, "headers": {"own": 1}}
    sender = MessageSender(recorded.sdk)
    span = sender.begin("flow", "tasks.high", "u-1", 17, properties)
    assert span is not None
    return span


class SendingTests(SynchronousTestCase):
    """
    Each message has a span.
    """

    def setUp(self) -> None:
        self.recorded = Recorded()

    def test_confirmed(self) -> None:
        """
        The span has what the conventions ask for, and the message tells of it.
        """
        span = sent(self.recorded)
        self.assertEqual(self.recorded.spans, [])
        span.ended(None)
        [made] = self.recorded.spans
        self.assertEqual(made.name, "publish flow:tasks.high")
        self.assertEqual(made.kind, SpanKind.PRODUCER)
        self.assertIsNone(made.parent)
        self.assertEqual(
            attributes_of(made),
            {
                **COMMON,
                "messaging.rabbitmq.destination.routing_key": "tasks.high",
                "messaging.message.id": "u-1",
                "messaging.message.body.size": 17,
            },
        )
        headers = {"own": 1, "traceparent": traceparent(made.context)}
        expected = {"delivery-mode": 2, "headers": headers}
        self.assertEqual(span.properties, expected)
        for name in (
            "messaging.client.sent.messages",
            "messaging.client.operation.duration",
        ):
            self.assertEqual(self.recorded.points(name), {frozenset(COMMON.items()): 1})

    def test_parent(self) -> None:
        """
        The span that is current is the parent.
        """
        with self.recorded.sdk.tracer.start_as_current_span("page") as page:
            span = sent(self.recorded)
        span.ended(None)
        parent = self.recorded.spans[-1].parent
        self.assertEqual(parent, page.get_span_context())

    def test_failed(self) -> None:
        """
        An error is told by its kind alone.
        """
        sent(self.recorded).ended(Unroutable("no queue takes secret"))
        [made] = self.recorded.spans
        self.assertEqual(attributes_of(made)["error.type"], "Unroutable")
        self.assertEqual(made.status.status_code, StatusCode.ERROR)
        self.assertEqual(made.events, ())
        points = self.recorded.points("messaging.client.sent.messages")
        expected = {**COMMON, "error.type": "Unroutable"}
        self.assertEqual(points, {frozenset(expected.items()): 1})

    def test_not_sampled(self) -> None:
        """
        A message that is not sampled says so, and is counted all the same.
        """
        recorded = Recorded(ALWAYS_OFF)
        span = sent(recorded)
        span.ended(None)
        self.assertEqual(recorded.spans, [])
        flags = int(span.properties["headers"]["traceparent"][-2:], 16)
        self.assertFalse(flags & TraceFlags.SAMPLED)
        self.assertEqual(len(recorded.points("messaging.client.sent.messages")), 1)

    def test_broken(self) -> None:
        """
        Where no span can be made, the message is sent without.
        """
        sender = MessageSender(self.recorded.sdk)
        self.patch(sender, "_tracer", None)
        self.assertIsNone(sender.begin("flow", "tasks.high", "u-1", 17, {}))
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.assertIsNone(sender.begin("flow", "tasks.high", "u-1", 17, {}))
        self.assertEqual(self.flushLoggedErrors(AttributeError), [])  # just told
        span = sent(Recorded())
        self.patch(span, "_span", None)
        span.ended(None)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    def test_reentrant(self) -> None:
        """
        A signal handler that interrupts the SDK sends its message without a span: the
        SDK may hold a lock.
        """
        sender, seen = MessageSender(self.recorded.sdk), []
        inner = self.recorded.sdk.tracer

        class Interrupted:
            """
            A tracer that a signal handler interrupts.
            """

            def start_span(self, *args: Any, **more: Any) -> Any:
                """
                Send another message.
                """
                seen.append(sender.begin("flow", "tasks.high", "u-2", 1, {}))
                return inner.start_span(*args, **more)

        self.patch(sender, "_tracer", Interrupted())
        self.assertIsNotNone(sender.begin("flow", "tasks.high", "u-1", 1, {}))
        self.assertEqual(seen, [None])
        self.assertIsNotNone(sender.begin("flow", "tasks.high", "u-1", 1, {}))
