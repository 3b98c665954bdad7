"""
L{why<quebert.operations.why>} in prepared situations, on real brokers, with real
mediators.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from quebert import operations
from quebert.amqp import TxAMQPClient, Watcher
from quebert.amqp.queues import depth
from quebert.errors import ConfigError
from quebert.events import MediatorState, OriginState, WatchState
from quebert.limits import OriginLimits, Origins
from quebert.mediator import PolicyMediator
from quebert.operations import BrokerAccess, Live, LiveFold, Why
from quebert.policy import RetryPolicy
from quebert.test.conftest import AnyBroker, Names
from quebert.test.support import Executor, Program, until
from quebert.test.test_live_fold import record
from quebert.testing import free_port

pytestmark = pytest.mark.broker

SLOW = RetryPolicy(max_attempts=2, min_backoff=600.0)


class Situation:
    """
    A queue, its mediators, and one who wonders.
    """

    def __init__(
        self,
        broker: AnyBroker,
        make_client: Callable[..., TxAMQPClient],
        executor: Executor,
        names: Names,
    ) -> None:
        self.access = BrokerAccess(reactor, broker.url)
        self.client = make_client()
        self.executor = executor
        self.names = names
        self.queue = names.queue
        self.uuid = f"8c0ffee0-{names.queue}"
        self._make_client = make_client
        self._held: list[Deferred[int]] = []

    async def mediate(
        self, policy: RetryPolicy = SLOW, at_once: int = 10, **options: Any
    ) -> Watcher:
        """
        Begin to watch the queue.
        """
        mediator = PolicyMediator(
            defaulturl=self.executor.url, policy=policy, **options
        )
        return await self._make_client().watch(
            self.names.exchange,
            self.queue,
            self.names.key,
            mediator.messageReceived,
            maxEvents=at_once,
        )

    async def declare(self) -> None:
        """
        Have the queue there, and nobody watch it.
        """
        await (await self.mediate()).stop()

    async def add(self, *uuids: str, **fields: Any) -> None:
        """
        Add tasks.
        """
        for each in uuids:
            task = {"uuid": each, "url": "/task", "params": {}, **fields}
            await self.client.publish("", self.queue, json.dumps(task).encode())

    def hold(self) -> None:
        """
        Have the executor answer nothing until L{free}.
        """

        def answer(task: Any) -> Deferred[int]:
            self._held.append(Deferred())
            return self._held[-1]

        self.executor.answer = answer

    def free(self) -> None:
        """
        Have it answer.
        """
        self.executor.answer = lambda task: 200
        for each in self._held:
            each.callback(200)
        self._held.clear()

    async def requested(self, count: int) -> None:
        """
        Wait until the executor has so many requests.
        """
        await until(lambda: len(self.executor.tasks) >= count)

    async def why(self, queue: str | None = "", **known: Any) -> Why:
        """
        Why the task waits.
        """
        queue = self.queue if queue == "" else queue
        return await operations.why(self.access, self.uuid, queue, **known)

    async def settled(self, reason: str, queue: str | None = "", **known: Any) -> Why:
        """
        Why the task waits, once that is so: it may be on its way.
        """
        for _ in range(40):
            found = await self.why(queue, **known)
            if found.first.reason == reason:
                return found
            await _later(0.25)
        raise AssertionError(found)

    async def ready(self, count: int) -> None:
        """
        Wait until so many messages are in the queue.
        """
        wire = await self.client.connected()

        async def is_so() -> bool:
            found = await depth(wire, self.queue)
            return found is not None and found.ready == count

        for _ in range(600):
            if await is_so():
                return
            await _later(0.05)
        raise AssertionError(await depth(wire, self.queue))

    def told(self, origins: dict[str, OriginState], **watch: Any) -> Live:
        """
        What a mediator told of itself.
        """
        fold = LiveFold(time.time)
        given = {"consuming": True, **watch}
        fold.state(
            MediatorState(
                mediator="m1",
                host="h",
                pid=1,
                version="1",
                started=1.0,
                at=time.time(),
                queues={self.queue: WatchState(**given)},
                origins=origins,
                settings={"default_url": self.executor.url},
            )
        )
        return fold.view()


def _later(seconds: float) -> Deferred[None]:
    clock: Any = reactor
    return deferLater(clock, seconds)


@pytest.fixture
def situation(
    broker: AnyBroker,
    make_client: Callable[..., TxAMQPClient],
    executor: Executor,
    names: Names,
) -> Situation:
    """
    One for a test.
    """
    return Situation(broker, make_client, executor, names)


def names_of(found: Why) -> list[str]:
    """
    The reasons, in their order.
    """
    return [each.reason for each in found.reasons]


@ensureDeferred
async def test_not_found(situation: Situation) -> None:
    """
    There is no such task, and all could be seen.
    """
    await situation.mediate()
    for _ in range(20):  # a mediator that answers late is told as one that did not
        found = await situation.why()
        assert names_of(found) == ["not_found"]
        if not found.unseen:
            break
        assert all("have not answered" in each for each in found.unseen), found.unseen
    assert found.unseen == ()
    found = await situation.why(None)
    assert names_of(found) == ["not_found"]
    assert "no queue is known" in found.unseen[-1]
    assert "not all was looked at" in found.reasons[0].text
    for each in ("", "x" * 256):
        with pytest.raises(ConfigError):
            await operations.why(situation.access, each)


@ensureDeferred
async def test_running(situation: Situation) -> None:
    """
    A mediator attempts it.
    """
    await situation.mediate()
    situation.hold()
    await situation.add(situation.uuid)
    await situation.requested(1)
    found = await situation.why()
    assert names_of(found) == ["running"]
    assert found.first.by
    situation.free()


@ensureDeferred
async def test_not_due(situation: Situation) -> None:
    """
    Its time has not come, whatever else is on the ladder; it stays there.
    """
    await situation.mediate()
    others = [f"other-{number}" for number in range(40)]
    due = time.time() + 5000
    run_at = datetime.fromtimestamp(due, UTC).isoformat()
    await situation.add(*others, situation.uuid, run_at=run_at)
    await situation.ready(0)
    for queue in (situation.queue, None):
        found = await situation.settled("not_due", queue)
        assert names_of(found) == ["not_due"]
        assert found.queue == situation.queue
        assert found.first.until is not None
        assert abs(found.first.until - due) < 2
    await operations.pause(situation.access, situation.queue, by="ada")
    assert names_of(await situation.why())[:2] == ["not_due", "paused"]
    await operations.resume(situation.access, situation.queue)


@ensureDeferred
async def test_retrying(situation: Situation) -> None:
    """
    An attempt has failed; with the breaker of its host open, that decides as long as
    it is open for longer.
    """
    await situation.mediate()
    situation.executor.answer = lambda task: 503
    await situation.add(situation.uuid)
    await situation.requested(1)
    found = await situation.settled("retrying")
    while found.first.until is None:  # it is on its way to the ladder
        found = await situation.settled("retrying")
    assert names_of(found) == ["retrying"]
    assert 300 < found.first.until - time.time() < 1000
    for seconds, wanted in ((9, "retrying"), (5000, "breaker_open")):
        broken = OriginState(breaker="open", open_until=time.time() + seconds)
        seen = situation.told({situation.executor.url: broken})
        found = await situation.why(seen=seen)
        assert found.first.reason == wanted
        assert {*names_of(found)} == {"retrying", "breaker_open"}


@ensureDeferred
async def test_paused(situation: Situation) -> None:
    """
    Its queue is paused, and others are before it.
    """
    await situation.mediate()
    await operations.pause(situation.access, situation.queue, by="ada")
    await situation.add("a", "b", situation.uuid, "c")
    await situation.ready(4)
    for _ in range(2):  # a look changes nothing
        found = await situation.why(seen=situation.told({}, paused=True))
        assert names_of(found) == ["paused", "behind"]
        assert found.first.by == "ada"
        assert found.reasons[1].position == 2
    await operations.resume(situation.access, situation.queue)
    await situation.requested(4)
    assert [each["uuid"] for each in situation.executor.tasks] == [
        "a",
        "b",
        situation.uuid,
        "c",
    ]


@ensureDeferred
async def test_no_consumer(situation: Situation) -> None:
    """
    Nobody consumes its queue.
    """
    await situation.declare()
    await situation.add("a", situation.uuid)
    await situation.ready(2)
    found = await situation.why()
    assert names_of(found) == ["no_consumer", "behind"]
    assert found.reasons[1].position == 1


@ensureDeferred
async def test_behind(situation: Situation) -> None:
    """
    Others are before it, and mediators have as many as they may.
    """
    await situation.mediate(at_once=1)
    situation.hold()
    await situation.add("first")
    await situation.requested(1)
    await situation.add(*(f"other-{number}" for number in range(20)), situation.uuid)
    seen = situation.told({}, prefetch=1, in_flight=1)
    found = await situation.why(seen=seen)
    assert found.first.reason == "behind", found
    assert found.first.position
    assert 0 < found.first.position <= 21
    assert "prefetch_full" in names_of(found)
    situation.free()


@ensureDeferred
async def test_in_mediator(situation: Situation) -> None:
    """
    A mediator has it, and its host takes no more requests, or its places are taken.
    """
    origins = Origins(OriginLimits(concurrency=1))
    await situation.mediate(admission=origins)
    situation.hold()
    await situation.add("first")
    await situation.requested(1)
    await situation.add(situation.uuid)
    url = situation.executor.url
    full = situation.told({url: OriginState(limit=1.0, in_flight=1)}, prefetch=10)
    found = await situation.settled("host_concurrency", seen=full)
    assert found.first.by
    assert names_of(found) == ["host_concurrency"]
    for watch, wanted in (
        ({"rate": 0.01, "prefetch": 10}, "rate_limit"),
        ({"prefetch": 1, "in_flight": 1}, "prefetch_full"),
    ):
        found = await situation.why(seen=situation.told({}, **watch))
        assert names_of(found) == [wanted]
    situation.free()


@ensureDeferred
async def test_dead(situation: Situation) -> None:
    """
    It was given up.
    """
    await situation.mediate(RetryPolicy(max_attempts=1))
    situation.executor.answer = lambda task: 500
    await situation.add("other", situation.uuid)
    await situation.requested(2)
    found = await situation.settled("dead")
    assert "exhausted" in found.first.text


@ensureDeferred
async def test_done(situation: Situation) -> None:
    """
    The history tells that it is done.
    """
    await situation.mediate()
    done = record(situation.queue, uuid=situation.uuid)
    for queue in (situation.queue, None):
        found = await situation.why(queue, attempts=[done])
        assert names_of(found) == ["done"]
        assert found.queue == situation.queue


@ensureDeferred
async def test_many(situation: Situation, pika_channel: Any) -> None:
    """
    Many wait: they are not looked at, and that is told.
    """
    await situation.declare()
    for number in range(1200):
        body = json.dumps({"uuid": f"u{number}", "url": "/"})
        pika_channel.basic_publish("", situation.queue, body)
    found = await situation.why()
    assert names_of(found) == ["no_consumer", "behind"]
    assert found.reasons[1].position == 1200
    assert "if it was added" in found.reasons[1].text
    assert found.unseen == (
        f"the 1200 messages in {situation.queue} were not looked at",
    )


@ensureDeferred
async def test_limits(
    situation: Situation, start: Callable[..., Program], tmp_path: Path
) -> None:
    """
    What a mediator that was composed from a file tells of its limits: a rate, a host
    that is left alone, one with as many requests as it may have, and a priority.
    """
    url, base = situation.executor.url, situation.queue
    place = url.removeprefix("http://")
    closed = f"127.0.0.1:{free_port()}"
    path = tmp_path / "quebert.toml"
    path.write_text(
        f"""
        [service]
        default_url = "{url}"
        [broker]
        url_env = "BROKER_URL"
        [priorities]
        concurrency = 2
        weights = {{ high = 10, low = 1 }}
        [hosts."{place}"]
        concurrency = 4
        adaptive = false
        [hosts."{closed}"]
        breaker = {{ failures = 1, pause = "1h", longest_pause = "1h" }}
        [queues."{base}-rate"]
        key = "{base}-rate"
        rate = "1/m"
        [queues."{base}-host"]
        key = "{base}-host"
        [queues."{base}-high"]
        key = "{base}-high"
        priority = "high"
        [queues."{base}-low"]
        key = "{base}-low"
        priority = "low"
        """
    )
    mediator = start("-m", "quebert", "run", str(path), BROKER_URL=situation.access.url)
    queues = [f"{base}-{each}" for each in ("rate", "host", "high", "low")]
    async with operations.live(situation.access, queues) as view:
        seen = await view()
        while not (seen.mediators and all(each.consumers for each in seen.queues)):
            assert mediator.running, mediator.output
            seen = await view()
        situation.hold()

        async def check(queue: str, wanted: str, **fields: Any) -> None:
            """
            Add the task, and see why it waits.
            """
            situation.uuid = f"{base}-{queue}-{wanted}"
            situation.queue = f"{base}-{queue}"
            await situation.add(situation.uuid, **fields)
            for _ in range(60):
                found = await situation.why(seen=await view())
                if found.first.reason == wanted:
                    return
            raise AssertionError(found)

        situation.queue = f"{base}-rate"
        await situation.add(f"{base}-1")
        await situation.requested(1)
        await check("rate", "rate_limit")
        situation.queue = f"{base}-high"
        await situation.add(f"{base}-2", f"{base}-3")
        await situation.requested(3)
        await check("low", "lower_priority")
        situation.queue = f"{base}-host"
        await situation.add(f"{base}-4")
        await situation.requested(4)
        await check("host", "host_concurrency")
        await situation.add(f"{base}-5", url=f"http://{closed}/")
        await check("host", "breaker_open", url=f"http://{closed}/")
        situation.free()
