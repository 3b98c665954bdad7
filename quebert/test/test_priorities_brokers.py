"""
Queues that share places by weight, on both brokers, with all of them full.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

from quebert.amqp import PriorityGroup, TxAMQPClient, WatchOptions
from quebert.test.conftest import Names
from quebert.test.support import Stalls, until

reactor: Any = global_reactor


class Queue:
    """
    A queue that is watched in a group.

    @ivar begun: when its messages began.
    """

    def __init__(self, client: TxAMQPClient, name: str, weight: float) -> None:
        self.begun: list[float] = []
        self.name = name
        self.weight = weight
        self._client = client

    async def fill(self, number: int) -> None:
        """
        Put messages in it.
        """
        watcher = await self._client.watch("", self.name, "", lambda message: None)
        await watcher.stop()
        publish = self._client.publish
        await gatherResults([publish("", self.name, b"task") for _ in range(number)])

    async def watch(self, group: PriorityGroup, seconds: float, most: int) -> None:
        """
        Work on it: each message takes so long.
        """

        def callback(message: object) -> Any:
            self.begun.append(reactor.seconds())
            return deferLater(reactor, seconds)

        await self._client.watch(
            "",
            self.name,
            "",
            callback,
            maxEvents=most,
            options=WatchOptions(group=group, weight=self.weight),
        )


@ensureDeferred
async def test_weights(
    either: Any, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    With all three full, they begin by their weights, within a tenth, and there are
    never more at once than there are places.
    """
    client, group = make_client(either.url), PriorityGroup(10, ageing=60)
    weights = {"high": 6, "medium": 3, "low": 1}
    queues = [Queue(client, f"{names.queue}-{n}", w) for n, w in weights.items()]
    for each in queues:
        # More than it needs, since the first one is alone until the others are there.
        await each.fill(200 * int(each.weight) + 600)
    for each in reversed(queues):
        # Each has so many here that it does not run out while the broker is slow.
        await each.watch(group, 0.03, 300)
    high, medium, low = (each.begun for each in queues)
    await until(lambda: len(high) > 200)
    before = [len(each) for each in (high, medium, low)]
    await until(lambda: len(high) > 1000)
    after = [len(each) for each in (high, medium, low)]
    begun = [b - a for a, b in zip(before, after, strict=True)]
    assert group.running <= 10
    for number, part in zip(begun, (0.6, 0.3, 0.1), strict=True):
        assert abs(number / sum(begun) - part) < 0.1 * part, begun


@pytest.mark.timed
@ensureDeferred
async def test_ageing(
    either: Any, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    However little a queue weighs, its oldest message begins when it has waited for as
    long as it may; also where all places hang.
    """
    client, group = make_client(either.url), PriorityGroup(5, ageing=0.5)
    low = Queue(client, f"{names.queue}-low", 1)
    high = Queue(client, f"{names.queue}-high", 1_000_000)
    await low.fill(30)
    await high.fill(3000)
    await high.watch(group, 0.02, 50)
    await low.watch(group, 0.02, 1)  # so that each comes when the last one is done
    with Stalls() as stalls:
        await until(lambda: len(low.begun) == 6)
    gaps = [b - a for a, b in itertools.pairwise(low.begun)]
    assert len(high.begun) < 3000
    assert min(gaps) > 0.5
    assert most_late(low.begun, stalls) < 0.3, gaps
    hanging = Queue(client, f"{names.queue}-hanging", 1_000_000)
    await hanging.fill(20)
    await hanging.watch(group, 1000.0, 20)
    await until(lambda: len(hanging.begun) > 5)
    before = len(low.begun)
    with Stalls() as stalls:
        await until(lambda: len(low.begun) == before + 4)
    assert most_late(low.begun[before:], stalls) < 0.3, low.begun[before:]


def most_late(times: list[float], stalls: Stalls) -> float:
    """
    By how many seconds a message of L{test_ageing} has waited for too long, at most,
    but for those in which the process did not run.
    """
    return max(
        b - a - stalls.between(a, b) - (0.02 + 0.5)
        for a, b in itertools.pairwise(times)
    )
