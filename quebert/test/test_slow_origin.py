"""
An origin that takes requests and never answers, beside one that does, on a real
RabbitMQ and real sockets.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory, Protocol

from quebert.amqp import TxAMQPClient
from quebert.limits import OriginLimits, Origins
from quebert.mediator import DelayOnErrorMediator
from quebert.test.conftest import Names
from quebert.test.support import Executor, publish, until

reactor: Any = global_reactor


class Silent(Protocol):
    """
    Takes what comes.
    """

    def connectionMade(self) -> None:
        """
        Be counted.
        """
        self.factory.open.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        """
        Be counted no more.
        """
        self.factory.open.discard(self)


class SilentServer(Factory):
    """
    A server that never answers.

    @ivar open: its connections.
    """

    noisy = False
    protocol = Silent

    def __init__(self) -> None:
        self.open: set[Protocol] = set()
        self._port = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self._port.getHost().port}/"

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
            names.exchange, queue, queue, mediator.messageReceived, maxEvents=5
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
    client, mediator = make_client(), DelayOnErrorMediator(reactor=reactor)
    watcher = await client.watch(
        names.exchange,
        names.queue,
        names.key,
        mediator.messageReceived,
        maxEvents=5,
        timeout=0.1,
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
    client, gate = make_client(), Origins(OriginLimits(in_flight=2))
    watcher = await client.watch(
        names.exchange,
        names.queue,
        names.key,
        DelayOnErrorMediator(reactor=reactor, gate=gate).messageReceived,
        maxEvents=5,
    )
    key = names.key.replace("#", "x")
    publish(pika_channel, names.exchange, key, *bodies(silent.url, 20))
    publish(pika_channel, names.exchange, key, *bodies(executor.url, 100))
    await until(lambda: watcher.counts.done == 100)
    assert len(silent.open) == 2
    assert watcher.consuming
