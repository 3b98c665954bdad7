"""
URLs, hosts and the guard: what is dialled for a URL, compared with C{urllib},
C{ipaddress} and the C library.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.address import IPv4Address as TCPAddress
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IHostnameResolver
from twisted.python.failure import Failure
from zope.interface import implementer

from quebert._text import shown_url
from quebert._url import absolute, check_default, without_userinfo
from quebert.errors import ConfigError, ExecutorError
from quebert.guard import Address, Guard, Place, parsed
from quebert.guard._tiers import Tier, tier
from quebert.http import Agent
from quebert.test.doubles import MemoryReactor, Resolution
from quebert.test.fuzz.choices import Choices

__all__ = ["check"]

_DEFAULTS = ("", "http://localhost:8000/base/file?query", "https://[::1]/a/b")
_SECRET = "s3cr3t"
_CONTROL = re.compile(r"[\x00-\x20\x7f-\xff]")
#: Where the resolver leads every name.
_SOMEWHERE = "93.184.216.34"
_STRICT = Guard(private="refuse")
#: The first 96 bits of addresses that NAT64 translates, which ipaddress calls reserved.
_NAT64 = 0x64FF9B << 64


def check(data: bytes) -> None:
    """
    The first byte chooses what the others are.
    """
    choices = Choices(data)
    _KINDS[choices.octet() % len(_KINDS)](choices)


# -- URLs


def _task_url(choices: Choices) -> None:
    default = choices.pick(_DEFAULTS)
    # As JSON can have them: with halves of surrogate pairs.
    url = choices.rest().decode("utf-8", "surrogateescape")
    for shown in (without_userinfo(url), shown_url(url)):
        assert len(shown) <= len(url) + 10
    try:
        whole, headers = absolute(url, default)
    except ValueError:
        _check_client(url)
        return
    assert whole.isascii(), whole
    assert not _CONTROL.search(whole), whole
    assert set(headers) <= {"Authorization"}
    assert absolute(whole, "") == (whole, {}), whole
    parts = urlsplit(whole)
    assert parts.scheme.lower() in ("http", "https"), whole
    assert "@" not in parts.netloc, whole
    assert "\\" not in parts.netloc, whole
    host = parts.hostname
    assert host, whole
    _check_host(host)
    dialled = _dialled(whole)
    assert len(dialled) <= 1, dialled
    port = parts.port or {"http": 80, "https": 443}[parts.scheme.lower()]
    literal = parsed(host)
    if literal is None:
        assert dialled == [(_SOMEWHERE, port, host)], (dialled, whole)
    elif _is_refused(literal):
        assert dialled == [], (dialled, whole)
    for address, _, _ in dialled:
        assert not _is_refused(ip_address(address)), whole


def _check_host(host: str) -> None:
    """
    A host that the C library reads as an address is one in the usual spelling.
    """
    try:
        meant = IPv4Address(socket.inet_aton(host))
    except OSError:
        return
    assert str(meant) == host, host


def _check_client(url: str) -> None:
    """
    What is no URL for a task, the client dials nothing private for, either.
    """
    try:
        url.encode("ascii")
    except UnicodeError:
        return
    for address, _, _ in _dialled(url):
        assert not _is_refused(ip_address(address)), url


def _dialled(url: str) -> list[tuple[str, int, str]]:
    """
    The addresses and ports that a guarded client dials for a URL, each with the name
    that was looked up.
    """
    reactor: Any = MemoryReactor()
    resolver = _Resolver()
    reactor.nameResolver = resolver
    sent: Any = Agent(reactor, guard=_STRICT).send("GET", url)
    sent.addErrback(_expected)
    dialled = [(each[0], each[1]) for each in reactor.tcpClients]
    name = resolver.asked[0] if resolver.asked else ""
    assert len(resolver.asked) <= 1
    sent.cancel()
    return [(host, port, name) for host, port in dialled]


def _expected(failure: Failure) -> None:
    failure.trap(ExecutorError, ConnectingCancelledError)


@implementer(IHostnameResolver)
class _Resolver:
    """
    Leads every name to one public address.

    @ivar asked: the names, in lower case.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []

    def resolveHostName(self, receiver: Any, hostName: str, *rest: Any) -> Any:
        """
        Note the name.
        """
        self.asked.append(hostName.lower())
        try:
            IPv4Address(socket.inet_aton(hostName))
        except OSError:
            address = _SOMEWHERE
        else:
            address = "127.0.0.1"  # whatever it is, it should not have come here
        resolution = Resolution(hostName)
        receiver.resolutionBegan(resolution)
        receiver.addressResolved(TCPAddress("TCP", address, 0))
        receiver.resolutionComplete()
        return resolution


def _secret_url(choices: Choices) -> None:
    """
    No password is shown.
    """
    scheme = choices.pick(("http", "https", "ftp", "HTTP", "x"))
    before, after, host = choices.text(), choices.text(), choices.text()
    url = f"{scheme}://{before}:{_SECRET}{after}@{host}"
    authority = re.split("[/?#]", url.partition("//")[2])[0]  # RFC 3986, section 3.2
    if _SECRET in authority.rpartition("@")[0]:
        assert _SECRET not in without_userinfo(url), url
        assert _SECRET not in shown_url(url), url


def _default_url(choices: Choices) -> None:
    url = choices.rest().decode("utf-8", "replace")
    try:
        check_default(url)
    except ValueError as e:
        assert "@" not in str(e), (url, str(e))
        return
    absolute("/", url)


# -- The guard


def _address(choices: Choices) -> None:
    """
    No address that C{ipaddress} knows as special is a public one, in any disguise.
    """
    raw = choices.take(16)
    address: Address
    if len(raw) < 16:
        address = IPv4Address(raw[:4].ljust(4, b"\0"))
    else:
        address = IPv6Address(raw)
    refused = _is_refused(address)
    found = tier(address)
    if refused:
        assert found > Tier.PUBLIC, address
    if _is_forbidden(address):
        assert found is Tier.FORBIDDEN, address
    permitted = _STRICT.permits(address, str(address), 80)
    assert permitted == (found is Tier.PUBLIC)
    if isinstance(address, IPv4Address):
        for disguise in _disguises(int(address)):
            assert tier(disguise) >= found, (disguise, address)


def _disguises(number: int) -> list[IPv6Address]:
    """
    IPv6 addresses that lead to an IPv4 address.
    """
    return [
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address(0x2002 << 112 | number << 80 | 1),
        IPv6Address(0x20010000 << 96 | number << 64 | 0xFFFF_FFFF),
        IPv6Address(0x20010000 << 96 | 0x08080808 << 64 | (number ^ 0xFFFF_FFFF)),
        IPv6Address(0x2A00 << 112 | 0x5EFE << 32 | number),
    ]


def _is_refused(address: Address) -> bool:
    """
    Whether the standard library knows that an address is no public one.  Of one that
    carries another one, only that is asked: Pythons differ about the networks for them.
    """
    if isinstance(address, IPv4Address):
        return _is_special(address)
    if address.ipv4_mapped is not None:
        return _is_special(address.ipv4_mapped)
    if address.sixtofour is not None:
        return _is_special(address.sixtofour)
    if address.teredo is not None:
        return any(map(_is_special, address.teredo))
    return int(address) >> 32 != _NAT64 and _is_special(address)


def _is_special(address: Address) -> bool:
    return (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )


def _is_forbidden(address: Address) -> bool:
    faces: list[Any] = [address]
    if isinstance(address, IPv6Address):
        faces = [address.ipv4_mapped or address, address.sixtofour]
        faces += address.teredo or ()
    return any(
        each is not None
        and (each.is_multicast or each.is_link_local or each.is_unspecified)
        for each in faces
    )


def _place(choices: Choices) -> None:
    """
    A place that can be read is the same when it is read from its own text.
    """
    text = choices.rest().decode("utf-8", "replace")
    for read in (Place.parse, Place.of_proxy):
        try:
            place = read(text)
        except ConfigError as e:
            assert len(str(e)) < 500
        else:
            assert Place.parse(str(place)) == place, text


_KINDS = (_task_url, _secret_url, _default_url, _address, _place)
