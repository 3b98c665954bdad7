"""
Tests for L{quebert._log_output}: what a log is written with.
"""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

from twisted.logger import Logger, LogLevel, eventAsText
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert._log import log_line
from quebert._log_output import LEVELS, LevelFilter, as_json, as_text, stream_observer
from quebert.config import LOG_FORMATS, LOG_LEVELS
from quebert.outcome import Done, Retry
from quebert.service._task_log import log_done
from quebert.task_events import AttemptBegun, AttemptEnded, TaskAttempt
from quebert.test.injections import INJECTIONS


class JSONTests(SynchronousTestCase):
    """
    L{as_json} makes a line of an event.
    """

    def logged(self, emit: Any) -> dict[str, Any]:
        """
        The object for the one event that C{emit(log)} logs.
        """
        events: list[Any] = []
        emit(Logger("some.module", observer=events.append))  # type: ignore[arg-type]
        [event] = events
        line = as_json(event)
        self.assertEqual(line.count("\n"), 1)
        self.assertTrue(line.isascii())
        found: dict[str, Any] = json.loads(line)
        return found

    def test_fields(self) -> None:
        """
        When, how bad, from where, what, and the event's plain fields.
        """

        def emit(log: Logger) -> None:
            log.warn(
                "{n} of {queue}", n=3, queue="q", off=False, on=None, x=1.5, thing=self
            )

        made = self.logged(emit)
        self.assertRegex(made.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        wanted = {"level": "warn", "namespace": "some.module", "message": "3 of q"}
        fields = {"n": 3, "queue": "q", "off": False, "on": None, "x": 1.5}
        self.assertEqual(made, {**wanted, **fields})

    def test_time(self) -> None:
        """
        The time is UTC, with microseconds.
        """
        for when, text in [
            (1_800_000_000.000001, "2027-01-15T08:00:00.000001Z"),
            (1_800_000_000.999999, "2027-01-15T08:00:00.999999Z"),
            (1_800_000_001.25, "2027-01-15T08:00:01.250000Z"),
        ]:
            event = {"log_time": when, "log_level": LogLevel.info, "log_format": "x"}
            self.assertEqual(json.loads(as_json(event))["time"][:-2], text[:-2])

    def test_exceptions(self) -> None:
        """
        An exception is told by its text; that of a failure has its traceback, too.
        """
        made = self.logged(lambda log: log.error("{why}", why=ValueError("oh\nno")))
        self.assertEqual(made["why"], "oh no")
        failure = Failure(ValueError("oh\x1b no"))
        made = self.logged(lambda log: log.failure("It fails.", failure))
        self.assertEqual(made["error"], "ValueError: oh? no")
        self.assertIn("ValueError: oh? no", made["traceback"])
        self.assertEqual((made["level"], made["message"]), ("critical", "It fails."))

    def test_hostile(self) -> None:
        """
        Whatever a field holds, the line is JSON for any reader, and is not long.
        """
        odd: list[Any] = [float("nan"), float("inf"), 2**63, 10**5_000, b"x", [1], {}]
        for value in [*INJECTIONS, *odd, "x" * 100_000, "\ud800"]:
            made = self.logged(lambda log: log.info("{v!s:.9}", v=value))  # noqa: B023
            self.assertLess(len(json.dumps(made)), 12_000)
            self.assertTrue(str(made.get("v", "")).isprintable())
        many = {f"f{n}": n for n in range(1_000)}
        self.assertLess(len(self.logged(lambda log: log.info("x", **many))), 60)

    def test_reserved(self) -> None:
        """
        A field cannot take the place of another one.
        """
        fields: dict[str, Any] = dict.fromkeys(("time", "message", "error", "worker"))
        made = self.logged(lambda log: log.info("said", **fields))
        self.assertEqual((made["level"], made["message"]), ("info", "said"))
        self.assertEqual(len(made), 4)

    def test_old_events(self) -> None:
        """
        Events without anything can be written.
        """
        made = json.loads(as_json({}))
        self.assertEqual((made["level"], made["message"]), ("info", ""))


class TextTests(SynchronousTestCase):
    """
    L{as_text} makes a line, as twistd does.
    """

    def test_as_twistd(self) -> None:
        """
        It is what C{twisted.logger} writes.
        """
        event = {
            "log_time": 1_800_000_000.5,
            "log_level": LogLevel.info,
            "log_namespace": "a",
            "log_format": "some text",
        }
        self.assertEqual(as_text(event), f"{eventAsText(event)}\n")
        self.assertEqual(as_text({"log_format": "x"}), "- [-#-] x\n")

    def test_stream(self) -> None:
        """
        A stream gets the one or the other.
        """
        for format in LOG_FORMATS:
            stream = StringIO()
            stream_observer(stream, format)({"log_format": "some text"})
            self.assertIn("some text", stream.getvalue())
            self.assertEqual(stream.getvalue()[:1] == "{", format == "json")


class LevelTests(SynchronousTestCase):
    """
    L{LevelFilter} lets events pass.
    """

    def test_levels(self) -> None:
        """
        From its level on, which may change.
        """
        self.assertEqual(tuple(LEVELS), LOG_LEVELS)
        passed: list[Any] = []
        level = LevelFilter()
        observe = level.before(passed.append)
        log = Logger("a", observer=observe)
        for name in LEVELS:
            level.level = name
            for each in LEVELS:
                log.emit(LEVELS[each], "x")
            got = [event["log_level"].name for event in passed]
            self.assertEqual(got, [*LEVELS][[*LEVELS].index(name) :])
            passed.clear()
        observe({})
        self.assertEqual(passed, [])


class TaskLineTests(SynchronousTestCase):
    """
    L{log_done} logs tasks that are done.
    """

    def test_done(self) -> None:
        """
        A line with the uuid, the URL, the status, the attempt and milliseconds.
        """
        events: list[Any] = []
        self.patch(
            log_line.__globals__["globalLogPublisher"], "_observers", [events.append]
        )
        attempt = TaskAttempt("u", "/a?...", 2)
        log_done(AttemptBegun(attempt))
        log_done(AttemptEnded(attempt, 500, 0.1, Retry()))
        log_done(AttemptEnded(attempt, 200, 0.01234, Done()))
        log_done(AttemptEnded(TaskAttempt("", "/{x}", 1), None, 0.0, Done()))
        first, second = (json.loads(as_json(each)) for each in events)
        text = "Task u for /a?... is done: 200, attempt 2, 12.3 ms."
        self.assertEqual(first["message"], text)
        fields = {"uuid": "u", "url": "/a?...", "status": 200, "attempt": 2, "ms": 12.3}
        self.assertEqual({name: first[name] for name in fields}, fields)
        self.assertEqual(
            (first["level"], first["namespace"]), ("info", "quebert.tasks")
        )
        text = "Task (no uuid) for /{x} is done: no request, attempt 1, 0.0 ms."
        self.assertEqual(second["message"], text)
        self.assertIsNone(second["status"])
        self.assertIn(f"] {text}\n", as_text(events[1]) or "")
