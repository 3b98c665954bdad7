"""
Requests that a gate lets go, or has wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from quebert._url import origin_of
from quebert.errors import BadStatus, Forbidden, RequestTimedOut
from quebert.limits import GIVEN_UP, Gate

__all__ = ["Held", "gated"]

# Seconds in which any origin may leave a request unanswered.  A task chooses its time
# limit, and other tasks are not to wait for the origin of one that chose too little.
_TOO_SHORT = 1.0


class Held(Exception):
    """
    The request was not made: its origin may not be asked now.

    @ivar after: in so many seconds it may be.
    """

    def __init__(self, after: float) -> None:
        super().__init__(after)
        self.after = after


def gated(
    gate: Gate,
    url: str,
    now: Callable[[], float],
    request: Callable[[], Deferred[bytes]],
) -> Deferred[bytes]:
    """
    Make a request once, if it may be made now.

    @return: fires as C{request()} does; fails with L{Held} where it may not.
    """
    origin, began = origin_of(url), now()
    wait = gate.admit(origin, began)
    if wait:
        return fail(Held(wait))

    def ended(result: Any) -> Any:
        at = now()
        seconds = max(0.0, at - began)
        gate.ended(origin, at, _status(result, seconds), seconds)
        return result

    return request().addBoth(ended)


def _status(result: object, seconds: float) -> int | None:
    if not isinstance(result, Failure):
        return 200
    if isinstance(result.value, BadStatus):
        return result.value.status
    if result.check(RequestTimedOut) and seconds < _TOO_SHORT:
        return GIVEN_UP
    return GIVEN_UP if result.check(CancelledError, Forbidden) else None
