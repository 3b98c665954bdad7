"""
A mediator for twistd to run in the tests, which says how many tasks it has in flight.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from quebert.amqp import TxAMQPClient, Watcher, WatchOptions
from quebert.mediator import PolicyMediator

log = Logger()


def config(options: Any) -> Deferred[Callable[[], Any]]:
    """
    Watch the queue that the environment names, of the type that it names, if any.
    """
    return Deferred.fromCoroutine(_watch(options))


async def _watch(options: Any) -> Callable[[], Any]:
    client = TxAMQPClient.from_url(options["amqp-url"])
    client.suspects.patience = 0.1  # those that have ended do not come back
    mediator = PolicyMediator(defaulturl=options["default-url"])
    watcher: Watcher = await client.watch(
        "",
        os.environ["QUEUE"],
        "",
        mediator.messageReceived,
        options=WatchOptions(queue_type=os.environ["QUEUE_TYPE"] or None),
    )
    told = -1

    def tell() -> None:
        nonlocal told
        if told != watcher.in_flight:
            told = watcher.in_flight
            log.info("{number} in flight", number=told)

    LoopingCall(tell).start(0.05)
    return lambda: client.stop(options["grace"])
