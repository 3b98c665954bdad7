"""
Places that a guard's lists name: a network or a host, and perhaps a port.  Pure.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

import attrs

from quebert.errors import ConfigError
from quebert.guard._tiers import Address, Network, parsed

__all__ = ["Place", "normal"]

_PORT = r"(?::(?P<port>[1-9][0-9]{0,4}))?"
_IPV6 = r"(?P<where>[0-9A-Fa-f.]*(?::[0-9A-Fa-f.]*){2,}(?:/[0-9]+)?)"
_PATTERNS = (
    re.compile(_IPV6),
    re.compile(rf"\[{_IPV6}\]{_PORT}"),
    re.compile(rf"(?P<where>[^\s:\[\]]+){_PORT}"),
)
# The IPv4 addresses, as IPv6 spells them (RFC 4291, section 2.5.5.2).
_MAPPED = IPv6Network("::ffff:0:0/96")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# The last label is no number: the resolver would take such a name for an address.
_NAME = re.compile(rf"(?:{_LABEL}\.)*(?!0x|[0-9]+\Z){_LABEL}")
# A proxy that wants a password is not supported.
_PROXY = re.compile(r"http://([^/@]+)/?")
_EXAMPLES = '"10.1.0.0/16", "[fd00::1]:8080" or "svc.internal:8080"'


def normal(host: str) -> str:
    """
    The name of a host, spelt so that equal names are equal texts.
    """
    return host.lower().removesuffix(".")


@attrs.frozen
class Place:
    """
    Some addresses, or what a name stands for.

    @ivar where: a network, or the name of a host.
    @ivar port: C{None} for every port.
    """

    where: Network | str
    port: int | None = None

    @classmethod
    def of(cls, host: str, port: int) -> Place:
        """
        A port of a host, which is a name or an address.
        """
        address = parsed(host)
        if address is None:
            return cls(normal(host), port)
        return cls(_plain(ip_network(address)), port)

    @classmethod
    def of_proxy(cls, url: str) -> Place:
        """
        Where the proxy with this URL listens.  The URL is C{http://host:port}; its
        scheme is not kept.

        @raise ConfigError: it is no such URL; the text goes on from the name of C{url}.
        """
        found = _PROXY.fullmatch(url)
        place = cls.parse(found[1]) if found else None
        if place is None or not place.is_proxy:
            raise ConfigError("must be like http://smokescreen:4750")
        return place

    @classmethod
    def parse(cls, text: str) -> Place:
        """
        Read a network, an address or a name, each with C{:port} or without.

        @raise ConfigError: it is none; the text goes on from the name of C{text}.
        """
        found = next(filter(None, (p.fullmatch(text) for p in _PATTERNS)), None)
        if found is None:
            raise ConfigError(f"must be like {_EXAMPLES}")
        digits = found.groupdict().get("port")
        port = int(digits) if digits else None
        if port is not None and port > 65_535:
            raise ConfigError("must have a port from 1 to 65535")
        return cls(_where(found["where"]), port)

    @property
    def is_one(self) -> bool:
        """
        Whether it is a name or a single address, and no network.
        """
        return isinstance(self.where, str) or self.where.num_addresses == 1

    @property
    def is_proxy(self) -> bool:
        """
        Whether a proxy may listen there: a port of one host.
        """
        return self.is_one and self.port is not None

    @property
    def host(self) -> str:
        """
        The name, or the first address of the network.
        """
        if isinstance(self.where, str):
            return self.where
        return str(self.where.network_address)

    def has_name(self, host: str, port: int) -> bool:
        """
        Whether it is named C{host}, which is L{normal}.
        """
        return self.where == host and self.port in (None, port)

    def has_address(self, address: Address, port: int) -> bool:
        """
        Whether an address is in its network.
        """
        if isinstance(self.where, str) or self.port not in (None, port):
            return False
        return address in self.where

    def __str__(self) -> str:
        where = str(self.where)
        if self.is_one:
            where = where.partition("/")[0]
        if self.port is None:
            return where
        return f"[{where}]:{self.port}" if ":" in where else f"{where}:{self.port}"


def _where(text: str) -> Network | str:
    try:
        return _plain(ip_network(text))
    except ValueError:
        pass
    address, slash, _ = text.partition("/")
    if slash and parsed(address) is not None:
        raise ConfigError(f"must be a network, {_network_of(text)}")
    name = normal(text)
    if _NAME.fullmatch(name):
        return name
    raise ConfigError(f"must be like {_EXAMPLES}")


def _plain(network: Network) -> Network:
    """
    A network, as addresses are looked for in it: IPv4 is not spelt as IPv6.
    """
    if not isinstance(network, IPv6Network) or not network.subnet_of(_MAPPED):
        return network
    number = int(network.network_address) & 0xFFFF_FFFF
    return IPv4Network((number, network.prefixlen - _MAPPED.prefixlen))


def _network_of(text: str) -> str:
    """
    What was probably meant by a network whose address has bits beyond its mask.
    """
    try:
        return f"such as {ip_network(text, strict=False)}"
    except ValueError:
        return "such as 10.1.0.0/16"
