"""
A task as it goes to the broker: the same bytes whoever sends it.  Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from quebert import task as tasks
from quebert.errors import BadTask

__all__ = ["EXCHANGE", "HIGH", "LOW", "MEDIUM", "Letter", "letter", "task_letter"]

HIGH, MEDIUM, LOW = "high", "medium", "low"

#: The exchange that the announcement's mediators watch.
EXCHANGE = "flow"
_PERSISTENT = 2


@attrs.frozen
class Letter:
    """
    A task on its way to the broker.
    """

    routing_key: str
    body: bytes
    properties: Mapping[str, Any]


def letter(
    body: bytes, kind: str, priority: str, now: float, uuid: str | None
) -> Letter:
    """
    What carries C{body}, whatever it is.

    @raise BadTask: C{kind} or C{priority} are no part of a routing key.
    """
    for name, value in (("kind", kind), ("priority", priority)):
        if not isinstance(value, str) or not value:
            raise BadTask(f"{name} must be a string with something in it")
    properties = {
        "content-type": "application/json",
        "delivery-mode": _PERSISTENT,
        "timestamp": int(now),
    }
    if uuid is not None:
        properties["message-id"] = uuid
    return Letter(f"{kind}.{priority}", body, properties)


def task_letter(task: tasks.Task, kind: str, priority: str, now: float) -> Letter:
    """
    What carries C{task}.

    @raise BadTask: it has no form in JSON.
    """
    try:
        body = tasks.encode(task)
    except (TypeError, ValueError) as e:
        raise BadTask(
            f"params or an extra key cannot be written as JSON: {e}"
        ) from None
    return letter(body, kind, priority, now, task["uuid"])
