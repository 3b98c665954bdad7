"""
Client libraries that others have written, on the embedded broker.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import aio_pika
import pika
import pika.exceptions
import pytest
from aio_pika.patterns import RPC
from amqp.exceptions import NotFound
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Producer
from kombu.pidbox import Mailbox

from quebert.broker import EmbeddedBroker, _embedded
from quebert.test.broker.clients import LIBRARIES, PATIENCE, Library, awaited
from quebert.testing import free_port

# txamqp 0.8.2 leaves its functions as Twisted would not have it any more.
pytestmark = pytest.mark.filterwarnings(
    "ignore:twisted.internet.defer.returnValue was deprecated:DeprecationWarning"
)

Connect = Callable[[], Library]


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    """
    A broker of the test's own.
    """
    with EmbeddedBroker() as broker:
        yield broker


each_library = pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)


@pytest.fixture(params=LIBRARIES)
def connect(
    broker: EmbeddedBroker, request: pytest.FixtureRequest
) -> Iterator[Connect]:
    """
    Makes connections with one of the libraries, which are closed after the test.
    """
    with ExitStack() as stack:

        def connect() -> Library:
            client = LIBRARIES[request.param](broker.url)
            stack.callback(client.close)
            return client

        yield connect


@pytest.fixture
def client(connect: Connect) -> Library:
    """
    A connection, with a queue named C{tasks} that gets what is published to the
    exchange C{flow} under C{tasks.} and more.
    """
    client = connect()
    client.declare("flow", "topic", "tasks", "tasks.#", durable=True)
    return client


class Restartable:
    """
    A broker that is there again when it was restarted, on the same port, and has
    forgotten everything.
    """

    def __init__(self) -> None:
        self._broker = EmbeddedBroker(port=free_port())
        self._exit = ExitStack()
        self.start()
        self.url = self._broker.url

    def start(self) -> None:
        """
        Be there.
        """
        self._exit.enter_context(self._broker)

    def stop(self) -> None:
        """
        Tell all clients to go, and end.
        """
        self._exit.close()

    def restart(self) -> None:
        """
        One after the other.
        """
        self.stop()
        self.start()

    def depths(self) -> dict[str, int]:
        """
        How many messages each queue holds.
        """
        return self._broker.depths()


@pytest.fixture
def restartable() -> Iterator[Restartable]:
    """
    A broker to be restarted.
    """
    broker = Restartable()
    yield broker
    broker.stop()


def fill(client: Library, number: int) -> list[bytes]:
    """
    Publish that many messages; their bodies.
    """
    bodies = [b"%d" % n for n in range(number)]
    for body in bodies:
        assert client.publish("flow", "tasks.new", body)
    return bodies


# -- What all of them do


def test_confirm_and_delivery(client: Library, broker: EmbeddedBroker) -> None:
    """
    What is published and confirmed is delivered, in order, and gone when it is
    acknowledged.
    """
    bodies = fill(client, 20)
    client.consume("tasks", 5)
    for body in bodies:
        delivery = client.receive()
        assert (delivery.body, delivery.redelivered) == (body, False)
        client.ack(delivery)
    assert client.depth("tasks") == 0
    assert broker.depths() == {"tasks": 0}


def test_bodies(client: Library) -> None:
    """
    Bodies of any size and any bytes arrive as they were.
    """
    bodies = [b"", b"\0\xff", b"x" * 4096, bytes(range(256)) * 2000]
    for body in bodies:
        assert client.publish("flow", "tasks", body)
    client.consume("tasks", 1)
    for body in bodies:
        delivery = client.receive()
        assert delivery.body == body
        client.ack(delivery)


def test_prefetch(client: Library) -> None:
    """
    No more is delivered than the prefetch count allows, and another for each
    that is settled.
    """
    fill(client, 5)
    client.consume("tasks", 2)
    first = client.receive()
    assert client.depth("tasks") == 3
    client.ack(first)
    assert client.depth("tasks") == 2


def test_requeue(client: Library) -> None:
    """
    What is put back comes again, first and marked, whether with nack or reject;
    else it is dropped.
    """
    fill(client, 2)
    client.consume("tasks", 1)
    seen = []
    for settle in (client.nack, client.reject):
        for requeue in (True, False):
            delivery = client.receive()
            seen.append((delivery.body, delivery.redelivered))
            settle(delivery, requeue=requeue)
    assert seen == [(b"0", False), (b"0", True), (b"1", False), (b"1", True)]
    assert client.depth("tasks") == 0


def test_get(client: Library) -> None:
    """
    Messages can be fetched one by one; there is an answer for none, too.
    """
    fill(client, 1)
    first = client.get("tasks")
    assert first is not None
    assert (first.body, first.redelivered) == (b"0", False)
    assert client.get("tasks") is None
    client.reject(first, requeue=True)
    again = client.get("tasks")
    assert again is not None
    assert (again.body, again.redelivered) == (b"0", True)
    client.ack(again)
    assert client.get("tasks") is None


def test_purge_and_delete(client: Library, broker: EmbeddedBroker) -> None:
    """
    A purge tells how many messages it has removed; a deleted queue is gone.
    """
    fill(client, 3)
    assert client.purge("tasks") == 3
    assert client.depth("tasks") == 0
    client.delete("tasks")
    assert broker.depths() == {}


def test_headers(client: Library) -> None:
    """
    Headers of all types that a library writes, and reads, come as they went.
    """
    assert client.publish("flow", "tasks", b"x", client.headers)
    client.consume("tasks", 1)
    delivery = client.receive()
    assert dict(delivery.headers) == dict(client.headers)
    client.ack(delivery)


def test_mandatory(client: Library, broker: EmbeddedBroker) -> None:
    """
    What no queue takes is returned, and the library tells; it goes on.
    """
    assert not client.publish("flow", "elsewhere", b"lost")
    assert client.publish("flow", "tasks", b"found")
    assert broker.depths() == {"tasks": 1}


def test_consumer_cancelled(connect: Connect, client: Library) -> None:
    """
    A library is told when the queue is deleted that it consumes from, if it says
    that it wants to, and goes on.
    """
    client.consume("tasks", 1)
    connect().delete("tasks")
    if client.hears_cancels:
        client.await_cancel()
    client.declare("flow", "topic", "others", "others.#", durable=True)
    assert client.publish("flow", "others", b"found")


def test_closes(connect: Connect, broker: EmbeddedBroker) -> None:
    """
    When a library closes its connection, what it has not settled is back, and
    its exclusive queue is gone.
    """
    client = connect()
    client.declare("flow", "topic", "tasks", "tasks.#", durable=True)
    client.declare("flow", "topic", "own", "tasks.#", exclusive=True)
    fill(client, 2)
    client.consume("tasks", 1)
    client.receive()
    assert broker.depths() == {"own": 2, "tasks": 2}
    client.close()
    assert broker.depths() == {"tasks": 2}
    other = connect()
    first = other.get("tasks")
    assert first is not None
    assert (first.body, first.redelivered) == (b"0", True)


@each_library
def test_broker_stops(library: type[Library], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When the broker stops, a library is told why.
    """
    monkeypatch.setattr(_embedded, "PATIENCE", PATIENCE)
    broker = Restartable()
    client = library(broker.url)
    stopping = threading.Thread(target=broker.stop)
    stopping.start()
    try:
        code, text = client.await_end()
    finally:
        client.close()
        stopping.join()
    assert code == 320
    assert text.startswith("CONNECTION_FORCED - ")


# -- What is kombu's own


@pytest.fixture
def kombu_connection(broker: EmbeddedBroker) -> Iterator[Any]:
    """
    A connection with kombu.
    """
    with Connection(broker.url) as connection:
        yield connection


def test_kombu_simple_queue(kombu_connection: Any, broker: EmbeddedBroker) -> None:
    """
    A SimpleQueue serializes, counts, gives back, and says when it is empty.
    """
    with closing(kombu_connection.SimpleQueue("simple")) as queue:
        queue.put("old")
        assert queue.clear() == 1
        queue.put({"n": 1})
        queue.put([2, "\N{SNOWMAN}"], serializer="json", compression="zlib")
        assert queue.qsize() == 2
        message = queue.get(timeout=PATIENCE)
        assert message.payload == {"n": 1}
        message.requeue()
        for payload in ([2, "\N{SNOWMAN}"], {"n": 1}):  # the first was here already
            message = queue.get(timeout=PATIENCE)
            assert message.payload == payload
            message.ack()
        with pytest.raises(queue.Empty):
            queue.get_nowait()
    assert broker.depths() == {"simple": 0}


def test_kombu_queue_expires(kombu_connection: Any, broker: EmbeddedBroker) -> None:
    """
    Kombu's arguments of queues do what they say: messages and queues expire,
    what is urgent goes first, and what is too many goes away.
    """
    channel = kombu_connection.default_channel
    short = Queue("short", expires=60, message_ttl=30.5)(channel)
    ranked = Queue("ranked", max_priority=9)(channel)
    recent = Queue("recent", max_length=2)(channel)
    with Producer(channel) as producer:
        for queue in (short, ranked, recent):
            queue.declare()
            for priority in (1, 2, 3):
                producer.publish(priority, queue.name, priority=priority)
    assert short.get(no_ack=True).payload == 1
    assert ranked.get(no_ack=True).payload == 3
    assert recent.get(no_ack=True).payload == 2
    assert broker.depths() == {"ranked": 2, "recent": 1, "short": 2}
    broker.advance(31)
    assert broker.depths() == {"ranked": 2, "recent": 1, "short": 0}
    broker.advance(30)
    assert broker.depths() == {"ranked": 2, "recent": 1}


def test_kombu_fanout(kombu_connection: Any, broker: EmbeddedBroker) -> None:
    """
    Each queue of a fanout exchange gets all, and temporary ones go with their
    consumers.
    """
    exchange = Exchange("all", "fanout", durable=False, auto_delete=True)
    queues = [Queue(name, exchange, auto_delete=True) for name in ("one", "two")]
    seen: list[tuple[str, Any]] = []
    consumers = [
        kombu_connection.Consumer(
            [queue],
            callbacks=[lambda body, _, name=queue.name: seen.append((name, body))],
            no_ack=True,
        )
        for queue in queues
    ]
    with consumers[0], consumers[1]:
        kombu_connection.Producer(exchange=exchange).publish("news")
        awaited(
            lambda: len(seen) == 2,
            lambda: kombu_connection.drain_events(timeout=PATIENCE),
        )
    assert sorted(seen) == [("one", "news"), ("two", "news")]
    assert broker.depths() == {}
    with pytest.raises(NotFound):
        exchange(kombu_connection.channel()).declare(passive=True)


def test_kombu_pidbox(kombu_connection: Any) -> None:
    """
    A mailbox asks all nodes that there are, and gets the answer of each.
    """
    mailbox = Mailbox("testing")(kombu_connection)
    nodes = [mailbox.Node(name, channel=kombu_connection.channel()) for name in "ab"]
    for node in nodes:
        node.handlers["add"] = lambda state, x, y: x + y
        node.listen()
    arguments = {"x": 1, "y": 2}
    answers = mailbox.multi_call("add", arguments, timeout=PATIENCE, limit=2)
    assert sorted(answers, key=str) == [{"a": 3}, {"b": 3}]
    assert mailbox.call(["b"], "add", arguments, timeout=PATIENCE) == [{"b": 3}]


def test_kombu_heartbeats(broker: EmbeddedBroker) -> None:
    """
    Who sends heartbeats stays, and gets some; who sends none is hung up on.
    """
    with (
        Connection(broker.url, heartbeat=2) as beating,
        Connection(broker.url, heartbeat=2) as silent,
    ):
        beating.ensure_connection()
        silent.ensure_connection()

        def beat() -> bool:
            beating.heartbeat_check(rate=4)
            with suppress(TimeoutError):
                beating.drain_events(timeout=0.2)
            try:
                silent.drain_events(timeout=0.01)
            except TimeoutError:
                return False
            except silent.connection_errors:
                return True
            return False

        awaited(beat, lambda: None)
        beating.default_channel.queue_declare("still there")
        assert broker.depths() == {"still there": 0}


def test_kombu_reconnects(restartable: Restartable) -> None:
    """
    After the broker was restarted kombu connects anew, declares all it needs,
    and publishes.
    """
    options = {"confirm_publish": True}
    with Connection(restartable.url, transport_options=options) as connection:
        queue = Queue("tasks", Exchange("flow"), "new")
        producer = connection.Producer(exchange=queue.exchange, routing_key="new")
        publish = connection.ensure(producer, producer.publish, interval_start=0.05)
        publish("before", declare=[queue])
        restartable.restart()
        assert restartable.depths() == {}
        publish("after", declare=[queue])
        assert restartable.depths() == {"tasks": 1}


# -- What is aio-pika's own


def test_aio_pika_reconnects(restartable: Restartable) -> None:
    """
    After the broker was restarted a robust connection of aio-pika declares anew
    what it had declared, and consumes on.
    """

    async def scenario() -> list[bytes]:
        bodies: asyncio.Queue[bytes] = asyncio.Queue()
        back = asyncio.Event()

        async def came(message: Any) -> None:
            async with message.process():
                await bodies.put(message.body)

        connection = await aio_pika.connect_robust(
            restartable.url, reconnect_interval=0.05
        )
        async with connection:
            connection.reconnect_callbacks.add(lambda _: back.set())
            channel = await connection.channel()
            exchange = await channel.declare_exchange("flow", "topic", durable=True)
            queue = await channel.declare_queue("tasks", durable=True)
            await queue.bind(exchange, "tasks.#")
            await queue.consume(came)
            await exchange.publish(aio_pika.Message(b"before"), "tasks.new")
            seen = [await bodies.get()]
            await asyncio.to_thread(restartable.restart)
            await back.wait()
            await exchange.publish(aio_pika.Message(b"after"), "tasks.new")
            return [*seen, await bodies.get()]

    bodies = asyncio.run(asyncio.wait_for(scenario(), PATIENCE))
    assert bodies == [b"before", b"after"]
    assert restartable.depths() == {"tasks": 0}


def test_aio_pika_iterates(broker: EmbeddedBroker) -> None:
    """
    Patterns of aio-pika's work: an iterator over a queue, and remote calls over
    a queue for answers.
    """

    async def scenario() -> tuple[list[bytes], int]:
        async with await aio_pika.connect_robust(broker.url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("", exclusive=True, auto_delete=True)
            for n in range(3):
                message = aio_pika.Message(b"%d" % n)
                await channel.default_exchange.publish(message, queue.name)
            seen: list[bytes] = []
            async with queue.iterator() as messages:
                async for each in messages:
                    async with each.process():
                        seen.append(each.body)
                    if len(seen) == 3:
                        break
            rpc = await RPC.create(channel)
            await rpc.register("double", double, auto_delete=True)
            return seen, await rpc.call("double", {"n": 21})

    async def double(*, n: int) -> int:
        return 2 * n

    seen, doubled = asyncio.run(asyncio.wait_for(scenario(), PATIENCE))
    assert seen == [b"0", b"1", b"2"]
    assert doubled == 42


# -- What is pika's own


def test_pika_channel_errors(broker: EmbeddedBroker) -> None:
    """
    A channel is closed for what was wrong, with the code that pika tells, and
    its connection goes on.
    """
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        for wrong, code in (
            (lambda channel: channel.queue_declare("none", passive=True), 404),
            (lambda channel: channel.queue_declare("amq.none"), 403),
            (lambda channel: channel.exchange_declare("amq.topic", "direct"), 406),
        ):
            with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
                wrong(connection.channel())
            assert caught.value.reply_code == code
        connection.channel().queue_declare("some")
    assert broker.depths() == {"some": 0}


def test_pika_refused(broker: EmbeddedBroker) -> None:
    """
    Pika is told when the password is wrong, or there is no such virtual host.
    """
    wrong = broker.url.replace("guest:guest", "guest:secret")
    for url, error in (
        (wrong, pika.exceptions.ProbableAuthenticationError),
        (f"{broker.url}none", pika.exceptions.ProbableAccessDeniedError),
    ):
        with pytest.raises(error):
            pika.BlockingConnection(pika.URLParameters(url))


def test_pika_generator(broker: EmbeddedBroker) -> None:
    """
    C{consume()} gives what there is; what it had fetched goes back when it is
    cancelled.
    """
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        channel = connection.channel()
        channel.queue_declare("tasks")
        for n in range(10):
            channel.basic_publish("", "tasks", b"%d" % n)
        channel.basic_qos(prefetch_count=5)
        seen = []
        for method, _, body in channel.consume("tasks"):
            channel.basic_ack(method.delivery_tag)
            seen.append(body)
            if len(seen) == 3:
                break
        channel.cancel()
        assert seen == [b"0", b"1", b"2"]
        assert channel.queue_declare("tasks", passive=True).method.message_count == 7
