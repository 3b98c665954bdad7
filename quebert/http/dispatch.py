"""
From a request to its whole response: the HTTP client that mediators use.

It is a treq client without what would mix tasks up or spoil a result: no
cookies are kept from one task for the next, no content encoding is asked for
or undone, and a body that ends early is an error.  Knows no tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    ResponseDone,
    ResponseFailed,
    _HTTP11ClientFactory,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from quebert import __version__
from quebert.errors import ExecutorError, IncompleteAnswer

__all__ = ["BODY_LIMIT", "Answer", "Dispatcher"]

#: Bytes of a response's body that are read; where there are more, the
#: connection is closed and the status alone decides.
BODY_LIMIT = 1_048_576
#: Seconds in which a connection must be made.
CONNECT_TIMEOUT = 30.0
#: Idle connections kept for each origin, and for how many seconds.  Less than
#: servers commonly wait, so that a request seldom meets a closing one.
IDLE_CONNECTIONS = 100
IDLE_TIMEOUT = 4

_USER_AGENT = f"quebert/{__version__}"


@attrs.define(eq=False)
class Answer:
    """
    A response, with as much of treq's interface as a mediator needs.
    """

    _response: IResponse

    @property
    def code(self) -> int:
        """
        The HTTP status.
        """
        return self._response.code  # type: ignore[no-any-return]

    @property
    def headers(self) -> Headers:
        """
        The response's headers.
        """
        headers: Headers = self._response.headers
        return headers

    def content(self) -> Deferred[bytes]:
        """
        The body, or its first L{BODY_LIMIT} bytes.  Fails with
        L{IncompleteAnswer} when the peer cut it short.  Cancelling closes the
        connection.
        """
        reader = _BodyReader()
        self._response.deliverBody(reader)
        return reader.finished


class _BodyReader(Protocol):
    def __init__(self) -> None:
        self.finished: Deferred[bytes] = Deferred(lambda _: self._abort())
        self._pieces: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        if self.finished.called:
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size > BODY_LIMIT:
            self.finished.callback(b"".join(self._pieces)[:BODY_LIMIT])
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.finished.called:
            return
        # The second is a body that is meant to end with the connection.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.finished.callback(b"".join(self._pieces))
        else:
            text = f"the answer's body was cut short after {self._size} bytes"
            self.finished.errback(IncompleteAnswer(text))

    def _abort(self) -> None:
        # There is no abortConnection() on what the agent gives to readers.
        transport: Any = self.transport
        transport.loseConnection()


class _QuietFactory(_HTTP11ClientFactory):
    noisy = False


class _Pool(HTTPConnectionPool):
    maxPersistentPerHost = IDLE_CONNECTIONS
    cachedConnectionTimeout = IDLE_TIMEOUT
    _factory = _QuietFactory

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)  # type: ignore[no-untyped-call]


class Dispatcher(HTTPClient):
    """
    A treq client whose L{request} is lean; its other methods are treq's.
    """

    @classmethod
    def with_reactor(cls, reactor: Any) -> Dispatcher:
        """
        One with its own pool of connections.
        """
        pool = _Pool(reactor)
        return cls(Agent(reactor, connectTimeout=CONNECT_TIMEOUT, pool=pool))

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        **unusual: Any,
    ) -> Deferred[Any]:
        """
        Make a request; redirects are not followed unless asked.

        @param data: the body.
        @param unusual: anything else that treq knows takes treq's own way.
        """
        follow = unusual.pop("allow_redirects", False)
        if follow or unusual:
            fields: Any = headers
            unusual.update(headers=fields, data=data, allow_redirects=follow)
            return super().request(method, url, **unusual)
        agent: IAgent = self._agent
        body = None if data is None else _Body(data)
        requested: Deferred[Any] = agent.request(
            method.encode("ascii"), url.encode("ascii"), _raw(headers), body
        )
        return requested.addCallbacks(Answer, _explained)


def _raw(headers: Mapping[str, str] | None) -> Headers:
    raw = Headers({"User-Agent": [_USER_AGENT]})
    for name, value in (headers or {}).items():
        raw.setRawHeaders(name.encode("ascii"), [value.encode("utf-8")])
    return raw


def _explained(failure: Failure) -> Failure:
    """
    Say in one sentence what the agent says in several ways.
    """
    error: Any = failure.value
    if isinstance(error, ResponseFailed):  # ResponseNeverReceived is one, too
        reasons = "; ".join(str(each.value) for each in error.reasons)
        text = f"the connection failed before an answer: {reasons}"
    elif isinstance(error, (ConnectError, DNSLookupError)):
        text = f"no connection could be made: {error}"
    else:
        return failure
    raise ExecutorError(text) from error


@implementer(IBodyProducer)
class _Body:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """
        All has been written by then.
        """

    resumeProducing = stopProducing = pauseProducing
