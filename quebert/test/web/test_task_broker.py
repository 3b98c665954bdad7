"""
Tests for L{quebert.web.cluster._task_broker}, with a broker.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread

from quebert.amqp import TxAMQPClient
from quebert.amqp.queues import CLASSIC, declare_queue, depth
from quebert.amqp.wire import call_in_one_write
from quebert.created_tasks import NewTask, TaskBroker
from quebert.errors import (
    BrokerError,
    BrokerUnreachable,
    MessageRefused,
    PublishRefused,
    Unroutable,
)
from quebert.operations import BrokerAccess
from quebert.task_ends import ENDED, DeletionNote, decode_note
from quebert.test.conftest import AnyBroker, Names
from quebert.test.operating import close_connections
from quebert.test.support import short_of, until
from quebert.testing import RabbitMQNode, free_port
from quebert.web.cluster import _task_broker
from quebert.web.cluster._task_broker import PublishedTasks


class Tasks:
    """
    What publishes tasks, a queue of theirs, and a client that looks at it.
    """

    def __init__(self, url: str, queue: str) -> None:
        self.queue = queue
        self.client = TxAMQPClient.from_url(url)
        self.published = PublishedTasks(BrokerAccess(reactor, url))
        self.protocol: TaskBroker = self.published

    def new(self, count: int, **fields: Any) -> list[NewTask]:
        """
        New tasks, with different uuids.
        """
        return [
            NewTask(
                **{
                    "queue": self.queue,
                    "uuid": f"{self.queue}-{n}",
                    "body": json.dumps(
                        {"url": "http://a/", "uuid": f"{self.queue}-{n}"}
                    ).encode(),
                    "created": 1_800_000_000.5,
                    **fields,
                }
            )
            for n in range(count)
        ]

    async def publish(self, *tasks: NewTask) -> list[type | None]:
        """
        Publish tasks; the kinds of the answers.
        """
        answers = await self.published.publish(tasks)
        return [None if each is None else type(each) for each in answers]

    async def declare(self, **arguments: Any) -> None:
        """
        Have the queue there.
        """
        given = {name.replace("_", "-"): value for name, value in arguments.items()}
        wire = await self.client.connected()
        await declare_queue(wire, self.queue, {**CLASSIC, **given})

    async def ready(self) -> int:
        """
        How many tasks are in the queue.
        """
        found = await depth(await self.client.connected(), self.queue)
        assert found is not None
        return found.ready

    async def messages(self, queue: str = "") -> list[Any]:
        """
        Take all messages out of the queue, or another one.
        """
        channel = await (await self.client.connected()).open_channel()
        found = []
        while (message := await channel.get(queue or self.queue)) is not None:
            found.append(message)
            channel.ack(message.delivery_tag)
        await channel.shut()
        return found

    async def stop(self) -> None:
        """
        End.
        """
        await self.published.stop()
        await self.client.stop(0)


@pytest_twisted.async_yield_fixture
async def tasks(either: AnyBroker, names: Names) -> AsyncIterator[Tasks]:
    """
    Tasks on both brokers, in turn.
    """
    made = Tasks(either.url, names.queue)
    await made.declare()
    yield made
    await made.stop()


@pytest_twisted.async_yield_fixture
async def rabbitmq_tasks(rabbitmq: RabbitMQNode, names: Names) -> AsyncIterator[Tasks]:
    """
    Tasks on RabbitMQ.
    """
    made = Tasks(rabbitmq.url, names.queue)
    yield made
    await made.stop()


@ensureDeferred
async def test_published(tasks: Tasks) -> None:
    """
    Tasks arrive once each, in their order, and ask for end notes.
    """
    new = tasks.new(600)
    assert await tasks.publish(*new) == 600 * [None]
    messages = await tasks.messages()
    assert [each.body for each in messages] == [each.body for each in new]
    first = messages[0].properties
    assert first["message-id"] == f"{tasks.queue}-0"
    assert first["reply-to"] == ENDED
    assert (first["delivery-mode"], first["timestamp"]) == (2, 1_800_000_000)
    assert first["content-type"] == "application/json"


@ensureDeferred
async def test_no_queue(tasks: Tasks) -> None:
    """
    A task whose queue is not there is not added; others are.
    """
    [there] = tasks.new(1)
    [lacking] = tasks.new(1, queue=f"{tasks.queue}-not-there")
    [nameless] = tasks.new(1, queue=256 * "q")  # no queue can have that name
    answers = await tasks.published.publish([there, lacking, nameless, there])
    assert [answers[0], answers[3]] == [None, None]
    kinds = Unroutable, MessageRefused
    for answer, kind in zip(answers[1:3], kinds, strict=True):
        assert type(answer) is kind
        assert answer is not None
        assert answer.added is False
    assert await tasks.ready() == 2


@ensureDeferred
async def test_sizes(tasks: Tasks) -> None:
    """
    Bodies that need several frames, or are larger than many brokers take, arrive too.
    """
    bodies = [size * b"x" for size in (0, 200_000, 1, 400_000, 2)]
    new = [tasks.new(1, body=each)[0] for each in bodies]
    assert await tasks.publish(*new) == 5 * [None]
    found = sorted(len(each.body) for each in await tasks.messages())
    assert found == sorted(map(len, bodies))


@ensureDeferred
async def test_operations(tasks: Tasks) -> None:
    """
    A task that waits is cancelled, and stays; a queue that is not there has none.
    """
    [task] = tasks.new(1)
    await tasks.publish(task)
    uuid = task.uuid
    await declare_queue(await tasks.client.connected(), ENDED, CLASSIC)
    cancelled = await tasks.published.cancel(task, "ada")
    assert (cancelled.uuid, cancelled.result) == (uuid, "cancelled")
    assert await tasks.ready() == 1
    ran = await tasks.published.run_now(tasks.queue, uuid)
    assert (ran.uuid, ran.result) == (uuid, "not_delayed")
    other = f"{tasks.queue}-not-there"
    assert (await tasks.published.run_now(other, uuid)).result == "not_found"
    assert await tasks.published.has_queue(tasks.queue)
    assert not await tasks.published.has_queue(other)
    [lacking] = tasks.new(1, queue=other)
    assert (await tasks.published.cancel(lacking, "ada")).result == "not_found"
    notes = [decode_note(each.body) for each in await tasks.messages(ENDED)]
    assert notes[-2:] == [DeletionNote(uuid), DeletionNote(lacking.uuid)]


@ensureDeferred
async def test_no_queue_of_notes(tasks: Tasks) -> None:
    """
    Where the queue of notes is not there, that is not told as if it were the queue of
    the task.
    """
    wire: Any = await tasks.client.connected()
    await call_in_one_write(wire, [("queue_delete", {"queue": ENDED})])
    with pytest.raises(
        BrokerError, match=r"cannot be noted in quebert\.ended"
    ) as caught:
        await tasks.published.cancel(tasks.new(1)[0], "ada")
    assert not isinstance(caught.value, Unroutable)


@ensureDeferred
async def test_connection_lost(tasks: Tasks) -> None:
    """
    Where the connection is lost, nobody knows of what was sent; what comes later goes
    over the next one.
    """
    assert await tasks.publish(*tasks.new(1)) == [None]
    publishing = Deferred.fromCoroutine(tasks.published.publish(tasks.new(50)))
    channel: Any = tasks.published._publisher._channel
    channel.client.transport.abortConnection()
    answers = await publishing
    assert {each.added for each in answers if each is not None} <= {None}
    assert len([each for each in answers if each is not None]) > 0
    assert await tasks.publish(*tasks.new(2)) == [None, None]


@ensureDeferred
async def test_closed_by_the_broker(
    rabbitmq_tasks: Tasks, rabbitmq: RabbitMQNode
) -> None:
    """
    An operator may close the connection between two tasks.
    """
    tasks = rabbitmq_tasks
    await tasks.declare()
    for _ in range(2):
        assert await tasks.publish(*tasks.new(1)) == [None]
        channel: Any = tasks.published._publisher._channel
        await deferToThread(close_connections, rabbitmq)
        await until(partial(getattr, channel, "closed"))
    assert await tasks.ready() == 2


@ensureDeferred
async def test_full(rabbitmq_tasks: Tasks) -> None:
    """
    A queue that is full and rejects what is published refuses some.
    """
    tasks = rabbitmq_tasks
    await tasks.declare(x_max_length=2, x_overflow="reject-publish")
    for each in tasks.new(2):
        assert await tasks.publish(each) == [None]
    assert await tasks.publish(*tasks.new(3)) == 3 * [PublishRefused]
    assert await tasks.ready() == 2


@ensureDeferred
async def test_blocked(
    rabbitmq_tasks: Tasks, rabbitmq: RabbitMQNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    While RabbitMQ is short of memory, it is certain that later groups are not added;
    of the first nobody knows.  Then all goes on.
    """
    tasks = rabbitmq_tasks
    await tasks.declare()
    assert await tasks.publish(*tasks.new(1)) == [None]
    monkeypatch.setattr(_task_broker, "PATIENCE", 0.5)
    with short_of("memory", rabbitmq):
        first = await tasks.published.publish(tasks.new(2))
        assert [each is not None and each.added for each in first] == [None, None]
        await until(lambda: tasks.published.blocked)
        later = await tasks.published.publish(tasks.new(2))
        assert [each is not None and each.added for each in later] == [False, False]
    monkeypatch.undo()
    await until(lambda: not tasks.published.blocked)
    assert await tasks.publish(*tasks.new(1)) == [None]


@ensureDeferred
async def test_one_by_one(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Tasks that come one by one in a turn of the reactor are published together, those of
    each queue by themselves; each has its own answer, and one that nobody waits for any
    more harms no other.
    """
    groups: list[list[str]] = []
    publish_group = tasks.published._publisher.publish_group

    def noting(messages: Any, timeout: float) -> Any:
        groups.append([queue for _, queue, _, _ in messages])
        return publish_group(messages, timeout)

    monkeypatch.setattr(tasks.published._publisher, "publish_group", noting)
    new = [*tasks.new(3), *tasks.new(1, queue="no such queue"), *tasks.new(2)]
    publishing = [Deferred.fromCoroutine(tasks.publish(each)) for each in new]
    publishing[1].addErrback(lambda failure: failure.trap(CancelledError))
    publishing[1].cancel()
    answers = [await each for each in publishing]
    assert answers == [[None], CancelledError, [None], [Unroutable], [None], [None]]
    assert groups == [[tasks.queue] * 5, ["no such queue"]]
    assert await tasks.ready() == 5


@ensureDeferred
async def test_one_fails(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where they cannot be published together, each has the reason.
    """

    async def failing(messages: Any, timeout: float) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(tasks.published._publisher, "publish_group", failing)
    publishing = [Deferred.fromCoroutine(tasks.publish(t)) for t in tasks.new(2)]
    for each in publishing:
        with pytest.raises(ZeroDivisionError):
            await each


@ensureDeferred
async def test_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where there is no broker, no task is added.
    """
    monkeypatch.setattr(_task_broker, "PATIENCE", 0.2)
    url = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    tasks = Tasks(url, "tasks")
    try:
        answers = await tasks.published.publish(tasks.new(2))
        assert [type(each) for each in answers] == 2 * [BrokerUnreachable]
        assert [each is not None and each.added for each in answers] == [False, False]
    finally:
        await tasks.stop()


@pytest.mark.long
@ensureDeferred
async def test_killed(own_rabbitmq: RabbitMQNode, names: Names) -> None:
    """
    When RabbitMQ is killed, all that it has confirmed is there afterwards.
    """
    tasks = Tasks(own_rabbitmq.url, names.queue)
    try:
        await tasks.declare()
        confirmed = 0
        publishing = []
        for _ in range(20):
            group = Deferred.fromCoroutine(tasks.published.publish(tasks.new(200)))
            publishing.append(group)
        confirmed += sum(each is None for each in await publishing.pop(0))
        await deferToThread(own_rabbitmq.kill)
        await deferToThread(own_rabbitmq.start)
        for each in publishing:
            answers = await each
            confirmed += sum(answer is None for answer in answers)
        assert confirmed >= 200
        assert await tasks.ready() >= confirmed
    finally:
        await tasks.stop()
