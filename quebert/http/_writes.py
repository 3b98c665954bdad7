"""
When requests are sent: at once, or at the end of a turn of the reactor.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from quebert._turn import EndOfTurn
from quebert.http._connection import HTTPConnection
from quebert.http._exchange import HTTPExchange

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

    A connection whose request waits for the end of the turn is IDLE still.  If it is
    closed or lost before that, the request is withdrawn.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._last_at = 0.0
        self._in_row = 0
        self._waiting: dict[HTTPConnection, HTTPExchange] = {}
        self._turn = EndOfTurn(clock, self._end)

    def send_soon(self, connection: HTTPConnection, exchange: HTTPExchange) -> None:
        """
        Have a connection that is IDLE send a request.  One that has no C{send_some}
        does so at once: its transport writes later anyway.
        """
        now = self._clock.seconds()
        if not 0.0 <= now - self._last_at < PAUSE:  # the clock may be set back
            self._in_row = 0
        self._last_at = now
        self._in_row += 1
        if self._in_row <= FEW or connection.send_some is None:
            _send(connection, exchange, now)
            return
        if not self._waiting:
            self._turn.ask()
        exchange.owner = connection
        self._waiting[connection] = exchange

    def withdraw(self, connection: HTTPConnection) -> HTTPExchange | None:
        """
        Nothing is to be sent over a connection any more.

        @return: the request that was to be sent at the end of the turn.
        """
        return self._waiting.pop(connection, None)

    def _end(self) -> None:
        now = self._clock.seconds()
        for connection in list(self._waiting):
            exchange = self.withdraw(connection)
            if exchange is not None:  # else that was done meanwhile
                _send(connection, exchange, now)
        if self._waiting:  # others have come meanwhile
            self._turn.ask()


def _send(connection: HTTPConnection, exchange: HTTPExchange, now: float) -> None:
    """
    Send a request.  If that fails, which is a fault of ours, the request fails alone.
    """
    try:
        connection.send(exchange, now)
    except Exception:
        exchange.fail(Failure())
        connection.abort()
