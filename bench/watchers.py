"""
What a flood of attempts does to those who look on: quebert web, killed half-way.

    python bench/watchers.py [--rate 20000] [--seconds 60] [--mediators 3]

Made-up mediators publish the events of so many attempts a second to a RabbitMQ of their
own.  It prints, each few seconds, how far the history is behind, and how much of a core
and how much memory C{quebert web} takes; then whether each attempt is in the history.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pika

from quebert.events import (
    ATTEMPTS,
    EXCHANGE,
    HISTORY,
    MEDIATORS,
    AttemptBatch,
    AttemptRecord,
    MediatorState,
    WatchState,
    encode_batch,
    encode_state,
)
from quebert.testing import RabbitMQNode, free_port

# Seconds between two batches of a mediator.
PACE = 0.5
QUEUES = ("mail", "reports", "webhooks")


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """
    The command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=20_000, help="default: 20000")
    parser.add_argument("--seconds", type=int, default=60, help="default: 60")
    parser.add_argument("--mediators", type=int, default=3, help="default: 3")
    parser.add_argument("--kill", type=int, default=1, help="how often; default: 1")
    parser.add_argument("--history", help="a URL, in place of a new file")
    return parser.parse_args(words)


# -- Mediators that are made up


def publish(url: str, options: argparse.Namespace, published: Any) -> None:
    """
    Publish the events of some mediators.
    """
    draw = random.Random(1)
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.exchange_declare(EXCHANGE, "topic", durable=True)
    each = int(options.rate * PACE / options.mediators)
    totals = [0] * options.mediators
    began = time.time()
    for number in range(int(options.seconds / PACE)):
        for mediator in range(options.mediators):
            due = began + PACE * (number + mediator / options.mediators)
            time.sleep(max(0.0, due - time.time()))
            totals[mediator] += each
            now, name = time.time(), f"made-up-{mediator}"
            batch = AttemptBatch(
                mediator=name,
                sequence=number + 1,
                at=now,
                records=tuple(record(draw, now) for _ in range(each)),
                total=totals[mediator],
            )
            channel.basic_publish(EXCHANGE, ATTEMPTS, encode_batch(batch))
            state = MediatorState(
                mediator=name,
                host="bench",
                pid=1,
                version="0",
                started=began,
                at=now,
                queues=dict.fromkeys(QUEUES, WatchState(consuming=True)),
            )
            if number % 4 == 0:
                channel.basic_publish(EXCHANGE, MEDIATORS, encode_state(state))
            published.value += each
    channel.connection.close()


def record(draw: random.Random, now: float) -> AttemptRecord:
    """
    An attempt, of which a tenth fails.
    """
    has_failed = draw.random() < 0.1
    return AttemptRecord(
        uuid=str(UUID(int=draw.getrandbits(128), version=4)),
        queue=draw.choice(QUEUES),
        url=f"https://api.example/{draw.randrange(500)}",
        number=1,
        added=now - 1,
        started=now - draw.random() / 10,
        ended=now,
        status=503 if has_failed else 200,
        outcome="retry" if has_failed else "done",
        reason="the answer was 503" if has_failed else "",
        retry_at=now + 5 if has_failed else None,
    )


# -- Who looks on


class Web:
    """
    C{quebert web} as a process.

    @param before: a command that runs it, such as C{nice}.
    """

    def __init__(
        self, url: str, history: str, folder: Path, before: Sequence[str] = ()
    ) -> None:
        self.port = free_port()
        words = ["web", "--amqp-url", url, "--history", history]
        words += ["--listen", str(self.port)]
        self._words = [*before, sys.executable, "-m", "quebert", *words]
        self._folder = folder
        self.start()

    def start(self) -> None:
        """
        Start it.
        """
        with open(self._folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                self._words, stdout=log, stderr=log, cwd=self._folder
            )
        # Somebody listens all the while.
        self.listener = subprocess.Popen(
            ["curl", "-sN", "--retry", "60", "--retry-connrefused", self.url("events")],
            stdout=subprocess.DEVNULL,
        )

    def url(self, name: str) -> str:
        """
        Of a part of the API.
        """
        return f"http://127.0.0.1:{self.port}/v1/{name}"

    def kill(self) -> None:
        """
        End it at once.
        """
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.listener.kill()
        self.listener.wait()

    def overview(self) -> dict[str, Any] | None:
        """
        What it tells, if it answers.
        """
        try:
            with urllib.request.urlopen(self.url("overview"), timeout=20) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except OSError:
            return None

    def used(self) -> tuple[float, float]:
        """
        Seconds of processor time, and MiB of memory.
        """
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().split()
        ticks = int(fields[13]) + int(fields[14])
        memory = int(fields[23]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        return ticks / os.sysconf("SC_CLK_TCK"), memory


def waiting(url: str) -> int:
    """
    Messages that wait in the queue of the history.
    """
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        declared = connection.channel().queue_declare(HISTORY, passive=True)
        return int(declared.method.message_count)
    finally:
        connection.close()


def say(text: str) -> None:
    """
    Print a line now.
    """
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def look(web: Web, began: float, published: Any, url: str) -> float:
    """
    Print how it is, and give how many seconds the history is behind.
    """
    before, _ = web.used()
    then = time.monotonic()
    time.sleep(4)
    found = web.overview()
    after, memory = web.used()
    share = (after - before) / (time.monotonic() - then)
    behind = found["history"]["behind"] if found else float("inf")
    problems = (
        [] if found is None else [*found["problems"], found["history"]["problem"]]
    )
    say(
        f"{time.monotonic() - began:5.0f} s  {published.value:>9,} published"
        f"  {behind:5.1f} s behind  {share:4.0%} of a core  {memory:4.0f} MiB"
        f"  {waiting(url):>3} messages wait  {'; '.join(filter(None, problems))}"
    )
    return float(behind)


def run(options: argparse.Namespace) -> None:
    """
    Flood it.
    """
    with RabbitMQNode() as node, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        history = options.history or str(folder / "history.sqlite")
        web = Web(node.url, history, folder)
        while web.overview() is None:
            time.sleep(0.2)
        published = multiprocessing.Value("q", 0)
        publishing = multiprocessing.Process(
            target=publish, args=(node.url, options, published)
        )
        publishing.start()
        began = time.monotonic()
        kills = [
            options.seconds * (n + 1) / (options.kill + 1) for n in range(options.kill)
        ]
        behind, since = [], 0
        while publishing.is_alive():
            behind.append(look(web, began, published, node.url))
            if kills and time.monotonic() - began > kills[0]:
                del kills[0]
                web.kill()
                say("        it was killed, and is started again")
                since = published.value
                web.start()
        while waiting(node.url) or look(web, began, published, node.url) > 0.5:
            time.sleep(0.2)
        each = web.used()[0] / max(1, published.value - since) * 1e6
        web.process.terminate()
        web.process.wait()
        web.listener.wait()
        known = [seconds for seconds in behind if seconds < float("inf")]
        say(f"at most {max(known):.1f} s behind, {each:.0f} µs of CPU for each attempt")
        if options.history is None:
            with sqlite3.connect(history) as connection:
                (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
            size = Path(history).stat().st_size / 2**20
            say(f"{count:,} of {published.value:,} in the history, {size:.0f} MiB")
        sys.stdout.write((folder / "log").read_text())


if __name__ == "__main__":
    run(arguments(sys.argv[1:]))
