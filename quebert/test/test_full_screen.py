"""
Tests for L{quebert.cli._full_screen}, on a terminal that only pretends to be one.
"""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import sys
import termios
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert.cli._full_screen import FullScreen, is_full
from quebert.cli._running import OutputLost


class _Reactor:
    """
    Notes who wants to read.
    """

    def __init__(self) -> None:
        self.readers: list[Any] = []
        self.addReader = self.readers.append

    def removeReader(self, reader: Any) -> None:
        """
        It wants to no more.
        """
        if reader in self.readers:
            self.readers.remove(reader)

    def callFromThread(self, call: Any) -> None:
        """
        Call it.
        """
        call()


class FullScreenTests(SynchronousTestCase):
    """
    A command that has the terminal for itself.
    """

    def setUp(self) -> None:
        """
        Open a terminal, in place of that of the tests.
        """
        self.master, slave = pty.openpty()
        self.terminal = os.fdopen(slave, "r", encoding="utf-8")
        self.addCleanup(self.terminal.close)
        self.addCleanup(os.close, self.master)
        self.output = os.fdopen(os.dup(slave), "w", encoding="utf-8")
        self.addCleanup(self.output.close)
        self.patch(sys, "stdin", self.terminal)
        self.patch(sys, "stdout", self.output)
        self.modes = termios.tcgetattr(slave)
        self.reactor = _Reactor()
        self.sent: list[bytes] = []
        self.resized = 0
        self.screen = FullScreen(self.reactor, self.sent.append, self.resize)

    def resize(self) -> None:
        """
        All is to be drawn anew.
        """
        self.resized += 1

    def written(self, end: str) -> str:
        """
        What the terminal got, up to a text.
        """
        text = ""
        while end not in text:
            ready, _, _ = select.select([self.master], [], [], 30)
            self.assertTrue(ready, text)
            text += os.read(self.master, 100_000).decode()
        return text

    def check_as_it_was(self) -> None:
        """
        The terminal is as it was.
        """
        self.assertEqual(termios.tcgetattr(self.terminal), self.modes)
        self.written("\x1b[?25h\x1b[?1049l")
        self.assertEqual(self.reactor.readers, [])
        self.assertIs(signal.getsignal(signal.SIGWINCH), self.handler)

    @property
    def handler(self) -> Any:
        """
        Who heeds a new size of the terminal.
        """
        return self._handler

    def test_draws(self) -> None:
        """
        Lines are drawn over those before, and keys are passed on, unless they end it.
        """
        self._handler = signal.getsignal(signal.SIGWINCH)
        with self.screen.taken():
            self.written("\x1b[?1049h\x1b[?25l")
            self.screen.draw(["one", "two"])
            self.written("one\x1b[K\r\ntwo\x1b[K\x1b[J\x1b[?2026l")
            os.write(self.master, b"j")
            self.screen.doRead()
            self.assertEqual(self.sent, [b"j"])
            os.kill(os.getpid(), signal.SIGWINCH)
            self.assertEqual(self.resized, 1)
        self.check_as_it_was()

    def test_crash(self) -> None:
        """
        An error leaves the terminal as it was.
        """
        self._handler = signal.getsignal(signal.SIGWINCH)

        def crash() -> None:
            with self.screen.taken():
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, crash)
        self.check_as_it_was()

    def test_stopped(self) -> None:
        """
        While Ctrl-Z has stopped it, the shell has the terminal; then all is drawn anew.
        """
        seen: list[Any] = []

        def kill(pid: int, number: int) -> None:
            seen.append((number, signal.getsignal(number)))
            seen.append(termios.tcgetattr(self.terminal) == self.modes)

        with self.screen.taken():
            self.written("\x1b[?1049h\x1b[?25l")
            self.patch(os, "kill", kill)
            signal.raise_signal(signal.SIGTSTP)
            self.assertEqual(seen, [(signal.SIGTSTP, signal.SIG_DFL), True])
            text = self.written("\x1b[?1049h\x1b[?25l")
            self.assertIn("\x1b[?1049l", text)
            self.assertNotEqual(termios.tcgetattr(self.terminal), self.modes)
            self.assertEqual(self.resized, 1)
        self.assertEqual(signal.getsignal(signal.SIGTSTP), signal.SIG_DFL)

    def test_end_of_python(self) -> None:
        """
        So does the end of Python, in whatever way it comes.
        """
        self._handler = signal.getsignal(signal.SIGWINCH)
        with self.screen.taken():
            self.screen._leave()
            self.screen.draw([])  # which nobody notices any more
        self.assertEqual(termios.tcgetattr(self.terminal), self.modes)

    def test_terminal_gone(self) -> None:
        """
        Where the terminal takes nothing, that is told; the end is quiet.
        """

        class Gone(io.StringIO):
            def flush(self) -> None:
                raise BrokenPipeError(32, "Broken pipe")

        with self.screen.taken():
            self.patch(sys, "stdout", Gone())
            self.assertRaises(OutputLost, self.screen.draw, ["x"])

    def test_no_keys(self) -> None:
        """
        Where standard input is no terminal, there are no keys; its end is told.
        """
        with open(os.devnull) as nothing:
            self.patch(sys, "stdin", nothing)
            with self.screen.taken():
                self.assertEqual(self.reactor.readers, [])
            self.screen.doRead()
        self.assertEqual(self.sent, [b""])

    def test_is_full(self) -> None:
        """
        One cannot draw on a dumb terminal, nor on a file.
        """
        for name, wanted in (("xterm", True), ("dumb", False), ("", False)):
            self.patch(os, "environ", {"TERM": name})
            self.assertIs(is_full(), wanted)
        self.patch(os, "environ", {"TERM": "xterm"})
        self.patch(sys, "stdout", io.StringIO())
        self.assertFalse(is_full())
        self.patch(sys, "stdout", None)
        self.assertFalse(is_full())
