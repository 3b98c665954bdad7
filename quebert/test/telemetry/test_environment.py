"""
Tests for L{quebert.telemetry._environment}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.telemetry._environment import Signals, signals_in

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
BOTH = Signals(("otlp",), ("otlp",))


class SignalTests(SynchronousTestCase):
    """
    L{signals_in} says what is exported.
    """

    def test_nothing(self) -> None:
        """
        Nothing is exported unless a variable asks for it.
        """
        for environ in (
            {},
            {"OTEL_SERVICE_NAME": "shop", "OTEL_TRACES_SAMPLER": "always_on"},
            {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            {"OTEL_TRACES_EXPORTER": "none"},
            {**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"},
        ):
            self.assertEqual(signals_in(environ), Signals())
            self.assertFalse(signals_in(environ).wanted)

    def test_endpoint(self) -> None:
        """
        An endpoint asks for both signals, or for its own.
        """
        self.assertEqual(signals_in(ENDPOINT), BOTH)
        self.assertEqual(signals_in({**ENDPOINT, "OTEL_SDK_DISABLED": "no"}), BOTH)
        one = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://jaeger:4318/v1/traces"}
        self.assertEqual(signals_in(one), Signals(("otlp",)))
        self.assertTrue(signals_in(one).wanted)

    def test_exporters(self) -> None:
        """
        An exporter asks for its signal, and C{none} is none.
        """
        asked = {**ENDPOINT, "OTEL_METRICS_EXPORTER": "none"}
        self.assertEqual(signals_in(asked), Signals(("otlp",)))
        asked = {"OTEL_TRACES_EXPORTER": "console, otlp,console"}
        self.assertEqual(signals_in(asked), Signals(("console", "otlp")))

    def test_problems(self) -> None:
        """
        Another exporter or protocol is none of ours, and is told once.
        """
        found = signals_in({"OTEL_TRACES_EXPORTER": "zipkin,otlp"})
        why = "OTEL_TRACES_EXPORTER must be otlp, console or none, not 'zipkin'"
        self.assertEqual(found, Signals(("otlp",), (), (why,)))
        found = signals_in({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
        why = (
            "quebert exports by http/protobuf, not by 'grpc' as"
            " OTEL_EXPORTER_OTLP_PROTOCOL says"
        )
        self.assertEqual(found, Signals((), (), (why,)))
        own = {
            **ENDPOINT,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        }
        self.assertEqual(signals_in(own), Signals(("otlp",), (), (why,)))
