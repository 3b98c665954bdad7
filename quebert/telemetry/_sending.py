"""
The spans of messages that are sent.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from opentelemetry.context import get_current
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context

from quebert._text import one_line
from quebert.telemetry._conventions import (
    BODY_SIZE,
    ERROR_TYPE,
    MESSAGE_ID,
    ROUTING_KEY,
    Attributes,
    of_messaging,
)
from quebert.telemetry._instruments import Instruments
from quebert.telemetry._propagation import headers_of
from quebert.telemetry._sdk import Sdk

__all__ = ["MessageSender", "MessageSpan"]

# Characters of an attribute; none is longer in AMQP.
_MOST = 255


class MessageSender:
    """
    Makes spans of messages.  The span that is current where a message is sent is the
    parent.

    A signal handler may send a message, too.  If it has interrupted the SDK in its
    thread, the SDK may hold a lock, for which the handler would wait for ever: then
    there is no span.
    """

    def __init__(self, sdk: Sdk) -> None:
        self.instruments = Instruments(sdk.meter)
        self._tracer = sdk.tracer
        self._propagator = sdk.propagator
        self._faults = sdk.faults
        self._inside: set[int] = set()  # threads

    def begin(
        self,
        exchange: str,
        routing_key: str,
        message_id: str | None,
        size: int,
        properties: Mapping[str, Any],
    ) -> MessageSpan | None:
        """
        As L{Sender<quebert.telemetry.Sender>} has it.
        """
        with self.enter() as may_go_on:
            if may_go_on:
                return self._begun(exchange, routing_key, message_id, size, properties)
        return None

    def _begun(
        self,
        exchange: str,
        routing_key: str,
        message_id: str | None,
        size: int,
        properties: Mapping[str, Any],
    ) -> MessageSpan:
        common = of_messaging("publish", "send", exchange, routing_key)
        told = {**common, BODY_SIZE: size, ROUTING_KEY: one_line(routing_key, _MOST)}
        if message_id is not None:
            told[MESSAGE_ID] = one_line(message_id, _MOST)
        name = f"publish {common['messaging.destination.name']}"
        span = self._tracer.start_span(name, kind=SpanKind.PRODUCER, attributes=told)
        context = set_span_in_context(span, get_current())
        headers = headers_of(self._propagator, context)
        if headers:
            own = properties.get("headers") or {}
            properties = {**properties, "headers": {**headers, **own}}
        return MessageSpan(self, span, common, properties)

    @contextmanager
    def enter(self) -> Iterator[bool]:
        """
        Calls of the SDK in the block may fail: the message is sent all the same.

        @return: whether the SDK may be called.
        """
        thread = get_ident()
        if thread in self._inside:
            yield False
            return
        self._inside.add(thread)
        try:
            yield True
        except Exception:
            self._faults.met("No span of a message.")
        finally:
            self._inside.discard(thread)


class MessageSpan:
    """
    The span of one message.

    @ivar properties: those of the message, with headers that tell of the span.
    """

    __slots__ = ("_began", "_common", "_sender", "_span", "properties")

    def __init__(
        self,
        sender: MessageSender,
        span: Span,
        common: Attributes,
        properties: Mapping[str, Any],
    ) -> None:
        self.properties = properties
        self._sender = sender
        self._span = span
        self._common = common
        self._began = time.perf_counter()

    def ended(self, error: BaseException | None) -> None:
        """
        The broker has confirmed the message, or C{error} says why not.
        """
        with self._sender.enter() as may_go_on:
            if may_go_on:
                self._ended(error)

    def _ended(self, error: BaseException | None) -> None:
        seconds = time.perf_counter() - self._began
        attributes = dict(self._common)
        if error is not None:
            attributes[ERROR_TYPE] = type(error).__qualname__
            self._span.set_attribute(ERROR_TYPE, type(error).__qualname__)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
        self._sender.instruments.sent(seconds, attributes)
