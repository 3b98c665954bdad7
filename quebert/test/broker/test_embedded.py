"""
Tests for L{quebert.testing.EmbeddedBroker}, as users have it in their tests.
"""

from __future__ import annotations

import gc
import threading
from typing import Any

import pika
import pytest
import pytest_twisted
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp import TxAMQPClient
from quebert.broker import BrokerFactory, EmbeddedBroker
from quebert.test.broker.peer import Peer
from quebert.test.support import until

WEEK = 7 * 24 * 3600


def connected(broker: EmbeddedBroker) -> Any:
    """
    A blocking client.
    """
    return pika.BlockingConnection(pika.URLParameters(broker.url + "%2f"))


class BlockingTests(SynchronousTestCase):
    """
    An embedded broker in a thread of its own.
    """

    def test_in_a_blocking_program(self) -> None:
        """
        It ends with the block, and its thread with it.
        """
        before = set(threading.enumerate())
        with EmbeddedBroker() as broker:
            [thread] = set(threading.enumerate()) - before
            connection = connected(broker)
            channel = connection.channel()
            channel.queue_declare("q")
            channel.basic_publish("", "q", b"body")
            self.assertEqual(channel.basic_get("q", auto_ack=True)[2], b"body")
            connection.close()
        self.assertFalse(thread.is_alive())
        self.assertRaises(RuntimeError, broker.depths)

    def test_a_week_in_no_time(self) -> None:
        """
        A TTL of a week runs out when the test says so.
        """
        with EmbeddedBroker() as broker:
            connection = connected(broker)
            channel = connection.channel()
            channel.confirm_delivery()
            arguments = {
                "x-message-ttl": WEEK * 1000,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": "after",
            }
            channel.queue_declare("waiting", arguments=arguments)
            channel.queue_declare("after")
            channel.basic_publish("", "waiting", b"body")
            broker.advance(WEEK - 60)
            self.assertEqual(broker.depths(), {"after": 0, "waiting": 1})
            broker.advance(61)
            self.assertEqual(broker.depths(), {"after": 1, "waiting": 0})
            connection.close()

    def test_two_at_once(self) -> None:
        """
        Each is on a port of its own, and knows nothing of the other.
        """
        with EmbeddedBroker() as one, EmbeddedBroker() as other:
            self.assertNotEqual(one.port, other.port)
            connection = connected(one)
            connection.channel().queue_declare("q")
            self.assertEqual(other.depths(), {})
            connection.close()

    def test_clients_that_are_left(self) -> None:
        """
        It ends although a client is connected, which is told.
        """
        with EmbeddedBroker() as broker:
            connection = connected(broker)
        with self.assertRaises(pika.exceptions.AMQPError):
            connection.channel()

    # Twisted 24.11 leaves the socket that it cannot listen on to the garbage collector.
    @pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    )
    def test_a_port_in_use(self) -> None:
        """
        A port that is taken is told, and nothing is left running.
        """
        with EmbeddedBroker() as broker:
            before = set(threading.enumerate())
            other = EmbeddedBroker(port=broker.port)
            error = self.assertRaises(CannotListenError, other.__enter__)
            self.assertIn("in use", str(error))
            self.assertEqual(set(threading.enumerate()) - before, set())
        gc.collect()


class NotRunningTests(SynchronousTestCase):
    """
    An embedded broker outside of its C{with} statement.
    """

    def test_asked(self) -> None:
        """
        It tells why it cannot answer.
        """
        broker = EmbeddedBroker()
        for ask in (broker.depths, lambda: broker.advance(1)):
            error = self.assertRaises(RuntimeError, ask)
            self.assertIn("within a with statement only", str(error))


class _Port:
    """
    A port that listens nowhere.
    """

    listens = True

    def getHost(self) -> IPv4Address:
        """
        As a port of TCP has it.
        """
        return IPv4Address("TCP", "127.0.0.1", 5_000)

    def stopListening(self) -> None:
        """
        As a port of TCP has it.
        """
        self.listens = False


class _Reactor(Clock):
    """
    A reactor that notes where it was to listen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.port = _Port()
        self.asked: list[tuple[int, str]] = []

    def listenTCP(
        self, port: int, factory: BrokerFactory, backlog: int, interface: str
    ) -> _Port:
        """
        Listen.
        """
        self.asked.append((port, interface))
        self.factory = factory
        return self.port


class ReactorTests(SynchronousTestCase):
    """
    An embedded broker on the reactor of the test.
    """

    def run_within(self, **options: Any) -> tuple[_Reactor, Any]:
        """
        Enter the block, and let it go on; the reactor, and what is left to be done.
        """
        reactor = _Reactor()
        self.broker = EmbeddedBroker(reactor=reactor, **options)
        self.within: Deferred[None] = Deferred()

        async def program() -> None:
            async with self.broker as entered:
                assert entered is self.broker
                await self.within

        return reactor, Deferred.fromCoroutine(program())

    def test_within(self) -> None:
        """
        It listens on the loopback, within the block.
        """
        reactor, program = self.run_within(vhosts=["/", "other"])
        self.assertEqual(reactor.asked, [(0, "127.0.0.1")])
        url = "amqp://guest:guest@127.0.0.1:5000/"
        self.assertEqual((self.broker.port, self.broker.url), (5_000, url))
        peer = Peer(reactor.factory).open("other")
        arguments = {"x-expires": 10_000}
        peer.call("queue.declare", queue="q", arguments=arguments)
        peer.transport.loseConnection()
        self.assertEqual(self.broker.depths(), {})
        self.assertEqual(self.broker.depths("other"), {"q": 0})
        self.broker.advance(10)
        self.assertEqual(self.broker.depths("other"), {})
        self.within.callback(None)
        self.successResultOf(program)
        self.assertFalse(reactor.port.listens)
        self.assertRaises(RuntimeError, self.broker.depths)
        self.assertEqual(reactor.getDelayedCalls(), [])

    def test_clients_that_are_left(self) -> None:
        """
        They have a tenth of a second to agree.
        """
        reactor, program = self.run_within(port=5_000)
        self.assertEqual(reactor.asked, [(5_000, "127.0.0.1")])
        peer = Peer(reactor.factory).open()
        self.within.callback(None)
        peer.turn(0.099)
        self.assertEqual([each.name for each in peer.received], ["connection.close"])
        self.assertNoResult(program)
        peer.turn(0.002)
        self.successResultOf(program)
        self.assertTrue(peer.lost)


@pytest_twisted.ensureDeferred
async def test_on_the_reactor() -> None:
    """
    With Twisted, it runs on the test's own reactor.
    """
    async with EmbeddedBroker() as broker:
        client = TxAMQPClient.from_url(broker.url)
        came: list[bytes] = []

        def take(message: Any) -> None:
            came.append(message.body)

        await client.watch("flow", "q", "tasks.#", take)
        await client.publish("flow", "tasks.a", b"body")
        await until(lambda: came)
        assert came == [b"body"]
        await until(lambda: broker.depths()["q"] == 0)
        stopped: Deferred[None] = client.stop()
        await stopped
