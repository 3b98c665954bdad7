"""
Our share of the places that all who watch a queue have together.

RabbitMQ counts them (L{Sharing<quebert.amqp.coordination._sharing.Sharing>}), as
consumers of a queue C{quebert.places.<queue>}.  Each has an equal part, which is at
least one place, and whole ones: of 10 places, three watches have 3 each.

What is inexact: where there are more watches than places, each has one all the same.
In the moment in which another one comes, and in the seconds after one has gone, more or
fewer messages may be at work than there are places.  A watch does not use the places
that another one leaves unused.  What does not count for C{prefetch} any more, as with
C{slow_after}, does not count here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from quebert._protocol.extensions import EXPIRES
from quebert.amqp.coordination._sharing import Sharing
from quebert.amqp.queues import CLASSIC, QUORUM, declare_queue, derived, own_quorum
from quebert.amqp.watch import DeliveredMessage, Throttle

if TYPE_CHECKING:
    from quebert.amqp.wire import Channel, Message, Wire

__all__ = ["SharedConcurrency", "places_queue_of"]

_PREFIX = "quebert.places."
# Milliseconds after which the queue goes if nobody uses it.
_EXPIRES = 600_000


def places_queue_of(queue: str, suffix: str = "") -> str:
    """
    The queue that all consume from who share the places of C{queue}.

    @param suffix: what its name ends with.
    """
    return derived(_PREFIX, queue, suffix)


class SharedConcurrency(Throttle):
    """
    The throttle of a watch with our share of the places.

    @param queue: whose messages have the places.
    @param limit: how many places all have together.
    @param quorum: whether the queue is a quorum queue.
    @ivar share: how many places we have.
    @ivar running: how many messages are at work here.
    """

    limits_fetching = True

    def __init__(
        self,
        queue: str,
        limit: int,
        clock: Callable[[], IReactorTime],
        *,
        quorum: bool = False,
    ) -> None:
        self.share = self._limit = limit
        self.running = 0
        self._quorum = quorum
        self._members = places_queue_of(queue, ".quorum" if quorum else "")
        self._sharing = Sharing(self, "places", queue, self._members, clock)
        self._clock = clock
        self._again: Callable[[], None] | None = None

    def may_begin(self, again: Callable[[], None]) -> bool:
        """
        See L{Throttle.may_begin}.
        """
        if self.running < self.share:
            return True
        self._again = again
        return False

    def begun(self, message: DeliveredMessage) -> None:
        """
        See L{Throttle.begun}.
        """
        self.running += 1

    def left(self, message: DeliveredMessage) -> None:
        """
        See L{Throttle.left}: then the watch asks by itself.
        """
        self.running -= 1

    def prefetch(self, prefetch: int) -> int:
        """
        See L{Throttle.prefetch}: others may have places for the rest.
        """
        fit = min(65535, self.share)
        return min(prefetch, fit) if prefetch else fit

    async def join(self, wire: Wire) -> None:
        """
        See L{Sharing.join<quebert.amqp.coordination._sharing.Sharing.join>}.
        """
        await self._sharing.join(wire)

    async def leave(self) -> None:
        """
        Share no more.
        """
        await self._sharing.leave()

    # -- For Sharing

    async def declare(self, wire: Wire) -> None:
        """
        Declare our queue.
        """
        kind = {**QUORUM, **own_quorum(wire)} if self._quorum else CLASSIC
        await declare_queue(wire, self._members, {**kind, EXPIRES: _EXPIRES})

    def opened(self) -> None:
        """
        There is another channel.
        """
        return

    def shared_by(self, members: int) -> None:
        """
        So many share the places.
        """
        self.share = max(1, self._limit // members)
        again, self._again = self._again, None
        if again is not None:  # not from within what asks for our share
            self._clock().callLater(0, again)

    async def look(self, channel: Channel) -> None:
        """
        Nothing is passed on.
        """
        return

    def received(self, message: Message) -> None:
        """
        Nobody sends us anything.
        """
        return
