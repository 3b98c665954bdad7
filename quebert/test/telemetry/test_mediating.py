"""
Tests for L{quebert.telemetry.mediating}, and for what it makes.
"""

from __future__ import annotations

import os
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert.mediator import Mediator
from quebert.outcome import Done, Retry
from quebert.telemetry import _process
from quebert.telemetry._mediation import Mediation
from quebert.telemetry.mediating import OFF, telemetry_of
from quebert.test.mediating import FakeHTTP, message
from quebert.test.telemetry.recording import PARENT, Recorded, attributes_of
from quebert.test.telemetry.test_processing import RoutedTask

ASKED = {"OTEL_TRACES_EXPORTER": "console"}


class InlinePool:
    """
    Calls what is to be called in a thread at once.
    """

    def callInThreadWithCallback(self, told: Any, function: Any, *args: Any) -> None:
        """
        Call it.
        """
        told(True, function(*args))


class InlineReactor(MemoryReactor):
    """
    A reactor without threads.
    """

    def getThreadPool(self) -> Any:
        """
        The pool.
        """
        return InlinePool()

    def callFromThread(self, function: Any, *args: Any) -> None:
        """
        Call it.
        """
        function(*args)


class OffTests(SynchronousTestCase):
    """
    Without telemetry everything is as it was.
    """

    def test_nothing_is_asked_for(self) -> None:
        """
        The callback and the client are the same objects.
        """
        telemetry = telemetry_of(Clock(), {})
        self.assertIs(telemetry, OFF)
        http, mediator = FakeHTTP(), Mediator(http=FakeHTTP())
        self.assertIs(telemetry.http_client(http), http)
        callback = mediator.messageReceived
        self.assertIs(telemetry.callback("tasks", callback), callback)
        self.successResultOf(telemetry.stop())

    def test_not_installed(self) -> None:
        """
        The log names the extra that is missing.
        """
        self.patch(_process, "_is_installed", lambda: False)
        with capturedLogs() as events:
            self.assertIs(telemetry_of(Clock(), ASKED), OFF)
        [line] = map(formatEvent, events)
        self.assertIn("quebert-mediator[telemetry]", line)

    def test_wrong(self) -> None:
        """
        The log tells of a variable that cannot be used, and mediators go on.
        """
        wrong = {**ASKED, "OTEL_BSP_SCHEDULE_DELAY": "-1"}
        self.enterContext(mock.patch.dict(os.environ, wrong))
        self.assertIs(telemetry_of(Clock(), wrong), OFF)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        with capturedLogs() as events:
            asked = {"OTEL_TRACES_EXPORTER": "zipkin"}
            self.assertIs(telemetry_of(Clock(), asked), OFF)
        [line] = map(formatEvent, events)
        self.assertIn("not 'zipkin'", line)


class MediationTests(SynchronousTestCase):
    """
    With telemetry a mediator has other surroundings.
    """

    def setUp(self) -> None:
        self.recorded = Recorded()
        self.on = Mediation(self.recorded.sdk, InlineReactor())
        self.addCleanup(self.on._log_no_more)

    def test_request_is_below(self) -> None:
        """
        The request is a child of the message, also where a hook waits before it, and
        knows how many attempts there were.
        """
        gate: Deferred[None] = Deferred()
        mediator = Mediator(http=self.on.http_client(FakeHTTP(500)), clock=Clock())
        mediator.add_prehook(lambda task: gate)
        callback = self.on.callback("tasks", mediator.messageReceived)
        headers = {
            "traceparent": PARENT,
            "quebert-attempts": 1,
            "quebert-first-attempt": 1.0,
            "quebert-last-attempt": 1.0,
        }
        deciding = callback(RoutedTask({"headers": headers}, message().body))
        self.assertEqual(self.recorded.spans, [])
        gate.callback(None)
        self.assertIsInstance(self.successResultOf(deciding), Retry)
        request, process = self.recorded.spans
        self.assertEqual(request.parent, process.context)
        self.assertEqual(attributes_of(request)["http.request.resend_count"], 1)
        self.assertEqual(attributes_of(process)["error.type"], "500")

    def test_stop(self) -> None:
        """
        What is left is exported; the log tells if that takes too long.
        """
        for in_time, lines in ((True, 0), (False, 1)):
            on = Mediation(Ending(in_time), InlineReactor())  # type: ignore[arg-type]
            with capturedLogs() as events:
                self.successResultOf(on.stop())
            self.assertEqual(len(events), lines)

    def test_done(self) -> None:
        """
        An outcome comes out as it went in.
        """
        callback = self.on.callback("tasks", lambda _: succeed(Done()))
        self.assertEqual(self.successResultOf(callback(RoutedTask({}))), Done())


class Ending:
    """
    An SDK that ends in time, or not.
    """

    def __init__(self, in_time: bool) -> None:
        self.meter = Recorded().sdk.meter
        self._in_time = in_time

    def end(self) -> bool:
        """
        End.
        """
        return self._in_time
