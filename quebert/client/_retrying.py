"""
Which requests are made again, and when.  Pure.

A request that the API has certainly not begun with is made again: there was no
connection, or the answer is 429.  After a lost connection, or a 502, 503 or 504, a
request is made again if the API does the same however often it gets the request: one
that only reads, one with an C{Idempotency-Key}, one of a lease.
"""

from __future__ import annotations

import math
import random
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Generic, TypeVar

from quebert.client._exchange import APICall, LostAnswer, Outcome, ReceivedAnswer
from quebert.client._problems import APIError, result_of
from quebert.errors import ConfigError

__all__ = ["PATIENCE", "CallProgress", "checked_patience"]

T = TypeVar("T")

#: Seconds that a call may take.
PATIENCE = 20.0

_AWAY = (
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
# Seconds before the second request, and at most before any.
_FIRST, _LONGEST = 0.1, 5.0


def checked_patience(patience: float) -> float:
    """
    @raise ConfigError: it is no number of seconds.
    """
    if not 0 < patience < math.inf:
        raise ConfigError(f"patience must be a number of seconds, not {patience!r}")
    return patience


class CallProgress(Generic[T]):
    """
    The requests of one call.

    @param ends: when the time of the call is over, by a clock of the caller.
    """

    def __init__(self, call: APICall[T], ends: float) -> None:
        self._call = call
        self._ends = ends
        self._backoff = _FIRST
        self._found: tuple[T] | APIError | None = None

    def pause(self, outcome: Outcome, now: float) -> float | None:
        """
        Seconds until the request is to be made again; C{None} if it is not.

        @param outcome: what has come of the request.
        @param now: by the clock of the caller.
        """
        try:
            self._found = (result_of(self._call, outcome),)
        except APIError as e:
            self._found = e
        if not self._is_worth_another(outcome):
            return None
        pause = self._backoff * random.uniform(0.5, 1)  # nosec B311
        self._backoff = min(2 * self._backoff, _LONGEST)
        if isinstance(outcome, ReceivedAnswer):
            pause = max(pause, _asked_for(outcome.retry_after))
        return pause if now + pause < self._ends else None

    def result(self) -> T:
        """
        What has come of the call.

        @raise APIError: there is no result.
        """
        found = self._found
        assert found is not None, "there was no request"
        if isinstance(found, APIError):
            self._found = None  # a ring: the error has this frame in its traceback
            raise found
        return found[0]

    def _is_worth_another(self, outcome: Outcome) -> bool:
        repeatable = self._call.request.repeatable
        if isinstance(outcome, LostAnswer):
            return not outcome.final and (repeatable or not outcome.sent)
        if outcome.status == HTTPStatus.TOO_MANY_REQUESTS:
            return True
        if isinstance(self._found, tuple):
            return repeatable and self._call.is_doubtful(self._found[0])
        return repeatable and outcome.status in _AWAY


def _asked_for(text: str) -> float:
    """
    Seconds that the header C{Retry-After} asks for (RFC 9110, section 10.2.3).
    """
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return parsedate_to_datetime(text).timestamp() - time.time()
    except ValueError:
        return 0.0
