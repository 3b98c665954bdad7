"""
The delay ladder that earlier versions of quebert made: a dump of its topology, and the
ways through it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["PREFIXES", "declarations", "route"]

Call = tuple[str, dict[str, Any]]

#: What its names began with, of classic and of quorum queues.
PREFIXES = ("quebert.delay", "quebert.delay.quorum")
_UNITS = (1, *(64 << n for n in range(22)))
_QUORUM = {
    "x-queue-type": "quorum",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}


def route(prefix: str, queue: str, seconds: int) -> tuple[str, str]:
    """
    The exchange and the routing key by which a message came to C{queue} in so many
    whole seconds.
    """
    digits, rest = [seconds % 64], seconds // 64
    while rest:
        digits.append(rest % 2)
        rest //= 2
    first = next(level for level, digit in enumerate(digits) if digit)
    return f"{prefix}.{_UNITS[first]}s", ".".join((queue, *map(str, digits)))


def declarations(prefix: str) -> Iterator[Call]:
    """
    The calls that made it, but for the binding of each task queue.
    """
    kind = "quorum" if prefix.endswith("quorum") else "classic"
    waiting = _QUORUM if kind == "quorum" else {"x-queue-type": kind}
    lost, due = f"{prefix}.lost", f"{prefix}.due"
    yield _exchange(lost, "fanout")
    yield _exchange(due, "topic", {"alternate-exchange": lost})
    nexts = [*(f"{prefix}.{unit}s" for unit in _UNITS[1:]), due]
    for level, next_ in reversed([*enumerate(nexts)]):
        here, before = f"{prefix}.{_UNITS[level]}s", "*." * (level + 1)
        yield _exchange(here, "topic")
        for to, key in ((next_, f"{before}0.#"), (due, before[:-1])):
            given = {"destination": to, "source": here, "routing_key": key}
            yield ("exchange_bind", given)
    yield _queue(lost, {"x-queue-type": kind})
    yield _bind(lost, lost, "")
    for level, next_ in enumerate(nexts):
        here, before = f"{prefix}.{_UNITS[level]}s", "*." * (level + 1)
        for digit in range(1, 2 if level else 64):
            seconds = digit * _UNITS[level]
            queue = f"{prefix}.{seconds}s"
            after = {"x-message-ttl": seconds * 1000, "x-dead-letter-exchange": next_}
            yield _queue(queue, {**waiting, **after})
            yield _bind(queue, here, f"{before}{digit}.#")


def _exchange(name: str, kind: str, arguments: Mapping[str, Any] | None = None) -> Call:
    given = {"exchange": name, "exchange_type": kind, "durable": True}
    return ("exchange_declare", {**given, "arguments": dict(arguments or {})})


def _queue(name: str, arguments: Mapping[str, Any]) -> Call:
    given = {"queue": name, "durable": True, "arguments": dict(arguments)}
    return ("queue_declare", given)


def _bind(queue: str, exchange: str, key: str) -> Call:
    return ("queue_bind", {"queue": queue, "exchange": exchange, "routing_key": key})
