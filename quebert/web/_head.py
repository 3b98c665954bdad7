"""
Reads the head of an HTTP/1.1 request (RFC 9112), strictly.  Pure.

Theory of operation.  A proxy and a server that read the same bytes in two ways can be
made to disagree on where a request ends ("request smuggling"), or on what it asks for.
So only what has one reading is read:

  - lines end with CR LF; no other control character but the tab is in a head;
  - no space stands before a colon, and no line continues the one before;
  - a body has one C{Content-Length}, and no C{Transfer-Encoding};
  - C{Host} is there once, and a target that is a whole URL has the same one;
  - the fields of L{_ONCE} are there once.

Whatever is read here, h11 reads in the same way: C{quebert.test.fuzz.head}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

import attrs

from quebert.web._exchange import APIProblem

__all__ = ["RequestHead", "read_head"]

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_LINE = re.compile(rf"({_WORD}) ([!\"$-~]+) (HTTP/[0-9]\.[0-9])")
# No two parts of it match the same characters, so that it takes linear time.
_FIELDS = re.compile(rf"(?:{_WORD}:[\t -~\x80-\xff]*\r\n)*")
_HOST = re.compile(r"[0-9A-Za-z.:\[\]%_~!$&'()*+;=-]*")
_URL = re.compile(r"https?://([^/?@]+)(/[^?]*)?(\?.*)?", re.I)
_LENGTH = re.compile(r"[0-9]{1,18}", re.A)
#: Fields that must not be repeated.
_ONCE = frozenset(
    ["authorization", "content-length", "content-type", "expect", "host", "origin"]
)


@attrs.frozen(kw_only=True)
class RequestHead:
    """
    The head of a request.

    @ivar target: path and query, as they came; another word for a target that is none.
    @ivar version: C{HTTP/1.1} or C{HTTP/1.0}.
    @ivar fields: the values by names in lower case; several with commas between.
    @ivar length: bytes of the body.
    @ivar is_last: whether the connection is closed after the answer.
    @ivar waits: whether the client sends the body once it is asked to go on.
    """

    method: str
    target: str
    version: str = "HTTP/1.1"
    fields: Mapping[str, str] = attrs.field(factory=dict)
    length: int = 0
    is_last: bool = False
    waits: bool = False


def read_head(data: bytes, most_fields: int) -> RequestHead:
    """
    Read a head.

    @param data: its lines, each with its CR LF, without the empty one.
    @raise APIProblem: it cannot be read.  Nobody knows where such a request ends.
    """
    line, _, rest = data.decode("latin-1").partition("\r\n")
    found = _LINE.fullmatch(line)
    if found is None:
        raise _bad("the request line must be METHOD TARGET HTTP/1.1, encoded")
    method, target, version = found.groups()
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        text = "the server speaks HTTP/1.1"
        raise APIProblem(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, text)
    if method == "CONNECT":  # what follows would be no request
        raise APIProblem(HTTPStatus.NOT_IMPLEMENTED, "the server is no proxy")
    fields = _fields(rest, most_fields)
    is_old = version == "HTTP/1.0"
    _check_host(fields, is_old)
    if not target.startswith("/"):
        target = _within(target, fields)
    return RequestHead(
        method=method,
        target=target,
        version=version,
        fields=fields,
        length=_length(fields),
        is_last=is_old or _closes(fields),
        waits="expect" in fields and _waits(fields, is_old),
    )


def _bad(text: str) -> APIProblem:
    return APIProblem(HTTPStatus.BAD_REQUEST, text)


def _fields(text: str, most: int) -> dict[str, str]:
    if _FIELDS.fullmatch(text) is None:
        raise _bad("each header field must be a line NAME: VALUE that ends with CR LF")
    lines = text.split("\r\n")
    lines.pop()
    if len(lines) > most:
        text = f"the head of the request has more than {most} header fields"
        raise APIProblem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text)
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        if name in found:
            if name in _ONCE:
                raise _bad(f"there is more than one {name.title()}")
            value = f"{found[name]}, {value}"
        found[name] = value
    return found


def _length(fields: Mapping[str, str]) -> int:
    length, coding = fields.get("content-length"), fields.get("transfer-encoding")
    if coding is not None:
        if length is not None:
            raise _bad("there is a Transfer-Encoding beside the Content-Length")
        if coding.lower() != "chunked":
            text = "the server reads no Transfer-Encoding"
            raise APIProblem(HTTPStatus.NOT_IMPLEMENTED, text)
        text = "the body must have a Content-Length: the server reads no chunks"
        raise APIProblem(HTTPStatus.LENGTH_REQUIRED, text)
    if length is None:
        return 0
    if _LENGTH.fullmatch(length) is None:
        raise _bad("Content-Length must be a number of bytes")
    return int(length)


def _check_host(fields: Mapping[str, str], is_old: bool) -> None:
    host = fields.get("host")
    if host is None:
        if not is_old:
            raise _bad("there is no Host")
    elif _HOST.fullmatch(host) is None:
        raise _bad("Host must be a name or an address, and a port")


def _within(target: str, fields: Mapping[str, str]) -> str:
    """
    The path and the query of a target that is a whole URL, and any other as it is.
    """
    found = _URL.fullmatch(target)
    if found is None:
        return target
    host, path, query = found.groups("")
    if host.lower() != fields.get("host", "").lower():
        raise _bad("Host is another one than that of the URL")
    return f"{path or '/'}{query}"


def _closes(fields: Mapping[str, str]) -> bool:
    options = fields.get("connection", "").lower()
    return "close" in (each.strip(" \t") for each in options.split(","))


def _waits(fields: Mapping[str, str], is_old: bool) -> bool:
    if fields["expect"].lower() != "100-continue":
        text = "the server knows no other Expect than 100-continue"
        raise APIProblem(HTTPStatus.EXPECTATION_FAILED, text)
    return not is_old
