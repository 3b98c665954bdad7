"""
End notes: how a mediator tells that a task has ended for good.  Pure.

A message says by its property C{reply-to} that somebody wants to know
(L{quebert.created_tasks}).  The mediator publishes a note to the queue L{ENDED}, and
acknowledges the message once RabbitMQ has confirmed the note.

A note is a JSON object of the fields of L{EndNote}.  Fields without a value are left
out, and a reader ignores fields that it does not know.  A message has one note or
several, each on a line of its own.

Whoever deletes a task publishes a L{DeletionNote} to the same queue, once all mediators
have said whether they have the task.  If the task had ended by then, its end note was
published before, and is read before: RabbitMQ keeps the order of a queue that one
consumer reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import attrs

from quebert._text import printable

__all__ = [
    "ENDED",
    "DeletionNote",
    "EndNote",
    "decode_note",
    "encode_deletion_note",
    "encode_end_note",
    "sent_at",
]

#: The durable queue of end notes; and the C{reply-to} of a message whose end is told.
ENDED = "quebert.ended"

# Characters of a uuid, the name of a queue and an outcome; and of a reason.
_SHORT, _LONG = 255, 10_000
_MOST_STATUS = 999
_MANY = 2**31 - 1
_MOST_SECONDS = 2.0**40


@attrs.frozen(kw_only=True)
class EndNote:
    """
    The end of a task, as its mediator tells it before it acknowledges the message.

    @ivar uuid: of the task; it is the C{message-id} of its message.
    @ivar queue: that the task was in.
    @ivar outcome: C{done}, C{exhausted}, C{expired}, C{cancelled}, C{discarded},
        C{poison} or C{forbidden}; C{unknown} where no mediator has told it.
    @ivar ended: when, in seconds since the epoch.
    @ivar reason: one sentence; empty where it is done.
    @ivar status: of the last answer; C{None} where there was none.
    @ivar attempts: how many there were.
    @ivar answers: how many of them were answered.
    @ivar first_attempt: when the first began; C{None} where there was none.
    @ivar last_attempt: when the last began.
    @ivar sent: the C{timestamp} of its message; C{None} where it has none.
    """

    uuid: str
    queue: str
    outcome: str
    ended: float
    reason: str = ""
    status: int | None = None
    attempts: int = 0
    answers: int = 0
    first_attempt: float | None = None
    last_attempt: float | None = None
    sent: float | None = None


@attrs.frozen
class DeletionNote:
    """
    Mediators were told that a task is deleted; those that have answered begin no
    attempt at it.

    @ivar uuid: of the task.
    """

    uuid: str


_DEFAULTS = [(each.name, each.default) for each in attrs.fields(EndNote)]


def sent_at(properties: Mapping[str, Any]) -> float | None:
    """
    The C{timestamp} of a message, as a note has it; C{None} where that is no time in
    seconds: anybody can write one.
    """
    sent = properties.get("timestamp")
    is_time = isinstance(sent, (int, float)) and 0 <= sent <= _MOST_SECONDS
    return float(sent) if is_time and sent is not None else None


def encode_end_note(note: EndNote) -> bytes:
    """
    A note as JSON.
    """
    fields = ((name, getattr(note, name), default) for name, default in _DEFAULTS)
    told = {name: value for name, value, default in fields if value != default}
    return json.dumps(told, separators=(",", ":"), allow_nan=False).encode()


def encode_deletion_note(note: DeletionNote) -> bytes:
    """
    A note as JSON.
    """
    return json.dumps({"deleted": note.uuid}).encode()


def decode_note(body: bytes) -> EndNote | DeletionNote:
    """
    A note from JSON.

    @raise ValueError: it is none.
    """
    fields = _fields(body)
    if "deleted" in fields:
        return DeletionNote(_name(fields, "deleted"))
    return _end_note(fields)


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(fields, dict):
        raise ValueError("it is no JSON object")
    return fields


def _end_note(fields: dict[str, Any]) -> EndNote:
    return EndNote(
        uuid=_name(fields, "uuid"),
        queue=_name(fields, "queue"),
        outcome=_name(fields, "outcome"),
        ended=_required(_seconds(fields, "ended"), "ended"),
        reason=printable(_text(fields, "reason")[:_LONG]),
        status=_whole(fields, "status", _MOST_STATUS),
        attempts=_whole(fields, "attempts", _MANY) or 0,
        answers=_whole(fields, "answers", _MANY) or 0,
        first_attempt=_seconds(fields, "first_attempt"),
        last_attempt=_seconds(fields, "last_attempt"),
        sent=_seconds(fields, "sent"),
    )


def _required(value: float | None, name: str) -> float:
    if value is None:
        raise ValueError(f"{name} is missing")
    return value


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text: {value!r:.40}")
    return value


def _name(fields: dict[str, Any], name: str) -> str:
    """
    A text that a database can hold.
    """
    value = _text(fields, name)
    value.encode()  # raises ValueError for half a surrogate pair
    if not 0 < len(value) <= _SHORT or "\0" in value:
        raise ValueError(f"{name} is no name: {value!r:.40}")
    return value


def _whole(fields: dict[str, Any], name: str, most: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{name} is no number from 0 to {most}: {value!r:.40}")
    return value


def _seconds(fields: dict[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or abs(value) > _MOST_SECONDS:
        raise ValueError(f"{name} is no time: {value!r:.40}")
    return float(value)
