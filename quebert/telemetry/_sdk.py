"""
The SDK of OpenTelemetry as the C{OTEL_*} variables configure it.

Spans and metrics are exported by threads of the SDK.  An exporter may hang for as long
as its collector does, and the SDK waits for it when it is shut down, so that L{Sdk.end}
has threads of its own for that, and waits for these with a limit.  The threads are
there from the beginning: none can be started while the interpreter ends.

After a fork, the SDK has its threads begin anew in the child; so do ours.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakMethod

import attrs
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Meter, MeterProvider, NoOpMeterProvider
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk import metrics as sdk_metrics
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.trace import NoOpTracerProvider, Tracer, TracerProvider

import quebert
from quebert.telemetry._conventions import SCHEMA_URL
from quebert.telemetry._environment import Signals
from quebert.telemetry._faults import Faults
from quebert.telemetry._propagation import propagator_of

__all__ = ["FLUSH", "Sdk", "sdk_of"]

#: Seconds that the last spans and metrics have to be exported in.
FLUSH = 3.0


@attrs.frozen(eq=False)
class Sdk:
    """
    The tracer and the meter.

    @ivar faults: logs errors in making them.
    """

    tracer: Tracer
    meter: Meter
    propagator: TextMapPropagator
    faults: Faults
    _endings: list[_Ending] = attrs.field(factory=list)

    def end(self, seconds: float = FLUSH) -> bool:
        """
        Export the spans and metrics that are left; blocks for C{seconds} at most.

        @return: whether all was done in time.
        """
        deadline = time.monotonic() + seconds
        for each in self._endings:
            each.begin()
        ended = [each.wait(deadline - time.monotonic()) for each in self._endings]
        return all(ended)


class _Ending:
    """
    A thread that ends something when it is told to.
    """

    def __init__(self, end: Callable[[], Any]) -> None:
        self._end = end
        self._start()
        start = WeakMethod(self._start)  # without a thread it is gone
        os.register_at_fork(after_in_child=lambda: (again := start()) and again())

    def _start(self) -> None:
        self._told = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._told,), name="quebert.telemetry", daemon=True
        )
        self._thread.start()

    def _run(self, told: threading.Event) -> None:
        told.wait()
        self._end()

    def begin(self) -> None:
        """
        End it.
        """
        self._told.set()

    def wait(self, seconds: float) -> bool:
        """
        Wait for that.

        @return: whether it has ended.
        """
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()


def sdk_of(
    signals: Signals,
    environ: Mapping[str, str],
    faults: Faults,
    *,
    service: str = "",
    is_global: bool = False,
) -> Sdk:
    """
    The SDK that the program has set up already, or another one, as the variables say.

    @param environ: for what the SDK does not read itself.
    @param service: what C{service.name} is unless a variable says so.
    @param is_global: whether other libraries are to use it, too.
    @raise Exception: of whatever kind, where a variable cannot be used.
    """
    endings: list[_Ending] = []
    propagator = propagator_of(environ)
    resource = _resource(service)
    traced = _tracer_provider(signals, resource, is_global, endings)
    measured = _meter_provider(signals, resource, is_global, endings)
    return Sdk(
        traced.get_tracer("quebert", quebert.__version__, SCHEMA_URL),
        measured.get_meter("quebert", quebert.__version__, SCHEMA_URL),
        propagator,
        faults,
        endings,
    )


def _resource(service: str) -> Resource:
    """
    What the variables say, and a name of this process: metrics of several processes
    would be taken for those of one.
    """
    found = Resource.create()
    added: dict[str, str] = {}
    if service and str(found.attributes.get("service.name", "")).startswith("unknown_"):
        added["service.name"] = service
    if "service.instance.id" not in found.attributes:
        added["service.instance.id"] = str(uuid.uuid4())
    return found.merge(Resource(added))


def _tracer_provider(
    signals: Signals, resource: Resource, is_global: bool, endings: list[_Ending]
) -> TracerProvider:
    if not signals.traces:
        return NoOpTracerProvider()
    given = trace.get_tracer_provider()
    if isinstance(given, sdk_trace.TracerProvider):
        return given
    made = sdk_trace.TracerProvider(resource=resource, shutdown_on_exit=False)
    for name in signals.traces:
        exporter = OTLPSpanExporter() if name == "otlp" else ConsoleSpanExporter()
        made.add_span_processor(BatchSpanProcessor(exporter))
    endings.append(_Ending(made.shutdown))
    if is_global:
        trace.set_tracer_provider(made)
    return made


def _meter_provider(
    signals: Signals, resource: Resource, is_global: bool, endings: list[_Ending]
) -> MeterProvider:
    if not signals.metrics:
        return NoOpMeterProvider()
    given = metrics.get_meter_provider()
    if isinstance(given, sdk_metrics.MeterProvider):
        return given
    made = sdk_metrics.MeterProvider(
        [
            PeriodicExportingMetricReader(
                OTLPMetricExporter() if name == "otlp" else ConsoleMetricExporter()
            )
            for name in signals.metrics
        ],
        resource,
        shutdown_on_exit=False,
    )
    endings.append(_Ending(made.shutdown))
    if is_global:
        metrics.set_meter_provider(made)
    return made
