"""
The spans of messages that a mediator processes.

The span is current, as a context variable, while the mediator is called, so that hooks
may add to it, what hooks send has it for a parent, and L{TracedClient
<quebert.telemetry._requests.TracedClient>} finds it.

Its parent is the span that sent the message, to which it has a link, too, as the
conventions have it.  A message that nobody has traced begins a trace with its first
attempt: its headers tell of that from then on, so that the next attempts belong to the
same trace.

A message that must wait for something before it can be attempted has no span.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, assert_never

import attrs
from opentelemetry.context import attach, detach, set_value
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from quebert._text import one_line
from quebert.boundaries import Message
from quebert.outcome import Bury, Discard, Done, Outcome, Retry
from quebert.policy import History
from quebert.telemetry._conventions import (
    ATTEMPT,
    BODY_SIZE,
    ERROR_TYPE,
    MESSAGE_ID,
    OTHER,
    OUTCOME,
    RETRY_AFTER,
    ROUTING_KEY,
    of_messaging,
)
from quebert.telemetry._instruments import Instruments
from quebert.telemetry._propagation import context_of, headers_of
from quebert.telemetry._requests import CURRENT, RequestSpan
from quebert.telemetry._sdk import Sdk

__all__ = ["Callback", "Processing", "Processor", "RoutedMessage"]

# Characters of the reason of an outcome.
_MOST = 500


class RoutedMessage(Message, Protocol):
    """
    A message with its exchange and its routing key.
    """

    @property
    def exchange(self) -> str:
        """
        Where it was published to.
        """

    @property
    def routing_key(self) -> str:
        """
        With which routing key.
        """


#: What a mediator does with a message.
Callback = Callable[[Any], Deferred[Outcome]]


class Processor:
    """
    Makes spans of the messages of one queue.

    @param callback: processes them.
    """

    def __init__(
        self, sdk: Sdk, instruments: Instruments, queue: str, callback: Callback
    ) -> None:
        self.instruments = instruments
        self.propagator = sdk.propagator
        self.faults = sdk.faults
        #: Of data points: queues are few, and routing keys anybody's.
        self.of_queue = of_messaging("process", "process", "", "", queue)
        self._tracer = sdk.tracer
        self._queue = queue
        self._callback = callback

    def __call__(self, message: RoutedMessage) -> Deferred[Outcome]:
        """
        Process a message.
        """
        try:
            processing, context = self._begin(message)
            token = attach(context)
        except Exception:
            self.faults.met("No span of a message.")
            return self._callback(message)
        try:
            deciding = self._callback(message)
        finally:
            detach(token)
        return processing.until(deciding)

    def _begin(self, message: RoutedMessage) -> tuple[Processing, Any]:
        try:
            properties = message.properties
        except ValueError:
            properties = {}
        headers = properties.get("headers")
        if not isinstance(headers, Mapping):
            headers = {}
        exchange, key = message.exchange, message.routing_key
        context, is_traced = context_of(self.propagator, headers)
        common = of_messaging("process", "process", exchange, key, self._queue)
        number = History.read(headers).attempts + 1
        told = {**common, BODY_SIZE: len(message.body), ATTEMPT: number}
        if key:
            told[ROUTING_KEY] = one_line(key, _MOST)
        message_id = properties.get("message-id")
        if isinstance(message_id, str):
            told[MESSAGE_ID] = one_line(message_id, _MOST)
        creator = get_current_span(context).get_span_context()
        span = self._tracer.start_span(
            f"process {common['messaging.destination.name']}",
            context,
            SpanKind.CONSUMER,
            told,
            (Link(creator),) if is_traced else (),
        )
        processing = Processing(self, span, number, is_traced)
        context = set_span_in_context(span, context)
        processing.context = context
        return processing, set_value(CURRENT, processing, context)


class Processing:
    """
    A message that is being processed.

    @ivar number: of the attempt, from 1.
    @ivar context: that of the span.
    @ivar request: the span of the request, once there is one.
    @ivar error: the C{error.type} of the request; empty for none.
    @ivar was_cancelled: whether the caller has cancelled the Deferred of the outcome.
    """

    context: Any = None
    request: RequestSpan | None = None
    error = ""
    was_cancelled = False

    def __init__(
        self, processor: Processor, span: Span, number: int, is_traced: bool
    ) -> None:
        self.number = number
        self._processor = processor
        self._span = span
        self._is_traced = is_traced
        self._began = time.perf_counter()
        self._deciding: Deferred[Outcome] | None = None
        self._decided: Deferred[Outcome] = Deferred(self._cancel)

    def until(self, deciding: Deferred[Outcome]) -> Deferred[Outcome]:
        """
        End it with an outcome, and pass the outcome on.
        """
        self._deciding = deciding
        deciding.addBoth(self._tell)
        return self._decided

    def _cancel(self, _: object) -> None:
        """
        The Deferred is one of our own so that this is noticed: a request that takes too
        long is cancelled, too, but not by whoever waits for the outcome.
        """
        self.was_cancelled = True
        if self._deciding is not None:
            self._deciding.cancel()

    def _tell(self, result: Outcome | Failure) -> None:
        try:
            result = self._ended(result)
        except Exception:
            self._processor.faults.met("No span of a message.")
        if not self._decided.called:  # else it was cancelled
            self._decided.callback(result)

    def _ended(self, outcome: Outcome | Failure) -> Outcome | Failure:
        if self.request is not None:
            self.request.end()
        if isinstance(outcome, Retry) and not outcome.attempted:
            return outcome  # it comes again, and nothing was done
        error = self._error_of(outcome)
        of_queue, seconds = self._processor.of_queue, time.perf_counter() - self._began
        attributes = {**of_queue, ERROR_TYPE: error} if error else of_queue
        self._processor.instruments.processed(seconds, attributes)
        if self._span.is_recording():
            self._describe(outcome, error)
        self._span.end()
        return outcome if self._is_traced else self._traced(outcome)

    def _error_of(self, outcome: Outcome | Failure) -> str:
        if isinstance(outcome, Done):
            return ""
        if isinstance(outcome, Failure):
            return type(outcome.value).__qualname__
        if self.error or isinstance(outcome, Retry):
            return self.error or OTHER
        return outcome.kind

    def _describe(self, outcome: Outcome | Failure, error: str) -> None:
        if not isinstance(outcome, Failure):
            self._span.set_attribute(OUTCOME, _described(outcome))
        if isinstance(outcome, Retry):
            self._span.set_attribute(RETRY_AFTER, float(outcome.after))
        if error:
            reason = None
            if isinstance(outcome, (Discard, Bury)):
                reason = one_line(outcome.reason, _MOST)
            self._span.set_attribute(ERROR_TYPE, error)
            self._span.set_status(Status(StatusCode.ERROR, reason))

    def _traced(self, outcome: Outcome | Failure) -> Outcome | Failure:
        """
        The outcome of a message without a trace, with the headers of this
        span.
        """
        if not isinstance(outcome, (Retry, Bury)):
            return outcome
        headers = headers_of(self._processor.propagator, self.context)
        if not headers:
            return outcome
        if isinstance(outcome, Retry) and outcome.otherwise is not None:
            otherwise = attrs.evolve(
                outcome.otherwise, headers={**headers, **outcome.otherwise.headers}
            )
            outcome = attrs.evolve(outcome, otherwise=otherwise)
        return attrs.evolve(outcome, headers={**headers, **outcome.headers})


def _described(outcome: Outcome) -> str:
    match outcome:
        case Done():
            return "done"
        case Retry():
            return "retry"
        case Discard(kind=kind):
            return kind
        case Bury():
            return "buried"
        case _:
            assert_never(outcome)
