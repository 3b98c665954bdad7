"""
How long C{quebert doctor} takes where all is sound.

    python bench/doctor.py [--rounds 5]

A queue with a rate is watched, and all queues for delayed tasks are there. The time is
that of the whole command, from its start to its end. It is told of the embedded broker,
and of the RabbitMQ that C{quebert.testing} finds, with quorum queues and without.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.threads import deferToThread
from web import web_server

from quebert.amqp import TxAMQPClient, WatchOptions
from quebert.amqp.delays import WAITS
from quebert.amqp.wire import call_in_one_write
from quebert.test.operating import add_vhost
from quebert.testing import EmbeddedBroker, RabbitMQNode


def examine(file: Path) -> float:
    """
    The seconds that one examination takes.
    """
    began = time.perf_counter()
    command = [sys.executable, "-m", "quebert", "doctor", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise AssertionError(f"not all is sound: {done.stdout}{done.stderr}")
    return seconds


async def measure(url: str, default_url: str, rounds: int, kind: str) -> float:
    """
    The median for a broker.
    """
    quorum = kind == "quorum"
    client = TxAMQPClient.from_url(url, quorumDelays=quorum)
    await client.watch("flow", kind, kind, print, options=WatchOptions(queue_type=kind))
    wire = await client.connected()
    rungs = client.ladder.rungs_of(wire)
    await call_in_one_write(wire, rungs.exits())
    for wait in WAITS:
        await call_in_one_write(wire, rungs.rung(wait))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "doctor.toml")
        file.write_text(
            f'[broker]\nurl = "{url.replace("guest:guest@", "")}"\n'
            f"quorum_delays = {str(quorum).lower()}\n"
            f'[queues.{kind}]\nexchange = "flow"\nkey = "{kind}"\n'
            f'queue_type = "{kind}"\ndefault_url = "{default_url}"\nrate = "5/s"\n'
        )
        took = [await deferToThread(examine, file) for _ in range(rounds)]
    await client.stop()
    return statistics.median(took)


def tell(what: str, seconds: float) -> None:
    """
    Print a line.
    """
    sys.stdout.write(f"{what:32}{seconds:.1f} s\n")
    sys.stdout.flush()


async def run(reactor: Any, rounds: int) -> None:
    """
    Measure, and show.
    """
    with web_server() as web:
        with EmbeddedBroker() as broker:
            took = await measure(broker.url, web.url, rounds, "classic")
            tell("embedded broker", took)
        with RabbitMQNode() as node:
            version = node.ctl("version").strip()
            for kind in ("classic", "quorum"):
                add_vhost(node, kind)
                took = await measure(f"{node.url}{kind}", web.url, rounds, kind)
                tell(f"RabbitMQ {version}, {kind} queues", took)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    options = parser.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, options.rounds)))
