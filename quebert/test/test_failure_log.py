"""
What is shown of tests that fail.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred

from quebert.errors import QuebertError
from quebert.test.failure_log import of_rabbitmq, waiting
from quebert.testing import RabbitMQNode

#: A test that passes, and one that does not.
TESTS = """
from twisted.logger import Logger

log = Logger()

def test_passing():
    log.info("of the test that passes")

def test_failing():
    for n in range(300):
        log.debug("number {n}.", n=n)
    assert False
"""


def test_shown(tmp_path: Path) -> None:
    """
    Beside a failure stand the last lines of its own test, and of no other.
    """
    (tmp_path / "test_two.py").write_text(TESTS)
    options = ["-p", "quebert.test.failure_log", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout
    assert "Twisted log" in done.stdout
    assert "number 299." in done.stdout
    assert "number 99." not in done.stdout
    assert "of the test that passes" not in done.stdout


class Lazy:
    """
    Tells its class only once it is set up.
    """

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("it is not set up")


def test_waiting() -> None:
    """
    Each coroutine that waits is shown once, with those that it awaits.
    """
    event: Deferred[None] = Deferred()
    lazy = [Lazy()]

    async def inner() -> None:
        await event

    async def outer() -> None:
        await inner()

    done = Deferred.fromCoroutine(outer())
    shown = [each for each in waiting() if "test_waiting" in each]
    event.callback(None)
    assert done.called
    assert lazy
    assert len(shown) == 1
    assert [each.split()[0].split(".")[-1] for each in shown[0].split(" > ")] == [
        "outer",
        "inner",
    ]
    assert "test_failure_log.py:" in shown[0]


class Node(RabbitMQNode):
    """
    A RabbitMQ whose answers are given.
    """

    running = True
    log = ""

    def __init__(self, queues: str, log: str) -> None:
        self._queues = queues
        self.log = log

    def ctl(self, *arguments: str) -> str:
        """
        The queues, or a failure.
        """
        if not self._queues:
            raise QuebertError("it does not answer")
        return self._queues


def test_of_rabbitmq() -> None:
    """
    Queues that hold nothing are not shown, nor is the log of what is not there.
    """
    queues = "name\tstate\n"
    queues += "empty\trunning\t0\t0\n"
    queues += "waits\trunning\t1\t0\n"
    log = "operation queue.declare caused a channel exception not_found: no queue\n"
    node = Node(queues, f"started\n{log}")
    item: Any = SimpleNamespace(funcargs={"either": node, "broker": node, "n": {}})
    assert [*of_rabbitmq(item)] == ["name\tstate", "waits\trunning\t1\t0", "started"]
    silent: Any = SimpleNamespace(funcargs={"either": Node("", "started")})
    assert [*of_rabbitmq(silent)] == ["it does not answer", "started"]
