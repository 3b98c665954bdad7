"""
Whatever moment the broker is killed at, what it has confirmed is there afterwards,
once.
"""

from __future__ import annotations

import random
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import attrs

from quebert.test.contract.client import Channel, Client, Disconnected, until
from quebert.test.support import Program

KILLS = 50
START = ("-m", "quebert", "broker", "--port", "0", "--data")


@attrs.define
class Books:
    """
    What the clients know.

    @ivar confirmed: bodies that the broker has confirmed.
    @ivar acknowledged: bodies that it was told to be done.
    """

    published: int = 0
    confirmed: set[bytes] = attrs.field(factory=set)
    acknowledged: set[bytes] = attrs.field(factory=set)


def port_of(broker: Program) -> int:
    """
    Where it listens, once it says so.
    """

    def said() -> int | None:
        assert broker.running, broker.output
        found = re.search(r"amqp://\S+:(\d+)/", broker.output)
        return None if found is None else int(found[1])

    return until(said)


def load(
    client: Client, books: Books, chance: random.Random, kill: Callable[[], None]
) -> None:
    """
    Publish, confirm and consume, until C{kill} was called at some moment, and all
    is read that the broker had still said.
    """
    publisher, consumer = client.channel(), client.channel()
    publisher.call("queue.declare", queue="q", durable=True)
    publisher.confirm()
    consumer.call("basic.qos", prefetch_count=20)
    consumer.call("basic.consume", queue="q", consumer_tag="tag")
    mine: list[bytes] = []
    moment = chance.randint(1, 1500)
    while len(mine) < moment:
        batch = [b"%d" % (books.published + n) for n in range(chance.randint(1, 200))]
        books.published += len(batch)
        mine += batch
        for body in batch:
            publisher.publish("", "q", body.ljust(200), {"delivery-mode": 2})
        settle(consumer, books, chance)
    kill()
    read_all(client)
    while publisher.waiting:
        event = publisher.next()
        assert event.name == "basic.ack"
        last = event["delivery_tag"]
        first = 0 if event["multiple"] else last - 1
        books.confirmed.update(mine[first:last])


def settle(consumer: Channel, books: Books, chance: random.Random) -> None:
    """
    Acknowledge some of what came.
    """
    for _ in range(chance.randint(0, 10)):
        delivery = consumer.expect("basic.deliver")
        consumer.ack(delivery["delivery_tag"])
        books.acknowledged.add(delivery.body.rstrip())


def read_all(client: Client) -> None:
    """
    Read what there is, to the end of the connection.
    """
    try:
        while True:
            client.read_frame()
    except Disconnected:
        client.drop()


def stored(folder: Path) -> Counter[bytes]:
    """
    What is in the store of a broker that does not run.
    """
    database = sqlite3.connect(folder / "broker.sqlite")
    rows = database.execute("SELECT body FROM messages").fetchall()
    database.close()
    return Counter(body.rstrip() for (body,) in rows)


def test_kills(start: Callable[..., Program], tmp_path: Path) -> None:
    """
    Killed at fifty moments under load, the broker has each confirmed message that
    nobody acknowledged, and no message twice.
    """
    folder = tmp_path / "data"
    chance = random.Random(20090519)
    books = Books()
    for _ in range(KILLS):
        broker = start(*START, str(folder))
        client = Client(port_of(broker)).open()
        load(client, books, chance, broker.kill)
        there = stored(folder)
        assert set(there.values()) <= {1}
        assert books.confirmed - books.acknowledged <= set(there)
    assert len(books.confirmed) > 100 * KILLS
    broker = start(*START, str(folder))
    client = Client(port_of(broker)).open()
    left = [body.rstrip() for body in client.channel().bodies("q")]
    assert Counter(left) == there
    client.close()
