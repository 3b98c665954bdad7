"""
The tasks that this process has in hand: it publishes or deletes them.  Whoever wants to
do something else with one of these waits for that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

from quebert._waiters import Waiters
from quebert.created_tasks._values import NewTask

__all__ = ["DOUBTFUL", "TasksInHand"]

#: Seconds after which a task that is in doubt is in the hands of no other process.
DOUBTFUL = 30.0


class TasksInHand:
    """
    None, at first.
    """

    def __init__(self) -> None:
        self._waiters: dict[str, Waiters[None]] = {}

    def __contains__(self, uuid: str) -> bool:
        return uuid in self._waiters

    @asynccontextmanager
    async def alone(self, uuid: str) -> AsyncIterator[None]:
        """
        Wait until nobody has a task in hand, and have it.
        """
        while uuid in self._waiters:
            await self._waiters[uuid].wait()
        with self._having([uuid]):
            yield

    @contextmanager
    def handling(self, tasks: Iterable[NewTask]) -> Iterator[None]:
        """
        Have tasks in hand, but for those that somebody has.
        """
        with self._having([each.uuid for each in tasks]):
            yield

    @contextmanager
    def _having(self, uuids: Iterable[str]) -> Iterator[None]:
        ours: dict[str, Waiters[None]] = {
            each: Waiters() for each in uuids if each not in self._waiters
        }
        self._waiters.update(ours)
        try:
            yield
        finally:
            for uuid, waiters in ours.items():
                del self._waiters[uuid]
                waiters.fire(None)
