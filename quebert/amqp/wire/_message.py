"""
A delivered message.  Pure.

The properties stay encoded until somebody asks for them.  What a mediator does not
change of them goes back to the broker byte for byte; but where a header is there twice,
only the last one goes back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

import attrs

from quebert._bounds import SHORT_STRING
from quebert._protocol.extensions import DEATHS
from quebert._protocol.properties import (
    decode_properties,
    split_headers,
)
from quebert._protocol.values import decode_field
from quebert._text import printable
from quebert.amqp.wire._headers import OURS

__all__ = ["Message"]


@attrs.define(slots=False, eq=False, repr=False)
class Message:
    """
    One delivery: what RabbitMQ has sent.

    @ivar body: the body, C{bytes} always.
    @ivar exchange: where it was published to.
    @ivar routing_key: with which routing key.
    @ivar redelivered: whether it may have been delivered before.
    @ivar delivery_tag: its number on the channel that delivered it.
    @ivar consumer_tag: the consumer it was delivered to.
    @ivar encoded_properties: its properties, as they came.
    @ivar was_restored: whether C{exchange} and C{routing_key} are those of the message
        that it has replaced.
    """

    consumer_tag: str
    delivery_tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    # What comes after its method; and what few have.
    body = b""
    encoded_properties = b"\x00\x00"
    was_restored = False

    def __repr__(self) -> str:
        return (
            f"<Message {self.delivery_tag} from {self.exchange!r} with"
            f" {self.routing_key!r}, {len(self.body)} bytes>"
        )

    @cached_property
    def properties(self) -> dict[str, Any]:
        """
        The basic properties (AMQP 0-9-1 reference, section 1.8) that are set, under
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
        that is quicker told than by decoding them.  C{Deliveries._received} in C{watch}
        has the same test, written out.
        """
        return OURS in self.encoded_properties

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
        return suffix in self._fields.get(DEATHS, b"")

    @cached_property
    def _last_death(self) -> Mapping[str, Any]:
        deaths = self._header(DEATHS)
        last = deaths[0] if isinstance(deaths, list) and deaths else None
        return last if isinstance(last, dict) else {}

    def _header(self, name: str) -> Any:
        """
        The value of a header; C{None} where it is missing, or cannot be read.  All that
        L{quebert.amqp} reads of headers passes here: an older name of a header would be
        tried here.
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
