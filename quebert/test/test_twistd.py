"""
Tests for L{quebert._twistd}: what the plugins share.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import syslog
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.syslog import SyslogObserver
from twisted.python.usage import Options, UsageError
from twisted.trial.unittest import SynchronousTestCase

import quebert
from quebert._twistd import (
    exit_cleanly_on_sigterm,
    load,
    log_to_syslog,
    no_default_pid_file,
    on_sighup,
)


class LoadTests(SynchronousTestCase):
    """
    L{load} finds functions by their names.
    """

    def setUp(self) -> None:
        """
        The current directory is empty, and not looked into for modules.
        """
        self.folder = Path(self.enterContext(TemporaryDirectory())).resolve()
        self.enterContext(chdir(self.folder))
        self.patch(sys, "path", sys.path[:])
        self.patch(sys, "modules", sys.modules.copy())

    def write(self, name: str, text: str) -> None:
        """
        Write a module.
        """
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def wrong(self, dotted: str) -> str:
        """
        What is said of a name that is wrong.
        """
        error = self.assertRaises(UsageError, load, dotted, "--function")
        said = str(error)
        self.assertNotIn("\n", said)
        start = f"--function={dotted}"
        self.assertEqual(said[: len(start)], start)
        return said[len(start) :]

    def test_function(self) -> None:
        """
        It finds a function of a module.
        """
        self.assertIs(load("json.dumps", "--function"), json.dumps)

    def test_deeper(self) -> None:
        """
        It finds what is in a package, and in a class.
        """
        self.assertIs(load("os.path.join", "--function"), os.path.join)
        found = load("json.decoder.JSONDecoder.decode", "--function")
        self.assertIs(found, json.JSONDecoder.decode)

    def test_current_directory(self) -> None:
        """
        It looks into the current directory, before all others.
        """
        self.write("colorsys.py", "def execute(task): return 'mine'")
        sys.modules.pop("colorsys", None)
        self.assertEqual(load("colorsys.execute", "--function")({}), "mine")
        self.assertEqual(sys.path.count(str(self.folder)), 1)
        load("json.dumps", "--function")
        self.assertEqual(sys.path.count(str(self.folder)), 1)

    def test_package_in_current_directory(self) -> None:
        """
        It finds a module of a package there, with an __init__.py or without.
        """
        self.write("mytasks/mail.py", "def send(task): return 'sent'")
        self.assertEqual(load("mytasks.mail.send", "--function")({}), "sent")

    def test_no_dotted_name(self) -> None:
        """
        What is no module.function is told apart, and shown one.
        """
        for dotted in ("", "execute", "executor.", ".execute", "a..b", "a.b()", "a:b"):
            said = self.wrong(dotted)
            expected = " must be module.function, such as --function=executor.execute"
            self.assertEqual(said, expected)

    def test_no_module(self) -> None:
        """
        A module that is not there is named, and where it was looked for.
        """
        self.assertEqual(
            self.wrong("no_such.execute"),
            f": there is no module no_such, neither installed nor in {self.folder}",
        )

    def test_no_attribute(self) -> None:
        """
        A function that is not in its module is named, with the module.
        """
        self.assertEqual(self.wrong("json.no_such"), ": json has no no_such")
        self.assertEqual(self.wrong("json.a.b"), ": json has no a.b")
        self.assertEqual(self.wrong("os.path.a"), f": {os.path.__name__} has no a")

    def test_not_callable(self) -> None:
        """
        What cannot be called is told by its type.
        """
        self.assertEqual(self.wrong("json.__all__"), " must be a function, not list")
        self.assertEqual(self.wrong("json.decoder"), " must be a function, not module")

    def test_import_fails(self) -> None:
        """
        An error in the module is told, with its place.
        """
        self.write("broken.py", "\nraise ValueError('the\\nmessage')\n")
        self.assertEqual(
            self.wrong("broken.execute"),
            ": broken cannot be imported: ValueError: the message"
            f" ({self.folder / 'broken.py'}, line 2)",
        )

    def test_exits(self) -> None:
        """
        A module that would end the process when it is imported does not.
        """
        self.write("broken.py", "import sys\nsys.exit(0)\n")
        said = self.wrong("broken.execute")
        self.assertIn(": broken cannot be imported: SystemExit: 0 (", said)

    def test_its_import_is_missing(self) -> None:
        """
        A module that the module needs is not taken for the module itself.
        """
        self.write("needy/__init__.py", "")
        self.write("needy/tasks.py", "import no_such")
        said = self.wrong("needy.tasks.execute")
        expected = ": needy.tasks cannot be imported: ModuleNotFoundError: No module"
        self.assertEqual(said[: len(expected)], expected)
        self.assertIn("'no_such' (", said)
        self.assertIn("tasks.py, line 1)", said)

    def test_syntax_error(self) -> None:
        """
        So is a module that is not Python.
        """
        self.write("broken.py", "def execute(task) return 1")
        said = self.wrong("broken.execute")
        self.assertIn("broken cannot be imported: SyntaxError: ", said)
        self.assertEqual(said.count("broken.py, line 1"), 1)


class SyslogTests(SynchronousTestCase):
    """
    L{log_to_syslog} sends what is logged to syslog, too.
    """

    log = Logger()

    def setUp(self) -> None:
        """
        Keep what would be sent.
        """
        self.begun: list[str] = []
        self.said: list[tuple[int, str]] = []
        opened = staticmethod(lambda prefix, *options: self.begun.append(prefix))
        self.patch(SyslogObserver, "openlog", opened)
        sent = staticmethod(lambda priority, line: self.said.append((priority, line)))
        self.patch(SyslogObserver, "syslog", sent)
        self.end = log_to_syslog("executor")
        self.addCleanup(lambda: self.end())

    def test_prefix(self) -> None:
        """
        Under the prefix that was asked for.
        """
        self.assertEqual(self.begun, ["executor"])

    def test_priorities(self) -> None:
        """
        With the level of each event.
        """
        self.log.info("one {n}", n=1)
        self.log.warn("two")
        self.log.error("three")
        levels = [priority for priority, line in self.said]
        wanted = [syslog.LOG_INFO, syslog.LOG_WARNING, syslog.LOG_ERR]
        self.assertEqual(levels, wanted)
        self.assertTrue(self.said[0][1].endswith("one 1"))

    def test_failure(self) -> None:
        """
        A failure comes with its traceback, line by line.
        """
        self.log.failure("It fails.", Failure(ValueError("the message")))
        self.flushLoggedErrors(ValueError)
        self.assertEqual({priority for priority, line in self.said}, {syslog.LOG_CRIT})
        self.assertTrue(self.said[0][1].endswith("It fails."))
        self.assertIn("ValueError: the message", self.said[-1][1])

    def test_end(self) -> None:
        """
        Until it is ended.
        """
        self.end()
        self.end = lambda: None
        self.log.info("unheard")
        self.assertEqual(self.said, [])


class FakeReactor:
    """
    A reactor that starts and stops when it is told.
    """

    def __init__(self) -> None:
        self.running = True
        self.starting: list[Callable[[], Any]] = []
        self.calls: list[Callable[[], Any]] = []

    def callWhenRunning(self, function: Callable[..., Any], *args: Any) -> None:
        """
        Keep it for the start.
        """
        self.starting.append(lambda: function(*args))

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        """
        Keep it for the next turn.
        """
        self.calls.append(lambda: function(*args))

    def stop(self) -> None:
        """
        Stop, once.
        """
        if not self.running:
            raise ReactorNotRunning()
        self.running = False

    def turn(self) -> None:
        """
        Do what is to be done.
        """
        calls, self.calls = self.calls, []
        for each in calls:
            each()


class SighupTests(SynchronousTestCase):
    """
    L{on_sighup} has SIGHUP call something.
    """

    def test_calls(self) -> None:
        """
        In the reactor's thread, each time.
        """
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        reactor, calls = FakeReactor(), list[int]()
        on_sighup(reactor, lambda: calls.append(1))
        for count in range(2):
            signal.raise_signal(signal.SIGHUP)
            self.assertEqual(len(calls), count)
            reactor.turn()
        self.assertEqual(len(calls), 2)


class SigtermTests(SynchronousTestCase):
    """
    L{exit_cleanly_on_sigterm} stops the reactor, and leaves no trace of why.
    """

    def setUp(self) -> None:
        """
        The handlers are put back in the end.
        """
        for number in (signal.SIGTERM, signal.SIGHUP):
            before = signal.getsignal(number)
            self.addCleanup(signal.signal, number, before)
            signal.signal(number, signal.SIG_IGN)
        self.reactor = FakeReactor()
        exit_cleanly_on_sigterm(self.reactor)

    def test_late(self) -> None:
        """
        Nothing changes until the reactor has put its own handler in place.
        """
        self.assertEqual(signal.getsignal(signal.SIGTERM), signal.SIG_IGN)

    def test_stops(self) -> None:
        """
        SIGTERM stops the reactor from its own thread.
        """
        self.reactor.starting[0]()
        signal.raise_signal(signal.SIGTERM)
        self.assertTrue(self.reactor.running)
        self.reactor.turn()
        self.assertFalse(self.reactor.running)

    def test_others(self) -> None:
        """
        Other signals do the same, where they are asked for.
        """
        before = signal.getsignal(signal.SIGUSR2)
        self.addCleanup(signal.signal, signal.SIGUSR2, before)
        exit_cleanly_on_sigterm(self.reactor, signal.SIGUSR2)
        for each in self.reactor.starting:
            each()
        signal.raise_signal(signal.SIGUSR2)
        self.reactor.turn()
        self.assertFalse(self.reactor.running)

    def test_terminal_closes(self) -> None:
        """
        SIGHUP does the same, unless it is ignored or has a meaning.
        """
        start, calls = self.reactor.starting[1], list[int]()
        start()
        self.assertEqual(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)
        signal.signal(signal.SIGHUP, lambda number, _: calls.append(number))
        start()
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(calls, [signal.SIGHUP])
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        start()
        signal.raise_signal(signal.SIGHUP)
        self.reactor.turn()
        self.assertFalse(self.reactor.running)

    def test_again(self) -> None:
        """
        A second SIGTERM while it stops changes nothing.
        """
        self.reactor.starting[0]()
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
            self.reactor.turn()
        self.assertFalse(self.reactor.running)
        self.assertEqual(self.flushLoggedErrors(), [])


class PidFileTests(SynchronousTestCase):
    """
    L{no_default_pid_file} leaves a pid file to daemons, and to those who name one.
    """

    def pid_file(self, name: str, nodaemon: int = 0, debug: bool = False) -> str:
        """
        The one that twistd then has.
        """
        options = Options()
        options.parent = Options()
        options.parent.update(pidfile=name, nodaemon=nodaemon, debug=debug)
        no_default_pid_file(options)
        return str(options.parent["pidfile"])

    def test_foreground(self) -> None:
        """
        In the foreground there is none, unless another one is named.
        """
        self.assertEqual(self.pid_file("twistd.pid", nodaemon=1), "")
        self.assertEqual(self.pid_file("twistd.pid", debug=True), "")
        self.assertEqual(self.pid_file("my.pid", nodaemon=1), "my.pid")
        self.assertEqual(self.pid_file("", nodaemon=1), "")

    def test_daemon(self) -> None:
        """
        A daemon has the one that it would have.
        """
        for name in ("twistd.pid", "my.pid", ""):
            self.assertEqual(self.pid_file(name), name)

    def test_without_twistd(self) -> None:
        """
        Options that are used without twistd are left alone.
        """
        options = Options()
        no_default_pid_file(options)
        self.assertEqual(options, {})


class FailureTests(SynchronousTestCase):
    """
    L{exit_with_failure<quebert._twistd.exit_with_failure>} ends the process.
    """

    def run_python(self, text: str) -> subprocess.CompletedProcess[str]:
        """
        What comes of it.
        """
        root = str(Path(quebert.__file__).parents[1])
        return subprocess.run(
            [sys.executable, "-c", text],
            env={**os.environ, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_status(self) -> None:
        """
        The reactor stops, what follows it is done, and the status is 1; also
        when it is asked for before the start, or twice.
        """
        script = """
from twisted.internet import reactor
from quebert._twistd import exit_with_failure
exit_with_failure(reactor)
reactor.callWhenRunning(exit_with_failure, reactor)
reactor.addSystemEventTrigger("before", "shutdown", exit_with_failure, reactor)
reactor.run()
print("done", end="")
"""
        ended = self.run_python(script)
        self.assertEqual((ended.stdout, ended.stderr), ("done", ""))
        self.assertEqual(ended.returncode, 1)
