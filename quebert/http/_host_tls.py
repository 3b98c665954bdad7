"""
TLS towards executors: for some hosts, authorities and certificates of their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

import attrs
from OpenSSL.SSL import Connection
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from quebert._tls import creator
from quebert.config import TLS
from quebert.errors import ConfigError

__all__ = ["HostTLS"]

_NONE: Mapping[str, TLS] = MappingProxyType({})


@implementer(IOpenSSLClientConnectionCreator)
class _Renewing:
    """
    Makes TLS connections to a host with files that may be renewed: they are looked at
    for each connection, and read when they have changed.

    @raise ConfigError: a file cannot be used.
    """

    def __init__(self, tls: TLS, host: str) -> None:
        self._tls = tls
        self._host = host
        self._seen = self._look()
        self._creator = creator(tls, host)

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> Connection:
        """
        Make a connection.
        """
        seen = self._look()
        if seen != self._seen:
            with suppress(ConfigError):  # such as one that is being written
                self._creator = creator(self._tls, self._host)
                self._seen = seen
        return self._creator.clientConnectionForTLS(protocol)

    def _look(self) -> list[tuple[int, int, int]]:
        """
        What is different when a file is.
        """
        seen = []
        for path in attrs.astuple(self._tls):
            with suppress(TypeError, OSError):  # none is said, or there
                stat = os.stat(path)
                seen.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return seen


@implementer(IPolicyForHTTPS)
class HostTLS:
    """
    Makes TLS connections, with files that are read again when they are renewed.

    @ivar hosts: the files for some hosts, by C{"host"} or C{"host:port"} in lower case.
    @ivar others: those for any other host; C{None} for the platform's authorities, and
        no certificate of ours.
    """

    def __init__(
        self, hosts: Mapping[str, TLS] = _NONE, others: TLS | None = None
    ) -> None:
        self.hosts = hosts
        self.others = others
        self._usual = BrowserLikePolicyForHTTPS()

    def creatorForNetloc(
        self, hostname: bytes, port: int
    ) -> IOpenSSLClientConnectionCreator:
        """
        What makes connections to a host, whose certificate is checked.

        @raise ConfigError: a file cannot be used.
        """
        host = hostname.decode("ascii")
        name = f"[{host}]" if ":" in host else host.lower()
        tls = self.hosts.get(name if port == 443 else f"{name}:{port}", self.others)
        if tls is None:
            usual: IOpenSSLClientConnectionCreator = self._usual.creatorForNetloc(
                hostname, port
            )
            return usual
        return _Renewing(tls, host)
