"""
Callback tasks with a broker and a mediator in a process of its own, which is killed
between the confirm of a callback and the acknowledgement of its task.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_twisted import ensureDeferred

from quebert.amqp import TxAMQPClient
from quebert.amqp.queues import CLASSIC, declare_queue
from quebert.task import format_time
from quebert.test.conftest import AnyBroker, Names
from quebert.test.support import Executor, Program, until

#: How many tasks there are, and at how many of them a mediator is killed.
COUNT, KILLS = 60, 3
OUTCOMES = ("done", "exhausted", "expired")


def body_of(queue: str, n: int) -> bytes:
    """
    A task, whose end is one of three; and some kill their mediator then.
    """
    killer = "-killer" if n % (COUNT // KILLS) == 7 else ""
    fields: dict[str, Any] = {
        "url": "/task",
        "uuid": f"{queue}-{n}{killer}",
        "params": n,
        "callback_url": "/ended",
    }
    if OUTCOMES[n % 3] == "expired":
        fields.update(timestamp=format_time(time.time() - 100), ttl=10)
    return json.dumps(fields).encode()


class CalledBack(Executor):
    """
    Fails every third task, and is told the end of each.

    @ivar ended: the outcomes of each task.
    @ivar uuids: how often the callback of each uuid has come.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self.ended: dict[int, set[str]] = {}
        self.uuids: dict[int, Counter[str]] = {}
        self.answer = self._answer

    def _answer(self, task: Any) -> int:
        told = task["params"]
        if not isinstance(told, dict):
            return 500 if OUTCOMES[told % 3] == "exhausted" else 200
        n = int(told["uuid"].removesuffix("-killer").rpartition("-")[2])
        self.ended.setdefault(n, set()).add(told["outcome"])
        self.uuids.setdefault(n, Counter())[task["uuid"]] += 1
        return 200


@ensureDeferred
async def test_killed_between(
    either: AnyBroker,
    start: Callable[..., Program],
    names: Names,
    tmp_path: Path,
) -> None:
    """
    Each task has its callback, although its mediator is killed when the callback is
    published and the task is not acknowledged.  Then the callback comes again, with the
    same uuid.
    """
    from twisted.internet import reactor

    executor, queue = CalledBack(reactor), names.queue
    client = TxAMQPClient.from_url(either.url)
    await declare_queue(await client.connected(), queue, CLASSIC)
    arguments = (
        *("-m", "twisted", "quebert", f"--amqp-url={either.url}"),
        *("--config=ending_mediator.config", f"--default-url={executor.url}"),
    )
    environment = {
        "PYTHONPATH": str(Path(__file__).parent),
        "QUEUE": queue,
        "KILLED": str(tmp_path),
    }
    try:
        for n in range(COUNT):
            await client.publish("", queue, body_of(queue, n), {"delivery-mode": 2})
        for kills in range(KILLS):
            program = start(*arguments, **environment)
            await program.ended()
            assert len(list(tmp_path.glob("*-killer"))) == kills + 1
        start(*arguments, **environment)
        await until(lambda: len(executor.ended) == COUNT)
        assert executor.ended == {n: {OUTCOMES[n % 3]} for n in range(COUNT)}
        assert all(len(each) == 1 for each in executor.uuids.values())
        killers = [n for n in range(COUNT) if b"-killer" in body_of(queue, n)]

        def came_again() -> bool:
            return all(executor.uuids[n].total() > 1 for n in killers)

        await until(came_again, shown=lambda: executor.uuids)
    finally:
        await client.stop(0)
        await executor.close()
