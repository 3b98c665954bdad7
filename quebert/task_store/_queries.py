"""
Lists of rows, as conditions that the indexes of both kinds of database serve.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from quebert.created_tasks import DELETED, DELETING, ENDED, NEW, RowQuery
from quebert.task_store._boundaries import RowValues, Statements
from quebert.task_store._encoding import raw, text
from quebert.task_store._schema import COLUMNS

__all__ = ["bounded", "columns_of", "conditions_of", "queues_of_living"]

# From one queue to the next by the index: there may be a million tasks of each.
_FIRST_QUEUE = (
    "SELECT queue FROM tasks WHERE state NOT IN ('ended', 'deleted') {0}"
    " ORDER BY queue LIMIT 1"
)
_QUEUES = (
    f"WITH RECURSIVE living (q) AS (SELECT ({_FIRST_QUEUE.format('')})"  # nosec B608
    f" UNION ALL SELECT ({_FIRST_QUEUE.format('AND queue > q')}) FROM living"
    " WHERE q IS NOT NULL) SELECT q FROM living WHERE q IS NOT NULL"
)
_OVER = frozenset([ENDED, DELETED])
_BEGUN = frozenset([NEW, DELETING])


def queues_of_living(statements: Statements) -> list[str]:
    """
    The queues of tasks that live, in the order of their names as bytes.
    """
    return [text(queue) for (queue,) in statements.execute(_QUEUES, ())]


def columns_of(query: RowQuery, nothing: str) -> str:
    """
    What of the rows is read.

    @param nothing: stands for a body that is not.
    """
    return ", ".join(COLUMNS if query.bodies else [*COLUMNS[:-1], nothing])


def conditions_of(query: RowQuery, place: str) -> tuple[str, list[Any]]:
    """
    The condition that rows fulfil, and its values.

    @param place: stands for a value.
    """
    conditions = [f"id > {place}"]
    values: list[Any] = [query.after]
    if query.queue:
        conditions.append(f"queue = {place}")
        values.append(raw(query.queue))
    if query.except_queues:
        places = ", ".join([place] * len(query.except_queues))
        conditions.append(f"queue NOT IN ({places})")
        values += map(raw, query.except_queues)
    if query.name:
        conditions.append(f"name = {place} AND name IS NOT NULL")
        values.append(raw(query.name))
    if query.states:
        places = ", ".join([place] * len(query.states))
        conditions.append(f"state IN ({places})")
        values += query.states
        conditions += _hints(frozenset(query.states))
    if query.before is not None:
        conditions.append(f"created < {place}")
        values.append(query.before)
    return f" WHERE {' AND '.join(conditions)}", values


def _hints(states: frozenset[str]) -> Iterable[str]:
    """
    What follows from the states, in the words of the indexes.
    """
    if states <= _BEGUN:
        yield "state IN ('new', 'deleting')"
    if states <= _OVER:
        yield "state IN ('ended', 'deleted')"
    elif not states & _OVER:
        yield "state NOT IN ('ended', 'deleted')"


def bounded(
    found: Iterable[RowValues], query: RowQuery
) -> tuple[Sequence[RowValues], bool]:
    """
    So many rows as the query asks for, or fewer with long bodies, and whether there are
    more.

    @param found: rows, of which one more than the query asks for is the last.
    """
    rows: list[RowValues] = []
    size = 0
    has_more = False
    for each in found:
        if size >= query.body_bytes:
            return rows, True
        # The last one is read, too: PostgreSQL would have to be told to stop.
        has_more = len(rows) >= query.size
        if not has_more:
            rows.append(each)
            size += len(each[-1])
    return rows, has_more
