"""
Cancelling tasks, and having them run now, on real brokers, while mediators attempt
them.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from quebert import operations
from quebert.amqp import TxAMQPClient, Watcher, WatchOptions
from quebert.amqp.coordination import register_of
from quebert.amqp.queues import find_queue
from quebert.amqp.watch import DeliveredMessage
from quebert.errors import ConfigError
from quebert.events import (
    AttemptBatch,
    AttemptRecord,
    EventHandler,
    MediatorState,
    reading,
)
from quebert.mediator import PolicyMediator
from quebert.operations import BrokerAccess, Match
from quebert.policy import RetryPolicy
from quebert.task import format_time
from quebert.task_ends import ENDED, EndNote
from quebert.test.cancel_races import CancelRaces
from quebert.test.conftest import AnyBroker, Names
from quebert.test.notes import end_note_in
from quebert.test.support import Executor, until
from quebert.testing import RabbitMQNode

reactor: Any = global_reactor
MakeClient = Callable[..., TxAMQPClient]
PERSISTENT = {"delivery-mode": 2}


class Tasks:
    """
    A queue with mediators, whose tasks fail if their parameters say so.
    """

    def __init__(
        self, url: str, make_client: MakeClient, executor: Executor, queue: str
    ) -> None:
        self.broker = BrokerAccess(reactor, url)
        self.client = make_client(url)
        self.queue = queue
        self.executor = executor
        self._make_client = lambda: make_client(url)
        executor.answer = lambda task: task["params"].get("status", 200)

    async def watch(self, backoff: float = 3.0, prefetch: int = 10) -> Watcher:
        """
        Have one more mediator.
        """
        policy = RetryPolicy(min_backoff=backoff, max_backoff=backoff)
        mediator = PolicyMediator(defaulturl=self.executor.url, policy=policy)
        return await self._make_client().watch(
            "",
            self.queue,
            "",
            mediator.messageReceived,
            options=WatchOptions(prefetch=prefetch),
        )

    async def add(self, delay: float = 0.0, **params: Any) -> str:
        """
        Add a task; its uuid.
        """
        task: dict[str, Any] = {
            "url": "/task",
            "uuid": str(uuid.uuid4()),
            "params": params,
        }
        if delay:
            task["run_at"] = format_time(time.time() + delay)
        body = json.dumps(task).encode()
        await self.client.publish("", self.queue, body, PERSISTENT)
        uuid_: str = task["uuid"]
        return uuid_

    def attempts(self, uuid: str) -> int:
        """
        How often the executor got a task.
        """
        return sum(task["uuid"] == uuid for task in self.executor.tasks)


@pytest.fixture
def tasks(
    either: AnyBroker, make_client: MakeClient, executor: Executor, names: Names
) -> Tasks:
    """
    A queue, on each broker.
    """
    return Tasks(either.url, make_client, executor, names.queue)


@ensureDeferred
async def test_delayed(tasks: Tasks) -> None:
    """
    A delayed task that is cancelled is gone, and another one runs now.
    """
    watcher = await tasks.watch()
    first, second, third = [await tasks.add(1000) for _ in range(3)]
    await until(lambda: watcher.counts.retried == 3)
    told = await operations.cancel(tasks.broker, tasks.queue, first, by="ada")
    assert (told.result, told.attempted) == (operations.CANCELLED, False), told
    ran = await operations.run_now(tasks.broker, tasks.queue, second)
    assert ran.result == operations.RUNS_NOW, ran
    await until(lambda: tasks.attempts(second))
    for gone in first, second:
        ran = await operations.run_now(tasks.broker, tasks.queue, gone)
        assert ran.result == operations.NOT_FOUND
    told = await operations.cancel(tasks.broker, tasks.queue, third)
    assert told.result == operations.CANCELLED
    assert (tasks.attempts(first), tasks.attempts(third)) == (0, 0)


@ensureDeferred
async def test_end_notes(tasks: Tasks) -> None:
    """
    The end of a task that is taken out is told if somebody wants to know, and before it
    is gone; that of one that runs now is not.
    """
    client = tasks.client
    watcher = await tasks.watch()
    uuids = ["delayed", "other", "now", "waiting"]
    delays = {"delayed": 1000, "other": 1000, "now": 1000, "waiting": 0}
    told: list[EndNote] = []

    async def note(message: DeliveredMessage) -> None:
        told.append(end_note_in(message.body))

    async def add(uuid: str) -> None:
        task = {"url": "/task", "uuid": f"{tasks.queue}-{uuid}", "params": {}}
        if delays[uuid]:
            task["run_at"] = format_time(time.time() + delays[uuid])
        if uuid == "waiting":
            task["callback_url"] = "/ended"
        properties = {**PERSISTENT, "message-id": f"{tasks.queue}-{uuid}"}
        if uuid != "other":
            properties["reply-to"] = ENDED
        body = json.dumps(task).encode()
        await client.publish("", tasks.queue, body, properties)

    for each in uuids[:3]:
        await add(each)
    await until(lambda: watcher.counts.retried == 3)
    for each in uuids[:2]:
        await operations.cancel(tasks.broker, tasks.queue, f"{tasks.queue}-{each}")
    await operations.run_now(tasks.broker, tasks.queue, f"{tasks.queue}-now")
    await until(lambda: watcher.counts.done == 1)
    await watcher.stop()
    await add("waiting")
    await operations.cancel(tasks.broker, tasks.queue, f"{tasks.queue}-waiting")
    reader = await client.watch("", ENDED, "", note)
    outcomes = {"delayed": "cancelled", "now": "done", "waiting": "cancelled"}
    expected = {f"{tasks.queue}-{each}": outcomes[each] for each in outcomes}
    await until(lambda: expected.keys() <= {each.uuid for each in told})
    await reader.stop()
    found = {each.uuid: each.outcome for each in told if each.queue == tasks.queue}
    assert found == expected
    callbacks: list[dict[str, Any]] = []

    async def note_callback(message: DeliveredMessage) -> None:
        callbacks.append(json.loads(message.body)["params"])

    await client.watch("", tasks.queue, "", note_callback)
    await until(lambda: callbacks)
    [callback] = callbacks
    assert callback["uuid"] == f"{tasks.queue}-waiting"
    assert (callback["outcome"], callback["reason"]) == ("cancelled", "cancelled")


class Heard(EventHandler):
    """
    Attempts that somebody who looks on is told.
    """

    def __init__(self) -> None:
        self.records: list[AttemptRecord] = []

    def attempts(self, batch: AttemptBatch, gap: object) -> None:
        """
        Note them.
        """
        assert gap is None
        self.records += batch.records

    def state(self, state: MediatorState) -> None:
        """
        Nobody needs it.
        """


@ensureDeferred
async def test_told(tasks: Tasks) -> None:
    """
    Those who look on are told of a cancelled task that was taken out of the broker.
    """
    watcher = await tasks.watch()
    heard = Heard()
    async with reading(tasks.client, heard):
        first, second = [await tasks.add(1000) for _ in range(2)]
        await until(lambda: watcher.counts.retried == 2)
        await operations.cancel(tasks.broker, tasks.queue, first, by="ada")
        await operations.cancel_all(tasks.broker, tasks.queue, [], by="bob")
        await until(lambda: len(heard.records) == 2)
    told = [(each.uuid, each.outcome, each.reason) for each in heard.records]
    assert told == [
        (first, "cancelled", "cancelled by ada"),
        (second, "cancelled", "cancelled by bob"),
    ]
    assert {each.url for each in heard.records} == {"/task"}
    assert {each.queue for each in heard.records} == {tasks.queue}


@ensureDeferred
async def test_many_delayed(tasks: Tasks) -> None:
    """
    Of many delayed tasks one is found, and the others are still there.
    """
    watcher = await tasks.watch(prefetch=100)
    delayed = [await tasks.add(500) for _ in range(60)]
    await until(lambda: watcher.counts.retried == len(delayed))
    chosen = delayed.pop(30)
    ran = await operations.run_now(tasks.broker, tasks.queue, chosen)
    assert ran.result == operations.RUNS_NOW
    await until(lambda: tasks.attempts(chosen))
    told = await operations.cancel_all(tasks.broker, tasks.queue, [])
    assert (told.cancelled, told.too_late) == (len(delayed), 0), told
    assert len(tasks.executor.tasks) == 1


@ensureDeferred
async def test_running_and_retrying(tasks: Tasks) -> None:
    """
    It is too late for a task that is being attempted, but the attempt is its last.  One
    that waits for its retry is not tried again.
    """
    watcher = await tasks.watch(4.5)
    answer: Deferred[int] = Deferred()
    tasks.executor.answer = lambda task: answer if task["params"].get("waits") else 500
    running, retrying = await tasks.add(waits=1), await tasks.add()
    await until(lambda: tasks.attempts(running) and watcher.held)
    told = await operations.cancel(tasks.broker, tasks.queue, running, by="ada")
    assert (told.result, told.attempted) == (operations.TOO_LATE, True), told
    told = await operations.cancel(tasks.broker, tasks.queue, retrying, by="ada")
    assert (told.result, told.attempted) == (operations.CANCELLED, True), told
    before = tasks.attempts(retrying)
    answer.callback(500)
    await until(lambda: watcher.counts.discarded == 2)
    assert (tasks.attempts(running), tasks.attempts(retrying)) == (1, before)


@ensureDeferred
async def test_retry_now(tasks: Tasks) -> None:
    """
    A task that waits in a mediator for its retry is tried again at once; another is not
    delayed.
    """
    watcher = await tasks.watch(5.0)
    failing = await tasks.add(status=500)
    await until(lambda: watcher.held)
    ran = await operations.run_now(tasks.broker, tasks.queue, failing)
    assert ran.result == operations.RUNS_NOW, ran
    await until(lambda: tasks.attempts(failing) > 1)


@ensureDeferred
async def test_run_before_mediators(tasks: Tasks) -> None:
    """
    A task that waits for its time, and that no mediator has seen yet, runs once a
    mediator is there; one that waits for the mediator alone stays where it is.
    """
    first = await tasks.watch()
    await first.stop()
    delayed, waiting = await tasks.add(1000), await tasks.add()
    ran = await operations.run_now(tasks.broker, tasks.queue, waiting)
    assert ran.result == operations.NOT_DELAYED, ran
    for result in (operations.RUNS_NOW, operations.NOT_DELAYED):
        ran = await operations.run_now(tasks.broker, tasks.queue, delayed)
        assert ran.result == result, ran
    await tasks.watch()
    await until(lambda: tasks.attempts(delayed) and tasks.attempts(waiting))
    assert len(tasks.executor.tasks) == 2


@pytest.mark.new_queues
@pytest.mark.rabbitmq
@ensureDeferred
async def test_run_on_its_way(
    own_rabbitmq: RabbitMQNode,
    make_client: MakeClient,
    executor: Executor,
    names: Names,
) -> None:
    """
    A task that a mediator is about to have wait, as soon as the ladder is old enough,
    runs now.
    """
    tasks = Tasks(own_rabbitmq.url, make_client, executor, names.queue)
    # To make the ladder takes a while.  The mediator does not know how old it is.
    await tasks.client.ladder.prepare(await tasks.client.connected(), names.queue)
    watcher = await tasks.watch()
    delayed = await tasks.add(1000)
    await until(lambda: watcher.counts.received == 1)
    ran = await operations.run_now(tasks.broker, tasks.queue, delayed)
    assert ran.result == operations.RUNS_NOW, ran
    await until(lambda: tasks.attempts(delayed) == 1)


@ensureDeferred
async def test_before_mediators(tasks: Tasks) -> None:
    """
    A task is cancelled before any mediator is there, and those that come know it.  One
    that is not there yet is dropped when it comes.
    """
    first = await tasks.watch()
    await first.stop()
    kept, there = await tasks.add(), await tasks.add()
    later = str(uuid.uuid4())
    told = await operations.cancel(tasks.broker, tasks.queue, there)
    assert (told.result, told.attempted) == (operations.CANCELLED, False)
    told = await operations.cancel(tasks.broker, tasks.queue, later)
    assert told.result == operations.NOT_FOUND, told
    task = {"url": "/task", "uuid": later, "params": {}}
    await tasks.client.publish("", tasks.queue, json.dumps(task).encode(), PERSISTENT)
    watcher = await tasks.watch()
    await until(lambda: watcher.counts.received == 2 and not watcher.in_flight)
    assert (watcher.counts.done, watcher.counts.discarded) == (1, 1)
    assert [task["uuid"] for task in tasks.executor.tasks] == [kept]


@ensureDeferred
async def test_no_queue(tasks: Tasks) -> None:
    """
    Where there is no such queue, that is said, and nothing is made.
    """
    queue = tasks.queue
    for asking in (
        operations.cancel(tasks.broker, queue, "a"),
        operations.cancel_all(tasks.broker, queue, []),
        operations.run_now(tasks.broker, queue, "a"),
    ):
        with pytest.raises(ConfigError, match="there is no queue"):
            await asking
    with pytest.raises(ConfigError, match="1 to 255"):
        await operations.cancel(tasks.broker, queue, "a" * 256)
    wire = await tasks.client.connected()
    assert await find_queue(wire, register_of(queue)) is None


@ensureDeferred
async def test_cancel_all(tasks: Tasks) -> None:
    """
    Tasks that match are cancelled wherever they wait: on the delay ladder, in the
    queue, and in a mediator.  Those that are being attempted are told.
    """
    watcher = await tasks.watch(prefetch=1)
    answer: Deferred[int] = Deferred()
    tasks.executor.answer = lambda task: answer
    delayed = [await tasks.add(100) for _ in range(3)]
    await until(lambda: watcher.counts.retried == 3)
    waiting = [await tasks.add() for _ in range(4)]
    await until(lambda: tasks.executor.tasks)
    some = [Match.parse(f"uuid={each}") for each in (delayed[0], waiting[2])]
    told = await operations.cancel_all(tasks.broker, tasks.queue, some[:1])
    assert (told.cancelled, told.too_late) == (1, 0), told
    told = await operations.cancel_all(
        tasks.broker, tasks.queue, [Match.parse("url~elsewhere")]
    )
    assert (told.cancelled, told.too_late) == (0, 0), told
    told = await operations.cancel_all(
        tasks.broker, tasks.queue, [Match.parse("url=/task")]
    )
    assert (told.cancelled, told.too_late) == (5, 1), told
    answer.callback(200)
    await until(lambda: not watcher.in_flight)
    assert len(tasks.executor.tasks) == 1
    with pytest.raises(ConfigError, match="'kind' is a field of dead letters alone"):
        await operations.cancel_all(
            tasks.broker, tasks.queue, [Match.parse("kind!=exhausted")]
        )


async def _race(tasks: Tasks, count: int, seed: int = 1) -> CancelRaces:
    watchers = [await tasks.watch(0.3, prefetch=3) for _ in range(2)]
    client, executor = tasks.client, tasks.executor
    races = CancelRaces(tasks.broker, client, executor, tasks.queue, seed=seed)
    await races.run(count)
    await deferLater(reactor, 3.0)  # later attempts would show themselves
    await until(lambda: not any(each.in_flight for each in watchers))
    races.check()
    assert {"cancelled", "too_late"} <= races.results.keys(), races.results
    return races


@ensureDeferred
async def test_races(tasks: Tasks) -> None:
    """
    What is said of fifty tasks that are cancelled while mediators attempt them is true.
    """
    await _race(tasks, 50)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 7))
@ensureDeferred
async def test_thousand_races(tasks: Tasks, seed: int) -> None:
    """
    The same of a thousand, on each broker.
    """
    await _race(tasks, 200, seed)
