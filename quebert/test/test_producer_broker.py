"""
Adding tasks to a broker, from Twisted and from blocking code.
"""

from __future__ import annotations

import threading
import traceback
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import gatherResults, maybeDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from quebert.amqp import TxAMQPClient
from quebert.errors import (
    BrokerRefused,
    BrokerUnreachable,
    Unroutable,
)
from quebert.mediator import Mediator
from quebert.producer import HIGH, BlockingProducer, Producer, add_task
from quebert.test.conftest import AnyBroker, Names
from quebert.test.support import PATIENCE, Executor, Program, Proxy, depth, until
from quebert.testing import free_port

reactor: Any = global_reactor

NOW = 1_700_000_000.5


def declare(channel: Any, names: Names, arguments: Any = None) -> None:
    """
    A queue that gets all that is published to its exchange.
    """
    channel.exchange_declare(names.exchange, "topic", durable=True)
    channel.queue_declare(names.queue, durable=True, arguments=arguments)
    channel.queue_bind(names.queue, names.exchange, "#")


def take_all(channel: Any, queue: str) -> list[tuple[Any, bytes]]:
    """
    The properties and bodies of all that is in a queue.
    """
    taken = []
    while (message := channel.basic_get(queue, auto_ack=True))[0] is not None:
        taken.append(message[1:])
    return taken


def uuids(channel: Any, queue: str) -> Counter[str]:
    """
    How often each task is in a queue.
    """
    return Counter(properties.message_id for properties, _ in take_all(channel, queue))


@ensureDeferred
async def test_same_bytes(
    broker: AnyBroker, client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    Both ways write the same bodies and properties for the same arguments.
    """
    declare(pika_channel, names)
    twisted = Producer(client, names.exchange, now=lambda: NOW)
    every: list[dict[str, Any]] = [
        {},
        {"params": {"\u00e9": ["\N{GRINNING FACE}", None, 1.5]}},
        {"params": [UUID(int=7), Decimal("1.10"), {1: True}]},
        {"ttl": 60, "delay": 1.5, "timeout": 2, "kind": "mails", "priority": HIGH},
        {"run_at": "2026-11-23T20:15", "method": "PUT", "headers": {"X-A": "\u00e9"}},
        {"extra": {"colour": "red"}, "uuid": "\N{SNOWMAN}" * 85},
        {"params": "x" * 300_000},
    ]
    with BlockingProducer(broker.url, names.exchange, now=lambda: NOW) as blocking:
        for arguments in every:
            arguments = {"uuid": "me", **arguments}
            assert await twisted.add_task("/work", **arguments) == arguments["uuid"]
            assert blocking.add_task("/work", **arguments) == arguments["uuid"]
        await twisted.add_raw_task(b"\xff")
        blocking.add_raw_task(b"\xff")
    taken = take_all(pika_channel, names.queue)
    assert len(taken) == 2 * len(every) + 2
    assert taken[::2] == taken[1::2]
    properties, body = taken[0]
    assert (properties.content_type, properties.delivery_mode) == (
        "application/json",
        2,
    )
    assert (properties.message_id, properties.timestamp) == ("me", int(NOW))
    assert body.startswith(b'{"url":"/work","params":null,')


@ensureDeferred
async def test_unroutable(
    broker: AnyBroker, client: TxAMQPClient, names: Names, pika_channel: Any
) -> None:
    """
    A task that no queue takes, or no exchange, is an error both ways, and the
    next one is added.
    """
    declare(pika_channel, names)
    pika_channel.queue_unbind(names.queue, names.exchange, "#")
    pika_channel.queue_bind(names.queue, names.exchange, "known.*")
    twisted = Producer(client, names.exchange)
    with BlockingProducer(broker.url, names.exchange) as blocking:
        for add in (twisted.add_task, blocking.add_task):
            with pytest.raises(Unroutable, match=r"key 'tasks\.medium'"):
                await maybeDeferred(add, "/")
            await maybeDeferred(add, "/", kind="known")
        assert depth(pika_channel, names.queue) == 2
        pika_channel.exchange_delete(names.exchange)
        for add in (twisted.add_task, blocking.add_task):
            with pytest.raises(Unroutable, match=f"no exchange '{names.exchange}'"):
                await maybeDeferred(add, "/", kind="known")
        declare(pika_channel, names)
        for add in (twisted.add_task, blocking.add_task):
            await maybeDeferred(add, "/", kind="known")
    assert depth(pika_channel, names.queue) == 4


@ensureDeferred
async def test_login_refused(
    broker: AnyBroker, make_client: Callable[..., TxAMQPClient]
) -> None:
    """
    A wrong password and a missing virtual host are told in the broker's words,
    without the password.
    """
    for url, sentence in (
        (broker.url.replace(":guest", ":hunter2"), "ACCESS_REFUSED"),
        (broker.url + "nowhere", "vhost nowhere not found"),
    ):
        for producer in (Producer(make_client(url)), BlockingProducer(url)):
            with pytest.raises(BrokerRefused, match=sentence) as caught:
                await maybeDeferred(producer.add_task, "/")
            assert caught.value.final
            assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@ensureDeferred
async def test_unreachable(make_client: Callable[..., TxAMQPClient]) -> None:
    """
    Where there is no broker, that is told in one sentence.
    """
    url = f"amqp://guest:hunter2@127.0.0.1:{free_port()}"
    producers: list[Any] = [
        Producer(make_client(url, connectTimeout=2.0)),
        BlockingProducer(url),
    ]
    for producer in producers:
        with pytest.raises(BrokerUnreachable, match="refused") as caught:
            await maybeDeferred(producer.add_task, "/")
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@ensureDeferred
async def test_no_answer() -> None:
    """
    What takes connections and says nothing is given up after the patience.
    """
    port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
    for scheme in ("amqp", "amqps"):
        url = f"{scheme}://127.0.0.1:{port.getHost().port}"
        producer = BlockingProducer(url, patience=0.2)
        with pytest.raises(BrokerUnreachable, match="no answer in time"):
            await deferToThread(producer.add_task, "/")
    await port.stopListening()


# -- When things break


@ensureDeferred
async def test_goes_on_after_a_hanging_connection(
    broker: AnyBroker, names: Names, pika_channel: Any
) -> None:
    """
    A connection that hangs is found out by its heartbeats, and the task is
    added over another.
    """
    declare(pika_channel, names)
    proxy = Proxy(broker.port)
    url = proxy.url + "?heartbeat=1"
    with BlockingProducer(url, names.exchange) as producer:
        await deferToThread(producer.add_task, "/", uuid="before")
        proxy.hang()
        await deferToThread(producer.add_task, "/", uuid="after")
        await deferToThread(producer.close)
    await proxy.cut()
    assert set(uuids(pika_channel, names.queue)) == {"before", "after"}


# -- Threads and processes


@ensureDeferred
async def test_threads(broker: AnyBroker, names: Names, pika_channel: Any) -> None:
    """
    Threads add tasks at the same time, each over a connection of its own.
    """
    declare(pika_channel, names)
    together = threading.Barrier(5)
    added: list[str] = []

    def add_some() -> None:
        together.wait(PATIENCE)
        for _ in range(40):
            uuid = add_task("/", amqp_url=broker.url, exchange=names.exchange)
            added.append(uuid)

    def add_all() -> None:
        threads = [threading.Thread(target=add_some) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)

    await deferToThread(add_all)
    assert len(set(added)) == 200
    assert uuids(pika_channel, names.queue) == Counter(added)


#: Adds before, while and after a child adds that ends as programs end.
FORKING = """
import os, sys
from quebert.producer import add_task

def add(who, many):
    for n in range(many):
        add_task("/", exchange=sys.argv[1], uuid=f"{who} {n}")

add("alone", 1)
child = os.fork()
if child:
    add("parent", 100)
    print("status", os.waitpid(child, 0)[1])
    add("orphaned", 10)
    print("the parent is done")
else:
    add("child", 100)
"""


@ensureDeferred
async def test_forked(
    broker: AnyBroker,
    start: Callable[..., Program],
    names: Names,
    pika_channel: Any,
) -> None:
    """
    A forked child adds tasks while its parent goes on adding, also after the
    child's end.
    """
    declare(pika_channel, names)
    environment = {"QUEBERT_AMQP_URL": broker.url}
    program = start("-c", FORKING, names.exchange, **environment)
    assert await program.ended() == 0, program.output
    assert program.output == "status 0\nthe parent is done\n"
    groups = {"alone": 1, "parent": 100, "child": 100, "orphaned": 10}
    wanted = Counter(f"{who} {n}" for who in groups for n in range(groups[who]))
    assert uuids(pika_channel, names.queue) == wanted


# -- From end to end


@ensureDeferred
async def test_executed_once(
    broker: AnyBroker,
    client: TxAMQPClient,
    executor: Executor,
    names: Names,
    pika_channel: Any,
) -> None:
    """
    A task that is added, whichever way, is executed, once.
    """
    mediator = Mediator(defaulturl=executor.url)
    watcher = await client.watch(
        names.exchange, names.queue, "tasks.#", mediator.messageReceived
    )
    twisted = Producer(client, names.exchange)
    with BlockingProducer(broker.url, names.exchange) as blocking:
        added = await gatherResults(
            [
                twisted.add_task("/work", {"by": "twisted"}),
                deferToThread(blocking.add_task, "/work", {"by": "blocking"}),
            ]
        )
    await until(lambda: watcher.counts.done == 2)
    await watcher.stop()
    assert sorted(task["uuid"] for task in executor.tasks) == sorted(added)
    assert {task["params"]["by"] for task in executor.tasks} == {"twisted", "blocking"}
    assert depth(pika_channel, names.queue) == 0
