"""
C{nginx.conf} and C{haproxy.cfg} of C{examples/deploy}: a real nginx and a real HAProxy
between a real mediator and two executors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.web.server import Request

from quebert.amqp import TxAMQPClient
from quebert.test.conftest import Names
from quebert.test.mediated_queue import MediatedQueue
from quebert.test.real_proxy import DEPLOY, RealProxy
from quebert.test.support import Executor, logged, until
from quebert.testing import EmbeddedBroker

pytestmark = pytest.mark.skipif(not DEPLOY.exists(), reason="not in a checkout")


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """
    A broker of this module's: these tests are about none.
    """
    with EmbeddedBroker() as embedded:
        yield embedded


class ProxiedExecutor(Executor):
    """
    Can be killed, and knows who asked it what.

    @ivar asked: of each request the number of its task, and which attempt it was.
    @ivar ports: those of the clients.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self.asked: list[tuple[int, int]] = []
        self.ports: set[int] = set()
        self._channels: set[Any] = set()

    @property
    def place(self) -> str:
        """
        Its address and port.
        """
        return self.url.removeprefix("http://")

    def render(self, request: Request) -> int:
        """
        Note who asks, and answer.
        """
        transport: Any = request.transport
        self.ports.add(transport.getPeer().port)
        self._channels.add(request.channel)
        answered = super().render(request)
        attempt = int(self.headers[-1]["quebert-attempt"])
        self.asked.append((self.tasks[-1]["params"]["n"], attempt))
        return answered

    async def kill(self) -> None:
        """
        End as a process does: all connections are gone.
        """
        await self.close()
        for each in self._channels:
            each.transport.abortConnection()


@pytest_twisted.async_yield_fixture
async def executors() -> Any:
    """
    Two executors.
    """
    both = ProxiedExecutor(global_reactor), ProxiedExecutor(global_reactor)
    yield both
    for each in both:
        await each.kill()


StartProxy = Callable[..., "Deferred[RealProxy]"]


@pytest.fixture
def start_proxy(
    tmp_path: Path, executors: tuple[ProxiedExecutor, ProxiedExecutor]
) -> Iterator[StartProxy]:
    """
    Starts a proxy before the two executors.
    """
    proxies: list[RealProxy] = []

    def start(name: str, **changes: str) -> Deferred[RealProxy]:
        first, second = executors
        ports = {"127.0.0.1:8001": first.place, "127.0.0.1:8002": second.place}
        file = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[name]
        proxies.append(RealProxy(name, file, tmp_path, {**ports, **changes}))
        return Deferred.fromCoroutine(proxies[-1].started())

    yield start
    for each in proxies:
        each.end()


each_proxy = pytest.mark.parametrize("name", ["nginx", "haproxy"])


@each_proxy
@pytest_twisted.ensureDeferred
async def test_shared(
    name: str,
    start_proxy: StartProxy,
    executors: tuple[ProxiedExecutor, ProxiedExecutor],
    client: TxAMQPClient,
    names: Names,
) -> None:
    """
    Executors share the tasks over few connections.  A 500 of one of them comes to the
    mediator, which alone tries again.
    """
    proxy = await start_proxy(name)
    queue = await MediatedQueue.at(proxy.url, client, names, at_once=4)
    executors[0].answer = lambda task: 500
    await queue.add(30)
    await until(lambda: len(executors[0].asked) > 10)
    executors[0].answer = lambda task: 200
    await queue.all_done()

    asked = executors[0].asked + executors[1].asked
    assert executors[1].asked
    assert len(asked) == len(set(asked)) == 30 + queue.watcher.counts.retried
    for each in executors:
        assert len(each.ports) < len(each.asked)
        assert {seen["host"] for seen in each.headers} == {f"127.0.0.1:{proxy.port}"}


@each_proxy
@pytest_twisted.ensureDeferred
async def test_least_busy(
    name: str,
    start_proxy: StartProxy,
    executors: tuple[ProxiedExecutor, ProxiedExecutor],
    client: TxAMQPClient,
    names: Names,
) -> None:
    """
    An executor that is busy gets no more tasks while another is free.
    """
    proxy = await start_proxy(name)
    busy, free = executors
    answer: Deferred[int] = Deferred()
    busy.answer = lambda task: answer
    queue = await MediatedQueue.at(proxy.url, client, names, at_once=2)
    await queue.add(20)
    await until(lambda: len(free.asked) == 19)
    assert len(busy.asked) == 1
    answer.callback(200)
    await queue.all_done()


@each_proxy
@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest_twisted.ensureDeferred
async def test_killed(
    name: str,
    method: str,
    start_proxy: StartProxy,
    executors: tuple[ProxiedExecutor, ProxiedExecutor],
    client: TxAMQPClient,
    names: Names,
) -> None:
    """
    The tasks of an executor that is killed are done by the other.  No attempt reaches
    both, whatever the method.
    """
    proxy = await start_proxy(name)
    killed, other = executors
    for each in executors:
        each.answer = lambda task: Deferred()
    queue = await MediatedQueue.at(proxy.url, client, names, at_once=6)
    await queue.add(6, method=method)
    await until(lambda: (len(killed.asked), len(other.asked)) == (3, 3))
    other.answer = lambda task: 200
    with logged() as lines:
        await killed.kill()
        await until(lambda: len(queue.done) == 3)
    told = [line for line in lines if line.endswith("task was answered 502")]
    assert len(told) >= 3, lines
    asked = killed.asked + other.asked
    assert len(asked) == len(set(asked)), asked
    # Those of the other are still there, and no one else has them.
    assert {n for n, _ in killed.asked} == set(queue.done)


@each_proxy
@pytest_twisted.ensureDeferred
async def test_large(
    name: str,
    start_proxy: StartProxy,
    executors: tuple[ProxiedExecutor, ProxiedExecutor],
    client: TxAMQPClient,
    names: Names,
) -> None:
    """
    The largest task passes.
    """
    proxy = await start_proxy(name)
    queue = await MediatedQueue.at(proxy.url, client, names, at_once=2)
    await queue.add(1, more="x" * (16 * 2**20 - 100))
    await queue.all_done()


@pytest_twisted.ensureDeferred
async def test_default_size(
    start_proxy: StartProxy, client: TxAMQPClient, names: Names
) -> None:
    """
    Without the setting, nginx refuses a task of more than 1 MiB.
    """
    setting = "client_max_body_size 16m;"
    proxy = await start_proxy("nginx", **{setting: ""})
    queue = await MediatedQueue.at(proxy.url, client, names, at_once=2)
    told = f"POST {proxy.url}task was answered 413"
    with logged() as lines:
        await queue.add(1, more="x" * (2**20 + 1))
        await until(lambda: any(told in line for line in lines))
        await until(lambda: queue.watcher.counts.retried)


@each_proxy
@pytest_twisted.ensureDeferred
async def test_hang_up(
    name: str,
    start_proxy: StartProxy,
    executors: tuple[ProxiedExecutor, ProxiedExecutor],
    client: TxAMQPClient,
    names: Names,
) -> None:
    """
    If a task takes longer than its timeout, the mediator hangs up, and so does the
    proxy.  The executor is told by nothing else.
    """
    proxy = await start_proxy(name)
    for each in executors:
        each.answer = lambda task: Deferred()
    queue = await MediatedQueue.at(proxy.url, client, names, at_once=2)
    # nginx has a status of its own for that, HAProxy a state of the connection.
    hung_up = {"nginx": '" 499 ', "haproxy": " CD-- "}[name]
    with logged() as lines:
        await queue.add(1, timeout=0.5)
        await until(lambda: hung_up in proxy.log.read_text(), shown=proxy.log.read_text)
        await until(lambda: queue.watcher.counts.retried)
    assert any("no complete answer within 0.5 s" in line for line in lines)
    assert executors[0].asked or executors[1].asked
    for each in executors:
        each.answer = lambda task: 200
    await queue.all_done()
    await until(lambda: executors[0].now + executors[1].now == 0)


@pytest_twisted.ensureDeferred
async def test_read_timeout(
    start_proxy: StartProxy,
    executors: tuple[ProxiedExecutor, ProxiedExecutor],
    client: TxAMQPClient,
    names: Names,
) -> None:
    """
    nginx answers 504 where its time is shorter than that of the task.
    """
    proxy = await start_proxy(
        "nginx", **{"proxy_read_timeout 1510s": "proxy_read_timeout 1s"}
    )
    for each in executors:
        each.answer = lambda task: Deferred()
    queue = await MediatedQueue.at(proxy.url, client, names, at_once=2)
    with logged() as lines:
        await queue.add(1)
        await until(lambda: queue.watcher.counts.retried)
    assert any(line.endswith("task was answered 504") for line in lines), lines


@pytest_twisted.ensureDeferred
async def test_line(
    start_proxy: StartProxy,
    executors: tuple[ProxiedExecutor, ProxiedExecutor],
    client: TxAMQPClient,
    names: Names,
) -> None:
    """
    HAProxy gives no executor more tasks at once than it can do.  Others wait, and none
    fails.
    """
    proxy = await start_proxy("haproxy", **{"maxconn 20": "maxconn 1"})
    for each in executors:
        each.answer = lambda task: deferLater(global_reactor, 0.005, lambda: 200)
    queue = await MediatedQueue.at(proxy.url, client, names, at_once=20)
    await queue.add(40)
    await queue.all_done()
    assert [each.most for each in executors] == [1, 1]
    assert queue.watcher.counts.retried == 0
