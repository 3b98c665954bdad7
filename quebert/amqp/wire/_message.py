"""
A delivered message: what a callback of C{watch} gets.  Pure.

The properties stay encoded until somebody asks for them, and go back to the
broker as they came, byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

from quebert._bounds import SHORT_STRING
from quebert._protocol.codec import decode_field
from quebert._protocol.frames import CONTENT_HEADER, FRAME_MAX
from quebert._protocol.properties import (
    amend_properties,
    decode_properties,
    split_headers,
)
from quebert._text import printable

__all__ = [
    "ALONE",
    "DELAY",
    "ENDS",
    "ERRORS",
    "FLIGHT",
    "NOT_BEFORE",
    "Message",
]

#: Header: how often in a row the callback failed with this message.
ERRORS = "quebert-errors"
#: Header: seconds since the epoch before which the callback is not called.
NOT_BEFORE = "quebert-not-before"
#: Header: seconds from when it began to wait in the broker until it is due.
DELAY = "quebert-delay"
#: Header: at how many ends of a mediator the message may have been in flight.
ENDS = "quebert-ends"
#: Header: at how many sudden ends it was alone at work.
ALONE = "quebert-ends-alone"
#: Header: names one copy of the message.
FLIGHT = "quebert-flight"
#: Header: a mediator has ended with this copy, nobody knows how.
IN_QUESTION = "quebert-in-question"
#: Header, of quorum queues.  Up to RabbitMQ 4.2 it counts returns of any kind, from 4.3
#: on failed deliveries.
DELIVERY_COUNT = "x-delivery-count"
#: Headers: where a message was published to that came from a queue of RabbitMQ anew.
EXCHANGE, ROUTING_KEY = "quebert-exchange", "quebert-routing-key"

# How the names of these headers begin, but for that of RabbitMQ.
_OURS = b"quebert-"

# What the broker may write into a dead letter on its way, and its part of a small
# frame's payload at most.
_DEATHS_ROOM, _DEATHS_PART = 16_384, 4
# Encoded properties must fit into one frame (section 4.2.6.1), behind these bytes.
_BEFORE = CONTENT_HEADER.size

# RabbitMQ copies a message to the queues that these name: a message that is
# put back would be a new task to each.
COPYING_HEADERS = ("CC", "BCC")

# What the broker writes into dead letters, as all are that come down the delay
# ladder: it drops those that look as if they went in circles.
DEATHS = (
    "x-death",
    *(
        f"x-{which}-death-{field}"
        for which in ("first", "last")
        for field in ("reason", "queue", "exchange")
    ),
)
# How often a quorum queue has delivered this message, not its copy.  From RabbitMQ 4.3
# on, x-delivery-count counts failed deliveries, and x-acquired-count all.
DELIVERIES = (DELIVERY_COUNT, "x-acquired-count")
# What a copy does not have.
_DROPPED = frozenset((*COPYING_HEADERS, *DEATHS, *DELIVERIES))
# What is of the delivery before the attempt that has put the message back.  Mediators
# heed it, so that nobody else may write it.
_ENDED = frozenset((ENDS, ALONE, FLIGHT, IN_QUESTION, EXCHANGE, ROUTING_KEY))
_NO_HEADERS: Mapping[str, Any] = {}


class RequestGate(Protocol):
    """
    Decides whether the callback of a message may make a request now.
    """

    @property
    def known(self) -> Mapping[str, object]:
        """
        The origins that the gate decides about; where there are none, all may.
        """

    def admits(self, message: Message) -> bool:
        """
        Whether the callback may request the URL of C{message} now.
        """


class Message:
    """
    One delivery.

    @ivar body: the body, C{bytes} always.
    @ivar exchange: where it was published to.
    @ivar routing_key: with which routing key.
    @ivar redelivered: whether it may have been delivered before.
    @ivar delivery_tag: its number on the channel that delivered it.
    @ivar consumer_tag: the consumer it was delivered to.
    @ivar came: when it came, or a little earlier, in seconds of the reactor's clock.
    @ivar errors: how often in a row the callback has failed with it.
    @ivar may_have_past: whether it may have been put back, or delivered before.
    @ivar memory: bytes that its task takes at most while it is at work; 0 where these
        are so few that nobody counts them.
    @ivar url: what its callback has requested last; empty for nothing, or where no
        answer came.
    @ivar gate: decides whether it may request, while some origins are slow; C{None}
        where it always may.
    @ivar origin: that of its request, for C{gate}, while the message has one there,
        or waits for one.
    @ivar turned_away: whether it has to wait for other requests there.
    @ivar waits_since: when it began to wait for them; C{None} where it never did.
    @ivar was_begun: whether it was with its callback before it waited.
    @ivar was_restored: whether C{exchange} and C{routing_key} are those of the message
        that it has replaced.
    """

    came = 0.0
    errors = 0
    memory = 0
    may_have_past = True
    url = ""
    gate: RequestGate | None = None
    origin: Any = None
    turned_away = False
    waits_since: float | None = None
    was_begun = False
    was_restored = False

    def __init__(
        self,
        consumer_tag: str,
        delivery_tag: int,
        redelivered: bool,
        exchange: str,
        routing_key: str,
    ) -> None:
        self.consumer_tag = consumer_tag
        self.delivery_tag = delivery_tag
        self.redelivered = redelivered
        self.exchange = exchange
        self.routing_key = routing_key
        self.body = b""
        self.encoded_properties = b"\x00\x00"

    def __repr__(self) -> str:
        return (
            f"<Message {self.delivery_tag} from {self.exchange!r} with"
            f" {self.routing_key!r}, {len(self.body)} bytes>"
        )

    def may_request(self, url: str) -> bool:
        """
        A callback is about to request C{url}: whether it may.  Where it may not, it is
        to answer with a C{Retry} that is no attempt, and is called again with the
        message when it may.
        """
        self.url = url
        gate = self.gate
        return gate is None or not gate.known or gate.admits(self)

    def was_unanswered(self) -> None:
        """
        The request that was made has ended without an answer.
        """
        self.url = ""

    @cached_property
    def properties(self) -> dict[str, Any]:
        """
        The basic properties (AMQP 0-9-1, section 1.8) that are set, under
        their AMQP names such as C{"content-type"}; C{"headers"} is always a
        dict.  The timestamp is in seconds since the epoch.

        @raise ValueError: they hold a value of an unknown type.
        """
        return {"headers": {}, **decode_properties(self.encoded_properties)}

    @property
    def headers(self) -> dict[str, Any]:
        """
        The headers among the properties.
        """
        headers: dict[str, Any] = self.properties["headers"]
        return headers

    @property
    def id_for_log(self) -> str:
        """
        The C{message-id} as a log may show it.  quebert's producers set it to the
        uuid of the task.
        """
        try:
            message_id = self.properties.get("message-id")
        except ValueError:
            message_id = None
        return printable(str(message_id or "(no uuid)"))

    @property
    def content(self) -> Message:
        """
        The message itself, so that txamqp's C{msg.content.body} and
        C{msg.content.properties} are the same as C{msg.body} and
        C{msg.properties}.
        """
        return self

    @property
    def was_put_back(self) -> bool:
        """
        Whether there may be headers of ours: nearly always there are none, and
        that is quicker told than by decoding them.
        """
        return _OURS in self.encoded_properties

    @property
    def may_be_ours(self) -> bool:
        """
        Whether a mediator may have published it: to the default exchange, as mediators
        do.  Whoever may publish there may do so to all queues, those of mediators
        included.
        """
        return self.was_restored or not self.exchange

    def number_in(self, header: str) -> float:
        """
        A header of ours as a number; 0 when it is missing or no number.
        """
        value = self._header(header)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return 0.0
        return float(value) if math.isfinite(value) else 0.0

    def text_in(self, header: str) -> str:
        """
        A header of ours as text; empty when it is missing, no text, or longer than any
        that we write: they are names in a broker.
        """
        value = self._header(header)
        raw = value.encode("utf-8") if isinstance(value, str) else value
        if not isinstance(raw, bytes) or len(raw) > SHORT_STRING:
            return ""
        return raw.decode("utf-8", "surrogateescape")

    @property
    def died_in(self) -> str:
        """
        The queue from which RabbitMQ has dead-lettered it last; empty when it has not.
        """
        queue = self._last_death.get("queue")
        return queue if isinstance(queue, str) else ""

    @property
    def died_at(self) -> float:
        """
        When that was, by RabbitMQ's clock, in whole seconds since the epoch; 0 when it
        is not known.
        """
        moment = self._last_death.get("time")
        return moment.timestamp() if isinstance(moment, datetime) else 0.0

    @property
    def died_with(self) -> str:
        """
        The routing key that it had there; empty when it is not known.  RabbitMQ may
        have given it another one since.
        """
        keys = self._last_death.get("routing-keys")
        key = keys[0] if isinstance(keys, list) and keys else None
        return key if isinstance(key, str) else ""

    def may_have_died_in(self, suffix: bytes) -> bool:
        """
        Whether the name of a queue that RabbitMQ has dead-lettered it from may end with
        C{suffix}, which is quicker told than by decoding its deaths.
        """
        return suffix in self._fields.get("x-death", b"")

    @cached_property
    def _last_death(self) -> Mapping[str, Any]:
        deaths = self._header("x-death")
        last = deaths[0] if isinstance(deaths, list) and deaths else None
        return last if isinstance(last, dict) else {}

    def _header(self, name: str) -> Any:
        """
        The value of a header; C{None} where it is missing, or cannot be read.
        """
        try:
            raw = self._fields.get(name)
            return None if raw is None else decode_field(raw)
        except ValueError:
            return None

    @cached_property
    def _fields(self) -> dict[str, bytes]:
        """
        The headers, each still encoded: one that cannot be read hides no other.
        """
        return split_headers(self.encoded_properties)

    def amended_properties(
        self,
        *,
        errors: int,
        not_before: float | None,
        delay: float | None = None,
        delayed: bool,
        highest_priority: int | None = None,
        headers: Mapping[str, Any] = _NO_HEADERS,
        attempted: bool = True,
        max_payload: int = FRAME_MAX - 8,
    ) -> bytes | None:
        """
        The encoded properties to put the message back with: persistent, and
        without the sender's user id, which the broker would refuse from us.
        C{None} where they cannot be read, or there is no room for more.

        @param not_before: seconds since the epoch before which it is not due.
        @param delay: the same in seconds from now.
        @param headers: further headers, with C{None} for one to be removed.
        @param highest_priority: what a higher priority becomes; C{None} for no limit.
        @param delayed: it goes up the delay ladder, from which its expiration would
            bring it down too early.
        @param attempted: whether what is known of the delivery before is over.
        @param max_payload: what the frame that they travel in has room for.
        """
        ended = attempted or not self.may_be_ours
        dropped = _DROPPED | _ENDED if ended else _DROPPED
        room = max_payload - _BEFORE
        if delayed and headers:  # else it goes all the same
            room -= min(_DEATHS_ROOM, max_payload // _DEATHS_PART)
        changes = self._changes(delayed, highest_priority)
        ours = {
            **headers,
            ERRORS: errors or None,
            NOT_BEFORE: not_before,
            DELAY: delay,
        }
        return self._amended(changes, ours, dropped, room)

    def copied_properties(
        self,
        headers: Mapping[str, Any],
        *,
        delayed: bool = False,
        highest_priority: int | None = None,
        max_payload: int = FRAME_MAX - 8,
    ) -> bytes | None:
        """
        The encoded properties of a copy that takes the message's place, as if it had
        not been delivered yet.  C{None} where they cannot be read, or there is no room
        for more.

        @param headers: as for L{amended_properties}, as are the others.
        """
        route: dict[str, Any] = {}
        dropped = _DROPPED if self.may_be_ours else _DROPPED | _ENDED
        if self.exchange and not self.was_restored:  # else it is a copy already
            route[EXCHANGE] = _as_header(self.exchange)
            route[ROUTING_KEY] = _as_header(self.routing_key)
        changes = self._changes(delayed, highest_priority)
        room = max_payload - _BEFORE
        return self._amended(changes, {**route, **headers}, dropped, room)

    def _changes(self, delayed: bool, highest_priority: int | None) -> dict[str, Any]:
        """
        The properties that are not as they came.
        """
        changes: dict[str, Any] = {"delivery-mode": 2, "user-id": None}
        if delayed:
            changes["expiration"] = None
        if highest_priority is not None:
            with suppress(ValueError):  # then nothing can be amended, either
                if self.properties.get("priority", 0) > highest_priority:
                    changes["priority"] = highest_priority
        return changes

    def _amended(
        self,
        changes: Mapping[str, Any],
        headers: Mapping[str, Any],
        dropped: frozenset[str],
        room: int,
    ) -> bytes | None:
        try:
            amended = amend_properties(
                self.encoded_properties,
                changes=changes,
                headers=headers,
                dropped=dropped,
            )
        except ValueError:
            return None
        return amended if len(amended) <= room else None


def _as_header(name: str) -> str | bytes:
    """
    A name as a header has it, which RabbitMQ takes in any encoding.
    """
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw
