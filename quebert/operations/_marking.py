"""
Has the broker and all mediators know that tasks are cancelled.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from quebert.amqp.coordination import (
    CANCEL,
    Answers,
    Cancellation,
    Question,
    add_cancelled,
    ask_mediators,
    register_of,
)

if TYPE_CHECKING:
    from quebert.amqp import TxAMQPClient
    from quebert.amqp.wire import Wire

__all__ = ["Marking"]


class Marking:
    """
    Marks tasks of one queue.

    @ivar by: who cancels them.
    """

    def __init__(self, client: TxAMQPClient, wire: Wire, queue: str, by: str) -> None:
        self._client = client
        self._wire = wire
        self._queue = queue
        self.by = by

    async def mark(self, uuids: Collection[str]) -> Answers:
        """
        Returns when the broker keeps it, and mediators have answered.
        """
        now, queue = self._client.now(), self._queue
        some = tuple(Cancellation(each, now, self.by) for each in uuids)
        if await add_cancelled(self._wire, queue, some, now):
            new_queues = self._client.ladder.new_queues
            new_queues.declared(self._wire, register_of(queue), None)
        question = Question(CANCEL, tuple(uuids), some)
        return await ask_mediators(self._wire, queue, question)

    async def kept(self) -> None:
        """
        Returns once the broker keeps it also if it is killed.
        """
        await self._client.ladder.new_queues.old(self._wire, register_of(self._queue))
