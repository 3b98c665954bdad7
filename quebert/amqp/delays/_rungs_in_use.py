"""
Keeping rungs in use as long as messages may wait in them.

No consumer of a rung stays.  A policy with C{expires}, which operators set for all
queues, has RabbitMQ delete queues that nobody uses, with all that is in them.  So a
rung is used at short intervals as long as messages may wait in it.  Measured on
RabbitMQ 3.10.8 and 4.3.6: to declare a classic queue is to use it, even passively; a
quorum queue is in use when C{basic.get} is called.  Publications and bindings do not
count.  (RabbitMQ 4.3.6 notes the end of a consumer, too, but consumers get messages.)
The message that C{basic.get} gives goes back with its channel, to the front of its
queue.  A policy may delay that (L{own_quorum<quebert.amqp.queues.own_quorum>}).  Given
back with C{basic.nack}, it would go to the end of a quorum queue that has no delivery
limit (3.10.8, 4.0.5), and RabbitMQ passes a message on only when it is the first.

A C{basic.get} may have messages stay in a rung when they are due
(L{quebert.amqp.delays._overdue}).  Where that may have happened, the rung has to pass
them on right after that.  Others call C{basic.get}, too, and may have been killed then.
So a rung in use has to pass on what it has every L{CHECK_ALL} seconds, too, and every
rung once for each connection.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from quebert._lanes import all_of
from quebert._log import Logger
from quebert.amqp.delays._overdue import pass_on_overdue
from quebert.amqp.delays._rungs import WAITS, Rungs
from quebert.amqp.link import DeclareOnce, has_failed, pause_after
from quebert.amqp.queues import find_queue
from quebert.amqp.wire import temporary_channel
from quebert.errors import BrokerError, BrokerRefused, MayNotLook, ReplyCode

if TYPE_CHECKING:
    from quebert.amqp.link import SpareConnection
    from quebert.amqp.wire import Channel, Wire

__all__ = ["CHANNELS", "CHECK", "CHECK_ALL", "RungsInUse"]

#: Seconds between two uses of a rung in which messages may wait, ...
CHECK = 1.5
#: ... and between two searches for rungs of others.
CHECK_ALL = 30.0
#: Parts of the ladder that are looked at, or made, at once: each takes a channel for
#: that.  RabbitMQ may let a user have few, and closes the connection where there are
#: too many; on a busy machine it still counts channels that were closed a moment ago.
CHANNELS = 8
# Rungs that are used at once: of each, RabbitMQ sends a message, which may be large.
_AT_ONCE = 8
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


class RungsInUse:
    """
    The rungs of a client in which messages may wait.

    @param rungs_of: gives the names of the rungs in a broker.
    @param make: declares the rung of a wait again that somebody has deleted.
    @param spare: the connection over which rungs of quorum queues are used; without it
        they are used over the same connection as all else.
    """

    log = Logger()

    def __init__(
        self,
        rungs_of: Callable[[Wire], Rungs],
        make: Callable[[Wire, str], Awaitable[None]],
        spare: SpareConnection | None,
    ) -> None:
        self._rungs_of = rungs_of
        self._make = make
        self._spare = spare
        self._used: dict[int, float] = {}  # waits, and when last
        self._last_use: dict[int, float] = {}  # as RabbitMQ sees it, of waits
        self._uses = DeclareOnce(self._use_one_alone)
        self._failing: dict[str, _Failing] = {}  # rungs
        self._overdue: dict[int, None] = {}  # waits whose rungs have to pass on
        self._passing_on: set[int] = set()  # of these, at this moment
        self._stuck: dict[str, _Failing] = {}  # rungs that could not
        self._depths: dict[str, tuple[int, float]] = {}  # of rungs, and when
        self._surveyed: WeakKeyDictionary[Wire, float] = WeakKeyDictionary()  # when

    def declared(self, wire: Wire, wait: int, depth: int) -> None:
        """
        A rung was declared.

        @param depth: how many messages were in it before.
        """
        rungs, now = self._rungs_of(wire), wire.clock.seconds()
        self._depths[rungs.name(wait)] = (depth, now)
        if not rungs.quorum:
            self._last_use[wait] = now

    def published(self, wire: Wire, wait: int) -> None:
        """
        A message is about to be published to a rung.
        """
        self._used[wait] = wire.clock.seconds()

    def is_missing(self, wire: Wire, queue: str) -> None:
        """
        Log that a queue is missing, if it is a rung in which messages waited.
        """
        count, when = self._depths.pop(queue, (0, 0.0))
        if count:
            self.log.warn(
                "Queue {rung!r}, in which delayed tasks wait, was deleted, and is"
                " declared anew. {count} tasks waited there {seconds:.0f} s ago.",
                rung=queue,
                count=count,
                seconds=wire.clock.seconds() - when,
            )

    def is_idle(self, wire: Wire, wait: int) -> bool:
        """
        Whether a policy with C{expires} may have a rung deleted before it is used:
        to publish there is not to use it.
        """
        now: float = wire.clock.seconds()
        return now - self._last_use.get(wait, -math.inf) > 2 * CHECK

    async def use(self, wire: Wire, wait: int) -> None:
        """
        Use one rung, before a message is published there.

        @raise BrokerRefused: it may not be used.
        """
        try:
            await self._uses.made(wire, str(wait))
        finally:
            self._uses.forget()  # it is used again and again

    async def use_all(self, wire: Wire, now: float) -> None:
        """
        Use the rungs in which messages may wait.

        @raise BrokerError: the connection was lost.
        """
        for wait, used in list(self._used.items()):
            if now - used > wait + _SLOW:
                del self._used[wait]
        waits = list(self._used)
        over = await self._wire_for_use(wire) if waits or self._overdue else wire
        while waits:
            try:
                await self._use(wire, over, waits)
            except BrokerError as e:
                if wire.closed:
                    raise
                self._not_used(e)
                if over.closed or not isinstance(e, BrokerRefused):
                    break  # the others are used at the next look
        self._begin_to_pass_on(wire, over, now)
        # After that: a connection that is new comes late already.
        if now - self._surveyed.get(wire, -math.inf) >= CHECK_ALL:
            await self._survey(wire, now)

    def _not_used(self, why: object) -> None:
        self.log.debug(
            "A queue in which delayed tasks wait cannot be used: {why}", why=why
        )

    def _begin_to_pass_on(self, wire: Wire, over: Wire, now: float) -> None:
        """
        Have rungs pass on what may be overdue.  Nobody waits for that: a rung without a
        leader may take a minute.

        @param over: the connection over which rungs are used.
        """
        if over is wire:
            # RabbitMQ may fail at a rung, and closes the connection then: where there
            # is no spare one, that is not risked for rungs that nobody uses.
            for wait in self._overdue.keys() - self._used.keys():
                del self._overdue[wait]
        for wait in list(self._overdue):
            if over.closed or len(self._passing_on) >= _AT_ONCE:
                break
            rung = self._rungs_of(wire).name(wait)
            may_ask = _may_ask(self._failing, rung, now)
            if may_ask and _may_ask(self._stuck, rung, now):
                self._begin_with(over, wait, rung)

    def _begin_with(self, over: Wire, wait: int, rung: str) -> None:
        if wait not in self._passing_on:
            del self._overdue[wait]
            self._passing_on.add(wait)
            passing = Deferred.fromCoroutine(self._pass_on(over, rung))
            passing.addBoth(self._passed_on, wait)

    async def _pass_on(self, over: Wire, rung: str) -> None:
        with _noting(self._stuck, rung, over.clock):
            await pass_on_overdue(over, rung)

    def _passed_on(self, result: object, wait: int) -> None:
        self._passing_on.discard(wait)
        if isinstance(result, Failure):
            self._overdue[wait] = None
            result.trap(BrokerError)
            self._not_used(result.value)

    async def _survey(self, wire: Wire, now: float) -> None:
        """
        Find the rungs in which messages wait that another process has put there, which
        may have ended.
        """
        is_first = wire not in self._surveyed
        self._surveyed[wire] = now
        rungs = self._rungs_of(wire)
        if rungs.quorum:
            self._overdue.update(dict.fromkeys(self._used))

        async def look(wait: int) -> None:
            with suppress(MayNotLook):
                found = await find_queue(wire, rungs.name(wait))
                if found is not None and found.message_count:
                    self._used[wait] = now
                if found is not None and is_first and rungs.quorum:
                    self._overdue[wait] = None

        unused = (wait for wait in WAITS if wait not in self._used)
        await all_of(map(look, unused), CHANNELS)

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
            if e.code == ReplyCode.NOT_FOUND:
                await self._make(wire, str(waits.pop(0)))
                return
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
        if self._spare is None or not self._rungs_of(wire).quorum:
            return wire
        return await self._spare.instead_of(wire)

    async def _use_one(self, channel: Channel, wait: int, waits: list[int]) -> None:
        wire: Wire = channel.client
        clock = wire.clock
        rungs, now = self._rungs_of(wire), clock.seconds()
        rung = rungs.name(wait)
        found: Any = await channel.call("queue_declare", queue=rung, passive=True)
        waits.remove(wait)
        self._depths[rung] = (found.message_count, now)
        if found.message_count:
            self._used[wait] = now
        # Also where RabbitMQ tells of no messages: it does not count those that it
        # could not pass on yet.
        if rungs.quorum and _may_ask(self._failing, rung, now):
            with _noting(self._failing, rung, clock):
                got = await channel.get(rung)
            # One that came since they were counted does not expire so soon.
            may_have_had = found.message_count or clock.seconds() - now > wait / 2
            if got is None and may_have_had:
                self._overdue[wait] = None
        self._last_use[wait] = now


def _may_ask(failing: Mapping[str, _Failing], rung: str, now: float) -> bool:
    """
    Whether RabbitMQ may be asked for messages of a rung: it has not failed at that
    lately.
    """
    return failing.get(rung, _NEVER).until <= now


@contextmanager
def _noting(
    failing: dict[str, _Failing], rung: str, clock: IReactorTime
) -> Iterator[None]:
    """
    In this block, RabbitMQ is asked for messages of a rung; note whether it fails.
    """
    try:
        yield
    except BrokerRefused as e:
        if has_failed(e):  # at this rung, or at another one
            times = failing.get(rung, _NEVER).times + 1
            failing[rung] = _Failing(times, clock.seconds() + pause_after(times))
        raise
    failing.pop(rung, None)
