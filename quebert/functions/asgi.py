"""
L{ASGIExecutor}: functions in an ASGI server, such as uvicorn, beside an application
(ASGI 3.0).  The server must run on asyncio.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from time import monotonic
from typing import Any

from quebert.functions._answer import ExecutorAnswer
from quebert.functions._receiver import Receiver
from quebert.functions._registry import Function, all_functions

__all__ = ["ASGIExecutor"]

_Event = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Event]]
_Send = Callable[[_Event], Awaitable[None]]


class ASGIExecutor:
    """
    An ASGI application that takes tasks.

    Coroutine functions and asynchronous generators run in the loop of the server, all
    others in threads of C{asyncio.to_thread}.  A client that hangs up does not stop a
    function.

    @param receiver: takes tasks from requests.
    @param function: does them; L{Functions} choose by the path.  By default these are
        all that have the decorator C{@task}.
    """

    def __init__(self, receiver: Receiver, function: Function = all_functions) -> None:
        self._receiver = receiver
        self._function = function

    async def __call__(self, scope: _Event, receive: _Receive, send: _Send) -> None:
        """
        Answer a request.
        """
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "lifespan":
                await _lifespan(receive, send)
            case "websocket":
                await send({"type": "websocket.close"})
            case other:
                raise ValueError(f"there are no tasks in a scope of type {other!r}")

    async def _http(self, scope: _Event, receive: _Receive, send: _Send) -> None:
        began = monotonic()
        body = await _body(receive, self._receiver.max_body)
        if body is None:  # nobody waits for an answer
            return
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in scope["headers"]
        ]
        answer = await self._receiver.answer_async(
            self._function, scope["method"], headers, body, _path(scope), began=began
        )
        await _send(answer, send)


def _path(scope: _Event) -> str:
    """
    The path below the one where the application is mounted.
    """
    path: str = scope["path"]
    root = scope.get("root_path", "").rstrip("/")
    if path == root or path.startswith(f"{root}/"):
        path = path[len(root) :]
    return path or "/"


async def _body(receive: _Receive, most: int) -> bytes | None:
    """
    The body, or its beginning if it has more than C{most} bytes; C{None} if the client
    has hung up.

    What comes beyond is dropped, as many bytes again, so that a client that sends all
    before it reads gets its answer.
    """
    pieces, kept, seen, more = [], 0, 0, True
    while more and seen <= 2 * most:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        piece = event.get("body", b"")
        more = event.get("more_body", False)
        seen += len(piece)
        if piece and kept <= most:
            pieces.append(piece[: most + 1 - kept])
            kept += len(pieces[-1])
    return b"".join(pieces)


async def _send(answer: ExecutorAnswer, send: _Send) -> None:
    headers = [
        (name.lower().encode("ascii"), value.encode("latin-1"))
        for name, value in answer.headers
    ]
    if answer.status != HTTPStatus.NO_CONTENT:
        headers.append((b"content-length", b"%d" % len(answer.body)))
    start = {"type": "http.response.start", "status": answer.status}
    await send({**start, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _lifespan(receive: _Receive, send: _Send) -> None:
    """
    There is nothing to begin or to end.
    """
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
