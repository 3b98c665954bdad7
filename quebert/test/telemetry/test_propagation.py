"""
Tests for L{quebert.telemetry._propagation}.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.baggage import get_baggage
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from twisted.trial.unittest import SynchronousTestCase

from quebert.telemetry._propagation import (
    context_of,
    headers_of,
    propagator_of,
)
from quebert.test.checks import QUICK
from quebert.test.telemetry.recording import PARENT

PROPAGATOR = TraceContextTextMapPropagator()


def passed_on(**headers: Any) -> dict[str, str]:
    """
    What comes out again of headers that came in.
    """
    context, is_traced = context_of(PROPAGATOR, headers)
    told = headers_of(PROPAGATOR, context)
    assert is_traced == bool(told)
    return told


class HostileTests(SynchronousTestCase):
    """
    Headers of messages are anybody's.
    """

    def test_good(self) -> None:
        """
        What is as it must be goes on, as text or as bytes.
        """
        state = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
        both = {"traceparent": PARENT, "tracestate": state}
        self.assertEqual(passed_on(**both), both)
        self.assertEqual(
            passed_on(traceparent=PARENT.encode()), {"traceparent": PARENT}
        )

    def test_bad(self) -> None:
        """
        What is not is taken as if it were not there.
        """
        for value in (
            "",
            PARENT[:-1],
            PARENT + "0",
            PARENT + "-x",
            PARENT.upper(),
            PARENT + "\n",
            "ff" + PARENT[2:],
            PARENT.replace("0af7", "0ag7"),
            "00-" + "0" * 32 + PARENT[35:],
            PARENT[:36] + "0" * 16 + "-01",
            PARENT.replace("0", "\N{ARABIC-INDIC DIGIT ZERO}"),
            PARENT + " " * 5_000,
            "\ud800",
            b"\xff" * 55,
            b"x" * 100_000,
            True,
            7,
            None,
            [PARENT],
            {"traceparent": PARENT},
        ):
            self.assertEqual(passed_on(traceparent=value), {})

    def test_bad_state(self) -> None:
        """
        A bad C{tracestate} is left out, and the trace goes on.
        """
        for value in ("a=b\r\nx: y", "a" * 600, "a=b,a=c", "=", 3, b"\x00", "é=1"):
            told = passed_on(traceparent=PARENT, tracestate=value)
            self.assertEqual(told, {"traceparent": PARENT})

    @given(
        st.dictionaries(
            st.sampled_from(["traceparent", "tracestate", "baggage"]),
            st.one_of(st.text(), st.binary(), st.integers(), st.lists(st.text())),
        )
    )
    @QUICK
    def test_any(self, headers: dict[str, Any]) -> None:
        """
        Nothing raises, and nothing of it is passed on that HTTP cannot carry.
        """
        for name, value in passed_on(**headers).items():
            self.assertTrue(name.isascii() and value.isascii() and value.isprintable())


class PropagatorTests(SynchronousTestCase):
    """
    L{propagator_of} says what is passed on.
    """

    def test_baggage(self) -> None:
        """
        Baggage is passed on only where C{OTEL_PROPAGATORS} asks for it.
        """
        headers = {"traceparent": PARENT, "baggage": "user=42"}
        for environ, user in (
            ({}, None),
            ({"OTEL_PROPAGATORS": " "}, None),
            ({"OTEL_PROPAGATORS": "tracecontext,baggage"}, "42"),
        ):
            propagator = propagator_of(environ)
            context, _ = context_of(propagator, headers)
            self.assertEqual(get_baggage("user", context), user)
            self.assertEqual("baggage" in headers_of(propagator, context), bool(user))
            self.assertTrue(get_current_span(context).get_span_context().is_valid)
