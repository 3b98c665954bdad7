"""
A web server for metrics and health: it answers C{GET} of a few paths, and nothing else.

Theory of operation.  The server shares a process with tasks, so a client can have it do
little: a connection is for one request, whose head has to come in L{HEAD_TIME} seconds
and L{HEAD} bytes; a body is dropped; the answer has to be taken in L{ANSWER_TIME}
seconds.  There are L{CONNECTIONS} at most; the oldest goes to make room for another.
In a second L{PER_SECOND} are heard, and those beyond are closed.
A client that sends more than it should gets its answer all the same: the connection is
closed for writing, and what comes is dropped for some time (RFC 9112, section 9.6).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any

import attrs
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from quebert._log import Logger
from quebert._repeated import RepeatedWarning

__all__ = ["CONNECTIONS", "HEAD", "HEAD_TIME", "Route", "ViewAnswer", "ViewSite"]

#: Connections at once, and those that are begun in a second.
CONNECTIONS = 32
PER_SECOND = 50
#: Bytes of a head.
HEAD = 8_192
#: Seconds in which it must come.
HEAD_TIME = 10.0
#: Seconds in which the answer must be taken.
ANSWER_TIME = 30.0
#: Seconds for which what a client goes on sending is dropped.
LINGER = 2.0

_PORT = re.compile(r":[0-9]*$")
_TEXT = "text/plain; charset=utf-8"


@attrs.frozen
class ViewAnswer:
    """
    An answer.

    @ivar body: of the answer.
    @ivar content_type: of the body.
    """

    body: bytes
    content_type: str = _TEXT
    status: int = HTTPStatus.OK

    @classmethod
    def text(cls, status: HTTPStatus, text: str) -> ViewAnswer:
        """
        One with a sentence.
        """
        return cls(f"{text}\n".encode(), status=status)


#: Called with what the client accepts, as its header says.
Route = Callable[[str], ViewAnswer]


class ViewSite(Factory):
    """
    Answers some paths.

    @param routes: by their paths.
    @param reactor: keeps the time.
    @param private: whether it listens for this machine alone.  Then a request has to
        name the host by its address, or by a name without a dot: a page of another site
        can have a browser of this machine ask, by a name of its own that leads here.
    """

    log = Logger()
    noisy = False

    def __init__(
        self, routes: Mapping[str, Route], reactor: Any, *, private: bool = False
    ) -> None:
        self.reactor = reactor
        self._is_private = private
        self._routes = routes
        self._connections: dict[_ViewConnection, None] = {}  # the oldest is first
        self._second, self._begun = 0, 0
        self._failing = RepeatedWarning(
            self.log,
            lambda: reactor,
            "A look at this process fails",
            "Looks at this process do not fail any more",
        )

    def buildProtocol(self, addr: Any) -> Protocol | None:
        """
        One more client.

        @return: C{None} to close its connection.
        """
        second = int(self.reactor.seconds())
        self._begun = self._begun + 1 if second == self._second else 1
        self._second = second
        if self._begun > PER_SECOND:
            return None
        connection = _ViewConnection(self)
        self._connections[connection] = None
        if len(self._connections) > CONNECTIONS:
            oldest = next(iter(self._connections))
            self.left(oldest)
            oldest.abort()
        return connection

    def left(self, connection: _ViewConnection) -> None:
        """
        A client has gone.
        """
        self._connections.pop(connection, None)

    def close(self) -> None:
        """
        Close all connections.
        """
        for each in list(self._connections):
            each.abort()
        self._failing.end()

    def answer(self, head: bytes) -> bytes:
        """
        The answer to a request, as it is sent.

        @param head: of the request.
        """
        request = _parse(head)
        if request is None:
            text = "this is no request of HTTP/1"
            return _sent(ViewAnswer.text(HTTPStatus.BAD_REQUEST, text))
        method, path, headers = request
        if method not in ("GET", "HEAD"):
            text = f"{method} is not allowed here, but GET"
            return _sent(ViewAnswer.text(HTTPStatus.METHOD_NOT_ALLOWED, text))
        if self._is_private and not _is_own_name(headers.get("host", "")):
            text = "ask by the address, as this serves the machine itself alone"
            return _sent(ViewAnswer.text(HTTPStatus.FORBIDDEN, text))
        answer = self._look(path, headers.get("accept", ""))
        return _sent(answer, with_body=method == "GET")

    def _look(self, path: str, accept: str) -> ViewAnswer:
        route = self._routes.get(path)
        if route is None:
            text = f"there is nothing here but {', '.join(self._routes)}"
            return ViewAnswer.text(HTTPStatus.NOT_FOUND, text)
        try:
            answer = route(accept)
        except Exception as e:
            self._failing.met(f"{path}: {type(e).__name__}: {e}")
            text = "this cannot be told for now: the log tells why"
            return ViewAnswer.text(HTTPStatus.INTERNAL_SERVER_ERROR, text)
        self._failing.succeeded()
        return answer


def _parse(head: bytes) -> tuple[str, str, dict[str, str]] | None:
    """
    The method, the path and the headers of a request.
    """
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        return None
    if not (parts[0].isascii() and parts[0].isalpha()):
        return None
    fields = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    return parts[0], parts[1].partition("?")[0], headers


def _is_own_name(host: str) -> bool:
    """
    Whether only this machine has such a name: an address, or one without a dot.
    """
    name = _PORT.sub("", host).strip("[]").rstrip(".")
    try:
        ip_address(name)
    except ValueError:
        return "." not in name
    return True


def _sent(answer: ViewAnswer, *, with_body: bool = True) -> bytes:
    status = HTTPStatus(answer.status)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (answer.body if with_body else b"")


@implementer(IHalfCloseableProtocol)
class _ViewConnection(Protocol):
    """
    One connection.
    """

    def __init__(self, site: ViewSite) -> None:
        self._site = site
        self._head: bytes | None = b""  # None once it was answered
        self._late: IDelayedCall | None = None

    @property
    def _tcp(self) -> Any:
        return self.transport

    def connectionMade(self) -> None:
        """
        It is open.
        """
        self._wait(HEAD_TIME)

    def _wait(self, seconds: float) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late = self._site.reactor.callLater(seconds, self._too_late)

    def _too_late(self) -> None:
        self._late = None
        self.abort()

    def abort(self) -> None:
        """
        Close it now.
        """
        if self._tcp is not None:
            self._tcp.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """
        Some of the request is there.
        """
        if self._head is None:
            return
        self._head += data
        head, end, _ = self._head.partition(b"\r\n\r\n")
        if len(head) > HEAD:
            text = f"the head of the request has more than {HEAD} bytes"
            self._finish(
                _sent(ViewAnswer.text(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text))
            )
        elif end:
            self._finish(self._site.answer(head))

    def _finish(self, answer: bytes) -> None:
        self._head = None
        self._wait(ANSWER_TIME)
        self._tcp.write(answer)
        self._tcp.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        """
        The answer is on its way.
        """
        self._wait(LINGER)

    def readConnectionLost(self) -> None:
        """
        The client sends nothing more.
        """
        if self._head is None:
            self._tcp.loseConnection()
        else:
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        It is closed.
        """
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._site.left(self)
