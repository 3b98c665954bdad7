"""
HTTP answers: a server sends anything, cut into any segments.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from quebert.errors import ExecutorError, IncompleteAnswer
from quebert.http._connection import HTTPConnection
from quebert.http._exchange import HTTPExchange
from quebert.http._proxied import _HEAD_LIMIT, _Tunnel
from quebert.http._reader import Reader
from quebert.http._response import HEAD_LIMIT, Response
from quebert.test.fuzz.choices import Choices, pieces

__all__ = ["check"]

_LIMITS = (0, 10, 1_000, 2**20)
#: Bytes of a segment at most.
_SEGMENT = 4_096
_REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def check(data: bytes) -> None:
    """
    The first bytes choose the request and the segments; the others are what the server
    sends.
    """
    choices = Choices(data)
    limit, kind = choices.pick(_LIMITS), choices.octet() % 8
    sizes = list(choices.take(choices.octet() % 16)) or [1] * _SEGMENT
    stream = choices.rest()
    make = _Tunnelled if kind == 2 else lambda: _Talk(limit, bodiless=kind == 1)
    whole = make().outcome(pieces(stream, [_SEGMENT] * 100))
    cut = make().outcome(pieces(stream, sizes))
    assert whole == cut, (whole, cut)


class _Noting(Protocol):
    """
    What has the connection once the tunnel is open.
    """

    data = b""

    def dataReceived(self, data: bytes) -> None:
        """
        Note it.
        """
        self.data += data


class _Tunnelled:
    """
    A connection to a proxy.
    """

    def __init__(self) -> None:
        self.inner = _Noting()
        factory: Any = Factory.forProtocol(lambda: self.inner)
        self.tunnel = _Tunnel("h:80", factory)
        self.told: list[object] = []
        self.tunnel.opened.addErrback(self._failed)
        self.tunnel.makeConnection(StringTransport())

    def _failed(self, failure: Failure) -> None:
        failure.trap(ExecutorError)
        self.told.append(str(failure.value))

    def outcome(self, segments: Iterable[bytes]) -> list[object]:
        """
        What became of it, once the proxy has hung up.
        """
        for each in segments:
            self.tunnel.dataReceived(each)
            assert len(self.tunnel._head) <= _HEAD_LIMIT + _SEGMENT
        self.tunnel.connectionLost(Failure(ConnectionDone()))
        assert self.tunnel.opened.called
        return [*self.told, self.inner.data]


class _Owner:
    """
    The owner of one connection.

    @ivar released_again: how often the connection was free for another request.
    """

    def __init__(self) -> None:
        self.released_again = 0
        self.missed_ones = 0

    def released(self, connection: HTTPConnection) -> None:
        """
        Count.
        """
        self.released_again += 1

    def send_again(self, exchange: HTTPExchange) -> None:
        """
        Count.
        """
        self.missed_ones += 1

    def lost(self, connection: HTTPConnection) -> None:
        """
        Nothing is to be done.
        """

    body_begins = body_ends = lost

    def withdraw(self, connection: HTTPConnection) -> None:
        """
        Nothing was to be sent.
        """

    def read_together(self, tcp: object) -> None:
        """
        There is no TCP.
        """

    def seconds(self) -> float:
        """
        Always the same.
        """
        return 0.0


class _Talk:
    """
    A request over a connection of its own.

    @param limit: bytes of the answer's body that are kept.
    @param bodiless: whether it is a request with HEAD.
    """

    def __init__(self, limit: int, bodiless: bool) -> None:
        self.owner, self.limit = _Owner(), limit
        self.readers: list[Reader] = []
        self.connection = HTTPConnection(self.owner, limit, self.readers)
        self.transport = StringTransport()
        self.connection.makeConnection(self.transport)
        exchange = HTTPExchange(_REQUEST, bodiless)
        self.told: list[object] = []
        exchange.answered.addCallbacks(self._answered, self._failed)
        self.response: Response | None = None
        self.connection.send(exchange, self.owner.seconds())

    def _answered(self, response: Response) -> Deferred[Any]:
        self.response = response
        self.told += [response.code, response.fields, response.phrase]
        _ = response.headers, response.may_have(b"retry-after"), repr(response)
        body = response.content()
        return body.addCallbacks(self._read, self._failed)

    def _read(self, body: bytes) -> None:
        assert isinstance(body, bytes)
        assert len(body) <= self.limit
        self.told.append(body)

    def _failed(self, failure: Failure) -> None:
        failure.trap(ExecutorError)
        self.told.append(type(failure.value).__name__)
        if isinstance(failure.value, IncompleteAnswer):
            assert len(failure.value.body) <= self.limit

    def outcome(self, segments: Iterable[bytes]) -> list[object]:
        """
        What the one who requested was told, once the server has hung up.
        """
        for each in segments:
            if self.connection.closed:
                break
            self.connection.dataReceived(each)
            self._check_memory()
        if self.owner.released_again and not self.connection.closed:
            self._ask_again()
        self.connection.connectionLost(Failure(ConnectionDone()))
        assert self.told, "nobody was told anything"
        assert self.owner.missed_ones == 0
        assert self.owner.released_again <= 1
        return self.told

    def _ask_again(self) -> None:
        """
        Nothing that came before the next request can be taken for its answer.
        """
        exchange, found = HTTPExchange(_REQUEST, bodiless=False), list[Response]()
        exchange.answered.addCallback(found.append)
        self.connection.send(exchange, self.owner.seconds())
        self.connection.dataReceived(b"HTTP/1.1 204 No Content\r\nNext: yes\r\n\r\n")
        assert [each.code for each in found] == [204]
        assert found[0].fields == [(b"Next", b"yes")]
        self.owner.released_again = 1

    def _check_memory(self) -> None:
        """
        What is held has a bound, whatever the server sends.
        """
        reader = self.connection._reader
        if reader is not None and reader.response is None:
            assert len(reader._head) <= 64
            assert sum(map(len, reader._head)) <= HEAD_LIMIT + _SEGMENT
        if self.response is not None:
            assert len(self.response._kept) <= self.limit + _SEGMENT
