"""
What C{CreateTask} of Cloud Tasks costs over gRPC: C{quebert web} with its rows in
SQLite and a RabbitMQ beside it, and any other server of the same API.

    python bench/cloud_tasks.py [--other COMMAND] [--seconds 5] [--rounds 3]

C{COMMAND} starts the other server; C{{port}} in it is the port that it is to listen
at.  The queue is paused in both, so that nothing is dispatched.  CPU is that of the
server alone: C{quebert web} without RabbitMQ.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
from race import console
from rich.table import Table
from tree import cpu
from web import running

from quebert.testing import RabbitMQNode, free_port
from quebert.web import EVERYTHING, token_line
from quebert.web.cloud_tasks.grpc._descriptors import message_class

TOKEN = "qbt_bench"
PARENT = "projects/shop/locations/here"
QUEUE = f"{PARENT}/queues/q"
AT_ONCE = 32
_PATIENCE = 30.0
_PACKAGE = "google.cloud.tasks.v2"
_CONFIGURATION = """
[broker]
url_file = "amqp"

[made_queues]
serve = ["*"]

[web.cluster]
listen = "127.0.0.1:{rest}"
tokens = "tokens"

[web.cluster.cloud_tasks]
home = "shop/here"
projects = ["shop"]
grpc = "127.0.0.1:{grpc}"
queue_type = "quorum"
"""


class Caller:
    """
    Calls a server.
    """

    def __init__(self, port: int) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._metadata = [("authorization", f"Bearer {TOKEN}")]

    def __enter__(self) -> Caller:
        """
        Wait until the server is there.
        """
        grpc.channel_ready_future(self._channel).result(_PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        """
        Hang up.
        """
        self._channel.close()

    def method(self, name: str) -> Any:
        """
        One that takes and gives bytes.
        """
        return self._channel.unary_unary(f"/{_PACKAGE}.CloudTasks/{name}")

    def call(self, name: str, /, **fields: Any) -> None:
        """
        Call a method once.
        """
        request = message_class(f"{_PACKAGE}.{name}Request")(**fields)
        method = self.method(name)
        method(request.SerializeToString(), _PATIENCE, metadata=self._metadata)

    def create(self, seconds: float) -> int:
        """
        Create as many tasks as it takes, and tell how many these are.
        """
        request = message_class(f"{_PACKAGE}.CreateTaskRequest")(parent=QUEUE)
        request.task.http_request.url = "http://127.0.0.1:9/work"
        request.task.http_request.body = b"x" * 400
        body = request.SerializeToString()
        create = self.method("CreateTask")
        free, done, wrong = threading.Semaphore(AT_ONCE), [0], []

        def answered(call: Any) -> None:
            done[0] += 1
            if call.exception() is not None:
                wrong.append(call.exception())
            free.release()

        until = time.perf_counter() + seconds
        while time.perf_counter() < until and not wrong:
            free.acquire()
            calling = create.future(body, _PATIENCE, metadata=self._metadata)
            calling.add_done_callback(answered)
        for _ in range(AT_ONCE):
            free.acquire()
        if wrong:
            sys.exit(f"Not measured: {wrong[0]}")
        return done[0]


@contextmanager
def _quebert(node: RabbitMQNode, folder: Path) -> Iterator[tuple[int, int]]:
    """
    C{quebert web}: its process, and its port for gRPC.
    """
    rest, port = free_port(), free_port()
    token = token_line("bench", sorted(EVERYTHING), ["*"], TOKEN)
    files = {
        "amqp": f"{node.url}%2f",
        "tokens": token,
        "quebert.toml": _CONFIGURATION.format(rest=rest, grpc=port),
    }
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")
        (folder / name).chmod(0o600)
    command = [sys.executable, "-m", "quebert", "web"]
    for option, name in (
        ("--config", "quebert.toml"),
        ("--tasks", "tasks.sqlite"),
        ("--history", "history.sqlite"),
    ):
        command += [option, str(folder / name)]
    with running(command, folder / "web.log") as process:
        yield process.pid, port


@contextmanager
def _other(command: str, folder: Path) -> Iterator[tuple[int, int]]:
    port = free_port()
    words = [each.replace("{port}", str(port)) for each in shlex.split(command)]
    with running(words, folder / "other.log") as process:
        yield process.pid, port


def _measured(pid: int, port: int, seconds: float) -> tuple[float, float]:
    """
    Microseconds of CPU for each task, and tasks per second.
    """
    with Caller(port) as caller:
        queue = message_class(f"{_PACKAGE}.Queue")(name=QUEUE)
        caller.call("CreateQueue", parent=PARENT, queue=queue)
        caller.call("PauseQueue", name=QUEUE)
        caller.create(min(1.0, seconds))  # which does not count
        spent, began = cpu(pid), time.perf_counter()
        number = caller.create(seconds)
        took, spent = time.perf_counter() - began, cpu(pid) - spent
    return spent / number / 1e3, number / took


def main() -> None:
    """
    Measure, and show.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--other", metavar="COMMAND", default="")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    said = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(said.rounds):
        for name in ("quebert", "other") if said.other else ("quebert",):
            with ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                if name == "quebert":
                    node = stack.enter_context(RabbitMQNode())
                    server = stack.enter_context(_quebert(node, folder))
                else:
                    server = stack.enter_context(_other(said.other, folder))
                result = _measured(*server, said.seconds)
                found.setdefault(name, []).append(result)
    table = Table("server", "CPU µs a task", "tasks/s", box=None)
    for name, results in found.items():
        middle = [statistics.median(each) for each in zip(*results, strict=True)]
        table.add_row(name, *(f"{each:,.0f}" for each in middle))
    console.print(table)


if __name__ == "__main__":
    main()
