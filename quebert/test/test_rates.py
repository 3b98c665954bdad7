"""
A rate that several mediators keep to together, on both brokers, with processes that
are killed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

from quebert.amqp import TxAMQPClient, Watcher, WatchOptions
from quebert.amqp.coordination import _sharing as _share
from quebert.test.conftest import Names
from quebert.test.support import Executor, Program, Proxy, until

reactor: Any = global_reactor
Start = Callable[..., Program]

RATE = 100
#: Seconds between two looks at who else shares the rate: half of what it is, as
#: are the times in which the rate is measured.
PERIOD = _share.PERIOD / 2


def rate_of(programs: list[Program], start: float, end: float) -> float:
    """
    Tasks per second that began in mediators between two times.  The executor cannot
    tell: on a machine that has other work, requests wait for it.
    """
    lines = (line for each in programs for line in each.output.splitlines())
    times = (float(line.split()[1]) for line in lines if line.startswith("began "))
    return sum(start <= each < end for each in times) / (end - start)


async def add(client: TxAMQPClient, queue: str, url: str, number: int) -> None:
    """
    Have a queue with tasks in it.
    """
    watcher = await client.watch("", queue, "", lambda message: None)
    await watcher.stop()
    body = json.dumps({"url": url}).encode()
    await gatherResults([client.publish("", queue, body) for _ in range(number)])


async def mediators(start: Start, url: str, queue: str, *most: int) -> list[Program]:
    """
    Processes, each with so many tasks at once.
    """
    module = ("-m", "quebert.test.paced_mediator")
    options = (url, queue, f"{RATE}/s")
    programs = [start(*module, *options, str(n), str(PERIOD)) for n in most]
    for each in programs:
        await each.said("ready")
        await each.said("members=3")
    return programs


@pytest.mark.timed
@ensureDeferred
async def test_killed(
    either: Any,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    executor: Executor,
    start: Start,
) -> None:
    """
    Three processes keep to one rate together, within a twentieth, in the time of thirty
    looks, after ten of which one of them is killed.
    """
    await add(make_client(either.url), names.queue, executor.url, 25 * RATE)
    programs = await mediators(start, either.url, names.queue, 50, 50, 50)
    began = reactor.seconds()
    await deferLater(reactor, 10 * PERIOD, programs[0].kill)
    await deferLater(reactor, 20 * PERIOD)
    before = rate_of(programs, began, began + 10 * PERIOD)
    whole = rate_of(programs, began, began + 30 * PERIOD)
    assert abs(before - RATE) < 0.05 * RATE, before
    assert abs(whole - RATE) < 0.05 * RATE, whole


@pytest.mark.timed
@ensureDeferred
async def test_unequal(
    either: Any,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    executor: Executor,
    start: Start,
) -> None:
    """
    What one of them cannot use, the others do: it has one task at a time, which takes
    a fifth of a second.
    """
    executor.answer = lambda task: deferLater(reactor, 0.2, lambda: 200)
    await add(make_client(either.url), names.queue, executor.url, 16 * RATE)
    programs = await mediators(start, either.url, names.queue, 1, 50, 50)
    await deferLater(reactor, 3 * PERIOD)
    began = reactor.seconds()
    await deferLater(reactor, 15 * PERIOD)
    whole = rate_of(programs, began, began + 15 * PERIOD)
    assert abs(whole - RATE) < 0.05 * RATE, whole


def members(watchers: list[Watcher]) -> set[int]:
    """
    How many share the rate, as each knows.
    """
    return {each.pace.members for each in watchers if each.pace is not None}


@ensureDeferred
async def test_again(
    either: Any, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    After a lost connection those that share a rate do so again.
    """
    proxy = Proxy(either.port)
    begun: list[float] = []
    watchers = [
        await make_client(proxy.url).watch(
            "",
            names.queue,
            "",
            lambda message: begun.append(0.0),
            options=WatchOptions(rate="50/s"),
        )
        for _ in range(3)
    ]
    await until(lambda: members(watchers) == {3})
    await proxy.cut()
    await until(lambda: not any(each.consuming for each in watchers))
    proxy.listen()
    await until(lambda: all(each.consuming for each in watchers))
    await until(lambda: members(watchers) == {3})
    await watchers[0].stop()
    await until(lambda: members(watchers[1:]) == {2})
    client = make_client(either.url)
    await gatherResults([client.publish("", names.queue, b"x") for _ in range(100)])
    await until(lambda: len(begun) == 100)
    await proxy.cut()


@pytest.mark.timed
@ensureDeferred
async def test_queue_deleted(
    either: Any, make_client: Callable[..., TxAMQPClient], names: Names
) -> None:
    """
    When somebody deletes the queues by which they know each other, again and again,
    five never begin more together than the rate and a burst.
    """
    rate, burst = 50, 12.5
    begun: list[float] = []
    watchers = [
        await make_client(either.url).watch(
            "",
            names.queue,
            "",
            lambda message: begun.append(reactor.seconds()),
            options=WatchOptions(rate=f"{rate}/s"),
        )
        for _ in range(5)
    ]
    await until(lambda: members(watchers) == {5})
    client = make_client(either.url)
    await gatherResults([client.publish("", names.queue, b"x") for _ in range(400)])
    channel = await (await client.connected()).open_channel(confirms=False)
    share = f"quebert.rate.{names.queue}"
    for number, queue in ((50, share), (120, share), (200, f"{share}.spare")):
        await until(lambda: len(begun) >= number)  # noqa: B023
        await channel.call("queue_delete", queue=queue)
    await until(lambda: len(begun) == 400)
    assert members(watchers) == {5}
    # Each may round its part of the burst up to a whole task.
    for first, began in enumerate(begun):
        for last in range(first + 1, len(begun)):
            most = rate * (begun[last] - began) + burst + len(watchers)
            assert last - first + 1 <= most, (first, last, begun[last] - began)


@pytest.mark.timed
@ensureDeferred
async def test_far_apart(
    either: Any,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Where the next task may begin only after long, the broker keeps it until then: none
    is fetched, to be given back or to wait here.
    """
    monkeypatch.setattr("quebert.amqp.coordination._pace.FETCHED_AHEAD", 0.2)
    begun: list[float] = []
    client = make_client(either.url)
    watcher = await client.watch(
        "",
        names.queue,
        "",
        lambda message: begun.append(reactor.seconds()),
        options=WatchOptions(rate="2/s"),
    )
    await gatherResults([client.publish("", names.queue, b"x") for _ in range(20)])
    waits = []
    while len(begun) < 10:
        waits.append(watcher.in_flight)
        await deferLater(reactor, 0.02)
    assert begun[-1] - begun[0] > 4.4
    assert begun[-1] - begun[0] < 5.5
    assert sum(each > 0 for each in waits) <= 5
    assert watcher.counts.returned == 0
    assert watcher.counts.received == 10
