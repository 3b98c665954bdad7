"""
The examples in C{examples/languages}, run as programs.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import pytest

import quebert
from quebert.signatures import SharedSecret, Signer
from quebert.test.contract.patience import PATIENCE, until
from quebert.test.test_quexecutor_process import listening
from quebert.testing import free_port

__all__ = [
    "ADDERS",
    "EXECUTORS",
    "FOLDER",
    "SECRET",
    "ExampleExecutor",
    "LanguageExample",
]

#: The examples.
FOLDER = Path(quebert.__file__).parents[1] / "examples" / "languages"
_NODE_MODULES = Path(sys.prefix, "node_modules")
#: What all executors verify.
SECRET = SharedSecret.generate()


@attrs.frozen
class LanguageExample:
    """
    A program.

    @ivar path: where it is in the folder of the examples.
    @ivar words: what runs it, with C{PORT} where the port belongs.
    """

    path: str
    words: tuple[str, ...]

    def command(self, port: int = 0) -> list[str]:
        """
        What runs it; the test is skipped where its language is not installed.
        """
        program, *options = self.words
        found = shutil.which(program)
        if found is None:
            pytest.skip(f"{program} is not installed")
        if "express" in self.path and not (_NODE_MODULES / "express").exists():
            pytest.skip("Express is not installed")
        if self.path == "ruby/executor.rb" and not _has_webrick(found):
            pytest.skip("WEBrick is not installed")
        if program == "go":
            return [str(Path(_compiled(found).name, Path(self.path).parent.name))]
        options = [each.replace("PORT", str(port)) for each in options]
        return [found, *options, str(FOLDER / self.path)]


#: The executors, by their language.
EXECUTORS = {
    "python": LanguageExample("python/executor.py", (sys.executable,)),
    "node": LanguageExample("node/executor.js", ("node",)),
    "express": LanguageExample("node/express_executor.js", ("node",)),
    "go": LanguageExample("go/executor/main.go", ("go",)),
    "php": LanguageExample("php/executor.php", ("php", "-S", "127.0.0.1:PORT")),
    "ruby": LanguageExample("ruby/executor.rb", ("ruby",)),
}
#: The programs that add tasks, likewise; C{sh} calls curl.
ADDERS = {
    "curl": LanguageExample("shell/add_task.sh", ("sh",)),
    "python": LanguageExample("python/add_task.py", (sys.executable,)),
    "node": LanguageExample("node/add_task.mjs", ("node",)),
    "go": LanguageExample("go/add_task/main.go", ("go",)),
    "php": LanguageExample("php/add_task.php", ("php",)),
    "ruby": LanguageExample("ruby/add_task.rb", ("ruby",)),
}


@cache
def _has_webrick(ruby: str) -> bool:
    asking = subprocess.run([ruby, "-e", 'require "webrick"'], capture_output=True)
    return asking.returncode == 0


@cache
def _compiled(go: str) -> TemporaryDirectory[str]:
    """
    All programs in Go, compiled once; they go with this process.
    """
    folder = TemporaryDirectory(prefix="quebert-go-")
    command = [go, "build", "-o", f"{folder.name}/", "./..."]
    subprocess.run(command, cwd=FOLDER / "go", check=True)
    return folder


class ExampleExecutor:
    """
    An executor that runs.

    @ivar port: where it listens.
    @ivar signer: signs its requests.
    @ivar process: its process.
    """

    def __init__(self, example: LanguageExample, folder: Path) -> None:
        self.signer = Signer([SECRET])
        self.port = free_port()
        self._output = folder / "output"
        own = {"PORT": str(self.port), "NODE_PATH": str(_NODE_MODULES)}
        with open(self._output, "wb") as output:
            self.process = subprocess.Popen(
                example.command(self.port),
                env={**os.environ, **own, "TASK_SECRET": SECRET.text},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @classmethod
    @contextmanager
    def of(cls, example: LanguageExample, folder: Path) -> Iterator[ExampleExecutor]:
        """
        One that listens, and ends in good order.
        """
        executor = cls(example, folder)
        try:
            until(executor.listens)
            yield executor
            executor.process.send_signal(signal.SIGTERM)
            executor.process.wait(PATIENCE)
        finally:
            executor.process.kill()
            executor.process.wait()

    @property
    def url(self) -> str:
        """
        Where it is.
        """
        return f"http://127.0.0.1:{self.port}/"

    @property
    def output(self) -> str:
        """
        What it has said.
        """
        return self._output.read_text()

    def listens(self) -> bool:
        """
        Whether it takes requests.
        """
        assert self.process.poll() is None, self.output
        return listening(self.port)

    def ask(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """
        The answer to a request.

        @param headers: C{None} for those that sign it.
        """
        if headers is None:
            headers = self.signer.headers(None, body)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, PATIENCE)
        headers = {"Content-Type": "application/json", **headers}
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        said = answer.read().decode()
        connection.close()
        return answer.status, said
