"""
How many members share a rate, given how many were counted so far.  Pure; time is an
argument.

A count with more members is believed at once, and one with fewer is not: a member may
come back in a moment.  It has lost its channel, or somebody has deleted the queue, so
that all have to come back, or RabbitMQ was restarted.  Until it is clear who is there,
each member keeps to the share that it had.
"""

from __future__ import annotations

__all__ = ["MemberCount"]

# Seconds after which all have come back that have lost their connections or channels.
_RETURN = 5.0


class MemberCount:
    """
    @param period: seconds for which fewer must have been counted.
    @ivar number: how many members there are: at least one.
    @ivar known: whether any were ever counted.
    """

    def __init__(self, period: float) -> None:
        self.number = 1
        self.known = False
        self._period = period
        self._reopened_at: float | None = None
        self._fewer_since: float | None = None

    def reopened(self, now: float) -> None:
        """
        We have another channel: others may have lost theirs, too.
        """
        if self.known:
            self._reopened_at = now

    def counted(self, number: int, now: float) -> None:
        """
        So many members were counted, or none, which is no answer.
        """
        if number == 0:
            self._fewer_since = None
            return
        if not self.known or number >= self.number:
            self.number, self._fewer_since = number, None
        elif not self._is_doubted(now):
            self.number, self._fewer_since = number, None  # doubt the next one, too
        self.known = True

    def _is_doubted(self, now: float) -> bool:
        if self._fewer_since is None:
            self._fewer_since = now
        if now < self._fewer_since + self._period:
            return True
        return self._reopened_at is not None and now < self._reopened_at + _RETURN
