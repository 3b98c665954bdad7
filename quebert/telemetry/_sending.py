"""
The spans of messages that are sent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import get_current
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context

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

_log = logging.getLogger("quebert")


class MessageSender:
    """
    Makes spans of messages.  The span that is current where a message is sent is the
    parent.
    """

    def __init__(self, sdk: Sdk) -> None:
        self.instruments = Instruments(sdk.meter)
        self._tracer = sdk.tracer
        self._propagator = sdk.propagator

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
        try:
            common = of_messaging("publish", "send", exchange, routing_key)
            told = {**common, BODY_SIZE: size, ROUTING_KEY: routing_key}
            if message_id is not None:
                told[MESSAGE_ID] = message_id
            name = f"publish {common['messaging.destination.name']}"
            span = self._tracer.start_span(
                name, kind=SpanKind.PRODUCER, attributes=told
            )
            headers = headers_of(
                self._propagator, set_span_in_context(span, get_current())
            )
        except Exception:
            _log.exception("No span of a message.")
            return None
        if headers:
            own = properties.get("headers") or {}
            properties = {**properties, "headers": {**headers, **own}}
        return MessageSpan(self, span, common, properties)


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
        try:
            self._ended(error)
        except Exception:
            _log.exception("No span of a message.")

    def _ended(self, error: BaseException | None) -> None:
        seconds = time.perf_counter() - self._began
        attributes = dict(self._common)
        if error is not None:
            attributes[ERROR_TYPE] = type(error).__qualname__
            self._span.set_attribute(ERROR_TYPE, type(error).__qualname__)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
        self._sender.instruments.sent.add(1, attributes)
        self._sender.instruments.operation.record(seconds, attributes)
