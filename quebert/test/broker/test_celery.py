"""
Celery as it is, on the embedded broker: a worker that is a process of its own.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu.entity import Queue
from pytest_twisted import ensureDeferred

from quebert.broker import EmbeddedBroker
from quebert.test.broker.clients import PATIENCE
from quebert.test.support import Program, until

QUEUE = "celery-tests"
TASKS = "quebert.test.broker.celery_app"
#: Tasks of each kind.
PLAIN, RETRIED, LATER = 600, 200, 200
#: Seconds ahead that some are to be done.
AHEAD = 5.0


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    """
    A broker of the test's own.
    """
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def app(broker: EmbeddedBroker) -> Iterator[Celery]:
    """
    What sends tasks by their names.
    """
    with Celery(broker=broker.url, backend="rpc://", set_as_current=False) as app:
        app.conf.task_default_queue = QUEUE
        yield app
        app.pool.force_close_all()


@pytest.fixture
def worker(
    broker: EmbeddedBroker, start: Callable[..., Program]
) -> Callable[..., Program]:
    """
    Starts a worker.
    """

    def worker(*options: str) -> Program:
        command = ["-m", "celery", "-A", TASKS, "worker", "--loglevel=INFO"]
        return start(*command, *options, BROKER=broker.url)

    return worker


def read(notes: Path) -> list[tuple[int, int, float]]:
    """
    What tasks have noted: their numbers, how often they were retried, and when.
    """
    lines = notes.read_text().split("\n") if notes.exists() else [""]
    fields = (line.split() for line in lines[:-1])  # the last one is being written
    return [(int(number), int(retries), float(at)) for number, retries, at in fields]


def note(app: Celery, notes: Path, number: int, **options: Any) -> None:
    """
    Have a task note down its number.
    """
    task = f"{TASKS}.note", (str(notes), number)
    app.send_task(*task, ignore_result=True, **options)


async def ends_well(worker: Program) -> None:
    """
    Ask a worker to end, and see that nothing was wrong with it.
    """
    worker.signal(signal.SIGTERM)
    assert await worker.ended() == 0, worker.output
    for sign in ("Traceback", "ERROR", "CRITICAL"):
        assert sign not in worker.output, worker.output


@ensureDeferred
async def test_thousand_tasks(
    broker: EmbeddedBroker,
    app: Celery,
    worker: Callable[..., Program],
    tmp_path: Path,
) -> None:
    """
    Of 1,000 tasks each runs as often as it should: once, or again twice after a
    second, or once when its time has come.
    """
    notes = tmp_path / "notes"
    running = worker("--pool=prefork", "--concurrency=2")
    await running.said("ready.")
    due = time.time() + AHEAD
    kinds = (
        [{"kwargs": {"failures": 2}}] * RETRIED
        + [{}] * PLAIN
        + [{"eta": datetime.fromtimestamp(due, UTC)}] * LATER
    )
    for number, options in enumerate(kinds):
        note(app, notes, number, **options)
    await until(lambda: len(read(notes)) >= len(kinds) + 2 * RETRIED)
    await until(lambda: broker.depths()[QUEUE] == 0)
    seen = read(notes)
    assert Counter((number, retries) for number, retries, _ in seen) == Counter(
        (number, retries)
        for number in range(len(kinds))
        for retries in range(3 if number < RETRIED else 1)
    )
    assert min(at for number, _, at in seen if number >= RETRIED + PLAIN) >= due
    await ends_well(running)
    broker.advance(3600)
    assert broker.depths() == {QUEUE: 0}


@ensureDeferred
async def test_waiting_tasks(
    broker: EmbeddedBroker,
    app: Celery,
    worker: Callable[..., Program],
    tmp_path: Path,
) -> None:
    """
    However many tasks wait with a worker until their time has come, it raises its
    prefetch count for others; they are back in the queue when it ends.
    """
    notes = tmp_path / "notes"
    running = worker("--pool=solo", "--prefetch-multiplier=4")
    await running.said("ready.")
    for number in range(12):
        note(app, notes, number, countdown=3600)
    note(app, notes, 12)
    await until(lambda: [number for number, _, _ in read(notes)] == [12])
    await until(lambda: broker.depths()[QUEUE] == 12)
    await ends_well(running)
    with app.connection_for_read() as connection:
        queue = Queue(QUEUE, no_declare=True)(connection.channel())
        assert queue.queue_declare(passive=True).message_count == 12


@ensureDeferred
async def test_results(
    broker: EmbeddedBroker, app: Celery, worker: Callable[..., Program]
) -> None:
    """
    Results come back over a queue of the caller's own, which goes with it.
    """
    running = worker("--pool=solo")
    await running.said("ready.")
    sent = [app.send_task(f"{TASKS}.double", (n,)) for n in range(100)]
    assert [each.get(timeout=PATIENCE) for each in sent] == [2 * n for n in range(100)]
    await ends_well(running)
    assert len(broker.depths()) == 2
    app.backend.result_consumer.stop()
    await until(lambda: broker.depths() == {QUEUE: 0})


@ensureDeferred
async def test_workers_know_each_other(
    worker: Callable[..., Program],
    start: Callable[..., Program],
    broker: EmbeddedBroker,
) -> None:
    """
    Workers find each other, and all answer who asks them.
    """
    first = worker("--pool=solo", "--hostname=first@here")
    await first.said("ready.")
    for _ in range(5):  # Celery gives the others but one second to answer
        second = worker("--pool=solo", "--hostname=second@here")
        await second.said("ready.")
        if "mingle: sync complete" in second.output:
            break
        await ends_well(second)
    assert "mingle: sync complete" in second.output
    await first.said("sync with second@here")
    asked = ("--destination=first@here,second@here", f"--timeout={PATIENCE}")
    inspect = ("-m", "celery", "-A", TASKS, "inspect", "ping", *asked)
    ping = start(*inspect, BROKER=broker.url)
    assert await ping.ended() == 0, ping.output
    for sign in ("first@here: OK", "second@here: OK", "2 nodes online"):
        assert sign in ping.output
    await ends_well(first)
    await ends_well(second)


@ensureDeferred
async def test_quorum_queues(
    broker: EmbeddedBroker, app: Celery, start: Callable[..., Program], tmp_path: Path
) -> None:
    """
    With quorum queues, tasks whose time has not come wait in quorum queues, too.
    """
    notes = tmp_path / "notes"
    kind = {"QUEUE_TYPE": "quorum", "EXCHANGE_TYPE": "topic"}
    command = ["-m", "celery", "-A", TASKS, "worker", "--loglevel=INFO"]
    running = start(*command, "--pool=solo", BROKER=broker.url, **kind)
    await running.said("ready.")
    app.conf.task_default_queue_type = "quorum"
    app.conf.task_default_exchange_type = "topic"
    due = time.time() + 3
    for number in range(100):
        later = {} if number < 90 else {"countdown": 3}
        note(app, notes, number, **later)
    await until(lambda: len(read(notes)) == 100)
    seen = read(notes)
    assert sorted(number for number, _, _ in seen) == list(range(100))
    assert min(at for number, _, at in seen if number >= 90) >= due
    await until(lambda: sum(broker.depths().values()) == 0)
    await ends_well(running)
