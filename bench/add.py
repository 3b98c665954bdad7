"""
How quickly C{quebert add --from} adds the lines of a file to RabbitMQ, and what it
takes of memory and processor.

    python bench/add.py [--lines 200000]

It starts a RabbitMQ of its own.  The time is that of the whole command, from its start
to its end, with and without C{--state}.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pika

from quebert.testing import RabbitMQNode


def write(path: Path, count: int) -> None:
    """
    A file of tasks with some parameters.
    """
    with path.open("w") as file:
        for n in range(count):
            params = {"customer": f"c-{n}", "image": n, "text": "x" * 60}
            file.write(json.dumps({"url": "/thumbnail", "params": params}) + "\n")


def main() -> None:
    """
    Add the file to queues of both types, and print a line for each run.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=200_000)
    lines = parser.parse_args().lines
    with RabbitMQNode() as node, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "tasks.jsonl", lines)
        for queue_type in ("classic", "quorum"):
            for state in ((), ("--state", str(folder / f"{queue_type}.state"))):
                measure(node, folder, queue_type, state, lines)


def measure(
    node: RabbitMQNode,
    folder: Path,
    queue_type: str,
    state: tuple[str, ...],
    lines: int,
) -> None:
    """
    One run, in a process of its own.
    """
    parameters = pika.URLParameters(f"{node.url}%2f")
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.exchange_declare("flow", "topic", durable=True)
        arguments = {"x-queue-type": queue_type}
        channel.queue_declare("tasks", durable=True, arguments=arguments)
        channel.queue_bind("tasks", "flow", "tasks.#")
    command = [sys.executable, "-m", "quebert", "add", "--amqp-url", node.url]
    source = ["--from", str(folder / "tasks.jsonl"), *state]
    begun = time.monotonic()
    running = subprocess.Popen([*command, *source], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(running.pid, 0)
    seconds = time.monotonic() - begun
    assert status == 0
    processor = used.ru_utime + used.ru_stime
    sys.stdout.write(
        f"{queue_type:8} {'with' if state else 'without':7} --state"
        f" {lines / seconds:7.0f} lines/s  {processor / lines * 1e6:3.0f} us of"
        f" processor a line  {used.ru_maxrss / 1024:4.0f} MB\n"
    )
    sys.stdout.flush()
    with pika.BlockingConnection(parameters) as connection:
        deleted = connection.channel().queue_delete("tasks")
        assert deleted.method.message_count == lines


if __name__ == "__main__":
    main()
