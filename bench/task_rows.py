"""
What the rows of created tasks cost: adding, publishing, ending, sweeping.

    python bench/task_rows.py [--rows N] [--groups N,N,...] [--batches] [PATH or URL]

Each group has so many requests of one row each, which are made in one turn of the
reactor, as by so many connections; with --batches it has one request of so many rows.
The next group begins once the one before is answered.  The first line of each group is
what the SQLite driver alone takes to insert the same rows into the same tables, with
the same commits.  By default the file is in the current folder, which should be on a
disk, not in memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from quebert.created_tasks import CreatedTask, EndNote, NewTask, TaskChange
from quebert.created_tasks._states import END
from quebert.task_store import StoredTaskRows, open_task_rows
from quebert.task_store._encoding import encode_row
from quebert.task_store._schema import COLUMNS
from quebert.task_store._sqlite import SQLiteTasks

NOW = 1_700_000_000.0
BODY = b'{"url": "https://shop.example.com/tasks/%s"}'.ljust(500)


def tell(line: str) -> None:
    """
    Print a line.
    """
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Timer:
    """
    Seconds, and seconds of processor, of one step.
    """

    def __init__(self) -> None:
        self.seconds = self.cpu = 0.0
        self.rows = self.groups = 0

    def begin(self) -> None:
        """
        A group begins.
        """
        self._begun, self._cpu = time.perf_counter(), time.process_time()

    def end(self, rows: int) -> None:
        """
        A group ends.
        """
        self.seconds += time.perf_counter() - self._begun
        self.cpu += time.process_time() - self._cpu
        self.rows += rows
        self.groups += 1

    def say(self, name: str) -> None:
        """
        Print a line of the result.
        """
        tell(
            f"  {name:24} {self.rows / self.seconds:9,.0f} rows/s"
            f" {self.cpu / self.rows * 1e6:8.1f} us CPU a row"
            f" {self.seconds / self.groups * 1e3:8.2f} ms a group"
        )


def made(number: int, named: bool) -> list[NewTask]:
    """
    Tasks.
    """
    uuids = [str(uuid4()) for _ in range(number)]
    return [
        NewTask(
            uuid=each,
            queue="tasks",
            body=BODY,
            created=NOW,
            name=f"name-{each}" if named else None,
        )
        for each in uuids
    ]


def ends(tasks: Sequence[NewTask]) -> list[TaskChange]:
    """
    What mediators tell of tasks.
    """
    return [
        TaskChange(
            uuid=each.uuid,
            event=END,
            end=EndNote(
                uuid=each.uuid,
                queue="tasks",
                outcome="done",
                ended=NOW + 1,
                status=200,
                attempts=1,
                answers=1,
                first_attempt=NOW + 0.5,
                last_attempt=NOW + 0.5,
            ),
            held_until=NOW + 3600,
        )
        for each in tasks
    ]


async def asked(ask: Callable[[Sequence[Any]], Any], some: Sequence[Any]) -> None:
    """
    One request for each.
    """
    await gatherResults([ask([each]) for each in some])


async def life(rows: StoredTaskRows, size: int, number: int, batches: bool) -> None:
    """
    The life of rows in groups of one size.
    """
    adding, publishing, ending, sweeping = (Timer() for _ in range(4))

    async def step(timer: Timer, ask: Any, some: Sequence[Any]) -> None:
        timer.begin()
        if batches:
            await ask(some)
        else:
            await asked(ask, some)
        timer.end(len(some))

    groups = [made(size, named=True) for _ in range(number // size)]
    for tasks in groups:
        await step(adding, lambda some: rows.add(some, NOW), tasks)
    for tasks in groups:
        await step(publishing, rows.note_published, [each.uuid for each in tasks])
    for tasks in groups:
        await step(ending, rows.change, ends(tasks))
    removed = 1
    while removed:
        sweeping.begin()
        removed = await rows.sweep(NOW + 3600)
        if removed:
            sweeping.end(removed)
    adding.say("add")
    publishing.say("publish")
    ending.say("end")
    sweeping.say("sweep")


def driver_alone(path: str, size: int, number: int) -> None:
    """
    The same rows by the driver of SQLite.
    """
    database: Any = SQLiteTasks(path)
    database.open()
    raw = database._writer
    places = ", ".join("?" * len(COLUMNS))
    statement = f"INSERT INTO tasks ({', '.join(COLUMNS)}) VALUES ({places})"
    timer = Timer()
    last = 0
    for _ in range(number // size):
        rows = [CreatedTask(task=t, state="new") for t in made(size, named=True)]
        values = [encode_row(last + n, row) for n, row in enumerate(rows, 1)]
        last += size
        timer.begin()
        raw.execute("BEGIN IMMEDIATE")
        raw.executemany(statement, values)
        raw.execute("COMMIT")
        timer.end(size)
    database.close()
    timer.say("driver alone: insert")


async def main(reactor: Any, options: argparse.Namespace) -> None:
    """
    Measure all.
    """
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".task-rows-") as folder:
        where = options.where or os.path.join(folder, "tasks.sqlite")
        for size in options.groups:
            # Few rows are enough where each has a commit of its own.
            number = max(size, min(options.rows, 500 * size))
            tell(f"groups of {size}, {number:,} rows")
            if "://" not in where:
                driver_alone(os.path.join(folder, f"driver-{size}"), size, number)
            rows = await open_task_rows(where, reactor=reactor)
            await life(rows, size, number, options.batches)
            await rows.close()
        if "://" not in where:
            tell(f"the file has {os.path.getsize(where):,} bytes")


def arguments() -> argparse.Namespace:
    """
    The options.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("where", nargs="?", help="a file, or the URL of a PostgreSQL")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--batches", action="store_true")
    parser.add_argument(
        "--groups",
        type=lambda text: [int(each) for each in text.split(",")],
        default=[1, 10, 50, 200],
    )
    return parser.parse_args()


if __name__ == "__main__":
    react(
        lambda reactor, options: Deferred.fromCoroutine(main(reactor, options)),
        [arguments()],
    )
