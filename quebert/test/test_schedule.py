"""
Thousands of tasks for the next moments, while everything is restarted.

With C{QUEBERT_SCHEDULE=10000} in the environment there are ten thousand, for the next
minute.
"""

from __future__ import annotations

import functools
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from quebert.amqp import TxAMQPClient
from quebert.producer import Producer
from quebert.test.conftest import Names
from quebert.test.support import Executor, Program, until
from quebert.test.test_processes import mediator
from quebert.testing import free_port

TASKS = int(os.environ.get("QUEBERT_SCHEDULE", "2000"))
#: Seconds from now in which they are due.
SOONEST, LATEST = 3, 3 + TASKS / 180
#: Seconds that 99 of 100 may be late: two on a machine with nothing else to do, and
#: this is none.
LATENESS = 20.0


class Restartable(Protocol):
    """
    A broker.
    """

    url: str

    def restart(self) -> None:
        """
        End it at once, and start it again on its data.
        """


class EmbeddedProcess:
    """
    The embedded broker as a program.
    """

    def __init__(self, start: Callable[..., Program], folder: Path) -> None:
        port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{port}/"
        self._start = lambda: start(
            *("-m", "quebert", "broker", f"--port={port}", f"--data={folder}")
        )
        self._program = self._start()

    def restart(self) -> None:
        """
        End it at once, and start it again on its data.
        """
        self._program.kill()
        self._program = self._start()


class RabbitMQ:
    """
    A RabbitMQ of one's own.
    """

    def __init__(self, node: Any) -> None:
        self.url = node.url
        self._node = node

    def restart(self) -> None:
        """
        End it at once, and start it again on its data.
        """
        self._node.kill()
        self._node.start()


@pytest.fixture(params=["embedded", "rabbitmq"])
def restartable(
    request: pytest.FixtureRequest, start: Callable[..., Program], tmp_path: Path
) -> Iterator[Restartable]:
    """
    Both brokers, in turn.
    """
    if request.param == "embedded":
        yield EmbeddedProcess(start, tmp_path / "data")
    else:
        # How late tasks are depends on what else is in it when it restarts.
        yield RabbitMQ(request.getfixturevalue("own_rabbitmq"))


class Times:
    """
    When tasks are due, and when they were requested.

    @ivar outages: from when to when something was down.
    """

    def __init__(self) -> None:
        self.due: dict[int, float] = {}
        self.seen: dict[int, float] = {}
        self.outages: list[tuple[float, float]] = []

    def note(self, task: dict[str, Any]) -> int:
        """
        What the executor does.
        """
        self.seen.setdefault(task["params"], time.time())
        return 200

    async def outage(self, cause: Callable[[], None]) -> None:
        """
        Have something go down and come back: it is back when tasks are done again.
        """
        began = time.time()
        cause()
        before = len(self.seen)
        await until(lambda: len(self.seen) > before + 20)
        self.outages.append((began, time.time()))

    def has_seen(self, share: float) -> bool:
        """
        Whether so many of the tasks were requested.
        """
        return len(self.seen) >= TASKS * share

    def lateness(self) -> list[float]:
        """
        How late each was, sorted; what was due in an outage counts from its end.
        """
        late = []
        for n, due in self.due.items():
            for began, ended in self.outages:
                if began <= due + 2 and due < ended:
                    due = max(due, ended)
            late.append(self.seen[n] - due)
        return sorted(late)


@pytest.mark.timed
@pytest_twisted.ensureDeferred
async def test_restarts(
    restartable: Restartable,
    start: Callable[..., Program],
    executor: Executor,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
) -> None:
    """
    Each of them is done, none early, and hardly one late, while mediator and broker
    are each restarted twice.
    """
    times, chance = Times(), random.Random(7)
    executor.answer = times.note

    def started() -> Program:
        watch = f"--watch={names.exchange}:{names.queue}:tasks.#:50"
        options = watch, f"--default-url={executor.url}/"
        here: Any = restartable
        return mediator(start, here, *options)

    client = make_client(restartable.url)
    watcher = await client.watch(
        names.exchange, names.queue, "tasks.#", lambda message: None
    )
    await watcher.stop()
    running = [started()]

    def restart_mediator() -> None:
        running.pop().kill()
        running.append(started())

    producer, now = Producer(client, names.exchange), time.time()
    adding: list[Deferred[str]] = []
    for n in range(TASKS):
        times.due[n] = now + chance.uniform(SOONEST, LATEST)
        adding.append(producer.add_task("/", n, run_at=times.due[n]))
    await gatherResults(adding)
    for share, cause in (
        (0.1, restart_mediator),
        (0.3, restartable.restart),
        (0.5, restart_mediator),
        (0.7, restartable.restart),
    ):
        await until(functools.partial(times.has_seen, share))
        await times.outage(cause)
    await until(lambda: len(times.seen) == TASKS, patience=120)
    early = [n for n, at in times.seen.items() if at < times.due[n]]
    assert early == []
    late = times.lateness()
    shares = {share: round(late[int(TASKS * share)], 2) for share in (0.5, 0.9, 0.99)}
    sys.stdout.write(f"late, in seconds: {shares}\n")  # seen with pytest -s
    assert late[int(TASKS * 0.99)] <= LATENESS
