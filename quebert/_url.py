"""
From the URL in a task to one that can be requested.  Pure.

An error does not quote the URL, since the URL may hold a password.  Anybody who can
publish chooses the URL, so no function here takes more than linear time.
"""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from ipaddress import IPv6Address
from urllib.parse import quote, unquote_to_bytes, urljoin

from quebert._host import to_ascii, wrong_with
from quebert.errors import ConfigError, NoDefaultURL

__all__ = [
    "REMEMBERED",
    "SHORT",
    "absolute",
    "check_default",
    "default_option",
    "is_plain",
    "normal",
    "origin_of",
    "without_dot",
    "without_userinfo",
]

# Nearly every URL there is: it needs no more than this look, and one at its host.
_PLAIN = re.compile(
    r"http(s?)://([a-z0-9._-]+)(?::([1-9][0-9]{0,4}))?(?:/[!$-;=?-\[\]_a-z~]*)?",
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
_HTTP = re.compile(r"https?://", re.ASCII | re.IGNORECASE)
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]")
_BEFORE_USERINFO = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//", re.ASCII | re.IGNORECASE)
# All that RFC 3986 lets stand in a path and a query, and what is encoded.
_SAFE = "!#$%&'()*+,/:;=?@[]~"
_DEFAULT_PORTS = (("http:", ":80"), ("https:", ":443"))
#: URLs of which something is remembered: most tasks of a queue have the same.
REMEMBERED = 256
#: Characters of these at most: anybody can write long ones.
SHORT = 500


def origin_of(url: str) -> str:
    """
    The origin of an absolute URL, such as C{"https://example.com:8443"}, in the one
    spelling by which its limits are known: without the port where it is the usual one,
    and without a dot at the end of the host.
    """
    return _remembered_origin(url) if len(url) <= SHORT else _origin_in(url)


def _origin_in(url: str) -> str:
    end = url.find("/", url.find("://") + 3)
    return without_dot(normal(url if end < 0 else url[:end]))


_remembered_origin = lru_cache(REMEMBERED)(_origin_in)


def without_dot(origin: str) -> str:
    """
    A host or an origin, with or without a port, without a dot at the end of the host.
    """
    return origin.replace(".:", ":").removesuffix(".")


def normal(origin: str) -> str:
    """
    The same, but with the dot, since the DNS may know another host by that name.
    """
    origin = origin.lower()
    for scheme, port in _DEFAULT_PORTS:
        if origin.startswith(scheme):
            origin = origin.removesuffix(port)
    return origin


def absolute(url: str, default: str) -> tuple[str, dict[str, str]]:
    """
    The URL to request, completed from C{default} and in ASCII (RFC 3987,
    section 3.1), and the header that carries its user and password.

    @param default: an absolute URL, or C{""} where there is none.
    @raise NoDefaultURL: C{url} is partial, and there is no C{default}.
    @raise ValueError: C{url} cannot be requested; the text says why.
    """
    if is_plain(url):
        return url, {}
    if _UNSAFE.search(url):
        raise ValueError("it contains a space or control character")
    whole = url if _SCHEME.match(url) else _joined(default, url)
    if is_plain(whole):
        return whole, {}
    if not _HTTP.match(whole):
        raise ValueError("it must begin with http:// or https://")
    parts = _PARTS.fullmatch(whole)
    if not parts or not 0 < int(parts["port"] or 80) < 65536:
        raise ValueError("it needs a host, and a port from 1 to 65535")
    if "\\" in whole[: parts.start("target")]:  # some programs take it for a slash
        raise ValueError("a backslash cannot stand before its path")
    return _encoded(parts), _authorization(parts["userinfo"])


def check_default(url: object) -> str:
    """
    A URL that completes the partial ones of tasks: C{url}, if it can.

    @raise ValueError: it is no absolute HTTP URL, or one that cannot be requested; the
        text goes on from a name of it, and gives an example.
    """
    why = _fault(url) if isinstance(url, str) else _NO_URL
    if isinstance(url, str) and not why:
        return url
    text = f"must be an HTTP URL, such as {_example(url)}"
    raise ValueError(text if why == _NO_URL else f"{text}: {why}")


_NO_URL = "it is none"


def _fault(url: str) -> str:
    """
    Why a URL completes no partial ones; empty where it can.
    """
    given = _PARTS.fullmatch(url)
    if given is None or given["port"] == "":  # as in http://http://localhost
        return _NO_URL
    try:
        absolute(url, "")
        absolute("/", url)
    except ValueError as e:
        return str(e)
    return ""


def default_option(name: str, url: str) -> str:
    """
    The value C{url} of an option, as L{check_default} takes it.

    @raise ConfigError: it is wrong; the text has the option, without a password.
    """
    try:
        return check_default(url)
    except ValueError as e:
        raise ConfigError(f"{name}={without_userinfo(str(url))[:100]} {e}") from None


def _example(url: object) -> str:
    """
    The HTTP URL that was probably meant by C{url}; else any HTTP URL.
    """
    if isinstance(url, str):
        guess = f"http://{url.rpartition('//')[2]}"
        if "@" not in guess and len(guess) < 100 and not _fault(guess):
            return guess if guess.count("/") > 2 else f"{guess}/"
    return "http://localhost:8000/"


@lru_cache(REMEMBERED)  # long ones, too: the URL of a task has 8 KB at most
def is_plain(url: str) -> bool:
    """
    Whether a first look shows that a URL can be requested as it is, as nearly always.
    L{absolute} decides about the others.
    """
    plain = _PLAIN.fullmatch(url)
    if plain is None or int(plain[3] or 80) > 65535:
        return False
    return not wrong_with(plain[2], plain[1] != "")


def without_userinfo(url: str) -> str:
    """
    A URL, well formed or not, as a log may show it.
    """
    if url[:1] in ("/", "?", "#") and url[:2] != "//":
        return url  # it has no user: an @ is a part of the path or the query
    parts = _PARTS.fullmatch(url)
    if parts and parts["userinfo"] is None:
        return url
    if parts:
        return f"{parts['scheme']}://...@{url[parts.end('userinfo') + 1 :]}"
    # Up to the last @: where a URL is malformed, a password may hold anything.
    before, at, after = url.rpartition("@")
    if not at:
        return url
    start = _BEFORE_USERINFO.match(before)
    return f"{start[0] if start else ''}...@{after}"


def _joined(default: str, url: str) -> str:
    if not default:
        raise NoDefaultURL("it is partial, and this mediator has no default URL")
    if url.startswith("//"):  # urljoin() would take quadratic time for some hosts
        return default.partition("//")[0] + url
    try:
        return urljoin(default, url)
    except ValueError:
        raise ValueError("it is not well formed") from None


def _encoded(parts: re.Match[str]) -> str:
    scheme, port = parts["scheme"].lower(), parts["port"]
    host = to_ascii(parts["host"])
    if why := wrong_with(host, scheme == "https"):
        raise ValueError(why)
    if host.startswith("["):  # it has hundreds of spellings
        host = f"[{IPv6Address(host[1:-1])}]"
    try:
        target = quote(parts["target"], safe=_SAFE)
    except UnicodeError:
        raise ValueError("it holds characters that no URL can") from None
    if not target.startswith("/"):
        target = "/" + target
    port = f":{int(port)}" if port else ""
    return f"{scheme}://{host}{port}{target}"


def _authorization(userinfo: str | None) -> dict[str, str]:
    """
    User and password as RFC 7617 has them.
    """
    if not userinfo:
        return {}
    user, _, password = userinfo.partition(":")
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
