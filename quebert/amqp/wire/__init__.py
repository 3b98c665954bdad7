"""
AMQP over one connection: its frames, channels, deliveries and confirms.
"""

from quebert.amqp.wire._broker_version import version_in, version_of
from quebert.amqp.wire._channel import Channel
from quebert.amqp.wire._headers import (
    ALONE,
    DELAY,
    ENDS,
    ERRORS,
    EXCHANGE,
    FLIGHT,
    IN_QUESTION,
    NOT_BEFORE,
    OURS,
    ROUTING_KEY,
)
from quebert.amqp.wire._message import Message
from quebert.amqp.wire._publications import NotSent, Unconfirmed
from quebert.amqp.wire._replacement_properties import (
    amended_properties,
    copied_properties,
)
from quebert.amqp.wire._spec import SPEC
from quebert.amqp.wire._temporary_channel import (
    Call,
    call_in_one_write,
    refusal,
    temporary_channel,
)
from quebert.amqp.wire._wire import Wire

__all__ = [
    "ALONE",
    "DELAY",
    "ENDS",
    "ERRORS",
    "EXCHANGE",
    "FLIGHT",
    "IN_QUESTION",
    "NOT_BEFORE",
    "OURS",
    "ROUTING_KEY",
    "SPEC",
    "Call",
    "Channel",
    "Message",
    "NotSent",
    "Unconfirmed",
    "Wire",
    "amended_properties",
    "call_in_one_write",
    "copied_properties",
    "refusal",
    "temporary_channel",
    "version_in",
    "version_of",
]
