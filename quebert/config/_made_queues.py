"""
The table C{[made_queues]}: which of the queues that were made over the API mediators
serve, and how their tasks are handled.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import attrs

from quebert.config import _kinds as kinds
from quebert.config._outside import Outside
from quebert.config._queue import handling
from quebert.config._queue_definition import QueueDefinition
from quebert.config._settings import MadeQueues, Priorities, QueueSettings
from quebert.config._table import Table
from quebert.limits import Rate

__all__ = ["made_queues", "serves", "settings_of_made"]


def made_queues(
    table: Table, defaults: Mapping[str, Any], priorities: Priorities, outside: Outside
) -> MadeQueues:
    """
    What the table says.

    @param defaults: see L{quebert.config._queue.queue}.
    """
    serve: tuple[str, ...] = table.get("serve", kinds.array(kinds.text), ())
    inner = table.table("each")
    fields = handling(inner, defaults, priorities, outside)
    inner.end()
    table.end()
    if "each" in table and not serve:
        table.wrong("each", 'needs serve beside it, like serve = ["*"]')
    if not serve:
        return MadeQueues()
    return MadeQueues(serve, QueueSettings(name="", **fields))


def serves(made: MadeQueues, name: str) -> bool:
    """
    Whether mediators serve the queue of this name, if it was made over the API.
    """
    return any(fnmatchcase(name, pattern) for pattern in made.serve)


def settings_of_made(made: MadeQueues, definition: QueueDefinition) -> QueueSettings:
    """
    How a queue that was made over the API is watched, and what becomes of its tasks.
    """
    assert made.each is not None
    rate = None if definition.rate is None else Rate(definition.rate)
    deleted = definition.is_deleted
    return attrs.evolve(
        made.each,
        name=definition.name,
        exchange="",
        key="",
        mediator="policy",
        queue_type=definition.queue_type,
        rate=None if deleted else rate,
        burst=None if deleted else definition.burst,
        shared_concurrency=None if deleted else definition.concurrency,
        retry=definition.retry,
        drop_before=float("inf") if deleted else definition.purge_time,
        http_target={} if deleted else definition.http_target,
    )
