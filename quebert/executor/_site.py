"""
The executor's connections: quiet, with bodies in bounds, and to be closed.

Knows HTTP's framing; what is done with a task is the resource's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.server import Request, Site

from quebert.executor._answer import Answer
from quebert.executor._tally import Tally
from quebert.executor._web import ExecutorResource

__all__ = ["ExecutorSite"]


class _Request(Request):
    """
    A request that stores no more of its body than the site's limit, and is
    refused before its body comes when that is announced to be longer.
    """

    _refused = False
    _types: Sequence[bytes] = ()

    def gotLength(self, length: int | None) -> None:
        """
        The headers are there.
        """
        super().gotLength(length)  # type: ignore[no-untyped-call]
        # Until the body has come: L{Request} must read no form.
        headers = self.requestHeaders
        self._types = headers.getRawHeaders(b"Content-Type", [])
        headers.removeHeader(b"Content-Type")
        if length is not None and length > self._limit:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        """
        A piece of the body is there.
        """
        if self._refused:
            return
        content: Any = self.content
        if content.tell() + len(data) > self._limit:
            self._refuse()
        else:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """
        The body has ended.
        """
        if self._refused:
            self.finish()  # type: ignore[no-untyped-call]
        else:
            super().requestReceived(command, path, version)  # type: ignore[no-untyped-call]

    def process(self) -> None:
        """
        Give the request to the resource.
        """
        if self._types:
            self.requestHeaders.setRawHeaders(b"Content-Type", self._types)
        super().process()  # type: ignore[no-untyped-call]

    @property
    def _limit(self) -> int:
        channel: Any = self.channel
        limit: int = channel.site.body_limit
        return limit

    def _refuse(self) -> None:
        """
        Answer now, and drop what comes.  To close the connection before the
        client has sent all would reset it, and could lose the answer
        (RFC 9112, section 9.6).
        """
        self._refused = True
        self.method, self.clientproto = b"POST", b"HTTP/1.1"
        # Else it were asked to go on.
        self.requestHeaders.removeHeader(b"Expect")
        Answer.too_large(self._limit).write(self, last=True)


class _Channel(HTTPChannel):
    """
    A connection that its site knows of.
    """

    site: ExecutorSite

    def connectionMade(self) -> None:
        """
        It is open.
        """
        self.site.opened(self)
        super().connectionMade()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        It is closed.
        """
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self.site.lost(self)


class ExecutorSite(Site):
    """
    A site that logs no requests, and can close its connections.
    """

    noisy = False
    displayTracebacks = False
    requestFactory = _Request
    protocol = _Channel  # type: ignore[assignment]

    def __init__(self, resource: ExecutorResource, reactor: Any) -> None:
        super().__init__(resource, reactor=reactor)  # type: ignore[no-untyped-call]
        self.body_limit = resource.body_limit
        self._connections: set[_Channel] = set()
        self._tally = Tally()

    def startFactory(self) -> None:
        """
        Open no log of requests, nor begin to keep its time.
        """

    def getContentFile(self, length: int | None) -> BytesIO:
        """
        Bodies are kept in memory, as they are bounded.
        """
        return BytesIO()

    def opened(self, channel: _Channel) -> None:
        """
        There is one more connection.
        """
        self._connections.add(channel)
        self._tally.add()

    def lost(self, channel: _Channel) -> None:
        """
        There is one connection less.
        """
        self._connections.discard(channel)
        self._tally.remove()

    def close(self) -> Deferred[None]:
        """
        Close all connections.

        @return: fires once all that was written to them is on its way.
        """
        for each in list(self._connections):
            each.loseConnection()  # type: ignore[no-untyped-call]
        return self._tally.none()
