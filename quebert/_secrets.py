"""
Secrets of a request, and how they are hidden where they come back.  Pure.

An executor may say in its answer what it was sent, and a hook in its exception.  The
beginning of an answer is kept with a dead letter, and an exception is logged.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
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
    "without_cut_off",
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
# An escape in JSON (RFC 8259, section 7) of a character, or of two that are one.
_ESCAPE = re.compile(
    r"\\(?:u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|u([0-9a-f]{4})|([/\"\\bfnrt]))",
    re.ASCII | re.IGNORECASE,
)
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
# The number of no character, which Python may refuse to read.
_NO_ENTITY = re.compile("&#[xX]?[0-9a-fA-F]{8,};?")
# Of a character in UTF-8, of an escape in JSON, or in HTML, the beginning at the end of
# a text.
_HALF_CHARACTER = re.compile("[\udc80-\udcff]{1,3}\\Z")
_HALF_ESCAPE = re.compile(
    r"\\(?:u(?:[0-9a-f]{0,3}|d[89ab][0-9a-f]{2}(?:\\(?:u[0-9a-f]{0,3})?)?))?\Z",
    re.ASCII | re.IGNORECASE,
)
_HALF_ENTITY = re.compile(r"&#?\w{0,8}\Z", re.ASCII)
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
    # Of each header in turn, so that one with many leaves some for others.
    in_turn = chain.from_iterable(zip_longest(*map(_parts, values), fillvalue=""))
    yield from islice(filter(None, in_turn), _PARTS)


def _parts(value: str) -> list[str]:
    """
    The values of the pairs in a header like C{Cookie}, but for those that are too
    short.
    """
    pairs = (pair.partition("=")[2].strip() for pair in value.split(";", _PARTS))
    return [each for each in pairs if len(each) >= _SHORTEST]


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
    C{text} without C{secrets}, however JSON or HTML spells them.
    """
    if isinstance(text, bytes):
        shown = hide(text.decode("utf-8", "surrogateescape"), secrets)
        return shown.encode("utf-8", "surrogateescape")
    found = {each for each in secrets if len(each) >= _SHORTEST}
    if not found:
        return text
    # One may contain another.
    longest_first = sorted(found, key=len, reverse=True)
    shown = _without(text, longest_first)
    for read in _READINGS:
        other = read(shown)
        if other != shown and (hidden := _without(other, longest_first)) != other:
            shown = hidden
    return shown


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def _read_json(text: str) -> str:
    """
    A text as a reader of JSON takes it, but for halves of surrogate pairs.
    """
    return _ESCAPE.sub(_escaped, text) if "\\" in text else text


def _escaped(found: re.Match[str]) -> str:
    high, low, single, itself = found.groups()
    if itself:
        return _CONTROLS.get(itself, itself)
    if high:
        pair = (int(high, 16) - 0xD800 << 10) + int(low, 16) - 0xDC00
        return chr(0x10000 + pair)
    code = int(single, 16)
    return found[0] if 0xD800 <= code < 0xE000 else chr(code)


def _read_html(text: str) -> str:
    return html.unescape(_NO_ENTITY.sub("\ufffd", text)) if "&" in text else text


_READINGS = (_read_json, _read_html)


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
    shown = hide(text, secrets)[:size].decode("utf-8", "surrogateescape")
    return without_cut_off(shown, secrets).encode("utf-8", "surrogateescape")


def without_cut_off(text: str, secrets: Iterable[str]) -> str:
    """
    C{text} without the beginning of a secret at its end.
    """
    found = sorted(each for each in secrets if len(each) >= _SHORTEST)
    whole = _HALF_CHARACTER.sub("", text)
    for reading in (
        whole,
        _read_json(_HALF_ESCAPE.sub("", whole)),
        _read_html(_HALF_ENTITY.sub("", whole)),
    ):
        cut = _cut_off(reading, found)
        if cut < len(reading):
            return reading[:cut] + HIDDEN
    return text


def _cut_off(text: str, found: Sequence[str]) -> int:
    """
    Where a text that is C{found}, in their order, begins of which the rest is missing;
    the length of C{text} where none does.
    """
    cut = len(text)
    for begin in {each[:_SHORTEST] for each in found}:
        for place in re.finditer(f"(?={re.escape(begin)})", text):
            at = place.start()
            if at < cut and _is_beginning(text[at:], found):
                cut = at
                break
    return cut


def _is_beginning(text: str, found: Sequence[str]) -> bool:
    """
    Whether one of the texts that are C{found}, in their order, begins with C{text}.
    """
    at = bisect_left(found, text)
    return at < len(found) and found[at].startswith(text)
