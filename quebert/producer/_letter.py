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
# A routing key and a message-id are short strings (AMQP 0-9-1, section 4.2.5.3).
_SHORT = 255


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
    What carries C{body}, whatever it says.

    @raise BadTask: C{body} is not bytes, C{kind} or C{priority} are no part
        of a routing key, or C{uuid} is none of a message.
    """
    _check("kind", kind)
    _check("priority", priority)
    _check("kind and priority", f"{kind}.{priority}")
    if uuid is not None:
        _check("uuid", uuid)
    if not isinstance(body, bytes):
        raise BadTask("the body must be bytes")
    properties = {
        "content-type": "application/json",
        "delivery-mode": _PERSISTENT,
        "timestamp": int(now),
    }
    if uuid is not None:
        properties["message-id"] = uuid
    return Letter(f"{kind}.{priority}", body, properties)


def _check(name: str, value: object) -> None:
    """
    Whether AMQP has a short string for it.
    """
    if not isinstance(value, str) or not value:
        raise BadTask(f"{name} must be a string with something in it")
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise BadTask(f"{name} cannot be written in UTF-8") from None
    if size > _SHORT:
        raise BadTask(f"{name} must be no longer than {_SHORT} bytes")


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
