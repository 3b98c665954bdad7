"""
A task as it goes to the broker: the same bytes whoever sends it.  Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from quebert import task as tasks
from quebert._bounds import BOUNDS, most_values
from quebert.errors import BadTask

__all__ = [
    "EXCHANGE",
    "HIGH",
    "LOW",
    "MEDIUM",
    "Letter",
    "letter",
    "new_letter",
    "task_body",
]

#: The priority of tasks whose routing key ends in C{.high}.
HIGH = "high"
#: The priority of tasks whose routing key ends in C{.medium}: the default.
MEDIUM = "medium"
#: The priority of tasks whose routing key ends in C{.low}.
LOW = "low"

#: The exchange that the announcement's mediators watch.
EXCHANGE = "flow"
_PERSISTENT = 2
# A routing key and a message-id are short strings (AMQP 0-9-1, section 4.2.5.3).
_SHORT = 255


@attrs.frozen
class Letter:
    """
    A task on its way to the broker.

    @ivar routing_key: the key that it is published with.
    @ivar body: the task as JSON.
    @ivar properties: those of the message, by their AMQP names.
    """

    routing_key: str
    body: bytes
    properties: Mapping[str, Any]

    @property
    def uuid(self) -> str | None:
        """
        That of the task; a raw task has none.
        """
        uuid: str | None = self.properties.get("message-id")
        return uuid


def letter(
    body: bytes,
    kind: str,
    priority: str,
    now: float,
    uuid: str | None,
    max_body: int = BOUNDS.body,
) -> Letter:
    """
    What carries C{body}, whatever it says.

    @param max_body: bytes that a mediator takes at most.
    @raise BadTask: C{body} is not bytes, or too large, C{kind} or C{priority} are no
        part of a routing key, or C{uuid} is none of a message.
    """
    _check("kind", kind)
    _check("priority", priority)
    _check("kind and priority", f"{kind}.{priority}")
    if uuid is not None:
        _check("uuid", uuid)
    if not isinstance(body, bytes):
        raise BadTask("the body must be bytes")
    _check_size(body, max_body)
    properties = {
        "content-type": "application/json",
        "delivery-mode": _PERSISTENT,
        "timestamp": int(now),
    }
    if uuid is not None:
        properties["message-id"] = uuid
    return Letter(f"{kind}.{priority}", body, properties)


def _check_size(body: bytes, max_body: int) -> None:
    if len(body) > max_body:
        raise BadTask(f"the body must have at most {max_body} bytes, not {len(body)}")


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


def new_letter(
    now: float,
    url: str,
    params: Any = None,
    /,
    *,
    kind: str = "tasks",
    priority: str = MEDIUM,
    max_body: int = BOUNDS.body,
    **fields: Any,
) -> tuple[str, Letter]:
    """
    The uuid of a new task, and what carries the task.

    @param max_body: bytes that a mediator takes at most.
    @param fields: as for L{quebert.task.make}.
    @raise BadTask: an argument is wrong or has no form in JSON, or a mediator would set
        the task aside, since it is too large, nested too deeply, or of too many values.
    @raise TypeError: one of C{fields} is no field of a task.
    """
    task = tasks.make(now, url, params, **fields)
    uuid: str = task["uuid"]
    body = task_body(task, max_body)
    return uuid, letter(body, kind, priority, now, uuid, max_body)


def task_body(task: tasks.Task, max_body: int = BOUNDS.body) -> bytes:
    """
    The bytes of a task that L{quebert.task.make} has made.

    @param max_body: bytes that a mediator takes at most.
    @raise BadTask: a value has no form in JSON, or a mediator would set the task aside,
        since it is too large, nested too deeply, or of too many values.
    """
    try:
        body = tasks.encode_new(task)
    except (TypeError, ValueError) as e:
        raise BadTask(
            f"params or an extra key cannot be written as JSON: {e}"
        ) from None
    _check_size(body, max_body)
    if most_values(body) > BOUNDS.depth:  # fewer are neither too deep nor too many
        tasks.decode(body)
    return body
