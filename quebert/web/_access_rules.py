"""
Which requests are let in: by a token, or to read, from this machine.  Pure.

Theory of operation.  A token is in no cookie, so no other page can have a browser send
a token.  Only a request to read, from this machine, needs none.  Three checks keep web
pages and clients of a proxy from such a request.

  - A browser tells in C{Sec-Fetch-Site} and C{Origin} where a request comes from.
  - A page whose name leads to our address ("DNS rebinding") has that name as its
    C{Host}.  Programs of this machine use C{localhost} or an address of the loopback.
  - Most proxies add a header such as C{X-Forwarded-For}.  nginx adds none unless it is
    told to, and passes the address of the upstream as C{Host}; but nginx speaks
    HTTP/1.0 to the upstream then, which browsers, curl and Prometheus do not.

The third check is a safety net: a proxy that adds no header can be set up to look like
a program of this machine.  Behind a proxy, C{open_reading} should be false.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

import attrs

from quebert.functions.admission import host_name
from quebert.web._exchange import APIProblem, APIRequest
from quebert.web._tokens import Grant, Tokens

__all__ = ["AccessRules", "not_allowed"]

_PROXIED = (
    *("forwarded", "via", "cdn-loop", "cf-connecting-ip", "true-client-ip"),
    *("x-client-ip", "x-cluster-client-ip", "x-original-forwarded-for", "x-real-ip"),
)
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::([0-9]*))?", re.I)
_BEARER = re.compile(r"bearer +([!-~]+) *", re.I)
_REALM = ("WWW-Authenticate", 'Bearer realm="quebert"')
_NEEDED = "a token is needed, as Authorization: Bearer TOKEN"
_UNKNOWN = "this token is not known: it is mistyped, or its line was deleted"
_PORTS = {"http": "80", "https": "443"}


def _names(given: Iterable[str]) -> frozenset[str]:
    return frozenset(map(host_name, given))


@attrs.frozen
class AccessRules:
    """
    Judges requests.

    @ivar tokens: the known tokens.
    @ivar open_reading: whether programs of this machine may read without a token.
    @ivar hosts: names of this machine, as C{Host}, by which they may do so.
    """

    tokens: Tokens
    open_reading: bool = True
    hosts: frozenset[str] = attrs.field(factory=frozenset, converter=_names)

    def grant(self, request: APIRequest) -> Grant:
        """
        The rights of a request.

        @raise APIProblem: the request has no rights.
        """
        self._check_same_origin(request)
        given = request.headers.get("authorization")
        if given is not None:
            return self._by_token(given)
        if self.open_reading and self._is_from_here(request):
            return Grant("", frozenset(["read"]))
        raise APIProblem(HTTPStatus.UNAUTHORIZED, _NEEDED, _REALM)

    def _by_token(self, given: str) -> Grant:
        token = _BEARER.fullmatch(given)
        found = None if token is None else self.tokens.find(token[1])
        if found is None:
            realm = _REALM[0], f'{_REALM[1]}, error="invalid_token"'
            raise APIProblem(HTTPStatus.UNAUTHORIZED, _UNKNOWN, realm)
        return found

    def _check_same_origin(self, request: APIRequest) -> None:
        site = request.headers.get("sec-fetch-site", "none")
        origin, host = request.headers.get("origin"), request.headers.get("host", "")
        is_ours = origin is None or _is_of(origin, host)
        if site not in ("same-origin", "none") or not is_ours:
            raise APIProblem(HTTPStatus.FORBIDDEN, "another web page asks for this")

    def _is_from_here(self, request: APIRequest) -> bool:
        address = request.caller.address  # none where there is a Unix socket
        if address and not _is_loopback(address):
            return False
        if request.version != "HTTP/1.1":  # no browser does, nor curl, nor Prometheus
            return False
        for name in request.headers:
            if name in _PROXIED or name.startswith("x-forwarded-"):
                return False
        return self._knows(request.headers.get("host", ""))

    def _knows(self, host: str) -> bool:
        """
        Whether no page of another site can have been read from a C{Host}.
        """
        parts = _HOST.fullmatch(host.strip())
        if parts is None:
            return False
        name = parts[1].lower().strip("[]").removesuffix(".")
        is_ours = name == "localhost" or name.endswith(".localhost")
        return is_ours or name in self.hosts or _is_loopback(name)


def not_allowed(grant: Grant, right: str) -> APIProblem:
    """
    The problem to answer with if C{grant} lacks a right.
    """
    if not grant.name:  # there was no token
        return APIProblem(HTTPStatus.UNAUTHORIZED, _NEEDED, _REALM)
    text = f"the token does not allow to {right}"
    return APIProblem(HTTPStatus.FORBIDDEN, text)


def _is_loopback(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _is_of(origin: str, host: str) -> bool:
    """
    Whether a page of C{origin} has come from C{host}.
    """
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return False
    given = _HOST.fullmatch(host.strip())
    if given is None or parts.hostname is None:
        return False
    default = _PORTS.get(parts.scheme, "")
    ours = given[1].lower().strip("[]"), given[2] or default
    return (parts.hostname.lower(), str(port or default)) == ours
