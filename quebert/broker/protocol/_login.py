"""
How a client gets in: who it says it is, and which limits it agrees to.  Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from quebert import __version__
from quebert._protocol.frames import CHANNEL_MAX, FRAME_MAX, FRAME_MIN
from quebert._protocol.values import CodecError, decode_table
from quebert.broker.state import AMQPConnectionError, not_allowed
from quebert.errors import ReplyCode

__all__ = [
    "MECHANISMS",
    "PROPOSED_HEARTBEAT",
    "SERVER_PROPERTIES",
    "check_limits",
    "credentials",
    "login_refused",
]

#: Seconds that are proposed.
PROPOSED_HEARTBEAT = 60

SERVER_PROPERTIES = {
    # Whose rules it keeps, not who it is: kombu, and so Celery, goes by these two
    # when it chooses how to raise a prefetch count (basic.qos with global, as
    # RabbitMQ has it from 3.3 to 3.13).
    "product": "RabbitMQ",
    "version": "3.13.0",
    "platform": f"quebert {__version__}, Python/Twisted",
    "information": (
        "the embedded broker: for development, demonstrations, tests;"
        " its quorum queues are like those of RabbitMQ 4.3"
    ),
    "capabilities": {
        "authentication_failure_close": True,
        "basic.nack": True,
        "consumer_cancel_notify": True,
        "exchange_exchange_bindings": True,
        "per_consumer_qos": True,
        "publisher_confirms": True,
    },
}


def _plain(response: str | bytes) -> tuple[str, str]:
    """
    RFC 4616; as RabbitMQ, we take nobody for anybody else.
    """
    parts = _text(response).split("\0")
    if len(parts) != 3:
        raise AMQPConnectionError(
            ReplyCode.SYNTAX_ERROR, "the response is not one of PLAIN"
        )
    return parts[1], parts[2]


def _amqplain(response: str | bytes) -> tuple[str, str]:
    """
    A table without its length, of LOGIN and PASSWORD.
    """
    raw = response.encode() if isinstance(response, str) else response
    try:
        table = decode_table(struct.pack(">I", len(raw)) + raw)
    except CodecError as e:
        text = f"the response is not one of AMQPLAIN: {e}"
        raise AMQPConnectionError(ReplyCode.SYNTAX_ERROR, text) from None
    return _text(table.get("LOGIN", "")), _text(table.get("PASSWORD", ""))


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) else ""


MECHANISMS: dict[str, Callable[[str | bytes], tuple[str, str]]] = {
    "PLAIN": _plain,
    "AMQPLAIN": _amqplain,
}


def credentials(mechanism: str, response: str | bytes) -> tuple[str, str]:
    """
    User and password as a client gives them.

    @raise AMQPConnectionError: it does not give them as it should.
    """
    read = MECHANISMS.get(mechanism)
    if read is None:
        text = f"the mechanism is to be one of {', '.join(MECHANISMS)}"
        raise AMQPConnectionError(
            ReplyCode.COMMAND_INVALID, f"{text}, not {mechanism!r}"
        )
    return read(response)


def login_refused(mechanism: str) -> AMQPConnectionError:
    """
    That is no user's password.
    """
    text = f"Login was refused using authentication mechanism {mechanism}."
    details = "For details see the broker logfile."
    return AMQPConnectionError(ReplyCode.ACCESS_REFUSED, f"{text} {details}")


def check_limits(arguments: Mapping[str, Any]) -> None:
    """
    Whether C{connection.tune-ok} keeps to what was proposed; 0, for no limit, does
    not.

    @raise AMQPConnectionError: it does not.
    """
    for name, least, most in (
        ("channel_max", 1, CHANNEL_MAX),
        ("frame_max", FRAME_MIN, FRAME_MAX),
    ):
        wanted = arguments[name]
        if wanted == 0 or wanted > most:
            text = f"is higher than the maximum allowed value ({most})"
            raise not_allowed(f"negotiated {name} = {wanted} {text}")
        if wanted < least:
            text = f"is lower than the minimum allowed value ({least})"
            raise not_allowed(f"negotiated {name} = {wanted} {text}")
