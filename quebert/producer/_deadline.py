"""
The limit of time of a call, and how its connection may end.
"""

from __future__ import annotations

import time

import attrs

__all__ = ["Deadline", "StreamEnded", "TimeIsUp"]

_LONGEST = 1e6  # seconds that locks and sockets can wait on all platforms


class StreamEnded(Exception):
    """
    The connection is lost, or could not be made.  It never leaves this package: what a
    signal handler raises within a call is another error.

    @ivar distrust: what is wrong with a certificate, if that is why.
    """

    distrust: str | None = None


class TimeIsUp(StreamEnded):
    """
    Nothing happened within the time that was given.
    """

    def __init__(self) -> None:
        super().__init__("no answer in time")


@attrs.frozen
class Deadline:
    """
    A moment, as the monotonic clock shows it.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """
        So many seconds from now.
        """
        return cls(time.monotonic() + min(seconds, _LONGEST))

    def left(self) -> float:
        """
        Seconds until then.

        @raise TimeIsUp: none are left.
        """
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeIsUp
        return left

    def share(self, among: int) -> Deadline:
        """
        The end of the first of so many equal parts of the time that is left.
        """
        now = time.monotonic()
        return Deadline(now + (self.at - now) / among)
