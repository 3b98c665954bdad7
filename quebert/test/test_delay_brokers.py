"""
The delay ladder on real brokers: what waits comes back to its queue, also across
restarts.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from quebert.amqp import TxAMQPClient, WatchOptions
from quebert.amqp.delays import LadderSearch
from quebert.amqp.wire import version_of
from quebert.operations import BrokerAccess, pause
from quebert.operations._elsewhere import LadderLooks
from quebert.outcome import Outcome, Retry
from quebert.test.conftest import Names
from quebert.test.support import options_of, until
from quebert.testing import RabbitMQNode


@pytest.fixture(scope="module")
def broker(rabbitmq: RabbitMQNode) -> RabbitMQNode:
    """
    What the channels of another client library are connected to.
    """
    return rabbitmq


class Notes:
    """
    A callback that sends what it gets up the ladder, so often.

    @ivar came: when each came, and with which headers.
    """

    def __init__(self, times: int, after: float) -> None:
        self.times = times
        self.after = after
        self.came: list[tuple[float, dict[str, Any]]] = []

    def __call__(self, message: Any) -> Outcome | None:
        """
        Note it.
        """
        self.came.append((time.time(), message.headers))
        return Retry(after=self.after) if len(self.came) <= self.times else None


@pytest_twisted.ensureDeferred
async def test_ten_retries(
    either: Any, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    A task can go up the ladder again and again: no broker takes that for a circle.
    """
    notes = Notes(10, 1)
    client = make_client(either.url)
    watcher = await client.watch(
        names.exchange,
        names.queue,
        names.key,
        notes,
        options=WatchOptions(hold_up_to=0),
    )
    await client.publish("", names.queue, b"task", {"delivery-mode": 2})
    await until(lambda: len(notes.came) == 11)
    times = [at for at, _ in notes.came]
    for earlier, later in itertools.pairwise(times):
        assert later - earlier >= 1
    deaths = [headers.get("x-death", []) for _, headers in notes.came[1:]]
    assert {len(each) for each in deaths[1:]} == {1}
    assert len(deaths[0]) <= 1  # it was due, perhaps, when the first rung was old
    await until(lambda: watcher.counts.done == 1)
    assert watcher.counts.retried == 10


#: Has the messages of a quorum queue be due now, before RabbitMQ's timer for that.
EXPIRE = """
    Now = os:system_time(millisecond),
    Past = fun
        F(T) when is_integer(T), T > Now, T < Now + 100000 -> Now - 1;
        F([H | T]) -> [F(H) | F(T)];
        F(T) when is_tuple(T) -> list_to_tuple(F(tuple_to_list(T)));
        F(T) when is_map(T) -> maps:map(fun(_, V) -> F(V) end, T);
        F(T) -> T
    end,
    sys:replace_state(
        list_to_atom("%2F_{queue}"), fun({{Name, Data}}) -> {{Name, Past(Data)}} end
    )
"""


def expire(node: RabbitMQNode, rung: str) -> None:
    """
    Have the messages of a rung be due, and RabbitMQ not know it yet.
    """
    node.eval(" ".join(EXPIRE.format(queue=rung).split()) + ", ok")


async def bodies(client: TxAMQPClient, names: Names) -> list[bytes]:
    """
    Watch a queue; gives the bodies of what comes.
    """
    came: list[bytes] = []
    await client.watch(
        names.exchange,
        names.queue,
        names.key,
        lambda message: came.append(message.body),
    )
    return came


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("how", ["used", "searched", "shown"])
async def test_due_as_it_is_used(
    rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    """
    A task comes that is due at the very moment at which its rung is used, searched
    through, or shown, although RabbitMQ forgets it then.
    """
    client = make_client(rabbitmq.url)
    came = await bodies(client, names)
    wire = await client.connected()
    rung = await client.ladder.rung_for(wire, names.queue, lambda: 60.0)
    if how != "used":
        monkeypatch.setattr(client.ladder, "check", nothing)
    await client.publish(rung, names.queue, b"task", {"delivery-mode": 2})
    expire(rabbitmq, rung)
    if how == "shown":
        await LadderLooks(wire, time.time).look({rung})
    if how == "searched":
        search = LadderSearch(
            wire, client.ladder, client.make_publisher(), time.time, most=10
        )
        await search.through(nothing)
    await until(lambda: came)


@pytest_twisted.ensureDeferred
async def test_due_as_somebody_looked(
    rabbitmq: RabbitMQNode, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    So does a task that RabbitMQ forgot as somebody else used its rung, who is gone.
    """
    other = make_client(rabbitmq.url)
    wire = await other.connected()
    rung = await other.ladder.rung_for(wire, names.queue, lambda: 60.0)
    await other.publish(rung, names.queue, b"task", {"delivery-mode": 2})
    await other.stop(grace=0)
    expire(rabbitmq, rung)
    another = await make_client(rabbitmq.url).connected()
    channel = await another.open_channel(confirms=False)
    assert await channel.get(rung) is None
    client = make_client(rabbitmq.url)
    came = await bodies(client, names)
    await until(lambda: came)


async def nothing(_: object) -> bool:
    """
    Do nothing, and take nothing.
    """
    return False


@pytest_twisted.ensureDeferred
async def test_classic_queues(
    rabbitmq: RabbitMQNode, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    Classic queues of RabbitMQ can be had, too, and quorum queues be watched.
    """
    notes = Notes(3, 1.5)
    client = make_client(rabbitmq.url, quorumDelays=False)
    options: dict[str, Any] = {"hold_up_to": 0, "queue_type": "quorum"}
    watcher = await client.watch(
        names.exchange, names.queue, names.key, notes, **options_of(options)
    )
    await client.publish("", names.queue, b"task", {"delivery-mode": 2})
    await until(lambda: watcher.counts.done == 1)
    assert watcher.counts.retried == 3


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("quorum", [True, False])
async def test_priority(
    rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    quorum: bool,
) -> None:
    """
    No task is late because of the priority of another one that waits as long: they
    come back in the order in which they went, a second apart.
    """
    came: list[tuple[bytes, Any]] = []

    def later(message: Any) -> Outcome | None:
        first_time = "x-death" not in message.headers
        if not first_time:
            came.append((message.body, message.properties.get("priority")))
        return Retry(after=4) if first_time else None

    def has_retried(count: int) -> bool:
        return watcher.counts.retried == count

    client = make_client(rabbitmq.url, quorumDelays=quorum)
    await client.ladder.prepare(await client.connected(), names.queue)
    watcher = await client.watch(
        names.exchange,
        names.queue,
        names.key,
        later,
        options=WatchOptions(hold_up_to=0),
    )
    tasks = ((b"first", 0), (b"A", 0), (b"B", 9), (b"C", 4))
    for n, (body, priority) in enumerate(tasks, 1):
        properties = {"delivery-mode": 2, "priority": priority}
        await client.publish("", names.queue, body, properties)
        await until(partial(has_retried, n))
        await deferLater(reactor, 1.0)  # the next one is to be due later
    await until(lambda: len(came) == len(tasks))
    came.remove((b"first", 0))
    version = version_of(await client.connected()) or ()
    lowered = quorum and (4, 0) <= version < (4, 3)
    assert came == [(b"A", 0), (b"B", 4 if lowered else 9), (b"C", 4)]


@pytest_twisted.ensureDeferred
async def test_priority_of_the_queue(
    rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    pika_channel: Any,
) -> None:
    """
    In a queue with priorities, tasks that have waited come before others of lower
    priority.
    """
    client = make_client(rabbitmq.url)
    watcher = await client.watch(
        names.exchange,
        names.queue,
        names.key,
        lambda message: Retry(after=6),
        options=WatchOptions(hold_up_to=0, arguments={"x-max-priority": 10}),
    )
    for priority in (None, 1, 9):
        properties = {"delivery-mode": 2, "priority": priority}
        await client.publish("", names.queue, b"%r" % priority, properties)
    await until(lambda: watcher.counts.retried == 3)
    # Which does not keep them from coming.
    await pause(BrokerAccess(reactor, rabbitmq.url), names.queue)
    await until(lambda: watcher.paused and not watcher.consuming)

    def waiting() -> int:
        found = pika_channel.queue_declare(names.queue, passive=True)
        count: int = found.method.message_count
        return count

    await until(lambda: waiting() == 3)
    bodies = [pika_channel.basic_get(names.queue, auto_ack=True)[2] for _ in range(3)]
    assert bodies == [b"9", b"1", b"None"]


@pytest_twisted.ensureDeferred
async def test_the_broker_is_killed(
    own_rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
) -> None:
    """
    What waits in RabbitMQ waits on when that was killed and has come back.
    """
    done: dict[bytes, float] = {}  # how late

    def later(message: Any) -> Outcome | None:
        task, _, due = message.body.partition(b" ")
        if not due:
            return Retry(body=b"%b %f" % (task, time.time() + 8), after=8)
        done[task] = time.time() - float(due)
        return None

    client = make_client(own_rabbitmq.url)
    watcher = await client.watch(names.exchange, names.queue, names.key, later)
    for n in range(100):
        await client.publish("", names.queue, b"%d" % n, {"delivery-mode": 2})
    await until(lambda: watcher.counts.retried == 100)
    own_rabbitmq.kill()
    own_rabbitmq.start()
    await until(lambda: len(done) == 100)
    assert min(done.values()) >= 0
