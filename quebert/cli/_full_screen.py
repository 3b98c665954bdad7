"""
A terminal that a command has for itself: its whole screen, and each key.

Whatever ends the command, the terminal is then as it was: what it showed, its cursor,
and its modes.  That is done at the end of the block; where Python ends otherwise, at
the end of Python.  While the command is stopped by Ctrl-Z, the shell has the terminal.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from quebert.cli._running import OutputLost

__all__ = ["FullScreen", "is_full", "size"]

_Handler = Callable[[int, FrameType | None], Any]

_ENTER = "\x1b[?1049h\x1b[?25l"
_LEAVE = "\x1b[0m\x1b[?25h\x1b[?1049l"
# All between these is shown at once, by terminals that know them.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"
# Bytes of keys that are read at once.
_MOST = 1024


def is_full() -> bool:
    """
    Whether standard output is a terminal on which one can draw.
    """
    if sys.stdout is None or not sys.stdout.isatty():
        return False
    return os.environ.get("TERM", "dumb") not in ("", "dumb")


def size() -> tuple[int, int]:
    """
    Its columns and rows.
    """
    found = shutil.get_terminal_size()
    return found.columns, found.lines


class FullScreen:
    """
    @param reactor: notices keys.
    @param pressed: called with what the terminal sends for keys, and with nothing when
        it sends no more.
    @param resized: called when all is to be drawn anew.
    """

    def __init__(
        self,
        reactor: Any,
        pressed: Callable[[bytes], object],
        resized: Callable[[], object],
    ) -> None:
        self._reactor = reactor
        self._pressed = pressed
        self._resized = resized
        self._modes: list[Any] | None = None
        self._is_in = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """
        Have the terminal in this block.

        @raise OutputLost: it takes nothing.
        """
        heeded: dict[int, _Handler] = {
            signal.SIGWINCH: self._size_changed,
            signal.SIGTSTP: self._stopped,
        }
        before = {number: signal.getsignal(number) for number in heeded}
        atexit.register(self._leave)
        try:
            self._enter()
            for number, handler in heeded.items():
                signal.signal(number, handler)
            if self._has_keys:
                self._reactor.addReader(self)
            yield
        finally:
            self._reactor.removeReader(self)
            for number, old in before.items():
                signal.signal(number, signal.SIG_DFL if old is None else old)
            self._leave()
            atexit.unregister(self._leave)

    def draw(self, lines: Sequence[str]) -> None:
        """
        Show these lines, which fit.

        @raise OutputLost: the terminal takes nothing.
        """
        shown = "\n".join(f"{each}{_REST_OF_LINE}" for each in lines)
        self._write(f"{_BEGIN}{_HOME}{shown}{_REST}{_END}")

    # -- The terminal

    @property
    def _has_keys(self) -> bool:
        return sys.stdin is not None and sys.stdin.isatty()

    def _enter(self) -> None:
        if self._has_keys:
            import termios
            import tty

            self._modes = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin, termios.TCSADRAIN)
        self._is_in = True
        self._write(_ENTER)

    def _leave(self) -> None:
        if self._is_in:
            self._is_in = False
            with suppress(OutputLost):  # then there is none
                self._write(_LEAVE)
        modes, self._modes = self._modes, None
        if modes is not None:
            import termios

            with suppress(OSError, ValueError, termios.error):
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, modes)

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as e:
            raise OutputLost(e) from None

    # -- Signals

    def _size_changed(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._redraw)

    def _redraw(self) -> None:
        if self._is_in:
            self._resized()

    def _stopped(self, number: int, frame: object) -> None:
        """
        Ctrl-Z: let the shell have the terminal, and stop; go on later.
        """
        self._leave()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # Here it goes on.
        signal.signal(number, self._stopped)
        with suppress(OutputLost):
            self._enter()
        self._reactor.callFromThread(self._redraw)

    # -- IReadDescriptor

    def fileno(self) -> int:
        """
        Where keys come from.
        """
        return sys.stdin.fileno()

    def doRead(self) -> None:
        """
        There are some.
        """
        try:
            sent = os.read(self.fileno(), _MOST)
        except OSError:
            sent = b""
        if not sent:
            self._reactor.removeReader(self)
        self._pressed(sent)

    def connectionLost(self, reason: object) -> None:
        """
        The reactor ends.
        """

    def logPrefix(self) -> str:
        """
        For the log.
        """
        return "terminal"
