"""
One run of a worker, as its supervisor sees it: its start, what it says over its pipes,
and its end.

Importing it installs the global reactor, as C{twisted.runner.procmon} does.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.runner.procmon import LoggingProtocol

from quebert._log import Logger
from quebert._pipe_lines import PipeLines
from quebert._signals import signal_name
from quebert._workers._pipes import LIFELINE, REPORTS, Report

__all__ = ["ENDED_WELL", "WorkerOwner", "WorkerProcess"]

#: What a worker's descriptors are to us: what we write to and read from.
DESCRIPTORS = {LIFELINE: "w", 1: "r", 2: "r", REPORTS: "r"}
#: Seconds for which the pipes of a dead worker may be held open by what it has
#: started.
LINGER = 1.0
#: Bytes of a line of a worker's standard output.
LINE = 65536
#: How a worker ended that has ended by itself, and well.
ENDED_WELL = "ended with exit status 0"


class WorkerOwner(Protocol):
    """
    What is told of a worker.
    """

    def configured(self, worker: WorkerProcess, grace: float, level: str) -> None:
        """
        A worker has read its configuration, and can be told to read it again.

        @param grace: seconds that it may take to end after a SIGTERM.
        @param level: the name of the level from which on it logs.
        """

    def up(self, worker: WorkerProcess) -> None:
        """
        A worker is up.
        """

    def told(self, worker: WorkerProcess, told: dict[str, Any]) -> None:
        """
        A worker tells how it is doing.
        """

    def ended(self, worker: WorkerProcess, how: str, *, failed: bool) -> None:
        """
        A worker has ended, and the monitor knows.

        @param failed: whether by itself, and not well.
        """


class WorkerProcess(ProcessProtocol):
    """
    One run of a worker, from its start to its end.

    @param monitored: the monitor's own protocol, which sees the start and the
        end, but not what is said between them.
    @param owner: is told.
    @param clock: calls later.
    @ivar name: the worker's, which its next run has, too.
    @ivar pid: of its process, once there is one.
    """

    log = Logger()
    pid: int | None = None

    def __init__(
        self, monitored: LoggingProtocol, owner: WorkerOwner, clock: IReactorTime
    ) -> None:
        self.name = monitored.name
        self._monitored = monitored
        self._owner = owner
        self._clock = clock
        self._closing: IDelayedCall | None = None
        self._lines = {1: PipeLines(LINE), 2: PipeLines(LINE), REPORTS: PipeLines()}

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
        self._owner.ended(self, f"cannot be started: {error}", failed=True)

    def connectionMade(self) -> None:
        """
        The process runs.
        """
        self.pid = self._process.pid
        self._monitored.makeConnection(self._process)
        told = {"worker": str(self), "log_worker": self.name, "pid": self.pid}
        self.log.info("{worker} starts.", **told)

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
            self.log.info(
                "{text}", text=text, log_system=self.name, log_worker=self.name
            )
        elif report.text is not None:
            globalLogPublisher(report.event(self.name))
        elif report.grace is not None:
            self._owner.configured(self, report.grace, report.level)
        elif report.told is not None:
            self._owner.told(self, report.told)
        else:
            self._owner.up(self)

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
        self._owner.ended(self, _how(ended), failed=bool(ended.exitCode))


def _how(ended: Any) -> str:
    """
    How a process ended, as the reactor tells it.
    """
    if ended.signal is None:
        return f"ended with exit status {ended.exitCode}"
    return f"was killed by {signal_name(ended.signal)}"
