"""
What the pytest-style tests share: one private RabbitMQ, clients and queues of
their own on it, and a web server that does as it is told.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pika
import pytest
import pytest_twisted
from twisted.internet import reactor as global_reactor

from quebert.amqp import TxAMQPClient
from quebert.errors import QuebertError
from quebert.test.support import Executor, Program
from quebert.testing import RabbitMQNode, find_rabbitmq


def pytest_sessionstart() -> None:
    """
    Without a RabbitMQ most of this cannot be tested: say so once, and end.
    """
    try:
        find_rabbitmq()
    except QuebertError as e:
        pytest.exit(str(e), returncode=1)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQNode]:
    """
    A RabbitMQ that all tests share, none of which may stop it.
    """
    with RabbitMQNode() as node:
        yield node


@pytest.fixture
def own_rabbitmq() -> Iterator[RabbitMQNode]:
    """
    A RabbitMQ for one test, to be stopped and killed.
    """
    with RabbitMQNode() as node:
        yield node


_numbers = itertools.count(1)


@attrs.frozen
class Names:
    """
    An exchange, a queue and a routing key that no other test uses.
    """

    exchange: str
    queue: str
    key: str


@pytest.fixture
def names() -> Names:
    """
    Names for the test's own topology.
    """
    n = next(_numbers)
    return Names(f"flow-{n}", f"queue-{n}", f"tasks-{n}.#")


@pytest_twisted.async_yield_fixture
async def make_client(
    rabbitmq: RabbitMQNode,
) -> AsyncIterator[Callable[..., TxAMQPClient]]:
    """
    Makes clients that are stopped after the test.
    """
    clients: list[TxAMQPClient] = []

    def make(url: str = rabbitmq.url, **options: Any) -> TxAMQPClient:
        clients.append(TxAMQPClient.from_url(url, **options))
        return clients[-1]

    yield make
    for each in clients:
        await each.stop(grace=0)


@pytest.fixture
def client(make_client: Callable[..., TxAMQPClient]) -> TxAMQPClient:
    """
    A client of the shared broker.
    """
    return make_client()


@pytest.fixture
def pika_channel(rabbitmq: RabbitMQNode) -> Iterator[Any]:
    """
    A channel of another client library, in confirm mode.
    """
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url + "%2f"))
    channel = connection.channel()
    channel.confirm_delivery()
    yield channel
    connection.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """
    Starts programs, which are killed after the test.
    """
    programs: list[Program] = []

    def start(*arguments: str, **environment: str) -> Program:
        folder = tmp_path / str(len(programs))
        folder.mkdir()
        programs.append(Program(folder, arguments, environment))
        return programs[-1]

    yield start
    for each in programs:
        each.kill()


@pytest_twisted.async_yield_fixture
async def executor() -> AsyncIterator[Executor]:
    """
    A web server that answers as the test tells it to.
    """
    server = Executor(global_reactor)
    yield server
    await server.close()
