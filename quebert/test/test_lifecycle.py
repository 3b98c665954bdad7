"""
Tests for L{quebert._twistd._lifecycle}: what systemd is told.
"""

from __future__ import annotations

import os
import re
import socket
from tempfile import TemporaryDirectory

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._twistd import Lifecycle, Systemd


class SystemdTests(SynchronousTestCase):
    """
    L{Systemd} tells systemd how a service is doing.
    """

    def setUp(self) -> None:
        folder = self.enterContext(TemporaryDirectory())
        self.path = os.path.join(folder, "notify")
        self.clock = Clock()

    def listen(self, path: str) -> socket.socket:
        """
        Be systemd.
        """
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listening.close)
        listening.bind(f"\0{path[1:]}" if path[0] == "@" else path)
        listening.setblocking(False)
        return listening

    def heard(self, listening: socket.socket) -> list[str]:
        """
        What has been told.
        """
        found = []
        try:
            while True:
                found.append(listening.recv(1_000).decode())
        except BlockingIOError:
            return found

    def test_told(self) -> None:
        """
        Each step is told, over a socket with a path, or in the abstract namespace.
        """
        for path in (self.path, f"@quebert-test-{os.getpid()}"):
            listening = self.listen(path)
            environment = {"NOTIFY_SOCKET": path, "HOME": "/"}
            lifecycle = Systemd.from_environment(environment, self.clock)
            self.assertEqual(environment, {"HOME": "/"})
            lifecycle.configured(30.0)
            lifecycle.reloading()  # which says nothing before it is ready
            lifecycle.reloaded()
            self.assertEqual(self.heard(listening), [])
            lifecycle.started()
            lifecycle.reloading()
            lifecycle.reloaded()
            lifecycle.stopping()
            ready, reloading, again, stopping = self.heard(listening)
            self.assertEqual((ready, again), ("READY=1", "READY=1"))
            self.assertTrue(re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", reloading))
            self.assertEqual(stopping, "STOPPING=1")
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_watchdog(self) -> None:
        """
        The watchdog is told twice as often as it must be.
        """
        listening = self.listen(self.path)
        environment = {
            "NOTIFY_SOCKET": self.path,
            "WATCHDOG_USEC": "3000000",
            "WATCHDOG_PID": str(os.getpid()),
        }
        Systemd.from_environment(environment, self.clock)
        self.assertEqual(environment, {})
        self.clock.pump([0.5] * 6)
        self.assertEqual(self.heard(listening), ["WATCHDOG=1"] * 3)

    def test_not_alive(self) -> None:
        """
        The watchdog is told nothing while something is not alive.
        """
        alive = [False]
        notified: list[str] = []
        systemd = Systemd(notified.append, self.clock, 3.0)
        systemd.watch(lambda: alive[0])
        notified.clear()
        self.clock.pump([1.5] * 4)
        self.assertEqual(notified, [])
        alive[0] = True
        self.clock.advance(1.5)
        self.assertEqual(notified, ["WATCHDOG=1"])
        Lifecycle().watch(lambda: False)

    def test_other_watchdog(self) -> None:
        """
        A watchdog of another process, or one that is no number, is not told.
        """
        for more in ({"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}):
            environment = {"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": "3000000"}
            Systemd.from_environment({**environment, **more}, self.clock)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody(self) -> None:
        """
        Without systemd, with an address of another kind, and where nobody listens any
        more, nothing happens.
        """
        for path in (None, "", "vsock:2:1", self.path):
            environment = {} if path is None else {"NOTIFY_SOCKET": path}
            lifecycle = Systemd.from_environment(environment, self.clock)
            lifecycle.started()
            lifecycle.reloading()
            lifecycle.reloaded()
            lifecycle.stopping()
            lifecycle.configured(1.0)
            self.assertEqual(type(lifecycle) is Lifecycle, path != self.path)
