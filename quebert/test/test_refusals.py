"""
What RabbitMQ refuses of the tasks that are put back: none of it holds up others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults, succeed

from quebert._waiters import another_waiter
from quebert.amqp import TxAMQPClient, Watcher, WatchOptions
from quebert.amqp.queues import REASON
from quebert.amqp.wire import temporary_channel
from quebert.errors import MessageRefused
from quebert.mediator import DelayOnErrorMediator, Mediator, PolicyMediator
from quebert.outcome import Retry
from quebert.policy import RetryPolicy
from quebert.test.conftest import Names
from quebert.test.operating import add_user, set_permissions, set_policy
from quebert.test.support import PATIENCE, Executor, until
from quebert.testing import RabbitMQNode

#: Bytes that a message may have here.
MOST = 1_000_000
NEIGHBOURS = 100


@pytest.fixture(scope="module")
def broker(installed_rabbitmq: None) -> Iterator[RabbitMQNode]:
    """
    A RabbitMQ that takes no large messages.
    """
    with RabbitMQNode(f"max_message_size = {MOST}\n") as node:
        yield node


class Failing:
    """
    An executor that fails a large task three times, and others once.
    """

    def __init__(self, executor: Executor) -> None:
        self.attempts: dict[int, int] = {}
        executor.answer = self._answer

    def _answer(self, task: Any) -> int:
        n = task["n"]
        self.attempts[n] = self.attempts.get(n, 0) + 1
        return 200 if self.attempts[n] > (1 if n else 3) else 500

    def done(self) -> bool:
        """
        Whether all are.
        """
        wanted = {n: 2 if n else 4 for n in range(NEIGHBOURS + 1)}
        return self.attempts == wanted


def task(url: str, n: int, size: int = 0) -> bytes:
    """
    A task of so many bytes, at least.
    """
    body = json.dumps({"url": url, "n": n, "padding": ""}).encode()
    return body.replace(b'""', b'"%b"' % (b"x" * (size - len(body))))


def mediators(url: str) -> list[Mediator]:
    """
    One whose tasks tell of their failures, and one whose headers do.
    """
    policy = RetryPolicy(min_backoff=0.1, max_backoff=0.2)
    return [
        DelayOnErrorMediator(defaulturl=url, constant=1.1),
        PolicyMediator(defaulturl=url, policy=policy),
    ]


@pytest.mark.parametrize("which", [0, 1], ids=["body", "headers"])
@pytest.mark.parametrize("kind", ["classic", "quorum"])
@ensureDeferred
async def test_too_large(
    client: TxAMQPClient, names: Names, executor: Executor, which: int, kind: str
) -> None:
    """
    A task of the largest size is tried again until it is done, and others are not held
    up, though there may be no room to tell of its failures in it.
    """
    failing = Failing(executor)
    mediator = mediators(executor.url)[which]
    watcher = await client.watch(
        "",
        names.queue,
        "",
        mediator.messageReceived,
        options=WatchOptions(queue_type=kind),
    )
    large = task(executor.url, 0, MOST)
    bodies = [large, *(task(executor.url, n + 1) for n in range(NEIGHBOURS))]
    await gatherResults([client.publish("", names.queue, body) for body in bodies])
    await until(failing.done)
    await until(lambda: not watcher.in_flight)
    assert watcher.counts.done == NEIGHBOURS + 1
    assert watcher.counts.buried == 0


@ensureDeferred
async def test_larger_answer(
    client: TxAMQPClient, names: Names, executor: Executor
) -> None:
    """
    Where a callback answers with a body that is too large, the message is set aside as
    it came; others go back.
    """
    seen: list[bytes] = []

    def callback(message: Any) -> Any:
        seen.append(message.body)
        if message.body == b"grows":
            return b"x" * (MOST + 1)
        return None if seen.count(message.body) > 1 else Retry(after=0.1)

    watcher = await client.watch("", names.queue, "", callback)
    bodies = [b"grows", *(b"%d" % n for n in range(NEIGHBOURS))]
    await gatherResults([client.publish("", names.queue, body) for body in bodies])
    await until(lambda: watcher.counts.done == NEIGHBOURS)
    await until(lambda: watcher.counts.buried == 1)
    letters: list[Any] = []
    await client.watch("", f"{names.queue}.dead", "", lambda m: letters.append(m))
    await until(lambda: letters)
    assert letters[0].body == b"grows"
    assert "larger than" in letters[0].headers[REASON]


Mend = Callable[[], object]
Break = Callable[[RabbitMQNode, str], Mend]


def no_permission(node: RabbitMQNode, queue: str) -> Mend:
    """
    The mediator may not publish to queues.
    """
    set_permissions(node, "guest", (".*", "^quebert", ".*"))
    return lambda: set_permissions(node, "guest")


def full(node: RabbitMQNode, queue: str) -> Mend:
    """
    The queue is full.
    """
    rule = {"max-length": 0, "overflow": "reject-publish"}
    return set_policy(node, f"^{queue}$", rule)


def few_bytes(node: RabbitMQNode, queue: str) -> Mend:
    """
    The queue holds so many bytes already.
    """
    rule = {"max-length-bytes": 0, "overflow": "reject-publish"}
    return set_policy(node, f"^{queue}$", rule)


def full_rung(node: RabbitMQNode, queue: str) -> Mend:
    """
    No queue of the delay ladder takes anything.
    """
    rule = {"max-length": 0, "overflow": "reject-publish"}
    return set_policy(node, "^quebert.delay", rule)


@pytest.mark.parametrize(
    ("fault", "after"),
    [
        (no_permission, 0.0),
        (full, 0.0),
        (few_bytes, 0.0),
        (full_rung, 1.0),
    ],
)
@ensureDeferred
async def test_refused(
    broker: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    fault: Break,
    after: float,
) -> None:
    """
    What RabbitMQ refuses is kept until it does not; what is put back to another queue
    meanwhile goes its way.
    """
    url = add_user(broker, f"adder-{names.queue}")
    adding, seen = make_client(url), dict[bytes, int]()
    gate: Deferred[None] = succeed(None)

    async def callback(message: Any) -> Any:
        await another_waiter(gate)
        seen[message.body] = times = seen.get(message.body, 0) + 1
        return None if times > 1 else Retry(after=after)

    queue, other = names.queue, f"other-than-{names.key}"
    first = await adding.watch(
        "", queue, "", callback, options=WatchOptions(hold_up_to=0.0)
    )
    others = await adding.watch(
        "", other, "", callback, options=WatchOptions(hold_up_to=0.0)
    )
    await adding.publish("", queue, b"first")  # makes the ladder
    await until(lambda: first.counts.done)
    await first.stop()
    await gatherResults([adding.publish("", queue, b"%d" % n) for n in range(10)])
    gate = Deferred()
    watcher: Watcher = await make_client().watch(
        "", queue, "", callback, options=WatchOptions(hold_up_to=0.0)
    )
    await until(lambda: watcher.in_flight == 10)
    mend = fault(broker, queue)
    gate.callback(None)
    await until(lambda: watcher.held == 10)
    if fault is not full_rung:  # through which others go, too
        bodies = [b"other %d" % n for n in range(20)]
        await gatherResults([adding.publish("", other, body) for body in bodies])
        await until(lambda: others.counts.done == 20)
    assert watcher.counts.retried == 0
    mend()
    await until(lambda: watcher.counts.retried == watcher.counts.done == 10)
    assert watcher.counts.received == 20


@ensureDeferred
async def test_group(client: TxAMQPClient, names: Names) -> None:
    """
    Of messages that are published together, one that RabbitMQ finds too large is
    refused, and disturbs no other.
    """
    async with temporary_channel(await client.connected()) as channel:
        await channel.call("queue_declare", queue=names.queue, durable=True)
    bodies = [b"a", (MOST + 1) * b"x", b"b", MOST * b"x"]
    group = [("", names.queue, body, b"\0\0") for body in bodies]
    publisher = client.make_publisher()
    for _ in range(2):
        answers = await publisher.publish_group(group, PATIENCE)
        assert [each and type(each) for each in answers] == [
            None,
            MessageRefused,
            None,
            None,
        ]
    publisher.shut()
