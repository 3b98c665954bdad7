"""
Secrets of a request, and how they are hidden where they come back.  Pure.

An executor may say in its answer what it was sent, and a hook in its exception.  The
beginning of an answer is kept with a dead letter, and an exception is logged.
"""

from __future__ import annotations

import html
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import AnyStr
from urllib.parse import unquote, unquote_plus

__all__ = [
    "HIDDEN",
    "LONGEST",
    "NAME",
    "Secret",
    "hide",
    "hide_in_beginning",
    "hide_tokens",
    "in_headers",
    "in_url",
    "masked",
]

#: In names of headers and fields whose values are secrets.
NAME = re.compile(
    "authorization|cookie|token|secret|passw|api[-_]?key|credential|signature",
    re.IGNORECASE,
)
#: Stands in place of a secret.
HIDDEN = "..."
#: Bytes of a secret that is found even where it is cut off.
LONGEST = 8_192
# Characters of the shortest secret that is hidden: a shorter one is in many words.
_SHORTEST = 4
# How many cookies in all headers, or values in one query, are looked for, beside the
# whole.  Each of them costs as much as a whole one.
_PARTS = 100
# All of these look the same in JSON and in HTML.
_PLAIN = re.compile(r"[\w .~:;=?%+,@!#$*()-]*", re.ASCII)
# How HTML is written by Python's html, by MarkupSafe, and by PHP.
_QUOTES = (("&quot;", "&#x27;"), ("&#34;", "&#39;"), ("&quot;", "&#039;"))
_USERINFO = re.compile("//([^/?#]*)@")
_QUERY = re.compile("[?#]")
# A name of a secret in a text that is no JSON: all that follows on the line is hidden.
# Counts are bounded, so that the time is linear.
_SECRET_LINE = re.compile(
    rf"((?:{NAME.pattern})[\w-]{{0,20}}[\"']?\s{{0,8}}[:=]).*", re.IGNORECASE
)
# In JSON, a slash may be escaped.  The last C{@} ends the userinfo.
_ANY_USERINFO = re.compile(r"(\\?/\\?/)[^/\s]*@")
# A JSON Web Token, or the beginning of one: it begins with an object in base64.
_TOKEN = re.compile(rb"eyJ[\w-]*(?:\.[\w-]*){0,2}")
_TEXT_TOKEN = re.compile(_TOKEN.pattern.decode(), re.ASCII)


class Secret(str):
    """
    A text that is a secret.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<a secret>"


def in_headers(headers: Mapping[str, object]) -> Iterator[str]:
    """
    The secrets in headers: those that are known as such, and what is named so.
    """
    values = [
        value
        for name, value in headers.items()
        if isinstance(value, Secret) or (isinstance(value, str) and NAME.search(name))
    ]
    for value in values:
        yield value
        yield value.partition(" ")[2].strip()  # without the scheme
    pairs = (pair for value in values for pair in value.split(";", _PARTS))
    for pair in islice(pairs, _PARTS):
        yield pair.partition("=")[2].strip()


def in_url(url: str) -> Iterator[str]:
    """
    The secrets in a URL: user and password, and the query, with the fragment and
    without, and the values in it that are named so; as they are written, and as an
    executor reads them.
    """
    if (userinfo := _USERINFO.search(url)) is not None:
        for text in (userinfo[1], userinfo[1].partition(":")[2]):
            yield from (text, unquote(text))
    if (begin := _QUERY.search(url)) is not None:
        query = url[begin.end() :]
        yield query
        yield from query.split("#", 1)
        for pair in query.partition("#")[0].split("&", _PARTS):
            name, _, value = pair.partition("=")
            if NAME.search(name):
                yield from (value, unquote(value), unquote_plus(value))


def masked(text: str) -> str:
    """
    A text of any kind, without what is told to be a secret in it: what follows such a
    name, and users and passwords in URLs.
    """
    shown = _ANY_USERINFO.sub(rf"\1{HIDDEN}@", text)
    return _SECRET_LINE.sub(rf"\1 {HIDDEN}", shown)


def hide(text: AnyStr, secrets: Iterable[str]) -> AnyStr:
    """
    C{text} without C{secrets}, as they are, or as they stand in JSON or in HTML.
    """
    # One may contain another.
    for secret in sorted(_spelt(secrets), key=len, reverse=True):
        if isinstance(text, bytes):
            text = text.replace(secret.encode("utf-8", "replace"), HIDDEN.encode())
        else:
            text = text.replace(secret, HIDDEN)
    return text


def _spelt(secrets: Iterable[str]) -> set[str]:
    """
    Those that are not too short, in all their spellings.
    """
    found = {each for each in secrets if len(each) >= _SHORTEST}
    for secret in [each for each in found if not _PLAIN.fullmatch(each)]:
        found.update(_spellings(secret))
    return found


def _spellings(secret: str) -> Iterator[str]:
    """
    A secret as it may stand in a text of JSON (RFC 8259, section 7: a slash may be
    escaped), and in HTML.
    """
    for ascii_alone in (True, False):
        written = json.dumps(secret, ensure_ascii=ascii_alone)[1:-1]
        yield from (written, written.replace("/", "\\/"))
    page = html.escape(secret, quote=False)
    yield page
    for double, single in _QUOTES:
        yield page.replace('"', double).replace("'", single)


def hide_tokens(text: AnyStr) -> AnyStr:
    """
    C{text} without JSON Web Tokens (RFC 7519), whole or cut off.
    """
    if isinstance(text, bytes):
        return _TOKEN.sub(HIDDEN.encode(), text)
    return _TEXT_TOKEN.sub(HIDDEN, text)


def hide_in_beginning(text: bytes, secrets: Iterable[str], size: int) -> bytes:
    """
    The first C{size} bytes of C{text} without C{secrets}, nor the beginning of one that
    is cut off at the end.
    """
    secrets = list(secrets)
    found = sorted({each.encode("utf-8", "replace") for each in _spelt(secrets)})
    shown = hide(text, secrets)[:size]
    cut = len(shown)
    for begin in {each[:_SHORTEST] for each in found}:
        for place in re.finditer(b"(?=%b)" % re.escape(begin), shown):
            at = place.start()
            if at < cut and _is_beginning(shown[at:], found):
                cut = at
                break
    return shown if cut == len(shown) else shown[:cut] + HIDDEN.encode()


def _is_beginning(text: bytes, found: list[bytes]) -> bool:
    """
    Whether one of the texts that are C{found}, in their order, begins with C{text}.
    """
    at = bisect_left(found, text)
    return at < len(found) and found[at].startswith(text)
