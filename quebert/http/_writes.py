"""
The requests that are written in one turn of the reactor, and the time of that turn.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from quebert._turn import EndOfTurn
from quebert.http._connection import HTTPConnection

__all__ = ["Writes"]


class Writes:
    """
    The writes of a turn, all made at its end: many in a row take half of the time that
    they take one by one, with the work for a task between them.

    @ivar now: the time, the same for all of a turn; 0.0 until L{begin} is called.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._writing: list[HTTPConnection] = []
        self.now = 0.0
        self._turn = EndOfTurn(clock, self._end)

    def write_soon(self, connection: HTTPConnection) -> None:
        """
        It has something to write.
        """
        if not self._writing:
            self._turn.ask()
        self._writing.append(connection)

    def begin(self) -> float:
        """
        What C{now} is in this turn.
        """
        self.now = self._clock.seconds()
        self._turn.ask()
        return self.now

    def _end(self) -> None:
        writing, self._writing, self.now = self._writing, [], 0.0
        if not writing:
            return
        now = self._clock.seconds()
        for connection in writing:
            connection.write(now)
