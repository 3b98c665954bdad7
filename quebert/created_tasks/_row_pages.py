"""
Rows of tasks with which a process goes on, some at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence

import attrs

from quebert.created_tasks._boundaries import TaskRows
from quebert.created_tasks._values import CreatedTask, RowQuery

__all__ = ["DOUBTFUL", "FEW", "pages"]

#: Seconds after which only the process that leads goes on with a row.
DOUBTFUL = 30.0

#: Rows at a time.
FEW = 500


async def pages(
    rows: TaskRows, query: RowQuery, left: Collection[str]
) -> AsyncIterator[Sequence[CreatedTask]]:
    """
    The rows of a query, some at a time.

    @param left: queues that are left alone from the next page on; more may come
        meanwhile.  With many of them there are no more pages.
    """
    after = 0
    while len(left) < FEW:
        found, after = await rows.page(
            attrs.evolve(query, after=after, except_queues=tuple(left))
        )
        yield found
        if not after:
            return
