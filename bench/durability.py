"""
Whether tasks that are created over HTTP are lost, or done against what was told, when
all that they go through is killed.

    python bench/durability.py [--tasks 20000] [--database sqlite|postgresql]
                               [--seed 1] [--clients 8] [--pause 8] [--folder F]

Clients create tasks in a RabbitMQ of their own, over one C{quebert web}, for two
mediators: half of them have a name, some an C{Idempotency-Key}, some are in batches,
and some are asked for twice on purpose; some are deleted, some run at once although
they are delayed.  Meanwhile a mediator, C{quebert web}, RabbitMQ or PostgreSQL is
killed (SIGKILL) at random, about each C{--pause} seconds, and started again up to three
seconds later.  SQLite is killed with C{quebert web}.  Then nothing is killed until all
is done.

The exit status is 1 unless each task that was answered 201 is done; each name and each
key is that of one task; a task whose deletion was answered does not run, but as was
told; and each row tells an end.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from quebert.test.durability import DATABASES, Orders, Proof, Soak


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """
    The command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000, help="(20000)")
    parser.add_argument("--database", choices=DATABASES, default=DATABASES[0])
    parser.add_argument("--seed", type=int, default=1, help="(1)")
    parser.add_argument("--clients", type=int, default=8, help="(8)")
    parser.add_argument("--pause", type=float, default=8.0, help="seconds (8)")
    parser.add_argument("--folder", type=Path, help="where logs stay; empty")
    return parser.parse_args(words)


def say(text: str) -> None:
    """
    Print a line, with the time.
    """
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def run(asked: argparse.Namespace, folder: Path) -> Proof:
    """
    Do it, and print figures.
    """
    soak = Soak(
        orders=Orders(asked.tasks, asked.seed),
        database=asked.database,
        folder=folder,
        clients=asked.clients,
        chance=random.Random(asked.seed),
        pause=asked.pause,
        say=say,
    )
    proof = soak.run()
    attempts = sum(map(len, proof.executor.attempts.values()))
    done = proof.executor.done
    say(f"{attempts} attempts; {len(done)} tasks done, {done.total()} times")
    for name, found in proof.lines().items():
        say(f"{name}: {len(found)}")
    return proof


def main() -> int:
    """
    Give the exit status.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    asked = arguments(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="quebert-durability-") as made:
        broken = run(asked, asked.folder or Path(made)).broken()
    if broken:
        say(broken)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
