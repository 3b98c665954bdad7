"""
A request to an executor, which keeps no more of it than is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.web.server import Request

from quebert._bounds import BOUNDS
from quebert.executor._answer import write
from quebert.executor._channel import ExecutorChannel
from quebert.functions import ExecutorAnswer

__all__ = ["ExecutorRequest"]


class ExecutorRequest(Request):
    """
    A request that stores no more of its body than the limit, and is refused before its
    body comes when that is announced to be longer.

    @ivar stored: bytes of the body that have come.
    """

    stored = 0
    _refused = False
    _types: Sequence[bytes] = ()
    _target = b"/"

    def parseCookies(self) -> None:
        """
        Nobody asks for cookies, and thousands of them take memory.
        """

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
            self._connection.refuse(ExecutorAnswer.too_large(self._limit))

    def handleContentChunk(self, data: bytes) -> None:
        """
        A piece of the body is there.
        """
        if self._refused:
            return
        self.stored += len(data)
        if self.stored > self._limit:
            self._connection.refuse(ExecutorAnswer.too_large(self._limit))
        else:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """
        The body has ended.  Twisted does not see the path: thousands of parts and of
        fields of a query take memory.
        """
        self._target = path[: BOUNDS.url]
        if self._refused:
            self.finish()  # type: ignore[no-untyped-call]
        else:
            super().requestReceived(command, b"/", version)  # type: ignore[no-untyped-call]

    def process(self) -> None:
        """
        Give the request to the resource, with its C{uri}.
        """
        self.uri = self._target
        if self._types:
            self.requestHeaders.setRawHeaders(b"Content-Type", self._types)
        super().process()  # type: ignore[no-untyped-call]

    @property
    def _connection(self) -> ExecutorChannel:
        channel: Any = self.channel
        found: ExecutorChannel = channel
        return found

    @property
    def _limit(self) -> int:
        return self._connection.site.limits.body

    def refuse(self, answer: ExecutorAnswer) -> None:
        """
        Answer now, and drop what comes of the body.
        """
        self._refused = True
        self.method, self.clientproto = b"POST", b"HTTP/1.1"
        # Else it were asked to go on.
        self.requestHeaders.removeHeader(b"Expect")
        content: Any = self.content
        content.truncate(0)
        write(answer, self, last=True)
