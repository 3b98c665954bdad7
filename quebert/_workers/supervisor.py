"""
The supervisor's side: starts workers, has them started again, and ends them.

Importing it installs the global reactor, as C{twisted.runner.procmon} does: it
must not happen before the program has chosen one.

A supervisor looks at no worker by itself: neither whether it answers, nor how much
memory it takes.  Code that is to end a worker calls C{Monitor.stopProcess}; the worker
is started again.  Its place would be the loop that runs every L{LOOK} seconds.  With a
single process there is no supervisor.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.task import LoopingCall
from twisted.logger import LogLevel

from quebert._log import Logger
from quebert._log_output import LevelFilter
from quebert._reactor import given_or_global
from quebert._twistd import (
    Lifecycle,
    exit_cleanly_on_sigterm,
    exit_with_failure,
    log_to_syslog,
    on_sighup,
)
from quebert._workers._monitor import Monitor
from quebert._workers._onlooker import Onlooker
from quebert._workers._pipes import ENVIRONMENT
from quebert._workers._worker_process import ENDED_WELL, WorkerProcess
from quebert.errors import QuebertError

__all__ = ["LOOK", "MERCY", "Supervisor"]

#: Seconds beyond its grace, after which a worker that does not end is killed.
MERCY = 30.0
#: Seconds between two looks whether the clock of the machine was set: the reactor of a
#: supervisor sleeps as long as the workers say nothing.
LOOK = 2.0


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
    @param log_level: lets pass what is logged; it follows the level of the workers,
        which a reload may change.
    @param reloads: SIGHUP is for the workers, and each of them gets it.
    @param lifecycle: is told how they are doing: they have started once one is up.
    @param onlooker: is told what they tell.
    @param is_daemon: an error that keeps it from starting is raised, too, so that
        C{twistd} tells it and exits with 1.
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
        log_level: LevelFilter | None = None,
        reloads: bool = False,
        lifecycle: Lifecycle | None = None,
        onlooker: Onlooker | None = None,
        is_daemon: bool = False,
        reactor: Any = None,
    ) -> None:
        self._syslog_prefix = syslog_prefix
        self._log_level = log_level or LevelFilter()
        self._reloads = reloads
        self._lifecycle = lifecycle or Lifecycle()
        self._onlooker = onlooker or Onlooker()
        self._is_daemon = is_daemon
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
        self._monitor = Monitor(self._reactor, self, self.patience)
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
            log_to_syslog(self._syslog_prefix, self._log_level)
        super().startService()  # type: ignore[no-untyped-call]
        try:
            self._onlooker.start()
        except QuebertError as e:
            self.log.critical("Cannot start: {error}", error=e)
            exit_with_failure(self._reactor)
            if self._is_daemon:
                raise
            return
        self._monitor.startService()
        self._looks.start(LOOK)

    def stopService(self) -> Deferred[None]:
        """
        Send SIGTERM to all workers.

        @return: fires once all are gone.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._lifecycle.stopping()
        self._onlooker.stopping()
        if self._looks.running:
            self._looks.stop()
        if self._monitor.running:
            self._monitor.stopService()
        gone = self._gone if self._monitor.protocols else succeed(None)
        return gone.addCallback(lambda _: self._onlooker.stop())

    def reload(self) -> None:
        """
        Pass SIGHUP on: to a worker that starts, as soon as it can take it.
        """
        self._lifecycle.reloading()
        workers = dict(self._monitor.protocols)
        self.log.info("SIGHUP: passed on to {count} workers.", count=len(workers))
        for name, protocol in workers.items():
            if name in self._graces:
                _hang_up(protocol.transport)
            else:
                self._missed.add(name)
        self._onlooker.reload()
        self._lifecycle.reloaded()

    def patience(self, name: str) -> float:
        """
        Seconds that a worker may take to end after a SIGTERM.
        """
        return self._graces.get(name, self._grace) + MERCY

    def configured(self, worker: WorkerProcess, grace: float, level: str) -> None:
        """
        A worker has read its configuration, and can be told to read it again.
        """
        name = worker.name
        self._log_level.level = level
        self._graces[name] = max(grace, self._graces.get(name, grace))
        self._monitor.be_patient(name)
        if name in self._missed:
            self._missed.discard(name)
            _hang_up(worker.transport)

    def up(self, worker: WorkerProcess) -> None:
        """
        A worker is up.
        """
        if not self._any_up:
            self._any_up = True
            self._lifecycle.started()
        told = {"worker": str(worker), "log_worker": worker.name, "pid": worker.pid}
        self.log.info("{worker} is up.", **told)

    def told(self, worker: WorkerProcess, told: dict[str, Any]) -> None:
        """
        A worker tells how it is doing.
        """
        self._onlooker.told(worker.name, told)

    def ended(self, worker: WorkerProcess, how: str, *, failed: bool) -> None:
        """
        A worker has ended, and the monitor knows.

        @param failed: whether by itself, and not well.
        """
        self._graces.pop(worker.name, None)
        self._missed.discard(worker.name)
        self._onlooker.ended(worker.name)
        hopeless = failed and self.running and not self._any_up
        expected = how == ENDED_WELL or not self.running
        self.log.emit(
            LogLevel.info if expected else LogLevel.warn,
            "{worker} {how}{next}.",
            worker=str(worker),
            log_worker=worker.name,
            pid=worker.pid,
            how=how,
            next="" if hopeless else self._next(worker.name),
        )
        if hopeless:
            # One that took long to fail would start again before the reactor stops.
            self._monitor.leave_ended(worker.name)
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
