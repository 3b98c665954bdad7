"""
A mediator that attempts each task twice at most, for twistd to run in the tests.

With C{KILLED} in its environment, a folder, it is killed when RabbitMQ has confirmed
the callback of a task whose uuid ends in C{-killer}, before it acknowledges the task:
once for each such task.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from quebert.amqp import TxAMQPClient, WatchOptions
from quebert.amqp.watch._end_teller import EndTeller
from quebert.mediator import PolicyMediator
from quebert.policy import RetryPolicy


def config(options: Any) -> Deferred[Callable[[], Any]]:
    """
    Watch the queue that the environment names.
    """
    return Deferred.fromCoroutine(_watch(options))


async def _watch(options: Any) -> Callable[[], Any]:
    client = TxAMQPClient.from_url(options["amqp-url"], connectTimeout=None)
    client.suspects.patience = 0.1  # those that have ended do not come back
    policy = RetryPolicy(max_attempts=2, min_backoff=0.02, max_backoff=0.05)
    mediator = PolicyMediator(
        defaulturl=options["default-url"], policy=policy, bury=True
    )
    if folder := os.environ.get("KILLED"):
        _kill_between(Path(folder))
    queue = os.environ["QUEUE"]
    await client.watch(
        "", queue, "", mediator.messageReceived, options=WatchOptions(prefetch=10)
    )
    Logger().info("Watching")
    return lambda: client.stop(options["grace"])


def _kill_between(folder: Path) -> None:
    teller: Any = EndTeller
    tell = teller.tell

    async def tell_and_kill(self: Any, message: Any, *arguments: Any) -> bool:
        told: bool = await tell(self, message, *arguments)
        callback = message.callback_task
        if callback is not None and callback.uuid.endswith("-killer"):
            killed = folder / callback.uuid
            if not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return told

    teller.tell = tell_and_kill
