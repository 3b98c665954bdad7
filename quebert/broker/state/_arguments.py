"""
The arguments of a queue's declaration, checked.  Pure.

C{_CHECKS} has those of all types of queues, C{_CHECKS_OF} those of each.  An argument
that does anything is a field of L{QueueArguments}, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any

import attrs

from quebert._protocol.extensions import (
    DEAD_LETTER_EXCHANGE,
    DEAD_LETTER_ROUTING_KEY,
    DEAD_LETTER_STRATEGY,
    DELIVERY_LIMIT,
    EXPIRES,
    MAX_IN_MEMORY_BYTES,
    MAX_IN_MEMORY_LENGTH,
    MAX_LENGTH,
    MAX_LENGTH_BYTES,
    MAX_PRIORITY,
    MESSAGE_TTL,
    OVERFLOW,
    QUEUE_LEADER_LOCATOR,
    QUEUE_MASTER_LOCATOR,
    QUEUE_MODE,
    QUEUE_TYPE,
    QUEUE_VERSION,
    QUORUM_INITIAL_GROUP_SIZE,
    SINGLE_ACTIVE_CONSUMER,
)
from quebert.broker.state._errors import precondition_failed, unsupported

__all__ = [
    "CLASSIC",
    "DROP_HEAD",
    "LONGEST_TTL",
    "QUORUM",
    "REJECT_DEAD_LETTER",
    "QueueArguments",
    "check_equivalent",
    "check_exchange_name",
    "check_same",
    "kind_of",
    "read_arguments",
]

CLASSIC = "classic"
QUORUM = "quorum"

DROP_HEAD = "drop-head"
REJECT = "reject-publish"
REJECT_DEAD_LETTER = "reject-publish-dlx"

#: Milliseconds that a time to live may be, as RabbitMQ has it: ten years.
LONGEST_TTL = 315_360_000_000

# How often the delivery of a message of a quorum queue may fail, as RabbitMQ has it
# from 4.0 on.
_MOST_FAILURES = 20


@attrs.frozen
class QueueArguments:
    """
    What a queue was declared to do.

    @ivar message_ttl: seconds, or C{None} for any time.
    @ivar expires: seconds without use after which the queue goes, or C{None}.
    @ivar max_length: messages that may be ready, or C{None}.
    @ivar max_bytes: bytes that the bodies of all ready messages may have together, or
        C{None}.
    @ivar max_priority: 0 for a queue without priorities.
    @ivar usual_priority: that of a message that has none.
    @ivar quorum: whether it is a quorum queue: it keeps all its messages on the disk
        and counts their deliveries.
    @ivar delivery_limit: how often the delivery of a message may fail, or C{None} for
        any number of times.
    @ivar at_least_once: whether a dead letter stays until its exchange exists, leads
        to a queue at least, and each of these queues has taken it.  A queue where it
        would go in circles does not get it, and counts as one that has taken it.
    @ivar single_active: whether one consumer at a time gets messages.
    """

    message_ttl: float | None
    expires: float | None
    dead_letter_exchange: str | None
    dead_letter_key: str | None
    max_length: int | None
    max_bytes: int | None
    overflow: str
    max_priority: int
    single_active: bool
    usual_priority: int = 0
    quorum: bool = False
    delivery_limit: int | None = None
    at_least_once: bool = False


def _number(least: int = -(2**63), most: int = 2**63 - 1) -> Callable[[Any], Any]:
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


_Checks = dict[str, Callable[[Any], str | None]]

#: The arguments of queues of all types.
_CHECKS: _Checks = {
    QUEUE_TYPE: _text,
    MESSAGE_TTL: _number(0, LONGEST_TTL),
    EXPIRES: _number(1, LONGEST_TTL),
    DEAD_LETTER_EXCHANGE: _text,
    DEAD_LETTER_ROUTING_KEY: _text,
    MAX_LENGTH: _number(0),
    MAX_LENGTH_BYTES: _number(0),
    OVERFLOW: _one_of(DROP_HEAD, REJECT, REJECT_DEAD_LETTER),
    SINGLE_ACTIVE_CONSUMER: _truth,
    QUEUE_LEADER_LOCATOR: _one_of("client-local", "balanced"),  # there is one node
}

#: Those of each type.  This broker has one node and one way to keep messages, so that
#: some of them change nothing.
_CHECKS_OF: dict[str, _Checks] = {
    CLASSIC: {
        MAX_PRIORITY: _number(0, 255),
        QUEUE_MODE: _one_of("default", "lazy"),
        QUEUE_VERSION: _one_of(1, 2),
        QUEUE_MASTER_LOCATOR: _text,
    },
    QUORUM: {
        DELIVERY_LIMIT: _number(),
        DEAD_LETTER_STRATEGY: _one_of("at-most-once", "at-least-once"),
        QUORUM_INITIAL_GROUP_SIZE: _number(1),
        MAX_IN_MEMORY_LENGTH: _number(0),
        MAX_IN_MEMORY_BYTES: _number(0),
    },
}

_ALL_NAMES = tuple(dict.fromkeys(chain(_CHECKS, *_CHECKS_OF.values())))


def read_arguments(table: Mapping[str, Any], queue: str) -> QueueArguments:
    """
    What C{table} asks for.

    @param queue: how error messages name the queue.
    @raise AMQPChannelError: a value is wrong.
    @raise AMQPConnectionError: this broker does not know such queues.
    """
    kind = _queue_type(table, queue)
    for name, value in table.items():
        _check(name, value, kind, queue)
    if DEAD_LETTER_ROUTING_KEY in table and DEAD_LETTER_EXCHANGE not in table:
        text = f"invalid arg '{DEAD_LETTER_ROUTING_KEY}' for {queue}"
        raise precondition_failed(f"{text}: routing_key_but_no_dlx_defined")
    settings = QueueArguments(
        message_ttl=_seconds(table.get(MESSAGE_TTL)),
        expires=_seconds(table.get(EXPIRES)),
        dead_letter_exchange=table.get(DEAD_LETTER_EXCHANGE),
        dead_letter_key=table.get(DEAD_LETTER_ROUTING_KEY),
        max_length=table.get(MAX_LENGTH),
        max_bytes=table.get(MAX_LENGTH_BYTES),
        overflow=table.get(OVERFLOW, DROP_HEAD),
        max_priority=table.get(MAX_PRIORITY, 0),
        single_active=table.get(SINGLE_ACTIVE_CONSUMER, False),
    )
    return _of_quorum(settings, table) if kind == QUORUM else settings


def _of_quorum(settings: QueueArguments, table: Mapping[str, Any]) -> QueueArguments:
    """
    What RabbitMQ 4.3 has a quorum queue do: the priorities 0 to 31 count, a message
    without one has 4, and C{reject-publish-dlx} is the same as C{drop-head}.  Dead
    letters stay only where the queue may refuse what is published.
    """
    limit = table.get(DELIVERY_LIMIT, _MOST_FAILURES)
    rejects = settings.overflow == REJECT
    return attrs.evolve(
        settings,
        quorum=True,
        max_priority=31,
        usual_priority=4,
        overflow=REJECT if rejects else DROP_HEAD,
        delivery_limit=None if limit < 0 else limit,
        at_least_once=rejects and table.get(DEAD_LETTER_STRATEGY) == "at-least-once",
    )


def _queue_type(table: Mapping[str, Any], queue: str) -> str:
    kind = table.get(QUEUE_TYPE, CLASSIC)
    if not isinstance(kind, str):
        problem = f"{{unacceptable_type,{kind_of(kind)}}}"
    elif kind in _CHECKS_OF:
        return kind
    elif kind == "stream":
        raise unsupported(f"queue type {kind}")
    else:
        problem = f"\"unsupported queue type '{kind}'\""
    raise precondition_failed(f"invalid arg '{QUEUE_TYPE}' for {queue}: {problem}")


def _check(name: str, value: Any, kind: str, queue: str) -> None:
    check = _CHECKS.get(name) or _CHECKS_OF[kind].get(name)
    if check is None:
        if not name.startswith("x-"):
            return  # the client's own
        if name in _ALL_NAMES:
            text = f"invalid arg '{name}' for {queue} of queue type rabbit_{kind}_queue"
            raise precondition_failed(text)
        raise unsupported(f"queue argument {name}")
    if name == DEAD_LETTER_EXCHANGE:
        check_exchange_name(name, value, queue)
    problem = check(value)
    if problem is not None:
        raise precondition_failed(f"invalid arg '{name}' for {queue}: {problem}")


def check_exchange_name(argument: str, value: Any, what: str) -> None:
    """
    Refuse what is to be the name of an exchange, and is not.

    @param what: how error messages name what has the argument.
    @raise AMQPChannelError: it is not text.
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
    names: Iterable[str] = _ALL_NAMES,
) -> None:
    """
    Refuse a declaration that does not fit what there is.

    @param what: how error messages name it.
    @param names: the arguments that matter.
    @raise AMQPChannelError: an argument differs.
    """
    for name in names:
        usual = CLASSIC if name == QUEUE_TYPE else None
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
    @raise AMQPChannelError: one differs.
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
