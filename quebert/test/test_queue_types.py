"""
The types of the queues that quebert makes for itself on RabbitMQ, in virtual hosts with
this default or that.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from quebert.amqp import TxAMQPClient
from quebert.amqp.delays import UNCLAIMED, arrivals_of
from quebert.amqp.wire import version_of
from quebert.outcome import Bury, Outcome, Retry
from quebert.test.conftest import Names
from quebert.test.operating import add_vhost
from quebert.test.support import options_of, until
from quebert.testing import RabbitMQNode

MakeClient = Callable[..., TxAMQPClient]
PERSISTENT = {"delivery-mode": 2}
_numbers = itertools.count(1)


@attrs.frozen
class Declared:
    """
    A queue as RabbitMQ lists it.
    """

    type: str
    arguments: dict[str, Any]


class VirtualHost:
    """
    A virtual host of its own.

    @ivar url: its AMQP URL.
    """

    def __init__(self, node: RabbitMQNode, queue_type: str) -> None:
        self._node = node
        self._name = f"default-{queue_type}-{next(_numbers)}"
        self.url = add_vhost(node, self._name, queue_type)

    def queues(self) -> dict[str, Declared]:
        """
        Its queues.
        """
        columns = ("--no-table-headers", "name", "type", "arguments")
        listed = self._node.ctl("list_queues", "--vhost", self._name, *columns)
        queues = {}
        for line in listed.splitlines():
            name, kind, arguments = line.split("\t")
            pairs = ast.literal_eval(arguments.replace("{", "(").replace("}", ")"))
            queues[name] = Declared(kind, dict(pairs))
        return queues


def called(message: Any) -> Outcome | None:
    """
    Put a message back for later the first time, and then give it up.
    """
    if "x-death" in message.headers:
        return Bury("it has waited")
    return Retry(after=1)


async def go_through(client: TxAMQPClient, names: Names, **options: Any) -> None:
    """
    Have a task wait in the broker, and then be given up, of a queue with a shared rate.
    """
    watcher = await client.watch(
        names.exchange,
        names.queue,
        names.key,
        called,
        **options_of({"hold_up_to": 0, "rate": 99, **options}),
    )
    await client.publish("", names.queue, b"task", PERSISTENT)
    await until(lambda: watcher.counts.buried == 1)


@ensureDeferred
@pytest.mark.parametrize("default", ["classic", "quorum"])
async def test_types(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names, default: str
) -> None:
    """
    The queue of the dead is of the type of the task queue; the others have theirs,
    whatever the default of the virtual host.
    """
    vhost = await deferToThread(VirtualHost, rabbitmq, default)
    client = make_client(vhost.url, quorumDelays=False)
    own: dict[str, str | None] = {"a": None, "b": "classic", "c": "quorum"}
    for queue, queue_type in own.items():
        queue_names = Names(names.exchange, queue, queue)
        await go_through(client, queue_names, queue_type=queue_type)
    queues = await deferToThread(vhost.queues)
    version = version_of(await client.connected()) or ()
    for queue, queue_type in own.items():
        kind = queue_type or default
        assert queues.pop(queue).type == kind
        dead = queues.pop(f"{queue}.dead")
        assert dead.type == kind
        limitless = kind == "quorum" and version >= (4,)
        assert dead.arguments.get("x-delivery-limit") == (-1 if limitless else None)
    for name, each in queues.items():  # a rate is shared beside a quorum queue by such
        assert each.type == ("quorum" if name.endswith(".quorum") else "classic")
    for part in ("quebert.control.", "quebert.delay.wait.1s", "quebert.rate.a"):
        assert any(name.startswith(part) for name in queues)


@ensureDeferred
async def test_there_already(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    Queues that an earlier version declared without a type, or somebody else with
    another, are used as they are.
    """
    vhost = await deferToThread(VirtualHost, rabbitmq, "quorum")
    client = make_client(vhost.url, quorumDelays=False)
    wire = await client.connected()
    channel = await wire.open_channel(confirms=False)
    for queue in (UNCLAIMED, arrivals_of(names.queue)):
        await channel.call("queue_declare", queue=queue, durable=True)
    rate, expires = f"quebert.rate.{names.queue}", {"x-expires": 600_000}
    for queue, how in (
        (rate, expires),
        (f"{rate}.spare", {**expires, "x-max-length": 100, "x-message-ttl": 1_000}),
        (f"{names.queue}.dead", {"x-queue-type": "classic", "x-max-length": 7}),
    ):
        await channel.call("queue_declare", queue=queue, durable=True, arguments=how)
    await go_through(client, names, queue_type="quorum")
    queues = await deferToThread(vhost.queues)
    assert queues[arrivals_of(names.queue)].type == queues[rate].type == "quorum"
    assert queues[f"{names.queue}.dead"].type == "classic"
