"""
Tests for L{quebert.testing.EmbeddedBroker}, as users have it in their tests.
"""

from __future__ import annotations

import gc
import socket
from typing import Any

import pika
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp import TxAMQPClient
from quebert.broker import EmbeddedBroker
from quebert.test.support import until

WEEK = 7 * 24 * 3600


def connected(broker: EmbeddedBroker) -> Any:
    """
    A blocking client.
    """
    return pika.BlockingConnection(pika.URLParameters(broker.url + "%2f"))


def test_in_a_blocking_program() -> None:
    """
    It runs in a thread of its own, and ends with the block.
    """
    with EmbeddedBroker() as broker:
        connection = connected(broker)
        channel = connection.channel()
        channel.queue_declare("q")
        channel.basic_publish("", "q", b"body")
        assert channel.basic_get("q", auto_ack=True)[2] == b"body"
        connection.close()
        port = broker.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_week_in_no_time() -> None:
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
        assert broker.depths() == {"after": 0, "waiting": 1}
        broker.advance(61)
        assert broker.depths() == {"after": 1, "waiting": 0}
        connection.close()


def test_two_at_once() -> None:
    """
    Each is on a port of its own, and knows nothing of the other.
    """
    with EmbeddedBroker() as one, EmbeddedBroker() as other:
        assert one.port != other.port
        connection = connected(one)
        connection.channel().queue_declare("q")
        assert other.depths() == {}
        connection.close()


def test_clients_that_are_left() -> None:
    """
    It ends although a client is connected, which is told.
    """
    with EmbeddedBroker() as broker:
        connection = connected(broker)
    with pytest.raises(pika.exceptions.AMQPError):
        connection.channel()


# Twisted 24.11 leaves the socket that it cannot listen on to the garbage collector.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)
def test_a_port_in_use() -> None:
    """
    A port that is taken is told, and nothing is left running.
    """
    with (
        EmbeddedBroker() as broker,
        pytest.raises(Exception, match=r"[Ii]n use"),
        EmbeddedBroker(port=broker.port),
    ):
        pass
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
