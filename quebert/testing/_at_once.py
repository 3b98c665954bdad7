"""
L{done_at_once}: has a task done by its executor now, and once, by a mediator with a
policy.
"""

from __future__ import annotations

import time
from typing import Any

import attrs
from twisted.internet.task import Clock

from quebert.guard import Guard
from quebert.mediator import PolicyMediator
from quebert.testing._added import AddedTask
from quebert.testing._called_client import CalledClient
from quebert.testing._exchange import Answer, SimulatedRequest
from quebert.testing._executors import Answered, Ask
from quebert.testing._memory_queue import MemoryQueue
from quebert.testing._queued import SimulatedAttempt

__all__ = ["done_at_once"]


def done_at_once(
    task: AddedTask, ask: Ask, default_url: str | None
) -> SimulatedAttempt | None:
    """
    Have a task done, whatever the delay that it wants, and tell it the result.

    Each task has a mediator of its own: several threads may add tasks, and an executor
    may while it does one.

    @return: the attempt; C{None} if there was none, since it is no task.
    """
    clock = Clock()
    clock.rightNow = time.time()
    if task.run_at is not None:
        clock.rightNow = max(clock.rightNow, task.run_at.timestamp())

    def ask_at_once(request: SimulatedRequest) -> Answered:
        answer = ask(request)
        if isinstance(answer, Answer):
            return attrs.evolve(answer, seconds=0)
        return answer

    def exchanged(*exchange: Any) -> None:
        queue.exchanged(*exchange)

    options: dict[str, Any] = {} if default_url is None else {"defaulturl": default_url}
    client = CalledClient(ask_at_once, clock, Guard(), exchanged)
    mediator = PolicyMediator(http=client, clock=clock, now=clock.seconds, **options)
    queue = MemoryQueue(mediator.messageReceived, clock)
    queue.add(task)
    queue.pass_to(clock.seconds())
    client.check()
    attempts = (each for each in queue.attempts if each.task is task)
    attempt = next(attempts, None)  # others are those of its callback
    if attempt is not None:
        task.answer, task.result = attempt.answer, attempt.result
    else:
        task.result = "dead" if queue.dead else "dropped" if queue.dropped else "retry"
    return attempt
