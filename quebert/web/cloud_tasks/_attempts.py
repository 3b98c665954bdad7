"""
What Cloud Tasks tells of the attempts at a task, from the history.  Pure.
"""

from __future__ import annotations

from typing import Any

from quebert.history import PastAttempt, TaskTries
from quebert.web.cloud_tasks._errors import Code
from quebert.web.cloud_tasks._messages import AttemptMessage, StatusMessage
from quebert.web.cloud_tasks._scalars import SECOND

__all__ = ["attempt_fields"]

_MICROSECOND = 1_000
_CODES = {
    200: Code.OK,
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    409: Code.ALREADY_EXISTS,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}


def attempt_fields(tries: TaskTries | None, due: int) -> dict[str, Any]:
    """
    The fields of a C{TaskMessage} that tell of attempts, and C{schedule_time}.

    @param tries: C{None} where there were none.
    @param due: when the first attempt was due, in nanoseconds since the epoch.
    """
    if tries is None:
        return {"schedule_time": due}
    first, last = None, tries.last
    if tries.first is not None:
        first = AttemptMessage(dispatch_time=_moment(tries.first))
    return {
        "schedule_time": due if last.retry_at is None else _moment(last.retry_at),
        "dispatch_count": tries.count,
        "response_count": tries.answers,
        "first_attempt": first,
        "last_attempt": AttemptMessage(
            schedule_time=due if last.due is None else _moment(last.due),
            dispatch_time=_moment(last.started),
            response_time=_moment(last.ended),
            response_status=_status(last),
        ),
    }


def _status(last: PastAttempt) -> StatusMessage:
    if last.status is None:  # handlers are told so as well
        code, text = Code.DEADLINE_EXCEEDED, last.reason
    else:
        code = _CODES.get(last.status, Code.UNKNOWN)
        text = f"HTTP status code {last.status}"
    return StatusMessage(code=int(code), message=f"{code.name}({int(code)}): {text}")


def _moment(seconds: float) -> int:
    """
    A time in nanoseconds, to the microsecond.
    """
    return round(seconds * SECOND / _MICROSECOND) * _MICROSECOND
