"""
Lists of rows, as conditions that the indexes of both kinds of database serve.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from quebert.created_tasks import DELETED, DELETING, ENDED, NEW, RowQuery
from quebert.task_store._encoding import raw
from quebert.task_store._schema import COLUMNS

__all__ = ["columns_of", "conditions_of"]

_OVER = frozenset([ENDED, DELETED])
_BEGUN = frozenset([NEW, DELETING])


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
