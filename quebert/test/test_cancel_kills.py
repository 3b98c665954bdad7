"""
Cancelling tasks while mediators, the broker, and those who cancel are killed.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from quebert.amqp import TxAMQPClient
from quebert.operations import CANCELLED, BrokerAccess, Deletions
from quebert.task import format_time
from quebert.test.cancel_races import CancelRaces
from quebert.test.conftest import Names
from quebert.test.support import Executor, Program, until
from quebert.testing import RabbitMQNode

reactor: Any = global_reactor
pytestmark = pytest.mark.long


@ensureDeferred
async def test_between(
    own_rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    executor: Executor,
    names: Names,
    start: Callable[..., Program],
) -> None:
    """
    A task that was deleted is not attempted, although its mediator and RabbitMQ are
    killed before it comes; one that has its uuid and was sent later is.
    """
    url, queue = own_rabbitmq.url, names.queue
    killing = Killing(start, url, executor, queue)
    await killing.mediator().said("Watching")
    client = make_client(url)
    deletions = Deletions(client)
    now = int(time.time())

    async def add(uuid: str, sent: int, delay: float) -> None:
        task = {"url": "/task", "uuid": uuid, "run_at": format_time(now + delay)}
        properties = {"delivery-mode": 2, "timestamp": sent}
        await client.publish("", queue, json.dumps(task).encode(), properties)

    for each in ("a", "b", "c"):
        await add(each, now, 12)
    for each in ("a", "b"):
        told = await deletions.delete(queue, each, due=now + 12, sent_by=now)
        assert told.result == CANCELLED, told
    killing.programs.pop().kill()
    await deferToThread(own_rabbitmq.kill)
    await deferToThread(own_rabbitmq.start)
    await killing.mediator().said("Watching")
    await add("b", now + 1, 0)

    def attempted() -> list[str]:
        return sorted(task["uuid"] for task in executor.tasks)

    await until(lambda: {"b", "c"} <= set(attempted()))
    await deferLater(reactor, 3)  # others would show themselves
    # That may come twice which was on its way to the ladder when all was killed.
    assert [each for each in attempted() if each != "c"] == ["b"]


class Killing:
    """
    Two mediators, each in a process of its own, which are killed again and again, and
    so are programs that cancel tasks.

    @ivar kills: how many were killed.
    @ivar programs: the mediators that run.
    """

    def __init__(
        self,
        start: Callable[..., Program],
        url: str,
        executor: Executor,
        queue: str,
    ) -> None:
        self.kills = 0
        self.over = False
        self._start = start
        self._url = url
        self._executor = executor
        self._queue = queue
        self._random = random.Random(1)
        self.programs: list[Program] = []

    def mediator(self) -> Program:
        """
        Start one more.
        """
        program = self._start(
            "-m",
            "twisted",
            "quebert",
            f"--amqp-url={self._url}",
            "--config=cancelling_mediator.config",
            f"--default-url={self._executor.url}",
            PYTHONPATH=str(Path(__file__).parent),
            QUEUE=self._queue,
        )
        self.programs.append(program)
        return program

    async def kill_mediators(self) -> None:
        """
        Kill one of them after the other, and start another.
        """
        while not self.over:
            await deferLater(reactor, self._random.uniform(0.5, 3))
            self.programs.pop(0).kill()
            self.kills += 1
            await self.mediator().said("Watching")

    async def kill_cancelling(self, races: CancelRaces) -> None:
        """
        Start programs that cancel tasks, and kill them.
        """
        while not self.over:
            await deferLater(reactor, 0.3)
            untold = [r.uuid for r in races.races.values() if r.told is None]
            if not untold:
                continue
            program = self._start(
                "-m",
                "quebert",
                "cancel",
                self._queue,
                *self._random.sample(untold, min(3, len(untold))),
                f"--amqp-url={self._url}",
            )
            await deferLater(reactor, self._random.uniform(0.3, 2.5))
            program.kill()
            self.kills += 1


@ensureDeferred
async def test_kills(
    own_rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    executor: Executor,
    names: Names,
    start: Callable[..., Program],
) -> None:
    """
    What is said of tasks is true while mediators, programs that cancel, and RabbitMQ
    are killed at random.
    """
    url = own_rabbitmq.url
    killing = Killing(start, url, executor, names.queue)
    for each in [killing.mediator() for _ in range(2)]:
        await each.said("Watching")
    client = make_client(url)
    access = BrokerAccess(reactor, url)
    races = CancelRaces(access, client, executor, names.queue, lanes=8)
    works = [killing.kill_mediators(), killing.kill_cancelling(races)]
    running = [Deferred.fromCoroutine(each) for each in works]
    racing = Deferred.fromCoroutine(races.run(160))
    for _ in range(2):
        await deferLater(reactor, 12)
        await deferToThread(own_rabbitmq.kill)
        await deferToThread(own_rabbitmq.start)
    await racing
    killing.over = True
    await gatherResults(running)
    await deferLater(reactor, 8)  # later attempts would show themselves
    races.check(kills=True)
    assert races.results["cancelled"] > 5, races.results
    assert killing.kills > 10
