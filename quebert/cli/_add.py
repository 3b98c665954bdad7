"""
C{quebert add}: a task is published, and confirmed.
"""

from __future__ import annotations

import time
from typing import Any

from quebert import task as tasks
from quebert.amqp import TxAMQPClient
from quebert.producer import MEDIUM
from quebert.producer._letter import task_letter

__all__ = ["add"]

#: Seconds in which a task must find its broker.
CONNECT_TIMEOUT = 5.0


async def add(
    reactor: Any,
    amqp_url: str,
    exchange: str,
    key: str,
    url: str,
    params: Any,
    **fields: Any,
) -> str:
    """
    Add a task, and give its uuid once the broker has confirmed it.

    @param fields: as for L{make<quebert.task.make>}.
    @raise QuebertError: it is none, or was not confirmed.
    """
    client = TxAMQPClient.from_url(
        amqp_url, reactor=reactor, connectTimeout=CONNECT_TIMEOUT
    )
    now = time.time()
    task = tasks.make(now, url, params, **fields)
    # Our producers know no keys but those of a kind and a priority.
    letter = task_letter(task, "tasks", MEDIUM, now)
    try:
        await client.publish(exchange, key, letter.body, letter.properties)
    finally:
        await client.stop(0)
    uuid: str = task["uuid"]
    return uuid
