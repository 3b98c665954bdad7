"""
Watching and settling, as far as RabbitMQ alone can show it: its users, its quorum
queues, its policies, and its outages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pika
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from quebert.amqp import Message, TxAMQPClient, WatchOptions
from quebert.errors import BrokerRefused
from quebert.outcome import Retry
from quebert.test.conftest import Names
from quebert.test.operating import add_user, close_connections, set_policy
from quebert.test.support import options_of, publish, until
from quebert.test.test_amqp import adds_up
from quebert.testing import RabbitMQNode


@pytest.fixture(scope="module")
def broker(rabbitmq: RabbitMQNode) -> RabbitMQNode:
    """
    What clients and channels are connected to.
    """
    return rabbitmq


@ensureDeferred
async def test_put_back_persistent_for_another_user(
    rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    pika_channel: Any,
) -> None:
    """
    A transient message, sent under another user's id, is put back all the
    same, and persistent.
    """
    url = add_user(rabbitmq, names.queue)
    seen: list[Any] = []

    def callback(message: Message) -> Any:
        seen.append(message.properties)
        return Retry() if len(seen) == 1 else None

    client = make_client(url)
    watcher = await client.watch(names.exchange, names.queue, "#", callback)
    publish(pika_channel, names.exchange, "a", b"x", user_id="guest", delivery_mode=1)
    await until(lambda: watcher.counts.done == 1)
    assert seen[0]["user-id"] == "guest"
    assert seen[1] == {"headers": {}, "delivery-mode": 2}


@ensureDeferred
async def test_quorum_queue(
    client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    A quorum queue works the same: putting back, waiting, and widening.
    """
    seen: Counter[bytes] = Counter()

    def callback(message: Message) -> Any:
        seen[message.body] += 1
        if message.body.startswith(b"wait"):
            return Retry(after=3600)
        return b"%b." % message.body if len(message.body) < 5 else None

    watcher = await client.watch(
        names.exchange,
        names.queue,
        "#",
        callback,
        maxEvents=2,
        options=WatchOptions(queue_type="quorum"),
    )
    bodies = [b"wait%d" % n for n in range(5)] + [b"go%d" % n for n in range(5)]
    publish(pika_channel, names.exchange, "a", *bodies)
    # Those that wait are held, and in flight, until the queues are there in which
    # they wait: sooner or later than the others are done.
    counts = watcher.counts
    await until(lambda: counts.done == 5 and counts.retried == 15)
    assert watcher.in_flight == 0
    await watcher.stop()
    assert adds_up(watcher)
    with pytest.raises(BrokerRefused, match="x-queue-type"):
        await client.watch(names.exchange, names.queue, "#", callback)


@ensureDeferred
async def test_consumes_again_after_a_lost_connection(
    rabbitmq: RabbitMQNode, client: TxAMQPClient, names: Names
) -> None:
    """
    A connection that the broker closes is told once to each watch and made
    again; what was in flight comes again, and no late answer goes astray.
    """
    lost: list[Failure] = []
    seen: list[bool] = []
    first: Deferred[None] = Deferred()

    def callback(message: Message) -> Any:
        seen.append(message.redelivered)
        return first if len(seen) == 1 else None

    watcher = await client.watch(
        names.exchange, names.queue, "#", callback, lost.append
    )
    await client.publish(names.exchange, "a", b"x", {"delivery-mode": 2})
    await until(lambda: len(seen) == 1)
    close_connections(rabbitmq)
    await until(lambda: watcher.counts.done == 1)
    first.callback(None)
    assert seen == [False, True]
    assert len(lost) == 1
    assert "for a test" in lost[0].getErrorMessage()
    assert watcher.consuming
    # By the loss, and with the copy in its place.
    assert (watcher.counts.returned, watcher.in_flight) == (2, 0)
    await client.publish(names.exchange, "a", b"y")
    await until(lambda: watcher.counts.done == 2)


@ensureDeferred
async def test_survives_a_killed_broker(
    own_rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
) -> None:
    """
    A broker that is killed and started again has its tasks, and its watcher.
    """
    done: Counter[bytes] = Counter()

    def callback(message: Message) -> Any:
        done[message.body] += 1
        return Retry(after=0.05) if done[message.body] < 3 else None

    client = make_client(own_rabbitmq.url)
    watcher = await client.watch(
        names.exchange, names.queue, "#", callback, maxEvents=10
    )
    persistent = {"delivery-mode": 2}
    bodies = [b"%d" % n for n in range(300)]
    for body in bodies:
        await client.publish(names.exchange, "a", body, persistent)
    own_rabbitmq.eval("mnesia:sync_log()")  # else it may forget the queue
    own_rabbitmq.kill()
    await until(lambda: not watcher.consuming)
    own_rabbitmq.start()
    await until(lambda: watcher.consuming)
    await until(lambda: watcher.in_flight == 0 and len(done) == 300)
    await until(lambda: all(done[body] >= 3 for body in bodies))
    assert adds_up(watcher)


@ensureDeferred
async def test_full_queue_is_no_hot_loop(
    rabbitmq: RabbitMQNode, client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    A task that its queue does not take back is kept until it does.
    """
    first: Deferred[Retry] = Deferred()
    answers: list[Any] = [first, None, None]
    watcher = await client.watch(
        names.exchange, names.queue, "#", lambda m: answers.pop(0), maxEvents=1
    )
    publish(pika_channel, names.exchange, "a", b"x")
    await until(lambda: watcher.in_flight == 1)
    full = {"max-length": 0, "overflow": "reject-publish"}
    clear = set_policy(rabbitmq, f"^{names.queue}$", full)
    first.callback(Retry())
    await until(lambda: watcher.held)
    assert watcher.counts.retried == 0
    clear()
    await until(lambda: watcher.counts.done == 1)
    assert adds_up(watcher)


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-max-priority": 10},
        {"x-single-active-consumer": True},
        {"x-max-length": 1000, "x-overflow": "reject-publish"},
        {"x-message-ttl": 60_000},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
@ensureDeferred
async def test_strange_queue(
    client: TxAMQPClient, names: Names, pika_channel: Any, arguments: dict[str, Any]
) -> None:
    """
    A queue that somebody declared with arguments can be watched with the same.  Without
    them, the error tells what is missing.
    """
    pika_channel.queue_declare(names.queue, durable=True, arguments=arguments)
    missing = next(iter(arguments))
    with pytest.raises(BrokerRefused, match=f"give the queue the argument {missing}"):
        await client.watch("", names.queue, "", lambda m: None)
    watcher = await client.watch(
        "", names.queue, "", lambda m: None, options=WatchOptions(arguments=arguments)
    )
    await client.publish("", names.queue, b"task")
    await until(lambda: watcher.counts.done == 1)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
@ensureDeferred
async def test_single_active_consumer(
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    pika_channel: Any,
    kind: str,
) -> None:
    """
    One watch of a queue with a single active consumer gets all of its messages, also
    while those that wait use up its prefetch.
    """
    tried: set[bytes] = set()

    def fail_once(message: Any) -> Retry | None:
        if message.body in tried:
            return None
        tried.add(message.body)
        return Retry(after=0.2)

    options: dict[str, Any] = {
        "maxEvents": 5,
        "queue_type": kind,
        "arguments": {"x-single-active-consumer": True},
    }
    first, second = [
        await make_client().watch("", names.queue, "", fail_once, **options_of(options))
        for _ in range(2)
    ]
    publish(pika_channel, "", names.queue, *(b"%d" % n for n in range(60)))
    await until(lambda: first.counts.done + second.counts.done >= 60)
    assert first.counts.done == 60
    assert second.counts.received == 0
    assert adds_up(first)


@ensureDeferred
async def test_headers_exchange(
    client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    A queue can be bound to an exchange of headers.
    """
    wanted = {"x-match": "all", "region": "eu"}
    watcher = await client.watch(
        names.exchange,
        names.queue,
        "",
        lambda m: None,
        options=WatchOptions(exchange_type="headers", key_arguments=wanted),
    )
    for region in ("us", "eu"):
        properties = pika.BasicProperties(headers={"region": region})
        pika_channel.basic_publish(names.exchange, "", b"task", properties)
    await until(lambda: watcher.counts.done == 1)
    assert watcher.counts.received == 1


@ensureDeferred
async def test_another_type(
    client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    The error about a queue of another type names the type and the setting.
    """
    quorum = {"x-queue-type": "quorum"}
    pika_channel.queue_declare(names.queue, durable=True, arguments=quorum)
    wanted = r'set queue_type to "quorum"'
    with pytest.raises(BrokerRefused, match=wanted):
        await client.watch(
            "",
            names.queue,
            "",
            lambda m: None,
            options=WatchOptions(queue_type="classic"),
        )


@pytest.mark.parametrize("queue_type", [None, "classic", "quorum"])
@ensureDeferred
async def test_stream(
    client: TxAMQPClient, names: Names, pika_channel: Any, queue_type: str | None
) -> None:
    """
    The error about a queue that is a stream says so, and does not advise a setting
    that nobody can set.
    """
    stream = {"x-queue-type": "stream"}
    pika_channel.queue_declare(names.queue, durable=True, arguments=stream)
    told = f"^{names.queue} is a stream, from which nobody can take single tasks: read"
    with pytest.raises(BrokerRefused, match=told) as refused:
        await client.watch(
            "",
            names.queue,
            "",
            lambda m: None,
            options=WatchOptions(queue_type=queue_type),
        )
    assert "queue_type" not in str(refused.value)
