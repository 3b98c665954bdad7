"""
The arguments of a queue's declaration, checked.  Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from quebert.broker._errors import not_implemented, precondition_failed

__all__ = [
    "DROP_HEAD",
    "LONGEST_TTL",
    "REJECT_DEAD_LETTER",
    "QueueSettings",
    "check_equivalent",
    "check_exchange_name",
    "check_same",
    "kind_of",
    "read_settings",
]

DROP_HEAD = "drop-head"
REJECT = "reject-publish"
REJECT_DEAD_LETTER = "reject-publish-dlx"

#: Milliseconds that a time to live may be, as RabbitMQ has it: ten years.
LONGEST_TTL = 315_360_000_000


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
    "x-message-ttl": _number(0, LONGEST_TTL),
    "x-expires": _number(1, LONGEST_TTL),
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
    if name == "x-dead-letter-exchange":
        check_exchange_name(name, value, queue)
    problem = check(value)
    if problem is not None:
        raise precondition_failed(f"invalid arg '{name}' for {queue}: {problem}")
    if name == "x-queue-type" and value != "classic":
        raise not_implemented(f"queue type {value}")


def check_exchange_name(argument: str, value: Any, what: str) -> None:
    """
    Refuse what is to be the name of an exchange, and is not.

    @param what: how error messages name what has the argument.
    @raise ChannelError: it is not text.
    """
    if not isinstance(value, str):
        text = f"invalid type '{kind_of(value)}' for arg '{argument}' in {what}"
        raise precondition_failed(text)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def check_equivalent(
    current: Mapping[str, Any],
    received: Mapping[str, Any],
    what: str,
    names: Iterable[str] = tuple(_CHECKS),
) -> None:
    """
    Refuse a declaration that does not fit what there is.

    @param what: how error messages name it.
    @param names: the arguments that matter.
    @raise ChannelError: an argument differs.
    """
    for name in names:
        usual = "classic" if name == "x-queue-type" else None
        one, other = current.get(name, usual), received.get(name, usual)
        if (type(one), one) != (type(other), other):
            told = _told(other, other=one), _told(one, other=other)
            raise precondition_failed(
                f"inequivalent arg '{name}' for {what}: received {told[0]} but"
                f" current is {told[1]}"
            )


def check_same(what: str, wanted: Iterable[tuple[str, Any, Any]]) -> None:
    """
    Refuse a declaration that does not fit what there is.

    @param what: how error messages name it.
    @param wanted: names, what was received, and what is.
    @raise ChannelError: one differs.
    """
    for name, received, current in wanted:
        if received != current:
            raise precondition_failed(
                f"inequivalent arg '{name}' for {what}: received"
                f" '{_lower(received)}' but current is '{_lower(current)}'"
            )


def _lower(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _told(value: Any, *, other: Any) -> str:
    if value is None:
        return "none"
    if other is None:
        return f"the value '{_lower(value)}' of type '{kind_of(value)}'"
    return f"'{_lower(value)}'"


def kind_of(value: Any) -> str:
    """
    The type of an argument in RabbitMQ's words.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return "signedint" if -(2**31) <= value < 2**31 else "long"
    kinds = {bool: "bool", str: "longstr", float: "double", list: "array"}
    return kinds.get(type(value), "table")
