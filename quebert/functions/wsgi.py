"""
L{WSGIExecutor}: functions in a WSGI server, such as gunicorn, beside an application or
in a view of it (PEP 3333).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.client import responses
from time import monotonic
from typing import Any

from quebert.functions._answer import ExecutorAnswer
from quebert.functions._receiver import Receiver
from quebert.functions._registry import Function, all_functions

__all__ = ["WSGIExecutor", "read"]

# Bytes that are read at once.
_PIECE = 65_536


class WSGIExecutor:
    """
    A WSGI application that takes tasks.

    A coroutine function gets a loop of asyncio of its own for each task; it cannot be
    called in greenlets, which are several in one thread.

    @param receiver: takes tasks from requests.
    @param function: does them; L{Functions} choose by the path.  By default these are
        all that have the decorator C{@task}.
    @param prefix: with what paths begin, if the application is not mounted there, but
        called by a view: C{"/tasks"}.
    """

    def __init__(
        self,
        receiver: Receiver,
        function: Function = all_functions,
        *,
        prefix: str = "",
    ) -> None:
        self._receiver = receiver
        self._function = function
        self._prefix = prefix.rstrip("/")

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., object]
    ) -> Iterable[bytes]:
        """
        Answer a request.
        """
        answer = self._answer(environ)
        headers = list(answer.headers)
        if answer.status != HTTPStatus.NO_CONTENT:
            headers.append(("Content-Length", str(len(answer.body))))
        phrase = responses.get(answer.status, "")
        start_response(f"{answer.status} {phrase}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    def _answer(self, environ: dict[str, Any]) -> ExecutorAnswer:
        began = monotonic()
        try:
            body = _body(environ, self._receiver.max_body)
        except Exception as e:  # servers have their own, beside OSError
            text = f"the body cannot be read: {type(e).__name__}"
            return ExecutorAnswer.text(HTTPStatus.BAD_REQUEST, text)
        if body is None:
            text = "the body is shorter than its Content-Length, or was read before"
            return ExecutorAnswer.text(HTTPStatus.BAD_REQUEST, text)
        return self._receiver.answer(
            self._function,
            environ["REQUEST_METHOD"],
            _headers(environ),
            body,
            self._path(environ),
            began=began,
        )

    def _path(self, environ: dict[str, Any]) -> str:
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
        return str(path.removeprefix(self._prefix) or "/")


def _headers(environ: dict[str, Any]) -> list[tuple[str, str]]:
    found = [
        (name[5:].replace("_", "-"), value)
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    if environ.get("CONTENT_TYPE"):
        found.append(("Content-Type", environ["CONTENT_TYPE"]))
    return found


def _body(environ: dict[str, Any], most: int) -> bytes | None:
    """
    The body, or its beginning if it has more than C{most} bytes; C{None} if it ends
    before its length.
    """
    stream, length = environ["wsgi.input"], environ.get("CONTENT_LENGTH") or ""
    if length.isascii() and length.isdigit():
        # A length of many digits is more than any body has.
        size = int(length) if len(length) < 20 else most + 1
        body = read(stream.read, most, size)
        return None if len(body) < min(size, most + 1) else body
    if environ.get("wsgi.input_terminated"):  # it came in chunks
        return read(stream.read, most)
    return b""


def read(
    read_some: Callable[[int], bytes], most: int, size: float = float("inf")
) -> bytes:
    """
    Read a body, and keep C{most} bytes and one more at most.  What comes beyond is
    dropped, as many bytes again, so that a client that sends all before it reads gets
    its answer.

    @param size: bytes that the body has, if that is known.
    """
    pieces, kept, seen = [], 0, 0
    while seen < min(size, 2 * most + 1):
        piece = read_some(int(min(_PIECE, size - seen)))
        if not piece:
            break
        seen += len(piece)
        if kept <= most:
            pieces.append(piece[: most + 1 - kept])
            kept += len(pieces[-1])
    return b"".join(pieces)
