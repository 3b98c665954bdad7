"""
C{quebert status} and L{overview<quebert.operations.overview>}, on real brokers: with
RabbitMQ's management API, and without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from quebert import operations
from quebert.amqp import TxAMQPClient
from quebert.operations import BrokerAccess, Due, Overview, Status
from quebert.outcome import Outcome, Retry
from quebert.test.conftest import AnyBroker, Names
from quebert.test.operating import add_user, add_vhost
from quebert.test.support import Program, options_of, until
from quebert.testing import RabbitMQNode, free_port

MakeClient = Callable[..., TxAMQPClient]
# RabbitMQ counts ten times as often as it does by default.
CONFIGURATION = """
management.tcp.ip = 127.0.0.1
management.tcp.port = {port}
collect_statistics_interval = 500
"""


@attrs.frozen
class Managed:
    """
    A RabbitMQ with its management API.
    """

    node: RabbitMQNode
    url: str


@pytest.fixture
def managed(installed_rabbitmq: None) -> Iterator[Managed]:
    """
    One for a test.
    """
    port = free_port()
    plugins = ["rabbitmq_management"]
    with RabbitMQNode(CONFIGURATION.format(port=port), plugins) as node:
        yield Managed(node, f"http://127.0.0.1:{port}")


class Worker:
    """
    A watch whose callbacks run until they are let finish; but C{b"done"} is done at
    once, and a body that is a number is tried again, once, after so many seconds.

    @ivar came_back: the bodies of those, in their order.
    """

    def __init__(self) -> None:
        self.began = 0
        self.came_back: list[bytes] = []
        self._running: list[Deferred[None]] = []

    def __call__(self, message: Any) -> Outcome | Deferred[None] | None:
        has_past = "quebert-attempts" in message.properties.get("headers", {})
        if has_past:
            self.came_back.append(message.body)
        if message.body == b"done" or has_past:
            return None
        if message.body.isdigit():
            return Retry(after=float(message.body), headers={"quebert-attempts": 1})
        self.began += 1
        self._running.append(Deferred())
        return self._running[-1]

    def finish(self) -> None:
        """
        Let all finish that run.
        """
        while self._running:
            self._running.pop().callback(None)


async def watch(client: TxAMQPClient, names: Names, *bodies: bytes) -> Worker:
    """
    Have a worker take tasks, three at a time.
    """
    worker = Worker()
    await client.watch(
        names.exchange, names.queue, names.key, worker, **options_of({"maxEvents": 3})
    )
    for body in bodies:
        await client.publish("", names.queue, body, {"delivery-mode": 2})
    return worker


async def found_when(
    client: TxAMQPClient,
    broker: BrokerAccess,
    queue: str,
    wanted: Callable[[Status], Any],
) -> Overview:
    """
    An overview of a queue, as soon as it is as wanted.  One task comes for each look,
    which is done at once.
    """
    while True:
        found = await operations.overview(broker, [queue, "nope"])
        if wanted(found.queues[queue]):
            return found
        await client.publish("", queue, b"done", {"delivery-mode": 2})


@ensureDeferred
async def test_management(
    managed: Managed,
    make_client: MakeClient,
    names: Names,
    start: Callable[..., Program],
) -> None:
    """
    The API tells how many tasks run, and the rates.  A user without the tag for it is
    told so, and everything else.
    """
    client = make_client(managed.node.url)
    worker = await watch(client, names, b"600", b"90000", b"a", b"b")
    await until(lambda: worker.began == 2)
    access = BrokerAccess(reactor, managed.node.url, managed.url)

    def is_known(now: Status) -> bool:
        rates = now.rate_in and now.rate_out
        return bool(rates) and now.running == 2 and now.retrying == 2

    found = await found_when(client, access, names.queue, is_known)
    now = found.queues[names.queue]
    assert found.management == managed.url
    assert (now.unknown, now.problems, now.delayed) == ({}, (), Due())
    assert found.queues["nope"].exists is False
    assert (found.elsewhere, found.exact) == (Due(hour=1, later=1), True)
    worker.finish()

    plain = add_user(managed.node, "plain")
    program = start(
        *("-m", "quebert", "status", names.queue, "--json", f"--amqp-url={plain}"),
        f"--management-url={managed.url}",
    )
    assert await program.ended() == 0, program.output
    (told,) = json.loads(program.output)["queues"]
    assert (told["retrying"], told["running"], told["rate_in"]) == (2, None, None)
    assert "refuses user plain with 401: Not management" in told["unknown"]["running"]


@ensureDeferred
@pytest.mark.new_queues
async def test_without_management(
    either: AnyBroker, make_client: MakeClient, names: Names
) -> None:
    """
    Without it, what runs is unknown.  Tasks that wait elsewhere are looked at, which
    does them no harm: they come in time, once.
    """
    # The ladder of others may hold more tasks than are looked at.
    url = either.url
    if isinstance(either, RabbitMQNode):
        url = add_vhost(either, names.queue)
    client = make_client(url)
    access = BrokerAccess(reactor, url)
    worker = await watch(client, names, b"600", b"700", b"7000")
    queue = names.queue
    found = await found_when(client, access, queue, lambda now: now.retrying == 3)
    now = found.queues[names.queue]
    assert (now.running, now.rate_in, now.rate_out) == (None, None, None)
    assert "management" in now.unknown["running"]
    assert now.consumers == 1
    for body in (b"3", b"4"):
        await client.publish("", queue, body, {"delivery-mode": 2})
    await found_when(client, access, queue, lambda now: len(worker.came_back) == 2)
    assert sorted(worker.came_back) == [b"3", b"4"]
    found = await found_when(client, access, queue, lambda now: now.retrying == 3)
    assert found.queues[queue].delayed == Due()
    assert sorted(worker.came_back) == [b"3", b"4"]
