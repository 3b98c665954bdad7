"""
Hosts that have limits, and one that fails beside one that does not, in the same
queue, on real brokers and real sockets.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from quebert.amqp import TxAMQPClient
from quebert.limits import AdaptiveSettings, BreakerSettings, OriginLimits, Origins
from quebert.mediator import PolicyMediator
from quebert.policy import RetryPolicy
from quebert.test.conftest import Names
from quebert.test.support import Executor, Stalls, until

reactor: Any = global_reactor

#: How many tasks may be at work, and how many there are for each host.
PLACES, TASKS = 10, 400
#: Seconds that the well one takes for each task, where its pace is measured, and the
#: tasks in which it is found out how either is.
WORK, FIRST = 0.16, 100


@pytest_twisted.async_yield_fixture
async def ill() -> AsyncIterator[Executor]:
    """
    Another web server, which takes its time to say that it cannot.
    """
    server = Executor(reactor)
    server.answer = lambda task: deferLater(reactor, 1.0, lambda: 503)
    yield server
    await server.close()


async def fill(client: TxAMQPClient, queue: str, *urls: str) -> None:
    """
    Declare a queue, and put tasks for each URL in it, in turns.
    """
    declared = await client.watch("", queue, "", lambda message: None)
    await declared.stop()
    bodies = [json.dumps({"url": url}).encode() for url in urls]
    await gatherResults([client.publish("", queue, body) for body in bodies * TASKS])


class Rounds:
    """
    Answers requests in rounds: none is answered until there are as many of them as
    places.  The requests before the first round are answered at once.

    @param begun: tells whether the rounds have begun.
    @ivar early: how many requests were answered before.
    @ivar ended: how many rounds have ended.
    """

    def __init__(self, begun: Callable[[], bool]) -> None:
        self.early = self.ended = 0
        self._begun = begun
        self._waiting: list[Deferred[int]] = []

    def answer(self, task: Any) -> Deferred[int] | int:
        """
        Answer a request, once its round is full.
        """
        if not self._begun():
            self.early += 1
            return 200
        answered: Deferred[int] = Deferred()
        self._waiting.append(answered)
        if len(self._waiting) == PLACES:
            waiting, self._waiting = self._waiting, []
            self.ended += 1
            for each in waiting:
                each.callback(200)
        return answered

    def have_ended(self) -> bool:
        """
        Whether there are too few tasks left for another round.
        """
        return self.ended > 0 and self.ended == (TASKS - self.early) // PLACES


@ensureDeferred
async def test_other_host(
    either: Any,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    executor: Executor,
    ill: Executor,
) -> None:
    """
    One host that answers 503, slowly, takes no place from another, once it has failed
    five times: tasks for the other have all places, over and over, although each second
    task of the queue is for the one that fails.
    """
    limits = OriginLimits(
        breaker=BreakerSettings(failures=5, pause=300),
        adaptive=AdaptiveSettings(start=PLACES, ceiling=PLACES),
    )
    admission = Origins(limits)

    def is_open() -> bool:
        state = admission.snapshot().get(ill.url)
        return state is not None and state.breaker == "open"

    rounds = Rounds(begun=is_open)
    executor.answer = rounds.answer
    policy = RetryPolicy(min_backoff=300)
    mediator = PolicyMediator(reactor=reactor, admission=admission, policy=policy)
    client = make_client(either.url)
    await fill(client, names.queue, executor.url, ill.url)
    await client.watch("", names.queue, "", mediator.messageReceived, maxEvents=PLACES)
    await until(rounds.have_ended, shown=lambda: (rounds.early, rounds.ended))
    assert rounds.early < TASKS / 2
    assert len(ill.tasks) < PLACES + 5  # those in flight when the fifth failed
    assert is_open()


async def pace(
    client: TxAMQPClient, queue: str, mediator: PolicyMediator, urls: list[str]
) -> float:
    """
    Tasks per second that are done for the first URL, where those for the others are
    between them; from the hundredth on.
    """
    done: list[float] = []
    mediator.add_posthook(lambda task, result: done.append(reactor.seconds()))
    await fill(client, queue, *urls)
    watcher = await client.watch(
        "", queue, "", mediator.messageReceived, maxEvents=PLACES
    )
    await until(lambda: len(done) == TASKS)
    await watcher.stop(grace=0)
    return (TASKS - FIRST) / (done[-1] - done[FIRST - 1])


@pytest.mark.long
@pytest.mark.timed
@ensureDeferred
async def test_pace_beside_other_host(
    either: Any,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    executor: Executor,
    ill: Executor,
) -> None:
    """
    One host that answers 503, slowly, takes less than a twentieth from another's
    throughput; with as many tasks for each, in one queue.  Another queue, at the same
    time, has tasks for the other only.
    """
    executor.answer = lambda task: deferLater(reactor, WORK, lambda: 200)
    limits = OriginLimits(
        breaker=BreakerSettings(failures=5, pause=30),
        adaptive=AdaptiveSettings(start=PLACES, ceiling=PLACES),
    )

    def mediator() -> PolicyMediator:
        policy, admission = RetryPolicy(min_backoff=30), Origins(limits)
        return PolicyMediator(reactor=reactor, admission=admission, policy=policy)

    client = make_client(either.url)
    well, both = [executor.url], [executor.url, ill.url]
    pacing = [
        pace(client, f"{names.queue}-alone", mediator(), well),
        pace(client, f"{names.queue}-both", mediator(), both),
    ]
    alone, beside = await gatherResults(map(Deferred.fromCoroutine, pacing))
    assert beside > alone * 0.95, f"{beside:.1f}/s, and {alone:.1f}/s alone"


class NotingOrigins(Origins):
    """
    Notes when each request is admitted: answers, and the first one above all, may take
    some time.
    """

    def __init__(self, limits: OriginLimits) -> None:
        super().__init__(limits)
        self.times: list[float] = []

    def admit(self, origin: str, now: float) -> float:
        """
        Note it.
        """
        wait = super().admit(origin, now)
        if not wait:
            self.times.append(now)
        return wait


@pytest.mark.timed
@ensureDeferred
async def test_rate_of_a_host(
    either: Any,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    executor: Executor,
) -> None:
    """
    A host gets what its rate allows, no more and hardly less, however many tasks for it
    there are; they wait here or in the broker, and come again but once or twice.
    """
    admission = NotingOrigins(OriginLimits(rate="40/s", burst=5))
    mediator = PolicyMediator(reactor=reactor, admission=admission)
    client = make_client(either.url)
    watcher = await client.watch("", names.queue, "", mediator.messageReceived)
    body = json.dumps({"url": executor.url}).encode()
    with Stalls() as stalls:
        await gatherResults([client.publish("", names.queue, body) for _ in range(240)])
        await until(lambda: watcher.counts.done == 240)
    first, last = admission.times[0], admission.times[-1]
    took, stalled = last - first, stalls.between(first, last)
    assert 235 / 40 - 0.001 < took < 235 / 40 + 1.5 + stalled
    assert watcher.counts.retried < 3 * 240
    assert admission.snapshot()[executor.url].admitted == 240
