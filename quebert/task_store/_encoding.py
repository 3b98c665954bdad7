"""
Rows of created tasks, as values for a database and back.  Pure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import attrs

from quebert.created_tasks import CreatedTask, EndNote, NewTask

__all__ = ["decode_row", "encode_over", "encode_row", "is_over", "raw", "text"]

# What an end note says beyond what the row does, and the values that need not be kept.
_FIELDS = [e for e in attrs.fields(EndNote) if e.name not in ("uuid", "sent")]
_NAMES = [each.name for each in _FIELDS]
_USUAL = [each.default for each in _FIELDS]
_said = attrgetter(*_NAMES)
_encode = json.JSONEncoder(separators=(",", ":")).encode


def raw(said: str) -> bytes:
    """
    A text as bytes; no two texts have the same.
    """
    return said.encode("utf-8", "surrogatepass")


def text(said: bytes) -> str:
    """
    The text of such bytes.
    """
    return said.decode("utf-8", "surrogatepass")


def encode_row(number: int, row: CreatedTask) -> tuple[Any, ...]:
    """
    The values of L{COLUMNS<quebert.task_store._schema.COLUMNS>}.
    """
    task = row.task
    return (
        number,
        raw(task.uuid),
        raw(task.queue),
        None if task.name is None else raw(task.name),
        task.digest,
        float(task.created),
        float(task.due),
        row.state,
        float(row.held_until),
        None if row.end is None else _encode_end(row.end),
        task.body,
    )


def encode_over(number: int, row: CreatedTask) -> tuple[Any, ...]:
    """
    The values of a row that L{is_over}, from its state on, and its number.
    """
    ending = None if row.end is None else _encode_end(row.end)
    return row.state, float(row.held_until), ending, row.task.body, number


def is_over(row: CreatedTask) -> bool:
    """
    Whether more of a row may have changed than its state.
    """
    return row.end is not None or row.held_until != 0


def decode_row(values: Sequence[Any]) -> tuple[int, CreatedTask]:
    """
    The number of a row, and the row, from the same values.
    """
    number, uuid, queue, name, digest, created, due, state, held, ending, body = values
    task = NewTask(
        uuid=text(uuid),
        queue=text(queue),
        name=None if name is None else text(name),
        digest=digest,
        created=created,
        due=due,
        body=body,
    )
    end = None if ending is None else EndNote(uuid=task.uuid, **json.loads(ending))
    row = CreatedTask(task=task, state=state, end=end, held_until=held, number=number)
    return number, row


def _encode_end(end: EndNote) -> str:
    said = zip(_NAMES, _said(end), _USUAL, strict=True)
    return _encode({name: value for name, value, usual in said if value != usual})
