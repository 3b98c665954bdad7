"""
Requests that a gate lets go, or has wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from quebert._url import origin_of
from quebert.errors import BadStatus, Forbidden
from quebert.limits import GIVEN_UP, Gate

__all__ = ["Held", "gated"]


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
        gate.ended(origin, at, _status(result), max(0.0, at - began))
        return result

    return request().addBoth(ended)


def _status(result: object) -> int | None:
    if not isinstance(result, Failure):
        return 200
    if isinstance(result.value, BadStatus):
        return result.value.status
    return GIVEN_UP if result.check(CancelledError, Forbidden) else None
