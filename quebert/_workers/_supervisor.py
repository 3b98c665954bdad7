"""
The supervisor's side: starts workers, starts them again, and ends them.

Importing it installs the global reactor, as C{twisted.runner.procmon} does: it
must not happen before the program has chosen one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorProcess,
    IReactorTime,
)
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.runner.procmon import LoggingProtocol, ProcessMonitor
from zope.interface import implementer

from quebert._log import Logger
from quebert._reactor import given_or_global
from quebert._twistd import (
    exit_cleanly_on_sigterm,
    exit_with_failure,
    log_to_syslog,
    on_sighup,
)
from quebert._workers._pipes import ENVIRONMENT, LIFELINE, REPORTS, Lines, Report

__all__ = ["Supervisor", "Worker"]

#: What a worker's descriptors are to us: what we write to and read from.
DESCRIPTORS = {LIFELINE: "w", 1: "r", 2: "r", REPORTS: "r"}
#: Seconds: a worker that has lived for less has died early, and the next one
#: waits: half a second, then twice as long for each in a row.
EARLY = 10.0
FIRST_DELAY = 0.5
LAST_DELAY = 30.0
#: Seconds beyond its grace, after which a worker that does not end is killed.
MERCY = 30.0
#: Seconds for which the pipes of a dead worker may be held open by what it has
#: started.
LINGER = 1.0
#: Seconds between two looks whether the clock of the machine was set: the reactor of a
#: supervisor sleeps as long as the workers say nothing.
LOOK = 2.0
#: Bytes of a line of a worker's standard output.
LINE = 65536


class Worker(ProcessProtocol):
    """
    One run of a worker, from its start to its end.

    @param monitored: the monitor's own protocol, which sees the start and the
        end, but not what is said between them.
    @param supervisor: is told.
    @param clock: calls later.
    @ivar name: the worker's, which its next run has, too.
    @ivar pid: of its process, once there is one.
    """

    log = Logger()
    pid: int | None = None

    def __init__(
        self, monitored: LoggingProtocol, supervisor: Supervisor, clock: IReactorTime
    ) -> None:
        self.name = monitored.name
        self._monitored = monitored
        self._supervisor = supervisor
        self._clock = clock
        self._closing: IDelayedCall | None = None
        self._lines = {1: Lines(LINE), 2: Lines(LINE), REPORTS: Lines()}

    @property
    def _process(self) -> Any:
        return self.transport

    def __str__(self) -> str:
        return self.name if self.pid is None else f"{self.name} (process {self.pid})"

    def cannot_start(self, error: OSError) -> None:
        """
        The system makes no process of it.
        """
        self._monitored.connectionMade()
        self._monitored.processEnded(Failure(ProcessTerminated(exitCode=1)))
        self._supervisor.ended(self, f"cannot be started: {error}", failed=True)

    def connectionMade(self) -> None:
        """
        The process runs.
        """
        self.pid = self._process.pid
        self._monitored.makeConnection(self._process)
        self.log.info("{worker} starts.", worker=str(self), pid=self.pid)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """
        It says something: reports, or lines for the log.
        """
        for line in self._lines[childFD].feed(data):
            self._heard(childFD, line)

    def _heard(self, descriptor: int, line: bytes) -> None:
        report = Report.parse(line) if descriptor == REPORTS else None
        if report is None:
            text = line.decode(errors="replace")
            self.log.info("{text}", text=text, log_system=self.name)
        elif report.text is not None:
            globalLogPublisher(report.event(self.name))
        elif report.grace is not None:
            self._supervisor.configured(self, report.grace)
        else:
            self._supervisor.up(self)

    def processExited(self, reason: Failure) -> None:
        """
        It is dead.  What it has started may live, and hold its pipes open.
        """
        self._closing = self._clock.callLater(LINGER, self._close)

    def _close(self) -> None:
        for descriptor in DESCRIPTORS:
            self._process.closeChildFD(descriptor)

    def processEnded(self, reason: Failure) -> None:
        """
        It is dead, and has said its last.
        """
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        for descriptor, lines in self._lines.items():
            if rest := lines.end():
                self._heard(descriptor, rest)
        self._monitored.processEnded(reason)
        ended: Any = reason.value
        self._supervisor.ended(self, _how(ended), failed=bool(ended.exitCode))


@implementer(IReactorProcess, IReactorTime)
class _Spawner:
    """
    The reactor as the monitor sees it: the processes it starts are L{Worker}s.
    """

    def __init__(self, reactor: Any, supervisor: Supervisor) -> None:
        self._reactor = reactor
        self._supervisor = supervisor

    def spawnProcess(
        self,
        processProtocol: Any,
        executable: Any,
        args: Any = (),
        env: Any = None,
        path: Any = None,
        uid: int | None = None,
        gid: int | None = None,
        usePTY: Any = False,
        childFDs: Any = None,
    ) -> Any:
        """
        Start it with the descriptors of a worker.
        """
        worker = Worker(processProtocol, self._supervisor, self._reactor)
        # Of any bytes, as they came to this process.
        command = [os.fsencode(each) for each in args]
        variables = {os.fsencode(k): os.fsencode(v) for k, v in env.items()}
        try:
            self._reactor.spawnProcess(
                worker, executable, command, env=variables, childFDs=DESCRIPTORS
            )
        except OSError as e:
            worker.cannot_start(e)

    def seconds(self) -> float:
        """
        The time, in seconds.
        """
        return float(self._reactor.seconds())

    def callLater(
        self, delay: float, callable: Any, *args: object, **kwargs: object
    ) -> IDelayedCall:
        """
        Call it after C{delay} seconds.
        """
        call: IDelayedCall = self._reactor.callLater(delay, callable, *args, **kwargs)
        return call

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """
        What is to be called.
        """
        calls: Sequence[IDelayedCall] = self._reactor.getDelayedCalls()
        return calls


class Supervisor(Service):
    """
    Runs workers, for as long as this process lives, and at its end waits for
    theirs.  As long as none has ever been up, one that fails ends this process,
    too, with status 1: what it stumbled over would be there again.

    @param count: how many.
    @param arguments: what twistd is to do in each: options, a plugin and its
        options.
    @param environment: what differs from this process's.
    @param grace: seconds that a worker takes at most to end after a SIGTERM, unless
        it tells another time.
    @param syslog_prefix: to log to syslog, too, with it.
    @param reloads: SIGHUP is for the workers, and each of them gets it.
    """

    log = Logger()

    def __init__(
        self,
        count: int,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        grace: float,
        syslog_prefix: str | None = None,
        reloads: bool = False,
        reactor: Any = None,
    ) -> None:
        self._syslog_prefix = syslog_prefix
        self._reloads = reloads
        self._grace = grace
        # Of the workers that read their configuration again at a SIGHUP, the longest
        # grace so far: what was told to end before keeps to the one of that time.
        self._graces: dict[str, float] = {}
        self._missed: set[str] = set()  # the workers that have to get a SIGHUP yet
        self._reactor = given_or_global(reactor)
        self._any_up = False
        self._failed = False
        self._gone: Deferred[None] = Deferred()
        self._looks = LoopingCall(lambda: self._reactor.seconds())
        self._looks.clock = self._reactor
        self._monitor = _Monitor(_Spawner(self._reactor, self), self.patience)
        command = [*_python(), *arguments]
        variables = {**os.environ, **environment, ENVIRONMENT: _modules()}
        for number in range(1, count + 1):
            self._monitor.addProcess(f"worker {number}", command, env=variables)

    def startService(self) -> None:
        """
        Start the workers; twistd has forked, and shed its privileges, by now.
        """
        exit_cleanly_on_sigterm(self._reactor, signal.SIGINT)
        if self._reloads:
            on_sighup(self._reactor, self.reload)
        if self._syslog_prefix:
            log_to_syslog(self._syslog_prefix)
        super().startService()  # type: ignore[no-untyped-call]
        self._monitor.startService()
        self._looks.start(LOOK)

    def stopService(self) -> Deferred[None]:
        """
        Send SIGTERM to all workers.

        @return: fires once all are gone.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        if self._looks.running:
            self._looks.stop()
        self._monitor.stopService()
        if not self._monitor.protocols:
            return succeed(None)
        return self._gone

    def reload(self) -> None:
        """
        Pass SIGHUP on: to a worker that starts, as soon as it can take it.
        """
        workers = dict(self._monitor.protocols)
        self.log.info("SIGHUP: passed on to {count} workers.", count=len(workers))
        for name, protocol in workers.items():
            if name in self._graces:
                _hang_up(protocol.transport)
            else:
                self._missed.add(name)

    def patience(self, name: str) -> float:
        """
        Seconds that a worker may take to end after a SIGTERM.
        """
        return self._graces.get(name, self._grace) + MERCY

    def configured(self, worker: Worker, grace: float) -> None:
        """
        A worker has read its configuration, and can be told to read it again.
        """
        name = worker.name
        self._graces[name] = max(grace, self._graces.get(name, grace))
        self._monitor.be_patient(name)
        if name in self._missed:
            self._missed.discard(name)
            _hang_up(worker.transport)

    def up(self, worker: Worker) -> None:
        """
        A worker is up.
        """
        self._any_up = True
        self.log.info("{worker} is up.", worker=str(worker), pid=worker.pid)

    def ended(self, worker: Worker, how: str, *, failed: bool) -> None:
        """
        A worker has ended, and the monitor knows.

        @param failed: whether by itself, and not well.
        """
        self._graces.pop(worker.name, None)
        self._missed.discard(worker.name)
        hopeless = failed and self.running and not self._any_up
        expected = how == _WELL or not self.running
        self.log.emit(
            LogLevel.info if expected else LogLevel.warn,
            "{worker} {how}{next}.",
            worker=str(worker),
            pid=worker.pid,
            how=how,
            next="" if hopeless else self._next(worker.name),
        )
        if hopeless:
            self._fail()
        if not self.running and not self._monitor.protocols:
            self._gone.callback(None)

    def _next(self, name: str) -> str:
        if not self.running or self._failed:
            return ""
        delay = self._monitor.restart[name].getTime() - self._reactor.seconds()
        return f"; it starts again in {max(delay, 0):.1f} s"

    def _fail(self) -> None:
        if not self._failed:
            self._failed = True
            self.log.critical("No worker has been up yet: giving up.")
            exit_with_failure(self._reactor)


def _hang_up(process: Any) -> None:
    with suppress(ProcessExitedAlready):
        process.signalProcess("HUP")


class _Monitor(ProcessMonitor):
    """
    @param patience: the seconds after which a process is killed that does not end.
    """

    threshold = EARLY  # type: ignore[assignment]
    minRestartDelay = FIRST_DELAY  # type: ignore[assignment]
    maxRestartDelay = LAST_DELAY  # type: ignore[assignment]

    def __init__(self, reactor: Any, patience: Callable[[str], float]) -> None:
        super().__init__(reactor)
        self._patience = patience

    def stopProcess(self, name: str) -> None:
        """
        Send SIGTERM; later kill it.
        """
        self.killTime = self._patience(name)  # type: ignore[assignment]
        super().stopProcess(name)

    def be_patient(self, name: str) -> None:
        """
        A process may take another time: it is to end, and has just told so.
        """
        killing = self.murder.get(name)
        if killing is not None and killing.active():
            killing.reset(self._patience(name))


def _python() -> list[str]:
    """
    What begins the command line of a worker, up to twistd's further options.
    """
    main = Path(__file__).with_name("__main__.py").absolute()
    log = "--logger=quebert._workers.report_log"
    return [sys.executable, str(main), "--nodaemon", "--pidfile=", log]


def _modules() -> str:
    """
    Where this process looks for modules, wherever it may have gone when the
    workers start.
    """
    return json.dumps([os.path.abspath(each) for each in sys.path])


_WELL = "ended with exit status 0"


def _how(ended: Any) -> str:
    """
    How a process ended, as the reactor tells it.
    """
    if ended.signal is None:
        return f"ended with exit status {ended.exitCode}"
    try:
        return f"was killed by {signal.Signals(ended.signal).name}"
    except ValueError:  # real-time signals have no names
        return f"was killed by signal {ended.signal}"
