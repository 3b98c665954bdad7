"""
The tasks that are created over HTTP, as C{quebert web} keeps them.

The database and RabbitMQ are not connected yet: there is no such task, and none can be
created.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quebert.created_tasks import (
    CreatedTask,
    CreatedTasks,
    NewTask,
    RowQuery,
    TaskChange,
)
from quebert.errors import BrokerError, BrokerUnreachable, TaskStoreError
from quebert.operations import Cancelled, RunNow

__all__ = ["created_tasks"]

_WHY = "this quebert web cannot create tasks yet"


class _NoRows:
    """
    A database without rows, which takes none.
    """

    async def add(
        self, tasks: Sequence[NewTask], now: float
    ) -> Sequence[CreatedTask | None]:
        raise TaskStoreError(_WHY)

    async def change(
        self, changes: Sequence[TaskChange]
    ) -> Sequence[CreatedTask | None]:
        return [None for _ in changes]

    async def find(self, uuid: str) -> CreatedTask | None:
        return None

    async def page(self, query: RowQuery) -> tuple[Sequence[CreatedTask], int]:
        return (), 0

    async def sweep(self, now: float) -> int:
        return 0


class _NoBroker:
    """
    A RabbitMQ that cannot be reached.
    """

    async def publish(self, tasks: Sequence[NewTask]) -> Sequence[BrokerError | None]:
        return [BrokerUnreachable(_WHY) for _ in tasks]

    async def cancel(self, queue: str, uuid: str, by: str) -> Cancelled:
        raise BrokerUnreachable(_WHY)

    async def run_now(self, queue: str, uuid: str) -> RunNow:
        raise BrokerUnreachable(_WHY)


def created_tasks(now: Callable[[], float]) -> CreatedTasks:
    """
    The tasks.

    @param now: gives the seconds since the epoch.
    """
    return CreatedTasks(_NoRows(), _NoBroker(), now)
