"""
The requests that are written in one turn of the reactor.
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
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._writing: list[HTTPConnection] = []
        self._turn = EndOfTurn(clock, self._end)

    def write_soon(self, connection: HTTPConnection) -> None:
        """
        It has something to write.
        """
        if not self._writing:
            self._turn.ask()
        self._writing.append(connection)

    def _end(self) -> None:
        writing, self._writing = self._writing, []
        now = self._clock.seconds()
        for connection in writing:
            connection.write(now)
