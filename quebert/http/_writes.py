"""
When requests are written: at once, or at the end of a turn of the reactor.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from quebert._turn import EndOfTurn
from quebert.http._connection import HTTPConnection

__all__ = ["FEW", "PAUSE", "Writes"]

#: Requests that are written at once, of those that come in a row.
FEW = 4
#: Seconds without a request that end a row.
PAUSE = 0.001


class Writes:
    """
    The writes of requests.

    Written one right after the other, requests take half of the time that they take
    with the work for a task between them.  So where tasks come in large numbers, the
    requests of a turn are written together, at its end.  After a pause, a few requests
    need not wait for each other, and no timer is needed for them.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._last_at = 0.0
        self._in_row = 0
        self._waiting: list[HTTPConnection] = []
        self._turn = EndOfTurn(clock, self._end)

    def write_soon(self, connection: HTTPConnection) -> None:
        """
        It has something to write.
        """
        now = self._clock.seconds()
        if not 0.0 <= now - self._last_at < PAUSE:  # the clock may be set back
            self._in_row = 0
        self._last_at = now
        self._in_row += 1
        if self._in_row <= FEW:
            connection.write(now)
            return
        if not self._waiting:
            self._turn.ask()
        self._waiting.append(connection)

    def _end(self) -> None:
        waiting, self._waiting = self._waiting, []
        now = self._clock.seconds()
        for connection in waiting:
            connection.write(now)
