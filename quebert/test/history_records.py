"""
Records for the tests of the history.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from quebert.events import AttemptBatch, AttemptRecord

__all__ = ["NOW", "batch_of", "record_of", "uuid_of"]

#: When all of it happens: the beginning of a minute.
NOW = 1_700_000_040.0


def uuid_of(number: int) -> str:
    """
    A uuid that looks random; the same for the same number.
    """
    return str(uuid.UUID(bytes=number.to_bytes(2, "big") * 8))


def record_of(task: int, **fields: Any) -> AttemptRecord:
    """
    An attempt that went well, at the task of a number, so many seconds after L{NOW}.
    """
    given: dict[str, Any] = {
        "uuid": uuid_of(task),
        "queue": "mail",
        "url": "https://example.com/send",
        "number": 1,
        "added": NOW,
        "started": NOW + task,
        "ended": NOW + task + 0.02,
        "status": 200,
        "outcome": "done",
        **fields,
    }
    if "status" not in fields:
        without = dict.fromkeys(("expired", "postponed", "cancelled"))
        given["status"] = {"retry": 503, **without}.get(given["outcome"], 200)
    return AttemptRecord(**given)


def batch_of(
    sequence: int, records: Sequence[AttemptRecord], **fields: Any
) -> AttemptBatch:
    """
    A batch of the mediator C{m1}, made so many seconds after L{NOW}.
    """
    given: dict[str, Any] = {
        "mediator": "m1",
        "at": NOW + sequence,
        "sequence": sequence,
        "records": tuple(records),
        **fields,
    }
    return AttemptBatch(**given)
