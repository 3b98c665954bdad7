"""
Going through a queue, message by message: what is in it, and what is to leave it.

Messages that are to stay are held, unacknowledged, until the walk is over, since
the broker would give them out again at once; their bodies are not kept.  Then they
are back where they were.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.task import deferLater

from quebert.amqp._channel import Channel
from quebert.amqp._existing import find_queue
from quebert.amqp._message import Message

if TYPE_CHECKING:
    from quebert.amqp._wire import Wire

__all__ = ["MAX_HELD", "Depth", "Visit", "Walk", "depth", "walk"]

#: How many messages a walk holds; then it goes no further.  A RabbitMQ needs some
#: five kilobytes for each.
MAX_HELD = 50_000
# And how many each channel of it holds: a RabbitMQ looks through all of them to find
# one that is acknowledged.
_HELD_BY_ONE = 1_000
# Seconds that the broker may take for its next step in putting them back.
_PATIENCE = 2.0
# How many are asked for, or looked at, at the same time.
_AT_ONCE = 256

#: Called with each message; tells whether it is to leave the queue.
Visit = Callable[[Message], Awaitable[bool]]


@attrs.frozen
class Depth:
    """
    A queue at a moment.

    @ivar ready: how many messages are there for whoever asks.
    @ivar consumers: how many consumers it has.
    """

    ready: int
    consumers: int


async def depth(wire: Wire, queue: str) -> Depth | None:
    """
    What there is in C{queue}; C{None} where there is no such queue.

    @raise MayNotLook: the user lacks the permission to see it.
    """
    found = await find_queue(wire, queue)
    if found is None:
        return None
    return Depth(found.message_count, found.consumer_count)


class Walk:
    """
    One walk through one queue.

    @ivar kept: how many messages stay.
    @ivar ahead: how many are to be asked for yet.
    """

    def __init__(self, wire: Wire, queue: str, most: int) -> None:
        self.kept = 0
        self.ahead = most
        self._wire = wire
        self._queue = queue
        self._channels: list[Channel] = []

    async def through(self, visit: Visit) -> None:
        """
        Call C{visit} with each message, in their order, several at a time.  Of
        those that it has not said of that they may leave, none does.

        @raise BrokerError: the connection was lost; or what C{visit} raises, once
            all that it was called with are settled.
        """
        while self.ahead > 0 and self.kept < MAX_HELD:
            channel = await self._wire.open_channel(confirms=False)
            self._channels.append(channel)
            await self._through(channel, visit)

    async def _through(self, channel: Channel, visit: Visit) -> None:
        full = min(MAX_HELD, self.kept + _HELD_BY_ONE)
        count = min(_AT_ONCE, self.ahead)
        lanes = [self._lane(channel, visit, full) for _ in range(count)]
        walking = [Deferred.fromCoroutine(lane) for lane in lanes]
        results: Any = await DeferredList(walking, consumeErrors=True)
        for well, result in results:
            if not well:
                result.raiseException()

    def stop(self) -> None:
        """
        Ask for no more.
        """
        self.ahead = 0

    async def end(self) -> None:
        """
        Give back all that stay.
        """
        await gatherResults([Deferred.fromCoroutine(c.shut()) for c in self._channels])

    async def are_back(self) -> None:
        """
        Wait until those that stay are there for others, which a RabbitMQ takes its
        time for after the end.
        """
        ready, since, clock = -1, 0.0, self._wire.clock
        while True:
            found = await depth(self._wire, self._queue)
            if found is None or found.ready >= self.kept:
                return
            if found.ready != ready:
                ready, since = found.ready, clock.seconds()
            elif clock.seconds() > since + _PATIENCE:
                return  # somebody else takes them
            await deferLater(clock, 0.05)

    async def _lane(self, channel: Channel, visit: Visit, full: int) -> None:
        while self.ahead > 0 and self.kept < full:
            self.ahead -= 1
            try:
                await self._step(channel, visit)
            except BaseException:
                self.stop()
                raise

    async def _step(self, channel: Channel, visit: Visit) -> None:
        message = await channel.get(self._queue)
        if message is None:
            self.stop()  # somebody else was quicker
        elif await visit(message):
            channel.ack(message.delivery_tag)
        else:
            self.kept += 1


@asynccontextmanager
async def walk(wire: Wire, queue: str, most: int) -> AsyncIterator[Walk]:
    """
    A L{Walk} through the first C{most} messages of C{queue}, after which those that
    stay are back.
    """
    walking = Walk(wire, queue, most)
    try:
        yield walking
    finally:
        await walking.end()
    await walking.are_back()
