"""
What a request is answered with: from a result or a refusal to a response.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import attrs
from twisted.web import http
from twisted.web.server import Request

from quebert import task as tasks

__all__ = ["ExecutorAnswer"]

_TEXT = "text/plain; charset=utf-8"
# Seconds after which a client may try again.
_LATER = b"2"


@attrs.frozen
class ExecutorAnswer:
    """
    What a request is answered with.
    """

    status: int
    body: bytes = b""
    content_type: str | None = None

    @classmethod
    def text(cls, status: int, sentence: str) -> ExecutorAnswer:
        """
        A sentence, which may hold what UTF-8 cannot.
        """
        return cls(status, sentence.encode("utf-8", "backslashreplace"), _TEXT)

    @classmethod
    def too_large(cls, limit: int) -> ExecutorAnswer:
        """
        For a body of more than C{limit} bytes.
        """
        sentence = f"the body is larger than {limit} bytes, the most that is taken"
        return cls.text(http.REQUEST_ENTITY_TOO_LARGE, sentence)

    @classmethod
    def unavailable(cls, sentence: str) -> ExecutorAnswer:
        """
        For a request that may be made again in some seconds.
        """
        return cls.text(http.SERVICE_UNAVAILABLE, sentence)

    @classmethod
    def result(cls, result: Any) -> ExecutorAnswer:
        """
        For what a function has returned.

        @raise ValueError: it has no form in JSON or UTF-8; likewise
            C{TypeError}.
        """
        if result is None:
            return cls(http.NO_CONTENT)
        if isinstance(result, bytes):
            return cls(http.OK, result, "application/octet-stream")
        if isinstance(result, str):
            return cls(http.OK, result.encode("utf-8"), _TEXT)
        return cls(http.OK, tasks.encode(result), "application/json")

    @property
    def sentence(self) -> str:
        """
        The body as text.
        """
        return self.body.decode("utf-8")

    def write(self, request: Request, last: bool = False) -> None:
        """
        Write it; to finish the request is left to the caller.

        @param last: the connection takes no more requests.
        """
        if last:
            request.channel.persistent = False
        request.setResponseCode(self.status)
        for name, value in self._headers(last):
            request.setHeader(name, value)
        request.write(self.body)

    def alone(self) -> bytes:
        """
        The whole response, where there is no request that it could be written to.
        """
        phrase = HTTPStatus(self.status).phrase.encode("ascii")
        lines = [b"HTTP/1.1 %d %b" % (self.status, phrase)]
        lines += [b"%b: %b" % pair for pair in self._headers(last=True)]
        return b"\r\n".join([*lines, b"", self.body])

    def _headers(self, last: bool) -> list[tuple[bytes, bytes]]:
        found = [(b"Connection", b"close")] if last else []
        if self.status == http.SERVICE_UNAVAILABLE:
            found.append((b"Retry-After", _LATER))
        if self.status != http.NO_CONTENT:
            found.append((b"Content-Length", b"%d" % len(self.body)))
        if self.content_type is not None:
            found.append((b"Content-Type", self.content_type.encode("ascii")))
        return found
