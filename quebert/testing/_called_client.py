"""
L{CalledClient}: an HTTP client whose executor is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.web.http_headers import Headers

from quebert import __version__
from quebert._url import without_userinfo
from quebert.boundaries import WholeResponse
from quebert.guard import Guard
from quebert.testing._exchange import Answer, SimulatedRequest
from quebert.testing._executors import Answered, Ask

__all__ = ["CalledClient", "Exchanged"]

#: Called with each request, and with its answer, or why none comes.
Exchanged = Callable[[SimulatedRequest, Answered], None]

_PORTS = {"http": 80, "https": 443}


class CalledResponse(WholeResponse):
    """
    An answer as a mediator gets it.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._headers = Headers({k: [v] for k, v in answer.headers.items()})

    @property
    def code(self) -> int:
        """
        Its status.
        """
        return self._answer.status

    def content(self) -> Deferred[bytes]:
        """
        Its body.
        """
        return succeed(self._answer.body)

    @property
    def whole(self) -> bytes | None:
        """
        Its body.
        """
        return self._answer.body

    @property
    def headers(self) -> Headers:
        """
        Its header fields.
        """
        return self._headers

    def may_have(self, name: bytes) -> bool:
        """
        Whether it has a header field.
        """
        return self._headers.hasHeader(name)


class CalledClient:
    """
    Makes requests by calling an executor.

    @param clock: by which answers take their time.
    @param guard: judges the URL of each request.  It does not judge addresses, since no
        name is looked up.
    @param exchanged: called with each request that was made.
    """

    def __init__(
        self, ask: Ask, clock: IReactorTime, guard: Guard, exchanged: Exchanged
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._guard = guard
        self._exchanged = exchanged
        self._error: Exception | None = None

    def check(self) -> None:
        """
        Raise what C{ask} has raised first, if it has: that is an error of the test, and
        a mediator would take it for a failed attempt.
        """
        error, self._error = self._error, None
        if error is not None:
            raise error

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        allow_redirects: bool = False,
    ) -> Deferred[Any]:
        """
        Make a request.
        """
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
        self._guard.check(parts.scheme, parts.hostname or "", port)
        body = data or b""
        fields = {
            "Host": parts.netloc.rpartition("@")[2],
            "User-Agent": f"quebert/{__version__}",
            **(headers or {}),
        }
        if body:
            fields["Content-Length"] = str(len(body))
        made = SimulatedRequest(method, without_userinfo(url), fields, body)
        try:
            answer = self._ask(made)
        except Exception as e:
            answer = e
            self._error = self._error or e
        self._exchanged(made, answer)
        if isinstance(answer, Exception):
            return fail(answer)
        return self._later(CalledResponse(answer), answer.seconds)

    def _later(self, response: CalledResponse, seconds: float) -> Deferred[Any]:
        if seconds <= 0:
            return succeed(response)
        if seconds == float("inf"):
            return Deferred()
        answered: Deferred[Any] = Deferred(lambda _: call.cancel())
        call = self._clock.callLater(seconds, answered.callback, response)
        return answered
