"""
What mediators live through on a cluster of RabbitMQ nodes: one node or another is
killed, stopped, cut off or frozen, and no task is lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from quebert.amqp import TxAMQPClient, WatchOptions
from quebert.errors import BrokerError
from quebert.test.cluster import RabbitMQCluster
from quebert.test.cluster_load import PATIENCE, PERSISTENT, Load
from quebert.test.support import Executor, until

pytestmark = pytest.mark.long

reactor: Any = global_reactor


@pytest_twisted.async_yield_fixture(scope="module")
async def cluster(installed_rabbitmq: None) -> AsyncIterator[RabbitMQCluster]:
    """
    Three nodes that all tests of this module share.  Each test leaves them running.
    """
    async with RabbitMQCluster.started() as cluster:
        yield cluster


@pytest.mark.parametrize("fault", ["kill_leader", "partition", "stop_leader"])
@pytest_twisted.ensureDeferred
async def test_nothing_is_lost(
    cluster: RabbitMQCluster, executor: Executor, fault: str
) -> None:
    """
    Whatever befalls the node of the queue's leader, no task is lost, and few are done
    again.  The mediators go on before that node is back, and a pause is heeded.
    """
    load = Load(cluster, executor, tasks=100_000, rate=20)
    load.patience = 0
    try:
        await load.start()
        await getattr(load, fault)()
        await load.pause(1)
        await load.finish()
    finally:
        await load.stop()
        await cluster.unite()
    assert load.repeated <= load.repeated_at_most, load.report()


async def add(client: TxAMQPClient, queue: str) -> None:
    """
    Publish a task, again until it is confirmed.
    """
    while True:
        try:
            return await client.publish("", queue, b"task", PERSISTENT)
        except BrokerError:
            await deferLater(reactor, 0.3)


@pytest_twisted.ensureDeferred
async def test_adding_tasks(cluster: RabbitMQCluster) -> None:
    """
    While the node of a queue's leader is down, tasks can be added through each of the
    others: a channel that was opened just after the node was killed does not refuse
    them until it is back.
    """
    client, *others = (TxAMQPClient.from_url(cluster.url) for _ in range(6))
    try:
        await client.watch(
            "",
            "added",
            "",
            lambda message: None,
            options=WatchOptions(queue_type="quorum"),
        )
        for each in others:
            await each.connected()
        leader = await cluster.leader("added")
        await cluster.kill(leader)
        adding = [Deferred.fromCoroutine(add(each, "added")) for each in others]
        await gatherResults(adding).addTimeout(PATIENCE, reactor)
        await cluster.start(leader)
    finally:
        for each in (client, *others):
            await each.stop(grace=0)


@pytest_twisted.ensureDeferred
async def test_frozen_node(cluster: RabbitMQCluster) -> None:
    """
    A node that stands still keeps its connections open and accepts new ones.  A
    mediator leaves it for the next node all the same, and its task is done there.
    """
    frozen, *others = cluster.nodes
    hosts = [f"127.0.0.1:{node.port}" for node in (frozen, frozen, *others)]
    client = TxAMQPClient(hosts, "guest", "guest", heartbeat=1)
    seen: list[bytes] = []
    watcher = await client.watch(
        "",
        "frozen",
        "",
        lambda message: seen.append(message.body),
        options=WatchOptions(queue_type="quorum"),
    )
    frozen.freeze()
    try:
        await until(lambda: not watcher.consuming)
        await until(lambda: watcher.consuming)
        await client.publish("", "frozen", b"task", PERSISTENT)
        # RabbitMQ 4.3 may have given it to the consumer that was on the frozen node,
        # and then waits for 60 seconds.
        await until(lambda: seen == [b"task"], PATIENCE)
    finally:
        frozen.freeze(False)
        await client.stop(grace=0)
        await cluster.joined()
