"""
Heads of requests to C{quebert web}: whatever is read, h11 reads in the same way.
"""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import h11

from quebert.test.fuzz.choices import Choices
from quebert.web._exchange import APIProblem
from quebert.web._head import RequestHead, read_head

__all__ = ["check", "likely_head"]

_FIELDS = 20
_METHODS = (b"GET", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"g-t", b"")
_TARGETS = (b"/", b"/v1/tasks?a=b", b"http://h", b"HTTP://h:1/x?y", b"*", b"h:1", b"")
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"")
_NAMES = (
    *(b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect"),
    *(b"host", b"CONTENT-LENGTH", b"Content_Length", b"X", b"Content-Length ", b" X"),
)
_VALUES = (
    *(b"h", b"h:1", b"0", b"5", b"+5", b"05", b"5, 5", b"5,6", b"0x5", b"5 5", b""),
    *(
        b"chunked",
        b"Chunked",
        b"gzip, chunked",
        b"close",
        b"Keep-Alive, CLOSE",
        b"\xff",
    ),
    *(b"100-continue", b"\t5 ", b"a\tb", b"a\r\n b", b"a\nContent-Length: 7", b"\0"),
)
_ENDS = (*[b"\r\n"] * 9, b"\n", b"\r", b"\r\n\t", b"")
_COLONS = (*[b": "] * 6, b":", b" :", b"\t:", b"")


def check(data: bytes) -> None:
    """
    A head of any bytes, or one of likely parts.
    """
    choices = Choices(data)
    lines = choices.rest() if choices.flag() else likely_head(choices)
    lines += b"\r\n\r\n"
    lines = lines[: lines.index(b"\r\n\r\n") + 2]
    try:
        head = read_head(lines, _FIELDS)
    except APIProblem as e:
        assert e.status in (400, 411, 417, 431, 501, 505)
        assert json.loads(e.answer.body)["status"] == e.status
        return
    _compare(head, lines)


def likely_head(choices: Choices) -> bytes:
    """
    A head of parts that are likely, right or wrong.
    """
    target = choices.pick(_TARGETS) + choices.short() * choices.flag()
    line = [choices.pick(_METHODS), target, choices.pick(_VERSIONS)]
    found = b" ".join(line) + choices.pick(_ENDS)
    for _ in range(choices.octet() % 6):
        value = choices.short() if choices.flag() else choices.pick(_VALUES)
        name, colon = choices.pick(_NAMES), choices.pick(_COLONS)
        found += name + colon + value + choices.pick(_ENDS)
    return found


def _compare(head: RequestHead, lines: bytes) -> None:
    """
    See that h11 takes the request, and no byte of what follows its body.
    """
    ours = h11.Connection(h11.SERVER)
    ours.receive_data(lines + b"\r\n")
    event = ours.next_event()
    assert isinstance(event, h11.Request), event
    fields: dict[str, str] = {}
    for raw, content in event.headers:
        name, value = raw.decode("ascii"), content.decode("latin-1")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    assert fields == head.fields
    assert event.method.decode("ascii") == head.method
    assert b"HTTP/" + event.http_version == head.version.encode("ascii")
    _compare_target(head, event.target.decode("ascii"))
    assert ours.they_are_waiting_for_100_continue == head.waits
    if head.length < 10_000 and "upgrade" not in head.fields:  # which nothing heeds
        ours.receive_data(b"b" * head.length + b"GET")
        body = b""
        while not isinstance(event := ours.next_event(), h11.EndOfMessage):
            assert isinstance(event, h11.Data), event
            body += event.data
        assert len(body) == head.length
        assert (ours.their_state is h11.MUST_CLOSE) == head.is_last


def _compare_target(head: RequestHead, target: str) -> None:
    if target.startswith("/") or target == head.target:
        assert target == head.target
        return
    parts = urlsplit(target)
    assert parts.scheme in ("http", "https")
    assert parts.netloc.lower() == head.fields["host"].lower()
    path, _, query = head.target.partition("?")
    assert (path, query) == (parts.path or "/", parts.query)
