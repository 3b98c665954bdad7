"""
What it costs a mediator to tell of its tasks: microseconds of CPU a task, without
network, for recording, making batches, compressing and handing them over; for counting
them in metrics; and what it costs who reads.

Rounds with and without take turns in one process, and the least of each counts, since
other load on the machine only adds to them.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import time
import uuid
from collections.abc import Callable
from typing import Any

from log_lines import Answer
from race import console
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogBeginner

from quebert.boundaries import WatchedMessage
from quebert.clock import SteadyClock
from quebert.events import (
    Columns,
    EventPublisher,
    MediatorState,
    Recorder,
    decode_batch,
)
from quebert.mediator import PolicyMediator
from quebert.metrics import ClusterMetrics
from quebert.task import format_time

COUNT, ROUNDS, PATIENT = 1_000, 100, 10


class Delivery(WatchedMessage):
    """
    A task that comes for the first time.
    """

    properties: Any = {}
    may_have_past = False
    sent_at = due_at = None

    def __init__(self, url: str) -> None:
        task = {
            "url": url,
            "uuid": str(uuid.uuid4()),
            "timestamp": format_time(time.time() - random.random()),
            "params": {"name": "you"},
        }
        self._body = json.dumps(task).encode()

    @property
    def body(self) -> bytes:
        """
        The task.
        """
        return self._body


class QuickNetwork:
    """
    Answers at once.
    """

    def __init__(self, code: int) -> None:
        self._answer = Answer()
        self._answer.code = code

    def request(self, *args: object, **options: object) -> Deferred[Answer]:
        """
        Make a request.
        """
        return succeed(self._answer)


class NoBroker:
    """
    A client, and its publisher, which takes everything.

    @ivar bodies: of the last batch.
    """

    ready = True

    def __init__(self) -> None:
        self.reactor = Clock()
        self.body = b""

    def make_publisher(self) -> NoBroker:
        """
        Itself.
        """
        return self

    def now(self) -> float:
        """
        The time.
        """
        return time.time()

    async def connected(self, timeout: float | None = None) -> NoBroker:
        """
        A connection over which all is declared.
        """
        return self

    async def publish(self, exchange: str, key: str, body: bytes, more: bytes) -> None:
        """
        Publish.
        """
        self.body = body


def publisher(client: Any, recorder: Recorder) -> EventPublisher:
    """
    A publisher that has somebody who listens.
    """

    def state(now: float, lag: float) -> MediatorState:
        return MediatorState(
            mediator="m", host="h", pid=1, version="1", started=now, at=now
        )

    made = EventPublisher(recorder, client, "m", state)
    made._declared, made._is_heard = client, True
    return made


def cpu(work: Callable[[], object]) -> float:
    """
    Microseconds of CPU, for each of the tasks.
    """
    began = time.process_time()
    work()
    return (time.process_time() - began) / COUNT * 1e6


def measure(urls: int, code: int, rounds: int) -> None:
    """
    Measure one kind of tasks.
    """
    messages = [Delivery(f"http://localhost:8000/a/{n % urls}") for n in range(COUNT)]
    clock, client, recorder = Clock(), NoBroker(), Recorder()
    clock.seconds = SteadyClock(log_jumps=False).seconds  # type: ignore[method-assign]
    telling = publisher(client, recorder)
    http: Any = QuickNetwork(code)
    off = PolicyMediator(http=http, clock=clock)
    on = PolicyMediator(http=http, clock=clock, recorder=recorder.of("tasks"))
    observed = PolicyMediator(http=http, clock=clock, observer=lambda event: None)

    def run(mediator: PolicyMediator) -> Callable[[], object]:
        return lambda: [mediator.messageReceived(each) for each in messages]

    batches: list[Columns] = []
    telling.listeners.append(batches.append)
    metrics = ClusterMetrics(since=0.0)

    def tick() -> None:
        telling.collect()
        telling._send(0.0)

    def count() -> None:
        metrics.columns(batches.pop())

    steps = {
        "off": run(off),
        "on": run(on),
        "tick": tick,
        "count": count,
        "observed": run(observed),
    }
    least = dict.fromkeys(steps, float("inf"))
    gc.collect()
    for _ in range(rounds):
        for name, step in steps.items():
            least[name] = min(least[name], cpu(step))
    assert len(decode_batch(client.body).records) == COUNT
    reading = min(cpu(lambda: decode_batch(client.body)) for _ in range(PATIENT))
    what = f"{urls} URL{'s' if urls > 1 else ''}, {code}"
    recording = least["on"] - least["off"]
    console.print(
        f"{what:14} without {least['off']:5.1f} µs"
        f"  with {recording + least['tick'] + least['count']:+5.1f} µs"
        f" (recording {recording:.1f}, batches of {len(client.body) / COUNT:.1f} bytes"
        f" {least['tick']:.1f}, metrics {least['count']:.1f})"
        f"  an observer {least['observed'] - least['off']:+5.1f} µs"
        f"  reading {reading:.1f} µs"
    )


def main() -> None:
    """
    Measure, and show it.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
    console.print("Microseconds of CPU a task:")
    measure(1, 200, rounds)
    measure(COUNT, 200, rounds)
    measure(1, 503, max(1, rounds // PATIENT))


if __name__ == "__main__":
    main()
