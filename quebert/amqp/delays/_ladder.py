"""
The parts of the delay ladder in the broker: made when they are needed, looked after as
long as they are in use, and made anew where somebody has deleted them.

Nobody consumes from a rung.  A policy with C{expires}, which operators set for all
queues, has RabbitMQ delete queues that nobody uses, with all that is in them.  So a
rung is used at short intervals as long as messages may wait in it.  Measured on
RabbitMQ 3.10.8 and 4.3.6: to declare a classic queue is to use it, even passively; a
quorum queue is in use when C{basic.get} is called.  Publications and bindings do not
count.  (RabbitMQ 4.3.6 notes the end of a consumer, too, but consumers get messages.)
The message goes back with its channel, to the front of its queue, which a policy may
delay (L{own_quorum<quebert.amqp.queues.own_quorum>}).  Given back with
C{basic.nack}, it would go to the end of a quorum queue that has no delivery limit
(3.10.8, 4.0.5), and RabbitMQ passes a message on only when it is the first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp.delays._rungs import (
    ARRIVALS,
    FIRST_WAITS,
    PREFIX,
    UNCLAIMED,
    WAITS,
    Call,
    Rungs,
    arrivals_of,
    wait_for,
)
from quebert.amqp.link import DeclareOnce, Lanes, all_of
from quebert.amqp.queues import (
    ACCESS_REFUSED,
    INEQUIVALENT,
    NOT_FOUND,
    Declared,
    NewQueues,
    dead_letters_of,
    declared,
    find_exchange,
    find_queue,
    has_failed,
    own_quorum,
    pause_after,
    unreached_length_limit,
)
from quebert.amqp.wire import temporary_channel, version_of
from quebert.errors import BrokerError, BrokerRefused, MayNotLook

if TYPE_CHECKING:
    from quebert.amqp.link import SpareConnection
    from quebert.amqp.wire import Channel, Wire

__all__ = [
    "CHECK",
    "CHECK_ALL",
    "CHECK_ENDS",
    "Ladder",
    "LadderRefused",
    "has_quorum",
    "make",
]

#: Seconds between two looks at the rungs in which messages may wait, and at the number
#: of those that are unclaimed, ...
CHECK = 1.5
#: ... at the exchange to which all rungs lead, ...
CHECK_ENDS = 3.0
#: ... and at all other parts that were needed, and for rungs of others.
CHECK_ALL = 30.0

# The arguments that tell when messages leave a queue, and where they go.
_WAYS_OUT = (
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
)
_CONFIRMS = (3, 10)
# How texts of RabbitMQ name a part: "access to exchange 'quebert.delay.arrivals' in …".
_OUR_PART = f" '{PREFIX}."
_NEEDS = (
    rf" (the user needs to configure, write and read {re.escape(PREFIX)}\..*, and to"
    r" write amq\.default)"
)
# Seconds after which RabbitMQ is asked again for what it has refused.
_AGAIN = 1.0
# Rungs that are used at once: of each, RabbitMQ sends a message, which may be large.
_AT_ONCE = 8
# Parts that are looked at, or made, at once: each takes a channel for that.  RabbitMQ
# may let a user have few, and closes the connection where there are too many.
_CHANNELS = 16
# Seconds for which a message may be in a rung beyond its wait: RabbitMQ tries again
# after three to six minutes if it could not pass a message on, as when it has just
# started.  It looks every three minutes at what is three minutes old.
_SLOW = 400.0


@attrs.frozen
class _Failing:
    """
    A rung that RabbitMQ may have failed at.

    @ivar times: how often in a row.
    @ivar until: seconds of the clock; it is not asked for messages before.
    """

    times: int
    until: float


_NEVER = _Failing(0, -math.inf)


class LadderRefused(BrokerError):
    """
    RabbitMQ refuses the declaration of a part of the ladder.  The ladder has logged it.
    """


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
        self._spare = spare
        self._rungs: WeakKeyDictionary[Wire, Rungs] = WeakKeyDictionary()
        self._told = ""
        self._denied: dict[str, str] = {}  # of queues, what was refused first
        self._clock: IReactorTime
        self._refused = RepeatedWarning(
            self.log,
            lambda: self._clock,
            "Tasks cannot wait in the broker for now, trying again",
            "Tasks can wait in the broker again",
        )
        self._first = DeclareOnce(self._make_first, again=_AGAIN)
        self._arrivals = DeclareOnce(self._make_arrivals, again=_AGAIN)
        self._waits = DeclareOnce(self._make_rung, again=_AGAIN)
        self._depths: dict[str, tuple[int, float]] = {}  # of rungs, and when
        self._needed: dict[
            tuple[DeclareOnce, str], bool
        ] = {}  # and whether it is there
        self._used: dict[int, float] = {}  # waits, and when last
        self._last_use: dict[int, float] = {}  # as RabbitMQ sees it, of waits
        self._uses = DeclareOnce(self._use_one_alone)
        self._failing: dict[str, _Failing] = {}  # rungs
        self._surveyed: WeakKeyDictionary[Wire, float] = WeakKeyDictionary()  # when
        self._checking = False
        self._checked = self._checked_ends = self._checked_all = -math.inf
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
        @raise LadderRefused: the broker does not let us make a part of the ladder.
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
            elif self._is_idle(wire, wait):
                await self._use_again(wire, wait, queue)
            else:
                self._used[wait] = wire.clock.seconds()
                return queues[0]
            if left() <= 0:
                return queues[0]

    async def _old_or_due(
        self, wire: Wire, queues: Iterable[str], seconds: float
    ) -> None:
        """
        Returns when none of these queues is new, or after C{seconds}.
        """
        waiting = Deferred.fromCoroutine(self.new_queues.old(wire, *queues))
        with suppress(TimeoutError):
            await waiting.addTimeout(max(0.0, seconds), wire.clock)

    def _is_idle(self, wire: Wire, wait: int) -> bool:
        """
        Whether a policy with C{expires} may have a rung deleted before it is looked
        after: to publish there is not to use it.
        """
        now: float = wire.clock.seconds()
        return now - self._last_use.get(wait, -math.inf) > 2 * CHECK

    async def _use_again(self, wire: Wire, wait: int, queue: str) -> None:
        """
        Use a rung before a task of C{queue} is published there.
        """
        try:
            await self._uses.made(wire, str(wait))
        except BrokerRefused as e:
            if has_failed(e):
                raise
            raise self._logged(e, queue, wire.clock) from None
        finally:
            self._uses.forget()  # it is used again and again

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

        @raise LadderRefused: the broker does not let us.
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
            if e.code == NOT_FOUND:  # a part was deleted since it was made
                self.forget()
            raise self._logged(e, queue, wire.clock) from None
        self._are_made()

    def _logged(
        self, why: BrokerRefused, queue: str, clock: IReactorTime
    ) -> LadderRefused:
        """
        What those get who need a part that RabbitMQ refuses, once the log has told.
        """
        self._tell_refusal(why, queue, clock)
        return LadderRefused(f"tasks cannot wait in the broker: {why}")

    def tells(self, why: BrokerError, queue: str, clock: IReactorTime) -> bool:
        """
        Log a refusal that a task of C{queue} met, if the user lacks a permission on a
        part of the ladder; returns whether the ladder has logged it.
        """
        is_denied = isinstance(why, BrokerRefused) and why.code == ACCESS_REFUSED
        if is_denied and _OUR_PART in str(why):
            self._tell_refusal(why, queue, clock)
            return True
        return isinstance(why, LadderRefused)

    def _tell_refusal(self, why: BrokerError, queue: str, clock: IReactorTime) -> None:
        """
        Log why tasks of C{queue} cannot wait.  A missing permission is one cause,
        although RabbitMQ names one part of the ladder after the other.
        """
        self._clock = clock
        text = str(why)
        if isinstance(why, BrokerRefused) and why.code == ACCESS_REFUSED:
            text = self._denied.setdefault(queue, f"{text}{_NEEDS}")
        self._refused.met(text)

    def _are_made(self) -> None:
        self._denied.clear()
        self._refused.succeeded()

    def rungs_of(self, wire: Wire) -> Rungs:
        """
        What the ladder consists of in this broker.
        """
        rungs = self._rungs.get(wire)
        if rungs is None:
            quorum = has_quorum(wire) if self._quorum is None else self._quorum
            own, limit = own_quorum(wire), unreached_length_limit(wire)
            rungs = Rungs(quorum=True, arguments=own, ends=limit) if quorum else Rungs()
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
        await self._make_ends(wire, name)
        for wait in FIRST_WAITS:
            await self._waits.made(wire, str(wait))
            self._needed[self._waits, str(wait)] = True

    async def _make_ends(self, wire: Wire, name: str) -> None:
        self.unclaimed = await self._make(wire, UNCLAIMED, self.rungs_of(wire).ends())

    async def _make_arrivals(self, wire: Wire, queue: str) -> None:
        await self._first.made(wire, "")
        calls = self.rungs_of(wire).arrivals(queue)
        await self._make(wire, arrivals_of(queue), calls)

    async def _make_rung(self, wire: Wire, wait: str) -> None:
        rungs, now = self.rungs_of(wire), wire.clock.seconds()
        rung = rungs.name(int(wait))
        count = await self._make(wire, rung, rungs.rung(int(wait)))
        self._depths[rung] = (count, now)
        if not rungs.quorum:
            self._last_use[int(wait)] = now

    async def _make(self, wire: Wire, queue: str, calls: Iterable[Call]) -> int:
        """
        Make the calls that declare one queue, and what belongs to it; returns how many
        messages are in the queue.
        """
        found = await find_queue(wire, queue)
        exists = found is not None
        if not exists and queue in self._depths:
            self._tell_deleted(wire, queue)
        kind = "quorum" if self.rungs_of(wire).quorum else "classic"
        with self.new_queues.declaring(wire, queue, kind, exists=exists):
            await _make_or_use(wire, list(calls), exists=exists)
        return int(found.message_count) if exists else 0

    async def kept(self, wire: Wire, rung: str, queue: str) -> None:
        """
        Returns once a message survives that was confirmed in C{rung}, and is for
        C{queue}: at once, unless a part was declared anew meanwhile.
        """
        await self.new_queues.old(wire, rung, arrivals_of(queue))

    def _tell_deleted(self, wire: Wire, rung: str) -> None:
        count, when = self._depths.pop(rung)
        if not count:
            return
        self.log.warn(
            "Queue {rung!r}, in which delayed tasks wait, was deleted, and is declared"
            " anew. {count} tasks waited there {seconds:.0f} s ago.",
            rung=rung,
            count=count,
            seconds=wire.clock.seconds() - when,
        )

    # -- Looking after it

    async def check(self, wire: Wire) -> None:
        """
        Keep in use the rungs in which messages may wait, and make anew what somebody
        has deleted.  However often it is called, the broker is asked at intervals.

        @raise BrokerError: the broker does not let us, or the connection was lost.
        """
        now = wire.clock.seconds()
        if self._checking or now - self._checked < CHECK:
            return
        self._checked, self._checking = now, True
        try:
            await self._use_rungs(wire, now)
            if now - self._checked_ends >= CHECK_ENDS:
                self._checked_ends = now
                await self._check_ends(wire)
            else:
                await self._count_unclaimed(wire)
            if now - self._checked_all >= CHECK_ALL:
                self._checked_all = now
                await self._check_all(wire)
        finally:
            self._checking = False

    async def _use_rungs(self, wire: Wire, now: float) -> None:
        for wait, used in list(self._used.items()):
            if now - used > wait + _SLOW:
                del self._used[wait]
        waits = list(self._used)
        over = await self._wire_for_use(wire) if waits else wire
        while waits:
            try:
                await self._use(wire, over, waits)
            except BrokerError as e:
                if wire.closed:
                    raise
                self.log.debug("A queue for delayed tasks cannot be used: {why}", why=e)
                if over.closed or not isinstance(e, BrokerRefused):
                    break  # the others are used at the next look
        # After that: a connection that is new comes late already.
        if now - self._surveyed.get(wire, -math.inf) >= CHECK_ALL:
            self._surveyed[wire] = now
            await self._survey(wire, now)

    async def _survey(self, wire: Wire, now: float) -> None:
        """
        Find the rungs in which messages wait that another process has put there, which
        may have ended.
        """

        async def look(wait: int) -> None:
            with suppress(MayNotLook):
                found = await find_queue(wire, self.rungs_of(wire).name(wait))
                if found is not None and found.message_count:
                    self._used[wait] = now

        unused = (wait for wait in WAITS if wait not in self._used)
        await all_of(map(look, unused), _CHANNELS)

    async def _use(self, wire: Wire, over: Wire, waits: list[int]) -> None:
        """
        Use the first rungs of these waits on one channel, and take them from the list.
        One that is missing is made anew.

        @param over: the connection over which they are used.
        @raise BrokerRefused: one may not be used, which is taken from the list, too.
        """
        first = waits[0]
        try:
            async with temporary_channel(over) as channel:
                some = waits[:_AT_ONCE]
                await all_of(self._use_one(channel, each, waits) for each in some)
        except BrokerRefused as e:
            # One may also be deleted after it was taken from the list: the next check
            # finds that.
            if has_failed(e) or not waits:
                raise
            if e.code == NOT_FOUND:
                return await self._make_rung(wire, str(waits.pop(0)))
            if waits[0] == first:
                del waits[0]
            raise

    async def _use_one_alone(self, wire: Wire, wait: str) -> None:
        await self._use(wire, await self._wire_for_use(wire), [int(wait)])

    async def _wire_for_use(self, wire: Wire) -> Wire:
        """
        The connection over which rungs are used: RabbitMQ may fail at one, and closes
        the connection then.
        """
        if self._spare is None or not self.rungs_of(wire).quorum:
            return wire
        return await self._spare.instead_of(wire)

    async def _use_one(self, channel: Channel, wait: int, waits: list[int]) -> None:
        wire: Wire = channel.client
        rungs, now = self.rungs_of(wire), wire.clock.seconds()
        rung = rungs.name(wait)
        found: Any = await channel.call("queue_declare", queue=rung, passive=True)
        waits.remove(wait)
        self._depths[rung] = (found.message_count, now)
        if found.message_count:
            self._used[wait] = now
        # Also where RabbitMQ tells of no messages: it does not count those that it
        # could not pass on yet.
        if rungs.quorum and self._failing.get(rung, _NEVER).until <= now:
            await self._get(channel, rung)
        self._last_use[wait] = now

    async def _get(self, channel: Channel, rung: str) -> None:
        """
        Have RabbitMQ see that a rung of quorum queues is in use.  A message that it
        gives comes back when the channel is closed, soon.
        """
        try:
            await channel.get(rung)
        except BrokerRefused as e:
            if has_failed(e):  # at this rung, or at another one
                times = self._failing.get(rung, _NEVER).times + 1
                until = channel.client.clock.seconds() + pause_after(times)
                self._failing[rung] = _Failing(times, until)
            raise
        self._failing.pop(rung, None)

    async def _check_ends(self, wire: Wire) -> None:
        if await find_exchange(wire, ARRIVALS) is None:  # with all that was bound to it
            self._checked_all = -math.inf
            self.log.warn(
                "Exchange {exchange!r} was deleted, and is declared anew: no delayed"
                " task could arrive.",
                exchange=ARRIVALS,
            )
        await self._make_ends(wire, "")
        if self._denied:  # perhaps nobody needs another part for a while
            self._are_made()

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
        await all_of(making, _CHANNELS)

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
        self._refused.end()


def has_quorum(wire: Wire) -> bool:
    """
    Whether the broker is a RabbitMQ whose quorum queues confirm what they pass on.
    The embedded broker's classic queues lose nothing, either, and cost less.
    """
    return (version_of(wire) or ()) >= _CONFIRMS


async def _make_or_use(wire: Wire, calls: list[Call], *, exists: bool) -> None:
    """
    Make the calls; a queue that is there otherwise is used as it is, unless it is a
    rung that messages leave at another time, or for another place.

    @param exists: whether the queue is there.  Then only a rung is declared again:
        RabbitMQ logs an error where the arguments differ, as they do if another version
        of quebert has made the queue.
    """
    queue = next(how for each, how in calls if each == "queue_declare")
    others = [each for each in calls if each[0] != "queue_declare"]
    is_rung = "x-message-ttl" in queue["arguments"]
    try:
        await make(wire, calls if is_rung or not exists else others)
    except BrokerRefused as e:
        if e.code != INEQUIVALENT or " for queue " not in str(e):
            raise
        if is_rung:
            await _check_ways_out(wire, queue["queue"], queue["arguments"])
        await make(wire, others)


async def _check_ways_out(wire: Wire, queue: str, wanted: Mapping[str, Any]) -> None:
    """
    @raise BrokerRefused: messages leave a queue otherwise than they should.
    """
    how = await declared(wire, queue, Declared(arguments=dict(wanted)))
    if how is None:
        return
    for name in _WAYS_OUT:
        has, should = how.arguments.get(name), wanted.get(name)
        if has != should:
            raise BrokerRefused(
                INEQUIVALENT,
                f"queue {queue!r} was declared with {name} {has or 'none'}, and needs"
                f" {should or 'none'}; delete it, and it is declared anew",
            )


async def make(wire: Wire, calls: Iterable[Call]) -> None:
    """
    Make calls on a channel of their own, one right behind the other: the broker answers
    in their order, and it may be far away.

    @raise BrokerError: what the first one raises that fails.
    """
    async with temporary_channel(wire) as channel:
        await all_of(channel.call(each, **how) for each, how in calls)
