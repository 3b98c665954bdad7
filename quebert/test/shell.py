"""
A shell for tests: commands one after the other, and programs in the background.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from shlex import quote

import attrs

from quebert.test.contract.patience import until
from quebert.test.support import heed_sigint

__all__ = ["Service", "Shell"]

#: Seconds that a command may take: far more than any does.
PATIENCE = 300.0


class Shell:
    """
    A bash, which keeps its directory and its variables between commands.
    """

    def __init__(
        self, folder: Path, notes: Path, environment: Mapping[str, str]
    ) -> None:
        self._notes = notes
        self._number = 0
        self._status = 0
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=heed_sigint,
        )

    def _say(self, text: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{text}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            status = self._process.wait(PATIENCE)
            raise AssertionError(f"bash ended with {status} before: {text}") from None

    def _ask(self, text: str, command: str) -> int:
        """
        What the last command in C{text} prints, a number.
        """
        answer = self._notes / f"answer-{self._number}"
        self._number += 1
        part, whole = quote(f"{answer}.part"), quote(str(answer))
        self._say(f"{text} > {part}; mv {part} {whole}")
        until(answer.exists, lambda: f"the end of: {command}", PATIENCE)
        return int(answer.read_text())

    def _output(self) -> Path:
        return self._notes / f"output-{self._number}"

    def run(self, command: str) -> tuple[str, int]:
        """
        Run a command, and give its output and its exit status.
        """
        output = self._output()
        before = f"(exit {self._status})"  # for a command that asks for it, by $?
        group = f"{{ {before}\n{command}\n}} > {quote(str(output))} 2>&1 < /dev/null"
        self._status = self._ask(f"{group}\necho $?", command)
        return output.read_text("utf-8", "replace"), self._status

    def start(self, command: str) -> tuple[Path, int]:
        """
        Start a command in the background, and give its output and its process id.
        """
        output = self._output()
        output.touch()  # it is read before the command may have begun
        # A job of its own heeds Ctrl-C, and is a process group.
        job = f"set -m\n{command} > {quote(str(output))} 2>&1 < /dev/null &\nset +m"
        return output, self._ask(f"{job}\necho $!", command)

    def status(self, pid: int) -> int:
        """
        The exit status of what was started, once it has ended.
        """
        return self._ask(f"wait {pid}\necho $?", f"process {pid}")

    def end(self) -> None:
        """
        End the shell itself, and a command that it still runs.
        """
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


@attrs.define
class Service:
    """
    A program that a reader has left running in the background.

    @ivar seen: how many lines of its output the document has shown.
    """

    command: str
    pid: int
    _path: Path
    seen: int = 0

    @property
    def running(self) -> bool:
        """
        Whether it has not ended.
        """
        with suppress(ProcessLookupError):
            os.kill(self.pid, 0)
            return True
        return False

    @property
    def output(self) -> str:
        """
        What it has printed so far.
        """
        return self._path.read_text("utf-8", "replace")

    def kill(self) -> None:
        """
        End it, and what it has started.
        """
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
