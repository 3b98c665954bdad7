"""
What pika, aio-pika and kombu publish, read by quebert, and the other way
round, on a real RabbitMQ and on the embedded broker.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from time import struct_time
from typing import Any

import aio_pika
import pika
import pika.compat
import pytest
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.messaging import Producer
from kombu.serialization import dumps
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from quebert.amqp import Message, TxAMQPClient, Watcher
from quebert.outcome import Retry
from quebert.test.conftest import AnyBroker, Names
from quebert.test.support import depth, options_of, until
from quebert.testing import EmbeddedBroker

#: A body, and its properties under their names in Python: C{content_type}.
Letter = tuple[bytes, dict[str, Any]]


@pytest.fixture(scope="module", params=["rabbitmq", "embedded"])
def broker(request: pytest.FixtureRequest) -> Iterator[AnyBroker]:
    """
    What clients and channels are connected to: one, then the other.
    """
    if request.param == "rabbitmq":
        yield request.getfixturevalue("rabbitmq")
    else:
        with EmbeddedBroker() as embedded:
            yield embedded


# -- What is sent


def text_of(size: int) -> bytes:
    """
    Text of as many bytes, in characters of two, three, four and one byte.
    """
    pattern = "\N{LATIN SMALL LETTER E WITH ACUTE}\N{SNOWMAN}\N{GRINNING FACE}"
    text = pattern.encode() * (size // 9) + b"a" * (size % 9)
    assert len(text) == size
    return text


PAYLOAD = 131_072 - 8  # of the largest frame that RabbitMQ takes
SIZES = [0, 1, 4095, 4096, PAYLOAD - 1, PAYLOAD, PAYLOAD + 1, PAYLOAD + 8, 5_000_000]
BODIES = [text_of(size) for size in SIZES]
assert BODIES[-1][PAYLOAD] & 0xC0 == 0x80  # a frame begins within a character

PROPERTIES = {
    "content_type": "text/plain",
    "content_encoding": "utf-8",
    "delivery_mode": 1,
    "priority": 7,
    "correlation_id": "\N{SNOWMAN}",
    "reply_to": "answers",
    "expiration": "3600000",
    "message_id": "x" * 255,
    "timestamp": 1_700_000_000,
    "type": "\N{GRINNING FACE}",
    "user_id": "guest",
    "app_id": "tests",
    "cluster_id": "cluster",
}


def in_amqp(properties: Mapping[str, Any]) -> dict[str, Any]:
    """
    Properties under their AMQP names: C{content-type}.
    """
    return {name.replace("_", "-"): value for name, value in properties.items()}


INTEGERS = [
    sign * 2**bits + step
    for bits in (0, 7, 8, 15, 16, 31, 32, 40, 63)
    for sign in (1, -1)
    for step in (-1, 0, 1)
]
TIME = datetime(2026, 11, 23, 12, 30, 59, tzinfo=UTC)
NESTED: Any = "text"
for _ in range(60):
    NESTED = {"deeper": [NESTED]}

# What all the libraries can write, and we too.  (NaN and infinity all but pika
# write as well: RabbitMQ closes their connections for it.)
HEADERS: dict[Any, Any] = {
    "": "no name",
    "n" * 128: "long name",
    "\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 64: "long name in UTF-8",
    "true": True,
    "false": False,
    **{f"{n}": n for n in INTEGERS if -(2**63) <= n < 2**63},
    "decimal": Decimal("1.25"),
    "no decimals": Decimal(-7),
    "zero": Decimal(0),
    "largest decimal": Decimal("21474836.47"),
    "smallest decimal": Decimal("-0.000002147483648"),
    "no text": "",
    "text": "\N{GREEK SMALL LETTER ALPHA}\N{SNOWMAN}\N{GRINNING FACE}\0",
    "long text": text_of(5000).decode(),
    "time": TIME,
    "time elsewhere": TIME.astimezone(timezone(timedelta(hours=-5))),
    "first time": datetime(1970, 1, 1, tzinfo=UTC),
    "late time": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    "null": None,
    "empty list": [],
    "list": [1, "two", Decimal("3.5"), [], {}, [None, [TIME, {"four": -(2**40)}]]],
    "empty table": {},
    "table": {"": {}, "list": [{"deeper": [True, 2**31]}], "time": TIME},
    "nested": NESTED,
    **{f"header {n}": n for n in range(500)},
}


def text(name: str | bytes) -> str:
    """
    A header's name as we have it, even if it is no text.
    """
    return name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")


def told(value: Any, leaf: Callable[[Any], Any] = lambda value: value) -> Any:
    """
    C{value} with the types that C{==} does not tell from each other.

    @param leaf: called with each value in it, for what is to stand there.
    """
    value = leaf(value)
    if isinstance(value, Mapping):
        return {text(name): told(each, leaf) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [told(each, leaf) for each in value]
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    for kind in (bool, int, float, Decimal):
        if isinstance(value, kind):
            return kind.__name__, kind(value)
    return value


# -- The libraries


class Library:
    """
    How to publish and get with another library; its calls block.

    @ivar properties: what it can write.
    @ivar headers: likewise.
    """

    properties = PROPERTIES
    headers = HEADERS

    def arrives(self, value: Any) -> Any:
        """
        What is to arrive for a header's value that it writes.
        """
        return value

    def reads(self, value: Any) -> Any:
        """
        What it makes of a header's value that we write.
        """
        return value

    def publish(self, url: str, exchange: str, key: str, *letters: Letter) -> None:
        """
        Publish, and wait for the confirms.
        """
        raise NotImplementedError

    def get(self, url: str, queue: str) -> list[Letter]:
        """
        All that is in a queue.
        """
        raise NotImplementedError


def in_seconds(properties: dict[str, Any]) -> dict[str, Any]:
    """
    With the expiration as other libraries want it.
    """
    if "expiration" not in properties:
        return properties
    return {**properties, "expiration": int(properties["expiration"]) / 1000}


class Pika(Library):
    """
    It writes no floats, no bytearrays and no tuples, and reads no fractions.
    """

    headers = HEADERS | {
        "n" * 255: "longest name",
        b"\xff": "a name that is no text",
        "long": [pika.compat.long(7)],
        "1E+2": Decimal("1E+2"),
        "bytes": b"\xff\0",
        "bytes of text": "\N{SNOWMAN}".encode(),
        "no bytes": [b""],
    }

    def reads(self, value: Any) -> Any:
        return int(value) if isinstance(value, float) else value

    @contextmanager
    def _channel(self, url: str) -> Iterator[Any]:
        parameters = pika.URLParameters(url + "%2f")
        with pika.BlockingConnection(parameters) as connection:
            yield connection.channel()

    def publish(self, url: str, exchange: str, key: str, *letters: Letter) -> None:
        with self._channel(url) as channel:
            channel.confirm_delivery()
            for body, properties in letters:
                basic = pika.BasicProperties(**properties)
                channel.basic_publish(exchange, key, body, basic, mandatory=True)

    def get(self, url: str, queue: str) -> list[Letter]:
        got = []
        with self._channel(url) as channel:
            while (answer := channel.basic_get(queue, auto_ack=True))[0]:
                got.append((answer[2], vars(answer[1])))
        return got


class AioPika(Library):
    """
    It writes no cluster-id, no bytes but bytearrays, and no tuples; cuts names
    of headers at 128 bytes; writes floats of 32 bits, and none that are larger
    than these can be; and reads late times as if they were in milliseconds.
    """

    properties = {k: v for k, v in PROPERTIES.items() if k != "cluster_id"}
    headers = HEADERS | {
        "1E+2": Decimal("1E+2"),
        "bytes": bytearray(b"\xff\0"),
        "bytes of text": bytearray("\N{SNOWMAN}".encode()),
        "no bytes": [bytearray()],
        "floats": [0.1, -1.5, 1e38],
        "struct_time": TIME.utctimetuple(),
    }

    def arrives(self, value: Any) -> Any:
        if isinstance(value, struct_time):
            return TIME
        if isinstance(value, float):
            return struct.unpack(">f", struct.pack(">f", value))[0]
        return value

    def reads(self, value: Any) -> Any:
        if isinstance(value, datetime) and value.timestamp() >= 2**32:
            return datetime.fromtimestamp(value.timestamp() / 1000, UTC)
        return value

    def publish(self, url: str, exchange: str, key: str, *letters: Letter) -> None:
        asyncio.run(self._publish(url, exchange, key, letters))

    async def _publish(
        self, url: str, exchange: str, key: str, letters: tuple[Letter, ...]
    ) -> None:
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            to: Any = channel.default_exchange
            if exchange:
                to = await channel.get_exchange(exchange)
            for body, properties in letters:
                message = aio_pika.Message(body, **in_seconds(properties))
                await to.publish(message, key)

    def get(self, url: str, queue: str) -> list[Letter]:
        return asyncio.run(self._get(url, queue))

    async def _get(self, url: str, queue: str) -> list[Letter]:
        got = []
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            source: Any = await channel.get_queue(queue)
            while (message := await source.get(no_ack=True, fail=False)) is not None:
                names = ("headers", *PROPERTIES)
                properties = {name: getattr(message, name) for name in names}
                if message.expiration is not None:
                    properties["expiration"] = f"{message.expiration * 1000:.0f}"
                if message.timestamp is not None:
                    properties["timestamp"] = message.timestamp.timestamp()
                got.append((message.body, properties))
        return got


class Kombu(Library):
    """
    With py-amqp.  It writes no bytearrays, no decimals with a positive exponent,
    and bytes as text, if they can be; and reads times without a zone.
    """

    headers = HEADERS | {
        "n" * 255: "longest name",
        b"\xff": "a name that is no text",
        "bytes": b"\xff\0",
        "bytes of text": "\N{SNOWMAN}".encode(),
        "tuple": (1, (2, "three")),
        "floats": [0.1, -1.5, 1e300],
    }

    def arrives(self, value: Any) -> Any:
        if isinstance(value, bytes) and value != b"\xff\0":
            return value.decode()
        return value

    def reads(self, value: Any) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(UTC).replace(tzinfo=None)
        return value

    @contextmanager
    def channel(self, url: str) -> Iterator[Any]:
        options = {"confirm_publish": True}
        with Connection(url, transport_options=options) as connection:
            channel = connection.channel()
            channel.auto_decode = False  # bodies are bytes
            yield channel

    def publish(self, url: str, exchange: str, key: str, *letters: Letter) -> None:
        with self.channel(url) as channel:
            producer = Producer(channel)
            for body, properties in letters:
                given = {"content_type": "text/plain", **in_seconds(properties)}
                producer.publish(body.decode(), key, exchange=exchange, **given)

    def get(self, url: str, queue: str) -> list[Letter]:
        return [
            (message.body or b"", {**message.properties, "headers": message.headers})
            for message in self.messages(url, queue)
        ]

    def messages(self, url: str, queue: str) -> list[Any]:
        with self.channel(url) as channel:
            source = Queue(queue)(channel)
            return list(iter(lambda: source.get(no_ack=True), None))


each_library = pytest.mark.parametrize(
    "library", [Pika(), AioPika(), Kombu()], ids=["pika", "aio-pika", "kombu"]
)


async def watch_twice(
    client: TxAMQPClient, names: Names, seen: list[Message], **options: Any
) -> Watcher:
    """
    Put each message back when it comes first, and keep it when it comes again,
    until the watch ends.
    """
    kept: list[Deferred[None]] = []
    count: Counter[bytes] = Counter()

    def callback(message: Message) -> Any:
        seen.append(message)
        count[message.body] += 1
        if count[message.body] % 2:
            return Retry()
        kept.append(Deferred())
        return kept[-1]

    return await client.watch(
        names.exchange, names.queue, "#", callback, **options_of(options)
    )


# -- From others to us


@each_library
@ensureDeferred
async def test_every_header_and_property(
    broker: AnyBroker,
    client: TxAMQPClient,
    names: Names,
    pika_channel: Any,
    library: Library,
) -> None:
    """
    Headers and properties of every type that another library writes arrive as
    they were, and when they have been put back it reads what it would have
    read without us.
    """
    seen: list[Message] = []
    watcher = await watch_twice(client, names, seen)
    other = names.queue + ".other"
    pika_channel.queue_declare(other, durable=True)
    pika_channel.queue_bind(other, names.exchange, "#")
    properties = {**library.properties, "headers": library.headers}
    letter = (b"x", properties)
    await deferToThread(library.publish, broker.url, names.exchange, "a", letter)
    await until(lambda: len(seen) == 2)
    first, again = (dict(message.properties) for message in seen)
    wanted = told(library.headers, library.arrives)
    assert told(first.pop("headers")) == wanted
    assert told(again.pop("headers")) == wanted
    assert first == in_amqp(library.properties)
    assert first.pop("user-id") == "guest"
    assert again == {**first, "delivery-mode": 2}
    await watcher.stop(grace=0)
    ((_, back),) = await deferToThread(library.get, broker.url, names.queue)
    ((_, untouched),) = await deferToThread(library.get, broker.url, other)
    assert untouched.pop("user_id") == "guest"
    assert back.pop("user_id", None) is None
    assert told(back) == told({**untouched, "delivery_mode": 2})


@each_library
@ensureDeferred
async def test_bodies_of_any_size(
    broker: AnyBroker, client: TxAMQPClient, names: Names, library: Library
) -> None:
    """
    Bodies of multi-byte text arrive byte for byte, whatever their size, and go
    back to the queue so.
    """
    seen: list[Message] = []
    watcher = await watch_twice(client, names, seen)
    letters: list[Letter] = [(body, {}) for body in BODIES]
    await deferToThread(library.publish, broker.url, names.exchange, "a", *letters)
    await until(lambda: len(seen) == 2 * len(BODIES))
    assert Counter(message.body for message in seen) == Counter(BODIES * 2)
    await watcher.stop(grace=0)
    got = await deferToThread(library.get, broker.url, names.queue)
    assert Counter(body for body, _ in got) == Counter(BODIES)


# Why a message dies, and the arguments of a queue in which it does.
DEADLY: dict[str, dict[str, Any]] = {
    "expired": {"x-message-ttl": 1},
    "maxlen": {"x-max-length": 0},
    "rejected": {},
}


@each_library
@pytest.mark.parametrize("reason", DEADLY)
@ensureDeferred
async def test_dead_lettered(
    broker: AnyBroker,
    client: TxAMQPClient,
    names: Names,
    pika_channel: Any,
    library: Library,
    reason: str,
) -> None:
    """
    A message from a real dead-letter queue has its x-death and its other headers;
    it goes back without the former, which are about another way than the one that
    it goes then.
    """
    waiting = names.queue + ".waiting"
    arguments = {"x-dead-letter-exchange": names.exchange, **DEADLY[reason]}
    pika_channel.queue_declare(waiting, durable=True, arguments=arguments)

    async def reject(queue: str) -> None:
        (method, _, _) = await until(
            lambda: (got := pika_channel.basic_get(queue))[0] and got
        )
        pika_channel.basic_reject(method.delivery_tag, requeue=False)

    seen: list[Message] = []
    to_waiting = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": waiting}
    watcher = await watch_twice(client, names, seen, arguments=to_waiting)
    letter = (text_of(4095), {"headers": library.headers})
    await deferToThread(library.publish, broker.url, "", waiting, letter)
    if reason == "rejected":
        await reject(waiting)
    await until(lambda: len(seen) == 2)
    await watcher.stop(grace=0)
    await reject(names.queue)
    if reason == "rejected":
        await reject(waiting)
    await watch_twice(client, names, seen, arguments=to_waiting)
    await until(lambda: len(seen) == 4)

    assert {message.body for message in seen} == {letter[0]}
    first, again, second, second_again = (dict(each.headers) for each in seen)
    (death,) = first.pop("x-death")
    assert abs(datetime.now(UTC) - death.pop("time")) < timedelta(minutes=5)
    there = {"exchange": "", "queue": waiting, "routing-keys": [waiting]}
    assert death == {"count": 1, "reason": reason, **there}
    for name, value in (("reason", reason), ("queue", waiting), ("exchange", "")):
        assert first.pop(f"x-first-death-{name}") == value
        # RabbitMQ from 4.0 on tells of the last death, too: this one.
        assert first.pop(f"x-last-death-{name}", value) == value
    assert told(first) == told(again) == told(library.headers, library.arrives)
    deaths = {(d["queue"], d["reason"]): d["count"] for d in second["x-death"]}
    assert deaths == {(waiting, reason): 1, (names.queue, "rejected"): 1}
    assert told(second_again) == told(again)


@pytest.mark.parametrize("compression", [None, "zlib"])
@ensureDeferred
async def test_what_kombu_serializes(
    broker: AnyBroker,
    client: TxAMQPClient,
    names: Names,
    compression: str | None,
) -> None:
    """
    What kombu has made JSON of, and compressed, arrives as these bytes, and
    kombu reads it when it has been put back.
    """
    task = {"snowman": "\N{SNOWMAN}\N{GRINNING FACE}", "numbers": [1, 2.5, None]}

    def publish() -> None:
        with Kombu().channel(broker.url) as channel:
            Producer(channel).publish(
                task, "a", exchange=names.exchange, compression=compression
            )

    seen: list[Message] = []
    watcher = await watch_twice(client, names, seen)
    await deferToThread(publish)
    await until(lambda: len(seen) == 2)
    body = zlib.decompress(seen[0].body) if compression else seen[0].body
    kind, encoding, wanted = dumps(task, serializer="json")
    assert body == wanted.encode()
    assert seen[0].properties["content-type"] == kind == "application/json"
    assert seen[0].properties["content-encoding"] == encoding == "utf-8"
    await watcher.stop(grace=0)
    (got,) = await deferToThread(Kombu().messages, broker.url, names.queue)
    assert got.payload == task


# -- From us to others


@each_library
@ensureDeferred
async def test_what_we_publish_is_what_others_read(
    broker: AnyBroker,
    client: TxAMQPClient,
    names: Names,
    pika_channel: Any,
    library: Library,
) -> None:
    """
    Bodies, properties and headers of every type that we write are read by
    another library as they were.
    """
    pika_channel.queue_declare(names.queue, durable=True)
    headers = HEADERS | {
        "n" * 255: "longest name",
        "1E+2": Decimal("1E+2"),
        "bytes": b"\xff\0",
        "bytes of text": bytearray("\N{SNOWMAN}".encode()),
        "no bytes": [memoryview(b"")],
        "tuple": (1, (2, "three")),
        "floats": [0.1, -1.5, 1e300],
    }
    properties = {**PROPERTIES, "headers": headers}
    for body in BODIES:
        await client.publish("", names.queue, body, in_amqp(properties))
    assert depth(pika_channel, names.queue) == len(BODIES)
    got = await deferToThread(library.get, broker.url, names.queue)
    assert [body for body, _ in got] == BODIES
    for _, read in got:
        assert told(read.pop("headers")) == told(headers, library.reads)
        assert {name: read[name] for name in PROPERTIES} == PROPERTIES
