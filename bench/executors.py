"""
What a call of a function costs an executor: in the reactor, in a thread, in a process
of its pool, and as in 2009, in an interpreter that is started for each task.

CPU is that of the executor and of all its processes.  The function does nothing; the
bodies are small, or have 100 kB.  This process makes the requests, without a mediator.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
from race import console
from rich.table import Table
from tree import cpu, tree

from quebert.testing import free_port

SMALL, LARGE = 20, 100_000
CONNECTIONS = 4
_TICK = os.sysconf("SC_CLK_TCK")
_PATIENCE = 60.0

FUNCTIONS = """
import json

def execute(task):
    return {"n": task["n"]}

def original(body, uri, host, conf):
    return json.dumps({"n": json.loads(body)["n"]}).encode()
"""
#: What the first quebert did: the child gets length-prefixed strings on its standard
#: input, and writes the reply to its standard output.
IN_2009 = """
import struct
import sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol

CHILD = '''
import struct, sys
sys.path.insert(0, "")
from functions import original
read = sys.stdin.buffer.read
strings = [read(struct.unpack(">I", read(4))[0]) for _ in range(4)]
sys.stdout.buffer.write(original(*strings))
'''

class Reply(ProcessProtocol):
    def __init__(self):
        self.pieces, self.done = [], Deferred()

    def outReceived(self, data):
        self.pieces.append(data)

    def processEnded(self, reason):
        self.done.callback(b"".join(self.pieces))

def execute(body, uri, host, conf):
    reply = Reply()
    process = reactor.spawnProcess(
        reply, sys.executable, [sys.executable, "-c", CHILD], env=None
    )
    for each in (body, uri.encode(), host.encode(), conf.encode()):
        process.write(struct.pack(">I", len(each)) + each)
    process.closeStdin()
    return reply.done
"""


@attrs.frozen
class Way:
    """
    A way to call a function.

    @ivar options: of C{twistd quexecutor}.
    @ivar part: of the calls that others make it makes as many.
    """

    name: str
    options: tuple[str, ...]
    part: float = 1.0


WAYS = (
    Way("in the reactor", ("--function=functions.execute",)),
    Way("--threads=4", ("--function=functions.execute", "--threads=4")),
    Way("--processes=4", ("--function=functions.execute", "--processes=4")),
    Way("an interpreter each", ("--function=in_2009.execute", "--subconfig="), 0.02),
)


@attrs.frozen
class Cost:
    """
    What calls have cost, each.

    @ivar cpu: microseconds of CPU.
    @ivar rate: calls per second.
    @ivar middle: the median of the times that they took, in microseconds.
    """

    cpu: float
    rate: float
    middle: float


class Executor:
    """
    A C{twistd quexecutor}.
    """

    def __init__(self, folder: Path, way: Way) -> None:
        self.port = free_port()
        twistd = Path(sys.executable).with_name("twistd")
        command = [str(twistd), "-n", "--pidfile=", "quexecutor"]
        command += [f"--port={self.port}", *way.options]
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                self.connect().close()
                return
            except ConnectionRefusedError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def connect(self) -> socket.socket:
        """
        A connection to it.
        """
        made = socket.create_connection(("127.0.0.1", self.port), _PATIENCE)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def spent(self) -> float:
        """
        Seconds of CPU that it and its processes have used, those that ended included.
        """
        ended = 0
        for pid in tree(self.process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ended += int(fields[13]) + int(fields[14])
        return cpu(self.process.pid) / 1e9 + ended / _TICK

    def end(self) -> None:
        """
        Stop it.
        """
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(_PATIENCE)


def post(connection: socket.socket, body: bytes) -> None:
    """
    Make a request, and read its answer.
    """
    head = (
        b"POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    )
    connection.sendall(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
    answer = b""
    while not answer.endswith(b"}"):
        answer += connection.recv(65_536)
    if not answer.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"Not measured: {answer!r:.200}")


def calls(executor: Executor, size: int, count: int) -> list[float]:
    """
    Make calls on a connection; gives the seconds that each has taken.
    """
    body = json.dumps({"n": 7, "padding": "x" * size}).encode()
    times = []
    with executor.connect() as connection:
        for _ in range(count):
            began = time.perf_counter()
            post(connection, body)
            times.append(time.perf_counter() - began)
    return times


def measured(way: Way, size: int, count: int) -> Cost:
    """
    What so many calls cost, after some that do not count.
    """
    each = max(5, int(count * way.part / CONNECTIONS))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "functions.py").write_text(FUNCTIONS)
        Path(folder, "in_2009.py").write_text(IN_2009)
        executor = Executor(Path(folder), way)
        try:
            with ThreadPoolExecutor(CONNECTIONS) as threads:

                def run(number: int) -> list[float]:
                    found = threads.map(
                        lambda _: calls(executor, size, number), range(CONNECTIONS)
                    )
                    return [time for times in found for time in times]

                run(max(2, each // 10))
                spent, began = executor.spent(), time.perf_counter()
                times = run(each)
                seconds = time.perf_counter() - began
                spent = executor.spent() - spent
        finally:
            executor.end()
    return Cost(
        spent / len(times) * 1e6,
        len(times) / seconds,
        statistics.median(times) * 1e6,
    )


def main() -> None:
    """
    Measure, and show.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=4_000)
    said = parser.parse_args()
    table = Table(box=None)
    for heading in ("", "body", "CPU µs", "more µs", "calls/s", "median µs"):
        table.add_column(heading, justify="right" if heading else "left")
    for size in (SMALL, LARGE):
        first = 0.0
        for way in WAYS:
            rounds = [measured(way, size, said.calls) for _ in range(said.rounds)]
            found = [
                statistics.median(getattr(each, what) for each in rounds)
                for what in ("cpu", "rate", "middle")
            ]
            first = first or found[0]
            shown = (found[0], found[0] - first, *found[1:])
            table.add_row(way.name, f"{size:,}", *(f"{each:,.0f}" for each in shown))
    console.print(table)


if __name__ == "__main__":
    main()
