"""
What has been tried with a task so far.  It travels in AMQP headers, so that the
body stays as it was sent, byte for byte.

Some mediators count failures in the body, too (C{failures}).  A header tells how many
of the attempts the body counts: what the body counts beyond that was added by a
mediator that writes no headers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["History"]

#: Header: how often it was tried.
ATTEMPTS = "quebert-attempts"
#: Header: when it was first tried; seconds since the epoch.
FIRST_ATTEMPT = "quebert-first-attempt"
#: Header: when it was tried last; seconds since the epoch.
LAST_ATTEMPT = "quebert-last-attempt"
#: Header: the HTTP status that it was answered last; missing where there was
#: no answer.
LAST_STATUS = "quebert-last-status"
#: Header: how many of the attempts were answered; missing where none was.
ANSWERS = "quebert-answers"
#: Header: how many of these answers were not 5xx; missing where none was.
ANSWERED = "quebert-answered"
#: Header, of what is buried: how the body of that answer begins.
LAST_ANSWER = "quebert-last-answer"
#: Header: how many of these attempts the body counts.
IN_BODY = "quebert-attempts-in-body"
#: Header: when it was buried.  Who buries sets it.
BURIED_AT = "quebert-buried-at"

_MANY = 2**31 - 1


@attrs.frozen
class History:
    """
    The attempts at a task, all of which failed.

    @ivar attempts: how many.
    @ivar first: when the first began, in seconds since the epoch; infinity where that
        is not known.
    @ivar last: likewise, the last; minus infinity where that is not known.
    @ivar status: the HTTP status that was answered last, if any.
    @ivar in_body: how many of the attempts the body counts.
    @ivar answers: how many were answered, as far as that is known.
    @ivar executions: how many of the answers were not 5xx, as Cloud Tasks counts
        executions.
    """

    attempts: int = 0
    first: float = math.inf
    last: float = -math.inf
    status: int | None = None
    in_body: int = 0
    answers: int = 0
    executions: int = 0

    @classmethod
    def read(cls, headers: Mapping[str, Any], failures: int = 0) -> History:
        """
        What a message tells.  Attempts before it was buried do not count: somebody has
        dug it out, and wants it tried anew.

        @param failures: how many the body counts.
        """
        told = cls._in_headers(headers)
        counted = _whole(headers, IN_BODY)
        if told is None:
            return cls(failures, in_body=failures)
        if counted is None:  # written by a version that counts in one of the two
            counted = min(told.attempts, failures) if told.attempts else failures
        attempts = told.attempts + max(0, failures - counted)
        return attrs.evolve(told, attempts=min(attempts, _MANY), in_body=failures)

    @classmethod
    def _in_headers(cls, headers: Mapping[str, Any]) -> History | None:
        """
        What the headers alone tell; C{None} where they tell nothing.
        """
        attempts, buried = _whole(headers, ATTEMPTS), _time(headers, BURIED_AT)
        first, last = _time(headers, FIRST_ATTEMPT), _time(headers, LAST_ATTEMPT)
        if buried is not None and (last is None or buried >= last):
            return _NOTHING
        if not attempts or first is None or last is None or first > last:
            return None
        status = _whole(headers, LAST_STATUS)
        # Older mediators do not count answers.
        answers = _whole(headers, ANSWERS) or (0 if status is None else 1)
        attempts = min(attempts, _MANY)
        executions = _whole(headers, ANSWERED) or 0
        return cls(
            attempts,
            first,
            last,
            status,
            answers=min(answers, attempts),
            executions=min(executions, attempts),
        )

    def failed(self, began: float, status: int | None) -> History:
        """
        With another attempt, which began then.
        """
        is_answered = status is not None
        is_executed = status is not None and not 500 <= status <= 599
        return History(
            min(self.attempts + 1, _MANY),
            min(self.first, began),
            max(self.last, began),
            status,
            self.in_body,
            min(self.answers + is_answered, _MANY),
            min(self.executions + is_executed, _MANY),
        )

    @property
    def headers(self) -> dict[str, Any]:
        """
        What tells it; C{None} is for one that is to be removed.
        """
        return {
            ATTEMPTS: self.attempts,
            FIRST_ATTEMPT: self.first if math.isfinite(self.first) else None,
            LAST_ATTEMPT: self.last if math.isfinite(self.last) else None,
            LAST_STATUS: self.status,
            ANSWERS: self.answers or None,
            ANSWERED: self.executions or None,
            IN_BODY: self.in_body,
            BURIED_AT: None,  # it was, once
        }


def _whole(headers: Mapping[str, Any], name: str) -> int | None:
    value = headers.get(name)
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if isinstance(value, int) and is_count else None


def _time(headers: Mapping[str, Any], name: str) -> float | None:
    value = headers.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


_NOTHING = History()
