"""
What a message costs a broker: the embedded one, which keeps it in SQLite or in
memory only, beside RabbitMQ.

A cycle is a persistent message that is published and confirmed, delivered and
acknowledged. The three take turns; CPU is the broker's own, the medians of the
rounds are shown. Then the embedded one with SQLite holds many messages, and is
started anew with them.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
from cycles import Client
from race import console
from rich.progress import track
from rich.table import Table
from tree import cpu, memory
from web import StageError, running

from quebert.testing import RabbitMQNode, free_port

#: Seconds that a broker may take to start.
PATIENCE = 60.0
#: Bytes of the body of each message that is held.
HELD = 1024


@attrs.frozen
class Broker:
    """
    A broker that runs.
    """

    port: int
    pid: int


@attrs.frozen
class Round:
    """
    Many cycles of one broker.

    @ivar cpu: seconds of CPU, user and kernel, of the broker.
    """

    cycles: int
    seconds: float
    cpu: float


# -- The brokers


@contextmanager
def embedded(folder: Path, *options: str) -> Iterator[Broker]:
    """
    The embedded one, in a process of its own.
    """
    port = free_port()
    command = [sys.executable, "-m", "quebert", "broker", f"--port={port}", *options]
    output = folder / "output"
    with running(command, output) as process:
        deadline = time.monotonic() + PATIENCE
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise StageError(f"no broker; it said: {output.read_text()[-2000:]}")
            time.sleep(0.01)
        yield Broker(port, process.pid)


def answers(port: int) -> bool:
    """
    Whether a client is let in.
    """
    try:
        with Client(port, 0, 1):
            return True
    except ConnectionRefusedError:
        return False


@contextmanager
def rabbitmq() -> Iterator[Broker]:
    """
    A RabbitMQ.
    """
    with RabbitMQNode() as node:
        yield Broker(node.port, int(node.eval("list_to_integer(os:getpid())")))


# -- Cycles


def measured(broker: Broker, said: argparse.Namespace) -> Round:
    """
    One round of one broker.
    """
    with Client(broker.port, said.bodies, said.window) as client:
        client.declare()
        client.consume()
        warmup = said.count // 10
        client.run(warmup, warmup)
        spent, began = cpu(broker.pid), time.perf_counter()
        client.run(said.count, said.count)
        seconds = time.perf_counter() - began
        found = Round(said.count, seconds, (cpu(broker.pid) - spent) / 1e9)
        client.delete()
    return found


def race(said: argparse.Namespace) -> Table:
    """
    All three, in turns.
    """
    with ExitStack() as stack:
        folders = [folder(stack) for _ in range(2)]
        stored = embedded(folders[0], f"--data={folders[0] / 'data'}")
        in_memory = embedded(folders[1], "--memory")
        brokers = {
            "embedded, SQLite": stack.enter_context(stored),
            "embedded, in memory": stack.enter_context(in_memory),
            "RabbitMQ": stack.enter_context(rabbitmq()),
        }
        rounds: dict[str, list[Round]] = {name: [] for name in brokers}
        turns = [name for _ in range(said.rounds) for name in brokers]
        what = f"{said.count:,} cycles each, {said.bodies} bytes"
        for name in track(turns, what, console=console):
            rounds[name].append(measured(brokers[name], said))
    return shown(rounds)


def folder(stack: ExitStack) -> Path:
    """
    A folder for a while.
    """
    made = tempfile.TemporaryDirectory(prefix="quebert-brokers-")
    return Path(stack.enter_context(made))


def shown(rounds: dict[str, list[Round]]) -> Table:
    """
    The medians, and how much of a core the broker used.
    """
    table = Table(box=None)
    for heading in ("", "cycles/s", "CPU µs a cycle", "cores"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, each in rounds.items():
        rate = statistics.median(one.cycles / one.seconds for one in each)
        spent = statistics.median(one.cpu / one.cycles for one in each)
        cores = statistics.median(one.cpu / one.seconds for one in each)
        table.add_row(name, f"{rate:,.0f}", f"{spent * 1e6:.1f}", f"{cores:.2f}")
    return table


# -- Many messages


@contextmanager
def loaded(where: Path, window: int) -> Iterator[tuple[Broker, Client]]:
    """
    The embedded broker with what it has in a folder, and a client of it.
    """
    with (
        embedded(where, f"--data={where / 'data'}") as broker,
        Client(broker.port, HELD, window) as client,
    ):
        yield broker, client


def most(pid: int) -> int:
    """
    Resident bytes that a process ever had.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["VmHWM"].split()[0]) * 1024


def held(number: int, window: int) -> Table:
    """
    What the embedded broker needs for many messages that wait.
    """
    table = Table(box=None)
    table.add_column(f"{number:,} of {HELD:,} bytes")
    for heading in ("seconds", "messages/s", "MB", "MB at most"):
        table.add_column(heading, justify="right")

    def row(what: str, broker: Broker, began: float, messages: int = number) -> None:
        seconds = time.perf_counter() - began
        rate = f"{messages / seconds:,.0f}" if messages else ""
        holds = (memory(broker.pid).rss, most(broker.pid))
        megabytes = [f"{each / 1e6:.0f}" for each in holds]
        table.add_row(what, f"{seconds:.2f}", rate, *megabytes)

    with ExitStack() as stack:
        where = folder(stack)
        began = time.perf_counter()
        with loaded(where, window) as (broker, client):
            client.declare()
            row("started, empty", broker, began, 0)
            began = time.perf_counter()
            client.run(number, 0)
            row("published", broker, began)
        began = time.perf_counter()
        with loaded(where, window) as (broker, client):
            if (there := client.declare()) != number:
                raise StageError(f"{there} messages are there, not {number}")
            row("started again", broker, began, 0)
            began = time.perf_counter()
            client.consume()
            client.run(0, number)
            row("consumed", broker, began)
    return table


def options() -> argparse.Namespace:
    """
    What the command line says.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="of all three (5)")
    add("--count", type=int, default=20_000, help="cycles in each (20,000)")
    add("--bodies", type=int, default=200, help="bytes of each message (200)")
    add("--window", type=int, default=200, help="unconfirmed, or unacknowledged (200)")
    add("--held", type=int, default=200_000, help="messages that wait (200,000)")
    return parser.parse_args()


def main() -> None:
    """
    Measure, and show.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    said = options()
    try:
        if said.rounds:
            console.print(race(said))
        if said.held:
            console.print(held(said.held, said.window))
    except (StageError, subprocess.SubprocessError) as e:
        sys.exit(f"Not measured: {e}")


if __name__ == "__main__":
    main()
