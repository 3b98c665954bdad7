"""
The tasks that this process is publishing, deleting, or having run now.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager

from quebert._waiters import Waiters
from quebert.created_tasks._values import NewTask

__all__ = ["TasksInHand"]


class TasksInHand:
    """
    The uuids of tasks in hand, each with the calls that wait until the task is not.
    """

    def __init__(self) -> None:
        self._waiters: dict[str, Waiters[None]] = {}

    def __contains__(self, uuid: str) -> bool:
        return uuid in self._waiters

    @asynccontextmanager
    async def alone(self, uuid: str) -> AsyncIterator[None]:
        """
        Wait until no other call has a task in hand, and have it.
        """
        while uuid in self._waiters:
            await self._waiters[uuid].wait()
        with self._having([uuid]):
            yield

    def handling(self, tasks: Iterable[NewTask]) -> AbstractContextManager[None]:
        """
        Have tasks in hand, but for those that another call has.
        """
        return self._having([each.uuid for each in tasks])

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
