"""
Whatever moment the broker is killed at, and whenever the disk is full, what it has
confirmed is there afterwards, once.

With C{QUEBERT_KILLS=300} in the environment it is killed 300 times, not 25, with small
messages and with large ones.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import re
import resource
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import attrs
import pytest

from quebert.cli import main
from quebert.test.contract.client import Channel, Client, Disconnected, until

KILLS = int(os.environ.get("QUEBERT_KILLS", "25"))
#: Kills after which the database is removed: it grows all the time, since that is when
#: checkpoints can be interrupted.
ROUND = 25

# Most of what a start takes is Python's imports: a server that has made them forks.
_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload([__name__])


@attrs.frozen
class Sizes:
    """
    What is published between two kills.

    @ivar body: bytes of a message, from and to.
    @ivar batch: messages that are written at once, at most.
    @ivar moment: messages after which the broker is killed, at most.
    """

    body: tuple[int, int]
    batch: int
    moment: int


#: Many transactions, and many messages in each.
SMALL = Sizes((8, 400), 100, 400)
#: A checkpoint every 60 messages or so, which takes a good part of the time.
LARGE = Sizes((20_000, 100_000), 20, 100)


@attrs.define
class Books:
    """
    What the clients know.

    @ivar confirmed: numbers of messages that the broker has confirmed.
    @ivar acknowledged: numbers of messages that it was told to be done.
    """

    published: int = 0
    confirmed: set[int] = attrs.field(factory=set)
    acknowledged: set[int] = attrs.field(factory=set)


class Killable:
    """
    A broker in a process of its own, that can be started and killed many times.
    """

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self._output = folder / "output"
        self._set_back = folder / "set-back"
        self._process: BaseProcess | None = None
        self._client: Client | None = None

    def start(self, limit: int = resource.RLIM_INFINITY) -> Client:
        """
        Start it, and connect to it.

        @param limit: bytes that a file of it may have.
        """
        self.close()
        self._output.write_bytes(b"")
        arguments = self._output, self.data, limit, self._set_back
        self._process = _forking.Process(target=_run, args=arguments)
        self._process.start()
        self._client = Client(until(self._port))
        return self._client.open()

    def _port(self) -> int | None:
        assert self._process is not None
        alive = self._process.is_alive()
        output = self._output.read_text()
        found = re.search(r"amqp://\S+:(\d+)/", output)
        assert found or alive, output
        return None if found is None else int(found[1])

    def set_clock_back(self) -> None:
        """
        Set its clock back by an hour, while it runs.
        """
        self._set_back.touch()

    def kill(self) -> None:
        """
        End it at once.
        """
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def close(self) -> None:
        """
        Leave nothing behind.
        """
        self.kill()
        if self._client is not None:
            self._client.drop()

    def remove(self) -> None:
        """
        End it, and remove what it has.
        """
        self.kill()
        shutil.rmtree(self.data)

    def ended(self) -> tuple[int | None, str]:
        """
        Wait for its end; its exit status, and what it has said after its URL.
        """
        assert self._process is not None
        self._process.join()
        return self._process.exitcode, self._output.read_text().partition("\n")[2]


def _run(output: Path, data: Path, limit: int, set_back: Path) -> None:
    from twisted.internet import reactor

    clock: Any = reactor
    seconds = clock.seconds
    clock.seconds = lambda: seconds() - 3600 * set_back.exists()
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    with open(output, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    main(["broker", "--port", "0", "--data", str(data)])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Killable]:
    """
    A broker that is not running yet.
    """
    broker = Killable(tmp_path)
    yield broker
    broker.close()


def load(broker: Killable, books: Books, chance: random.Random, sizes: Sizes) -> None:
    """
    Start a broker, publish, confirm and consume, kill it at some moment, and read all
    that it had still said.
    """
    client = broker.start()
    publisher, consumer = client.channel(), client.channel()
    publisher.call("queue.declare", queue="q", durable=True)
    publisher.confirm()
    consumer.call("basic.qos", prefetch_count=20)
    consumer.call("basic.consume", queue="q", consumer_tag="tag")
    # In most rounds, so that there are enough confirms on a slow machine, too.
    waits, taken = chance.random() < 0.7, set[int]()
    first = books.published
    last = first + chance.randint(1, sizes.moment)
    while books.published < last:
        batch, before = chance.randint(1, sizes.batch), books.published - first
        for _ in range(batch):
            body = b"%d " % books.published + bytes(chance.randint(*sizes.body))
            books.published += 1
            publisher.publish("", "q", body, {"delivery-mode": 2})
        while waits and len(taken) < before:
            client.read_frame()
            taken |= confirmed(publisher)
        for _ in range(chance.randint(0, min(batch, 10))):
            delivery = consumer.expect("basic.deliver")
            consumer.ack(delivery["delivery_tag"])
            books.acknowledged.add(number(delivery.body))
    broker.kill()
    read_all(client)
    books.confirmed.update(first + n for n in taken | confirmed(publisher))


def confirmed(publisher: Channel) -> set[int]:
    """
    Which of the messages of a channel were confirmed, counted from 0.
    """
    found: set[int] = set()
    while publisher.waiting:
        event = publisher.next()
        assert event.name == "basic.ack"
        tag = event["delivery_tag"]
        found.update(range(0 if event["multiple"] else tag - 1, tag))
    return found


def number(body: bytes) -> int:
    """
    The number of a message.
    """
    return int(body.split(b" ", 1)[0])


def read_all(client: Client) -> None:
    """
    Read what there is, to the end of the connection.
    """
    try:
        while True:
            client.read_frame()
    except Disconnected:
        client.drop()


def stored(folder: Path) -> Counter[int]:
    """
    The messages in the store of a broker that was killed.
    """
    rows = look(folder, "SELECT substr(body, 1, 20) FROM messages")
    return Counter(number(body) for (body,) in rows)


def look(folder: Path, statement: str) -> list[Any]:
    """
    Rows of the store of a broker that does nothing, or was killed.
    """
    # SQLite mends what it opens: the broker is to find the files as it left them.
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    with closing(sqlite3.connect(copy / "broker.sqlite")) as database:
        rows = database.execute(statement).fetchall()
    shutil.rmtree(copy)
    return rows


@pytest.mark.parametrize("sizes", [SMALL, LARGE], ids=["small", "large"])
def test_kills(broker: Killable, sizes: Sizes) -> None:
    """
    Killed at many moments under load, the broker starts again each time, with each
    confirmed message that nobody acknowledged, and no message twice.
    """
    chance = random.Random(20090519)
    for first in range(0, KILLS, ROUND):
        kill_often(broker, chance, sizes, min(ROUND, KILLS - first))
        broker.remove()


def kill_often(
    broker: Killable, chance: random.Random, sizes: Sizes, times: int
) -> None:
    """
    Kill a broker that many times on the same database.
    """
    books = Books()
    for _ in range(times):
        load(broker, books, chance, sizes)
        there = stored(broker.data)
        assert set(there.values()) <= {1}
        assert books.confirmed - books.acknowledged <= set(there)
    assert len(books.confirmed) > times * sizes.moment / 10
    client = broker.start()
    left = [number(body) for body in client.channel().bodies("q")]
    assert Counter(left) == there
    client.close()


# -- A full disk

LIMIT = 6 << 20
BODY = 50_000


@attrs.frozen
class Disk:
    """
    A disk that the broker will fill.

    @ivar limit: bytes that a file may have on it.
    @ivar error: what SQLite says when it is full.
    @ivar grow: makes room on it.
    """

    limit: int
    error: str
    grow: Callable[[], object]


@pytest.fixture(params=["limit", "tmpfs"])
def disk(request: pytest.FixtureRequest, broker: Killable) -> Iterator[Disk]:
    """
    A limit to the size of files, and a small tmpfs; where none may be mounted, the
    limit again.
    """
    broker.data.mkdir()
    if request.param == "limit" or not mount(broker.data, f"mode=700,size={2 * LIMIT}"):
        yield Disk(LIMIT, "disk I/O error", lambda: None)
        return
    try:
        yield Disk(
            resource.RLIM_INFINITY,
            "database or disk is full",
            lambda: mount(broker.data, f"remount,size={8 * LIMIT}"),
        )
    finally:
        subprocess.run(["umount", "--lazy", broker.data], check=True)


def mount(folder: Path, options: str) -> bool:
    """
    Mount a tmpfs, if we may.
    """
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def fill(client: Client) -> set[int]:
    """
    Publish until the broker has ended; gives the numbers of what was confirmed.
    """
    publisher = client.channel()
    publisher.call("queue.declare", queue="q", durable=True)
    publisher.confirm()
    numbers = itertools.count()
    try:
        while True:
            body = b"%d " % next(numbers) + bytes(BODY)
            publisher.publish("", "q", body, {"delivery-mode": 2})
    except Disconnected:
        read_all(client)
    return confirmed(publisher)


def test_full_disk(broker: Killable, disk: Disk) -> None:
    """
    On a full disk the broker ends with a sentence.  It starts again, even before there
    is room; with room there is all that it had confirmed, and it takes more.
    """
    filled = fill(broker.start(disk.limit))
    path = broker.data / "broker.sqlite"
    assert broker.ended() == (1, f"Error: {path}: {disk.error}\n")
    assert len(filled) * BODY > LIMIT / 2
    depth, _ = broker.start(disk.limit).channel().count("q")
    broker.kill()
    disk.grow()
    client = broker.start()
    publisher = client.channel()
    publisher.confirm()
    publisher.publish("", "q", b"-1 " + bytes(2 * LIMIT), {"delivery-mode": 2})
    publisher.expect("basic.ack")
    left = Counter(number(body) for body in client.channel().bodies("q"))
    assert filled | {-1} <= set(left)
    assert set(left.values()) == {1}
    assert len(left) == depth + 1


# -- A delivery limit


def until_counted(broker: Killable, *rows: tuple[int, int, int]) -> None:
    """
    Wait until these counts of messages are in the store, and no others.
    """
    statement = "SELECT acquired, failed, out FROM counts"
    until(lambda: look(broker.data, statement) == [*rows])


def test_delivery_limit(broker: Killable) -> None:
    """
    A message of a quorum queue that was with a consumer at too many kills is a dead
    letter; the message behind it was with none.
    """
    channel = broker.start().channel()
    to_dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 2, **to_dead}
    channel.queue(arguments, queue="q", durable=True)
    channel.queue(queue="dead", durable=True)
    channel.put("q", b"deadly", b"behind", delivery_mode=2)
    for count in range(3):
        event = channel.get("q")
        assert event.body == b"deadly"
        headers = event.properties.get("headers", {})
        assert headers.get("x-delivery-count", 0) == count
        until_counted(broker, (count, count, 1))
        broker.kill()
        channel = broker.start().channel()
    assert channel.bodies("q") == [b"behind"]
    (death,) = channel.take("dead").headers["x-death"]
    assert death["reason"] == "delivery_limit"


# -- A clock that is set back, a folder that is removed


def test_clock_set_back(broker: Killable) -> None:
    """
    What was acknowledged is gone a moment later, also where the clock was set back by
    an hour within that moment.
    """
    client = broker.start()
    channel = client.channel()
    channel.call("queue.declare", queue="q", durable=True)
    channel.put("q", *(b"%d " % n for n in range(900)), delivery_mode=2)
    channel.call("basic.consume", queue="q")
    last = channel.deliveries(900)[-1]
    channel.ack(last["delivery_tag"], multiple=True)
    channel.call("basic.qos")  # it has come
    broker.set_clock_back()
    until(lambda: not stored(broker.data))
    broker.kill()
    assert broker.start().channel().count("q") == (0, 0)


@pytest.mark.parametrize("name", ["", "broker.sqlite", "broker.sqlite-wal"])
def test_removed(broker: Killable, name: str) -> None:
    """
    When its folder or a file is removed, the broker ends with a sentence and confirms
    nothing more.
    """
    client = broker.start()
    channel = client.channel()
    channel.call("queue.declare", queue="q", durable=True)
    channel.put("q", *(b"%d " % n for n in range(100)), delivery_mode=2)
    if name:
        (broker.data / name).unlink()
    else:
        shutil.rmtree(broker.data)
    channel.confirm()
    channel.publish("", "q", b"lost", {"delivery-mode": 2})
    read_all(client)
    assert channel.waiting == []
    path = broker.data / "broker.sqlite"
    gone = f"{name or path.name} is gone while the broker runs"
    said = f"Error: {path}: {gone}: No such file or directory\n"
    assert broker.ended() == (1, said)
