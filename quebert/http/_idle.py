"""
The connections that nobody uses, each closed after a while.
"""

from __future__ import annotations

import math

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert.clock import stopwatch_of
from quebert.http._connection import HTTPConnection

__all__ = ["IdleConnections", "Line"]

# Seconds at least between two looks at which are to be closed.
_SPACING = 0.1

#: The idle connections of one origin.  The last one is used first.
Line = list[HTTPConnection]


class IdleConnections:
    """
    Those of all origins, the longest idle first.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._seconds = stopwatch_of(clock)
        self._lines: dict[HTTPConnection, Line] = {}  # each is in one
        self._expiry: IDelayedCall | None = None
        self._next_look = math.inf

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, connection: HTTPConnection, line: Line, seconds: float) -> None:
        """
        Keep a connection for so many seconds.
        """
        line.append(connection)
        self._lines[connection] = line
        connection.idle_until = until = self._seconds() + seconds
        if until < self._next_look:
            self._look_at(until)

    def take(self, line: Line) -> HTTPConnection:
        """
        Use one of a line.
        """
        connection = line.pop()
        del self._lines[connection]
        return connection

    def forget(self, connection: HTTPConnection) -> None:
        """
        A connection is lost, which may have been idle.
        """
        line = self._lines.pop(connection, None)
        if line is not None:
            line.remove(connection)

    def close_oldest(self) -> bool:
        """
        Make room for another connection.

        @return: whether there was one to be closed.
        """
        for connection in self._lines:
            self._close(connection)
            return True
        return False

    def _close(self, connection: HTTPConnection) -> None:
        self.forget(connection)
        connection.abort()

    def _look_at(self, when: float) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._next_look = when
        seconds = max(0.0, when - self._seconds())
        self._expiry = self._clock.callLater(seconds, self._expire)

    def _expire(self) -> None:
        self._expiry, self._next_look = None, math.inf
        now = self._seconds()
        for connection in [each for each in self._lines if each.idle_until <= now]:
            self._close(connection)
        if self._lines:
            first = min(each.idle_until for each in self._lines)
            self._look_at(max(first, now + _SPACING))
