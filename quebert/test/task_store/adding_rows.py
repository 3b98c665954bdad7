"""
A program that adds and changes rows until it is killed, several at once.  It prints the
name of each batch that is added, C{NAME added}, and C{NAME ended}, when it is told so.
"""

from __future__ import annotations

import sys
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from quebert.created_tasks import TaskChange
from quebert.created_tasks._states import END
from quebert.task_store import StoredTaskRows, open_task_rows
from quebert.test.created_tasks.doubles import new_task

#: Rows of a batch, and batches at once.
SIZE, AT_ONCE = 5, 4


async def add_rows(rows: StoredTaskRows, name: str) -> None:
    """
    Add and change rows without an end.
    """
    for n in count():
        batch = f"{name}-{n}"
        uuids = [f"{batch}-{each}" for each in range(SIZE)]
        tasks = [new_task(each, name=each, body=b"x" * 500) for each in uuids]
        held = await rows.add(tasks, 1.0)
        assert held == [None] * SIZE, held
        _tell(f"{batch} added")
        noted = rows.note_published(uuids)
        await rows.change(
            [TaskChange(uuid=each, event=END, held_until=1e9) for each in uuids]
        )
        await noted
        _tell(f"{batch} ended")


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(reactor: Any, where: str, name: str) -> None:
    """
    Open the rows, and begin.
    """
    rows = await open_task_rows(where, reactor=reactor)
    # The first one never ends; where another fails its error is printed.
    adding = [add_rows(rows, f"{name}-{each}") for each in range(AT_ONCE)]
    for each in adding[1:]:
        Deferred.fromCoroutine(each).addErrback(lambda f: f.printTraceback())
    await adding[0]


if __name__ == "__main__":
    react(lambda reactor, *a: Deferred.fromCoroutine(main(reactor, *a)), sys.argv[1:])
