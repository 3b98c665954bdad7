"""
What mediators are asked about their tasks, and what they answer.  Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from quebert.amqp.coordination._cancellation import Cancellation, from_plain, to_plain
from quebert.amqp.watch import HeldTask

__all__ = [
    "CANCEL",
    "FIND",
    "RETRY_NOW",
    "MediatorAnswer",
    "Question",
    "answer_from_plain",
    "answer_to_plain",
    "question_from_plain",
    "question_to_plain",
]

#: Where are these tasks?
FIND = "find"
#: The same; and they are cancelled.
CANCEL = "cancel"
#: The same; and those that wait in a mediator for another attempt wait no longer.
RETRY_NOW = "retry-now"

_KINDS = (FIND, CANCEL, RETRY_NOW)


@attrs.frozen
class Question:
    """
    A question to all mediators of a queue.

    @ivar kind: L{FIND}, L{CANCEL} or L{RETRY_NOW}.
    @ivar uuids: of the tasks; C{None} for all, with L{FIND} alone.
    @ivar cancelled: with L{CANCEL}: what is to be known of cancelled tasks.  Without
        C{uuids} nobody asks: a mediator tells that it has met these tasks.
    @ivar id: stands in the answers, too.
    """

    kind: str
    uuids: tuple[str, ...] | None
    cancelled: tuple[Cancellation, ...] = ()
    id: str = ""


@attrs.frozen
class MediatorAnswer:
    """
    The answer of one mediator.

    @ivar mediator: its name.
    @ivar consumers: how many consumers of the queue the broker counts for it.
    @ivar tasks: those asked for that it has.
    @ivar id: of the question.
    @ivar cancelled: how many cancelled tasks of the queue it knows; C{None} of a
        mediator of an older version.
    """

    mediator: str
    consumers: int
    tasks: tuple[HeldTask, ...]
    id: str = ""
    cancelled: int | None = None


def question_to_plain(question: Question) -> bytes:
    """
    The body of a message.
    """
    told = json.loads(to_plain(question.cancelled))
    plain = {
        "kind": question.kind,
        "uuids": question.uuids,
        "id": question.id,
        **told,
    }
    return json.dumps(plain, separators=(",", ":")).encode()


def question_from_plain(body: bytes) -> Question | None:
    """
    The question in a body; C{None} if there is none that this version knows.
    """
    plain = _loaded(body)
    id = _text(plain.get("id"))
    match plain:
        case {"kind": str(kind), "uuids": None} if kind == FIND:
            return Question(kind, None, id=id)
        case {"kind": str(kind), "uuids": list(uuids)} if kind in _KINDS:
            texts = tuple(each for each in uuids if isinstance(each, str))
            return Question(kind, texts, tuple(from_plain(body)), id)
    return None


def answer_to_plain(answer: MediatorAnswer) -> bytes:
    """
    The body of a message.
    """
    return json.dumps(attrs.asdict(answer), separators=(",", ":")).encode()


def answer_from_plain(body: bytes) -> MediatorAnswer | None:
    """
    The answer in a body; C{None} if there is none.
    """
    plain = _loaded(body)
    match plain:
        case {
            "mediator": str(mediator),
            "consumers": int(consumers),
            "tasks": list(tasks),
        }:
            held = (_held(each) for each in tasks)
            known = tuple(each for each in held if each is not None)
            count = plain.get("cancelled")
            cancelled = count if isinstance(count, int) else None
            id = _text(plain.get("id"))
            return MediatorAnswer(mediator, consumers, known, id, cancelled)
    return None


def _held(plain: Any) -> HeldTask | None:
    match plain:
        case {
            "uuid": str(uuid),
            "state": str(state),
            "since": float() | int() as since,
            "attempted": None | bool() as attempted,
            "url": str(url),
        }:
            return HeldTask(uuid, state, float(since), attempted, url)
    return None


def _text(plain: Any) -> str:
    return plain if isinstance(plain, str) else ""


def _loaded(body: bytes) -> Mapping[str, Any]:
    try:
        plain = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}
