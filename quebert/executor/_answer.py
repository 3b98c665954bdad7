"""
Writes answers: to requests, or as bytes.
"""

from __future__ import annotations

from http import HTTPStatus

from twisted.web import http
from twisted.web.server import Request

from quebert.functions import ExecutorAnswer

__all__ = ["response", "write"]


def write(answer: ExecutorAnswer, request: Request, last: bool = False) -> None:
    """
    Write an answer; to finish the request is left to the caller.

    @param last: the connection takes no more requests.
    """
    if last:
        request.channel.persistent = False
    request.setResponseCode(answer.status)
    for name, value in _headers(answer, last):
        request.setHeader(name, value)
    request.write(answer.body)


def response(answer: ExecutorAnswer) -> bytes:
    """
    The whole response, where there is no request that it could be written to.
    """
    phrase = HTTPStatus(answer.status).phrase.encode("ascii")
    lines = [b"HTTP/1.1 %d %b" % (answer.status, phrase)]
    lines += [b"%b: %b" % pair for pair in _headers(answer, last=True)]
    return b"\r\n".join([*lines, b"", answer.body])


def _headers(answer: ExecutorAnswer, last: bool) -> list[tuple[bytes, bytes]]:
    found = [(b"Connection", b"close")] if last else []
    if answer.status != http.NO_CONTENT:
        found.append((b"Content-Length", b"%d" % len(answer.body)))
    for name, value in answer.headers:
        found.append((name.encode("ascii"), value.encode("latin-1")))
    return found
