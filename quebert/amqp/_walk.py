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
from twisted.internet.defer import Deferred, DeferredList

from quebert.amqp._channel import Channel
from quebert.amqp._message import Message
from quebert.errors import BrokerRefused

if TYPE_CHECKING:
    from quebert.amqp._wire import Wire

__all__ = ["MAX_HELD", "Depth", "Visit", "Walk", "depth", "walk"]

#: How many messages a walk holds; then it goes no further.
MAX_HELD = 100_000
# How many are asked for, or looked at, at the same time.
_AT_ONCE = 256

_NOT_FOUND = 404

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
    """
    channel = await wire.open_channel(confirms=False)
    try:
        found = await channel.call("queue_declare", queue=queue, passive=True)
    except BrokerRefused as e:
        if e.code != _NOT_FOUND:
            raise
        return None
    finally:
        await channel.shut()
    return Depth(found.message_count, found.consumer_count)


class Walk:
    """
    One walk through one queue.

    @ivar kept: how many messages stay.
    @ivar ahead: how many are to be asked for yet.
    """

    def __init__(self, channel: Channel, queue: str, most: int) -> None:
        self.kept = 0
        self.ahead = most
        self._channel = channel
        self._queue = queue

    async def through(self, visit: Visit) -> None:
        """
        Call C{visit} with each message, in their order, several at a time.  Of
        those that it has not said of that they may leave, none does.

        @raise BrokerError: the channel was lost; or what C{visit} raises, once all
            that it was called with are settled.
        """
        lanes = [self._lane(visit) for _ in range(min(_AT_ONCE, self.ahead))]
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

    async def _lane(self, visit: Visit) -> None:
        while self.ahead > 0 and self.kept < MAX_HELD:
            self.ahead -= 1
            try:
                message = await self._channel.get(self._queue)
                if message is None:
                    self.stop()  # somebody else was quicker
                else:
                    self._settle(message.delivery_tag, await visit(message))
            except BaseException:
                self.stop()
                raise

    def _settle(self, tag: int, leaves: bool) -> None:
        if leaves:
            self._channel.ack(tag)
        else:
            self.kept += 1


@asynccontextmanager
async def walk(wire: Wire, queue: str, most: int) -> AsyncIterator[Walk]:
    """
    A L{Walk} through the first C{most} messages of C{queue}, after which those that
    stay are back.
    """
    channel = await wire.open_channel(confirms=False)
    try:
        yield Walk(channel, queue, most)
    finally:
        await channel.shut()
