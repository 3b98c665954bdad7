"""
Mediators that end, suddenly or in good order, with tasks in flight: no task is lost,
and the task that ends its mediator is set aside.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from quebert.amqp import TxAMQPClient, WatchOptions
from quebert.amqp.queues import KIND, REASON, depth
from quebert.amqp.watch._record import SUSPECT
from quebert.amqp.wire import temporary_channel
from quebert.outcome import POISON
from quebert.test.conftest import Names
from quebert.test.operating import add_vhost
from quebert.test.support import PATIENCE, Executor, Program, Proxy, until
from quebert.test.test_processes import mediator as twistd
from quebert.testing import RabbitMQNode

pytestmark = pytest.mark.long

#: RabbitMQ 4 drops what a quorum queue has delivered more than 20 times.
ENDS = int(os.environ.get("QUEBERT_TEST_ENDS", "24"))
#: Of mediators in processes of their own, each of which takes a second or more.
PROCESS_ENDS = int(os.environ.get("QUEBERT_TEST_ENDS", "6"))
#: At least L{ENDS} / 2: a task that is alone at three ends is set aside.
TASKS = max(20, ENDS // 2)


class Mediators:
    """
    One mediator after the other, each with a connection through a proxy.

    @ivar running: the messages that are with the callback of the newest.
    @ivar done: the bodies of those that it has done.
    @ivar hangs: whether the callback does nothing.
    """

    def __init__(
        self, make_client: Callable[..., TxAMQPClient], port: int, vhost: str
    ) -> None:
        self.running: list[bytes] = []
        self.done: list[bytes] = []
        self.hangs = True
        self._answers: list[Deferred[None]] = []
        self._make_client = make_client
        self._vhost = vhost
        self._proxy = Proxy(port)

    @property
    def all_in_flight(self) -> bool:
        """
        Whether the newest has all tasks in flight: each is with the callback, or waits
        until it is attempted alone.  A task whose copy was not acknowledged when the
        last one ended is there twice.
        """
        [watcher], at_work = self._client.watchers, self.at_work
        return (
            bool(self.running)
            and watcher.in_flight == len(at_work)
            and len(set(at_work)) == TASKS
        )

    @property
    def at_work(self) -> list[bytes]:
        """
        The bodies of the messages that the newest attempts, or is about to.
        """
        waiting = (message for _, message in self._client.one_suspect._waiting)
        return self.running + [message.body for message in waiting]

    async def start(self, queue: str, kind: str | None) -> None:
        """
        Another mediator.
        """
        self.running.clear()
        self._client = self._make_client(self._proxy.url, vhost=self._vhost)
        self._client.suspects.patience = 0.1
        await self._client.watch(
            "", queue, "", self._callback, options=WatchOptions(queue_type=kind)
        )

    def _callback(self, message: Any) -> Any:
        if not self.hangs:
            self.done.append(message.body)
            return None
        self.running.append(message.body)
        self._answers.append(Deferred())
        return self._answers[-1]

    async def kill(self) -> None:
        """
        The mediator is gone, without a word to the broker.
        """
        await self._proxy.cut()
        await self._client.stop(grace=0)
        await self._listen()

    async def disconnect(self) -> None:
        """
        It loses its connections.
        """
        await self._proxy.cut()
        await until(lambda: not any(w.consuming for w in self._client.watchers))
        answers, self._answers = self._answers, []
        for each in answers:
            each.callback(None)  # too late
        await self._listen()

    async def _listen(self) -> None:
        """
        Let others connect; in another turn, since the reactor may have an event left
        for a connection that was closed in this one, whose file the port would get.
        """
        await deferLater(reactor, 0)
        self._proxy.listen()

    async def stop(self) -> None:
        """
        It ends in good order.
        """
        await self._client.stop(grace=0)

    async def close(self) -> None:
        """
        There is no other.
        """
        await self._client.stop(grace=0)
        await self._proxy.cut()


#: The type of a queue; that of one that somebody else has declared, with whatever limit
#: RabbitMQ gives it; that of one whose virtual host has quorum queues by default; and
#: the same, declared by somebody else.
KINDS = ("classic", "quorum", "limited", "default", "default limited")
# The types that the watches name.
GIVEN = {"limited": "quorum", "default": None, "default limited": None}


def add_quorum_vhost(rabbitmq: Any, names: Names) -> str:
    """
    Add a virtual host in which queues without a type are quorum queues.
    """
    add_vhost(rabbitmq, names.key, "quorum")
    return names.key


async def declare_limited(
    client: TxAMQPClient, queue: str, limit: int | None = None
) -> None:
    """
    Declare a quorum queue with a delivery limit, or the one that RabbitMQ gives it.
    """
    arguments: dict[str, Any] = {"x-queue-type": "quorum"}
    if limit is not None:
        arguments["x-delivery-limit"] = limit
    async with temporary_channel(await client.connected()) as channel:
        await channel.call(
            "queue_declare", queue=queue, durable=True, arguments=arguments
        )


@pytest.mark.parametrize(
    ("limit", "queue_type"), [(None, "quorum"), (None, None), (5, "quorum")]
)
@ensureDeferred
async def test_declared_by_others(
    rabbitmq: Any,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    limit: int | None,
    queue_type: str | None,
) -> None:
    """
    A quorum queue that somebody else has declared is used as it is, whatever its
    delivery limit.
    """
    vhost = add_quorum_vhost(rabbitmq, names) if queue_type is None else "/"
    client = make_client(rabbitmq.url, vhost=vhost)
    await declare_limited(client, names.queue, limit)
    done: list[bytes] = []
    await client.watch(
        "",
        names.queue,
        "",
        lambda m: done.append(m.body),
        options=WatchOptions(queue_type=queue_type),
    )
    await client.publish("", names.queue, b"task")
    await until(lambda: done)


@pytest.mark.parametrize("limit", [1, 2])
@ensureDeferred
async def test_small_limit(
    rabbitmq: Any,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    limit: int,
) -> None:
    """
    A quorum queue whose delivery limit is small loses no task when mediators end.
    """
    queue, client = names.queue, make_client(rabbitmq.url)
    await declare_limited(client, queue, limit)
    mediators = Mediators(make_client, rabbitmq.port, "/")
    await mediators.start(queue, "quorum")
    await client.publish("", queue, b"task")
    for _ in range(limit + 2):
        await until(lambda: mediators.running)
        await mediators.kill()
        await mediators.start(queue, "quorum")
    await until(lambda: mediators.running)
    await mediators.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["kill", "disconnect", "stop"])
@ensureDeferred
async def test_many_ends(
    rabbitmq: Any,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    way: str,
    kind: str,
) -> None:
    """
    However often a mediator ends with tasks in flight, all are done at last.
    """
    queue = names.queue
    vhost = add_quorum_vhost(rabbitmq, names) if "default" in kind else "/"
    client = make_client(rabbitmq.url, vhost=vhost)
    if "limited" in kind:
        await declare_limited(client, queue)
    given = GIVEN.get(kind, kind)
    mediators = Mediators(make_client, rabbitmq.port, vhost)
    await mediators.start(queue, given)
    bodies = {b"task %d" % n for n in range(TASKS)}
    await gatherResults([client.publish("", queue, each) for each in bodies])
    for _ in range(ENDS):
        await until(
            lambda: mediators.all_in_flight, shown=lambda: sorted(mediators.at_work)
        )
        mediators.running.clear()
        await getattr(mediators, way)()
        if way != "disconnect":
            await mediators.start(queue, given)
    mediators.hangs = False
    await mediators.kill()
    await mediators.start(queue, given)
    await until(lambda: bodies <= set(mediators.done))
    await mediators.close()
    assert await depth(await client.connected(), f"{queue}.dead") is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@ensureDeferred
async def test_many_ends_of_processes(
    rabbitmq: Any,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    executor: Executor,
    start: Callable[..., Program],
    number: signal.Signals,
    kind: str,
) -> None:
    """
    The same, where the mediator is a process that gets a signal.
    """
    queue = names.queue
    vhost = add_quorum_vhost(rabbitmq, names) if "default" in kind else "/"
    client = make_client(rabbitmq.url, vhost=vhost)
    if "limited" in kind:
        await declare_limited(client, queue)
    environment = {
        "QUEBERT_AMQP_URL": f"{rabbitmq.url}{quote(vhost, safe='')}",
        "QUEUE": queue,
        "QUEUE_TYPE": GIVEN.get(kind, kind) or "",
    }
    config = "--config=quebert.test.reporting_mediator.config"

    def start_mediator() -> Program:
        return twistd(start, rabbitmq, config, "--grace=0", **environment)

    executor.answer = lambda _: Deferred()
    mediator = start_mediator()
    await mediator.said("0 in flight")
    tasks = [json.dumps({"url": executor.url, "n": n}).encode() for n in range(TASKS)]
    await gatherResults([client.publish("", queue, each) for each in tasks])

    async def all_in_flight(ends: int) -> None:
        alone = number is signal.SIGKILL and ends >= SUSPECT
        requests = 1 if alone else TASKS

        def settled() -> bool:
            last = mediator.output.splitlines()[-1:]
            return f"#info] {TASKS} in flight" in str(last) and executor.now == requests

        await until(settled)

    for ends in range(PROCESS_ENDS):
        await all_in_flight(ends)
        mediator.signal(number)
        await mediator.ended()
        await until(lambda: not executor.now)
        mediator = start_mediator()
    await all_in_flight(PROCESS_ENDS)
    done: set[int] = set()

    def answer(task: Any) -> int:
        done.add(task["n"])
        return 200

    executor.answer = answer
    mediator.kill()
    mediator = start_mediator()
    await until(lambda: len(done) == TASKS)
    assert mediator.running
    assert await depth(await client.connected(), f"{queue}.dead") is None


@pytest.mark.parametrize("kind", ["classic", "limited"])
@ensureDeferred
async def test_killed_soon(
    own_rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    executor: Executor,
    start: Callable[..., Program],
    kind: str,
) -> None:
    """
    Mediators that are killed again and again, soon after they have started, make no
    task two, and RabbitMQ drops none.
    """
    queue, client = names.queue, make_client(own_rabbitmq.url)
    if "limited" in kind:
        await declare_limited(client, queue)
    given = "quorum" if kind == "limited" else kind
    module = ("-m", "quebert.test.fatal_mediator", own_rabbitmq.url, queue, given, "15")
    executor.answer = lambda _: Deferred()
    program = start(*module)
    await program.said("ready")
    tasks = [json.dumps({"url": executor.url, "n": n}).encode() for n in range(TASKS)]
    await gatherResults([client.publish("", queue, each) for each in tasks])
    for _ in range(ENDS):
        await deferLater(reactor, 1.0)  # time enough for copies
        program.kill()
        program = start(*module)
        await program.said("ready")
    program.kill()

    def all_there() -> bool:
        return sum(own_rabbitmq.depths().values()) == TASKS

    await until(all_there, shown=own_rabbitmq.depths)


@pytest.mark.parametrize(
    ("kind", "others", "fatal"),
    [
        ("classic", 199, {30}),
        ("quorum", 199, {30}),
        ("classic", 0, {0}),
        ("classic", 18, {3, 9}),
        ("quorum", 18, {3, 9}),
    ],
)
@ensureDeferred
async def test_fatal_task(
    rabbitmq: Any,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    executor: Executor,
    start: Callable[..., Program],
    kind: str,
    others: int,
    fatal: set[int],
) -> None:
    """
    Tasks that end their mediators, among many that do not or by themselves, are set
    aside after few ends; the others are done.
    """
    queue, client = names.queue, make_client(rabbitmq.url)
    watcher = await client.watch(
        "", queue, "", lambda _: None, options=WatchOptions(queue_type=kind)
    )
    await watcher.stop()
    done: set[int] = set()

    def answer(task: Any) -> int:
        done.add(task["n"])
        return 200

    executor.answer = answer
    numbers = range(others + len(fatal))
    tasks = [{"url": executor.url, "n": n, "fatal": n in fatal} for n in numbers]
    bodies = [json.dumps(task).encode() for task in tasks]
    await gatherResults([client.publish("", queue, body) for body in bodies])
    module = ("-m", "quebert.test.fatal_mediator")
    programs = [start(*module, rabbitmq.url, queue, kind, "3") for _ in range(3)]
    ends = 0
    letters: list[Any] = []

    async def supervise() -> None:
        nonlocal ends
        for n, each in enumerate(programs):
            if not each.running:
                ends += 1
                programs[n] = start(*module, rabbitmq.url, queue, kind, "3")

    def buried() -> bool:
        Deferred.fromCoroutine(supervise())
        return len(letters) == len(fatal)

    await client.watch("", f"{queue}.dead", "", lambda m: letters.append(m))
    await until(buried)
    assert {json.loads(letter.body)["n"] for letter in letters} == fatal
    assert {letter.headers[KIND] for letter in letters} == {POISON}
    assert all("its mediator ended" in letter.headers[REASON] for letter in letters)
    await until(lambda: len(done) == others)
    assert ends <= 10 * len(fatal)
    deadline = reactor.seconds() + PATIENCE
    while (found := await depth(await client.connected(), queue)) and found.ready:
        assert reactor.seconds() < deadline, found  # copies of what was done may come
        await deferLater(reactor, 0.1)
