"""
C{quebert top} as a process on a terminal of its own: it draws, and leaves the terminal
as it was.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress

import pytest

from quebert.test.conftest import AnyBroker
from quebert.test.contract.patience import until

QUEBERT = [sys.executable, "-m", "quebert"]


def _begin() -> None:
    """
    Have a terminal, and heed Ctrl-C, which programs in the background do not.
    """
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _environment() -> dict[str, str]:
    """
    Ours, but for what tells the size of another terminal.
    """
    sizes = ("COLUMNS", "LINES")
    return {name: value for name, value in os.environ.items() if name not in sizes}


class Terminal:
    """
    A terminal with one program.
    """

    def __init__(self, *arguments: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(24, 80)
        self.modes = termios.tcgetattr(self.slave)
        self.text = ""
        self.process = subprocess.Popen(
            [*QUEBERT, *arguments],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env={**_environment(), "TERM": "xterm", "PYTHONIOENCODING": "utf-8"},
            start_new_session=True,
            preexec_fn=_begin,
        )

    def resize(self, rows: int, columns: int) -> None:
        """
        Give it another size.
        """
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, size)

    def shows(self, text: str) -> bool:
        """
        Whether it has got a text since it was asked for the one before.
        """
        while select.select([self.master], [], [], 0)[0]:
            self.text += os.read(self.master, 100_000).decode("utf-8", "replace")
        _, found, after = self.text.rpartition(text)
        if found:
            self.text = after
        return bool(found)

    def wait_for(self, text: str) -> None:
        """
        Wait until it gets a text.
        """
        until(lambda: self.shows(text), lambda: f"{text!r}, not {self.text!r:.3000}")

    def type(self, text: str) -> None:
        """
        Press keys.
        """
        os.write(self.master, text.encode())

    def close(self) -> None:
        """
        End all.
        """
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


def ctrl_c(terminal: Terminal) -> None:
    """
    Interrupt what runs there.
    """
    terminal.type("\x03")


@pytest.mark.parametrize(
    "end",
    [
        lambda terminal: terminal.type("q"),
        ctrl_c,
        lambda terminal: terminal.process.send_signal(signal.SIGTERM),
    ],
    ids=["q", "Ctrl-C", "SIGTERM"],
)
def test_ends(broker: AnyBroker, end: Callable[[Terminal], None]) -> None:
    """
    It draws, heeds keys and a new size, and leaves the terminal as it was.
    """
    terminal = Terminal("top", "--amqp-url", broker.url, "first", "second")
    try:
        terminal.wait_for("there is no such queue")
        terminal.type("jp")
        terminal.wait_for("Pause second? y/n")
        terminal.type("n?")
        terminal.wait_for("pause the selected queue")
        terminal.resize(30, 150)
        terminal.process.send_signal(signal.SIGWINCH)
        terminal.type("x")
        terminal.wait_for("state out\x1b[0m")
        end(terminal)
        terminal.wait_for("\x1b[?25h\x1b[?1049l")
        assert terminal.process.wait() == 0
        assert termios.tcgetattr(terminal.slave) == terminal.modes
    finally:
        terminal.close()


def test_pipe(broker: AnyBroker) -> None:
    """
    In a pipe it writes lines; when its reader goes, it ends quietly.
    """
    for option, check in ((), str.split), (("--json",), json.loads):
        process = subprocess.Popen(
            [*QUEBERT, "top", "--amqp-url", broker.url, *option, "first"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(2)]
        assert "first" in lines[0]
        assert check(lines[0])
        process.stdout.close()
        assert process.wait() == 1
        assert process.stderr.read() == ""
        process.stderr.close()
