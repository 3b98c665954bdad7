"""
An SDK that keeps spans and metrics, and the case of the tests that look at them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from quebert._log import Logger
from quebert.telemetry._faults import Faults
from quebert.telemetry._sdk import Sdk

__all__ = ["PARENT", "SPAN", "TRACE", "Recorded", "traceparent"]

#: A trace of somebody else, its span, and the header that tells of both.
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def traceparent(context: SpanContext | None) -> str:
    """
    The header that tells of a span.
    """
    assert context is not None
    return (
        f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    )


class Recorded:
    """
    @ivar sdk: what makes the spans and metrics.
    """

    def __init__(
        self,
        sampler: Sampler | None = None,
        propagator: TextMapPropagator | None = None,
    ) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        tracers = TracerProvider(sampler, shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.sdk = Sdk(
            tracers.get_tracer("test"),
            meters.get_meter("test"),
            propagator or TraceContextTextMapPropagator(),
            Faults(Logger().failure),
        )

    @property
    def spans(self) -> list[ReadableSpan]:
        """
        Those that have ended, in the order in which they did.
        """
        return list(self._exporter.get_finished_spans())

    def points(self, name: str) -> dict[frozenset[tuple[str, Any]], int]:
        """
        How often a metric was recorded, by its attributes.
        """
        counted: dict[frozenset[tuple[str, Any]], int] = {}
        data = self._reader.get_metrics_data()
        if data is None:
            return counted
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name != name:
                        continue
                    for point in metric.data.data_points:
                        key = frozenset((point.attributes or {}).items())
                        given: Any = point
                        is_count = hasattr(given, "value")
                        counted[key] = given.value if is_count else given.count
        return counted


def attributes_of(span: ReadableSpan) -> Mapping[str, Any]:
    """
    The attributes of a span.
    """
    return dict(span.attributes or {})
