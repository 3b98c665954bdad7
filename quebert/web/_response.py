"""
From answers to the bytes of HTTP/1.1.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus

from quebert.web._exchange import APIAnswer

__all__ = ["HTTPDate", "event_stream", "response"]

_ALWAYS = (
    ("Server", "quebert"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
# What the API says is for no cache, and no page of a browser.
_OF_API = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)
_OF_STREAMS = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("X-Accel-Buffering", "no"),  # nginx would keep them for a while
    ("Connection", "close"),  # which ends it
)
_BREAKS = re.compile(r"[\r\n\0]")


def _lines(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{name}: {_BREAKS.sub(' ', value)}\r\n" for name, value in pairs)


_STATUS_LINES = {
    each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n" for each in HTTPStatus
}
_PAGE_LINES = _lines(_ALWAYS)
_API_LINES = _lines((*_ALWAYS, *_OF_API))
_STREAM_LINES = _lines((*_ALWAYS, *_OF_STREAMS, *_OF_API))


def response(
    answer: APIAnswer, date: str, *, is_last: bool = False, without_body: bool = False
) -> bytes:
    """
    An answer.

    @param is_last: whether the connection is closed behind it.
    @param without_body: whether the body is left out, as for a C{HEAD}.
    """
    status, body = answer.status, answer.body
    is_page = any(name == "Content-Security-Policy" for name, _ in answer.headers)
    head = [
        _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n",
        _PAGE_LINES if is_page else _API_LINES,
        _lines(answer.headers) if answer.headers else "",
        f"Content-Type: {answer.content_type}\r\n" if answer.content_type else "",
        f"Content-Length: {len(body)}\r\n" if status not in (204, 304) else "",
        "Connection: close\r\n" if is_last else "",
        f"Date: {date}\r\n\r\n",
    ]
    data = "".join(head).encode("utf-8", "replace")
    return data if without_body or status in (204, 304) else data + body


def event_stream(date: str) -> bytes:
    """
    The head of a stream of events.
    """
    head = f"{_STATUS_LINES[HTTPStatus.OK]}{_STREAM_LINES}Date: {date}\r\n\r\n"
    return head.encode("ascii")


class HTTPDate:
    """
    The time of day as answers have it, which is made once in a second.
    """

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def at(self, now: float) -> str:
        """
        The text for a time in seconds since the epoch.
        """
        second = int(now)
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True)
        return self._text
