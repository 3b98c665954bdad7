"""
The delay ladder: a task that is to come later waits in RabbitMQ, for a second or for
eight years, and needs nobody's memory.

There is a queue for each wait, a rung: of 1 s to 64 s, and of 128 s, 256 s and so on.
All messages of a rung wait equally long, so none waits behind another.  A rung is
declared when somebody needs it.  Its exchange, of the same name, routes all to it, so
that the routing key is free to name the task queue.  After the wait, RabbitMQ
dead-letters the message with that key to the exchange L{ARRIVALS}, and from there it
comes to a queue C{quebert.delay.arrivals.<queue>}.  A mediator that watches C{<queue>}
takes it from there (L{Forwarder<quebert.amqp._forwarding.Forwarder>}): if it is due, it
goes to its queue; if not, to the next rung, the longest that is not too long.

What waits for a task queue that is full, or was deleted, waits in a queue of its own.
RabbitMQ passes messages on for a rung with 32 places, and repeats what a queue refuses
after minutes: no rung knows a task queue, so no task queue can take these places.  A
message without a queue for its arrival is kept in L{UNCLAIMED}.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger

from quebert.amqp._brief import brief_channel
from quebert.amqp._broker_version import version_of
from quebert.amqp._declaring import CLASSIC, INEQUIVALENT, QUORUM, no_delivery_limit
from quebert.amqp._existing import find_exchange, find_queue
from quebert.amqp._names import NAME_LIMIT, fitting
from quebert.amqp._once import Once
from quebert.errors import BrokerError, BrokerRefused

if TYPE_CHECKING:
    from quebert.amqp._wire import Wire

__all__ = [
    "ARRIVALS",
    "CHECK",
    "CHECK_ALL",
    "PREFIX",
    "UNCLAIMED",
    "WAITS",
    "Call",
    "Ladder",
    "LadderRefused",
    "Rungs",
    "arrivals_of",
    "has_quorum",
    "in_one_wait",
    "make",
    "wait_for",
]

#: With a dot behind it, what the names of all that belongs to it begin with.
PREFIX = "quebert.delay"
#: The exchange to which all rungs pass messages on.
ARRIVALS = f"{PREFIX}.arrivals"
#: The exchange and the queue for messages that nobody has declared a queue for.
UNCLAIMED = f"{PREFIX}.unclaimed"
# Seconds: up to so many, a delay is one wait.
_FINE = 64
#: The seconds of all waits.  After the longest, 18 hours, a time is judged again.
WAITS: tuple[int, ...] = (*range(1, _FINE), *(_FINE << n for n in range(11)))

#: Seconds between two looks at the exchanges to which all rungs lead, ...
CHECK = 5.0
#: ... and at all other parts that are in use.
CHECK_ALL = 30.0
_ACCESS_REFUSED = 403
_NEEDS = rf" (the user needs to configure, write and read {re.escape(PREFIX)}\..*)"
# Seconds for which a quorum queue is new.  A RabbitMQ that is killed within three
# seconds after it made one comes back without the messages in it.
_NEW = 3.5
# Seconds after which RabbitMQ is asked again for what it has refused.
_AGAIN = 1.0

#: What has quorum queues pass messages on with confirms, from RabbitMQ 3.10 on.
_CONFIRMED = {
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
_CONFIRMS = (3, 10)

Call = tuple[str, dict[str, Any]]


class LadderRefused(BrokerError):
    """
    RabbitMQ refuses to have a part of the ladder declared.  The ladder has logged it.
    """


def wait_for(seconds: float) -> int:
    """
    How long a message that is due in C{seconds} waits next: until it is due, rounded up
    to whole seconds; or, where that is more than one wait, as long as possible.  Pure.
    """
    whole: int = max(1, math.ceil(seconds))
    if whole <= _FINE:
        return whole
    return max(wait for wait in WAITS if wait <= seconds)


def in_one_wait(seconds: float) -> bool:
    """
    Whether a delay is one wait.  Pure.
    """
    return wait_for(seconds) >= seconds


def arrivals_of(queue: str) -> str:
    """
    The queue in which messages that are due for C{queue} arrive.
    """
    return f"{ARRIVALS}.{fitting(queue, NAME_LIMIT - len(ARRIVALS) - 1)}"


class Rungs:
    """
    What a ladder consists of.  Pure.

    @param quorum: of quorum queues, from one to the next of which messages go with
        confirms.
    @param limitless: the arguments of a quorum queue that drops nothing.
    """

    def __init__(
        self, *, quorum: bool = False, limitless: Mapping[str, Any] | None = None
    ) -> None:
        self.quorum = quorum
        self._prefix = f"{PREFIX}.quorum.wait" if quorum else f"{PREFIX}.wait"
        self._kind = QUORUM if quorum else CLASSIC
        self._keeping = {**self._kind, **(limitless or {}), **_NEVER_DROPPING}

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
        after = {"x-message-ttl": wait * 1000, "x-dead-letter-exchange": ARRIVALS}
        confirmed = _CONFIRMED if self.quorum else {}
        yield _exchange(name, "fanout")
        yield _queue(name, {**self._kind, **confirmed, **after})
        yield _bind(name, name, "")

    def ends(self) -> Iterator[Call]:
        """
        The calls that make what all rungs lead to.
        """
        yield _exchange(UNCLAIMED, "fanout")
        yield _exchange(ARRIVALS, "direct", {"alternate-exchange": UNCLAIMED})
        yield _queue(UNCLAIMED, self._keeping)
        yield _bind(UNCLAIMED, UNCLAIMED, "")

    def arrivals(self, queue: str) -> Iterator[Call]:
        """
        The calls that make the queue in which messages for C{queue} arrive.
        """
        yield _queue(arrivals_of(queue), self._keeping)
        yield _bind(arrivals_of(queue), ARRIVALS, queue)


# Whatever a policy wants.
_NEVER_DROPPING = {"x-overflow": "reject-publish"}


class Ladder:
    """
    The ladder of a client.  Each part is made when it is first needed, and again when
    it turns out to be missing: when a publication is returned, and when L{check} finds
    it gone.

    @param quorum: of quorum queues; with C{None} where the broker has them.  Classic
        queues pass messages on without confirms: when a RabbitMQ is stopped or
        killed at that moment, some are lost.
    @ivar unclaimed: how many messages were in L{UNCLAIMED} at the last look.
    """

    log = Logger()

    def __init__(self, *, quorum: bool | None = None) -> None:
        self._quorum = quorum
        self._rungs: WeakKeyDictionary[Wire, Rungs] = WeakKeyDictionary()
        self._told = ""
        self._refusal = ""
        self._ends = Once(self._make_ends, again=_AGAIN)
        self._arrivals = Once(self._make_arrivals, again=_AGAIN)
        self._waits = Once(self._make_rung, again=_AGAIN)
        self._depths: dict[str, tuple[int, float]] = {}  # of rungs, and when
        self._known: dict[tuple[Once, str], None] = {}  # to be there
        self._seen: dict[str, float] = {}  # queues, and when for the first time
        self._checked = self._checked_all = -math.inf
        self.unclaimed = 0

    async def way(
        self, wire: Wire, queue: str, left: Callable[[], float]
    ) -> tuple[str, str]:
        """
        The exchange and the routing key by which a message comes to C{queue} later, and
        not early.

        @param left: tells in how many seconds from now it is due.
        @raise LadderRefused: the broker does not let us make a part of the ladder.
        @raise BrokerError: the connection was lost.
        """
        await self.prepare(wire, queue)
        while True:  # it takes its time, and a shorter wait may be long enough then
            wait = wait_for(left())
            await self._made(self._waits, wire, str(wait))
            if wait_for(left()) == wait:
                return self.rungs_of(wire).name(wait), queue

    async def prepare(self, wire: Wire, queue: str) -> None:
        """
        See to it that messages can arrive for C{queue}.

        @raise LadderRefused: the broker does not let us.
        @raise BrokerError: the connection was lost.
        """
        await self._made(self._arrivals, wire, queue)

    async def _made(self, once: Once, wire: Wire, name: str) -> None:
        """
        Have a part made, unless it was there with an earlier connection: a RabbitMQ
        that has just started is slow to answer.  Log the first refusal, and the end of
        all.
        """
        if (once, name) in self._known:
            return
        try:
            await once.made(wire, name)
            self._known[once, name] = None
        except BrokerRefused as e:
            if self._refusal != str(e):
                self._refusal = str(e)
                needs = _NEEDS if e.code == _ACCESS_REFUSED else ""
                self.log.warn(
                    "Tasks cannot wait in the broker for now, trying again: {why}"
                    "{needs}",
                    why=e,
                    needs=needs,
                )
            raise LadderRefused(f"tasks cannot wait in the broker: {e}") from None
        if self._refusal:
            self._refusal = ""
            self.log.info("Tasks can wait in the broker again.")

    def rungs_of(self, wire: Wire) -> Rungs:
        """
        What the ladder consists of in this broker.
        """
        rungs = self._rungs.get(wire)
        if rungs is None:
            quorum = has_quorum(wire) if self._quorum is None else self._quorum
            limitless = no_delivery_limit(wire) if quorum else None
            rungs = self._rungs[wire] = Rungs(quorum=quorum, limitless=limitless)
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
        return 4 if lanes and self.rungs_of(wire).quorum else None

    def tell_kind(self, wire: Wire) -> None:
        """
        Log which kind of queues it is of, unless that was said before.
        """
        kind = "quorum" if self.rungs_of(wire).quorum else "classic"
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

    # -- Its parts

    async def _make_ends(self, wire: Wire, name: str) -> None:
        self.unclaimed = await self._make(wire, UNCLAIMED, self.rungs_of(wire).ends())

    async def _make_arrivals(self, wire: Wire, queue: str) -> None:
        await self._ends.made(wire, "")
        calls = self.rungs_of(wire).arrivals(queue)
        await self._make(wire, arrivals_of(queue), calls)

    async def _make_rung(self, wire: Wire, wait: str) -> None:
        rungs, now = self.rungs_of(wire), wire.clock.seconds()
        rung = rungs.name(int(wait))
        count = await self._make(wire, rung, rungs.rung(int(wait)))
        self._depths[rung] = (count, now)

    async def _make(self, wire: Wire, queue: str, calls: Iterable[Call]) -> int:
        """
        Make the calls that declare one queue, and what belongs to it; how many messages
        are in the queue.
        """
        found = await find_queue(wire, queue)
        if found is None or queue not in self._seen:
            self._seen[queue] = wire.clock.seconds()
        if found is not None:
            await _make_or_use(wire, calls)
            count: int = found.message_count
            return count
        if queue in self._depths:
            self._tell_deleted(wire, queue)
        await _make_or_use(wire, calls)
        return 0

    async def settled(self, wire: Wire, rung: str, queue: str) -> None:
        """
        Returns once a message survives that was confirmed in C{rung}, and is for
        C{queue}: RabbitMQ may lose it where one of the queues on its way is new.
        """
        if not self.rungs_of(wire).quorum:
            return
        seen = (self._seen.get(each, 0.0) for each in (rung, arrivals_of(queue)))
        left = max(seen) + _NEW - wire.clock.seconds()
        if left > 0:
            await deferLater(wire.clock, left)

    def _tell_deleted(self, wire: Wire, rung: str) -> None:
        count, when = self._depths.pop(rung)
        self.log.warn(
            "Queue {rung!r}, in which delayed tasks wait, was deleted, and is declared"
            " anew. {count} tasks waited there {seconds:.0f} s ago.",
            rung=rung,
            count=count,
            seconds=wire.clock.seconds() - when,
        )

    async def check(self, wire: Wire) -> None:
        """
        Make anew what somebody has deleted: every L{CHECK} seconds the ends of the
        ladder, and every L{CHECK_ALL} seconds all parts that are in use.  However often
        it is called, the broker is asked no more than that.

        @raise BrokerError: the broker does not let us, or the connection was lost.
        """
        now = wire.clock.seconds()
        if now - self._checked < CHECK:
            return
        self._checked = now
        if await find_exchange(wire, ARRIVALS) is None:  # with all that was bound to it
            self._checked_all = -math.inf
            self.log.warn(
                "Exchange {exchange!r} was deleted, and is declared anew: no delayed"
                " task could arrive.",
                exchange=ARRIVALS,
            )
        await self._make_ends(wire, "")
        if now - self._checked_all >= CHECK_ALL:
            self._checked_all = now
            for once, name in list(self._known):
                if once is self._arrivals:
                    await self._make_arrivals(wire, name)
                else:
                    await self._make_rung(wire, name)

    def forget(self) -> None:
        """
        Something of it is missing: make it anew before it is used again.
        """
        self._known.clear()
        for each in (self._ends, self._arrivals, self._waits):
            each.forget()


def has_quorum(wire: Wire) -> bool:
    """
    Whether the broker is a RabbitMQ whose quorum queues confirm what they pass on.
    The embedded broker's classic queues lose nothing, either, and cost less.
    """
    return (version_of(wire) or ()) >= _CONFIRMS


async def _make_or_use(wire: Wire, calls: Iterable[Call]) -> None:
    """
    Make the calls; a queue that is there otherwise is used as it is.
    """
    listed = list(calls)
    try:
        await make(wire, listed)
    except BrokerRefused as e:
        if e.code != INEQUIVALENT or " for queue " not in str(e):
            raise
        await make(wire, (each for each in listed if each[0] != "queue_declare"))


async def make(wire: Wire, calls: Iterable[Call]) -> None:
    """
    Make calls on a channel of their own, one right behind the other: the broker answers
    in their order, and it may be far away.

    @raise BrokerError: what the first one raises that fails.
    """
    async with brief_channel(wire) as channel:
        asked = [
            Deferred.fromCoroutine(channel.call(each, **how)) for each, how in calls
        ]
        answers: Any = await DeferredList(asked, consumeErrors=True)
    for answered, result in answers:
        if not answered:
            result.raiseException()


def _exchange(name: str, kind: str, arguments: Mapping[str, Any] | None = None) -> Call:
    given = {"exchange": name, "exchange_type": kind, "durable": True}
    return ("exchange_declare", {**given, "arguments": dict(arguments or {})})


def _queue(name: str, arguments: Mapping[str, Any]) -> Call:
    given = {"queue": name, "durable": True}
    return ("queue_declare", {**given, "arguments": dict(arguments)})


def _bind(queue: str, exchange: str, key: str) -> Call:
    return ("queue_bind", {"queue": queue, "exchange": exchange, "routing_key": key})
