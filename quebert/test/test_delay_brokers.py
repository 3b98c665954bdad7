"""
The delay ladder on real brokers: what waits comes back to its queue, also across
restarts.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest_twisted

from quebert.amqp import TxAMQPClient
from quebert.outcome import Outcome, Retry
from quebert.test.conftest import Names
from quebert.test.support import until
from quebert.testing import RabbitMQNode


class Notes:
    """
    A callback that sends what it gets up the ladder, so often.

    @ivar came: when each came, and with which headers.
    """

    def __init__(self, times: int, after: float) -> None:
        self.times = times
        self.after = after
        self.came: list[tuple[float, dict[str, Any]]] = []

    def __call__(self, message: Any) -> Outcome | None:
        """
        Note it.
        """
        self.came.append((time.time(), message.headers))
        return Retry(after=self.after) if len(self.came) <= self.times else None


@pytest_twisted.ensureDeferred
async def test_ten_retries(
    either: Any, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    A task can go up the ladder again and again: no broker takes that for a circle.
    """
    notes = Notes(10, 1)
    client = make_client(either.url)
    watcher = await client.watch(
        names.exchange, names.queue, names.key, notes, holdUpTo=0
    )
    await client.publish("", names.queue, b"task", {"delivery-mode": 2})
    await until(lambda: len(notes.came) == 11)
    times = [at for at, _ in notes.came]
    for earlier, later in itertools.pairwise(times):
        assert later - earlier >= 1
    assert all(len(headers["x-death"]) == 1 for _, headers in notes.came[1:])
    await until(lambda: watcher.counts.done == 1)
    assert watcher.counts.retried == 10


@pytest_twisted.ensureDeferred
async def test_classic_queues(
    rabbitmq: RabbitMQNode, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    Classic queues of RabbitMQ can be had, too, and quorum queues be watched.
    """
    notes = Notes(3, 1.5)
    client = make_client(rabbitmq.url, quorumDelays=False)
    options: dict[str, Any] = {"holdUpTo": 0, "queueType": "quorum"}
    watcher = await client.watch(
        names.exchange, names.queue, names.key, notes, **options
    )
    await client.publish("", names.queue, b"task", {"delivery-mode": 2})
    await until(lambda: watcher.counts.done == 1)
    assert watcher.counts.retried == 3


@pytest_twisted.ensureDeferred
async def test_the_broker_is_killed(
    own_rabbitmq: RabbitMQNode, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    What waits in RabbitMQ waits on when that was killed and has come back.
    """
    done: dict[bytes, float] = {}  # how late

    def later(message: Any) -> Outcome | None:
        task, _, due = message.body.partition(b" ")
        if not due:
            return Retry(body=b"%b %f" % (task, time.time() + 8), after=8)
        done[task] = time.time() - float(due)
        return None

    client = make_client(own_rabbitmq.url)
    watcher = await client.watch(names.exchange, names.queue, names.key, later)
    for n in range(100):
        await client.publish("", names.queue, b"%d" % n, {"delivery-mode": 2})
    await until(lambda: watcher.counts.retried == 100)
    own_rabbitmq.kill()
    own_rabbitmq.start()
    await until(lambda: len(done) == 100)
    assert min(done.values()) >= 0
