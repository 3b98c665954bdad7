"""
Queues that are made over the API, on real brokers, with mediators and an executor.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from quebert.amqp import TxAMQPClient
from quebert.amqp.coordination import QUEUES, _register, remove_gone_queue
from quebert.amqp.queues import find_queue
from quebert.amqp.wire import temporary_channel
from quebert.config import (
    DELETED_FOR,
    Broker,
    MadeQueues,
    QueueDefinition,
    QueueSettings,
    Settings,
)
from quebert.errors import BrokerError, ConfigError
from quebert.limits import Rate
from quebert.operations import (
    QUEUE_CHANGED,
    QUEUE_MADE,
    QUEUE_OUTDATED,
    RUNS_NOW,
    BrokerAccess,
    change_queue,
    delete_queue,
    made_queues,
    make_queue,
    run_now,
)
from quebert.policy import RetryPolicy
from quebert.service import ServedQueues, Watches
from quebert.task import format_time
from quebert.test.conftest import AnyBroker, Names
from quebert.test.support import PATIENCE, Executor, until
from quebert.testing import RabbitMQNode

reactor: Any = global_reactor
MakeClient = Callable[..., TxAMQPClient]


class Mediators:
    """
    Mediators of the queues of one test.
    """

    def __init__(self, url: str, executor: Executor, names: Names) -> None:
        self.url = url
        self.access = BrokerAccess(reactor, url)
        self.executor = executor
        self.name = names.queue
        self._served: list[ServedQueues] = []

    async def start(self) -> ServedQueues:
        """
        One more mediator.
        """
        each = QueueSettings(name="", default_url=self.executor.url, hold_up_to=0.0)
        settings = Settings(
            broker=Broker.from_url(self.url),
            made_queues=MadeQueues((f"{self.name}*",), each),
        )
        served = ServedQueues(Watches(reactor), reactor)
        self._served.append(served)
        await served.start(settings)
        return served

    async def make(self, **fields: Any) -> QueueDefinition:
        """
        Make the queue.
        """
        definition = QueueDefinition(name=self.name, **fields)
        made = await make_queue(self.access, definition)
        assert (made.result, made.problems) == (QUEUE_MADE, ()), made
        assert made.queue is not None
        return made.queue

    async def serve(self, served: ServedQueues, name: str = "") -> None:
        """
        Wait until a mediator consumes a queue.
        """
        name = name or self.name
        await until(lambda: name in served.health() and served.health()[name].consuming)

    async def stop(self) -> None:
        """
        End all of them.
        """
        await gatherResults(
            [Deferred.fromCoroutine(each.stop(1)) for each in self._served]
        )


@pytest_twisted.async_yield_fixture
async def mediators(
    either: AnyBroker, executor: Executor, names: Names
) -> AsyncIterator[Mediators]:
    """
    Mediators, on each broker.
    """
    made = Mediators(either.url, executor, names)
    yield made
    await made.stop()


def task(number: int, **fields: Any) -> bytes:
    """
    A task.
    """
    return json.dumps({"url": "/", "uuid": str(number), **fields}).encode()


@ensureDeferred
async def test_lifetime(mediators: Mediators, make_client: MakeClient) -> None:
    """
    Two mediators, of which one starts later, do the tasks of a queue that is made while
    the first one runs; a change under load loses none of them; after its deletion none
    is done, nor any that had to wait for its time.
    """
    client, executor = make_client(mediators.url), mediators.executor
    first = await mediators.start()
    definition = await mediators.make(
        concurrency=20, retry=RetryPolicy(min_backoff=0.1, max_backoff=0.1)
    )
    await mediators.serve(first)
    failed: set[str] = set()

    def answer(task: Any) -> int:
        again = task["uuid"] in failed or int(task["uuid"]) % 7
        failed.add(task["uuid"])
        return 200 if again else 503

    executor.answer = answer
    numbers = range(300)
    for number in numbers:
        client.publish("", mediators.name, task(number), {"delivery-mode": 2})
    second = await mediators.start()
    await mediators.serve(second)
    for rate in (200.0, None):
        changed = await change_queue(
            mediators.access,
            attrs.evolve(definition, rate=rate),
            expected=definition.version,
        )
        assert (changed.result, changed.problems) == (QUEUE_CHANGED, ()), changed
        assert changed.queue is not None
        definition = changed.queue
    wanted = Counter({str(n): 1 if n % 7 else 2 for n in numbers})
    await until(lambda: Counter(each["uuid"] for each in executor.tasks) == wanted)
    again = sum(n % 7 == 0 for n in numbers)
    # The broker's confirms may come later than the tasks.
    await until(lambda: fates("retried", first, second) >= again)
    retried = fates("retried", first, second)
    delayed = task(1_000, run_at=format_time(time.time() + 1_000))
    await client.publish("", mediators.name, delayed, {"delivery-mode": 2})
    await until(lambda: fates("retried", first, second) == retried + 1)
    deleted = await delete_queue(mediators.access, mediators.name)
    assert deleted.problems == ()
    ran = await run_now(mediators.access, mediators.name, "1000")
    assert ran.result == RUNS_NOW, ran
    await until(lambda: fates("discarded", first, second) == 1)
    assert Counter(each["uuid"] for each in executor.tasks) == wanted


@pytest.mark.parametrize("limit", [1, pytest.param(10, marks=pytest.mark.long)])
@ensureDeferred
async def test_concurrency(
    mediators: Mediators, make_client: MakeClient, limit: int
) -> None:
    """
    Three mediators have as many tasks at work at once as the queue allows, and never
    more, while one of them goes and another comes.
    """
    client, executor = make_client(mediators.url), mediators.executor
    executor.answer = lambda task: deferLater(reactor, 0.2, lambda: 200)
    served = [await mediators.start()]
    await mediators.make(concurrency=limit, queue_type="classic")
    served += [await mediators.start(), await mediators.start()]
    for each in served:
        await mediators.serve(each)

    async def do(some: range) -> None:
        for number in some:
            client.publish("", mediators.name, task(number), {"delivery-mode": 2})
        await until(lambda: len(executor.tasks) == some.stop)

    await do(range(5 * limit))
    leaving = Deferred.fromCoroutine(served[0].stop(5))
    await mediators.serve(await mediators.start())
    await do(range(5 * limit, 25 * limit))
    await leaving
    assert executor.most == limit
    assert len({each["uuid"] for each in executor.tasks}) == len(executor.tasks)


def fates(name: str, *mediators: ServedQueues) -> int:
    """
    How many tasks had a fate, in all watches of mediators.
    """
    found = 0
    for each in mediators:
        for _, watcher, *before in each._watches.watching():
            some = [*before] if watcher is None else [watcher.counts, *before]
            found += sum(getattr(counts, name) for counts in some)
    return found


@ensureDeferred
async def test_dead_letters(either: AnyBroker, names: Names) -> None:
    """
    No queue is made whose name is that of the dead letters of another one.
    """
    access = BrokerAccess(reactor, either.url)
    with pytest.raises(ConfigError, match="it is a name of dead letters"):
        await make_queue(access, QueueDefinition(name=f"{names.queue}.dead"))


@ensureDeferred
async def test_killed(either: AnyBroker, make_client: MakeClient, names: Names) -> None:
    """
    A program that is killed between the confirm and the acknowledgement has made its
    change; of the two messages that it leaves, one stays at the next change.
    """
    access = BrokerAccess(reactor, either.url)
    definition = QueueDefinition(name=names.queue)
    await make_queue(access, definition)

    async def die(held: Any) -> None:
        held._wire.transport.abortConnection()
        await held._channel.call("channel_flow", active=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_register.Held, "_acknowledge", die)
        with pytest.raises(BrokerError):
            await change_queue(access, attrs.evolve(definition, rate=5.0), expected=1)
    known = await made_queues(access)
    assert known.definitions[names.queue].rate == 5.0
    # The broker may notice a little later that the connection has ended.
    await until_depth(make_client, either, 2)
    late = await change_queue(access, definition, expected=1)
    assert late.result == QUEUE_OUTDATED
    await change_queue(access, definition, expected=2)
    known = await made_queues(access)
    assert known.definitions[names.queue] == attrs.evolve(definition, version=3)
    await until_depth(make_client, either, 1)


async def until_depth(make_client: MakeClient, broker: AnyBroker, count: int) -> None:
    """
    Wait until the register has so many messages.
    """
    wire = await make_client(broker.url).connected(PATIENCE)
    end = reactor.seconds() + PATIENCE
    while (found := (await find_queue(wire, QUEUES)).message_count) != count:
        assert reactor.seconds() < end, found
        await deferLater(reactor, 0.05)


@ensureDeferred
async def test_writers_at_once(either: AnyBroker, names: Names) -> None:
    """
    Of several who change the same version at once, one wins, and the others are told.
    """
    access = BrokerAccess(reactor, either.url)
    definition = QueueDefinition(name=names.queue, queue_type="classic")
    others = [QueueDefinition(name=f"{names.queue}-{n}") for n in range(4)]
    await make_queue(access, definition)
    changing = [
        Deferred.fromCoroutine(
            change_queue(access, attrs.evolve(definition, rate=n + 1.0), expected=1)
        )
        for n in range(4)
    ]
    making = [Deferred.fromCoroutine(make_queue(access, each)) for each in others]
    results = Counter([each.result for each in await gatherResults(changing)])
    assert results == {QUEUE_CHANGED: 1, QUEUE_OUTDATED: 3}
    assert {each.result for each in await gatherResults(making)} == {QUEUE_MADE}
    known = await made_queues(access)
    assert known.definitions[names.queue].version == 2
    assert known.definitions.keys() >= {each.name for each in others}


@pytest.mark.parametrize("kind", ["classic", "quorum"])
@ensureDeferred
async def test_removed(
    either: AnyBroker, make_client: MakeClient, names: Names, kind: str
) -> None:
    """
    A queue that was deleted long ago is removed once it is empty, whatever its type.
    """
    access = BrokerAccess(reactor, either.url)
    await make_queue(access, QueueDefinition(name=names.queue, queue_type=kind))
    await delete_queue(access, names.queue)
    client = make_client(either.url)
    await client.publish("", names.queue, task(1))
    wire = await client.connected(10)
    later = time.time() + DELETED_FOR
    assert not await remove_gone_queue(wire, names.queue, later)
    async with temporary_channel(wire) as channel:
        await channel.call("queue_purge", queue=names.queue)
    assert await remove_gone_queue(wire, names.queue, later)
    assert await find_queue(wire, names.queue) is None
    assert not wire.closed


@ensureDeferred
async def test_restart(
    own_rabbitmq: RabbitMQNode, executor: Executor, names: Names
) -> None:
    """
    Definitions outlive a RabbitMQ that is killed right after a queue was made, and a
    mediator that started while RabbitMQ was away serves it when RabbitMQ is back.
    """
    mediators = Mediators(own_rabbitmq.url, executor, names)
    await mediators.make(rate=50.0)
    own_rabbitmq.kill()
    served = await mediators.start()
    assert set(served.health()) == {QUEUES}
    own_rabbitmq.start()
    await mediators.serve(served)
    assert QUEUES not in served.health()
    (queue, *_) = served._watches.watching()[0]
    assert queue.rate == Rate(50.0)
    await mediators.stop()
