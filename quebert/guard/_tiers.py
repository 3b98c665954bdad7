"""
Internet addresses, and how much harm a request to one of them could do.  Pure.

Theory of operation: an IPv6 address may carry an IPv4 address that a gateway or the
kernel sends the packets to.  So an address is judged by all its L{faces}: itself,
and each IPv4 address that is embedded in it.  The worst face decides.

The tables are our own, since those of C{ipaddress} differ from one Python to the
next.  IPv6 networks that are neither allocated nor listed here are reserved, and so
are forbidden.  Sources: the IANA special-purpose address registries (RFC 6890) and
the documentation of the clouds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import Union

__all__ = ["Address", "Network", "Tier", "face_tier", "faces", "parsed", "tier"]

#: An address of either version of IP.
Address = Union[IPv4Address, IPv6Address]
Network = Union[IPv4Network, IPv6Network]

# Decisions that are remembered: a decision takes up to 30 microseconds.
_REMEMBERED = 4_096


class Tier(IntEnum):
    """
    What an address is, the worse the higher.
    """

    PUBLIC = 0
    #: It is in somebody's own network, or of no use on the internet.
    PRIVATE = 1
    #: No executor is there, but something that a task must not reach.
    FORBIDDEN = 2


_FORBIDDEN_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # "this host": Linux connects to itself
            "100.100.100.200/32",  # metadata of Alibaba Cloud
            "168.63.129.16/32",  # the wire server of Azure
            "169.254.0.0/16",  # link-local; metadata of nearly all clouds
            "192.0.0.192/32",  # metadata of Oracle Cloud Classic
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_PRIVATE_4 = tuple(
    map(
        IPv4Network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared by a provider's customers (RFC 6598)
            "127.0.0.0/8",
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # the former relays of 6to4 (RFC 7526)
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks (RFC 2544)
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
        ),
    )
)
_METADATA_6 = tuple(
    map(
        IPv6Network,
        (
            "fd00:42::42/128",  # Scaleway
            "fd00:100::100:200/128",  # Alibaba Cloud
            "fd00:a9fe:a9fe::1/128",  # Akamai (Linode)
            "fd00:c1::a9fe:a9fe/128",  # Oracle Cloud
            "fd00:ec2::/32",  # Amazon: metadata, credentials of pods, time, DNS
            "fd20:ce::254/128",  # Google Cloud
        ),
    )
)
_TEREDO = IPv6Network("2001::/32")  # RFC 4380
_PRIVATE_6 = (
    *map(
        IPv6Network,
        (
            "::1/128",
            "64:ff9b:1::/48",  # NAT64 of one's own network (RFC 8215)
            "2001:db8::/32",  # documentation
            "3fff::/20",  # documentation (RFC 9637)
            "fc00::/7",  # unique local (RFC 4193)
            "fec0::/10",  # site-local (RFC 3879)
        ),
    ),
    # Protocol assignments (RFC 2928): benchmarks, ORCHID, AMT, AS112.
    *IPv6Network("2001::/23").address_exclude(_TEREDO),
)
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_NAT64_OWN = IPv6Network("64:ff9b:1::/48")
_6TO4 = IPv6Network("2002::/16")  # RFC 3056
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214, section 6.1
# What may be dialled beyond _PRIVATE_6: what is allocated (RFC 4291, section 2.4).
_PUBLIC_6 = (IPv6Network("2000::/3"), _NAT64)


@lru_cache(_REMEMBERED)
def parsed(text: str) -> Address | None:
    """
    The address that C{text} is in the strict spelling of an IPv4 or IPv6 address,
    which may have a zone; else C{None}.
    """
    try:
        return ip_address(text)
    except ValueError:
        return None


@lru_cache(_REMEMBERED)
def tier(address: Address) -> Tier:
    """
    The tier of the worst face of an address.
    """
    return max(map(face_tier, faces(address)))


@lru_cache(_REMEMBERED)
def faces(address: Address) -> tuple[Address, ...]:
    """
    The addresses that packets for C{address} may arrive at.
    """
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:  # another spelling of the same
        return (address.ipv4_mapped,)
    plain = IPv6Address(int(address))  # without a zone
    return (plain, *map(IPv4Address, _embedded(plain)))


def _embedded(address: IPv6Address) -> Iterator[int]:
    """
    The IPv4 addresses in an IPv6 address, as numbers.
    """
    number = int(address)
    last = number & 0xFFFF_FFFF
    if number >> 32 & 0xFFFF_FFFF in _ISATAP:  # whatever its network is
        yield last
    if address in _NAT64:
        yield last
    elif address in _6TO4:
        yield number >> 80 & 0xFFFF_FFFF
    elif address in _TEREDO:
        yield number >> 64 & 0xFFFF_FFFF  # the server
        yield last ^ 0xFFFF_FFFF  # the client
    elif address in _NAT64_OWN:
        yield from _in_own_nat64(number)


def _in_own_nat64(number: int) -> set[int]:
    """
    The IPv4 address may stand in four places (RFC 6052, section 2.2).  A place that
    reads as 0.x.x.x is not the one that is used, unless all read so.
    """
    without_u = number >> 64 << 56 | number & 0xFF_FFFF_FFFF_FFFF  # bits 64 to 71
    places = {without_u >> shift & 0xFFFF_FFFF for shift in (40, 32, 24)}
    places.add(number & 0xFFFF_FFFF)
    return {each for each in places if each >> 24} or {0}


def face_tier(face: Address) -> Tier:
    """
    The tier of one of the L{faces} alone.
    """
    if isinstance(face, IPv4Address):
        if _is_in(face, _FORBIDDEN_4):
            return Tier.FORBIDDEN
        return Tier.PRIVATE if _is_in(face, _PRIVATE_4) else Tier.PUBLIC
    if _is_in(face, _METADATA_6):
        return Tier.FORBIDDEN
    if _is_in(face, _PRIVATE_6):
        return Tier.PRIVATE
    return Tier.PUBLIC if _is_in(face, _PUBLIC_6) else Tier.FORBIDDEN


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
