"""
What the pytest-style tests share: a broker, clients and queues of their own on it,
and a web server that does as it is told.

The broker is the embedded one, with C{--broker=rabbitmq} a RabbitMQ, and with
C{--broker=both} each of them in turn.  What is about RabbitMQ itself uses that, and
fails where it is not installed.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import attrs
import pika
import pytest
import pytest_twisted
from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater

from quebert.amqp import TxAMQPClient
from quebert.amqp.queues import _new_queues
from quebert.errors import QuebertError
from quebert.test.postgresql import PostgreSQLServer, find_postgresql
from quebert.test.support import Executor, Program
from quebert.testing import EmbeddedBroker, RabbitMQNode, find_rabbitmq

if TYPE_CHECKING:
    from quebert.test.page import Browser

#: What a test may have for a broker: both have a C{url}, a C{port}, and
#: C{depths()}.
AnyBroker = Union[EmbeddedBroker, RabbitMQNode]


def pytest_addoption(parser: pytest.Parser) -> None:
    """
    Another broker can be chosen for all tests that suit either.
    """
    parser.addoption(
        "--broker",
        choices=["embedded", "rabbitmq", "both"],
        default="embedded",
        help="the broker of the tests that are not about one of them",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """
    With C{--broker=both}, have each test that suits either broker on both.  One that
    is marked C{any_broker} has the embedded one.
    """
    chosen = metafunc.config.getoption("--broker")
    if chosen == "both" and "chosen_broker" in metafunc.fixturenames:
        marked = metafunc.definition.get_closest_marker("any_broker") is not None
        brokers = ["embedded"] if marked else ["embedded", "rabbitmq"]
        metafunc.parametrize("chosen_broker", brokers, indirect=True, scope="session")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """
    Mark the tests that start a RabbitMQ, and those that run on the broker that
    C{--broker} names.  Their fixtures tell, and what these are parametrized with.
    """
    same: set[pytest.Item] = set()
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        parameters = dict(item.callspec.params) if hasattr(item, "callspec") else {}
        chosen = parameters.pop("chosen_broker", None)
        if "installed_rabbitmq" in fixtures or "rabbitmq" in parameters.values():
            item.add_marker("rabbitmq")
        elif "chosen_broker" in fixtures and "embedded" not in parameters.values():
            if item.get_closest_marker("any_broker") is None:
                item.add_marker("broker")
            continue
        if chosen == "rabbitmq":
            same.add(item)  # as on the embedded broker: it uses neither
    if same:
        config.hook.pytest_deselected(items=list(same))
        items[:] = [item for item in items if item not in same]


def pytest_collection_finish() -> None:
    """
    Have no garbage collection look at what is imported and collected by now: half a
    million objects, for each of which it would take a microsecond, every time.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """
    Leave the call in which a thread has told the reactor its result, if a test or a
    fixture ended there.  A test of trial that comes next may run the reactor to see
    that nothing is left, which makes such a call once more.
    """
    result = yield
    reactor: Any = global_reactor
    if reactor.threadCallQueue:
        pytest_twisted.blockon(deferLater(reactor, 0))
    return result


@pytest.fixture(scope="session")
def broker(chosen_broker: AnyBroker) -> AnyBroker:
    """
    A broker that all tests share, none of which may stop it.  Modules that are
    about RabbitMQ have it be one.
    """
    return chosen_broker


@pytest.fixture(scope="session")
def chosen_broker(request: pytest.FixtureRequest) -> Iterator[AnyBroker]:
    """
    The broker that C{--broker} names.
    """
    chosen = getattr(request, "param", request.config.getoption("--broker"))
    if chosen == "rabbitmq":
        yield request.getfixturevalue("rabbitmq")
    else:
        with EmbeddedBroker() as embedded:
            yield embedded


@pytest.fixture(scope="session")
def installed_rabbitmq() -> None:
    """
    What starts a L{RabbitMQNode} asks for this.  Where RabbitMQ is not installed,
    tests fail: none is skipped for that.
    """
    missing = ""
    try:
        find_rabbitmq()
    except QuebertError as e:
        missing = str(e)
    if missing:
        pytest.fail(missing, pytrace=False)


@pytest.fixture(scope="session")
def rabbitmq(installed_rabbitmq: None) -> Iterator[RabbitMQNode]:
    """
    A RabbitMQ that all tests share.  Those that stop it ask for
    L{restartable_rabbitmq}.
    """
    with RabbitMQNode() as node:
        yield node


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQLServer]:
    """
    A PostgreSQL that all tests share, none of which may stop it.
    """
    if find_postgresql() is None:
        pytest.skip("PostgreSQL is not installed: sh .ci/servers installs it")
    with PostgreSQLServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def history_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """
    A database for a history, of both kinds in turn.
    """
    if request.param == "sqlite":
        return str(tmp_path / "history.sqlite3")
    server: PostgreSQLServer = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """
    A browser for all tests of a module.
    """
    from quebert.test.page import chromium

    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def expect(browser: Browser) -> Any:
    """
    C{expect} of Playwright: it waits until something is so.
    """
    from playwright.sync_api import expect

    return expect


@pytest.fixture
def restartable_rabbitmq(rabbitmq: RabbitMQNode) -> Iterator[RabbitMQNode]:
    """
    The shared RabbitMQ for one test, which may stop it and start it: starting another
    one takes about 5 s of a processor.  It runs afterwards, whatever happened.

    A test that kills RabbitMQ asks for L{own_rabbitmq}: quorum queues that were new may
    have no leader afterwards, and later tests would wait for them.
    """
    try:
        yield rabbitmq
    finally:
        if not rabbitmq.running:
            rabbitmq.start()


@pytest.fixture(params=["embedded", "rabbitmq"])
def either(request: pytest.FixtureRequest) -> Iterator[AnyBroker]:
    """
    Both brokers, in turn.
    """
    if request.param == "rabbitmq":
        yield request.getfixturevalue("rabbitmq")
    else:
        with EmbeddedBroker() as embedded:
            yield embedded


@pytest.fixture(autouse=True)
def old_queues(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    No queue is new.  To wait for each takes minutes in all, and most tests do not kill
    RabbitMQ.  Those that may kill it wait, those that are marked C{new_queues}, and all
    processes.
    """
    may_kill = "own_rabbitmq" in request.fixturenames
    if not may_kill and request.node.get_closest_marker("new_queues") is None:
        monkeypatch.setattr(_new_queues, "NEW", 0.0)


@pytest.fixture
def own_rabbitmq(installed_rabbitmq: None) -> Iterator[RabbitMQNode]:
    """
    A RabbitMQ for one test, with nothing of others in it.
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
    return Names(f"flow-of-test-{n}", f"queue-of-test-{n}", f"tasks-{n}.#")


@pytest_twisted.async_yield_fixture
async def make_client(
    broker: AnyBroker,
) -> AsyncIterator[Callable[..., TxAMQPClient]]:
    """
    Makes clients that are stopped after the test.
    """
    clients: list[TxAMQPClient] = []

    def make(url: str = broker.url, **options: Any) -> TxAMQPClient:
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
def pika_channel(broker: AnyBroker) -> Iterator[Any]:
    """
    A channel of another client library, in confirm mode.
    """
    connection = pika.BlockingConnection(pika.URLParameters(broker.url + "%2f"))
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
