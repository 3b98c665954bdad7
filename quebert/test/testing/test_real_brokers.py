"""
What L{quebert.testing.Simulation} says, the real thing does: the same tasks, answers
and mediator on a broker, with the real watch, delay ladder and dead letters.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from quebert.amqp import TxAMQPClient, WatchOptions
from quebert.amqp.queues import dead_letters_of
from quebert.guard import Guard
from quebert.mediator import DelayOnErrorMediator, Mediator, PolicyMediator
from quebert.operations import DeadLetter
from quebert.policy import RetryPolicy
from quebert.producer import Producer
from quebert.test.conftest import Names
from quebert.test.support import until
from quebert.testing import Answer, Simulation, captured_tasks
from quebert.testing._called_client import CalledClient
from quebert.testing._executors import executor_of

QUICK = RetryPolicy(max_attempts=4, min_backoff=0.02, max_backoff=0.05)
POLICY = partial(PolicyMediator, policy=QUICK, permanent=[410])
BACKOFF = partial(DelayOnErrorMediator, constant=1.0, maxDelay=0.05, max_attempts=3)
WISH = "Quebert-Outcome"
#: Tasks, how they are answered, and by what mediator they are tried.
SCENARIOS: Mapping[str, tuple[dict[str, Any] | bytes, Any, Callable[..., Mediator]]] = {
    "done": ({"url": "/x", "params": [1, "é"]}, [503, 500, 200], POLICY),
    "exhausted": ({"url": "/x"}, [Answer(503, "no"), Answer(500, "oops")], POLICY),
    "permanent": ({"url": "/x"}, [500, Answer(410, "gone")], POLICY),
    "no-answer": ({"url": "/x"}, [ConnectionRefusedError("nobody"), 204], POLICY),
    "late": ({"url": "/x", "timeout": 0.2}, [Answer(200, seconds=60), 200], POLICY),
    "get": ({"url": "/x?a=b", "method": "GET"}, [404, 200], POLICY),
    "asked": (
        {"url": "/x"},
        [Answer(200, headers={WISH: "retry-after=0.1"}), 200],
        POLICY,
    ),
    "buried": ({"url": "/x"}, [Answer(200, headers={WISH: "bury; moot"})], POLICY),
    "dropped": ({"url": "/x"}, [Answer(200, headers={WISH: "discard; moot"})], POLICY),
    "own-terms": ({"url": "/x", "retry": {"max_attempts": 2}}, [500], POLICY),
    "delayed": ({"url": "/x", "delay": 0.3}, [500, 200], POLICY),
    "expired": (
        {"url": "/x", "ttl": 0.5, "retry": {"max_attempts": -1}},
        [500],
        POLICY,
    ),
    "poison": (b"nonsense", [200], POLICY),
    "no-url": (b'{"uuid": "7"}', [200], POLICY),
    "backoff-done": ({"url": "/x"}, [500, 200], BACKOFF),
    "backoff-dead": ({"url": "/x"}, [Answer(500, "oops")], BACKOFF),
}


@attrs.frozen
class Seen:
    """
    What happened with a task.
    """

    requests: list[Any]
    counts: tuple[int, int, int]
    dead: list[Any]


def letter_seen(letter: DeadLetter) -> Any:
    """
    What a dead letter tells, without times.
    """
    reason = re.sub(r"in \d+ s", "in N s", letter.reason)
    names = sorted(n for n in letter.headers if n.startswith("quebert-"))
    told = (letter.kind, letter.status, letter.attempts, letter.answer)
    return reason, told, names, without_traceback(letter.task)


def without_traceback(task: dict[str, Any]) -> Any:
    """
    A task, without where its error was raised.
    """
    return {k: v for k, v in task.items() if k != "traceback"}


def request_seen(request: Any) -> Any:
    """
    What a request was, without where an error was raised.
    """
    headers = dict(request.headers)
    if "failures" in request.task:
        headers.pop("Content-Length")
    return request.method, request.url, headers, without_traceback(request.task)


def added(task: dict[str, Any] | bytes) -> Any:
    """
    A task as a producer makes it.
    """
    with captured_tasks() as tasks:
        if isinstance(task, bytes):
            Producer(None).add_raw_task(task)  # type: ignore[arg-type]
        else:
            Producer(None).add_task(**task)  # type: ignore[arg-type]
    return tasks[0]


def simulated(task: Any, answers: Any, make: Callable[..., Mediator]) -> Seen:
    """
    What the simulation says.
    """
    sim = Simulation(answers=answers, make_mediator=make)
    sim.take(task)
    sim.finish()
    return Seen(
        [request_seen(each.request) for each in sim.attempts],
        (len(sim.done), len(sim.dropped), len(sim.dead)),
        [letter_seen(each) for each in sim.dead],
    )


async def real(
    task: Any,
    answers: Any,
    make: Callable[..., Mediator],
    client: TxAMQPClient,
    names: Names,
) -> Seen:
    """
    What happens.  Each delay goes by the broker: nothing is held.
    """
    ask = executor_of(answers=answers)
    assert ask is not None
    requests: list[Any] = []
    http = CalledClient(
        ask, reactor, Guard(), lambda request, _: requests.append(request)
    )
    mediator = make(http=http, clock=reactor, now=time.time)
    dead: list[DeadLetter] = []
    watcher = await client.watch(
        names.exchange,
        names.queue,
        names.key,
        mediator.messageReceived,
        options=WatchOptions(hold_up_to=0),
    )
    await client.publish("", names.queue, task.body, task.properties)

    def counts() -> tuple[int, int, int]:
        now = watcher.counts
        return now.done, now.discarded, now.buried

    await until(lambda: any(counts()))
    if watcher.counts.buried:
        await client.watch(
            "",
            dead_letters_of(names.queue),
            "",
            lambda m: dead.append(DeadLetter(m.properties, m.body)),
        )
        await until(lambda: dead)
    seen = [request_seen(each) for each in requests]
    return Seen(seen, counts(), [letter_seen(each) for each in dead])


@pytest_twisted.ensureDeferred
async def test_the_same(client: TxAMQPClient, names: Names) -> None:
    """
    The requests, their headers, what becomes of the task, and what a dead letter tells.
    """

    async def compared(name: str) -> None:
        fields, answers, make = SCENARIOS[name]
        task = added(fields)
        own = attrs.evolve(
            names, queue=f"{names.queue}-{name}", key=f"{names.key}.{name}"
        )
        happened = await real(task, answers, make, client, own)
        said = simulated(task, answers, make)
        if name == "expired":  # how often it is tried depends on how quick all is
            assert said.counts == happened.counts == (0, 1, 0)
        else:
            assert said == happened, name

    results = [Deferred.fromCoroutine(compared(name)) for name in SCENARIOS]
    await gatherResults(results, consumeErrors=True)
