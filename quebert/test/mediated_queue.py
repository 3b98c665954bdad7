"""
A queue with a mediator that takes its tasks to a web server.
"""

from __future__ import annotations

import json
from typing import Any

from quebert.amqp import TxAMQPClient, Watcher
from quebert.mediator import PolicyMediator
from quebert.policy import RetryPolicy
from quebert.test.conftest import Names
from quebert.test.support import until

__all__ = ["MediatedQueue"]

QUICK = RetryPolicy(max_attempts=90, min_backoff=0.02, max_backoff=0.05)


class MediatedQueue:
    """
    A queue whose tasks a real mediator takes to C{url}.

    @ivar done: the numbers of the tasks that are.
    """

    def __init__(self, client: TxAMQPClient, queue: str, watcher: Watcher) -> None:
        self._client = client
        self._queue = queue
        self.watcher = watcher
        self.done: list[int] = []
        self._added = 0

    @classmethod
    async def at(
        cls, url: str, client: TxAMQPClient, names: Names, at_once: int
    ) -> MediatedQueue:
        """
        Watch it.
        """
        mediator = PolicyMediator(defaulturl=url, policy=QUICK)
        watcher = await client.watch(
            names.exchange,
            names.queue,
            names.key,
            mediator.messageReceived,
            maxEvents=at_once,
        )
        queue = cls(client, names.queue, watcher)
        mediator.add_posthook(lambda task, _: queue.done.append(task["params"]["n"]))
        return queue

    async def add(self, count: int = 1, **fields: Any) -> None:
        """
        Add tasks.
        """
        for n in range(self._added, self._added + count):
            task = {"url": "/task", "params": {"n": n}, **fields}
            await self._client.publish("", self._queue, json.dumps(task).encode())
        self._added += count

    async def all_done(self) -> None:
        """
        Wait until all are done, each of them once.
        """
        await until(
            lambda: self.watcher.counts.done == self._added,
            shown=lambda: (self.watcher.counts, self.done),
        )
        assert sorted(self.done) == list(range(self._added))
