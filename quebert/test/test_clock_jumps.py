"""
Programs on a machine whose clock is set forward and back while tasks run and wait, or
is wrong.

The programs run with libfaketime.  The clock of the test, which publishes the tasks and
executes them, is the true clock.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from quebert.amqp import TxAMQPClient
from quebert.producer import Producer
from quebert.test.conftest import Names
from quebert.test.support import Executor, until
from quebert.testing import RabbitMQNode, free_port

_PLACES = "/usr/lib/*/faketime", "/usr/lib*/faketime", "/usr/local/lib/faketime"
_FOUND = [each for place in _PLACES for each in glob.glob(f"{place}/libfaketimeMT.so*")]
_LIBRARY = min(_FOUND, default="")
pytestmark = pytest.mark.skipif(
    not _LIBRARY,
    reason="libfaketime is not installed; on Debian: apt-get install -y faketime",
)

#: Seconds until the second attempt, or until a task is due: a wait in the mediator, and
#: one in the broker.
SOON, LATER = 4.0, 8.0
#: Seconds until the second attempt, of which a task waits for 64 first, and then for
#: the rest.
IN_TWO = 70.0
#: How many tasks of each kind there are.
COUNT = 60
#: Seconds for what waits: many times what it takes.
PATIENCE = 120.0
#: Seconds until the second attempt, by the queues.
WAITS = {"soon": SOON, "later": LATER, "in two": IN_TWO}


def queue_of(kind: str) -> str:
    """
    The queue for a kind of tasks: "fails QUEUE", or any other kind.
    """
    fails, _, queue = kind.partition(" ")
    return queue if fails == "fails" else "soon"


class Machine:
    """
    Programs with a common clock.

    @param folder: for their output, and for the file by which the clock is set.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._file = folder / "clock"
        self._running: list[subprocess.Popen[bytes]] = []
        self.set_clock(0)

    def set_clock(self, seconds: float) -> None:
        """
        Set the clock so many seconds off the true time.
        """
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}\n")
        new.replace(self._file)

    def start(self, name: str, *arguments: str, **environment: str) -> Path:
        """
        Start a Python program; gives the file with its output.
        """
        fake = {
            "LD_PRELOAD": _LIBRARY,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        output = self._folder / name
        with open(output, "wb") as file:
            started = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self._folder,
                env={**os.environ, **fake, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._running.append(started)
        return output

    async def stop(self) -> list[int | None]:
        """
        End all programs, the last first; gives their exit statuses.
        """
        statuses = []
        for each in reversed(self._running):
            each.terminate()
            await until(lambda: each.poll() is not None)  # noqa: B023
            statuses.append(each.returncode)
        self._running.clear()
        return statuses

    def kill(self) -> None:
        """
        End what still runs.
        """
        for each in self._running:
            each.kill()
            each.wait()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """
    A machine whose clock is right.
    """
    made = Machine(tmp_path / "machine")
    yield made
    made.kill()


@pytest.fixture
def other_machine(tmp_path: Path) -> Iterator[Machine]:
    """
    Another one.
    """
    made = Machine(tmp_path / "other")
    yield made
    made.kill()


class Attempts:
    """
    The executor, with the true clock.

    @ivar counts: how often each task was requested.
    @ivar early: the tasks that came before their time, and by how many seconds.
    @ivar due: when each task may come at the earliest.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.early: dict[str, float] = {}
        self.due: dict[str, float] = {}
        self._running: list[Deferred[int]] = []

    def answer(self, task: Any) -> int | Deferred[int]:
        """
        Answer a request as the kind of its task has it.
        """
        name, now = task["params"], time.time()
        self.counts[name] += 1
        if now < self.due.get(name, 0.0):
            self.early[name] = self.due[name] - now
        if name.startswith("slow"):
            self._running.append(Deferred())
            return self._running[-1]
        if name.startswith("fails") and self.counts[name] == 1:
            kind = name.rpartition(" ")[0]
            self.due[name] = now + WAITS[queue_of(kind)]
            return 503
        return 200

    def total(self, *kinds: str) -> int:
        """
        How many requests of some kinds of tasks there were.
        """
        return sum(self.counts[f"{kind} {n}"] for kind in kinds for n in range(COUNT))

    def finish(self, count: int) -> None:
        """
        Answer so many of the slow requests.
        """
        for _ in range(count):
            self._running.pop().callback(200)


class Load:
    """
    Publishes tasks.
    """

    def __init__(self, producer: Producer, attempts: Attempts) -> None:
        self._producer = producer
        self._attempts = attempts

    async def publish(
        self, kind: str, after: float | None = None, ttl: float = 0
    ) -> None:
        """
        Publish all tasks of a kind.

        @param after: in so many seconds they are due.
        @param ttl: in so many seconds they expire; 0 for never.
        """
        due = None if after is None else time.time() + after
        queue = queue_of(kind)
        adding = []
        for n in range(COUNT):
            name = f"{kind} {n}"
            if due is not None:
                self._attempts.due[name] = due
            adding.append(
                self._producer.add_task("/", name, kind=queue, run_at=due, ttl=ttl)
            )
        await gatherResults(adding)


#: For the mediator.
TWISTD = "-c", "from twisted.scripts.twistd import run; run()"


def mediator(machine: Machine, folder: Path, url: str) -> Path:
    """
    Start one; gives the file with its log.
    """
    path = folder / "quebert.toml"
    options = "--pidfile=", "-n", "quebert", f"--config={path}"
    return machine.start("mediator", *TWISTD, *options, QUEBERT_AMQP_URL=url)


def is_up(log: Path, count: int = 2) -> bool:
    """
    Whether so many processes watch their queues.
    """
    return log.read_text().count(") is up.") == count


def jumps_in(log: Path) -> list[str]:
    """
    What a mediator has said of jumps of its clock.
    """
    return re.findall(r"clock of this machine was set (.*?)\.", log.read_text())


def configuration(names: Names, url: str) -> str:
    """
    Of a mediator with two processes, where each task may fail once.
    """
    queues = [
        f'[queues."{names.queue}.{name}"]\n'
        f'exchange = "{names.exchange}"\nkey = "{name}.#"\nconcurrency = 200\n'
        f"retry = {{ max_attempts = 2, min_backoff = {wait} }}\n"
        for name, wait in WAITS.items()
    ]
    return "\n".join(
        [f'service.default_url = "{url}"', "service.processes = 2", *queues]
    )


async def started(
    machine: Machine,
    folder: Path,
    url: str,
    names: Names,
    executor: Executor,
    attempts: Attempts,
) -> Path:
    """
    Start a mediator whose tasks are attempted as C{attempts} says; gives the file with
    its log, once it is up.
    """
    executor.answer = attempts.answer
    (folder / "quebert.toml").write_text(configuration(names, executor.url))
    log = mediator(machine, folder, url)
    await until(lambda: is_up(log))
    return log


@pytest.fixture(params=["embedded", "rabbitmq"])
def url(request: pytest.FixtureRequest, machine: Machine, tmp_path: Path) -> str:
    """
    Of a broker: the embedded one on the same machine, or RabbitMQ on another.
    """
    if request.param == "rabbitmq":
        node: RabbitMQNode = request.getfixturevalue("rabbitmq")
        return node.url
    port = free_port()
    data = f"--data={tmp_path / 'data'}"
    machine.start("broker", "-m", "quebert", "broker", f"--port={port}", data)
    return f"amqp://guest:guest@127.0.0.1:{port}/"


@pytest.mark.parametrize(
    "jump",
    [
        pytest.param(-3_600, marks=pytest.mark.long),
        pytest.param(3_600, marks=pytest.mark.long),
        pytest.param(86_400, marks=pytest.mark.long),
        pytest.param(-86_400, marks=pytest.mark.long),
    ],
)
@ensureDeferred
async def test_jumps(
    jump: int,
    url: str,
    machine: Machine,
    executor: Executor,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    tmp_path: Path,
) -> None:
    """
    While 480 tasks run and wait the clock is set wrong, and later right: none begins
    early by the true clock, none uses an attempt up, none is stuck or discarded, and
    each jump is told once.
    """
    attempts = Attempts()
    log = await started(machine, tmp_path, url, names, executor, attempts)
    load = Load(Producer(make_client(url), names.exchange), attempts)
    await load.publish("slow")
    await until(lambda: attempts.total("slow") == COUNT)
    await load.publish("due soon", SOON)
    await load.publish("due later", LATER)
    await load.publish("fails soon")
    await load.publish("fails later")
    fails = "fails soon", "fails later"
    await until(lambda: len(attempts.due) == 4 * COUNT)  # each has failed once

    machine.set_clock(jump)
    await until(lambda: len(jumps_in(log)) == 1)
    await load.publish("meanwhile")
    await load.publish("expires", ttl=600)
    await until(lambda: attempts.total("meanwhile") == COUNT)
    await until(lambda: attempts.total(*fails) == 4 * COUNT, PATIENCE)
    attempts.finish(COUNT // 2)

    machine.set_clock(0)
    await until(lambda: len(jumps_in(log)) == 2)
    await load.publish("afterwards")
    await until(lambda: attempts.total("afterwards") == COUNT)
    due = "due soon", "due later"
    late = "expires", *due
    await until(lambda: attempts.total(*late) == 3 * COUNT, PATIENCE)
    attempts.finish(COUNT // 2)

    assert set(await machine.stop()) == {0}
    assert attempts.early == {}
    once = ("slow", *late, "meanwhile", "afterwards")
    assert {attempts.total(kind) for kind in once} == {COUNT}
    assert {attempts.total(kind) for kind in fails} == {2 * COUNT}
    ways = ("forward", "back") if jump > 0 else ("back", "forward")
    assert jumps_in(log) == [f"{way} by {abs(jump):,} s" for way in ways]


@pytest.mark.long
@pytest.mark.parametrize("wrong", [600, -600])
@ensureDeferred
async def test_wrong_clock(
    wrong: int,
    url: str,
    machine: Machine,
    other_machine: Machine,
    executor: Executor,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    tmp_path: Path,
) -> None:
    """
    A mediator with a wrong clock takes retries of another one from their first rung:
    none begins early by the true clock, and each task is attempted twice.
    """
    attempts = Attempts()
    await started(machine, tmp_path, url, names, executor, attempts)
    load = Load(Producer(make_client(url), names.exchange), attempts)
    await load.publish("fails in two")
    await until(lambda: len(attempts.due) == COUNT)
    other_machine.set_clock(wrong)
    other_log = mediator(other_machine, tmp_path, url)
    await until(lambda: is_up(other_log))

    await until(lambda: attempts.total("fails in two") == 2 * COUNT, 2 * PATIENCE)

    assert set(await other_machine.stop()) == {0}
    assert set(await machine.stop()) == {0}
    assert attempts.early == {}
