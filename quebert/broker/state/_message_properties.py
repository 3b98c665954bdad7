"""
What the properties of a message ask of the broker; the rest of them is passed on
as it came.  Pure.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import attrs

from quebert._bounds import SHORT_STRING
from quebert._protocol.extensions import UNSEEN_KEYS, VISIBLE_KEYS
from quebert._protocol.properties import amend_properties, decode_properties
from quebert.broker.state._arguments import LONGEST_TTL
from quebert.broker.state._errors import precondition_failed

__all__ = ["MOST_KEYS", "MessageProperties", "read_properties"]

#: Routing keys that C{CC} and C{BCC} may have together: each is compared with each
#: binding.
MOST_KEYS = 100
_MILLISECONDS = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DELIVERY_MODES = (None, 1, 2)


@attrs.frozen
class MessageProperties:
    """
    @ivar encoded: what is passed on.
    @ivar persistent: it is to survive the broker.
    @ivar priority: 0 to 255, or C{None}.
    @ivar ttl: seconds that it may wait in a queue, or C{None} for any time.
    @ivar user: who says to have published it, or C{None}.
    @ivar headers: its headers.
    @ivar further_keys: routing keys beside its own (RabbitMQ's CC and BCC).
    """

    encoded: bytes
    persistent: bool
    priority: int | None
    ttl: float | None
    user: str | None
    headers: dict[str, Any]
    further_keys: tuple[str, ...]


@functools.lru_cache(512)
def _cached(properties: bytes) -> MessageProperties:
    return _read(properties)


def read_properties(properties: bytes) -> MessageProperties:
    """
    What encoded properties ask for.

    @raise CodecError: they are malformed.
    @raise AMQPChannelError: they ask for what cannot be.
    """
    # Many publishers send the same few, but for long ones.
    return _cached(properties) if len(properties) < 256 else _read(properties)


def _read(properties: bytes) -> MessageProperties:
    found = decode_properties(properties)
    mode = found.get("delivery-mode")
    if mode not in _DELIVERY_MODES:
        text = f"the delivery mode is to be 1 or 2, not {mode}"
        raise precondition_failed(f"invalid message: {text}")
    headers = found.get("headers", {})
    further = [*_keys(headers, VISIBLE_KEYS), *_keys(headers, UNSEEN_KEYS)]
    _check_keys(further)
    if UNSEEN_KEYS in headers:
        properties = amend_properties(
            properties, changes={}, headers={}, dropped=(UNSEEN_KEYS,)
        )
    return MessageProperties(
        properties,
        mode == 2,
        found.get("priority"),
        _ttl(found.get("expiration")),
        found.get("user-id"),
        {name: value for name, value in headers.items() if name != UNSEEN_KEYS},
        tuple(further),
    )


def _keys(headers: dict[str, Any], name: str) -> list[str]:
    keys = headers.get(name, [])
    if not isinstance(keys, list):
        text = f"the header '{name}' is to be an array of texts"
        raise precondition_failed(f"invalid message: {text}")
    return [key for key in keys if isinstance(key, str)]


def _check_keys(keys: list[str]) -> None:
    if len(keys) > MOST_KEYS:
        text = f"'CC' and 'BCC' have {len(keys)} routing keys, and may have {MOST_KEYS}"
        raise precondition_failed(f"invalid message: {text}")
    for key in keys:
        if len(key.encode("utf-8", "surrogateescape")) > SHORT_STRING:
            text = f"a routing key in 'CC' or 'BCC' has more than {SHORT_STRING} bytes"
            raise precondition_failed(f"invalid message: {text}")


def _ttl(expiration: str | None) -> float | None:
    if expiration is None:
        return None
    milliseconds = int(expiration) if _MILLISECONDS.fullmatch(expiration) else -1
    if not 0 <= milliseconds <= LONGEST_TTL:
        text = f"it is to be milliseconds, at most {LONGEST_TTL}"
        raise precondition_failed(f"invalid expiration '{expiration}': {text}")
    return milliseconds / 1000
