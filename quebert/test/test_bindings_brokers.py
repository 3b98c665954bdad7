"""
Exchanges and bindings that somebody takes away under a watch, on real brokers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import gatherResults
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher

from quebert import _repeated
from quebert.amqp import Message, TxAMQPClient
from quebert.amqp.queues import _bindings as _binding
from quebert.amqp.queues import find_exchange
from quebert.amqp.wire import Channel
from quebert.errors import BrokerRefused, Unroutable
from quebert.test.conftest import AnyBroker, Names
from quebert.test.support import until

TASKS = 200
DURABLE = {"delivery-mode": 2}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """
    What is told of bindings, which are looked at often.
    """
    monkeypatch.setattr(_binding, "LOOK", 0.1)
    monkeypatch.setattr(_repeated, "QUIET", 0.5)
    events = EventLoggingObserver()
    globalLogPublisher.addObserver(events)
    yield lambda: [
        formatEvent(each)
        for each in events
        if str(each["log_namespace"]).endswith("._bindings.Bindings")
    ]
    globalLogPublisher.removeObserver(events)


class Watched:
    """
    A queue that is watched, and its tasks.
    """

    def __init__(self, client: TxAMQPClient, names: Names) -> None:
        self.client = client
        self.names = names
        self.key = names.key.replace("#", "a")
        self.seen: set[bytes] = set()

    async def begin(self) -> Channel:
        """
        Watch it; returns a channel that is free for anything.
        """
        exchange, queue, key = self.names.exchange, self.names.queue, self.names.key
        self.watcher = await self.client.watch(exchange, queue, key, self._called)
        self._consuming = self.watcher._intake.keeper.channel
        wire = await self.client.connected()
        return await wire.open_channel(confirms=False)

    def _called(self, message: Message) -> None:
        self.seen.add(message.body)

    async def until_routed(self) -> None:
        """
        Wait until the exchange takes a task for the queue.
        """
        exchange, wire = self.names.exchange, await self.client.connected()
        while True:
            # RabbitMQ closes a channel that publishes to no exchange.
            while await find_exchange(wire, exchange) is None:
                pass
            with suppress(Unroutable):
                await self.client.publish(exchange, self.key, b"probe", DURABLE)
                return

    async def all_come(self, exchange: str, key: str, word: str) -> None:
        """
        Publish some tasks, which all come, over the channel that has consumed before.
        """
        bodies = {b"%s %d" % (word.encode(), n) for n in range(TASKS)}
        await gatherResults(
            [self.client.publish(exchange, key, body, DURABLE) for body in bodies]
        )
        await until(lambda: bodies <= self.seen)
        assert self.watcher._intake.keeper.channel is self._consuming


@ensureDeferred
async def test_deleted(
    either: AnyBroker,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    told: Callable[[], list[str]],
) -> None:
    """
    An exchange that was deleted is declared anew, which is told in one line; what is
    published from then on arrives.
    """
    watched = Watched(make_client(either.url), names)
    channel = await watched.begin()
    await watched.all_come(names.exchange, watched.key, "before")
    assert told() == []

    def about_it() -> list[str]:
        # The exchange may be deleted in the middle of a look, which cannot bind to it.
        failed = "NOT_FOUND", "again, after"
        return [line for line in told() if not any(each in line for each in failed)]

    # A look that has found the exchange may declare it anew, and tell nothing.
    while not about_it():
        await channel.call("exchange_delete", exchange=names.exchange)
        await watched.until_routed()
        await until(lambda: not watched.client.bindings._looking)
    await watched.all_come(names.exchange, watched.key, "after")
    assert about_it() == [
        f"Exchange '{names.exchange}' was deleted. It is declared anew, and queue"
        f" '{names.queue}' is bound to it."
    ]


@ensureDeferred
async def test_unbound(
    either: AnyBroker,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    told: Callable[[], list[str]],
) -> None:
    """
    A binding that was taken away is there again.
    """
    watched = Watched(make_client(either.url), names)
    channel = await watched.begin()
    bound = {"queue": names.queue, "exchange": names.exchange}
    await channel.call("queue_unbind", routing_key=names.key, **bound)
    await watched.until_routed()
    await watched.all_come(names.exchange, watched.key, "after")
    assert told() == []


@ensureDeferred
async def test_another_type(
    either: AnyBroker,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    told: Callable[[], list[str]],
) -> None:
    """
    An exchange of another type in its place is told, disturbs nothing else, and is
    replaced as soon as it is gone.
    """
    watched = Watched(make_client(either.url), names)
    channel = await watched.begin()
    exchange: dict[str, Any] = {"exchange": names.exchange}
    await channel.call("queue_bind", queue=names.queue, **exchange, routing_key="x")

    deletions = 0

    def about_it() -> list[str]:
        # The exchange may be deleted in the middle of a look, which cannot bind to it.
        found = [line for line in told() if "NOT_FOUND" not in line]
        assert len(told()) - len(found) <= deletions
        return found

    while not about_it() or "may get no tasks" not in about_it()[-1]:
        deletions += 1
        await channel.call("exchange_delete", **exchange)
        other = await watched.client.connected()
        taken = await other.open_channel(confirms=False)
        try:
            await taken.call(
                "exchange_declare", **exchange, exchange_type="direct", durable=True
            )
        except BrokerRefused:  # the watch was quicker
            continue
        await until(about_it)
    await watched.all_come("", names.queue, "meanwhile")
    fault = f"Queue '{names.queue}' cannot be bound to exchange '{names.exchange}'"
    fault += ", and may get no tasks"
    assert about_it()[-1].startswith(f"{fault}: PRECONDITION_FAILED")
    assert sum(line.startswith(fault) for line in about_it()) == 1
    await channel.call("exchange_delete", **exchange)
    await watched.until_routed()
    await watched.all_come(names.exchange, watched.key, "after")
    over = f"Queue '{names.queue}' is bound to exchange '{names.exchange}' again"
    await until(lambda: told()[-1].startswith(over))
