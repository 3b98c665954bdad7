"""
The brokers that the contract is tested on, and connections to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import attrs
import pytest

from quebert.test.contract.client import Channel, Client, version_of
from quebert.test.operating import add_vhost
from quebert.testing import RabbitMQNode


@attrs.frozen
class Broker:
    """
    A broker, with the virtual hosts C{/} and C{other}, and the user guest.

    @ivar version: of RabbitMQ; empty for the embedded broker.
    """

    name: str
    port: int
    url: str
    version: str = ""


@pytest.fixture(scope="session", params=["rabbitmq", "embedded"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """
    RabbitMQ, and then the embedded broker: each serves all tests.
    """
    if request.param == "rabbitmq":
        node: RabbitMQNode = request.getfixturevalue("rabbitmq")
        add_vhost(node, "other")
        yield Broker("rabbitmq", node.port, node.url, version_of(node.port))
    else:
        from quebert.broker import EmbeddedBroker

        with EmbeddedBroker(vhosts=["/", "other"]) as embedded:
            yield Broker("embedded", embedded.port, embedded.url)


@pytest.fixture
def dial(broker: Broker) -> Iterator[Callable[[], Client]]:
    """
    Makes TCP connections on which nothing has been said.
    """
    with ExitStack() as stack:

        def dial() -> Client:
            client = Client(broker.port)
            stack.callback(client.drop)
            return client

        yield dial


@pytest.fixture
def connect(dial: Callable[[], Client]) -> Callable[..., Client]:
    """
    Makes connections that are open.
    """

    def connect(vhost: str = "/", **limits: int) -> Client:
        return dial().open(vhost, **limits)

    return connect


@pytest.fixture
def client(connect: Callable[..., Client]) -> Client:
    """
    A connection of the test's own.
    """
    return connect()


@pytest.fixture
def channel(client: Client) -> Channel:
    """
    A channel of it.
    """
    return client.channel()
