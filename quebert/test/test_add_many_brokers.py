"""
C{Producer.add_tasks} over real brokers.
"""

from __future__ import annotations

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from quebert.amqp import TxAMQPClient
from quebert.errors import ChannelLost, Unroutable
from quebert.producer import Producer, TaskResult
from quebert.test.conftest import Names
from quebert.test.operating import add_user, close_connections
from quebert.test.test_add_many_process import uuids
from quebert.test.test_producer_broker import declare
from quebert.testing import RabbitMQNode


@pytest.fixture(scope="module")
def broker(rabbitmq: RabbitMQNode) -> RabbitMQNode:
    """
    What clients and channels are connected to.
    """
    return rabbitmq


@ensureDeferred
async def test_many(client: TxAMQPClient, names: Names, pika_channel: Any) -> None:
    """
    Each task is there once, and has a result; bad items, and those that no queue takes,
    do not keep the others from being added.
    """
    pika_channel.exchange_declare(names.exchange, "topic", durable=True)
    pika_channel.queue_declare(names.queue, durable=True)
    pika_channel.queue_bind(names.queue, names.exchange, "good.#")
    results: list[TaskResult] = []
    items = [
        {"url": "/" if n % 100 else "bad url", "kind": "good" if n % 90 else "none"}
        for n in range(3_000)
    ]
    added = await Producer(client, names.exchange).add_tasks(
        items, results.append, window=200
    )
    assert sorted(each.index for each in results) == list(range(3_000))
    good = {each.uuid for each in results if each.added}
    unroutable = [each for each in results if isinstance(each.error, Unroutable)]
    assert added == len(good) == 3_000 - 30 - 34 + 4
    assert len(unroutable) == 30
    assert dict(uuids(pika_channel, names.queue)) == dict.fromkeys(good, 1)


@ensureDeferred
async def test_lost_connection(
    rabbitmq: RabbitMQNode, make_client: Any, names: Names, pika_channel: Any
) -> None:
    """
    After the connection was lost, it is known which tasks may be there: with these
    added again, none is missing.
    """
    declare(pika_channel, names)
    results: list[TaskResult] = []

    def items() -> Any:
        for n in range(4_000):
            if n in (1_000, 2_500):
                close_connections(rabbitmq, "many")
            yield {"url": f"/{n}"}

    client = make_client(add_user(rabbitmq, "many"))
    producer = Producer(client, names.exchange)
    added = await producer.add_tasks(items(), results.append, window=100)
    lost = [each for each in results if not each.added]
    assert lost
    assert added == len(results) - len(lost)
    assert len(results) == 4_000
    assert all(isinstance(each.error, ChannelLost) for each in lost)
    again = [{**each.item, "uuid": each.uuid} for each in lost]
    assert await producer.add_tasks(again, results.append) == len(lost)
    found = uuids(pika_channel, names.queue)
    assert set(found) == {each.uuid for each in results}
    assert found.total() <= 4_000 + len(lost)
