"""
What C{POST /v1/tasks} costs the web server, before (C{twisted.web}) and after, side by
side: as many requests as it takes, 500 a second, and batches.

CPU is that of the server alone.  Rows and broker are in memory, and answer at the end
of each turn; so it is the cost of HTTP, of the API and of making tasks.  With
C{--real}, the same is measured with rows in SQLite and a quorum queue of a RabbitMQ
beside it, too.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import attrs
from door_server import TOKEN
from letters import channel_to
from race import console
from rich.table import Table
from tree import cpu, end

from quebert.testing import RabbitMQNode, free_port

WAYS = ("twisted", "lean")
REAL = "real"
CONNECTIONS = 64
RATE = 500.0
BATCH, BATCH_CONNECTIONS = 1_000, 4
_PATIENCE = 20.0
_TASK = {
    "queue": "q1",
    "url": "http://127.0.0.1:9/work",
    "params": {"customer": "c-1", "text": "x" * 380},
}


@attrs.frozen
class Result:
    """
    What requests have cost.

    @ivar tasks: of each request.
    @ivar cpu: microseconds of the server's CPU, for each task.
    @ivar rate: tasks per second.
    @ivar times: how long each request took, in milliseconds, in order.
    """

    tasks: int
    cpu: float
    rate: float
    times: list[float]

    @property
    def figures(self) -> tuple[float, float, float, float]:
        """
        What is shown.
        """
        return self.cpu, self.rate, self._at(0.5), self._at(0.99)

    def _at(self, part: float) -> float:
        """
        The time within which that part of all requests had their answers.
        """
        return self.times[int(len(self.times) * part)]


def _request(path: str, body: object) -> bytes:
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench/1\r\n"
        f"Accept: */*\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


class Load:
    """
    Clients of a server, each with one request at a time.
    """

    def __init__(self, port: int, clients: int) -> None:
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._answers: dict[int, bytes] = {}
        self._began: dict[int, float] = {}
        self.times: list[float] = []
        for _ in range(clients):
            each = socket.create_connection(("127.0.0.1", port), _PATIENCE)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[each.fileno()] = each
            self._poll.register(each.fileno(), select.EPOLLIN)

    def close(self) -> None:
        """
        Hang up.
        """
        for each in self._sockets.values():
            each.close()
        self._poll.close()

    def _send(self, client: int, request: bytes, began: float) -> None:
        self._answers[client], self._began[client] = b"", began
        self._sockets[client].sendall(request)

    def _answered(self, seconds: float) -> Iterator[int]:
        for client, _ in self._poll.poll(seconds):
            data = self._answers[client] + self._sockets[client].recv(1 << 18)
            self._answers[client] = data
            head, found, body = data.partition(b"\r\n\r\n")
            if not data.startswith(b"HTTP/1.1 20"):
                sys.exit(f"Not measured: {data!r:.300}")
            lower = head.lower()
            at = lower.find(b"content-length: ") + 16
            if found and len(body) >= int(lower[at : at + 9].split(b"\r")[0]):
                took = time.perf_counter() - self._began[client]
                self.times.append(took * 1e3)
                yield client

    def closed(self, request: bytes, seconds: float) -> None:
        """
        Each client makes its next request when it has an answer.
        """
        until = time.perf_counter() + seconds
        for client in self._sockets:
            self._send(client, request, time.perf_counter())
        waiting = len(self._sockets)
        while waiting:
            for client in self._answered(_PATIENCE):
                now = time.perf_counter()
                if now < until:
                    self._send(client, request, now)
                else:
                    waiting -= 1

    def open(self, request: bytes, seconds: float, rate: float) -> None:
        """
        Requests begin at steady times; one that finds no client free waits, and that
        counts.
        """
        idle, number, began = list(self._sockets), 0, time.perf_counter()
        while len(self.times) < int(seconds * rate):
            due = began + number / rate
            now = time.perf_counter()
            if idle and due <= now and number < int(seconds * rate):
                self._send(idle.pop(), request, due)
                number += 1
            else:
                wait = max(0.0, due - now) if idle else _PATIENCE
                idle.extend(self._answered(wait if wait < 1 else 1.0))


def _command(way: str, port: int, amqp: str) -> list[str]:
    """
    What starts a server.
    """
    program = str(Path(__file__).with_name("door_server.py"))
    command = [sys.executable, program, way, str(port)]
    if way == REAL:
        with channel_to(amqp) as channel:
            kind = {"x-queue-type": "quorum"}
            queue = str(_TASK["queue"])
            channel.queue_declare(queue, durable=True, arguments=kind)
            channel.queue_purge(queue)
        command.append(amqp)
    return command


@contextmanager
def _server(way: str, amqp: str) -> Iterator[tuple[int, int]]:
    """
    A server, with its process and port.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        command = _command(way, port, amqp)
        process = subprocess.Popen(command, cwd=folder, start_new_session=True)
        stack.callback(end, process)
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > until or process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield process.pid, port


def _measured(way: str, kind: str, seconds: float, amqp: str) -> Result:
    """
    One kind of load, after some of it that does not count.
    """
    is_batch = kind == "batches"
    request = _request("/v1/tasks", _TASK)
    if is_batch:
        request = _request("/v1/tasks:batch", {"tasks": [_TASK] * BATCH})
    with _server(way, amqp) as (pid, port):
        for span in (min(1.0, seconds), seconds):
            load = Load(port, BATCH_CONNECTIONS if is_batch else CONNECTIONS)
            spent, began = cpu(pid), time.perf_counter()
            if kind == "500/s":
                load.open(request, span, RATE)
            else:
                load.closed(request, span)
            took, spent = time.perf_counter() - began, cpu(pid) - spent
            load.close()
    tasks = len(load.times) * (BATCH if is_batch else 1)
    return Result(tasks, spent / tasks / 1e3, tasks / took, sorted(load.times))


def main() -> None:
    """
    Measure, and show.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument(
        "--real", action="store_true", help="on SQLite and RabbitMQ, too"
    )
    said = parser.parse_args()
    with RabbitMQNode() if said.real else nullcontext() as node:
        _show(said, node)


def _show(said: argparse.Namespace, node: RabbitMQNode | None) -> None:
    amqp = "" if node is None else node.url
    ways = WAYS if node is None else [*WAYS, REAL]
    table = Table(box=None)
    for name in ("load", "server", "CPU µs a task", "tasks/s", "p50 ms", "p99 ms"):
        table.add_column(
            name, justify="left" if name in ("load", "server") else "right"
        )
    for kind in ("as many as it takes", "500/s", "batches"):
        found: dict[str, list[Result]] = {way: [] for way in ways}
        for _ in range(said.rounds):
            for way in ways:  # in turn, so that all have the same noise
                result = _measured(way, kind, said.seconds, amqp)
                found[way].append(result)
        for way, results in found.items():
            figures = [
                statistics.median(each.figures[place] for each in results)
                for place in range(4)
            ]
            shown = [f"{figures[0]:,.0f}", f"{figures[1]:,.0f}"]
            table.add_row(kind, way, *shown, *(f"{each:.1f}" for each in figures[2:]))
    console.print(table)


if __name__ == "__main__":
    main()
