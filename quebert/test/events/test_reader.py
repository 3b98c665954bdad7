"""
Tests for L{quebert.events._reader} and L{quebert.events._event_queue}, on a broker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from quebert.amqp import TxAMQPClient
from quebert.errors import BrokerRefused
from quebert.events import (
    ATTEMPTS,
    EXCHANGE,
    MEDIATORS,
    AttemptBatch,
    EventHandler,
    EventReader,
    Gap,
    MediatorState,
    encode_batch,
    encode_state,
    reading,
)
from quebert.test.conftest import AnyBroker, Names
from quebert.test.events.strategies import record
from quebert.test.support import logged, until

MakeClient = Callable[..., TxAMQPClient]


class Kept(EventHandler):
    """
    Keeps what it is told.

    @ivar answer: what it answers to the next batches.
    """

    def __init__(self) -> None:
        self.batches: list[AttemptBatch] = []
        self.gaps: list[Gap] = []
        self.states: list[MediatorState] = []
        self.answer: Callable[[], object] = lambda: None

    @property
    def totals(self) -> list[int]:
        """
        Which batches it has.
        """
        return [batch.total for batch in self.batches]

    def attempts(self, batch: AttemptBatch, gap: Gap | None) -> object:
        """
        Keep them.
        """
        answer = self.answer()
        self.batches.append(batch)
        self.gaps += [] if gap is None else [gap]
        return answer

    def state(self, state: MediatorState) -> object:
        """
        Keep it.
        """
        self.states.append(state)
        return None


def batch(number: int, records: int = 1, **fields: Any) -> AttemptBatch:
    """
    The batch of a number.
    """
    made = AttemptBatch(
        mediator="m",
        sequence=number,
        at=float(number),
        records=(record(),) * records,
        total=number,
    )
    return attrs.evolve(made, **fields)


async def publish(client: TxAMQPClient, *batches: AttemptBatch) -> None:
    """
    What mediators do.
    """
    for each in batches:
        await client.publish(EXCHANGE, ATTEMPTS, encode_batch(each))


@ensureDeferred
async def test_looking_on(client: TxAMQPClient, broker: AnyBroker) -> None:
    """
    Somebody who looks on gets attempts and states, and each gap; nothing is left in the
    broker afterwards.
    """
    kept = Kept()
    state = MediatorState(
        mediator="m", host="h", pid=1, version="1", started=1.0, at=2.0
    )
    async with reading(client, kept) as reader:
        await publish(client, batch(5), batch(6), batch(9), batch(9, 0))
        await client.publish(EXCHANGE, MEDIATORS, encode_state(state))
        await until(lambda: kept.states)
        assert kept.states == [state]
        assert kept.batches == [batch(5), batch(6), batch(9)]
        assert kept.gaps == [Gap(mediator="m", count=2, since=6.0, until=9.0)]
        assert (reader.missing, reader.at) == (2, 9.0)
    names = await deferToThread(broker.depths)
    assert not [name for name in names if name.startswith("quebert.onlooker")]


@ensureDeferred
async def test_unreadable(client: TxAMQPClient) -> None:
    """
    What cannot be read is told in one line, and what comes after it is read.
    """
    kept = Kept()
    async with reading(client, kept) as reader:
        with logged() as lines:
            for body in (b"rubbish", b"QBE\x02", b"QBE\x02"):
                await client.publish(EXCHANGE, ATTEMPTS, body)
            await publish(client, batch(1))
            await until(lambda: kept.batches)
        assert reader.unreadable == 3
    [one, other] = [line for line in lines if "An event cannot be read" in line]
    assert "rubb" in one
    assert "version 2" in other


@ensureDeferred
async def test_durable(make_client: MakeClient, names: Names) -> None:
    """
    A reader that has ended, or was killed, goes on where it was: it gets what was not
    acknowledged, and nothing twice.
    """
    publisher, client, kept = make_client(), make_client(), Kept()
    options = {"queue": names.queue, "keys": [ATTEMPTS]}
    async with reading(client, kept, **options):
        await publish(publisher, batch(1), batch(2))
        await until(lambda: kept.totals == [1, 2])
        kept.answer = Deferred  # which never fires
        await publish(publisher, batch(3))
        await until(lambda: len(kept.batches) == 3)
        await publish(publisher, batch(4))
        await client.stop(0)  # as if it had been killed
    await publish(publisher, batch(5), batch(5), batch(7))
    again = Kept()
    async with reading(make_client(), again, positions={"m": 2}, **options):
        await until(lambda: again.totals == [3, 4, 5, 7])
        assert [gap.count for gap in again.gaps] == [1]
    last = Kept()
    async with reading(make_client(), last, positions={"m": 7}, **options):
        await publish(publisher, batch(8))
        await until(lambda: last.batches)
        assert last.totals == [8]


@ensureDeferred
async def test_failing(client: TxAMQPClient, names: Names) -> None:
    """
    Where the handler fails, it gets the same batch again, and the others wait.
    """
    kept, failures = Kept(), [OSError("full"), ValueError("locked")]

    def fail() -> object:
        if failures:
            raise failures.pop(0)
        return None

    kept.answer = fail
    async with reading(client, kept, queue=names.queue):
        with logged() as lines:
            await publish(client, batch(1), batch(2))
            await until(lambda: kept.totals == [1, 2])
    said = [line for line in lines if "Events cannot be taken, and wait" in line]
    assert [line.split(": ")[-2:] for line in said] == [
        ["OSError", "full"],
        ["ValueError", "locked"],
    ]


@ensureDeferred
async def test_falls_behind(make_client: MakeClient, names: Names) -> None:
    """
    Of a reader that hangs, RabbitMQ keeps the newest events, and the gap is told.
    """
    publisher, kept, hanging = make_client(), Kept(), [Deferred[None]()]
    kept.answer = lambda: hanging[0]
    large = [batch(n, 100, total=n * 100) for n in range(1, 101)]
    most = 20 * len(encode_batch(large[-1]))
    async with reading(make_client(), kept, queue=names.queue, most_bytes=most):
        await publish(publisher, *large)
        assert kept.totals == [100]
        hanging[0].callback(None)
        await until(lambda: kept.totals[-1] == 10_000)
    [gap] = kept.gaps
    assert gap.count + 100 * len(kept.batches) == 10_000
    assert gap.count >= 6_000


@ensureDeferred
async def test_reconnects(make_client: MakeClient, names: Names) -> None:
    """
    A reader whose queue was deleted, or whose connection was lost, goes on.
    """
    publisher, client, kept = make_client(), make_client(), Kept()
    async with reading(client, kept, queue=names.queue) as reader:
        await publish(publisher, batch(1))
        await until(lambda: kept.totals == [1])
        wire = await publisher.connected()
        channel = await wire.open_channel()
        await channel.call("queue_delete", queue=names.queue)
        await until(lambda: not reader.reading)
        await until(lambda: reader.reading)
        await publish(publisher, batch(3))
        await until(lambda: kept.totals == [1, 3])
        (await client.connected()).transport.abortConnection()
        await until(lambda: not reader.reading)
        await publish(publisher, batch(4))
        await until(lambda: kept.totals == [1, 3, 4])
    assert [gap.count for gap in kept.gaps] == [1]


@ensureDeferred
async def test_refused(client: TxAMQPClient, names: Names) -> None:
    """
    A queue has one reader, and one bound; the error says which of them is the matter.
    """
    async with reading(client, Kept(), queue=names.queue):
        for most, why in ((1000, "inequivalent"), (None, "another program reads")):
            other = EventReader(client, Kept(), queue=names.queue, most_bytes=most)
            with pytest.raises(BrokerRefused, match=why):
                await other.start()
            await other.stop()


@ensureDeferred
async def test_both_brokers(either: AnyBroker, make_client: MakeClient) -> None:
    """
    RabbitMQ and the embedded broker take the same queues.
    """
    client, kept = make_client(either.url), Kept()
    for queue in ("", "history-of-test"):
        async with reading(client, kept, queue=queue):
            await publish(client, batch(len(kept.batches) + 1))
            await until(lambda: kept.batches)
