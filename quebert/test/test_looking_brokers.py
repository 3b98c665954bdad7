"""
Looking at dead letters changes nothing, on a real RabbitMQ: a quorum queue drops a
message that came back too often.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pika
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from quebert import operations
from quebert.amqp.queues import QUORUM, own_quorum
from quebert.amqp.queues import _browse as _browse
from quebert.errors import BrokerError
from quebert.operations import BrokerAccess, DeadLetter, Match, Progress
from quebert.test.conftest import Names
from quebert.test.operating import add_user
from quebert.test.support import Program
from quebert.testing import RabbitMQNode

pytestmark = pytest.mark.long

# What RabbitMQ 4 has by default; here for all versions.
LIMIT = {"x-delivery-limit": 20}
BODIES = [b'{"uuid": "u%d", "url": "/"}' % n for n in range(20)]
PROPERTIES: dict[str, Any] = {
    "content_type": "application/json",
    "delivery_mode": 2,
    "correlation_id": "c",
    "message_id": "m",
    "timestamp": 1_700_000_000,
    "headers": {"quebert-kind": "poison", "x-shop": 7, "x-death": [{"count": 1}]},
}

# ``quebert dead list``, which ends at once when it sees the message of that number.
KILLED = """
import itertools, os, signal, sys
from quebert.cli import main
from quebert.operations import _dead_letters

end, numbers = int(sys.argv.pop()), itertools.count(1)
def look(matches, letter):
    if next(numbers) == end:
        os.kill(os.getpid(), signal.SIGKILL)
    return True
_dead_letters.matched = look
main(sys.argv[1:])
"""


def ignore(letter: DeadLetter) -> None:
    """
    Do nothing with it.
    """


def fill(
    url: str, queue: str, arguments: dict[str, Any], bodies: Sequence[bytes] = BODIES
) -> None:
    """
    Have messages lie in a queue that is declared with these arguments.
    """
    with pika.BlockingConnection(pika.URLParameters(url + "%2f")) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(queue, durable=True, arguments=arguments)
        for body in bodies:
            properties = pika.BasicProperties(**PROPERTIES)
            channel.basic_publish("", queue, body, properties)


def drain(url: str, queue: str) -> list[tuple[bytes, pika.BasicProperties]]:
    """
    Take all messages of a queue.
    """
    found: list[tuple[bytes, pika.BasicProperties]] = []
    with pika.BlockingConnection(pika.URLParameters(url + "%2f")) as connection:
        channel = connection.channel()
        while True:
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            if method is None:
                return found
            found.append((body, properties))


def send_back(url: str, queue: str, times: int) -> None:
    """
    Have RabbitMQ count that all messages came back so often, in their order.
    """
    with pika.BlockingConnection(pika.URLParameters(url + "%2f")) as connection:
        channel = connection.channel()
        for _ in range(times):
            tags = [channel.basic_get(queue)[0].delivery_tag for _ in BODIES]
            for tag in tags:
                channel.basic_reject(tag, requeue=True)


async def all_back(asked: BrokerAccess, queue: str, count: int = len(BODIES)) -> None:
    """
    Wait until RabbitMQ has noticed the end of a program that held messages.
    """
    for _ in range(1_000):
        dead = (await operations.status(asked, queue)).dead
        if dead is not None and dead >= count:
            return
    raise AssertionError("they are not back")


@pytest.mark.parametrize("kind", ["classic", "quorum"])
@ensureDeferred
async def test_looks(
    rabbitmq: RabbitMQNode, start: Callable[..., Program], names: Names, kind: str
) -> None:
    """
    After 100 looks at 20 dead letters, ten of them killed half-way, all 20 are there.
    """
    dead = f"{names.queue}.dead"
    arguments = {"x-queue-type": kind, **(LIMIT if kind == "quorum" else {})}
    await deferToThread(fill, rabbitmq.url, dead, arguments)
    asked = BrokerAccess(reactor, rabbitmq.url)
    for n in range(100):
        if n % 10 == 5:
            where = f"--amqp-url={rabbitmq.url}"
            command = ("-c", KILLED, "dead", "list", names.queue, where)
            program = start(*command, str(1 + 2 * (n // 10)))
            assert await program.ended() == -9, program.output
            await all_back(asked, names.queue)
        elif n % 2:
            assert await operations.find(asked, names.queue, [], Progress())
        else:
            progress = await operations.browse(asked, names.queue, [], ignore)
            assert progress.seen >= len(BODIES)
    found = await deferToThread(drain, rabbitmq.url, dead)
    assert {body for body, _ in found} == set(BODIES)
    twice = len(found) - len(BODIES)  # each kill may leave so many copies
    assert twice <= 10 * _browse._COPIES_AT_ONCE, twice


@ensureDeferred
async def test_copies(rabbitmq: RabbitMQNode, names: Names) -> None:
    """
    A message that came back three times is replaced by a copy, with its properties as
    they were, when a person looks; and it keeps its place, also where only the first
    one is looked at.
    """
    dead = f"{names.queue}.dead"
    arguments = {"x-queue-type": "quorum", **LIMIT}
    await deferToThread(fill, rabbitmq.url, dead, arguments)
    await deferToThread(send_back, rabbitmq.url, dead, 3)
    asked = BrokerAccess(reactor, rabbitmq.url)
    letter = await operations.find(asked, names.queue, [], Progress())
    assert letter is not None
    assert letter.body == BODIES[0]
    found = await deferToThread(drain, rabbitmq.url, dead)
    assert [body for body, _ in found] == BODIES
    for _, properties in found:
        properties.headers.pop("x-delivery-count", None)  # 0: RabbitMQ 3.10 tells it
        assert {k: v for k, v in vars(properties).items() if v} == PROPERTIES


@ensureDeferred
async def test_order(rabbitmq: RabbitMQNode, names: Names) -> None:
    """
    Looking at one dead letter leaves all in their order, in a quorum queue as a
    mediator declares it: without a delivery limit, RabbitMQ puts what comes back at the
    end, and no more than 33 messages at once.
    """
    bodies = [b'{"uuid": "u%d", "url": "/"}' % n for n in range(60)]
    dead, asked = f"{names.queue}.dead", BrokerAccess(reactor, rabbitmq.url)
    async with asked.client() as (_, wire):
        arguments = {**QUORUM, **own_quorum(wire)}
    await deferToThread(fill, rabbitmq.url, dead, arguments, bodies)
    for number in (0, 7, 0):
        wanted = [Match("uuid", f"u{number}")]
        letter = await operations.find(asked, names.queue, wanted, Progress())
        assert letter is not None
        assert letter.body == bodies[number]
    found = await deferToThread(drain, rabbitmq.url, dead)
    assert [body for body, _ in found] == bodies


@ensureDeferred
async def test_no_copies(rabbitmq: RabbitMQNode, names: Names) -> None:
    """
    Where RabbitMQ takes no copy, the look fails with a sentence that says why, and all
    messages stay.
    """
    dead = f"{names.queue}.dead"
    await deferToThread(fill, rabbitmq.url, dead, {"x-queue-type": "quorum", **LIMIT})
    await deferToThread(send_back, rabbitmq.url, dead, 3)
    may_read = f"^{names.queue}.*"
    url = add_user(rabbitmq, "reader", (may_read, "^$", may_read))
    asked = BrokerAccess(reactor, url)
    with pytest.raises(BrokerError, match=r"takes no copy .*amq\.default"):
        await operations.browse(asked, names.queue, [], ignore)
    await all_back(BrokerAccess(reactor, rabbitmq.url), names.queue)
    found = await deferToThread(drain, rabbitmq.url, dead)
    assert {body for body, _ in found} == {*BODIES}


@ensureDeferred
async def test_broker_killed(
    own_rabbitmq: RabbitMQNode, start: Callable[..., Program], names: Names
) -> None:
    """
    RabbitMQ is killed after several looks, two of them killed half-way, after a discard
    and a redrive: those dead letters are there that should be.
    """
    url, queue, count = own_rabbitmq.url, names.queue, 600
    urls = ["/stays", "/dropped", "/redriven"] * (count // 3)
    bodies = [
        b'{"uuid": "%d", "url": "%s"}' % (n, u.encode()) for n, u in enumerate(urls)
    ]
    quorum = {"x-queue-type": "quorum"}
    await deferToThread(fill, url, queue, quorum, [])
    await deferToThread(fill, url, f"{queue}.dead", quorum, bodies)
    asked = BrokerAccess(reactor, url)
    for where in (count // 3, count // 2):
        command = ("-c", KILLED, "dead", "list", queue, f"--amqp-url={url}")
        program = start(*command, str(where))
        assert await program.ended() == -9, program.output
        await all_back(asked, queue, count)
        await operations.browse(asked, queue, [], ignore)
    dropped, redriven = (Match.parse(f"url={each}") for each in urls[1:3])
    assert await operations.discard(asked, queue, [dropped], Progress(), None)
    await operations.redrive(asked, queue, [redriven], Progress())
    await operations.browse(asked, queue, [], ignore)
    await deferToThread(own_rabbitmq.kill)
    await deferToThread(own_rabbitmq.start)
    twice = 0
    for place, wanted in ((queue, "/redriven"), (f"{queue}.dead", "/stays")):
        found = Counter(body for body, _ in await deferToThread(drain, url, place))
        assert set(found) == {body for body in bodies if wanted.encode() in body}, place
        twice += found.total() - len(found)
    assert twice <= 2 * _browse._COPIES_AT_ONCE, twice
