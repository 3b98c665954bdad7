"""
From the URL in a task to one that can be requested.  Pure.

What can be wrong with one is told without quoting it: it may hold a password.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import quote, unquote_to_bytes, urljoin

import idna

__all__ = ["absolute", "without_userinfo"]

# Nearly every URL there is: it needs no more than this look.
_PLAIN = re.compile(
    r"https?://[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?(?::([0-9]{1,5}))?"
    r"(?:/[!$-;=?-\[\]_a-z~]*)?",
    re.ASCII | re.IGNORECASE,
)
_PARTS = re.compile(
    r"(?P<scheme>https?)://"
    r"(?:(?P<userinfo>[^/?#]*)@)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[^/?#:@\[\]]+)"
    r"(?::(?P<port>[0-9]{0,5}))?"
    r"(?P<target>(?:[/?][^#]*)?)"
    r"(?:#.*)?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.ASCII | re.IGNORECASE)
_OURS = re.compile(r"https?://", re.ASCII | re.IGNORECASE)
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]")
# Up to the last @: a password may hold anything, where a URL is malformed.
_USERINFO = re.compile(r"((?:[a-z][a-z0-9+.-]*:)?//)?.*@", re.IGNORECASE | re.DOTALL)
# All that RFC 3986 lets stand in a path and a query, and what is encoded.
_SAFE = "!#$%&'()*+,/:;=?@[]~"


def absolute(url: str, default: str) -> tuple[str, dict[str, str]]:
    """
    The URL to request, completed from C{default} and in ASCII (RFC 3987,
    section 3.1), and the header that carries its user and password.

    @raise ValueError: it cannot be requested; the text says why.
    """
    if _is_plain(url):
        return url, {}
    if _UNSAFE.search(url):
        raise ValueError("it contains a space or control character")
    whole = url if _SCHEME.match(url) else _joined(default, url)
    if _is_plain(whole):
        return whole, {}
    if not _OURS.match(whole):
        raise ValueError("it must begin with http:// or https://")
    parts = _PARTS.fullmatch(whole)
    if not parts or not 0 < int(parts["port"] or 80) < 65536:
        raise ValueError("it needs a host, and a port from 1 to 65535")
    return _encoded(parts), _authorization(parts["userinfo"])


def _is_plain(url: str) -> bool:
    plain = _PLAIN.fullmatch(url)
    return plain is not None and 0 < int(plain[1] or 80) < 65536


def without_userinfo(url: str) -> str:
    """
    A URL, well formed or not, as a log may show it.
    """
    return _USERINFO.sub(lambda found: (found[1] or "") + "...@", url, count=1)


def _joined(default: str, url: str) -> str:
    try:
        return urljoin(default, url)
    except ValueError:
        raise ValueError("it is not well formed") from None


def _encoded(parts: re.Match[str]) -> str:
    host, port, target = parts["host"], parts["port"], parts["target"]
    try:
        if not host.isascii():
            host = idna.encode(host, uts46=True).decode("ascii")
        target = quote(target, safe=_SAFE)
    except UnicodeError:  # idna's errors are such, too
        raise ValueError("it holds characters that no URL can") from None
    if not target.startswith("/"):
        target = "/" + target
    return f"{parts['scheme'].lower()}://{host}{':' + port if port else ''}{target}"


def _authorization(userinfo: str | None) -> dict[str, str]:
    """
    User and password as RFC 7617 has them.
    """
    if not userinfo:
        return {}
    user, _, password = userinfo.partition(":")
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
