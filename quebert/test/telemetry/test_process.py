"""
Tests for L{quebert.telemetry._process}.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from quebert.producer._letter import Letter
from quebert.producer._sending import OutgoingLetter
from quebert.telemetry import _process, forget, sender
from quebert.telemetry._environment import Signals
from quebert.telemetry._process import MISSING, problems_of
from quebert.telemetry._sending import MessageSender
from quebert.test.telemetry.recording import Recorded

CONSOLE = {"OTEL_TRACES_EXPORTER": "console"}


def run(code: str, environ: Mapping[str, str]) -> str:
    """
    What a program says.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **environ},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


class SenderTests(SynchronousTestCase):
    """
    L{sender} is there where the environment asks for it.
    """

    def setUp(self) -> None:
        forget()
        self.addCleanup(forget)

    def test_nothing_is_imported(self) -> None:
        """
        Neither a producer nor a mediator loads OpenTelemetry where nobody asks for it.
        """
        code = """
import sys
import quebert.producer, quebert.service
from quebert.telemetry import sender
from quebert.telemetry.mediating import OFF, telemetry_of
assert sender() is None
assert telemetry_of() is OFF
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
        self.assertEqual(run(code, {"OTEL_SERVICE_NAME": "shop"}), "[]\n")

    def test_off(self) -> None:
        """
        A letter is sent as it is.
        """
        with mock.patch.dict(os.environ, {"OTEL_SDK_DISABLED": "true", **CONSOLE}):
            letter = Letter("tasks.high", b"{}", {})
            with OutgoingLetter("flow", letter) as sent:
                self.assertIs(sent, letter)

    def test_on(self) -> None:
        """
        It is made once, and the spans come before the program ends.
        """
        code = """
from quebert.telemetry import sender
sender().begin("flow", "tasks.high", "u-1", 2, {}).ended(None)
assert sender() is sender()
"""
        said = run(code, CONSOLE)
        self.assertIn('"name": "publish flow:tasks.high"', said)

    def test_letter(self) -> None:
        """
        A letter that is traced has headers, and its span ends as the letter does.
        """
        recorded = Recorded()
        self.patch(_process._process, "known", True)
        self.patch(_process._process, "sender", MessageSender(recorded.sdk))
        letter = Letter("tasks.high", b"{}", {"message-id": "u-1"})
        with OutgoingLetter("flow", letter) as sent:
            self.assertIn("traceparent", sent.properties["headers"])
        self.assertRaises(KeyError, self._failing, letter)
        types = [(each.attributes or {}).get("error.type") for each in recorded.spans]
        self.assertEqual(types, [None, "KeyError"])

    def _failing(self, letter: Letter) -> None:
        with OutgoingLetter("flow", letter):
            raise KeyError

    def test_not_installed(self) -> None:
        """
        A sentence names the extra, once.
        """
        self.patch(_process, "_is_installed", lambda: False)
        self.assertEqual(problems_of(Signals()), [])
        self.assertEqual(problems_of(Signals(("otlp",))), [MISSING])
        with mock.patch.dict(os.environ, CONSOLE), self.assertLogs("quebert") as logs:
            self.assertIsNone(sender())
            self.assertIsNone(sender())
        [line] = logs.output
        self.assertIn("quebert-mediator[telemetry]", line)

    def test_wrong(self) -> None:
        """
        A variable that cannot be used is told, and nothing is sent.
        """
        wrong = {**CONSOLE, "OTEL_BSP_SCHEDULE_DELAY": "-1"}
        with mock.patch.dict(os.environ, wrong), self.assertLogs("quebert"):
            self.assertIsNone(sender())
        with (
            mock.patch.dict(os.environ, {"OTEL_TRACES_EXPORTER": "zipkin"}),
            self.assertLogs("quebert") as logs,
        ):
            forget()
            self.assertIsNone(sender())
        self.assertIn("not 'zipkin'", logs.output[0])
