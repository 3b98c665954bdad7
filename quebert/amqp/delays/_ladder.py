"""
The parts of the delay ladder in the broker: made when they are needed, and made anew
where somebody has deleted them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from quebert._lanes import Lanes, all_of
from quebert._log import Logger
from quebert.amqp.delays._declarations import declare
from quebert.amqp.delays._refusals import Refusals
from quebert.amqp.delays._rungs import (
    ARRIVALS,
    FIRST_WAITS,
    UNCLAIMED,
    Rungs,
    arrivals_of,
    wait_for,
)
from quebert.amqp.delays._rungs_in_use import CHANNELS, CHECK, CHECK_ALL, RungsInUse
from quebert.amqp.link import DeclareOnce, has_failed
from quebert.amqp.queues import (
    NewQueues,
    dead_letters_of,
    find_exchange,
    find_queue,
    own_quorum,
    unreached_length_limit,
)
from quebert.amqp.wire import Call, version_of
from quebert.errors import BrokerError, BrokerRefused, MayNotLook, ReplyCode

if TYPE_CHECKING:
    from quebert.amqp.link import SpareConnection
    from quebert.amqp.wire import Wire

__all__ = ["CHECK_EXITS", "Ladder", "has_quorum"]

#: Seconds between two looks at the exchange to which all rungs lead.
CHECK_EXITS = 3.0

_CONFIRMS = (3, 10)
# Seconds after which RabbitMQ is asked again for what it has refused.
_AGAIN = 1.0


class Ladder:
    """
    The ladder of a client.  Each part is made when it is first needed, and again when
    it turns out to be missing: when a publication is returned, and when L{check} finds
    it gone.

    @param quorum: of quorum queues; with C{None} where the broker has them.  Classic
        queues pass messages on without confirms: when a RabbitMQ is stopped or
        killed at that moment, some are lost.
    @param spare: the connection over which rungs of quorum queues are used; without it
        they are used over the same connection as all else.
    @ivar unclaimed: how many messages were in L{UNCLAIMED} at the last look.
    @ivar brought_back_at: when the last one was brought back from there, in seconds of
        the clock.
    @ivar bringing_back: held by the queue for which somebody goes through what went
        astray: meanwhile, no other queue finds the messages there that are for it.
    @ivar new_queues: in which queues a message is not safe yet; also those to which
        messages go from the ladder, and those of dead letters.
    """

    log = Logger()

    def __init__(
        self, *, quorum: bool | None = None, spare: SpareConnection | None = None
    ) -> None:
        self._quorum = quorum
        self._rungs: WeakKeyDictionary[Wire, Rungs] = WeakKeyDictionary()
        self._told = ""
        self._refusals = Refusals()
        self._in_use = RungsInUse(self.rungs_of, self._make_rung, spare)
        self._first = DeclareOnce(self._make_first, again=_AGAIN)
        self._arrivals = DeclareOnce(self._make_arrivals, again=_AGAIN)
        self._waits = DeclareOnce(self._make_rung, again=_AGAIN)
        self._needed: dict[
            tuple[DeclareOnce, str], bool
        ] = {}  # and whether it is there
        self._checking = False
        self._checked = self._checked_exits = self._checked_all = -math.inf
        self.unclaimed = 0
        self.brought_back_at = -math.inf
        self.bringing_back = Lanes(1)
        self.new_queues = NewQueues()

    async def rung_for(self, wire: Wire, queue: str, left: Callable[[], float]) -> str:
        """
        The exchange of the rung in which a message for C{queue} waits, and is not
        early.  That takes seconds as long as all rungs are new, up to when the message
        is due.

        @param left: tells in how many seconds from now it is due.
        @raise LadderRefused: the broker refuses a part of the ladder.
        @raise BrokerError: the connection was lost.
        """
        await self.prepare(wire, queue)
        while True:  # it takes its time, and a shorter wait may be long enough then
            wait = wait_for(left())
            await self._made(self._waits, wire, str(wait), queue)
            if wait_for(left()) != wait:
                continue
            wait = self._old(wire, wait)
            queues = self.rungs_of(wire).name(wait), arrivals_of(queue)
            if self.new_queues.has(wire, *queues):
                await self._old_or_due(wire, queues, left())
            elif self._in_use.is_idle(wire, wait):
                await self._use(wire, wait, queue)
            else:
                self._in_use.published(wire, wait)
                return queues[0]
            if left() <= 0:
                return queues[0]

    async def _old_or_due(
        self, wire: Wire, queues: Iterable[str], seconds: float
    ) -> None:
        """
        Returns when all of these queues are old enough, or after C{seconds}.
        """
        waiting = Deferred.fromCoroutine(self.new_queues.old(wire, *queues))
        with suppress(TimeoutError):
            await waiting.addTimeout(max(0.0, seconds), wire.clock)

    async def _use(self, wire: Wire, wait: int, queue: str) -> None:
        """
        Use a rung before a task of C{queue} is published there.
        """
        try:
            await self._in_use.use(wire, wait)
        except BrokerRefused as e:
            if has_failed(e):
                raise
            raise self._refusals.logged(e, queue, wire.clock) from None

    def _old(self, wire: Wire, wait: int) -> int:
        """
        The longest wait up to C{wait} whose rung is not new; C{wait} if there is none.
        """

        def is_new(wait: int) -> bool:
            return self.new_queues.has(wire, self.rungs_of(wire).name(wait))

        if not is_new(wait):
            return wait
        first = (each for each in FIRST_WAITS if each < wait)
        return max((each for each in first if not is_new(each)), default=wait)

    async def prepare(self, wire: Wire, queue: str) -> None:
        """
        See to it that messages can arrive for C{queue}.

        @raise LadderRefused: the broker refuses it.
        @raise BrokerError: the connection was lost.
        """
        await self._made(self._arrivals, wire, queue, queue)

    async def _made(self, once: DeclareOnce, wire: Wire, name: str, queue: str) -> None:
        """
        Have a part made, unless it was there with an earlier connection: a RabbitMQ
        that has just started is slow to answer.

        @param queue: for whose tasks it is.
        """
        if self._needed.get((once, name)):
            return
        try:
            await once.made(wire, name)
            self._needed[once, name] = True
        except BrokerRefused as e:
            if e.code == ReplyCode.NOT_FOUND:  # a part was deleted since it was made
                self.forget()
            raise self._refusals.logged(e, queue, wire.clock) from None
        self._refusals.over()

    def tells(self, why: BrokerError, queue: str, clock: IReactorTime) -> bool:
        """
        Log a refusal that a task of C{queue} met, if the user lacks a permission on a
        part of the ladder; returns whether it is in the log.
        """
        return self._refusals.tells(why, queue, clock)

    def rungs_of(self, wire: Wire) -> Rungs:
        """
        What the ladder consists of in this broker.
        """
        rungs = self._rungs.get(wire)
        if rungs is None:
            quorum = has_quorum(wire) if self._quorum is None else self._quorum
            own, limit = own_quorum(wire), unreached_length_limit(wire)
            rungs = (
                Rungs(quorum=True, arguments=own, exits=limit) if quorum else Rungs()
            )
            self._rungs[wire] = rungs
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

    async def _make_first(self, wire: Wire, name: str) -> None:
        await self._make_exits(wire, name)
        for wait in FIRST_WAITS:
            await self._waits.made(wire, str(wait))
            self._needed[self._waits, str(wait)] = True

    async def _make_exits(self, wire: Wire, name: str) -> None:
        self.unclaimed = await self._make(wire, UNCLAIMED, self.rungs_of(wire).exits())

    async def _make_arrivals(self, wire: Wire, queue: str) -> None:
        await self._first.made(wire, "")
        calls = self.rungs_of(wire).arrivals(queue)
        await self._make(wire, arrivals_of(queue), calls)

    async def _make_rung(self, wire: Wire, wait: str) -> None:
        rungs = self.rungs_of(wire)
        rung = rungs.name(int(wait))
        depth = await self._make(wire, rung, rungs.rung(int(wait)))
        self._in_use.declared(wire, int(wait), depth)

    async def _make(self, wire: Wire, queue: str, calls: Iterable[Call]) -> int:
        """
        Make the calls that declare one queue, and what belongs to it; returns how many
        messages are in the queue.
        """
        found = await find_queue(wire, queue)
        exists = found is not None
        if not exists:
            self._in_use.is_missing(wire, queue)
        kind = "quorum" if self.rungs_of(wire).quorum else "classic"
        with self.new_queues.declaring(wire, queue, kind, exists=exists):
            await declare(wire, list(calls), exists=exists)
        return int(found.message_count) if exists else 0

    async def kept(self, wire: Wire, rung: str, queue: str) -> None:
        """
        Returns once a message survives that was confirmed in C{rung}, and is for
        C{queue}: at once, unless a part was declared anew meanwhile.
        """
        await self.new_queues.old(wire, rung, arrivals_of(queue))

    # -- Looking after it

    async def check(self, wire: Wire) -> None:
        """
        Keep in use the rungs in which messages may wait, and make anew what somebody
        has deleted.  However often it is called, the broker is asked at intervals.

        @raise BrokerError: the broker refuses it, or the connection was lost.
        """
        now = wire.clock.seconds()
        if self._checking or now - self._checked < CHECK:
            return
        self._checked, self._checking = now, True
        try:
            await self._in_use.use_all(wire, now)
            if now - self._checked_exits >= CHECK_EXITS:
                self._checked_exits = now
                await self._check_exits(wire)
            else:
                await self._count_unclaimed(wire)
            if now - self._checked_all >= CHECK_ALL:
                self._checked_all = now
                await self._check_all(wire)
        finally:
            self._checking = False

    async def _check_exits(self, wire: Wire) -> None:
        if await find_exchange(wire, ARRIVALS) is None:  # with all that was bound to it
            self._checked_all = -math.inf
            self.log.warn(
                "Exchange {exchange!r} was deleted, so no delayed task could reach its"
                " queue. The exchange is declared anew.",
                exchange=ARRIVALS,
            )
        await self._make_exits(wire, "")
        if self._refusals.denied:  # perhaps nobody needs another part for a while
            self._refusals.over()

    async def _count_unclaimed(self, wire: Wire) -> None:
        with suppress(MayNotLook):
            found = await find_queue(wire, UNCLAIMED)
            if found is not None:
                self.unclaimed = found.message_count

    async def _check_all(self, wire: Wire) -> None:
        making = (
            self._make_arrivals(wire, name)
            if once is self._arrivals
            else self._make_rung(wire, name)
            for once, name in list(self._needed)
        )
        await all_of(making, CHANNELS)

    def forget(self) -> None:
        """
        A part of the ladder may be missing: declare each part again before it is used.
        """
        self._needed = dict.fromkeys(self._needed, False)
        for each in (self._first, self._arrivals, self._waits):
            each.forget()

    def leave(self, queue: str) -> None:
        """
        Nobody watches C{queue} here any more: look after its arrivals no longer.
        """
        self._needed.pop((self._arrivals, queue), None)
        self.new_queues.forget(queue, dead_letters_of(queue), arrivals_of(queue))
        self._arrivals.forget()

    def end(self) -> None:
        """
        Warn no more.
        """
        self._refusals.end()


def has_quorum(wire: Wire) -> bool:
    """
    Whether the broker is a RabbitMQ whose quorum queues confirm what they pass on.
    The embedded broker's classic queues lose nothing, either, and cost less.
    """
    return (version_of(wire) or ()) >= _CONFIRMS
