"""
How a process ends: by a signal, or since it cannot go on.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Any

from twisted.internet.error import ReactorNotRunning

from quebert._log import Logger

__all__ = ["exit_cleanly_on_sigterm", "exit_with_failure", "stop", "stop_on_signal"]

_log = Logger()


def exit_cleanly_on_sigterm(reactor: Any, *others: signal.Signals) -> None:
    """
    Have SIGTERM stop C{reactor}, and twistd exit with 0 after that.

    The reactor's own handler notes the signal, and twistd, when all is done,
    sends it to itself again: supervisors then see a process that was killed.

    SIGHUP, as of a terminal that closes, does the same, unless something else is to be
    done at it, or nohup has it ignored.

    @param others: signals that are to do the same.
    """
    # The reactor puts its own handlers in place when it starts.
    for number in (signal.SIGTERM, *others):
        reactor.callWhenRunning(stop_on_signal, number, reactor)
    reactor.callWhenRunning(_stop_on_sighup, reactor)


def _stop_on_sighup(reactor: Any) -> None:
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        stop_on_signal(signal.SIGHUP, reactor)


def stop_on_signal(number: signal.Signals, reactor: Any) -> None:
    """
    Have a signal stop C{reactor} from now on, or as soon as it runs.
    """

    def received(_: int, frame: FrameType | None) -> None:
        reactor.callFromThread(stop, reactor, number.name, f"{number.name} again")

    signal.signal(number, received)


def stop(reactor: Any, why: str, again: str | None = None) -> None:
    """
    Stop C{reactor}, unless that has been begun already.

    @param why: told in the log.
    @param again: told there instead, if it has been begun.
    """
    try:
        reactor.stop()
    except ReactorNotRunning:
        _log.info("{why}: closing down already.", why=again or why)
    else:
        _log.info("{why}: closing down.", why=why)


def exit_with_failure(reactor: Any) -> None:
    """
    Stop C{reactor}, at its start if it has not started, and have the process
    exit with 1 when all is done.
    """
    # twistd exits with 0 whatever happened, and takes no advice on it.
    atexit.register(_exit)
    reactor.callWhenRunning(_stop_if_running, reactor)


def _stop_if_running(reactor: Any) -> None:
    with suppress(ReactorNotRunning):
        reactor.stop()


def _exit() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
