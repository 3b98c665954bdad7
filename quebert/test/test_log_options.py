"""
Tests for L{quebert._twistd._log_options}: the options of the log, as twistd heeds them.
"""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.logger import Logger, LogLevel
from twisted.python.logfile import LogFile
from twisted.python.reflect import namedAny
from twisted.python.syslog import SyslogObserver
from twisted.python.usage import UsageError
from twisted.scripts._twistd_unix import ServerOptions, UnixAppLogger
from twisted.trial.unittest import SynchronousTestCase

from quebert._log_output import LevelFilter
from quebert._twistd import LOG_FORMATS, check_log_options, write_log
from quebert.config import LOG_FORMATS as FORMATS_OF_FILES
from quebert.executor import ExecutorOptions
from quebert.service import Options
from quebert.test.checks import refusal

GIVEN: list[Any] = []


def own_logger() -> Any:
    """
    For twistd's C{--logger}.
    """
    from twisted.logger import ILogObserver
    from zope.interface import directlyProvides

    def observe(event: Any) -> None:
        GIVEN.append(event)

    directlyProvides(observe, ILogObserver)
    return observe


class WriteLogTests(SynchronousTestCase):
    """
    L{write_log} has twistd write its log.
    """

    def setUp(self) -> None:
        GIVEN.clear()
        self.path = Path(self.enterContext(TemporaryDirectory())) / "log"
        self.level = LevelFilter("warn")
        # As twistd does at its end, which a test does not see.
        opened: list[LogFile] = []
        opening = LogFile._openFile

        def open_file(file: LogFile) -> None:
            opening(file)
            opened.append(file)

        self.patch(LogFile, "_openFile", open_file)
        self.addCleanup(lambda: [each.close() for each in opened])

    def observer(self, format: str, **of_twistd: object) -> Any:
        """
        What twistd then makes of its own options.
        """
        options: Any = Options()
        options.parent = {"nodaemon": 1, "logfile": str(self.path), **of_twistd}
        write_log(options, self.level, format)
        return namedAny(options.parent["logger"])()

    def logged(self, observer: Any) -> list[str]:
        """
        What is in the file when a line of each level was logged.
        """
        log = Logger("some", observer=observer)
        for level in (LogLevel.info, LogLevel.warn, LogLevel.error):
            log.emit(level, f"at {level.name}")
        return self.path.read_text().splitlines() if self.path.exists() else []

    def test_text(self) -> None:
        """
        Text is twistd's own, from a level on.
        """
        lines = self.logged(self.observer("text"))
        self.assertEqual(len(lines), 2)
        self.assertTrue(lines[0].endswith(" [some#warn] at warn"))

    def test_json(self) -> None:
        """
        JSON goes where twistd would log.
        """
        lines = self.logged(self.observer("json"))
        told = [json.loads(line)["message"] for line in lines]
        self.assertEqual(told, ["at warn", "at error"])

    def test_standard_output(self) -> None:
        """
        In the foreground that is standard output.
        """
        out = StringIO()
        self.patch(UnixAppLogger.__init__.__globals__["sys"], "stdout", out)
        self.logged(self.observer("text", logfile=None))
        self.assertIn("at warn\n", out.getvalue())

    def test_logger(self) -> None:
        """
        An observer of one's own gets what passes; it makes no JSON.
        """
        name = f"{__name__}.own_logger"
        self.assertEqual(self.logged(self.observer("text", logger=name)), [])
        self.assertEqual(
            [each["log_format"] for each in GIVEN], ["at warn", "at error"]
        )
        said = refusal(UsageError, self.observer, "json", logger=name)
        self.assertEqual(
            said, "--log-format=json and twistd's --logger exclude each other"
        )

    def test_unknown_logger(self) -> None:
        """
        One that is not there is left to twistd.
        """
        options: Any = Options()
        options.parent = {"nodaemon": 1, "logger": "no.such"}
        write_log(options, self.level, "text")
        self.assertEqual(options.parent["logger"], "no.such")

    def test_syslog(self) -> None:
        """
        Syslog gets what passes.
        """
        said: list[str] = []
        self.patch(SyslogObserver, "openlog", staticmethod(lambda *options: None))
        sent = staticmethod(lambda priority, line: said.append(line))
        self.patch(SyslogObserver, "syslog", sent)
        self.logged(self.observer("text", syslog=True, prefix="p"))
        self.assertEqual(len(said), 2)
        told = refusal(UsageError, self.observer, "json", syslog=True)
        self.assertIn("--syslog", told)

    def test_without_twistd(self) -> None:
        """
        Other parents are left alone.
        """
        for parent in (None, {"reactor": "x"}):
            options: Any = Options()
            options.parent = parent
            write_log(options, self.level, "json")
            self.assertEqual(options.parent, parent)


class OptionTests(SynchronousTestCase):
    """
    The options, on the command line of twistd.
    """

    def parsed(self, *arguments: str) -> Any:
        """
        What is made of a command line.
        """
        options: Any = ServerOptions()
        options.parseOptions(["-n", *arguments])
        return options.subOptions

    def test_services(self) -> None:
        """
        Both services have them, and check them.
        """
        self.assertEqual(LOG_FORMATS, FORMATS_OF_FILES)
        for service in (
            ["quebert", "--watch=a:b:c"],
            ["quexecutor", "--function=os.path.join"],
        ):
            options = self.parsed(*service)
            self.assertEqual(options.log_level.level, "info")
            options = self.parsed(*service, "--log-level=error", "--log-format=json")
            self.assertEqual(options.log_level.level, "error")
            self.assertTrue(callable(options.parent["logger"]))
        for kind in (Options, ExecutorOptions):
            given = kind()
            given["log-level"] = "loud"
            said = refusal(UsageError, check_log_options, given)
            right = "must be debug, info, warn, error or critical"
            self.assertEqual(said, f"--log-level=loud {right}")

    def test_tasks(self) -> None:
        """
        Whether tasks are logged is yes or no; an option counts more than the file.
        """
        path = Path(self.enterContext(TemporaryDirectory())) / "a.toml"
        path.write_text(
            '[service]\nlog_tasks = false\nlog_level = "warn"\n[queues.a]\nkey = "k"\n'
        )
        for arguments, tasks in [
            (["--watch=a:b:c"], True),
            (["--watch=a:b:c", "--log-tasks=no"], False),
            ([f"--config={path}"], False),
            ([f"--config={path}", "--log-tasks=yes"], True),
        ]:
            options = self.parsed("quebert", *arguments)
            self.assertEqual(options["settings"].service.log_tasks, tasks)
            level = "info" if arguments[0][2] == "w" else "warn"
            self.assertEqual(options.log_level.level, level)
        options = self.parsed("quebert", f"--config={path}", "--log-level=debug")
        self.assertEqual(options.log_level.level, "debug")
        self.assertEqual(options.read_settings().service.log_level, "debug")
        said = refusal(UsageError, self.parsed, "quebert", "--log-tasks=maybe")
        self.assertEqual(said, "--log-tasks=maybe must be yes or no")
