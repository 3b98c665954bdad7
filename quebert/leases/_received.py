"""
From a message of the queue C{quebert.leases} to what a lease keeps of it.  Pure.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from quebert._protocol.extensions import COUNTS, DEATH_HEADERS
from quebert._protocol.properties import amend_properties
from quebert.boundaries import Message
from quebert.leases._values import LeasedMessage
from quebert.policy import (
    LEASE_BACKOFF,
    LEASE_ID,
    LEASE_LAST,
    LEASE_QUEUE,
    LEASE_UNTIL,
)
from quebert.signatures import LEASE_ID_LENGTH, LeaseIDs

__all__ = ["received"]

_OURS = (LEASE_ID, LEASE_QUEUE, LEASE_UNTIL, LEASE_LAST, LEASE_BACKOFF)
_NONE = dict.fromkeys(_OURS)


def received(message: Message, encoded: bytes, ids: LeaseIDs) -> LeasedMessage:
    """
    What a lease keeps of a message.

    @param encoded: the properties of the message, as they came.
    @raise ValueError: a mediator of ours has not sent it.

    The id may be of a secret that C{ids} does not have: a mediator has read the new one
    first, or the old one was removed while leases were out.  Nobody can ask for
    anything with it, so that the lease runs out, and the task is attempted again.  It
    has an identity of its own then: it takes the place of no other lease.
    """
    headers: Mapping[str, Any] = message.properties.get("headers") or {}
    id = _text(headers, LEASE_ID)
    identity = ids.identity(id)
    if identity is None:
        identity = _own_identity(id)
    uuid = message.properties.get("message-id")
    until = _seconds(headers, LEASE_UNTIL)
    return LeasedMessage(
        id=id,
        identity=identity,
        queue=_text(headers, LEASE_QUEUE),
        uuid=uuid if isinstance(uuid, str) else "",
        until=until,
        last=max(until, _seconds(headers, LEASE_LAST)),
        backoff=max(0.0, _seconds(headers, LEASE_BACKOFF)),
        body=message.body,
        properties=amend_properties(
            encoded,
            changes={"user-id": None, "expiration": None},
            headers=_NONE,
            dropped=(*COUNTS, *DEATH_HEADERS),
        ),
    )


def _own_identity(id: str) -> bytes:
    if len(id) != LEASE_ID_LENGTH or not id.isascii():
        raise ValueError(f"{LEASE_ID} is none")
    return hashlib.blake2b(id.encode(), digest_size=16).digest()


def _text(headers: Mapping[str, Any], name: str) -> str:
    value = headers.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is missing")
    return value


def _seconds(headers: Mapping[str, Any], name: str) -> float:
    value: Any = headers.get(name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        raise ValueError(f"{name} is no number of seconds")
    return float(value)
