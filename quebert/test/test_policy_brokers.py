"""
Tasks that are tried as a policy has it, on real brokers, until they are given up.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest_twisted

from quebert.amqp import TxAMQPClient
from quebert.amqp.queues import dead_letters_of
from quebert.mediator import PolicyMediator
from quebert.outcome import EXHAUSTED, POISON
from quebert.policy import RetryPolicy
from quebert.test.conftest import Names
from quebert.test.support import Executor, until

QUICK = RetryPolicy(max_attempts=4, min_backoff=0.02, max_backoff=0.04)


class Dead:
    """
    A callback that keeps what was buried.
    """

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def __call__(self, message: Any) -> None:
        """
        Keep it.
        """
        self.messages.append(message)


@pytest_twisted.ensureDeferred
async def test_given_up(
    either: Any,
    make_client: Callable[..., TxAMQPClient],
    executor: Executor,
    names: Names,
) -> None:
    """
    A task that keeps failing, and what is no task, end in the dead queue, as they
    were sent, with what there is to tell of them.  Dug out, a task is tried anew.
    """
    executor.answer = lambda task: 503
    mediator = PolicyMediator(defaulturl=executor.url, policy=QUICK)
    client = make_client(either.url)
    watcher = await client.watch(
        names.exchange, names.queue, names.key, mediator.messageReceived
    )
    body = json.dumps({"url": "/fails", "params": "é"}, ensure_ascii=False).encode()
    mine = {"delivery-mode": 2, "headers": {"mine": 1}}
    await client.publish("", names.queue, body, mine)
    await until(lambda: watcher.counts.buried == 1)
    await client.publish("", names.queue, b"{", mine)
    await until(lambda: watcher.counts.buried == 2)
    assert watcher.counts.retried == 3
    assert executor.bodies == [body] * 4

    dead = Dead()
    await client.watch("", dead_letters_of(names.queue), "", dead)
    await until(lambda: len(dead.messages) == 2)
    exhausted, poison = dead.messages
    assert (exhausted.body, poison.body) == (body, b"{")
    headers = exhausted.headers
    assert headers["mine"] == 1
    assert headers["quebert-kind"] == EXHAUSTED
    assert " is given up after 4 attempts in " in headers["quebert-reason"]
    assert headers["quebert-attempts"] == 4
    assert headers["quebert-last-status"] == 503
    first, last = headers["quebert-first-attempt"], headers["quebert-last-attempt"]
    assert last - first >= 0.08
    assert last <= headers["quebert-buried-at"]
    assert poison.headers["quebert-kind"] == POISON
    assert "quebert-attempts" not in poison.headers

    again = {"delivery-mode": 2, "headers": headers}
    await client.publish("", names.queue, body, again)
    await until(lambda: len(dead.messages) == 3)
    assert dead.messages[-1].headers["quebert-attempts"] == 4
    assert dead.messages[-1].headers["quebert-first-attempt"] > last
    assert len(executor.bodies) == 8
