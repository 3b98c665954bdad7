"""
The table C{[web]} of a configuration file: what a mediator shows of itself.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

import attrs

from quebert.config import _kinds as kinds
from quebert.config._problems import Wrong
from quebert.config._table import Table
from quebert.errors import ConfigError
from quebert.guard import Place

__all__ = ["Listen", "Web", "listen", "web"]

_LISTEN = re.compile(
    r"(?:(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9.]+)):)?(?P<port>[0-9]{1,5})"
)
#: Where a port listens that has no address beside it.
LOOPBACK = "127.0.0.1"


@attrs.frozen
class Listen:
    """
    Where a server listens.

    @ivar address: an IP address; C{"0.0.0.0"} and C{"::"} are all of their kind.
    @ivar port: from 1.
    """

    address: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"

    @property
    def is_private(self) -> bool:
        """
        Whether only this machine can connect.
        """
        return ip_address(self.address).is_loopback

    @classmethod
    def parse(cls, text: str) -> Listen:
        """
        Read C{"8080"}, C{"0.0.0.0:8080"} or C{"[::1]:8080"}.

        @raise ConfigError: it is none; the text goes on from the name of C{text}.
        """
        found = _LISTEN.fullmatch(text)
        if found is not None and 0 < int(found["port"]) < 65_536:
            address = found["six"] or found["four"] or LOOPBACK
            try:
                return cls(str(ip_address(address)), int(found["port"]))
            except ValueError:
                pass
        raise ConfigError(
            'must be a port, or an address and a port, like "0.0.0.0:8080"'
        )

    @property
    def places(self) -> tuple[Place, ...]:
        """
        What leads there from this machine, as a guard has it.
        """
        address = ip_address(self.address)
        hosts = {self.address}
        if address.is_unspecified:
            hosts |= {LOOPBACK, "::1"}
        return tuple(Place.of(each, self.port) for each in sorted(hosts))


@attrs.frozen
class Web:
    """
    What a mediator shows of itself over HTTP.

    @ivar listen: where; C{None} for nowhere.
    """

    listen: Listen | None = None


def web(table: Table) -> Web:
    """
    What the table C{[web]} says.
    """
    fields = table.given(listen=listen)
    table.know("cluster")
    table.end()
    return Web(**fields)


def listen(value: object) -> Listen:
    """
    Where a server listens: a number, or a text that L{Listen.parse} reads.
    """
    text = (
        str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    )
    try:
        return Listen.parse(text if isinstance(text, str) else "")
    except ConfigError as e:
        raise Wrong(f"{e}, not {kinds.shown(value)}") from None
