"""
Asks the admission control of a mediator before each request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from quebert._url import origin_of
from quebert.errors import BadStatus, Forbidden, RequestTimedOut
from quebert.limits import GIVEN_UP, Admission, FreeingAdmission, WhenFree
from quebert.outcome import Discard

__all__ = ["NotAdmitted", "TaskCancelled", "admitted"]

Result = TypeVar("Result")

# Seconds in which any origin may leave a request unanswered.  A task chooses its time
# limit, and other tasks are not to wait for the origin of one that chose too little.
_TOO_SHORT = 1.0


class TaskCancelled(Exception):
    """
    The request was not made: somebody has cancelled the task.

    @ivar outcome: what becomes of the task.
    """

    def __init__(self, outcome: Discard) -> None:
        self.outcome = outcome


class NotAdmitted(Exception):
    """
    The request was not made: its origin may not be asked now.

    @ivar after: in so many seconds it may be.
    @ivar when_free: has a function called when it may, if that is known; see
        L{FreeingAdmission.when_free<quebert.limits.FreeingAdmission.when_free>}.
    """

    def __init__(self, after: float, when_free: WhenFree | None = None) -> None:
        self.after = after
        self.when_free = when_free


def admitted(
    admission: Admission, url: str, now: Callable[[], float]
) -> Callable[[Result], Result]:
    """
    Ask whether a request may be made now, and tell how it ended.

    @return: to be called with what the request ends with, which it returns.
    @raise NotAdmitted: the request may not be made now.
    """
    origin, began = origin_of(url), now()
    wait = admission.admit(origin, began)
    if wait:
        if isinstance(admission, FreeingAdmission):
            raise NotAdmitted(wait, admission.when_free(origin))
        raise NotAdmitted(wait)

    def ended(result: Result) -> Result:
        at = now()
        seconds = at - began if at > began else 0.0  # the clock may be set back
        status = _status(result, seconds) if isinstance(result, Failure) else 200
        admission.ended(origin, at, status, seconds)
        return result

    return ended


def _status(failure: Failure, seconds: float) -> int | None:
    """
    The status that admission control is told of a request that has failed.
    """
    if isinstance(failure.value, BadStatus):
        return failure.value.status
    if failure.check(RequestTimedOut) and seconds < _TOO_SHORT:
        return GIVEN_UP
    return GIVEN_UP if failure.check(CancelledError, Forbidden) else None
