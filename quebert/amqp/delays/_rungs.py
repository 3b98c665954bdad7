"""
The queues and exchanges of the delay ladder.

A task that is to come later waits in RabbitMQ, for a second or for years, and needs
nobody's memory.  There is a queue for each wait, a rung (L{WAITS}): one for each second
up to 64 s, then one for 128 s, 256 s and so on, up to 18 hours.  After each wait the
time is judged again: a delay of years is many waits.  All messages of a rung wait
equally long, so none waits behind another.  A rung is declared when somebody needs it.
Its exchange, of the same name, routes all to it, so that the routing key is free to
name the task queue.  After the wait, RabbitMQ dead-letters the message with that key to
the exchange L{ARRIVALS}, and from there it comes to a queue
C{quebert.delay.arrivals.<queue>}.  A mediator that watches C{<queue>} takes it from
there (L{Forwarder<quebert.amqp.delays.Forwarder>}): if it is due
(L{due_in<quebert.amqp.delays.due_in>}), it goes to its queue; if not, to the next rung,
the longest that is not too long.

What waits for a task queue that is full, or was deleted, waits in a queue of its own.
RabbitMQ passes messages on for a rung with 32 places, and repeats what a queue refuses
after minutes: no rung knows a task queue, so no task queue can take these places.  A
message without a queue for its arrival is kept in L{UNCLAIMED}.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from quebert._protocol.extensions import (
    DEAD_LETTER_EXCHANGE,
    DEAD_LETTER_ROUTING_KEY,
    DEAD_LETTER_STRATEGY,
    MESSAGE_TTL,
    OVERFLOW,
)
from quebert.amqp.queues import CLASSIC, QUORUM, derived
from quebert.amqp.wire import Call

__all__ = [
    "ARRIVALS",
    "FIRST_WAITS",
    "PREFIX",
    "UNCLAIMED",
    "WAITS",
    "Rungs",
    "arrivals_of",
    "latest_due",
    "wait_for",
    "wait_of",
]

#: With a dot behind it, what the names of all that belongs to it begin with.
PREFIX = "quebert.delay"
#: The exchange to which all rungs pass messages on.
ARRIVALS = f"{PREFIX}.arrivals"
#: The exchange and the queue for messages that nobody has declared a queue for.
UNCLAIMED = f"{PREFIX}.unclaimed"
# Up to so many seconds, there is a rung for each second.
_FINE = 64
#: The seconds of all waits.  After the longest, 18 hours, a time is judged again.
WAITS: tuple[int, ...] = (*range(1, _FINE), *(_FINE << n for n in range(11)))

#: The waits whose rungs are made before any other.  RabbitMQ may lose messages in a new
#: rung.  So while the rung for a wait is new, a message begins with one of these waits.
FIRST_WAITS = tuple(1 << n for n in range(7))
# In classic queues, this argument wins over a policy.  In quorum queues, the overflow
# of a policy wins.
_NEVER_DROPPING = {OVERFLOW: "reject-publish"}
# What has quorum queues pass messages on with confirms, from RabbitMQ 3.10 on.
_CONFIRMED = {DEAD_LETTER_STRATEGY: "at-least-once"}

_SECONDS = re.compile(r"\.(\d{1,9})s$")


def wait_for(seconds: float) -> int:
    """
    The wait of the rung for a message that is due in C{seconds}: up to 64 s until it is
    due, rounded up to whole seconds; else the longest wait that is not longer.  Pure.
    """
    whole: int = max(1, math.ceil(seconds))
    if whole <= _FINE:
        return whole
    return max(wait for wait in WAITS if wait <= seconds)


def latest_due(wait: int) -> float:
    """
    In how many seconds a message is due at the latest that begins a wait of so many
    seconds; infinity for the longest wait.  (One that came while the right rung was new
    may be due later: then its first wait is shorter.)  Pure.
    """
    longer = next((each for each in WAITS if each > wait), math.inf)
    return wait if longer == wait + 1 else longer


def arrivals_of(queue: str) -> str:
    """
    The queue in which messages that are due for C{queue} arrive.
    """
    return derived(f"{ARRIVALS}.", queue)


def wait_of(rung: str) -> int:
    """
    The seconds that a rung lets messages wait; 0 for a queue that is none.  The name
    tells, so that rungs of other versions count, too.  Pure.
    """
    found = None if rung.startswith(ARRIVALS) else _SECONDS.search(rung)
    return int(found[1]) if found else 0


class Rungs:
    """
    What a ladder consists of.  Pure.

    @param quorum: of quorum queues, which pass messages on with confirms.
    @param arguments: of all its quorum queues, beside their type.
    @param exits: further arguments of the last queues: L{UNCLAIMED}, and those in which
        messages arrive.
    """

    def __init__(
        self,
        *,
        quorum: bool = False,
        arguments: Mapping[str, Any] | None = None,
        exits: Mapping[str, Any] | None = None,
    ) -> None:
        self.quorum = quorum
        self._prefix = f"{PREFIX}.quorum.wait" if quorum else f"{PREFIX}.wait"
        kind = QUORUM if quorum else CLASSIC
        self._keeping = {**kind, **(arguments or {}), **_NEVER_DROPPING}
        self._confirmed = _CONFIRMED if quorum else {}
        self._exits = {**self._keeping, **(exits or {})}

    def name(self, wait: int) -> str:
        """
        The exchange and the queue for a wait of so many seconds.
        """
        return f"{self._prefix}.{wait}s"

    def rung(self, wait: int) -> Iterator[Call]:
        """
        The calls that make the rung for a wait of so many seconds.
        """
        name = self.name(wait)
        after = {MESSAGE_TTL: wait * 1000, DEAD_LETTER_EXCHANGE: ARRIVALS}
        yield _exchange(name, "fanout")
        yield _queue(name, {**self._keeping, **self._confirmed, **after})
        yield _bind(name, name, "")

    def exits(self) -> Iterator[Call]:
        """
        The calls that make what all rungs lead to.
        """
        yield _exchange(UNCLAIMED, "fanout")
        yield _exchange(ARRIVALS, "direct", {"alternate-exchange": UNCLAIMED})
        yield _queue(UNCLAIMED, self._exits)
        yield _bind(UNCLAIMED, UNCLAIMED, "")

    def arrivals(self, queue: str) -> Iterator[Call]:
        """
        The calls that make the queue in which messages for C{queue} arrive.

        A policy with C{message-ttl} has RabbitMQ remove messages that nobody has
        fetched in time, and those that were fetched and come back since the connection
        was lost, also when the policy is there no more.  They go to C{queue} itself,
        where those that are not due yet begin another wait.  Classic queues would lose
        them where C{queue} takes nothing; there they go to L{UNCLAIMED}.
        """
        onwards = {DEAD_LETTER_EXCHANGE: UNCLAIMED}
        if self.quorum:
            onwards = {DEAD_LETTER_EXCHANGE: "", DEAD_LETTER_ROUTING_KEY: queue}
        yield _queue(arrivals_of(queue), {**self._exits, **self._confirmed, **onwards})
        yield _bind(arrivals_of(queue), ARRIVALS, queue)


def _exchange(name: str, kind: str, arguments: Mapping[str, Any] | None = None) -> Call:
    given = {"exchange": name, "exchange_type": kind, "durable": True}
    return ("exchange_declare", {**given, "arguments": dict(arguments or {})})


def _queue(name: str, arguments: Mapping[str, Any]) -> Call:
    given = {"queue": name, "durable": True}
    return ("queue_declare", {**given, "arguments": dict(arguments)})


def _bind(queue: str, exchange: str, key: str) -> Call:
    return ("queue_bind", {"queue": queue, "exchange": exchange, "routing_key": key})
