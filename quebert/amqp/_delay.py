"""
The delay ladder: what is to come later waits in the broker, for a second or for
eight years, and needs nobody's memory.

A delay, in whole seconds, is written as digits: how many seconds beyond whole units of
64, and then, as bits, how many of these units.  For each value of a digit there is a
queue that keeps messages for so long and then passes them on to the next digit.  The
routing key says which: the queue that the message comes back to, and then the digits,
the lowest first.  All messages of a queue wait equally long, so none waits behind
another.  (NServiceBus delays messages this way, by bits, the highest first.)

A wait ends at a moment that is known when it begins, whatever becomes of the broker in
the meantime; but when the broker is down at that moment, the next wait begins late.
Hence this order, and this size of the first digit: what is less than a minute is one
wait, and of what is longer the last wait is more than half.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from quebert.amqp._brief import brief_channel
from quebert.amqp._broker_version import version_of
from quebert.amqp._declaring import CLASSIC, INEQUIVALENT, QUORUM
from quebert.amqp._names import NAME_LIMIT, fitting
from quebert.amqp._once import Once
from quebert.errors import BrokerRefused

if TYPE_CHECKING:
    from quebert.amqp._channel import Channel
    from quebert.amqp._wire import Wire

__all__ = ["LONGEST", "PREFIX", "Ladder", "Rungs", "has_quorum"]

#: With a dot behind it, what the names of all that belongs to it begin with.
PREFIX = "quebert.delay"
#: What the digits of a delay count, in seconds, the lowest first.
UNITS = (1, *(64 << n for n in range(22)))
#: Seconds that a message can be delayed at most: eight and a half years.
LONGEST = 2 * UNITS[-1] - 1

# Bytes of a routing key that are left beside the digits.
_ROOM = NAME_LIMIT - len(".63") - len(".0") * len(UNITS[1:])
_NOT_IN_A_WORD = re.compile(r"[%.*#]")

#: What has quorum queues pass messages on with confirms, from RabbitMQ 3.10 on.
_CONFIRMED = {
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
_CONFIRMS = (3, 10)

Call = tuple[str, dict[str, Any]]


class Rungs:
    """
    What a ladder consists of.  Pure.

    @param quorum: of quorum queues, from one to the next of which messages go with
        confirms.
    """

    def __init__(self, *, quorum: bool = False) -> None:
        self.quorum = quorum
        self._prefix = f"{PREFIX}.quorum" if quorum else PREFIX

    def route(self, queue: str, seconds: float) -> tuple[str, str]:
        """
        The exchange and the routing key by which a message comes to C{queue} in
        C{seconds}, rounded up: never early.

        @param seconds: more than 0; L{LONGEST} at most.
        """
        digits = _digits(min(max(1, math.ceil(seconds)), LONGEST))
        first = next(level for level, digit in enumerate(digits) if digit)
        return self._exchange(first), ".".join((_word(queue), *map(str, digits)))

    def _exchange(self, level: int) -> str:
        """
        Where messages come to that may have to wait for the digit C{level}.
        """
        return f"{self._prefix}.{UNITS[level]}s"

    def declarations(self, *, typed: bool = True) -> Iterator[Call]:
        """
        The calls that make the ladder: its exchanges from the end to the beginning,
        then its queues from the shortest wait to the longest.  (RabbitMQ 3.10, killed
        within three seconds, may come back without what is in the quorum queue made
        last, and without its leader; nobody is likely to miss a wait of four years.)

        @param typed: name the type of classic queues, which earlier versions of quebert
            left to the virtual host.
        """
        keeping = QUORUM if self.quorum else CLASSIC if typed else {}
        waiting = {**QUORUM, **_CONFIRMED} if self.quorum else keeping
        lost, due = f"{self._prefix}.lost", f"{self._prefix}.due"
        yield _exchange(lost, "fanout")
        yield _exchange(due, "topic", {"alternate-exchange": lost})
        nexts = [*map(self._exchange, range(1, len(UNITS))), due]
        for level, next_ in reversed([*enumerate(nexts)]):
            here, before = self._exchange(level), "*." * (level + 1)
            yield _exchange(here, "topic")
            yield _bind_exchange(next_, here, f"{before}0.#")
            yield _bind_exchange(due, here, before[:-1])
        yield _queue(lost, keeping)
        yield _bind_queue(lost, lost, "")
        for level, next_ in enumerate(nexts):
            here, before = self._exchange(level), "*." * (level + 1)
            for digit in range(1, _radix(level)):
                seconds = digit * UNITS[level]
                queue = f"{self._prefix}.{seconds}s"
                after = {
                    "x-message-ttl": seconds * 1000,
                    "x-dead-letter-exchange": next_,
                }
                yield _queue(queue, {**waiting, **after})
                yield _bind_queue(queue, here, f"{before}{digit}.#")

    def arrival(self, queue: str) -> Call:
        """
        The call by which messages that have waited come to C{queue}.
        """
        return _bind_queue(queue, f"{self._prefix}.due", f"{_word(queue)}.#")


_QUORUM_RUNGS, _CLASSIC_RUNGS = Rungs(quorum=True), Rungs()


class Ladder:
    """
    The ladder of a client, made when it is first needed.  With another connection only
    the ways from it to the watched queues are made anew: it has some hundred parts, and
    a cluster that has just lost a node would be asked for all of them.  Where a part is
    missing, a publication says so, and then L{forget} is called.

    @param quorum: of quorum queues; with C{None} where the broker has them.  Classic
        queues pass messages on without confirms: when a RabbitMQ is stopped or
        killed at that moment, some are lost.
    """

    log = Logger()

    def __init__(self, *, quorum: bool | None = None) -> None:
        self._quorum = quorum
        self._rungs: WeakKeyDictionary[Wire, Rungs] = WeakKeyDictionary()
        self._told = ""
        self._whole = Once(self._make_whole)
        self._known: set[Rungs] = set()  # to be whole
        self._arrivals = Once(self._make_arrival)

    async def prepare(self, wire: Wire, queue: str) -> Rungs:
        """
        See to it that there is a ladder, and a way from it to C{queue}.

        @raise BrokerError: the broker does not let us.
        """
        rungs = self._rungs_of(wire)
        await self._arrivals.made(wire, queue)
        return rungs

    def _rungs_of(self, wire: Wire) -> Rungs:
        rungs = self._rungs.get(wire)
        if rungs is None:
            quorum = has_quorum(wire) if self._quorum is None else self._quorum
            rungs = self._rungs[wire] = _QUORUM_RUNGS if quorum else _CLASSIC_RUNGS
        return rungs

    def highest_priority(self, wire: Wire) -> int | None:
        """
        The highest AMQP priority with which a message can wait and not hold up others;
        C{None} for any.

        The quorum queues of RabbitMQ 4.0 to 4.2 have two lanes, for priorities from 5
        on and for the others.  A message of the second lane that is due waits there
        until the first message of the first lane is due, too.
        """
        lanes = (4, 0) <= (version_of(wire) or ()) < (4, 3)
        return 4 if lanes and self._rungs_of(wire).quorum else None

    def tell_kind(self, wire: Wire) -> None:
        """
        Log which kind of queues it is of, unless that was said before.
        """
        kind = "quorum" if self._rungs_of(wire).quorum else "classic"
        told = f"Delayed tasks wait in {kind} queues, {self._why(wire)}."
        if told != self._told:
            self._told = told
            self.log.info("{told}", told=told)

    def _why(self, wire: Wire) -> str:
        if self._quorum is not None:
            return "as configured"
        told = wire.server_properties
        if version_of(wire) is None:
            return f"since the broker is no RabbitMQ ({told.get('platform')})"
        has = "has them" if has_quorum(wire) else "has no others with confirms"
        return f"since RabbitMQ {told['version']} {has}"

    async def _make_arrival(self, wire: Wire, queue: str) -> None:
        if self._rungs[wire] not in self._known:
            await self._whole.made(wire, "")
        async with brief_channel(wire) as channel:
            await _make(channel, iter([self._rungs[wire].arrival(queue)]))

    async def _make_whole(self, wire: Wire, name: str) -> None:
        rungs = self._rungs[wire]
        try:
            async with brief_channel(wire) as channel:
                await _make(channel, rungs.declarations())
        except BrokerRefused as e:
            if e.code != INEQUIVALENT or rungs.quorum:
                raise
            async with brief_channel(wire) as channel:
                await _make(channel, rungs.declarations(typed=False))
        self._known.add(rungs)

    def forget(self) -> None:
        """
        Something of it is missing: make it anew before it is used again.
        """
        self._known.clear()
        self._whole.forget()
        self._arrivals.forget()


def has_quorum(wire: Wire) -> bool:
    """
    Whether the broker is a RabbitMQ whose quorum queues confirm what they pass on.
    The embedded broker's classic queues lose nothing, either, and cost less.
    """
    return (version_of(wire) or ()) >= _CONFIRMS


async def _make(channel: Channel, calls: Iterator[Call]) -> None:
    """
    Make the calls, one right behind the other: the broker answers in their order, and
    it may be far away.
    """
    asked = [Deferred.fromCoroutine(channel.call(each, **how)) for each, how in calls]
    for answered, result in await DeferredList(asked, consumeErrors=True):
        if not answered:
            result.raiseException()


def _radix(level: int) -> int:
    """
    How many values a digit has.
    """
    return (*UNITS, LONGEST + 1)[level + 1] // UNITS[level]


def _digits(seconds: int) -> list[int]:
    """
    The digits of a delay, the lowest first; the last is not zero.
    """
    digits = []
    for level in range(len(UNITS)):
        if not seconds:
            break
        seconds, digit = divmod(seconds, _radix(level))
        digits.append(digit)
    return digits


def _word(queue: str) -> str:
    """
    The name of a queue as one word of a routing key.
    """
    word = _NOT_IN_A_WORD.sub(lambda found: f"%{ord(found[0]):02X}", queue)
    return fitting(queue, _ROOM, word)


def _exchange(name: str, kind: str, arguments: Mapping[str, Any] | None = None) -> Call:
    given = {"exchange": name, "exchange_type": kind, "durable": True}
    return ("exchange_declare", {**given, "arguments": dict(arguments or {})})


def _queue(name: str, arguments: Mapping[str, Any]) -> Call:
    given = {"queue": name, "durable": True}
    return ("queue_declare", {**given, "arguments": dict(arguments)})


def _bind_queue(queue: str, exchange: str, key: str) -> Call:
    return ("queue_bind", {"queue": queue, "exchange": exchange, "routing_key": key})


def _bind_exchange(destination: str, source: str, key: str) -> Call:
    given = {"destination": destination, "source": source, "routing_key": key}
    return ("exchange_bind", given)
