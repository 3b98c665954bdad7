"""
What tasks and mediators live through on a cluster of three RabbitMQ nodes.

    python bench/cluster.py [--tasks 20000] [--rate 55]

The leader's node is killed three times, cut off from the others, and stopped in good
order, and the queue is paused.  It starts the RabbitMQ that C{quebert.testing} finds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.logger import globalLogBeginner, textFileLogObserver

from quebert.test.cluster import RabbitMQCluster
from quebert.test.cluster_load import Load
from quebert.test.support import Executor


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """
    The command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000, help="default: 20000")
    parser.add_argument("--rate", type=int, default=55, help="per second; default: 55")
    parser.add_argument("--log", type=argparse.FileType("w"), help="what quebert logs")
    return parser.parse_args(words)


async def run(reactor: Any, options: argparse.Namespace) -> None:
    """
    Spread the faults over the tasks, and print what became of these.
    """
    began = time.monotonic()

    def report() -> None:
        seconds = time.monotonic() - began
        sys.stdout.write(f"\nAfter {seconds:.0f} s\n{load.report()}\n")
        sys.stdout.flush()

    async with RabbitMQCluster.started() as cluster:
        executor = Executor(reactor)
        load = Load(cluster, executor, tasks=options.tasks, rate=options.rate)
        try:
            await load.start()
            faults = (
                load.kill_leader,
                load.partition,
                load.kill_leader,
                load.pause,
                load.stop_leader,
                load.kill_leader,
            )
            for number, fault in enumerate(faults):
                await load.until_done(0.04 + 0.1 * number)
                await fault()
                report()
            await load.until_done(1)
        finally:
            report()
            await load.stop()
            await executor.close()


if __name__ == "__main__":
    chosen = arguments(sys.argv[1:])
    if chosen.log is not None:
        observer = textFileLogObserver(chosen.log)
        globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, chosen)))
