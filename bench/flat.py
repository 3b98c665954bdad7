"""
Whether a task costs the same whatever else there is: a million others in its
queue, two thousand different hosts, an origin that hangs, hooks, an hour before it.

Each is measured as in C{race.py}, beside the plain case in the same run.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import attrs
from letters import Letter, channel_to, fill, publish, state
from race import console
from rich.table import Table
from roster import PEERS, Peer
from stage import CONCURRENCY, Measurement, Stage, Worker, pacing
from tree import memory
from web import Nginx, StageError, running

from quebert.testing import free_port

PLAIN = PEERS[0]
HOOKS = Peer("quebert-hooks", "hooks", "quebert_hooks.py", "", ())
BESIDE = Peer("quebert-beside", "beside", "quebert_beside_slow.py", "", ())
SLOW = "bench-slow"
WARMUP, TASKS = 2_000, 20_000
DEEP = 1_000_000
#: Loopback addresses, each of which is a host of its own.
HOSTS = [f"127.1.{n // 250}.{n % 250 + 1}" for n in range(2_000)]
PATIENCE = 60.0


class ManyHosts(Nginx):
    """
    An nginx that listens at all L{HOSTS}, too.
    """

    def command(self, folder: Path) -> list[str]:
        """
        What starts it.
        """
        command = super().command(folder)
        file = folder / "nginx.conf"
        listen = f"listen 127.0.0.1:{self.port};"
        others = [listen.replace("127.0.0.1", host) for host in HOSTS]
        text = file.read_text().replace(listen, " ".join([listen, *others]))
        text = text.replace("connections 1024", "connections 8192")
        file.write_text(f"worker_rlimit_nofile 16384;\n{text}")
        return command


@attrs.frozen
class Spread(Letter):
    """
    A task for one host after the other.
    """

    hosts: Iterator[str] = attrs.field(factory=lambda: cycle(HOSTS))

    def fresh(self, identifiers: set[str]) -> tuple[bytes, Any]:
        """
        Another one like it, for the next host.
        """
        body, properties = Letter.fresh(self, identifiers)
        host = f"//{next(self.hosts)}:".encode()
        return body.replace(b"//127.0.0.1:", host, 1), properties


@attrs.frozen
class Row:
    """
    What was found in one case, in as many rounds as there were.
    """

    title: str
    measured: list[Measurement]

    @property
    def cpu(self) -> float:
        """
        Microseconds of CPU a task, median.
        """
        return statistics.median(each.cpu / each.tasks for each in self.measured) * 1e6

    @property
    def rate(self) -> float:
        """
        Tasks a second, median.
        """
        return statistics.median(each.tasks / each.seconds for each in self.measured)

    @property
    def megabytes(self) -> float:
        """
        Of resident memory, at the end, the most there were.
        """
        return max(each.rss for each in self.measured) / 1e6


# -- The cases


def plain(stage: Stage) -> list[Measurement]:
    """
    20,000 tasks
    """
    letter = stage.letter(PLAIN, stage.web.url)
    return [stage.measure(PLAIN, letter, WARMUP, TASKS)]


def many_hosts(stage: Stage) -> list[Measurement]:
    """
    20,000 for 2,000 hosts
    """
    letter = stage.letter(PLAIN, stage.web.url)
    spread = Spread(**attrs.asdict(letter, recurse=False))
    return [stage.measure(PLAIN, spread, 2 * len(HOSTS), TASKS)]


def hooks(stage: Stage) -> list[Measurement]:
    """
    with hooks and a timeout
    """
    letter = stage.letter(HOOKS, stage.web.url)
    return [stage.measure(HOOKS, letter, WARMUP, TASKS)]


def beside_slow(stage: Stage) -> list[Measurement]:
    """
    beside an origin that hangs
    """
    with hanging() as url:
        slow = stage.letter(PLAIN, url)
        plain = stage.letter(BESIDE, stage.web.url)
        with channel_to(stage.amqp) as channel:
            channel.queue_declare(SLOW, durable=True)
        slow = attrs.evolve(slow, exchange="", routing_key=SLOW)
        fill(stage.amqp, SLOW, slow, 4 * CONCURRENCY)
        measured = stage.measure(BESIDE, plain, WARMUP, TASKS)
        with channel_to(stage.amqp) as channel:
            channel.queue_delete(SLOW)
    return [measured]


def deep(stage: Stage) -> list[Measurement]:
    """
    in a queue of 1,000,000: the first, the last
    """
    letter = stage.letter(PLAIN, stage.web.url)
    ends = (WARMUP, DEEP - WARMUP - TASKS)
    intervals = [(begin, begin + TASKS) for begin in ends]
    return stage.measure_all(PLAIN, letter, intervals, DEEP)


@contextmanager
def hanging() -> Iterator[str]:
    """
    A server that answers nothing; gives its URL.
    """
    port = free_port()
    program = str(Path(__file__).with_name("hang.py"))
    with running([sys.executable, program, str(port)], Path(os.devnull)):
        yield f"http://127.0.0.1:{port}/task"


# -- A long time


def long_run(stage: Stage, minutes: float, rate: float) -> list[Measurement]:
    """
    A burst, C{rate} tasks a second for so many minutes, and a burst again, by one
    process.
    """
    letter = stage.letter(PLAIN, stage.web.url)
    with stage.worker(PLAIN) as worker:
        stage.await_consumer(worker)
        first = burst(stage, worker, letter)
        steady(stage, worker, letter, minutes, rate)
        last = burst(stage, worker, letter)
    return [first, last]


def burst(stage: Stage, worker: Worker, letter: Letter) -> Measurement:
    """
    As many tasks as there are in the other cases, in the queue before the first
    is dispatched.
    """
    before = stage.web.count()
    total = WARMUP + TASKS
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        pour(stage, letter, total)
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    measured = stage.watched(worker, before + WARMUP, before + total)
    stage.web.wait(before + total, worker.check, PATIENCE)
    return measured


def pour(stage: Stage, letter: Letter, number: int) -> None:
    """
    Put tasks into a queue whose consumer takes no more than its share.
    """
    queue = f"bench-{PLAIN.name}"
    with channel_to(stage.amqp) as channel:
        publish(channel, letter, number)
        deadline = time.monotonic() + PATIENCE
        while state(channel, queue)[0] < number - CONCURRENCY:
            if time.monotonic() > deadline:
                raise StageError("the tasks do not get into the queue")
            time.sleep(0.05)


def steady(
    stage: Stage, worker: Worker, letter: Letter, minutes: float, rate: float
) -> None:
    """
    Let it have so many tasks a second, for so long; tell each minute what it holds.
    """
    before, number = stage.web.count(), round(minutes * 60 * rate)
    with pacing(stage.amqp, letter, rate, number):
        for minute in range(1, round(minutes) + 1):
            wanted = before + min(number, round(minute * 60 * rate))
            stage.web.wait(wanted, worker.check, 60 + PATIENCE)
            held = memory(worker.pid).rss / 1e6
            console.print(f"minute {minute}: {wanted - before:,} done, {held:.1f} MB")


# -- All of it

CASES: tuple[Callable[[Stage], list[Measurement]], ...] = (
    plain,
    many_hosts,
    beside_slow,
    hooks,
)


def rows(stage: Stage, rounds: int, depth: bool) -> list[Row]:
    """
    All cases, in turns.
    """
    found = [Row((each.__doc__ or "").strip(), []) for each in CASES]
    for _ in range(rounds):
        for case, row in zip(CASES, found, strict=True):
            row.measured.extend(case(stage))
    if depth:
        first, last = deep(stage)
        found.append(Row("20,000, while 1,000,000 are queued", [first]))
        found.append(Row("the last 20,000 of these", [last]))
    return found


def shown(found: list[Row]) -> Table:
    """
    A table of them, the first being what the others are compared with.
    """
    table = Table(box=None)
    for heading in ("", "CPU µs", "beside the first", "tasks/s", "MB"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in found:
        part = f"{(row.cpu / found[0].cpu - 1) * 100:+.1f} %"
        cells = f"{row.cpu:.1f}", part, f"{row.rate:,.0f}", f"{row.megabytes:.1f}"
        table.add_row(row.title, *cells)
    return table


def main() -> None:
    """
    Measure what the command line says.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of the short cases (3)")
    parser.add_argument("--no-depth", action="store_true", help="no million tasks")
    parser.add_argument("--minutes", type=float, default=0.0, help="of the long run")
    parser.add_argument("--rate", type=float, default=500.0, help="tasks/s in it (500)")
    said = parser.parse_args()
    try:
        with Stage(ManyHosts()) as stage:
            if said.rounds:
                console.print(shown(rows(stage, said.rounds, not said.no_depth)))
            if said.minutes:
                first, last = long_run(stage, said.minutes, said.rate)
                after = f"after {said.minutes:g} minutes of {said.rate:g} tasks/s"
                found = [Row("20,000 at first", [first]), Row(after, [last])]
                console.print(shown(found))
    except (StageError, subprocess.SubprocessError) as e:
        sys.exit(f"Not measured: {e}")


if __name__ == "__main__":
    main()
