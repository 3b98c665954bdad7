"""
Which requests an executor takes tasks from.

With a secret: those that are signed, and were not here before; whoever made the
signature is trusted, whatever else the request says.

Without one: any but those that a web browser could be made to send.  A page of any
site can have the browser of its visitor POST a form to C{http://localhost:8000/}.  Such
a request has one of three types that are no JSON, unless the server allows others; and
browsers add C{Origin} or C{Sec-Fetch-Site}.  A page can also have the DNS lead the name
of its own site to the address of an executor ("DNS rebinding"); the request then has
that name as its C{Host}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Protocol

import attrs
from twisted.web import http
from twisted.web.server import Request

from quebert._text import printable
from quebert.errors import BadSignature, ConfigError
from quebert.executor._answer import ExecutorAnswer
from quebert.guard import parsed
from quebert.signatures import Verifier

__all__ = ["RequestFilter", "SignedOnly", "Unsigned", "host_name"]

_JSON = re.compile(rb"[ \t]*application/(?:[!-.0-:<-~]+\+)?json[ \t]*(?:;.*)?", re.I)
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::[0-9]*)?", re.I)
_NAME = re.compile(r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+", re.I)
#: RFC 9110, section 15.5.20.
_MISDIRECTED = 421
# Characters of a host that are told: somebody else has chosen them.
_SHOWN = 100


class RequestFilter(Protocol):
    """
    Judges requests.
    """

    def refusal(self, request: Request, body: bytes) -> ExecutorAnswer | None:
        """
        What a request is answered with that is refused.
        """


@attrs.frozen
class SignedOnly:
    """
    Lets in what C{verifier} does.
    """

    verifier: Verifier

    def refusal(self, request: Request, body: bytes) -> ExecutorAnswer | None:
        """
        401 unless the request is signed.
        """
        try:
            self.verifier.verify(_headers(request), body)
        except BadSignature as e:
            request.setHeader("WWW-Authenticate", "Standard-Webhooks")
            return ExecutorAnswer.text(http.UNAUTHORIZED, str(e))
        return None


def _headers(request: Request) -> list[tuple[str, str]]:
    return [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, values in request.requestHeaders.getAllRawHeaders()
        for value in values
    ]


def host_name(name: str) -> str:
    """
    A name that requests may have as their host, or C{"*"} for any.

    @raise ConfigError: it is none.
    """
    if name != "*" and not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r:.60} must be the name of a host without a port, or * for any"
        )
    return name.lower()


class Unsigned:
    """
    Lets in what no web page can have sent.

    @param hosts: names that requests may have as their host, or C{"*"} for any.
        Addresses, names without a dot and those of this machine, C{*.localhost}, they
        may have anyway: no site has such a name.
    @raise ConfigError: one of them is none.
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        if isinstance(hosts, str):
            raise ConfigError("hosts must be a list of names")
        self._hosts = frozenset(map(host_name, hosts))

    def refusal(self, request: Request, body: bytes) -> ExecutorAnswer | None:
        """
        403, 421 or 415 for what a web page could have sent.
        """
        values: Any = request.requestHeaders.getRawHeaders
        site = values(b"Sec-Fetch-Site", [b"none"])
        if values(b"Origin") or any(each != b"none" for each in site):
            sentence = (
                "the request comes from a web page (it has Origin or Sec-Fetch-Site)"
            )
            return ExecutorAnswer.text(http.FORBIDDEN, sentence)
        for each in values(b"Host", []):
            host = each.decode("latin-1")
            if not self._knows(host):
                return ExecutorAnswer.text(_MISDIRECTED, _unknown(host))
        types = values(b"Content-Type", [])
        if not types or not all(map(_JSON.fullmatch, types)):
            sentence = "a task must have the header Content-Type: application/json"
            return ExecutorAnswer.text(http.UNSUPPORTED_MEDIA_TYPE, sentence)
        return None

    def _knows(self, host: str) -> bool:
        if "*" in self._hosts:
            return True
        parts = _HOST.fullmatch(host.strip())
        if parts is None:
            return False
        address, name = parts.groups()
        if address is not None:
            return parsed(address) is not None
        name = name.lower().removesuffix(".")
        return (
            "." not in name
            or name.endswith(".localhost")
            or name in self._hosts
            or parsed(name) is not None
        )


def _unknown(host: str) -> str:
    name = printable(host[:_SHOWN])
    return f"no task is taken for the host {name}: --allow-host=NAME allows a name"
