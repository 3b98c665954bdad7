"""
Asks the admission control of a mediator before each request.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError

from quebert._url import origin_of
from quebert.errors import BadStatus, Forbidden, RequestTimedOut
from quebert.limits import GIVEN_UP, Admission, FreeingAdmission, WhenFree
from quebert.outcome import Discard

__all__ = ["Admitted", "NotAdmitted", "TaskCancelled"]

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


class Admitted:
    """
    A request that may be made: tells admission control how it ends.

    @raise NotAdmitted: the request may not be made now.
    """

    __slots__ = ("_admission", "_began", "_now", "_origin")

    def __init__(
        self, admission: Admission, url: str, now: Callable[[], float]
    ) -> None:
        self._admission = admission
        self._now = now
        self._origin = origin = origin_of(url)
        self._began = began = now()
        wait = admission.admit(origin, began)
        if wait:
            if isinstance(admission, FreeingAdmission):
                raise NotAdmitted(wait, admission.when_free(origin))
            raise NotAdmitted(wait)

    def ended(self, error: BaseException | None) -> None:
        """
        The request has ended; to be called once.

        @param error: C{None} after a success.
        """
        at = self._now()
        seconds = at - self._began
        if seconds < 0.0:  # the clock may be set back
            seconds = 0.0
        status = 200 if error is None else _status(error, seconds)
        self._admission.ended(self._origin, at, status, seconds)


def _status(error: BaseException, seconds: float) -> int | None:
    """
    The status that admission control is told of a request that has failed.
    """
    if isinstance(error, BadStatus):
        return error.status
    if isinstance(error, RequestTimedOut) and seconds < _TOO_SHORT:
        return GIVEN_UP
    return GIVEN_UP if isinstance(error, (CancelledError, Forbidden)) else None
