"""
Created tasks from their rows to their ends: rows in memory, a broker, a mediator in a
process of its own that is killed, and the reader of end notes.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from quebert.amqp import TxAMQPClient
from quebert.amqp.queues import CLASSIC, declare_queue
from quebert.created_tasks import (
    DELETED,
    ENDED,
    CreatedTask,
    CreatedTasks,
    NewTask,
    _created_tasks,
    _deletions,
)
from quebert.errors import BrokerError
from quebert.operations import BrokerAccess
from quebert.task import format_time
from quebert.test.conftest import AnyBroker, Names
from quebert.test.created_tasks.doubles import MemoryRows
from quebert.test.support import PATIENCE, Executor, Program, until
from quebert.testing import RabbitMQNode
from quebert.web.cluster import _created
from quebert.web.cluster._created import CreatedTaskKeeper
from quebert.web.cluster._end_notes import EndNoteReader
from quebert.web.cluster._task_broker import PublishedTasks

reactor: Any = global_reactor

#: How many tasks there are.
COUNT = 200
#: After how many attempts the mediator is killed.
KILLS = (40, 100, 150)

DONE, RETRIED, EXHAUSTED, EXPIRED, POISON, REMOVED = range(6)


def kind_of(n: int) -> int:
    """
    What becomes of a task.
    """
    if n % 40 == 39:
        return REMOVED
    return (DONE, DONE, RETRIED, EXHAUSTED, EXPIRED, POISON)[n % 6]


def new_task(queue: str, n: int) -> NewTask:
    """
    A task.
    """
    now, kind = time.time(), kind_of(n)
    fields: dict[str, Any] = {"url": "/task", "uuid": f"{queue}-{n}", "n": n}
    if kind == EXPIRED:
        fields.update(timestamp=format_time(now - 100), ttl=10)
    if kind == REMOVED:
        fields.update(run_at=format_time(now + 3_600))
    body = b"no task" if kind == POISON else json.dumps(fields).encode()
    return NewTask(queue=queue, uuid=f"{queue}-{n}", body=body, created=now)


class Attempts:
    """
    The attempts at tasks, as their executor sees them.
    """

    def __init__(self, executor: Executor) -> None:
        self.of: Counter[int] = Counter()
        executor.answer = self._answer

    def are(self, count: int) -> bool:
        """
        Whether there were so many.
        """
        return self.of.total() >= count

    def _answer(self, task: Any) -> int:
        n = task["n"]
        self.of[n] += 1
        kind = kind_of(n)
        if kind == RETRIED:
            return 503 if self.of[n] == 1 else 200
        return 500 if kind == EXHAUSTED else 200


def check(row: CreatedTask, kind: int) -> None:
    """
    A row tells the right end.
    """
    end = row.end
    if kind == REMOVED:  # a mediator may have it already, and tell that it drops it
        is_dropped = end is not None and end.outcome == "cancelled"
        assert row.state == (ENDED if is_dropped else DELETED), row
        return
    assert row.state == ENDED, row
    assert end is not None
    assert row.held_until > time.time()
    told = end.outcome, end.attempts, end.status
    if kind == DONE:
        assert told == ("done", 1, 200)
    elif kind == RETRIED:  # its first answer may be forgotten with its mediator
        assert told in (("done", 2, 200), ("done", 1, 200))
    elif kind == EXHAUSTED:
        assert told == ("exhausted", 2, 500)
    elif kind == EXPIRED:
        assert told == ("expired", 0, None)
    else:
        assert told == ("poison", 0, None)
    is_told = end.last_attempt is not None and end.first_attempt is not None
    assert is_told is (end.attempts > 0)


def begin_mediator(
    start: Callable[..., Program], url: str, executor: Executor, queue: str
) -> Program:
    """
    Start a mediator.
    """
    return start(
        "-m",
        "twisted",
        "quebert",
        f"--amqp-url={url}",
        "--config=ending_mediator.config",
        f"--default-url={executor.url}",
        PYTHONPATH=str(Path(__file__).parents[1]),
        QUEUE=queue,
    )


@ensureDeferred
async def test_ends(
    either: AnyBroker,
    executor: Executor,
    start: Callable[..., Program],
    names: Names,
) -> None:
    """
    Each row tells the right end, although the mediator is killed again and again.
    """
    queue = names.queue
    mediator = partial(begin_mediator, start, either.url, executor, queue)
    client = TxAMQPClient.from_url(either.url)
    await declare_queue(await client.connected(), queue, CLASSIC)
    attempts, rows = Attempts(executor), MemoryRows()
    access = BrokerAccess(reactor, either.url)
    published = PublishedTasks(access)
    tasks = CreatedTasks(rows, published, time.time, reactor)
    reader = EndNoteReader(access, tasks)
    try:
        reader.start()
        created = await tasks.create([new_task(queue, n) for n in range(COUNT)])
        assert all(isinstance(each, CreatedTask) for each in created)
        program = mediator()
        for kill in KILLS:
            await until(partial(attempts.are, kill))
            program.kill()
            program = mediator()
        for n in range(COUNT):
            if kind_of(n) == REMOVED:
                await tasks.delete(f"{queue}-{n}", "ada")

        def open_rows() -> list[CreatedTask]:
            found = [row for _, row in rows.rows.values()]
            return [row for row in found if row.state not in (ENDED, DELETED)]

        await until(lambda: not open_rows(), shown=open_rows)
        for n in range(COUNT):
            check(await tasks.find(f"{queue}-{n}"), kind_of(n))
        assert not any(attempts.of[n] for n in range(COUNT) if kind_of(n) >= EXPIRED)
    finally:
        await reader.stop()
        await published.stop()
        await client.stop(0)


@pytest.mark.long
@ensureDeferred
async def test_all_are_killed(
    own_rabbitmq: RabbitMQNode,
    executor: Executor,
    start: Callable[..., Program],
    names: Names,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Mediators and RabbitMQ are killed while tasks are created, and the process that
    keeps the rows ends meanwhile: each task that is not refused ends as it should.
    """
    for module in (_created_tasks, _deletions):
        monkeypatch.setattr(module, "DOUBTFUL", 2.0)
    monkeypatch.setattr(_created, "_PACE", 0.5)
    queue, url = names.queue, own_rabbitmq.url
    access, where = BrokerAccess(reactor, url), str(tmp_path / "tasks.sqlite3")
    attempts = Attempts(executor)
    wanted: set[int] = set()
    client = TxAMQPClient.from_url(url)
    await declare_queue(await client.connected(), queue, CLASSIC)
    await client.stop(0)
    mediator = partial(begin_mediator, start, url, executor, queue)
    programs = [mediator(), mediator()]
    for turn in range(4):
        keeper = await CreatedTaskKeeper.open(access, where, time.time)
        keeper.start()
        creating = []
        numbers = [n for n in range(turn, COUNT, 4) if kind_of(n) != REMOVED]
        for some in (numbers[:10], numbers[10:20], numbers[20:]):
            new = [new_task(queue, n) for n in some]
            creating.append((some, Deferred.fromCoroutine(keeper.tasks.create(new))))
            if turn % 2 and len(creating) == 2:
                await deferToThread(own_rabbitmq.kill)
                await deferToThread(own_rabbitmq.start)
        programs.pop(0).kill()
        programs.append(mediator())
        for some, created in creating:
            for n, result in zip(some, await created, strict=True):
                is_refused = isinstance(result, BrokerError) and result.added is False
                if not is_refused:
                    wanted.add(n)
        await keeper.stop()
    keeper = await CreatedTaskKeeper.open(access, where, time.time)
    keeper.start()
    deadline = reactor.seconds() + PATIENCE
    for n in sorted(wanted):
        row = await keeper.tasks.find(f"{queue}-{n}")
        while row.state != ENDED and reactor.seconds() < deadline:
            await deferLater(reactor, 0.1)
            row = await keeper.tasks.find(f"{queue}-{n}")
        check(row, kind_of(n))
    await keeper.stop()
    assert len(wanted) > COUNT / 2
    assert attempts.of.total() >= len(wanted) / 2
