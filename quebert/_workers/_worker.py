"""
The worker's side: a process that knows that it is one of several, tells its
supervisor what it logs, and ends when that is gone.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import termios
import threading
from array import array
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import ILogObserver
from twisted.python.failure import Failure
from zope.interface import implementer, provider

from quebert._reactor import given_or_global
from quebert._twistd import stop
from quebert._workers._pipes import LIFELINE, REPORTS, Report

__all__ = [
    "Lifeline",
    "configured",
    "is_heard",
    "main",
    "report_log",
    "report_objects",
    "started",
    "supervised",
    "tell",
]

# Where the pipe is that the supervisor holds; None if there is no supervisor.
_lifeline: int | None = None
# Hooks may log from threads, and from what the garbage collector calls.
_writing = threading.RLock()
# Whether log events are reported with the objects that stand for them in JSON.
_with_objects = False
_TWISTD = "twisted.scripts._twistd_unix.UnixAppLogger"


def main() -> None:
    """
    Be a worker, with the arguments of the command line, which are twistd's.
    """
    global _lifeline
    _lifeline = _take_lifeline()
    os.set_inheritable(REPORTS, False)
    # Ctrl-C reaches all processes of a terminal at once: the supervisor's own
    # end is the one to wait for.  What a hook starts does not inherit this.
    signal.signal(signal.SIGINT, lambda *_: None)
    # The supervisor sends none before this worker is configured; a terminal that
    # closes sends one to all its processes.
    signal.signal(signal.SIGHUP, lambda *_: None)
    _enter_directory()
    # Last of all: what is in sys.path is where the supervisor has looked.
    sys.path.append(os.getcwd())
    sys.argv[0] = "twistd"

    from twisted.scripts.twistd import run

    run()


def _take_lifeline() -> int:
    """
    Move the lifeline: what a hook starts has an empty standard input, as if
    a daemon had started it, and not one that never ends.
    """
    moved = os.dup(LIFELINE)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, LIFELINE)
    os.close(null)
    return moved


def _enter_directory() -> None:
    """
    Stay where the supervisor is, if we may: twistd enters the directory again,
    which it had entered before it changed to the user of C{--uid}.
    """
    try:
        os.chdir(".")
    except PermissionError:
        os.chdir("/")


def supervised() -> bool:
    """
    Whether this process is a worker.
    """
    return _lifeline is not None


def configured(grace: float, level: str) -> None:
    """
    Tell the supervisor that this worker has read its configuration, and reads it
    again at a SIGHUP.

    @param grace: seconds that what runs may take after a SIGTERM.
    @param level: the name of the level from which on it logs.
    """
    _tell(Report(grace=grace, level=level))


def started() -> None:
    """
    Tell the supervisor that this worker is up.
    """
    _tell(Report())


def tell(told: dict[str, Any]) -> None:
    """
    Tell the supervisor how this worker is doing.

    @param told: for the C{told} of the L{Supervisor
        <quebert._workers.supervisor.Supervisor>}; JSON must have it.
    """
    _tell(Report(told=told))


def is_heard() -> bool:
    """
    Whether the supervisor has read all that it was told.  If not, it may be stopped,
    and more would fill the pipe, until whoever logs something has to wait.
    """
    waiting = array("i", [0])
    try:
        fcntl.ioctl(REPORTS, termios.FIONREAD, waiting)
    except OSError:  # the system does not tell, or the supervisor is gone
        return True
    return not waiting[0]


def report_log() -> Callable[[dict[str, Any]], None]:
    """
    For twistd's C{--logger}: sends what is logged to the supervisor.
    """
    report: Callable[[dict[str, Any]], None] = _report
    return report


def report_objects(wanted: bool) -> None:
    """
    Report log events with the objects that stand for them in JSON, or without.
    """
    global _with_objects
    _with_objects = wanted


@provider(ILogObserver)
def _report(event: dict[str, Any]) -> None:
    # That twistd starts and ends is told by the supervisor, with more of it.
    if event.get("log_namespace") != _TWISTD:
        _tell(Report.of(event, with_object=_with_objects))


def _tell(report: Report) -> None:
    # Where the supervisor is gone, there is nobody to tell.
    with _writing, suppress(OSError):
        line = report.line()
        while line:
            line = line[os.write(REPORTS, line) :]


@implementer(IReadDescriptor)
class Lifeline(Service):
    """
    Stops the reactor, as SIGTERM does, once the supervisor is gone.

    @param descriptor: what closes then; that of this worker by default.
    """

    def __init__(self, descriptor: int | None = None, reactor: Any = None) -> None:
        self._descriptor = _lifeline if descriptor is None else descriptor
        self._reactor = reactor

    @property
    def reactor(self) -> Any:
        """
        The reactor, the global one unless another was given.
        """
        return given_or_global(self._reactor)

    def startService(self) -> None:
        """
        Look out from now on.
        """
        super().startService()  # type: ignore[no-untyped-call]
        self.reactor.addReader(self)

    def stopService(self) -> None:
        """
        Look out no more.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self.reactor.removeReader(self)

    def fileno(self) -> int:
        """
        The descriptor to look at.
        """
        assert self._descriptor is not None
        return self._descriptor

    def doRead(self) -> Any:
        """
        Read what was never written, or the end.
        """
        return None if os.read(self.fileno(), 4096) else CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:
        """
        The supervisor is gone: some reactors see that without reading.
        """
        stop(self.reactor, "The supervisor is gone")

    def logPrefix(self) -> str:
        """
        A name for the reactor's log.
        """
        return "lifeline"
