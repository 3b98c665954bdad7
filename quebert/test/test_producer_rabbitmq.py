"""
Adding tasks from blocking code, as far as RabbitMQ alone can show it: its policies,
its users, its outages and alarms.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pika
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from quebert.errors import BrokerError
from quebert.producer import BlockingProducer, TaskResult
from quebert.test.conftest import Names
from quebert.test.operating import add_user, close_connections, set_policy
from quebert.test.support import PATIENCE, depth, short_of, until
from quebert.test.test_producer_broker import declare, uuids
from quebert.testing import RabbitMQNode


@pytest.fixture(scope="module")
def broker(rabbitmq: RabbitMQNode) -> RabbitMQNode:
    """
    What clients and channels are connected to.
    """
    return rabbitmq


@contextmanager
def channel_of(node: RabbitMQNode) -> Iterator[Any]:
    """
    A channel of pika's.
    """
    with pika.BlockingConnection(pika.URLParameters(node.url + "%2f")) as connection:
        yield connection.channel()


@ensureDeferred
async def test_nack(rabbitmq: RabbitMQNode, names: Names, pika_channel: Any) -> None:
    """
    A queue that is full is an error, and the next task is added.
    """
    declare(pika_channel, names)
    full = {"max-length": 0, "overflow": "reject-publish"}
    clear = set_policy(rabbitmq, f"^{names.queue}$", full)
    with BlockingProducer(rabbitmq.url, names.exchange) as producer:
        with pytest.raises(BrokerError, match="did not take the task"):
            producer.add_task("/")
        clear()
        producer.add_task("/")
    assert depth(pika_channel, names.queue) == 1


@ensureDeferred
async def test_taken_again(
    rabbitmq: RabbitMQNode, names: Names, pika_channel: Any
) -> None:
    """
    So it is with a quorum queue that is full when the policy is removed.
    """
    declare(pika_channel, names, {"x-queue-type": "quorum"})
    full = {"max-length": 0, "overflow": "reject-publish"}
    clear = set_policy(rabbitmq, f"^{names.queue}$", full)
    added: list[str] = []
    with BlockingProducer(rabbitmq.url, names.exchange) as producer:
        with pytest.raises(BrokerError, match="did not take the task"):
            added.extend(producer.add_task("/") for _ in range(10))
        clear()
        added.append(producer.add_task("/"))
    assert set(uuids(pika_channel, names.queue)) == set(added)


@ensureDeferred
async def test_many(rabbitmq: RabbitMQNode, names: Names, pika_channel: Any) -> None:
    """
    Of many tasks each is told what became of it: added, without a queue, refused.
    """
    declare(pika_channel, names)
    pika_channel.queue_unbind(names.queue, names.exchange, "#")
    pika_channel.queue_bind(names.queue, names.exchange, "tasks.*")
    full = {"max-length": 1_000, "overflow": "reject-publish"}
    clear = set_policy(rabbitmq, f"^{names.queue}$", full)
    results: list[TaskResult] = []
    items = [
        {"url": "/", "uuid": str(n), "kind": "tasks" if n % 10 else "unknown"}
        for n in range(3_000)
    ]
    with BlockingProducer(rabbitmq.url, names.exchange) as producer:
        added = producer.add_tasks(items, results.append)
        clear()
        producer.add_tasks([{"url": "/", "uuid": "after"}], results.append)
    kinds = Counter(type(each.error).__name__ for each in results)
    assert kinds["Unroutable"] == 300
    assert kinds["NoneType"] == added + 1
    assert 1_000 <= added < 2_700
    assert sum(kinds.values()) == 3_001
    told = Counter(each.uuid for each in results if each.added)
    assert uuids(pika_channel, names.queue) == told


@ensureDeferred
async def test_goes_on_after_a_closed_connection(
    rabbitmq: RabbitMQNode, names: Names, pika_channel: Any
) -> None:
    """
    A connection that the broker closes, again and again, loses no task, and
    no error is told.
    """
    declare(pika_channel, names)
    user = names.queue
    url = add_user(rabbitmq, user)
    with BlockingProducer(url, names.exchange) as producer:
        for n in range(4):
            producer.add_task("/", uuid=f"{n}")
            close_connections(rabbitmq, user)
            await deferToThread(producer.add_task, "/", uuid=f"{n} again")
    wanted = {f"{n}{again}" for n in range(4) for again in ("", " again")}
    assert set(uuids(pika_channel, names.queue)) == wanted


@ensureDeferred
async def test_survives_a_killed_broker(
    own_rabbitmq: RabbitMQNode, names: Names
) -> None:
    """
    Of tasks that are added while all connections are closed, and while the
    broker is killed and started again, none is lost that was said to be added.
    """
    with channel_of(own_rabbitmq) as channel:
        declare(channel, names)
    back = threading.Event()
    added: list[str] = []
    failed: list[str] = []

    def add_all() -> None:
        with BlockingProducer(own_rabbitmq.url, names.exchange) as producer:
            for n in range(1000):
                try:
                    added.append(producer.add_task("/", uuid=str(n)))
                except BrokerError:
                    failed.append(str(n))
                    assert back.wait(PATIENCE)

    adding = deferToThread(add_all)
    await until(lambda: len(added) >= 100)
    close_connections(own_rabbitmq)
    own_rabbitmq.eval("mnesia:sync_log()")  # else it may forget the queue
    own_rabbitmq.kill()
    await until(lambda: failed or adding.called)
    own_rabbitmq.start()
    back.set()
    await adding
    assert len(added) + len(failed) == 1000
    assert len(failed) <= 2
    with channel_of(own_rabbitmq) as channel:
        found = uuids(channel, names.queue)
    assert not set(added) - set(found)
    assert max(found.values()) <= 2


@ensureDeferred
async def test_memory_alarm(
    rabbitmq: RabbitMQNode, names: Names, pika_channel: Any
) -> None:
    """
    A broker without memory is told after the patience, and the next task is
    added once it has some again.
    """
    declare(pika_channel, names)
    with BlockingProducer(rabbitmq.url, names.exchange, patience=PATIENCE) as producer:
        producer.add_task("/", uuid="before")
        with short_of("memory", rabbitmq):
            # A new one takes the time of a login.
            for uuid, seconds in (("kept connection", 3.0), ("new connection", 6.0)):
                producer._patience = seconds
                with pytest.raises(BrokerError, match="memory or disk is full"):
                    await deferToThread(producer.add_task, "/", uuid=uuid)
        producer._patience = PATIENCE
        await deferToThread(producer.add_task, "/", uuid="after")
        results: list[TaskResult] = []
        producer._patience = 3.0
        with short_of("memory", rabbitmq):
            items = [{"url": "/", "uuid": f"many {n}"} for n in range(2_000)]
            with pytest.raises(BrokerError, match="memory or disk is full"):
                await deferToThread(producer.add_tasks, items, results.append)
        assert len(results) <= 1_000
        assert not any(each.added for each in results)
    found = uuids(pika_channel, names.queue)
    assert found["before"] == found["after"] == 1
    assert max(found.values()) == 1
