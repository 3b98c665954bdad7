"""
Tests for L{quebert.telemetry._sdk}.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from unittest import mock

from opentelemetry import metrics, trace
from opentelemetry.sdk import metrics as sdk_metrics
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from twisted.trial.unittest import SynchronousTestCase

from quebert.telemetry._environment import signals_in
from quebert.telemetry._faults import Faults
from quebert.telemetry._sdk import Sdk, sdk_of
from quebert.test.telemetry.collector import Collector

FAULTS = Faults(print)


class SdkTests(SynchronousTestCase):
    """
    L{sdk_of} does as the variables say.
    """

    def setUp(self) -> None:
        self.collector = self.enterContext(Collector())

    def made(
        self, more: Mapping[str, str], service: str = "", *, is_global: bool = False
    ) -> Sdk:
        """
        An SDK that exports when it ends.
        """
        quiet = {
            "OTEL_BSP_SCHEDULE_DELAY": "60000",
            "OTEL_METRIC_EXPORT_INTERVAL": "60000",
        }
        environ = {**self.collector.environment, **quiet, **more}
        self.enterContext(mock.patch.dict(os.environ, environ))
        return sdk_of(
            signals_in(environ), environ, FAULTS, service=service, is_global=is_global
        )

    def services(self, more: Mapping[str, str], service: str = "") -> list[str]:
        """
        The names of the services of all spans, after one more.
        """
        sdk = self.made(more, service)
        sdk.tracer.start_span("a").end()
        self.assertTrue(sdk.end(60))
        return [span.service for span in self.collector.spans]

    def test_ends(self) -> None:
        """
        What is left is exported at the end.
        """
        sdk = self.made({"OTEL_EXPORTER_OTLP_HEADERS": "api-key=k"})
        sdk.tracer.start_span("a").end()
        sdk.meter.create_counter("b").add(3)
        self.assertTrue(sdk.end(60))
        self.assertEqual([span.name for span in self.collector.spans], ["a"])
        self.assertEqual(self.collector.points("b"), {frozenset(): 3})
        self.assertEqual(self.collector.headers["api-key"], "k")
        self.assertTrue(sdk.end(60))  # again

    def test_hangs(self) -> None:
        """
        A collector that hangs does not keep it from ending.
        """
        self.collector.go_on.clear()
        sdk = self.made({})
        sdk.tracer.start_span("a").end()
        self.assertFalse(sdk.end(0.01))

    def test_service_name(self) -> None:
        """
        The variables name the service, else we do.
        """
        self.assertEqual(self.services({}, "quebert"), ["quebert"])
        named = {"OTEL_SERVICE_NAME": "shop"}
        self.assertEqual(self.services(named, "quebert")[1:], ["shop"])
        named = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=mall"}
        names = self.services({"OTEL_SERVICE_NAME": "", **named}, "quebert")
        self.assertEqual(names[2:], ["mall"])

    def test_one_signal(self) -> None:
        """
        A signal that nobody wants is not exported.
        """
        for unwanted, path in (
            ("OTEL_METRICS_EXPORTER", "/v1/traces"),
            ("OTEL_TRACES_EXPORTER", "/v1/metrics"),
        ):
            self.collector.paths.clear()
            with mock.patch.dict(os.environ):
                sdk = self.made({unwanted: "none"})
                sdk.tracer.start_span("a").end()
                sdk.meter.create_counter("b").add(3)
                self.assertTrue(sdk.end(60))
            self.assertEqual(set(self.collector.paths), {path})

    def test_given(self) -> None:
        """
        What the program has set up already is used, and left to the program to end.
        """
        traced, reader = sdk_trace.TracerProvider(), InMemoryMetricReader()
        measured = sdk_metrics.MeterProvider([reader])
        self.patch(trace, "get_tracer_provider", lambda: traced)
        self.patch(metrics, "get_meter_provider", lambda: measured)
        sdk = self.made({})
        span: Any = sdk.tracer.start_span("a")
        self.assertIs(span.resource, traced.resource)
        sdk.meter.create_counter("b").add(3)
        self.assertTrue(sdk.end(60))
        self.assertIsNotNone(reader.get_metrics_data())
        self.assertEqual(self.collector.paths, [])

    def test_global(self) -> None:
        """
        Other libraries use it, too, if they are to.
        """
        for given in (False, True):
            told: list[object] = []
            self.patch(trace, "set_tracer_provider", told.append)
            self.patch(metrics, "set_meter_provider", told.append)
            sdk = self.made({}, is_global=given)
            self.assertTrue(sdk.end(60))
            kinds = [sdk_trace.TracerProvider, sdk_metrics.MeterProvider]
            self.assertEqual([type(each) for each in told], kinds if given else [])

    def test_not_global(self) -> None:
        """
        The SDK is ours alone, unless it is to be for all.
        """
        self.assertTrue(self.made({}).end(60))
        given = trace.get_tracer_provider(), metrics.get_meter_provider()
        self.assertNotIn("sdk", " ".join(type(each).__module__ for each in given))
