"""
What has been tried with a task so far.  It travels in AMQP headers, so that the
body stays as it was sent, byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["History"]

#: Header: how often it was tried.
ATTEMPTS = "quebert-attempts"
#: Headers: when it was first tried, and last; seconds since the epoch.
FIRST_ATTEMPT = "quebert-first-attempt"
LAST_ATTEMPT = "quebert-last-attempt"
#: Header: the HTTP status that it was answered last; missing where there was
#: no answer.
LAST_STATUS = "quebert-last-status"
#: Header, of what is buried: how the body of that answer begins.
LAST_ANSWER = "quebert-last-answer"
#: Header: when it was buried.  Who buries sets it.
BURIED_AT = "quebert-buried-at"

_MANY = 2**31 - 1


@attrs.frozen
class History:
    """
    The attempts at a task, all of which failed.

    @ivar attempts: how many.
    @ivar first: when the first began, in seconds since the epoch.
    @ivar last: likewise, the last.
    @ivar status: the HTTP status that was answered last, if any.
    """

    attempts: int = 0
    first: float = 0.0
    last: float = 0.0
    status: int | None = None

    @classmethod
    def read(cls, headers: Mapping[str, Any]) -> History:
        """
        What the headers of a message tell.  Nothing, where it has been buried
        since: who digs it out wants it tried anew.
        """
        attempts = headers.get(ATTEMPTS)
        first, last = _time(headers, FIRST_ATTEMPT), _time(headers, LAST_ATTEMPT)
        if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
            return _NOTHING
        if first is None or last is None or first > last:
            return _NOTHING
        buried = _time(headers, BURIED_AT)
        if buried is not None and buried >= last:
            return _NOTHING
        return cls(min(attempts, _MANY), first, last)

    def failed(self, began: float, status: int | None) -> History:
        """
        With another attempt, which began then.
        """
        first = min(self.first, began) if self.attempts else began
        last = max(self.last, began)
        return History(min(self.attempts + 1, _MANY), first, last, status)

    @property
    def headers(self) -> dict[str, Any]:
        """
        What tells it; C{None} is for one that is to be removed.
        """
        return {
            ATTEMPTS: self.attempts,
            FIRST_ATTEMPT: self.first,
            LAST_ATTEMPT: self.last,
            LAST_STATUS: self.status,
            BURIED_AT: None,  # it was, once
        }


def _time(headers: Mapping[str, Any], name: str) -> float | None:
    value = headers.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


_NOTHING = History()
