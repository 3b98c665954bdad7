"""
From the headers of a message to the context of its trace, and back.

Anybody who can publish chooses those headers.  What is no text, is too long, or has
other characters than headers of HTTP may have is taken as if it were not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter, TextMapPropagator
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

__all__ = ["context_of", "headers_of", "propagator_of"]

# Bytes that a value has at most: 512 of tracestate are to be propagated (Trace Context,
# section 3.3.1.5), and 8,192 of baggage (Baggage, section 3.3.2).
_MOST = {"baggage": 8_192}
_MOST_OF_OTHERS = 512


def propagator_of(environ: Mapping[str, str]) -> TextMapPropagator:
    """
    The propagator that reads and writes the headers: C{traceparent} and C{tracestate},
    unless C{OTEL_PROPAGATORS} asks for others.  So baggage, which may hold anything,
    goes to executors only where the variable asks for it.
    """
    if environ.get("OTEL_PROPAGATORS", "").strip():
        return propagate.get_global_textmap()
    return TraceContextTextMapPropagator()


class _HeaderGetter(Getter[Mapping[str, Any]]):
    """
    Gets the values that can be used.
    """

    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        value = carrier.get(key)
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        if not isinstance(value, str) or len(value) > _MOST.get(key, _MOST_OF_OTHERS):
            return None
        return [value] if value.isascii() and value.isprintable() else None

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        return [name for name in carrier if isinstance(name, str)]


_GETTER = _HeaderGetter()


def context_of(
    propagator: TextMapPropagator, headers: Mapping[str, Any]
) -> tuple[Context, bool]:
    """
    The context in the headers of a message, and whether it is one of a trace.
    """
    context = propagator.extract(headers, Context(), _GETTER)
    return context, get_current_span(context).get_span_context().is_valid


def headers_of(propagator: TextMapPropagator, context: Context) -> dict[str, str]:
    """
    The headers for a context; none if it is not one of a trace.
    """
    carrier: dict[str, str] = {}
    if get_current_span(context).get_span_context().is_valid:
        propagator.inject(carrier, context)
    return carrier
