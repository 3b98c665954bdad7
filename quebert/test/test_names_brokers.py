"""
Names in the broker that are made of the name of a queue, and queues whose names are so
long that RabbitMQ 4 cannot refuse anything of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp import TxAMQPClient, WatchOptions
from quebert.amqp.queues import QUORUM, declare_queue, find_exchange, find_queue
from quebert.amqp.queues._names import NAME_LIMIT, SURE_LIMIT, derived, risk_of
from quebert.amqp.wire import Wire, version_of
from quebert.config import Broker, QueueSettings, Settings
from quebert.errors import BrokerRefused
from quebert.operations import BrokerAccess, pause, resume, status
from quebert.outcome import Bury, Outcome, Retry
from quebert.service._watches import Watches
from quebert.test.conftest import Names
from quebert.test.support import logged, until
from quebert.testing import RabbitMQNode

MakeClient = Callable[..., TxAMQPClient]
LONG = "ü" * 127
NAMES = [
    LONG + "x",
    "ü" * 115,
    "ü" * 60,
    "a" * 255,
]


class NamesTests(SynchronousTestCase):
    """
    L{derived} and L{risk_of}.
    """

    def test_short(self) -> None:
        """
        A name tells which queue it is of, where it has room for that.
        """
        self.assertEqual(derived("a.", "queue", ".b"), "a.queue.b")
        ascii_name, other = "x" * (NAME_LIMIT - 4), "ü" * ((SURE_LIMIT - 4) // 2)
        for queue in (ascii_name, other):
            self.assertEqual(derived("a.", queue, ".b"), f"a.{queue}.b")
            longer = derived("a.", queue + "x", ".b")
            self.assertRegex(longer, r"^a\.sha256-[0-9a-f]{64}\.b$")
            self.assertNotEqual(longer, derived("a.", queue + "y", ".b"))

    def test_risk(self) -> None:
        """
        Only long names with other letters than ASCII are a risk.
        """
        for fine in ("", "x" * NAME_LIMIT, "ü" * (SURE_LIMIT // 2)):
            self.assertEqual(risk_of(fine), "")
        self.assertIn("254 bytes, more than", risk_of(LONG))


def refuses(wire: Wire) -> bool:
    """
    Whether RabbitMQ refuses something of a queue with a long name, and goes on.
    """
    return (version_of(wire) or ()) < (4,)


@ensureDeferred
@pytest.mark.parametrize("name", [derived("", n, ".dead") for n in NAMES], ids=len)
async def test_looked_for(
    rabbitmq: RabbitMQNode, make_client: MakeClient, name: str
) -> None:
    """
    RabbitMQ tells that a queue or an exchange with a derived name is not there.
    """
    wire = await make_client(rabbitmq.url).connected()
    assert await find_queue(wire, name) is None
    assert await find_exchange(wire, name) is None


@ensureDeferred
async def test_not_told(rabbitmq: RabbitMQNode, make_client: MakeClient) -> None:
    """
    Where RabbitMQ does not tell whether a queue is there, its name is said to be the
    reason.
    """
    wire = await make_client(rabbitmq.url).connected()
    if refuses(wire):
        assert await find_queue(wire, LONG) is None
        return
    with pytest.raises(BrokerRefused, match=r"INTERNAL_ERROR; its name has .* 254 by"):
        await find_queue(wire, LONG)


@ensureDeferred
@pytest.mark.parametrize("name", NAMES, ids=len)
async def test_used(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names, name: str
) -> None:
    """
    A queue with a long name is watched, with its retries, delays, dead letters and
    pauses, over one connection.
    """
    client = make_client(rabbitmq.url)
    lost: list[Any] = []

    def called(message: Any) -> Outcome | None:
        return Bury("twice") if "x-death" in message.headers else Retry(after=1)

    watcher = await client.watch(
        names.exchange,
        name,
        names.key,
        called,
        lost.append,
        options=WatchOptions(hold_up_to=0),
    )
    await client.publish("", name, b"{}", {"delivery-mode": 2})
    await until(lambda: watcher.counts.buried == 1)
    asked = BrokerAccess(reactor, rabbitmq.url)
    now = await status(asked, name)
    assert (now.ready, now.dead, now.paused, now.problems) == (0, 1, False, ())
    await pause(asked, name)
    assert watcher.paused
    await resume(asked, name)
    await until(lambda: watcher.consuming)
    assert lost == []


@ensureDeferred
async def test_declared_otherwise(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    A queue with a long name that cannot be watched as configured is told and tried
    again; RabbitMQ 4 closes the connection each time.  Others are watched.
    """
    client, others = make_client(rabbitmq.url), [f"{names.queue}-{n}" for n in "abc"]
    wire = await client.connected()
    await declare_queue(wire, LONG, QUORUM)
    settings = Settings(
        broker=Broker.from_url(rabbitmq.url),
        queues={
            each: QueueSettings(name=each, queue_type="classic")
            for each in [LONG, *others]
        },
    )
    watches = Watches(reactor)

    def are_watched(*queues: str) -> bool:
        watched = [watches._watched[each].watcher for each in queues]
        return all(each is not None and each.consuming for each in watched)

    with logged() as lines:
        starting = Deferred.fromCoroutine(watches.start(settings))
        await until(lambda: are_watched(*others))
        why = "inequivalent arg" if refuses(wire) else "its name has letters"
        await until(lambda: any(why in each and LONG in each for each in lines))
    assert not are_watched(LONG)
    channel = await (await client.connected()).open_channel(confirms=False)
    await channel.call("queue_delete", queue=LONG)
    await until(lambda: are_watched(LONG, *others))
    await starting
    await watches.stop(0)
