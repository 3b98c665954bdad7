"""
What the functions of a process print: lines for the log, with the task's name.
"""

from __future__ import annotations

from quebert._log import Logger
from quebert._pipe_lines import PipeLines
from quebert._text import one_line

__all__ = ["LINE", "MOST_BYTES", "MOST_LINES", "ProcessOutput"]

#: Bytes and lines of one task that are logged.
MOST_BYTES, MOST_LINES = 65_536, 500
#: Bytes of a line that are logged as one, and characters that are shown of it.
LINE = 1_000


class ProcessOutput:
    """
    Logs what is printed, as it comes.

    The names of tasks come by another pipe than their output, so that the output may
    come first.  It waits for the name then.
    """

    log = Logger()

    def __init__(self) -> None:
        self.process = "a process"
        self._name: str | None = ""  # None: it is not known yet
        self._lines = PipeLines(LINE)
        self._waiting: list[bytes] = []
        self._count = self._came = self._logged = 0  # lines, and bytes

    def begin(self) -> None:
        """
        What comes now is of another task.
        """
        self.end()
        self._name = None
        self._count = 0

    def named(self, name: str) -> None:
        """
        The name of the task is known.
        """
        self._name = name
        waiting, self._waiting = self._waiting, []
        for line in waiting:
            self._log(line)

    def feed(self, data: bytes) -> None:
        """
        Something was printed.
        """
        room = MOST_BYTES - self._came if self._count < MOST_LINES else 0
        self._came += len(data)
        if room > 0:
            for line in self._lines.feed(data[:room]):
                self._line(line, len(line) + 1)

    def _line(self, line: bytes, size: int) -> None:
        if self._count >= MOST_LINES:
            return
        self._count += 1
        self._logged += size
        if self._name is None:
            self._waiting.append(line)
        else:
            self._log(line)

    def _log(self, line: bytes) -> None:
        text = one_line(line.decode("utf-8", "replace"), LINE)
        self._tell("{text}", text=text)

    def _tell(self, what: str, **values: object) -> None:
        self.log.info(
            "{who}: " + what, who=self._who, log_system=self.process, **values
        )

    @property
    def _who(self) -> str:
        return f"Task {self._name}" if self._name else self.process

    def end(self) -> None:
        """
        The task has ended: all that it has printed has come.
        """
        if rest := self._lines.end():
            self._line(rest, len(rest))
        if self._name is None:
            self.named("(no uuid)")
        full = self._came > MOST_BYTES or self._count == MOST_LINES
        left_out = self._came - self._logged
        if full and left_out > 0:
            self._tell("{count} more bytes are left out", count=left_out)
        self._came = self._logged = 0
