"""
The arguments of a queue's declaration, checked.  Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from quebert.broker._errors import not_implemented, precondition_failed

__all__ = ["QueueSettings", "inequivalent", "read_settings", "shown"]

DROP_HEAD = "drop-head"
REJECT = "reject-publish"
REJECT_DEAD_LETTER = "reject-publish-dlx"

_LONGEST = 2**32 - 1  # milliseconds, as RabbitMQ has it


@attrs.frozen
class QueueSettings:
    """
    What a queue was declared to do.

    @ivar message_ttl: seconds, or C{None} for any time.
    @ivar expires: seconds without use after which the queue goes, or C{None}.
    @ivar max_length: messages that may be ready, or C{None}.
    @ivar max_bytes: the same of their bodies together.
    @ivar max_priority: 0 for a queue without priorities.
    """

    message_ttl: float | None = None
    expires: float | None = None
    dead_letter_exchange: str | None = None
    dead_letter_key: str | None = None
    max_length: int | None = None
    max_bytes: int | None = None
    overflow: str = DROP_HEAD
    max_priority: int = 0
    single_active: bool = False


def _number(least: int, most: int = 2**63 - 1) -> Callable[[Any], Any]:
    def check(value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return f"it is to be an integer, not {value!r}"
        if not least <= value <= most:
            return f"it is to be at least {least} and at most {most}, not {value}"
        return None

    return check


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else f"it is to be text, not {value!r}"


def _truth(value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    return f"it is to be true or false, not {value!r}"


def _one_of(*allowed: Any) -> Callable[[Any], Any]:
    def check(value: Any) -> str | None:
        if value in allowed:
            return None
        return f"it is to be one of {', '.join(map(str, allowed))}, not {value!r}"

    return check


# The first four say nothing to this broker, which has but one kind of queue.
_CHECKS: dict[str, Callable[[Any], str | None]] = {
    "x-queue-type": _text,
    "x-queue-mode": _one_of("default", "lazy"),
    "x-queue-version": _one_of(1, 2),
    "x-queue-master-locator": _text,
    "x-message-ttl": _number(0, _LONGEST),
    "x-expires": _number(1, _LONGEST),
    "x-dead-letter-exchange": _text,
    "x-dead-letter-routing-key": _text,
    "x-max-length": _number(0),
    "x-max-length-bytes": _number(0),
    "x-overflow": _one_of(DROP_HEAD, REJECT, REJECT_DEAD_LETTER),
    "x-max-priority": _number(0, 255),
    "x-single-active-consumer": _truth,
}


def read_settings(table: Mapping[str, Any], queue: str) -> QueueSettings:
    """
    What C{table} asks for.

    @param queue: how error messages name the queue.
    @raise ChannelError: a value is wrong.
    @raise ConnectionError: this broker does not know such queues.
    """
    for name, value in table.items():
        _check(name, value, queue)
    if "x-dead-letter-routing-key" in table and "x-dead-letter-exchange" not in table:
        text = f"invalid arg 'x-dead-letter-routing-key' for {queue}"
        raise precondition_failed(f"{text}: routing_key_but_no_dlx_defined")
    return QueueSettings(
        message_ttl=_seconds(table.get("x-message-ttl")),
        expires=_seconds(table.get("x-expires")),
        dead_letter_exchange=table.get("x-dead-letter-exchange"),
        dead_letter_key=table.get("x-dead-letter-routing-key"),
        max_length=table.get("x-max-length"),
        max_bytes=table.get("x-max-length-bytes"),
        overflow=table.get("x-overflow", DROP_HEAD),
        max_priority=table.get("x-max-priority", 0),
        single_active=table.get("x-single-active-consumer", False),
    )


def _check(name: str, value: Any, queue: str) -> None:
    check = _CHECKS.get(name)
    if check is None:
        if not name.startswith("x-"):
            return  # the client's own
        raise not_implemented(f"queue argument {name}")
    problem = check(value)
    if problem is not None:
        raise precondition_failed(f"invalid arg '{name}' for {queue}: {problem}")
    if name == "x-queue-type" and value != "classic":
        raise not_implemented(f"queue type {value}")


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def inequivalent(
    current: Mapping[str, Any], received: Mapping[str, Any], queue: str
) -> None:
    """
    Refuse a declaration that does not fit the queue that there is.

    @raise ChannelError: an argument differs.
    """
    for name in _CHECKS:
        if current.get(name) != received.get(name):
            raise precondition_failed(
                f"inequivalent arg '{name}' for {queue}: received"
                f" {shown(received.get(name))} but current is"
                f" {shown(current.get(name))}"
            )


def shown(value: Any) -> str:
    """
    The value of an argument in RabbitMQ's words.
    """
    if value is None:
        return "none"
    kinds = {bool: "bool", int: "signedint", str: "longstr"}
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"the value '{text}' of type '{kinds.get(type(value), 'table')}'"
