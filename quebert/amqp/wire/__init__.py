"""
AMQP over one connection: its frames, channels, deliveries and confirms.
"""

from quebert.amqp.wire._broker_version import version_in, version_of
from quebert.amqp.wire._channel import Channel
from quebert.amqp.wire._message import (
    ALONE,
    COPYING_HEADERS,
    DEATHS,
    DELAY,
    DELIVERIES,
    DELIVERY_COUNT,
    ENDS,
    ERRORS,
    EXCHANGE,
    FLIGHT,
    IN_QUESTION,
    NOT_BEFORE,
    ROUTING_KEY,
    Message,
)
from quebert.amqp.wire._publications import NotSent, Unconfirmed
from quebert.amqp.wire._spec import SPEC
from quebert.amqp.wire._temporary_channel import refusal, temporary_channel
from quebert.amqp.wire._wire import Wire

__all__ = [
    "ALONE",
    "COPYING_HEADERS",
    "DEATHS",
    "DELAY",
    "DELIVERIES",
    "DELIVERY_COUNT",
    "ENDS",
    "ERRORS",
    "EXCHANGE",
    "FLIGHT",
    "IN_QUESTION",
    "NOT_BEFORE",
    "ROUTING_KEY",
    "SPEC",
    "Channel",
    "Message",
    "NotSent",
    "Unconfirmed",
    "Wire",
    "refusal",
    "temporary_channel",
    "version_in",
    "version_of",
]
