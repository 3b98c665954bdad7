"""
From an answer of the API to its result or to an exception.  Pure.

The kinds of problems are those of C{web/_problems}, and a table in C{docs/web.rst}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from quebert._text import one_line
from quebert.client._exchange import APICall, LostAnswer, Outcome
from quebert.errors import (
    BadTask,
    LeaseLost,
    NameTaken,
    QuebertError,
    TaskEnded,
    TaskUnknown,
    UUIDTaken,
)

__all__ = ["APIError", "error_of", "result_of"]

T = TypeVar("T")

_PREFIX = "/problems/"
_IN_DOUBT = "/problems/in-doubt"
# Characters of a sentence.
_LONGEST = 1_000
_SUCCESS = range(200, 300)


class APIError(QuebertError):
    """
    The API has not done what was asked for.  Where the problem is one of
    L{quebert.errors}, the exception is of that class, too: L{NameTaken}, L{UUIDTaken},
    L{TaskUnknown}, L{TaskEnded}, L{BadTask}, L{LeaseLost}.

    @ivar status: of the answer; C{None} where there was none.
    @ivar type: of the problem, such as C{"/problems/name-taken"}; empty where the
        status says it all.
    @ivar field: the field that is wrong; empty for none.
    @ivar done: C{False} if it is certain that nothing was done, C{None} if that is not
        known: ask again, with C{idempotency_key} or a name.
    @ivar idempotency_key: that of the request, given or made; C{None} for none.
    """

    def __init__(
        self,
        text: str,
        *,
        status: int | None = None,
        type: str = "",
        field: str = "",
        done: bool | None = False,
        idempotency_key: str | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.type = type
        self.field = field
        self.done = done
        self.idempotency_key = idempotency_key


class _NameTakenThere(APIError, NameTaken):
    pass


class _UUIDTakenThere(APIError, UUIDTaken):
    pass


class _TaskUnknownThere(APIError, TaskUnknown):
    pass


class _TaskEndedThere(APIError, TaskEnded):
    pass


class _LeaseLostThere(APIError, LeaseLost):
    pass


class _BadTaskThere(APIError, BadTask):
    pass


_CLASSES: Mapping[str, type[APIError]] = {
    "bad-task": _BadTaskThere,
    "lease-lost": _LeaseLostThere,
    "name-taken": _NameTakenThere,
    "no-task": _TaskUnknownThere,
    "task-ended": _TaskEndedThere,
    "uuid-taken": _UUIDTakenThere,
}


def error_of(status: int, problem: object, key: str | None = None) -> APIError:
    """
    What a problem (RFC 9457) stands for.

    @param problem: the object that tells it, or anything else that was the answer.
    @param key: the C{Idempotency-Key} of the request.
    """
    told: Mapping[str, Any] = problem if isinstance(problem, Mapping) else {}
    kind, detail = _text(told, "type"), _text(told, "detail")
    doubtful = kind == _IN_DOUBT or (status >= 500 and not kind)
    return _CLASSES.get(kind.removeprefix(_PREFIX), APIError)(
        one_line(detail, _LONGEST) or _phrase(status),
        status=status,
        type=kind,
        field=_text(told, "field"),
        done=None if doubtful else False,
        idempotency_key=key,
    )


def result_of(call: APICall[T], outcome: Outcome) -> T:
    """
    The result of a call.

    @raise APIError: there is none.
    """
    key = call.key
    if isinstance(outcome, LostAnswer):
        text, done = outcome.why, None if outcome.sent else False
        raise APIError(f"the API: {text}", done=done, idempotency_key=key)
    found = _json(outcome.body)
    if outcome.status not in _SUCCESS:
        raise error_of(outcome.status, found, key)
    try:
        return call.read(found)
    except (AttributeError, KeyError, TypeError, ValueError):
        text = "the answer is not that of the API: is it the URL of quebert web?"
        raise APIError(
            text, status=outcome.status, done=None, idempotency_key=key
        ) from None


def _text(told: Mapping[str, Any], name: str) -> str:
    found = told.get(name)
    return found if isinstance(found, str) else ""


def _phrase(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "no status of HTTP"
    return f"the API answered {status} ({phrase})"


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
