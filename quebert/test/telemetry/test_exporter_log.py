"""
Tests for L{quebert.telemetry._exporter_log}.
"""

from __future__ import annotations

import logging
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert.telemetry._exporter_log import PERIOD, ExporterLog


class ExporterLogTests(SynchronousTestCase):
    """
    What OpenTelemetry logs again and again is logged in a while.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.events: Any = self.enterContext(capturedLogs())
        handler = ExporterLog(lambda f, *args: f(*args), self.clock.seconds)
        self.addCleanup(handler.install())
        self.logger = logging.getLogger("opentelemetry.exporter.otlp")

    def said(self) -> list[str]:
        """
        What is logged, since it was last asked.
        """
        said = [formatEvent(each) for each in self.events]
        self.events.clear()
        return said

    def test_once(self) -> None:
        """
        Each kind of line is logged once in a while, with the count of the others.
        """
        for n in range(5):
            self.logger.error("Failed to export batch code: %s", n)
        self.logger.warning("Queue full, dropping %s.", "Span")
        self.logger.info("not worth a line")
        expected = [
            "OpenTelemetry: Failed to export batch code: 0",
            "OpenTelemetry: Queue full, dropping Span.",
        ]
        self.assertEqual(self.said(), expected)
        self.clock.advance(PERIOD)
        self.logger.error("Failed to export batch code: %s", 5)
        expected = [
            "OpenTelemetry: Failed to export batch code: 5"
            "; 4 more like it since the last"
        ]
        self.assertEqual(self.said(), expected)

    def test_odd(self) -> None:
        """
        A line is one line, whatever is in it, and wrong values do no harm.
        """
        self.logger.error("two\nlines \x1b[31m" + "x" * 9_000)
        [line] = self.said()
        self.assertTrue(line.isprintable())
        self.assertLess(len(line), 600)
        self.logger.error("code %d", "none")
        self.assertEqual(self.said(), ["OpenTelemetry: code %d"])

    def test_many_kinds(self) -> None:
        """
        Lines of too many kinds are one kind.
        """
        for n in range(300):
            self.logger.error(f"kind {n}")
        self.assertLess(len(self.said()), 110)

    def test_headers(self) -> None:
        """
        What is logged of the headers of a message is not logged at all: they are
        anybody's.
        """
        logger = logging.getLogger("opentelemetry.trace.propagation.tracecontext")
        logger.warning("tracestate is too long")
        self.assertEqual(self.said(), [])

    def test_removed(self) -> None:
        """
        Once it is removed, it logs nothing more.
        """
        self.doCleanups()
        self.logger.setLevel(logging.CRITICAL)
        self.addCleanup(self.logger.setLevel, logging.NOTSET)
        self.logger.error("Failed")
        self.assertEqual(self.events, [])
