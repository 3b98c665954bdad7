"""
Tests for C{quebert._workers}: several processes, one of which watches the rest.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import (
    Logger,
    LogLevel,
    capturedLogs,
    eventAsText,
    formatEvent,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert._log_output import LevelFilter
from quebert._workers import (
    LIFELINE,
    REPORTS,
    Lifeline,
    Onlooker,
    Report,
    _worker_process,
    is_heard,
    supervisor,
    tell,
)
from quebert._workers._monitor import EARLY, FIRST_DELAY, LAST_DELAY
from quebert._workers._worker_process import LINGER
from quebert._workers.supervisor import LOOK, MERCY, Supervisor
from quebert.errors import ConfigError
from quebert.test.checks import QUICK
from quebert.test.test_twistd import FakeReactor

GRACE = 7.0


class ReportTests(SynchronousTestCase):
    """
    L{Report} carries what a worker logs.
    """

    @given(
        st.builds(
            Report,
            st.floats(0, 1e12),
            st.sampled_from([each.name for each in LogLevel.iterconstants()]),
            st.none() | st.text(st.characters()),
            st.none() | st.floats(0, 1e9),
            told=st.none() | st.dictionaries(st.text(), st.integers()),
        )
    )
    @QUICK
    def test_round_trip(self, report: Report) -> None:
        """
        Any text, in one line.
        """
        line = report.line()
        self.assertEqual(line.count(b"\n"), 1)
        self.assertEqual(Report.parse(line), report)

    @given(st.binary() | st.text().map(str.encode))
    @QUICK
    def test_noise(self, line: bytes) -> None:
        """
        What is no report is none.
        """
        self.assertIsNone(Report.parse(line))

    def test_almost(self) -> None:
        """
        JSON alone does not make a report.
        """
        for line in (
            b"3",
            b"{}",
            b"[]",
            b"[1, 2, 3, 4]",
            b'[1, "loud", "text", null]',
            b"null",
        ):
            self.assertIsNone(Report.parse(line), line)

    def logged(self, log: Callable[[Logger], None]) -> tuple[dict[str, Any], str]:
        """
        What the supervisor logs of what a worker does, and how it reads there.
        """
        with capturedLogs() as events:
            log(Logger("hooks"))
        event = Report.of(events[0]).event("worker 7")
        self.assertEqual(event["log_time"], events[0]["log_time"])
        return event, eventAsText(event, includeTimestamp=False)

    def test_event(self) -> None:
        """
        The supervisor's log shows the worker's name, and what the worker's own
        log would have shown.
        """
        event, text = self.logged(lambda log: log.warn("It's {n}.", n="{brace}"))
        self.assertEqual(event["log_level"], LogLevel.warn)
        self.assertEqual(text, "[worker 7] [hooks#warn] It's {brace}.")

    def test_failure(self) -> None:
        """
        A traceback stays in one piece.
        """

        def fail(log: Logger) -> None:
            try:
                _ = 1 / 0
            except ZeroDivisionError:
                log.failure("No luck.")

        event, text = self.logged(fail)
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(event["log_level"], LogLevel.critical)
        lines = text.splitlines()
        self.assertEqual(lines[0], "[worker 7] [hooks#critical] No luck.")
        self.assertEqual(lines[1], "Traceback (most recent call last):")
        self.assertIn("ZeroDivisionError: division by zero", lines[-1])

    def test_anything(self) -> None:
        """
        An event may hold what no JSON can.
        """
        loop: list[Any] = []
        loop.append(loop)
        _, text = self.logged(lambda log: log.info("{loop}", loop=loop, x=object()))
        self.assertEqual(text, "[worker 7] [hooks#info] [[...]]")


class ReadingReactor(FakeReactor):
    """
    A reactor that reads, when it is told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        """
        Read it.
        """
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        """
        Do not read it any more.
        """
        if reader in self.readers:
            self.readers.remove(reader)


class LifelineTests(SynchronousTestCase):
    """
    L{Lifeline} stops a worker that has lost its supervisor.
    """

    def setUp(self) -> None:
        """
        A pipe, as a supervisor holds it.
        """
        reading, self.writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.reactor = ReadingReactor()
        self.lifeline = Lifeline(reading, self.reactor)
        self.lifeline.startService()

    def test_closed(self) -> None:
        """
        When its pipe closes.
        """
        self.assertEqual(self.reactor.readers, [self.lifeline])
        os.close(self.writing)
        why = self.lifeline.doRead()
        assert why is not None
        self.lifeline.connectionLost(Failure(why))
        self.assertFalse(self.reactor.running)

    def test_written(self) -> None:
        """
        Not when something comes over it.
        """
        os.write(self.writing, b"hello")
        self.assertIsNone(self.lifeline.doRead())
        os.close(self.writing)
        self.assertTrue(self.reactor.running)

    def test_stopped(self) -> None:
        """
        Not once the worker has stopped by itself.
        """
        self.lifeline.stopService()
        os.close(self.writing)
        self.assertEqual(self.reactor.readers, [])


class HeardTests(SynchronousTestCase):
    """
    L{is_heard} tells whether the supervisor reads.
    """

    def test_heard(self) -> None:
        """
        It does once the pipe is empty; where nobody knows, it is taken to.
        """
        reading, writing = os.pipe()
        with mock.patch("quebert._workers._worker.REPORTS", writing):
            self.assertTrue(is_heard())
            tell({"a": 1})
            self.assertFalse(is_heard())
            report = Report.parse(os.read(reading, 4096))
            self.assertEqual(report, Report(told={"a": 1}))
            self.assertTrue(is_heard())
            os.close(reading)
            tell({"a": 2})
            os.close(writing)
            self.assertTrue(is_heard())


class FakeProcess:
    """
    A process, as the reactor's transport.
    """

    def __init__(self, protocol: Any, pid: int, **how: Any) -> None:
        self.protocol = protocol
        self.pid = pid
        self.how = how
        self.alive = True
        self.signals: list[str] = []
        self.closed: list[int] = []

    def signalProcess(self, name: str) -> None:
        """
        Note the signal.
        """
        if not self.alive:
            raise ProcessExitedAlready()
        self.signals.append(name)

    def closeChildFD(self, descriptor: int) -> None:
        """
        Note what is closed.
        """
        self.closed.append(descriptor)

    def say(self, report: Report) -> None:
        """
        Report something.
        """
        self.protocol.childDataReceived(REPORTS, report.line())

    def exit(self, code: int | None = 0, number: int | None = None) -> Failure:
        """
        Be dead, with pipes that are still open.
        """
        self.alive = False
        ended = ProcessTerminated(code, number) if code or number else ProcessDone(0)
        self.protocol.processExited(Failure(ended))
        return Failure(ended)

    def end(self, code: int | None = 0, number: int | None = None) -> None:
        """
        Be dead altogether.
        """
        self.protocol.processEnded(self.exit(None if number else code, number))


class NotingOnlooker(Onlooker):
    """
    Notes what it is told.
    """

    def __init__(self) -> None:
        self.noted: list[Any] = []
        self.error: ConfigError | None = None

    def start(self) -> None:
        """
        The workers are about to be started.
        """
        super().start()
        self.noted.append("start")
        if self.error is not None:
            raise self.error

    def told(self, worker: str, told: dict[str, Any]) -> None:
        """
        A worker tells something.
        """
        super().told(worker, told)
        self.noted.append((worker, told))

    def ended(self, worker: str) -> None:
        """
        A worker has ended.
        """
        super().ended(worker)
        self.noted.append(f"{worker} ended")

    def reload(self) -> None:
        """
        The configuration is read again.
        """
        super().reload()
        self.noted.append("reload")

    def stopping(self) -> None:
        """
        The end begins.
        """
        super().stopping()
        self.noted.append("stopping")

    def stop(self) -> Deferred[None]:
        """
        The end.
        """
        self.noted.append("stop")
        return super().stop()


class ProcessReactor(Clock):
    """
    A reactor that starts processes.

    @ivar processes: all that have been started.
    @ivar error: what becomes of attempts instead.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.error: OSError | None = None
        self.starting: list[tuple[Any, ...]] = []

    def callFromThread(self, call: Callable[[], object]) -> None:
        """
        Call it in the next turn.
        """
        self.callLater(0, call)

    def callWhenRunning(self, *call: Any) -> None:
        """
        Note it.
        """
        self.starting.append(call)

    def spawnProcess(
        self, protocol: Any, executable: Any, args: Any, env: Any, childFDs: Any
    ) -> None:
        """
        Start one.
        """
        if self.error is not None:
            raise self.error
        how = {"executable": executable, "args": args, "env": env, "fds": childFDs}
        process = FakeProcess(protocol, 101 + len(self.processes), **how)
        self.processes.append(process)
        protocol.makeConnection(process)


UP = Report()


def configured(grace: float = GRACE, level: str = "info") -> Report:
    """
    What a worker says that reads its configuration at a SIGHUP.
    """
    return Report(grace=grace, level=level)


class SupervisorTests(SynchronousTestCase):
    """
    L{Supervisor} runs workers.
    """

    def setUp(self) -> None:
        """
        Keep what is logged, and the process alive.
        """
        self.reactor = ProcessReactor()
        self.failures = 0
        self.patch(supervisor, "exit_with_failure", self.fail_process)
        self.events: Any = self.enterContext(capturedLogs())

    def fail_process(self, reactor: Any) -> None:
        """
        The process is to end with status 1.
        """
        self.assertIs(reactor, self.reactor)
        self.failures += 1

    def start(
        self,
        count: int = 2,
        arguments: Sequence[str] = (),
        syslog_prefix: str | None = None,
        reloads: bool = False,
        log_level: LevelFilter | None = None,
        onlooker: Onlooker | None = None,
        is_daemon: bool = False,
        **environment: str,
    ) -> None:
        """
        Start a supervisor.
        """
        self.supervisor = Supervisor(
            count,
            arguments,
            environment,
            grace=GRACE,
            syslog_prefix=syslog_prefix,
            log_level=log_level,
            reloads=reloads,
            onlooker=onlooker,
            is_daemon=is_daemon,
            reactor=self.reactor,
        )
        self.supervisor.startService()

    @property
    def processes(self) -> list[FakeProcess]:
        """
        All processes so far.
        """
        return self.reactor.processes

    def said(self) -> list[str]:
        """
        What is logged, since it was last asked.
        """
        said = [formatEvent(each) for each in self.events]
        self.events.clear()
        return said

    def test_onlooker(self) -> None:
        """
        Somebody looks on what the workers tell, and how they end.
        """
        onlooker = NotingOnlooker()
        self.start(onlooker=onlooker)
        self.processes[1].say(Report(told={"a": 1}))
        self.processes[1].end()
        self.supervisor.reload()
        self.assertEqual(
            onlooker.noted,
            ["start", ("worker 2", {"a": 1}), "worker 2 ended", "reload"],
        )
        onlooker.noted.clear()
        stopping = self.supervisor.stopService()
        self.assertEqual(onlooker.noted, ["stopping"])
        self.processes[0].end()
        self.assertEqual(onlooker.noted[1:], ["worker 1 ended", "stop"])
        self.successResultOf(stopping)

    def test_onlooker_cannot_start(self) -> None:
        """
        No worker is started if the one who looks on cannot.
        """
        onlooker = NotingOnlooker()
        onlooker.error = ConfigError("no such port")
        with mock.patch("quebert._workers.supervisor.exit_with_failure") as exits:
            self.start(onlooker=onlooker)
            exits.assert_called_once_with(self.reactor)
            self.assertRaises(
                ConfigError, self.start, onlooker=onlooker, is_daemon=True
            )
        self.assertEqual(self.processes, [])
        self.assertEqual(self.said(), ["Cannot start: no such port"] * 2)
        self.successResultOf(self.supervisor.stopService())

    def test_start(self) -> None:
        """
        It starts them all at once, with a pipe for each direction.
        """
        self.start(3)
        self.assertEqual(len(self.processes), 3)
        for each in self.processes:
            self.assertEqual(each.how["fds"], {LIFELINE: "w", 1: "r", 2: "r", 3: "r"})
        self.assertEqual(self.said()[0], "worker 1 (process 101) starts.")

    def test_looks_at_the_clock(self) -> None:
        """
        It looks at the clock of the machine every few seconds, also while no worker
        says anything.
        """
        self.start(1)
        for _ in range(3):
            soon = self.reactor.seconds() + LOOK
            calls = self.reactor.getDelayedCalls()
            self.assertTrue(any(each.getTime() <= soon for each in calls))
            self.reactor.advance(LOOK)

    def test_arguments(self) -> None:
        """
        Arguments and environment arrive byte for byte; of ours, none is lost.
        """
        odd = ["-w", "--x=-y z", "", "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n\udcff"]
        self.start(1, odd, URL="amqp://\udcfe")
        how = self.processes[0].how
        self.assertEqual(how["executable"], sys.executable)
        self.assertEqual(how["args"][-4:], [os.fsencode(each) for each in odd])
        self.assertEqual(how["env"][b"URL"], b"amqp://\xfe")
        self.assertEqual(how["env"][b"PATH"], os.environb[b"PATH"])

    def test_modules(self) -> None:
        """
        Workers look for modules where this process does, wherever it goes.
        """
        here = os.getcwd()
        self.patch(sys, "path", ["", "lib", *sys.path])
        self.start(1)
        path = json.loads(self.processes[0].how["env"][b"QUEBERT_WORKER"])
        self.assertEqual(path[:2], [here, os.path.join(here, "lib")])

    def test_signals(self) -> None:
        """
        SIGINT ends it as SIGTERM does.
        """
        self.start()
        numbers = [call[1] for call in self.reactor.starting]
        self.assertEqual(numbers[:2], [signal.SIGTERM, signal.SIGINT])

    def test_reload(self) -> None:
        """
        It passes SIGHUP on, where that is wanted, to all workers that live.
        """
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        self.start()
        self.assertEqual(signal.getsignal(signal.SIGHUP), before)
        self.start(3, reloads=True)
        one, two, three = self.processes[-3:]
        for each in (one, two, three):
            each.say(configured())
            each.say(UP)
        two.end(1)
        three.exit(1)
        signal.raise_signal(signal.SIGHUP)
        self.reactor.advance(0)
        signals = [each.signals for each in (one, two, three)]
        self.assertEqual(signals, [["HUP"], [], []])
        self.assertEqual(self.said()[-1], "SIGHUP: passed on to 2 workers.")

    def test_reload_early(self) -> None:
        """
        A worker that does not read its configuration at a SIGHUP yet gets it when it
        does, once: until then it would be ended by it.
        """
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        self.start(2, reloads=True)
        one, two = self.processes
        one.say(configured())
        one.say(UP)
        self.supervisor.reload()
        self.supervisor.reload()
        self.assertEqual((one.signals, two.signals), (["HUP", "HUP"], []))
        two.say(configured())
        two.say(UP)
        two.say(configured())
        self.assertEqual((one.signals, two.signals), (["HUP", "HUP"], ["HUP"]))
        two.end(1)
        self.reactor.advance(LAST_DELAY)
        again = self.processes[-1]
        again.say(configured())
        again.say(UP)
        self.assertEqual(again.signals, [])

    def test_log_level(self) -> None:
        """
        The log has what the workers log, also when a reload has changed their level.
        """
        level = LevelFilter("warn")
        self.start(1, log_level=level)
        self.assertEqual(level.level, "warn")
        for name in ("warn", "debug", "error"):
            self.processes[0].say(configured(level=name))
            self.assertEqual(level.level, name)

    def test_syslog(self) -> None:
        """
        It logs to syslog, too, where that is wanted, for all.
        """
        prefixes: list[str] = []
        log = staticmethod(lambda prefix, level: prefixes.append(prefix))
        self.patch(supervisor, "log_to_syslog", log)
        self.start()
        self.assertEqual(prefixes, [])
        self.start(syslog_prefix="quebert")
        self.assertEqual(prefixes, ["quebert"])

    def test_log(self) -> None:
        """
        What a worker reports is logged as its own.
        """
        self.start()
        self.events.clear()
        self.processes[1].say(Report(12.5, "error", "[hooks] Oh.\nWell."))
        event = self.events[0]
        self.assertEqual(
            (event["log_system"], event["log_time"], event["log_level"]),
            ("worker 2", 12.5, LogLevel.error),
        )
        self.assertEqual(self.said(), ["[hooks] Oh.\nWell."])

    def test_output(self) -> None:
        """
        So is what it, or what it has started, writes to its output, whatever
        that is, and what it leaves unfinished.
        """
        # trial --jobs passes what is logged on by AMP, in strings of 64 KiB at most.
        self.patch(_worker_process, "LINE", 100)
        self.start()
        self.events.clear()
        worker = self.processes[0].protocol
        worker.childDataReceived(1, b"one\ntw")
        worker.childDataReceived(2, b"oops \xff\n")
        worker.childDataReceived(1, b"o\n" + b"x" * 100)
        worker.childDataReceived(1, b"y")
        worker.childDataReceived(REPORTS, b"noise\n[1,")
        self.assertEqual({each["log_system"] for each in self.events}, {"worker 1"})
        said = self.said()
        self.assertEqual(said[:2], ["one", "oops \N{REPLACEMENT CHARACTER}"])
        self.assertEqual(said[2:], ["two", "x" * 100 + "y", "noise"])
        self.processes[0].end(0)
        self.assertEqual(self.said()[0], "[1,")

    def test_restart(self) -> None:
        """
        A worker that ends is started again, soon, and one line tells how it
        ended.
        """
        self.start()
        self.processes[1].say(UP)
        self.events.clear()
        self.processes[1].end(number=signal.SIGKILL)
        self.assertEqual(
            self.said(),
            ["worker 2 (process 102) was killed by SIGKILL; it starts again in 0.5 s."],
        )
        self.assertEqual(len(self.processes), 2)
        self.reactor.advance(FIRST_DELAY)
        self.assertEqual(self.said(), ["worker 2 (process 103) starts."])

    def test_restart_at_once(self) -> None:
        """
        One that has lived for some time is started again at once, whether it
        ended well or not.
        """
        self.start()
        self.processes[0].say(UP)
        self.reactor.advance(EARLY)
        for n, (code, level) in enumerate([(0, LogLevel.info), (3, LogLevel.warn)]):
            self.events.clear()
            self.processes[n].end(code)
            self.assertEqual(self.events[0]["log_level"], level)
            how = f"ended with exit status {code}; it starts again in 0.0 s."
            self.assertTrue(self.said()[0].endswith(how))
            self.reactor.advance(0)
            self.assertEqual(len(self.processes), 3 + n)

    def test_signal_without_a_name(self) -> None:
        """
        A signal that has no name is told by its number.
        """
        self.start()
        self.processes[0].end(number=signal.SIGRTMIN + 1)
        number = signal.SIGRTMIN + 1
        self.assertIn(f"was killed by signal {number}; it", self.said()[-1])

    def test_back_off(self) -> None:
        """
        The delays grow to half a minute for one that dies again and again, and
        are short again after it has lived.
        """
        self.start(1)
        self.processes[0].say(UP)
        delays = []
        for _ in range(9):
            self.processes[-1].end(1)
            before, count = self.reactor.seconds(), len(self.processes)
            while len(self.processes) == count:
                self.reactor.advance(0.5)
            delays.append(self.reactor.seconds() - before)
        self.assertEqual(delays, [0.5, 1, 2, 4, 8, 16, 30, 30, 30])
        self.reactor.advance(EARLY)
        for delay in ("0.0", "0.5"):
            self.processes[-1].end(1)
            self.assertIn(f"again in {delay} s", self.said()[-1])
            self.reactor.advance(0.5)

    def test_never_up(self) -> None:
        """
        As long as none has been up, the first that fails ends it all.
        """
        self.start()
        self.events.clear()
        self.processes[1].end(1)
        self.assertEqual(self.failures, 1)
        self.assertEqual(
            self.said(),
            [
                "worker 2 (process 102) ended with exit status 1.",
                "No worker has been up yet: giving up.",
            ],
        )
        self.processes[0].end(1)
        self.assertEqual(self.failures, 1)
        self.assertEqual(
            self.said(), ["worker 1 (process 101) ended with exit status 1."]
        )

    def test_fails_late(self) -> None:
        """
        One that takes long to fail is not started again, either.
        """
        self.start()
        self.reactor.advance(EARLY)
        for each in self.processes:
            each.end(1)
        self.reactor.advance(0)
        self.assertEqual((self.failures, len(self.processes)), (1, 2))

    def test_killed_before_up(self) -> None:
        """
        A signal, or a good end, is no failure.
        """
        self.start()
        self.processes[0].end(number=signal.SIGSEGV)
        self.processes[1].end(0)
        self.assertEqual(self.failures, 0)
        self.reactor.advance(FIRST_DELAY)
        self.assertEqual(len(self.processes), 4)

    def test_long_wait(self) -> None:
        """
        To live long is not to be up: a worker may wait for its broker for hours,
        and then not be let in.
        """
        self.start(1)
        self.reactor.advance(36000)
        self.processes[0].end(1)
        self.assertEqual(self.failures, 1)

    def test_one_up(self) -> None:
        """
        Once one has been up, others are started again, however they end.
        """
        self.start()
        self.processes[1].say(UP)
        self.assertIn("worker 2 (process 102) is up.", self.said())
        self.processes[0].end(1)
        self.assertEqual(self.failures, 0)
        self.reactor.advance(FIRST_DELAY)
        self.assertEqual(len(self.processes), 3)

    def test_cannot_spawn(self) -> None:
        """
        A process that the system does not make is a failure like others.
        """
        self.reactor.error = OSError(2, "No such file or directory")
        self.start()
        self.assertEqual(self.failures, 1)
        wanted = "worker 1 cannot be started: [Errno 2] No such file or directory."
        self.assertEqual(self.said()[0], wanted)

    def test_cannot_spawn_for_a_while(self) -> None:
        """
        And waited out, once there have been others.
        """
        self.start(1)
        self.processes[0].say(UP)
        self.reactor.error = OSError(11, "Try again")
        self.processes[0].end(0)
        self.reactor.advance(FIRST_DELAY)
        self.assertIn("Try again; it starts again in 1.0 s", self.said()[-1])
        self.reactor.error = None
        self.reactor.advance(1)
        self.assertEqual(len(self.processes), 2)
        self.assertEqual(self.failures, 0)

    def stop(self) -> Deferred[None]:
        """
        Stop it.
        """
        stopping = self.supervisor.stopService()
        self.events.clear()
        return stopping

    def test_stop(self) -> None:
        """
        All get SIGTERM at the same time; it waits for the last, and starts none
        again.
        """
        self.start()
        self.processes[0].say(UP)
        stopping = self.stop()
        self.assertEqual([each.signals for each in self.processes], [["TERM"]] * 2)
        self.processes[1].end(0)
        self.assertNoResult(stopping)
        self.processes[0].end(number=signal.SIGTERM)
        self.successResultOf(stopping)
        self.assertEqual(
            self.said(),
            [
                "worker 2 (process 102) ended with exit status 0.",
                "worker 1 (process 101) was killed by SIGTERM.",
            ],
        )
        self.reactor.advance(1000)
        self.assertEqual(len(self.processes), 2)

    def test_stop_between_runs(self) -> None:
        """
        A worker that waits for its start is not waited for.
        """
        self.start(1)
        self.processes[0].end(0)
        self.successResultOf(self.stop())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop_and_fail(self) -> None:
        """
        A worker that fails at the end does not make it a failure.
        """
        self.start(1)
        stopping = self.stop()
        self.processes[0].end(1)
        self.successResultOf(stopping)
        self.assertEqual(self.failures, 0)

    def test_kill(self) -> None:
        """
        One that does not end is killed, well after its grace.
        """
        self.start(1)
        stopping = self.stop()
        self.reactor.advance(GRACE + MERCY - 1)
        self.assertEqual(self.processes[0].signals, ["TERM"])
        self.reactor.advance(1)
        self.assertEqual(self.processes[0].signals, ["TERM", "KILL"])
        self.assertNoResult(stopping)
        self.processes[0].end(number=signal.SIGKILL)
        self.successResultOf(stopping)

    def check_killed_after(self, process: FakeProcess, seconds: float) -> None:
        """
        It is killed so many seconds from now.
        """
        self.reactor.advance(seconds - 0.1)
        self.assertEqual(process.signals, ["TERM"])
        self.reactor.advance(0.1)
        self.assertEqual(process.signals, ["TERM", "KILL"])

    def test_another_grace(self) -> None:
        """
        A worker that has told another grace gets that; a lower one does not count as
        long as something may end with the one before.
        """
        self.start(3)
        one, two, three = self.processes
        one.say(configured(300))
        one.say(configured(1))
        two.say(configured(1))
        self.stop()
        self.reactor.advance(0)
        self.check_killed_after(two, 1 + MERCY)
        self.check_killed_after(three, GRACE - 1)
        self.check_killed_after(one, 300 - GRACE)

    def test_another_grace_late(self) -> None:
        """
        So it is when a worker has read it just before its SIGTERM, and when it is
        started again its grace is that of the beginning.
        """
        self.start(1)
        self.processes[0].say(UP)
        self.processes[0].say(configured(300))
        self.processes[0].end(1)
        self.reactor.advance(FIRST_DELAY)
        worker = self.processes[1]
        self.stop()
        self.reactor.advance(GRACE + MERCY - 0.1)
        worker.say(configured(60))
        self.check_killed_after(worker, 60 + MERCY)
        worker.say(configured(90))
        worker.end(number=signal.SIGKILL)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_lingering(self) -> None:
        """
        What a dead worker has started may hold its pipes: they are closed.
        """
        self.start(1)
        self.processes[0].exit(0)
        self.reactor.advance(LINGER)
        self.assertEqual(sorted(self.processes[0].closed), [0, 1, 2, 3])

    def test_nothing_left(self) -> None:
        """
        A worker that is gone leaves nothing to be called.
        """
        self.start(1)
        stopping = self.stop()
        self.processes[0].end(0)
        self.successResultOf(stopping)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
