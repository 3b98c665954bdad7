"""
Tests for L{quebert.events._publisher}, on a broker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from quebert.amqp import TxAMQPClient
from quebert.events import (
    EXCHANGE,
    Columns,
    EventPublisher,
    MediatorState,
    Recorder,
    _publisher,
    reading,
)
from quebert.test.conftest import Names
from quebert.test.events.test_ended_tasks import ended
from quebert.test.events.test_reader import Kept
from quebert.test.operating import add_user
from quebert.test.support import logged, short_of, until
from quebert.testing import EmbeddedBroker, RabbitMQNode

reactor: Any = global_reactor
MakeClient = Callable[..., TxAMQPClient]

#: Seconds between two batches.
OFTEN = 0.02


class Told:
    """
    A mediator that has nothing to do but to tell of its tasks.

    @ivar count: how many have ended.
    """

    def __init__(self, client: TxAMQPClient, **options: Any) -> None:
        self.recorder = Recorder()
        self.count = 0
        self._record = self.recorder.of("tasks")
        self.publisher = EventPublisher(
            self.recorder, client, "m", self._state, **{"interval": OFTEN, **options}
        )

    def _state(self, now: float, lag: float) -> MediatorState:
        return MediatorState(
            mediator="m", host="h", pid=1, version="1", started=1.0, at=now, lag=lag
        )

    def end(self, count: int, **fields: Any) -> None:
        """
        So many tasks end.
        """
        for _ in range(count):
            self._record(ended(started=reactor.seconds(), **fields))
        self.count += count


@asynccontextmanager
async def telling(client: TxAMQPClient, **options: Any) -> AsyncIterator[Told]:
    """
    A mediator that tells of its tasks.
    """
    told = Told(client, **options)
    told.publisher.start()
    try:
        yield told
    finally:
        await told.publisher.stop()


@pytest.fixture
def quiet_url() -> Iterator[str]:
    """
    A broker in which no other test has left a queue with events.
    """
    with EmbeddedBroker() as broker:
        yield broker.url


def got(kept: Kept) -> int:
    """
    How many records a reader has, and has missed.
    """
    return sum(len(batch.records) for batch in kept.batches) + missed(kept)


def missed(kept: Kept) -> int:
    """
    How many it has missed.
    """
    return sum(gap.count for gap in kept.gaps)


@ensureDeferred
async def test_published(make_client: MakeClient) -> None:
    """
    Each record comes once, and the last ones when the mediator ends.
    """
    kept = Kept()
    async with reading(make_client(), kept):
        async with telling(make_client()) as told:
            for _ in range(10):
                told.end(100)
                await deferLater(reactor, OFTEN)
            told.end(7)
        await until(lambda: got(kept) == 1007)
        assert not kept.gaps
        assert kept.totals[-1] == 1007


@ensureDeferred
async def test_state(make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A mediator tells how it is, also when it has nothing to do.
    """
    monkeypatch.setattr(_publisher, "STATE_INTERVAL", OFTEN)
    kept = Kept()
    async with reading(make_client(), kept):
        async with telling(make_client()):
            await until(lambda: len(kept.states) > 3)
        await until(lambda: kept.states[-1].ended)
    assert not any(state.ended for state in kept.states[:-1])
    assert [state.mediator for state in kept.states[:2]] == ["m", "m"]
    assert max(state.lag for state in kept.states) > 0


@ensureDeferred
async def test_nobody_listens(
    make_client: MakeClient, quiet_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Where nobody listens, nothing is written; who comes gets the last seconds.
    """
    async with telling(make_client(quiet_url)) as told:
        await until(lambda: told.publisher._publisher.ready)
        written: list[int] = []
        put = told.publisher._outbox.put

        def noting_put(columns: Columns, at: float) -> None:
            written.append(len(columns))
            put(columns, at)

        monkeypatch.setattr(told.publisher._outbox, "put", noting_put)
        for _ in range(20):
            told.end(100)
            await deferLater(reactor, OFTEN)
        assert not any(written)
        kept = Kept()
        async with reading(make_client(quiet_url), kept):
            await until(lambda: got(kept))
            told.end(1)
            await until(lambda: kept.totals[-1] == 2001)
        assert not kept.gaps
        await deferLater(reactor, 0)
        told.end(1)
        await until(lambda: not told.publisher._is_heard)


@ensureDeferred
async def test_old_ones(
    make_client: MakeClient, quiet_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Who comes gets nothing that is older than some seconds.
    """
    monkeypatch.setattr(_publisher, "KEPT", 10 * OFTEN)
    async with telling(make_client(quiet_url)) as told:
        told.end(100)
        await until(lambda: told.publisher._recent)
        await deferLater(reactor, 20 * OFTEN)
        told.end(1)
        await until(lambda: len(told.publisher._recent) == 1)
        kept = Kept()
        async with reading(make_client(quiet_url), kept):
            told.end(1)
            await until(lambda: got(kept))
            await until(lambda: kept.totals[-1] == 102)
        assert got(kept) < 10


@ensureDeferred
async def test_not_published(client: TxAMQPClient) -> None:
    """
    Without publishing, listeners of the same process are told all the same, and one
    that fails keeps nobody from anything.
    """
    told = Told(client, publish=False)
    heard: list[int] = []

    def fail(columns: object) -> None:
        raise ValueError("oh")

    told.publisher.listeners += [fail, lambda columns: heard.append(len(columns))]
    told.publisher.start()
    with logged() as lines:
        told.end(3)
        await until(lambda: heard)
    await told.publisher.stop()
    assert heard == [3]
    assert "A listener to events has failed." in lines
    assert not client._publishing.times_made


@ensureDeferred
async def test_blocked(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    While RabbitMQ takes no messages, records wait, within their bound; the oldest are
    dropped and told as a gap.
    """
    client, kept = make_client(rabbitmq.url), Kept()
    async with (
        reading(make_client(rabbitmq.url), kept, queue=names.queue),
        telling(client, most=500) as told,
    ):
        told.end(10)
        await until(lambda: got(kept) == 10)
        with short_of("memory", rabbitmq):
            told.end(1)
            await until(lambda: client.blocked)
            for _ in range(50):
                told.end(100)
                await deferLater(reactor, OFTEN)
            assert told.publisher.dropped > 4000
        await until(lambda: got(kept) == told.count)
        assert missed(kept) == told.publisher.dropped
        assert sum(batch.dropped for batch in kept.batches) == missed(kept)


@ensureDeferred
async def test_connection_lost(make_client: MakeClient, names: Names) -> None:
    """
    What was not confirmed when the connection was lost is published again.
    """
    client, kept = make_client(), Kept()
    async with (
        reading(make_client(), kept, queue=names.queue),
        telling(client) as told,
    ):
        for _ in range(5):
            for _ in range(5):
                told.end(20)
                await deferLater(reactor, OFTEN)
            wire = await client._publishing.connected()
            told.end(20)
            await deferLater(reactor, OFTEN)
            wire.transport.abortConnection()
        await until(lambda: got(kept) == told.count)
        assert not kept.gaps
        assert client.reconnects >= 4


@pytest.mark.long
@ensureDeferred
async def test_killed_broker(
    own_rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    A RabbitMQ that is killed takes no record with it that waits in the mediator, or in
    the durable queue.
    """
    client, kept = make_client(own_rabbitmq.url), Kept()
    reader = make_client(own_rabbitmq.url)
    async with (
        reading(reader, kept, queue=names.queue),
        telling(client) as told,
    ):
        told.end(100)
        await until(lambda: got(kept) == 100)
        await deferToThread(own_rabbitmq.kill)
        told.end(100)
        await deferLater(reactor, 5 * OFTEN)
        told.end(100)
        await deferToThread(own_rabbitmq.start)
        told.end(100)
        await until(lambda: got(kept) == told.count)
        assert not kept.gaps


@ensureDeferred
async def test_refused(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    A user who may not publish events is told so in one line.  One who may publish to
    the exchange, and may not declare it, publishes.
    """
    kept = Kept()
    async with reading(make_client(rabbitmq.url), kept):
        for write, heard in (("^$", 0), (f"^{EXCHANGE}$", 1)):
            user = f"{names.queue}-{heard}"
            url = add_user(rabbitmq, user, ("^$", write, ".*"))
            with logged() as lines:
                async with telling(make_client(url)) as told:
                    told.end(1)
                    await until(lambda: lines or got(kept) == told.count)
                    told.end(5)
                    await deferLater(reactor, 5 * OFTEN)
            if heard:
                await until(lambda: got(kept) == 6)
            said = [line for line in lines if "Events are not published" in line]
            assert len(said) == 1 - heard
            assert all("ACCESS_REFUSED" in line for line in said)
            assert got(kept) == 6 * heard
