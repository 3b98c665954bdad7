"""
Says what each kind of replacement gets: its headers, and whether it waits.  The kinds
are the message that is put back, its copy, and its dead letter.

Which properties remain, C{amqp/wire/_replacement_properties} says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from quebert._protocol.properties import encode_properties
from quebert.amqp.delays import Ladder
from quebert.amqp.queues import KIND, REASON
from quebert.amqp.wire import (
    DELAY,
    EXCHANGE,
    NOT_BEFORE,
    ROUTING_KEY,
    amended_properties,
    copied_properties,
)
from quebert.policy import BURIED_AT

if TYPE_CHECKING:
    from quebert.amqp.watch._delivered_message import DeliveredMessage
    from quebert.amqp.wire import Wire
    from quebert.outcome import Bury, Retry

__all__ = ["AT_ONCE", "REASON_LIMIT", "ReplacementProperties", "writable"]

#: Shorter waits, in seconds, count as 0.
AT_ONCE = 0.001
#: Characters of a reason: it is a header, and a sentence.
REASON_LIMIT = 1_000


class ReplacementProperties:
    """
    @param ladder: where the messages wait that are to come later.
    @param now: the time of day, in seconds since the epoch; only written to headers.
    """

    def __init__(self, ladder: Ladder, now: Callable[[], float]) -> None:
        self._ladder = ladder
        self._now = now

    def of_retry(
        self, message: DeliveredMessage, wire: Wire, retry: Retry, early: float
    ) -> bytes | None:
        """
        The properties with which a message is put back; C{None} where they cannot be
        read, or have no room for quebert's headers.

        @param wire: the connection of the message.
        @param early: seconds that the message has to wait yet.
        """
        delayed = early > AT_ONCE
        return amended_properties(
            message,
            errors=message.errors,
            not_before=self._now() + early if delayed else None,
            delay=early if delayed else None,
            delayed=delayed,
            highest_priority=self._ladder.highest_priority(wire) if delayed else None,
            headers=retry.headers,
            attempted=retry.attempted,
            max_payload=wire.max_payload,
        )

    def of_copy(
        self,
        message: DeliveredMessage,
        wire: Wire,
        headers: Mapping[str, Any],
        after: float,
    ) -> bytes | None:
        """
        The properties of a copy: with all C{headers}, or with none where there is no
        room for them; C{None} where they cannot be read, or there is no room at all.

        @param wire: the connection of the message.
        @param after: seconds that the copy waits in the broker.
        """
        delayed = after > 0
        due = {NOT_BEFORE: self._now() + after, DELAY: after} if delayed else {}
        for told in ({**headers, **due}, {EXCHANGE: None, ROUTING_KEY: None}):
            properties = copied_properties(
                message,
                told,
                delayed=delayed,
                highest_priority=(
                    self._ladder.highest_priority(wire) if delayed else None
                ),
                max_payload=wire.max_payload,
            )
            if properties is not None:
                return properties
        return None

    def of_dead_letter(
        self, message: DeliveredMessage, wire: Wire, outcome: Bury
    ) -> bytes:
        """
        The properties with which a message goes to the dead: with all headers, or as
        many as there is room for.  In any case without those for which RabbitMQ would
        copy it (C{CC}), drop it (C{expiration}), or refuse it (C{user-id}).

        @param wire: the connection of the message.
        """
        headers = {
            **outcome.headers,
            REASON: writable(outcome.reason[:REASON_LIMIT]),
            KIND: outcome.kind,
            BURIED_AT: self._now(),
        }
        for told in (headers, {KIND: headers[KIND]}, {}):
            amended = amended_properties(
                message,
                errors=0,
                not_before=None,
                delayed=True,
                headers=told,
                max_payload=wire.max_payload,
            )
            if amended is not None:
                return amended
        kept = {name: value for name, value in headers.items() if value is not None}
        return encode_properties({"delivery-mode": 2, "headers": kept})


def writable(text: str) -> str:
    """
    The text without halves of surrogate pairs, which UTF-8 cannot hold.
    """
    return text.encode("utf-8", "backslashreplace").decode()
