"""
Delayed tasks that have not found their way: those that arrived while nobody had
declared a queue for their arrival, those that a policy gave another routing key, and
those on the delay ladder that earlier versions of quebert made.

A policy with C{dead-letter-routing-key} has RabbitMQ replace the routing key, which
names the task queue, of all messages that come out of a rung.  RabbitMQ writes the
routing key from before into the header C{x-death}.

The ladder of earlier versions ended in an exchange C{quebert.delay.due} (or
C{quebert.delay.quorum.due}), to which each task queue was bound, and had a queue
C{quebert.delay.lost} for tasks whose queue was not bound.  What waits there comes out
by itself.  So where the exchange exists, task queues are bound to it as before.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IReactorTime

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp.delays._ladder import Ladder
from quebert.amqp.delays._rungs import PREFIX, UNCLAIMED
from quebert.amqp.delays._rungs_in_use import CHECK_ALL
from quebert.amqp.link import DeclareOnce, Publisher, Send
from quebert.amqp.queues import (
    NAME_LIMIT,
    Visit,
    browse,
    depth,
    find_exchange,
    fitting,
)
from quebert.amqp.wire import Unconfirmed, call_in_one_write
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    ChannelLost,
    MayNotLook,
    ReplyCode,
)

if TYPE_CHECKING:
    from quebert.amqp.wire import Message, Wire

__all__ = ["Astray", "OldLadder", "browse_store", "is_for"]

_OLD = (PREFIX, f"{PREFIX}.quorum")
# Bytes of a routing key that were left beside the digits of a delay: a number up to 63,
# and 22 bits.
_ROOM = NAME_LIMIT - len(".63") - len(".0") * 22
# Seconds after a message was brought back, for any queue of the client, in which the
# number of those that stay does not tell whether they are the same.
_CHANGING = 6.0
_WHY_REROUTED = (
    "a policy of RabbitMQ gives them another routing key (dead-letter-routing-key)"
)
_WHY_UNCLAIMED = "the queue of their arrival was not there when they were due"
_NOT_IN_A_WORD = re.compile(r"[%.*#]")


def _word(queue: str) -> str:
    """
    The name of a queue as one word of a routing key.
    """
    word = _NOT_IN_A_WORD.sub(lambda found: f"%{ord(found[0]):02X}", queue)
    return fitting(queue, _ROOM, word)


def is_for(queue: str, message: Message, store: str) -> bool:
    """
    Whether a message that is in C{store} was to come to C{queue}.
    """
    if store == UNCLAIMED:
        return _wanted(message) == queue
    return message.routing_key.partition(".")[0] == _word(queue)


def _wanted(message: Message) -> str:
    """
    The queue to which a message in L{UNCLAIMED} was to come.
    """
    return message.died_with or message.routing_key


async def browse_store(
    wire: Wire, store: str, most: int, send: Send, visit: Visit
) -> int:
    """
    Call C{visit} with the first C{most} messages of a store; a message stays there
    unless C{visit} returned True for it.

    @return: how many messages stay.
    @raise BrokerError: the broker refuses it, or the connection was lost.
    """

    async def replace(message: Message, properties: bytes) -> None:
        # The exchange of the same name, since the routing key tells the task queue.
        key = _wanted(message) if store == UNCLAIMED else message.routing_key
        await send(store, key, message.body, properties)

    async with browse(wire, store, most, replace, to_the_end=True) as browsing:
        await browsing.through(visit)
    return browsing.kept + browsing.replaced


class OldLadder:
    """
    The delay ladder of earlier versions, as far as it exists.
    """

    def __init__(self) -> None:
        self._looks = DeclareOnce(self._look)
        self._there: WeakKeyDictionary[Wire, list[str]] = WeakKeyDictionary()

    async def stores(self, wire: Wire) -> list[str]:
        """
        Its queues for tasks whose queue was not bound.

        @raise BrokerError: the connection was lost.
        """
        return [f"{each}.lost" for each in await self._prefixes(wire)]

    async def lead_to(self, wire: Wire, queue: str) -> None:
        """
        Bind C{queue} to it, so that what waits there comes to the queue; nothing if
        there is no such queue.

        @raise BrokerError: the broker refuses it, or the connection was lost.
        """
        for prefix in await self._prefixes(wire):
            key = f"{_word(queue)}.#"
            how = {"queue": queue, "exchange": f"{prefix}.due", "routing_key": key}
            try:
                await call_in_one_write(wire, [("queue_bind", how)])
            except BrokerRefused as e:
                if e.code != ReplyCode.NOT_FOUND:
                    raise

    async def _prefixes(self, wire: Wire) -> list[str]:
        await self._looks.made(wire, "")
        return self._there[wire]

    async def _look(self, wire: Wire, name: str) -> None:
        there = []
        for prefix in _OLD:
            with suppress(MayNotLook):
                if await find_exchange(wire, f"{prefix}.due") is not None:
                    there.append(prefix)
        self._there[wire] = there


class Astray:
    """
    Brings the delayed tasks of one queue back that have not found their way to it.

    @param publisher: publishes to the queue.
    """

    log = Logger()

    def __init__(
        self, ladder: Ladder, old: OldLadder, queue: str, publisher: Publisher
    ) -> None:
        self._ladder = ladder
        self._old = old
        self._queue = queue
        self._publisher = publisher
        self._others: dict[str, int] = {}  # how many were left for other queues
        self._looked = -math.inf
        self._clock: IReactorTime
        self._unclaimed = RepeatedWarning(
            self.log,
            lambda: self._clock,
            "Delayed tasks of queue {queue!r} arrive in queue {unclaimed!r}, and come"
            " some seconds late",
            "Delayed tasks of queue {queue!r} arrive in their own queue again",
            queue=queue,
            unclaimed=UNCLAIMED,
        )
        self._kept = RepeatedWarning(
            self.log,
            lambda: self._clock,
            "Some delayed tasks cannot be moved to queue {queue!r} for now",
            "Delayed tasks can be moved to queue {queue!r} again",
            queue=queue,
        )

    def arrived(self) -> None:
        """
        A message that is due has found its way.
        """
        self._unclaimed.succeeded()

    def end(self) -> None:
        """
        Warn no more.
        """
        self._unclaimed.end()
        self._kept.end()

    def look_again(self) -> None:
        """
        The queue was declared, perhaps anew.
        """
        self._looked = -math.inf
        self._others.clear()

    async def bring_back(self, wire: Wire) -> int:
        """
        Bring back what is for the queue, if a look is due, or something has come.

        @return: how many messages that were.
        @raise BrokerError: the broker refuses it, or the connection was lost.
        """
        count, now = 0, wire.clock.seconds()
        if now - self._looked >= CHECK_ALL:
            self._looked = now
            await self._old.lead_to(wire, self._queue)
            for store in await self._old.stores(wire):
                count += await self._in_turn(wire, store)
        if now < self._ladder.brought_back_at + _CHANGING:
            self._others.pop(UNCLAIMED, None)  # as many as before may be others
        if self._ladder.unclaimed != self._others.get(UNCLAIMED, 0):
            count += await self._in_turn(wire, UNCLAIMED)
        return count

    async def _in_turn(self, wire: Wire, store: str) -> int:
        """
        L{_bring_back_from}, one queue of the client after the other.
        """
        await self._ladder.new_queues.old(wire, self._queue)  # others need not wait
        async with self._ladder.bringing_back:
            return await self._bring_back_from(wire, store)

    async def _bring_back_from(self, wire: Wire, store: str) -> int:
        found = await depth(wire, store)
        if found is None or found.ready == self._others.get(store, 0):
            return 0
        brought, send = 0, self._publisher.publish
        self._clock = wire.clock

        async def visit(message: Message) -> bool:
            nonlocal brought
            if not is_for(self._queue, message, store):
                return False
            copy = message.body, message.encoded_properties
            publish = partial(send, "", self._queue, *copy)
            await self._ladder.new_queues.publish(wire, self._queue, publish)
            brought += 1
            if store == UNCLAIMED:
                self._ladder.brought_back_at = wire.clock.seconds()
                is_rerouted = message.routing_key != self._queue
                self._unclaimed.met(_WHY_REROUTED if is_rerouted else _WHY_UNCLAIMED)
            return True

        try:
            stay = await browse_store(wire, store, found.ready, send, visit)
        except BrokerError as e:
            if not _is_lost(e):
                self._kept.met(f"they stay in queue {store!r}: {e}")
            raise
        self._others[store] = stay
        self._kept.succeeded()
        return brought


def _is_lost(why: BrokerError) -> bool:
    """
    Whether a connection was lost, which the watch tells.
    """
    refused = isinstance(why, Unconfirmed) and why.refusal is not None
    return isinstance(why, ChannelLost) and not refused
