"""
Closes connections that nobody uses: each after a while, or sooner to make room.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert.clock import stopwatch_of
from quebert.http._connection import HTTPConnection

__all__ = ["Expiry"]

# Seconds at least between two looks at which are to be closed.
_SPACING = 0.1


class Expiry:
    """
    The end of idle connections.

    @param idle: those of all origins, the longest idle first, and the time at which
        each is to be closed, as C{seconds} tells it.  One that is closed is taken out
        of it at once.
    @ivar seconds: a stopwatch.  It has another zero than C{Pool.seconds}.
    @ivar next_look: the time of the next look; infinity if there is none.
    """

    def __init__(
        self, clock: IReactorTime, idle: Mapping[HTTPConnection, float]
    ) -> None:
        self._clock = clock
        self._idle = idle
        self._timer: IDelayedCall | None = None
        self.seconds = stopwatch_of(clock)
        self.next_look = math.inf

    def look_at(self, when: float) -> None:
        """
        Look for those that are to be closed at a time before C{next_look}.
        """
        if self._timer is not None:
            self._timer.cancel()
        self.next_look = when
        seconds = max(0.0, when - self.seconds())
        self._timer = self._clock.callLater(seconds, self._look)

    def close_oldest(self) -> bool:
        """
        Make room for another connection.

        @return: whether there was one to be closed.
        """
        for connection in self._idle:
            connection.abort()
            return True
        return False

    def _look(self) -> None:
        self._timer, self.next_look = None, math.inf
        now = self.seconds()
        for connection in [each for each, until in self._idle.items() if until <= now]:
            connection.abort()
        if self._idle:
            self.look_at(max(min(self._idle.values()), now + _SPACING))
