"""
A mediator that attempts each task twice at most, for twistd to run in the tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from quebert.amqp import TxAMQPClient, WatchOptions
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
    queue = os.environ["QUEUE"]
    await client.watch(
        "", queue, "", mediator.messageReceived, options=WatchOptions(prefetch=10)
    )
    Logger().info("Watching")
    return lambda: client.stop(options["grace"])
