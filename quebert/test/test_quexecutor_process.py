"""
C{twistd quexecutor} as a process: its start, its answers and its end.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import quebert
from quebert.signatures import SharedSecret, Signer
from quebert.test.contract.patience import until
from quebert.test.support import USAGE_ERROR
from quebert.testing import free_port

#: Seconds: far more than anything takes, for what is waited for.
PATIENCE = 60.0
ROOT = Path(quebert.__file__).parents[1]
TWISTD = Path(sys.executable).with_name("twistd")

# Goes on from one file to the other, so that the test says when.
SLOW = """
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.task import deferLater

async def execute(task):
    Path("running").touch()
    while not Path("finish").exists():
        await deferLater(reactor, 0.01)
    return {"done": task["n"]}
"""


# Sends SIGTERM when the port is open, and the reactor has no handler of signals yet.
EARLY = """
import os
import signal
from twisted.internet import reactor

send = os.kill, os.getpid(), signal.SIGTERM
reactor.addSystemEventTrigger("before", "startup", *send)

def execute(task):
    return None
"""


def listening(port: int) -> bool:
    """
    Whether a TCP connection can be made.
    """
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except (ConnectionRefusedError, ConnectionResetError):  # or it is closed just now
        return False
    return True


class Process:
    """
    A C{twistd -n quexecutor} that runs in C{folder}.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self._output = folder / "output"
        with open(self._output, "wb") as output:
            self.process = subprocess.Popen(
                [
                    *(str(TWISTD), "-n", "--pidfile=", "quexecutor"),
                    *(f"--port={self.port}", *options),
                ],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """
        What it has said.
        """
        return self._output.read_text()

    def has_said(self, text: str) -> bool:
        """
        Whether it has said C{text}.
        """
        return text in self.output

    def started(self) -> None:
        """
        Wait until it takes tasks.
        """
        until(lambda: listening(self.port) or self.process.poll() is not None)
        assert self.process.poll() is None, self.output

    def post(self, task: Any) -> Any:
        """
        The answer to a task.
        """
        url, body = f"http://127.0.0.1:{self.port}/", json.dumps(task).encode()
        request = urllib.request.Request(
            url, body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return json.load(response)


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """
    Starts executors, which are ended after the test.
    """
    started: list[Process] = []

    def start(*options: str, folder: Path = tmp_path) -> Process:
        started.append(Process(folder, *options))
        return started[-1]

    (tmp_path / "slow.py").write_text(SLOW)
    yield start
    for each in started:
        each.process.kill()
        each.process.wait(PATIENCE)


def test_early_sigterm(start: Start, tmp_path: Path) -> None:
    """
    At SIGTERM before the reactor runs, it exits with 0, too, once the reactor runs.
    """
    (tmp_path / "early.py").write_text(EARLY)
    executor = start("--function=early.execute")
    assert executor.process.wait(PATIENCE) == 0, executor.output
    assert "SIGTERM: closing down." in executor.output
    assert "Traceback" not in executor.output


def test_finishes_at_sigterm(start: Start, tmp_path: Path) -> None:
    """
    At SIGTERM, even twice, it answers what is running, and exits with 0.
    """
    executor = start("--function=slow.execute")
    executor.started()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(executor.post, {"n": 7})
        until((tmp_path / "running").exists)
        executor.process.send_signal(signal.SIGTERM)
        until(lambda: not listening(executor.port))
        executor.process.send_signal(signal.SIGTERM)
        until(lambda: "SIGTERM again" in executor.output)
        (tmp_path / "finish").touch()
        assert answer.result(PATIENCE) == {"done": 7}
    assert executor.process.wait(PATIENCE) == 0
    assert "Traceback" not in executor.output


def test_large_last_answer(start: Start, tmp_path: Path) -> None:
    """
    The last answer arrives whole, however long it is.
    """
    executor = start("--function=slow.execute")
    executor.started()
    long = "x" * 10_000_000
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(executor.post, {"n": long})
        until((tmp_path / "running").exists)
        executor.process.send_signal(signal.SIGTERM)
        until(lambda: not listening(executor.port))
        (tmp_path / "finish").touch()
        assert answer.result(PATIENCE) == {"done": long}
    assert executor.process.wait(PATIENCE) == 0


def test_grace(start: Start, tmp_path: Path) -> None:
    """
    It does not wait longer than its grace for what is running.
    """
    executor = start("--function=slow.execute", "--grace=0.1")
    executor.started()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(executor.post, {"n": 7})
        until((tmp_path / "running").exists)
        executor.process.send_signal(signal.SIGTERM)
        assert executor.process.wait(PATIENCE) == 0
        assert isinstance(answer.exception(PATIENCE), OSError)
    assert "1 calls are still running" in executor.output


def test_wrong_function(start: Start) -> None:
    """
    With a function that is not there it does not start, and says why.
    """
    executor = start("--function=slow.no_such")
    assert executor.process.wait(PATIENCE) == USAGE_ERROR
    assert executor.output.endswith("--function=slow.no_such: slow has no no_such\n")


def test_example(start: Start, tmp_path: Path) -> None:
    """
    The example runs as it says, found in the current directory.
    """
    (tmp_path / "executor.py").write_bytes(
        (ROOT / "examples" / "executor.py").read_bytes()
    )
    executor = start("--function=executor.execute")
    executor.started()
    task = {"url": "/hello", "params": {"name": "you"}}
    assert executor.post(task) == {"said": "hello, you"}
    executor.process.send_signal(signal.SIGTERM)
    assert executor.process.wait(PATIENCE) == 0


def test_signed(start: Start, tmp_path: Path) -> None:
    """
    It takes signed tasks alone, each request once, and SIGHUP replaces the secret.
    """
    old, new = SharedSecret.generate(), SharedSecret.generate()
    secrets = tmp_path / "secrets"
    secrets.write_text(f"{old.text}\n")
    (tmp_path / "echo.py").write_text("def execute(task):\n    return task\n")
    executor = start("--function=echo.execute", f"--verify-secret-file={secrets}")
    executor.started()

    def status(key: SharedSecret, headers: dict[str, str] | None = None) -> int:
        body = b'{"n": 1}'
        signed = Signer([key]).headers(None, body) if headers is None else headers
        url = f"http://127.0.0.1:{executor.port}/"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, body, signed), timeout=PATIENCE
            ) as response:
                return int(response.status)
        except urllib.error.HTTPError as e:
            return e.code

    signed = Signer([old]).headers("u", b'{"n": 1}')
    assert [status(old, signed), status(old, signed), status(new)] == [200, 401, 401]
    assert status(old, {}) == 401
    recorded = Signer([old], now=lambda: time.time() - 200).headers("u", b'{"n": 1}')
    assert status(old, recorded) == 401  # an earlier process may have had it
    for told, text, wanted in (
        ("Not reloaded: --verify-secret-file: ", "whsec_", [200, 401]),
        ("Reloaded --verify-secret-file.", f"{new.text}\n", [401, 200]),
    ):
        secrets.write_text(text)
        executor.process.send_signal(signal.SIGHUP)
        until(partial(executor.has_said, told))
        assert [status(old), status(new)] == wanted
    executor.process.send_signal(signal.SIGTERM)
    assert executor.process.wait(PATIENCE) == 0
    for key in (old, new):
        assert key.text[6:] not in executor.output
    assert (
        executor.output.count("A request was refused: the request is not signed") == 1
    )
    assert "Traceback" not in executor.output
