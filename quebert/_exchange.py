"""
One HTTP request and its whole answer, within its time.

Written with bare callbacks, since every task has one of these: as a coroutine
it would cost 5 µs more.  Knows no tasks, and of HTTP the status alone.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from quebert._deadlines import Deadlines
from quebert.boundaries import Response
from quebert.errors import BadStatus, RequestTimedOut

__all__ = ["Exchange"]


class Exchange:
    """
    A request that has been made, until the last byte of the answer to it.

    @param what: of the request: its method and URL.
    @param seconds: how long all of it may take.
    @param deadlines: keep that time; they call L{late}.
    @ivar success: fires with the body of a 2xx.  Fails with
        L{BadStatus<quebert.errors.BadStatus>}, with
        L{RequestTimedOut<quebert.errors.RequestTimedOut>}, or however the
        request does.
    """

    __slots__ = ("_code", "_deadlines", "_seconds", "_waiting", "_what", "success")

    def __init__(
        self, what: tuple[str, str], seconds: float, deadlines: Deadlines[Exchange]
    ) -> None:
        self.success: Deferred[bytes] = Deferred(self._give_up)
        self._what = what
        self._seconds = seconds
        self._deadlines = deadlines
        self._code = 0
        self._waiting: Deferred[Any] | None = None

    def begin(self, answering: Deferred[Any]) -> None:
        """
        Wait for what C{answering} fires with, a L{Response}, and its body.
        """
        self._waiting = answering
        self._deadlines.begin(self, self._seconds)
        answering.addCallbacks(self._head_came, self._failed)

    def late(self) -> None:
        """
        It takes too long: give up.
        """
        self._give_up()
        text = f"no complete answer within {self._seconds:g} s"
        self.success.errback(RequestTimedOut(text))

    def _give_up(self, success: object = None) -> None:
        """
        Whatever comes now comes too late.
        """
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._deadlines.end(self)
            waiting.cancel()

    def _head_came(self, response: Response) -> None:
        if self._waiting is None:
            return
        try:
            self._code = response.code
            content = self._waiting = response.content()
        except Exception:
            self._failed(Failure())
        else:
            content.addCallbacks(self._body_came, self._failed)

    def _body_came(self, body: bytes) -> None:
        if self._waiting is None:
            return
        self._end()
        if 200 <= self._code < 300:
            self.success.callback(body)
        else:
            method, url = self._what
            text = f"{method} {url} was answered {self._code}"
            self.success.errback(BadStatus(self._code, text))

    def _failed(self, failure: Failure) -> None:
        if self._waiting is not None:
            self._end()
            self.success.errback(failure)

    def _end(self) -> None:
        self._waiting = None
        self._deadlines.end(self)
