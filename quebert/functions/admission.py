"""
Which requests an executor takes tasks from.  Pure.

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
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Protocol

import attrs

from quebert._text import printable
from quebert.errors import BadSignature, ConfigError
from quebert.functions._answer import ExecutorAnswer
from quebert.guard import parsed
from quebert.signatures import Verifier

__all__ = [
    "METHODS",
    "Fields",
    "RequestFilter",
    "SignedOnly",
    "Unsigned",
    "host_name",
    "method_refusal",
]

#: The methods by which tasks come.
METHODS = ("POST", "PUT", "PATCH")

_JSON = re.compile(r"[ \t]*application/(?:[!-.0-:<-~]+\+)?json[ \t]*(?:;.*)?", re.I)
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::[0-9]*)?", re.I)
_NAME = re.compile(r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+", re.I)
# Characters of a host that are told: somebody else has chosen them.
_SHOWN = 100
#: Names and values as they came, in which each character stands for a byte (latin-1).
Fields = Sequence[tuple[str, str]]


class RequestFilter(Protocol):
    """
    Judges requests.
    """

    def refusal(self, headers: Fields, body: bytes) -> ExecutorAnswer | None:
        """
        What a request is answered with that is refused.
        """


@attrs.frozen
class SignedOnly:
    """
    Lets in what a verifier does.

    @ivar verifier: that.
    """

    verifier: Verifier

    def refusal(self, headers: Fields, body: bytes) -> ExecutorAnswer | None:
        """
        401 unless the request is signed.
        """
        try:
            self.verifier.verify(headers, body)
        except BadSignature as e:
            scheme = ("WWW-Authenticate", "Standard-Webhooks")
            return ExecutorAnswer.text(HTTPStatus.UNAUTHORIZED, str(e), scheme)
        return None


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
    @param hint: how a name is allowed, for who reads a refusal.
    @raise ConfigError: one of them is none.
    """

    def __init__(
        self, hosts: Iterable[str] = (), hint: str = "--allow-host=NAME"
    ) -> None:
        if isinstance(hosts, str):
            raise ConfigError("hosts must be a list of names")
        self._hosts = frozenset(map(host_name, hosts))
        self._hint = hint

    def refusal(self, headers: Fields, body: bytes) -> ExecutorAnswer | None:
        """
        403, 421 or 415 for what a web page could have sent.
        """
        sites = _values(headers, "sec-fetch-site")
        if _values(headers, "origin") or any(site != "none" for site in sites):
            sentence = (
                "the request comes from a web page (it has Origin or Sec-Fetch-Site)"
            )
            return ExecutorAnswer.text(HTTPStatus.FORBIDDEN, sentence)
        for host in _values(headers, "host"):
            if not self._knows(host):
                text = self._unknown(host)
                return ExecutorAnswer.text(HTTPStatus.MISDIRECTED_REQUEST, text)
        types = _values(headers, "content-type")
        if not types or not all(map(_JSON.fullmatch, types)):
            sentence = "a task must have the header Content-Type: application/json"
            return ExecutorAnswer.text(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, sentence)
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

    def _unknown(self, host: str) -> str:
        name = printable(host[:_SHOWN])
        return f"no task is taken for the host {name}: {self._hint} allows a name"


def _values(headers: Fields, name: str) -> list[str]:
    return [value for each, value in headers if each.lower() == name]


def method_refusal(method: str) -> ExecutorAnswer | None:
    """
    405 for a method that brings no tasks.
    """
    if method in METHODS:
        return None
    sentence = f"a task comes by POST, PUT or PATCH, not by {method:.20}"
    allow = ("Allow", ", ".join(METHODS))
    return ExecutorAnswer.text(HTTPStatus.METHOD_NOT_ALLOWED, sentence, allow)
