"""
Who is told how a service is doing: its supervisor, ours or systemd.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

__all__ = ["Lifecycle", "Systemd"]

# Seconds for which systemd may keep us waiting.
_PATIENCE = 1.0


class Lifecycle:
    """
    Is told, and does nothing: a class of one's own does more.
    """

    def configured(self, grace: float) -> None:
        """
        The configuration has been read, or read again.

        @param grace: seconds that what runs may take after a SIGTERM.
        """

    def started(self) -> None:
        """
        All has been set up.
        """

    def reloading(self) -> None:
        """
        The configuration is about to be read again.
        """

    def reloaded(self) -> None:
        """
        It has been, or could not be used.
        """

    def stopping(self) -> None:
        """
        The end has begun.
        """

    def watch(self, alive: Callable[[], bool]) -> None:
        """
        Have a watchdog that bites unless C{alive} says yes.
        """


class Systemd(Lifecycle):
    """
    Tells systemd, as C{sd_notify(3)} has it, for units with C{Type=notify} or
    C{notify-reload}, and with C{WatchdogSec}: the watchdog hears from us while the
    reactor runs, and all is alive.

    @param notify: sends one notification.
    @param clock: calls the watchdog.
    @param watchdog: seconds after which systemd kills a process from which it has not
        heard; C{None} for never.
    """

    def __init__(
        self,
        notify: Callable[[str], object],
        clock: IReactorTime,
        watchdog: float | None = None,
    ) -> None:
        self._notify = notify
        self._is_ready = False
        self._alive: Callable[[], bool] = lambda: True
        if watchdog is not None:
            calls = LoopingCall(self._tell_watchdog)
            calls.clock = clock
            calls.start(watchdog / 2)

    @classmethod
    def from_environment(
        cls, environment: MutableMapping[str, str], clock: IReactorTime
    ) -> Lifecycle:
        """
        As systemd asks for it; what does nothing, if this process was not started by
        it.  Its variables are removed: they are not for the programs that we start.
        """
        path = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        process = environment.pop("WATCHDOG_PID", "")
        if path[:1] not in ("/", "@"):
            return Lifecycle()
        watched = microseconds.isascii() and microseconds.isdigit()
        watched = watched and process in ("", str(os.getpid()))
        seconds = int(microseconds) / 1e6 if watched else 0.0
        return cls(_Notifications(path).send, clock, seconds or None)

    def watch(self, alive: Callable[[], bool]) -> None:
        """
        Tell the watchdog nothing unless C{alive} says yes.
        """
        self._alive = alive

    def _tell_watchdog(self) -> None:
        if self._alive():
            self._notify("WATCHDOG=1")

    def started(self) -> None:
        """
        The service is ready.
        """
        self._is_ready = True
        self._notify("READY=1")

    def reloading(self) -> None:
        """
        It is reloading; the time tells systemd that it is not an earlier time.
        """
        if self._is_ready:
            now = time.monotonic_ns() // 1000
            self._notify(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def reloaded(self) -> None:
        """
        It is ready again.
        """
        if self._is_ready:
            self._notify("READY=1")

    def stopping(self) -> None:
        """
        It is stopping.
        """
        self._notify("STOPPING=1")


class _Notifications:
    """
    The way to systemd.

    @param path: of its socket; with C{@} for one in the abstract namespace.
    """

    def __init__(self, path: str) -> None:
        self._address = f"\0{path[1:]}" if path[0] == "@" else path

    def send(self, text: str) -> None:
        """
        Send a notification; nothing if nobody listens.
        """
        with suppress(OSError):
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
            with socket.socket(socket.AF_UNIX, kind) as to:
                to.settimeout(_PATIENCE)
                to.sendto(text.encode(), self._address)
