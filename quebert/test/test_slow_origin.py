"""
An origin that takes requests and never answers, beside one that does, on a real
RabbitMQ and real sockets.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory, Protocol

from quebert.amqp import TxAMQPClient, Watcher, WatchOptions
from quebert.limits import AdaptiveSettings, Admission, OriginLimits, Origins
from quebert.mediator import DelayOnErrorMediator
from quebert.test.conftest import Names
from quebert.test.support import PATIENCE, Executor, options_of, publish, until

reactor: Any = global_reactor


class Silent(Protocol):
    """
    Takes what comes, and answers when it is told to.
    """

    factory: Any

    def connectionMade(self) -> None:
        """
        Be counted.
        """
        self.factory.open.add(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Answer, if that is wanted now.
        """
        if self.factory.answers:
            self.answer()

    def answer(self) -> None:
        """
        Answer, and hang up.
        """
        transport: Any = self.transport
        transport.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        """
        Be counted no more.
        """
        self.factory.open.discard(self)


class SilentServer(Factory):
    """
    A server that does not answer.

    @ivar open: its connections.
    @ivar answers: whether it does.
    """

    noisy = False
    protocol = Silent

    def __init__(self) -> None:
        self.open: set[Silent] = set()
        self.answers = False
        self._port = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self._port.getHost().port}/"

    def recover(self) -> None:
        """
        Answer all, from now on.
        """
        self.answers = True
        for each in list(self.open):
            each.answer()

    async def close(self) -> None:
        """
        Listen no more, and hang up.
        """
        await self._port.stopListening()
        for each in list(self.open):
            each.transport.abortConnection()  # type: ignore[union-attr]
        await until(lambda: not self.open)


@pytest_twisted.async_yield_fixture
async def silent() -> AsyncIterator[SilentServer]:
    """
    A server that never answers.
    """
    server = SilentServer()
    yield server
    await server.close()


def bodies(url: str, number: int) -> list[bytes]:
    """
    Tasks for this URL.
    """
    return [json.dumps({"url": url, "n": n}).encode() for n in range(number)]


async def watch(
    client: TxAMQPClient,
    names: Names,
    admission: Admission | None = None,
    **options: Any,
) -> Watcher:
    """
    Have a mediator take the tasks of a queue.
    """
    mediator = DelayOnErrorMediator(reactor=reactor, admission=admission)
    return await client.watch(
        names.exchange,
        names.queue,
        names.key,
        mediator.messageReceived,
        **options_of(options),
    )


@ensureDeferred
async def test_other_queue(
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    pika_channel: Any,
    executor: Executor,
    silent: SilentServer,
) -> None:
    """
    Tasks of another queue are done while all that one queue may have at once
    hang, by the same mediator, over the same connection.
    """
    client, mediator = make_client(), DelayOnErrorMediator(reactor=reactor)
    slow, quick = (f"{names.queue}-slow", f"{names.queue}-quick")
    watchers = [
        await client.watch(
            names.exchange,
            queue,
            queue,
            mediator.messageReceived,
            maxEvents=5,
            options=WatchOptions(hang_after=0),
        )
        for queue in (slow, quick)
    ]
    publish(pika_channel, names.exchange, slow, *bodies(silent.url, 20))
    await until(lambda: len(silent.open) == 5)
    publish(pika_channel, names.exchange, quick, *bodies(executor.url, 300))
    await until(lambda: watchers[1].counts.done == 300)
    assert watchers[0].counts.received == watchers[0].in_flight == 5
    assert len(silent.open) == 5
    assert sorted(each["n"] for each in executor.tasks) == list(range(300))


@ensureDeferred
async def test_same_queue(
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    pika_channel: Any,
    executor: Executor,
    silent: SilentServer,
) -> None:
    """
    In the same queue those that hang leave their places after C{timeout}
    seconds: all others behind them are done while they hang.
    """
    watcher = await watch(
        make_client(),
        names,
        maxEvents=5,
        slow_after=0.1,
        hang_after=0,
    )
    key = names.key.replace("#", "x")
    publish(pika_channel, names.exchange, key, *bodies(silent.url, 20))
    publish(pika_channel, names.exchange, key, *bodies(executor.url, 100))
    await until(lambda: watcher.counts.done == 100)
    assert watcher.in_flight == len(silent.open) == 20
    assert watcher.consuming


@ensureDeferred
async def test_limited_hosts(
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    pika_channel: Any,
    executor: Executor,
    silent: SilentServer,
) -> None:
    """
    Where each host may have but a part of the places, all others behind those that
    hang are done while they hang.
    """
    admission = Origins(OriginLimits(concurrency=2))
    watcher = await watch(make_client(), names, admission, maxEvents=5)
    key = names.key.replace("#", "x")
    publish(pika_channel, names.exchange, key, *bodies(silent.url, 20))
    publish(pika_channel, names.exchange, key, *bodies(executor.url, 100))
    await until(lambda: watcher.counts.done == 100)
    assert len(silent.open) == 2
    assert watcher.consuming


@ensureDeferred
@pytest.mark.parametrize("hosts", [1, 3])
@pytest.mark.parametrize("number", [20, 1_000])
async def test_by_itself(
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    pika_channel: Any,
    executor: Executor,
    silent: SilentServer,
    number: int,
    hosts: int,
) -> None:
    """
    Without any limit, all tasks behind those that hang are done while these hang.  Each
    host that hangs has as many requests as there are places.  When they answer, all
    their tasks are done, once each; those of one host in their order, as long as few
    wait.
    """
    silents = [silent, *(SilentServer() for _ in range(hosts - 1))]
    key = names.key.replace("#", "x")
    watcher = await watch(make_client(), names, maxEvents=20, hang_after=0.4)
    for each in silents:
        publish(pika_channel, names.exchange, key, *bodies(each.url, number))
    publish(pika_channel, names.exchange, key, *bodies(executor.url, 300))
    await until(lambda: watcher.counts.done == 300)
    await until(lambda: [len(each.open) for each in silents] == [20] * hosts)
    assert sorted(each["n"] for each in executor.tasks) == list(range(300))
    for each in silents:
        each.recover()
    await until(
        lambda: watcher.counts.done == 300 + hosts * number,
        3 * PATIENCE,
        lambda: watcher.counts,
    )
    assert watcher.in_flight == 0
    for each in silents[1:]:
        await each.close()


@ensureDeferred
async def test_nothing_lost(
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    pika_channel: Any,
    executor: Executor,
    silent: SilentServer,
) -> None:
    """
    Tasks that wait for a host that hangs are lost neither when the connection is cut,
    nor when the watch is stopped.
    """
    client, key = make_client(), names.key.replace("#", "x")
    watcher = await watch(client, names, maxEvents=5, hang_after=0.4)
    publish(pika_channel, names.exchange, key, *bodies(silent.url, 50))
    await until(lambda: watcher._deliveries._hanging_hosts.origin_places.waiting == 45)
    (await client.connected()).transport.abortConnection()
    await until(lambda: watcher.counts.returned == 50)
    publish(pika_channel, names.exchange, key, *bodies(executor.url, 20))
    await until(lambda: watcher.counts.done == 20)
    await watcher.stop(grace=0)
    watcher = await watch(client, names, maxEvents=5, hang_after=0.4)
    await until(lambda: watcher.in_flight >= 5)
    silent.recover()
    await until(lambda: watcher.counts.done == 50)
    assert watcher.in_flight == 0


@ensureDeferred
async def test_adaptive_limit(
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    pika_channel: Any,
    executor: Executor,
) -> None:
    """
    Tasks that are more than an adaptive limit admits at first begin again: none is
    published anew while there are places.
    """
    admission = Origins(OriginLimits(adaptive=AdaptiveSettings(start=10)))
    key = names.key.replace("#", "x")
    watcher = await watch(make_client(), names, admission, maxEvents=50)
    publish(pika_channel, names.exchange, key, *bodies(executor.url, 50))
    await until(lambda: watcher.counts.done == 50)
    ((_, status),) = admission.snapshot().items()
    assert status.refused > 0
    assert watcher.counts.received == 50
    assert sorted(each["n"] for each in executor.tasks) == list(range(50))
