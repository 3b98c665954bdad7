"""
The requests that are written in one turn of the reactor.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from quebert._turn import EndOfTurn
from quebert.http._connection import HTTPConnection

__all__ = ["FEW", "Writes"]

#: Requests of a turn that are written at once, if the last turn with any had no more.
FEW = 4


class Writes:
    """
    The writes of a turn.

    Many in a row take half of the time that they take one by one, with the work for a
    task between them.  So where tasks come in large numbers, all are made at the end of
    the turn.  A few tasks that come together need not wait for each other.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._were_few = True  # in the last turn with any
        self._wanted = 0  # in this turn
        self._waiting: list[HTTPConnection] = []
        self._turn = EndOfTurn(clock, self._end)

    def write_soon(self, connection: HTTPConnection) -> None:
        """
        It has something to write.
        """
        if not self._wanted:
            self._turn.ask()
        self._wanted += 1
        if self._were_few and self._wanted <= FEW:
            connection.write(self._clock.seconds())
        else:
            self._waiting.append(connection)

    def _end(self) -> None:
        self._were_few = self._wanted <= FEW
        self._wanted = 0
        waiting, self._waiting = self._waiting, []
        now = self._clock.seconds()
        for connection in waiting:
            connection.write(now)
