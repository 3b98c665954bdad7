"""
Requests of WSGI and ASGI applications by a call: WSGI by PEP 3333, ASGI 3.0.

What an application raises is noted, and answered 500, as its server would.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any
from urllib.parse import SplitResult, unquote, unquote_to_bytes, urlsplit

from quebert.testing._exchange import Answer, SimulatedRequest

__all__ = ["ask_asgi", "ask_wsgi"]

Event = MutableMapping[str, Any]

_PORTS = {"http": 80, "https": 443}
_CLIENT = ("127.0.0.1", 50_000)


def _failed(error: BaseException) -> Answer:
    text = f"{type(error).__name__}: {error}"
    return Answer(500, text.encode("utf-8", "backslashreplace"), error=error)


def _host(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "localhost", parts.port or _PORTS.get(parts.scheme, 80)


# -- WSGI


def ask_wsgi(application: Callable[..., Any], request: SimulatedRequest) -> Answer:
    """
    The answer of a WSGI application.
    """
    status = ""
    headers: list[tuple[str, str]] = []
    pieces: list[bytes] = []

    def start_response(
        told: str, fields: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        nonlocal status, headers
        if exc_info and pieces:
            raise exc_info[1]
        status, headers = told, list(fields)
        return pieces.append

    try:
        result = application(_environ(request), start_response)
        try:
            pieces.extend(result)
        finally:
            if hasattr(result, "close"):
                result.close()
        code = int(status.split()[0]) if status else 0
        if not code:
            raise RuntimeError("the application has not called start_response")
    except Exception as e:
        return _failed(e)
    return Answer(code, b"".join(pieces), dict(headers))


def _environ(request: SimulatedRequest) -> dict[str, Any]:
    parts = urlsplit(request.url)
    host, port = _host(parts)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(parts.path or "/").decode("latin-1"),
        "QUERY_STRING": parts.query,
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(request.body)),
        "REMOTE_ADDR": _CLIENT[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": parts.scheme,
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        if key == "CONTENT_LENGTH":
            continue
        if key != "CONTENT_TYPE":
            key = f"HTTP_{key}"
        environ[key] = value.encode("utf-8").decode("latin-1")
    return environ


# -- ASGI


def ask_asgi(
    application: Callable[..., Awaitable[None]], request: SimulatedRequest
) -> Answer:
    """
    The answer of an ASGI application, which gets a loop of asyncio of its own, and no
    C{lifespan} events.
    """
    return asyncio.run(_asgi(application, request))


async def _asgi(
    application: Callable[..., Awaitable[None]], request: SimulatedRequest
) -> Answer:
    events: Iterator[Event] = iter([{"type": "http.request", "body": request.body}])
    started: Event = {}
    pieces: list[bytes] = []
    whole = asyncio.Event()

    async def receive() -> Event:
        for event in events:
            return event
        await whole.wait()
        return {"type": "http.disconnect"}

    async def send(event: Event) -> None:
        if event["type"] == "http.response.start":
            started.update(event)
        elif event["type"] == "http.response.body":
            pieces.append(bytes(event.get("body", b"")))
            if not event.get("more_body", False):
                whole.set()

    try:
        await application(_scope(request), receive, send)
        if not whole.is_set():
            raise RuntimeError("the application has not answered")
    except Exception as e:
        return _failed(e)
    headers = {
        bytes(name).decode("latin-1"): bytes(value).decode("latin-1")
        for name, value in started.get("headers", ())
    }
    return Answer(int(started["status"]), b"".join(pieces), headers)


def _scope(request: SimulatedRequest) -> Event:
    parts = urlsplit(request.url)
    path = parts.path or "/"
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": parts.scheme,
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": parts.query.encode("latin-1"),
        "root_path": "",
        "headers": [
            (name.lower().encode("latin-1"), value.encode("utf-8"))
            for name, value in request.headers.items()
        ],
        "client": _CLIENT,
        "server": _host(parts),
        "state": {},
    }
