"""
What a watch and its publisher live through, on a real RabbitMQ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater

from quebert.amqp import Message, TxAMQPClient
from quebert.errors import BrokerError
from quebert.outcome import Retry
from quebert.test.conftest import Names
from quebert.test.support import until
from quebert.test.test_amqp import adds_up

DISCONNECTS = 100
PREFETCH = 20
PER_SECOND = 2000


class Offer:
    """
    Publishes numbered tasks at a steady rate, until told to stop, each until
    it is confirmed.
    """

    def __init__(self, client: TxAMQPClient, exchange: str) -> None:
        self._client = client
        self._exchange = exchange
        self.offered = 0
        self.confirmed: set[bytes] = set()
        self._publishing = LoopingCall.withCount(self._publish)

    def start(self) -> None:
        self._publishing.start(1 / PER_SECOND)

    async def stop(self) -> None:
        self._publishing.stop()
        await until(lambda: len(self.confirmed) == self.offered)

    def _publish(self, count: int) -> None:
        for _ in range(count):
            body = b"%d" % self.offered
            self.offered += 1
            published = Deferred.fromCoroutine(self._published(body))
            published.addErrback(lambda failure: failure.printTraceback())

    async def _published(self, body: bytes) -> None:
        while body not in self.confirmed:
            try:
                await self._client.publish(self._exchange, "a", body)
                self.confirmed.add(body)
            except BrokerError:
                await deferLater(reactor, 0.1)


@ensureDeferred
async def test_disconnects_under_load(
    make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    A connection that is cut a hundred times under load loses no task, and
    repeats no more than were in flight.
    """
    seen: Counter[bytes] = Counter()
    lost: list[str] = []

    def callback(message: Message) -> Any:
        seen[message.body] += 1
        if seen[message.body] == 1 and message.body.endswith(b"7"):
            return Retry(after=0.01)
        return deferLater(reactor, 0.001, lambda: None)

    client, publisher = make_client(), make_client()
    watcher = await client.watch(
        names.exchange,
        names.queue,
        "#",
        callback,
        # Not the failures themselves, which keep what they tell of alive.
        onDisconnect=lambda failure: lost.append(failure.getErrorMessage()),
        maxEvents=PREFETCH,
    )
    offer = Offer(publisher, names.exchange)
    offer.start()
    for n in range(DISCONNECTS):
        received = watcher.counts.received
        await until(lambda: watcher.counts.received > received + PREFETCH)  # noqa: B023
        (await client.connected()).transport.abortConnection()
        await until(lambda: len(lost) == n + 1 and watcher.consuming)  # noqa: B023
    await offer.stop()
    await until(lambda: offer.confirmed <= seen.keys() and watcher.in_flight == 0)
    assert adds_up(watcher)
    retried = sum(body.endswith(b"7") for body in seen)
    repeated = sum(seen.values()) - len(seen) - retried
    # Each may have cut short the confirm of a task that was put back, too.
    assert repeated <= DISCONNECTS * 2 * PREFETCH


@ensureDeferred
async def test_many_publications_outstanding(
    client: TxAMQPClient, names: Names
) -> None:
    """
    Thousands of publications may wait for their confirms at once.
    """
    watcher = await client.watch(names.exchange, names.queue, "#", lambda message: None)
    published = [
        client.publish(names.exchange, "a", b"%d" % n, {"delivery-mode": 2})
        for n in range(5000)
    ]
    for each in published:
        await each
    await until(lambda: watcher.counts.done == 5000)
