"""
Many lines to standard output, no faster than its reader takes them, while the reactor
goes on.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from twisted.internet.defer import Deferred

from quebert.cli._running import OutputLost

__all__ = ["PacedOutput"]

# Bytes that a pipe which takes any takes without delay (PIPE_BUF of POSIX, at least on
# Linux and macOS that of the select call).
_AT_ONCE = 512 if sys.platform == "darwin" else 4096


class PacedOutput:
    """
    @param reactor: tells when more can be written.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._rest = memoryview(b"")
        self._written: Deferred[None] | None = None

    async def write(self, text: str) -> None:
        """
        Write; returns when all is written.  It is not called before that again.

        @raise OutputLost: standard output takes nothing.
        """
        assert self._written is None
        if sys.stdout is None:  # it is closed
            raise OutputLost(OSError(errno.EBADF, os.strerror(errno.EBADF)))
        encoding = sys.stdout.encoding or "utf-8"
        self._rest = memoryview(text.encode(encoding, "replace"))
        self._written = Deferred(self._cancelled)
        self._reactor.addWriter(self)
        await self._written

    def _cancelled(self, written: Deferred[None]) -> None:
        self._over()

    def _over(self) -> Deferred[None] | None:
        self._reactor.removeWriter(self)
        written, self._written = self._written, None
        return written

    # -- IWriteDescriptor

    def fileno(self) -> int:
        """
        Where it goes to.
        """
        return sys.stdout.fileno()

    def doWrite(self) -> None:
        """
        There is room for some.
        """
        try:
            count = os.write(self.fileno(), self._rest[:_AT_ONCE])
        except BlockingIOError:
            return
        except OSError as e:
            if (written := self._over()) is not None:
                written.errback(OutputLost(e))
            return
        self._rest = self._rest[count:]
        if not self._rest and (written := self._over()) is not None:
            written.callback(None)

    def connectionLost(self, reason: object) -> None:
        """
        The reactor ends, or the reader has gone.
        """
        if (written := self._over()) is not None:
            written.errback(OutputLost(BrokenPipeError(errno.EPIPE, "Broken pipe")))

    def logPrefix(self) -> str:
        """
        For the log.
        """
        return "standard output"
