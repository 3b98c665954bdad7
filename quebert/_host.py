"""
Which hosts the HTTP client can request, and where a client is.  Pure.

Theory of operation.  A host is an IPv6 address in brackets, an IPv4 address, or a name.
Browsers take every host whose last label is a number for an IPv4 address (WHATWG URL,
"ends in a number checker"), and many forms of one: C{0x7f.1}, C{0177.0.0.1},
C{2130706433} and C{127.1} are all C{127.0.0.1}.  Other programs look the same forms up
as names.  Nobody calls a host by a number, so only the usual form is taken: four
decimal numbers without leading zeros.

The DNS takes any byte in a label, and the resolver of the C library takes letters,
digits, hyphens and underscores, and no hyphen at the beginning of a name (glibc,
C{res_hnok}).  Names of containers have underscores.  A certificate
is checked for a name by the stricter rules of IDNA 2008 (RFC 5891, section 4.2.3),
which know no underscore.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address

import idna

from quebert._bounds import HOST, LABEL

__all__ = ["network_of", "to_ascii", "wrong_with"]

_LABEL = re.compile(rf"[a-z0-9_-]{{1,{LABEL}}}", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII | re.IGNORECASE)


def to_ascii(host: str) -> str:
    """
    A host in ASCII (RFC 3987, section 3.1), which need not be one that there can be.

    @raise ValueError: it is too long, holds characters that no name can, or becomes an
        address.
    """
    if host.isascii():
        return host
    if _is_too_long(host):
        raise ValueError(_TOO_LONG)
    try:
        mapped = idna.uts46_remap(host, std3_rules=False, transitional=False)
        # More than linear time is spent on each label, and none becomes shorter now.
        if any(len(label) > LABEL for label in mapped.split(".")):
            raise ValueError(_LONG_LABEL)
        name = idna.encode(mapped).decode("ascii")
    except UnicodeError:  # idna's errors are such, too
        raise ValueError("its host holds characters that no name can") from None
    if _ends_in_number(name):  # written with the digits or dots of another script
        raise ValueError(_NO_IPV4)
    return name


# A hostile name takes 0.1 ms, and most tasks go to few hosts.
@lru_cache(maxsize=1_024)
def wrong_with(host: str, tls: bool) -> str:
    """
    Why no request can be made to a host, in a sentence; empty when one can be made.

    @param host: in ASCII, as it is in a URL.
    @param tls: whether its certificate is to be checked.
    """
    if host.startswith("["):
        return "" if _is_ipv6(host) else _NO_IPV6
    if _is_too_long(host):
        return _TOO_LONG
    labels = host.removesuffix(".").split(".")
    if host.startswith("-") or not all(map(_LABEL.fullmatch, labels)):
        return _NO_NAME
    if _ends_in_number(host):
        return "" if _is_ipv4(host) else _NO_IPV4
    return _NO_TLS if tls and not _has_certificates(host) else ""


_TOO_LONG = f"its host is longer than {HOST} characters"
_LONG_LABEL = f"its host has more than {LABEL} characters without a dot"
_NO_NAME = (
    "its host must be letters, digits, hyphens and underscores, without a hyphen at its"
    f" beginning, and with dots between labels of 1 to {LABEL} characters"
)
_NO_IPV4 = (
    "its host ends in a number, and must be an IPv4 address such as 192.0.2.1,"
    " or a name"
)
_NO_IPV6 = "its host in brackets must be an IPv6 address such as [2001:db8::1]"
_NO_TLS = (
    "its host must be a name that IDNA allows, since it begins with https:"
    " no underscore, and a hyphen only between other characters, not in the third"
    " and fourth place"
)


def _is_too_long(host: str) -> bool:
    return len(host) - host.endswith(".") > HOST


def _ends_in_number(host: str) -> bool:
    last = host.removesuffix(".").rpartition(".")[2]
    return _NUMBER.fullmatch(last) is not None


def _is_ipv4(host: str) -> bool:
    try:
        return bool(IPv4Address(host).packed)
    except AddressValueError:
        return False


def _is_ipv6(host: str) -> bool:
    try:
        return host.endswith("]") and bool(IPv6Address(host[1:-1]).packed)
    except AddressValueError:
        return False


def _has_certificates(host: str) -> bool:
    try:
        return bool(idna.encode(host))
    except UnicodeError:
        return False


def network_of(host: str) -> str:
    """
    Where a client is, as far as one person may have many addresses there: the 64 bits
    of an IPv6 network, or all of any other address.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    mapped = address.ipv4_mapped
    return address.exploded[:19] if mapped is None else str(mapped)
