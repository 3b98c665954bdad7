"""
Changes the properties of a message for what replaces it: the message itself when it is
put back, its copy, or its dead letter.  Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from quebert._protocol.content import CONTENT_HEADER
from quebert._protocol.extensions import COPYING_HEADERS, COUNTS, DEATH_HEADERS
from quebert._protocol.frames import MAX_PAYLOAD
from quebert._protocol.properties import amend_properties
from quebert._protocol.values import header_text
from quebert.amqp.wire._headers import (
    ALONE,
    DELAY,
    ENDS,
    ERRORS,
    EXCHANGE,
    FLIGHT,
    IN_QUESTION,
    NOT_BEFORE,
    ROUTING_KEY,
)
from quebert.amqp.wire._message import Message

__all__ = ["amended_properties", "copied_properties"]

# What the broker may write into a dead letter on its way, and its part of a small
# frame's payload at most.
_DEATHS_ROOM, _DEATHS_PART = 16_384, 4
# Encoded properties must fit into one frame (section 4.2.6.1), behind these bytes.
_BEFORE = CONTENT_HEADER.size

# What a copy does not have.
_DROPPED = frozenset((*COPYING_HEADERS, *DEATH_HEADERS, *COUNTS))
# What is of the delivery before the attempt that has put the message back.  Mediators
# heed it, so that nobody else may write it.
_ENDED = frozenset((ENDS, ALONE, FLIGHT, IN_QUESTION, EXCHANGE, ROUTING_KEY))
_NO_HEADERS: Mapping[str, Any] = {}


def amended_properties(
    message: Message,
    *,
    errors: int,
    not_before: float | None,
    delay: float | None = None,
    delayed: bool,
    highest_priority: int | None = None,
    headers: Mapping[str, Any] = _NO_HEADERS,
    attempted: bool = True,
    max_payload: int = MAX_PAYLOAD,
) -> bytes | None:
    """
    The encoded properties to put a message back with: persistent, and
    without the sender's user id, which the broker would refuse from us.
    C{None} where they cannot be read, or there is no room for more.

    @param not_before: seconds since the epoch before which it is not due.
    @param delay: the same in seconds from now.
    @param headers: further headers, with C{None} for one to be removed.
    @param highest_priority: what a higher priority becomes; C{None} for no limit.
    @param delayed: it goes up the delay ladder, from which its expiration would
        bring it down too early.
    @param attempted: whether to remove the headers of the delivery before
        (C{_ENDED}); those that no mediator can have written are always removed.
    @param max_payload: what the frame that they travel in has room for.
    """
    ended = attempted or not message.may_be_ours
    dropped = _DROPPED | _ENDED if ended else _DROPPED
    room = max_payload - _BEFORE
    if delayed and headers:  # else it goes all the same
        room -= min(_DEATHS_ROOM, max_payload // _DEATHS_PART)
    changes = _changes(message, delayed, highest_priority)
    ours = {
        **headers,
        ERRORS: errors or None,
        NOT_BEFORE: not_before,
        DELAY: delay,
    }
    return _amended(message, changes, ours, dropped, room)


def copied_properties(
    message: Message,
    headers: Mapping[str, Any],
    *,
    delayed: bool = False,
    highest_priority: int | None = None,
    max_payload: int = MAX_PAYLOAD,
) -> bytes | None:
    """
    The encoded properties of a copy that takes a message's place, as if it had
    not been delivered yet.  C{None} where they cannot be read, or there is no room
    for more.

    @param headers: as for L{amended_properties}, as are the others.
    """
    route: dict[str, Any] = {}
    dropped = _DROPPED if message.may_be_ours else _DROPPED | _ENDED
    if message.exchange and not message.was_restored:  # else it is a copy already
        route[EXCHANGE] = header_text(message.exchange)
        route[ROUTING_KEY] = header_text(message.routing_key)
    changes = _changes(message, delayed, highest_priority)
    room = max_payload - _BEFORE
    return _amended(message, changes, {**route, **headers}, dropped, room)


def _changes(
    message: Message, delayed: bool, highest_priority: int | None
) -> dict[str, Any]:
    """
    The properties that change: each replacement is persistent (C{delivery-mode} 2), and
    has no C{user-id}.  One that waits, and a dead letter, has no C{expiration}.  A
    priority above C{highest_priority} becomes that.  All other properties stay.
    """
    changes: dict[str, Any] = {"delivery-mode": 2, "user-id": None}
    if delayed:
        changes["expiration"] = None
    if highest_priority is not None:
        with suppress(ValueError):  # then nothing can be amended, either
            if message.properties.get("priority", 0) > highest_priority:
                changes["priority"] = highest_priority
    return changes


def _amended(
    message: Message,
    changes: Mapping[str, Any],
    headers: Mapping[str, Any],
    dropped: frozenset[str],
    room: int,
) -> bytes | None:
    try:
        amended = amend_properties(
            message.encoded_properties,
            changes=changes,
            headers=headers,
            dropped=dropped,
        )
    except ValueError:
        return None
    return amended if len(amended) <= room else None
