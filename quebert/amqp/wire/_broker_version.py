"""
Which RabbitMQ a connection leads to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quebert.amqp.wire._wire import Wire

__all__ = ["version_in", "version_of"]

_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


def version_of(wire: Wire) -> tuple[int, ...] | None:
    """
    The version of the RabbitMQ at the other end: L{version_in} what it tells.
    """
    return version_in(wire.server_properties)


def version_in(properties: Mapping[str, Any]) -> tuple[int, ...] | None:
    """
    The version in a RabbitMQ's C{server_properties}, such as C{(4, 3, 6)}; C{None}
    where the broker is none, as the embedded broker, or does not tell its version.

    The embedded broker calls itself RabbitMQ, too, since clients ask for that name;
    the platform tells the two apart.
    """
    if properties.get("product") != "RabbitMQ":
        return None
    if "Erlang" not in str(properties.get("platform")):
        return None
    numbers = _NUMBERS.match(str(properties.get("version", "")))
    return tuple(map(int, numbers[0].split("."))) if numbers else None
