"""
Where the management API of a RabbitMQ is: an HTTP server beside AMQP.
"""

from __future__ import annotations

import re

from quebert.config._broker import Broker
from quebert.errors import ConfigError
from quebert.guard import Place

__all__ = ["guessed_management", "management_place", "management_url"]

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[\w.-]+)(?::(?P<port>\d{1,5}))?"
    r"(?P<path>(?:/[!$-.0-;=@-Z_a-z~]*)*)",
    re.ASCII | re.IGNORECASE,
)
_PORTS = {"http": 80, "https": 443}
# By the ports of AMQP, without TLS and with it.
_USUAL = {5672: ("http", 15672), 5671: ("https", 15671)}


def management_url(text: str) -> str:
    """
    The URL, without a slash at its end.

    @raise ConfigError: it is none, or holds more than a host, a port and a path; the
        text goes on from the name of the setting.
    """
    found = _URL.fullmatch(text)
    if found is None or not 0 < int(found["port"] or 1) < 65536:
        raise ConfigError(
            "must be like http://rabbit.example:15672; user and password are those of"
            " the AMQP URL"
        )
    return text.rstrip("/")


def management_place(url: str) -> Place:
    """
    Where the API with a right URL listens: nothing that a task may request.
    """
    found = _URL.fullmatch(url)
    assert found is not None
    port = int(found["port"] or _PORTS[found["scheme"].lower()])
    return Place.of(found["host"].strip("[]"), port)


def guessed_management(broker: Broker) -> list[str]:
    """
    The URLs at which RabbitMQ has it by default, for each node of C{broker}.  The guess
    sends the user's password there.  So there is none for a node with a port of its
    own, beside which another RabbitMQ may have the usual one; nor any without TLS where
    AMQP has TLS.
    """
    found = []
    for address in broker.addresses:
        usual = _USUAL.get(address.port)
        if usual is not None and (usual[0] == "https") == (broker.tls is not None):
            host = f"[{address.host}]" if ":" in address.host else address.host
            found.append(f"{usual[0]}://{host}:{usual[1]}")
    return found
