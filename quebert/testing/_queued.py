"""
L{QueuedMessage}: a message in a queue in memory; and what is told of it,
L{SimulatedAttempt} and L{DroppedTask}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import attrs

from quebert.boundaries import WatchedMessage
from quebert.testing._added import AddedTask
from quebert.testing._exchange import Answer, SimulatedRequest

__all__ = ["DroppedTask", "QueuedMessage", "SimulatedAttempt"]


@attrs.define(eq=False)
class SimulatedAttempt:
    """
    One request for a task.

    @ivar at: when it began, in UTC.
    @ivar task: the task as it was added.
    @ivar number: the number of the attempt at this task, from 1.
    @ivar request: what the executor got.
    @ivar answer: what it answered; C{None} if no answer came.  One that takes longer
        than the task's C{timeout} does not come either, but stands here.
    @ivar error: what the executor has raised, if it has.
    @ivar result: what became of the task: C{"done"}, C{"retry"}, C{"dead"} or
        C{"dropped"}; C{""} while the answer is awaited.
    @ivar retry_in: seconds until the next attempt, where there is to be one.
    """

    at: datetime
    task: AddedTask
    number: int
    request: SimulatedRequest
    answer: Answer | None = None
    error: BaseException | None = None
    result: str = ""
    retry_in: float | None = None

    @property
    def status(self) -> int | None:
        """
        The status of the answer, if one came.
        """
        return None if self.answer is None else self.answer.status


@attrs.frozen
class DroppedTask:
    """
    A task that was discarded: it expired, or its executor wished so.

    @ivar task: as it was added.
    @ivar reason: why, in a sentence.
    """

    task: AddedTask
    reason: str


class QueuedMessage(WatchedMessage):
    """
    A message in the queue.

    @ivar added: the task as it was added.
    @ivar attempts: how many requests were made for it.
    @ivar attempt: the one that is under way.
    """

    may_have_past = True

    def __init__(self, added: AddedTask, requesting: Callable[[Any], None]) -> None:
        self.added = added
        self.attempts = 0
        self.attempt: SimulatedAttempt | None = None
        self._requesting = requesting
        self._body = added.body
        self._properties: Mapping[str, Any] = {"headers": {}, **added.properties}

    @property
    def body(self) -> bytes:
        """
        Its body.
        """
        return self._body

    @property
    def properties(self) -> Mapping[str, Any]:
        """
        Its properties.
        """
        return self._properties

    def may_request(self, url: str) -> bool:
        """
        It may.
        """
        self._requesting(self)
        return True

    def amend(self, headers: Mapping[str, Any], body: bytes | None = None) -> None:
        """
        Have further headers; C{None} removes one.
        """
        amended = {**self._properties["headers"], **headers}
        told = {name: value for name, value in amended.items() if value is not None}
        self._properties = {**self._properties, "headers": told}
        if body is not None:
            self._body = body
