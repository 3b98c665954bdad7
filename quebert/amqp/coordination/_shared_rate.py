"""
Our share of a rate that all who watch a queue keep to together.

RabbitMQ counts them (L{Sharing<quebert.amqp.coordination._sharing.Sharing>}), as
consumers of a queue C{quebert.rate.<queue>}.  A mediator with unused tokens publishes
them to C{quebert.rate.<queue>.spare}; mediators whose messages wait consume them.

Together they begin no more than the rate says, but for the moment in which another
one comes, and where there are more of them than C{burst}: each may begin one at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from quebert.amqp.coordination._pace import Pace
from quebert.amqp.coordination._rate_queues import RateQueues
from quebert.amqp.coordination._sharing import Sharing
from quebert.amqp.coordination._spare_tokens import SpareTokens
from quebert.amqp.link import Publisher
from quebert.amqp.watch import Throttle

if TYPE_CHECKING:
    from quebert.amqp.wire import Channel, Message, Wire

__all__ = ["SharedRate"]


class SharedRate(Throttle):
    """
    Keeps the rate of a L{Pace} at our share.  It is a throttle only to join and leave
    with its watch.

    @param queue: whose messages begin at C{pace}.
    @param publisher: of our own.
    @param quorum: whether the queue is a quorum queue.
    """

    def __init__(
        self,
        queue: str,
        pace: Pace,
        publisher: Publisher,
        clock: Callable[[], IReactorTime],
        *,
        quorum: bool = False,
    ) -> None:
        self._pace = pace
        self._queues = RateQueues(queue, quorum)
        self._sharing = Sharing(self, "rate", queue, self._queues.members, clock)
        period = self._sharing.period
        self._spare = SpareTokens(self._queues.spare, pace, publisher, clock, period)

    async def join(self, wire: Wire) -> None:
        """
        See L{Sharing.join<quebert.amqp.coordination._sharing.Sharing.join>}.
        """
        await self._sharing.join(wire)

    async def leave(self) -> None:
        """
        Share no more.
        """
        self._spare.shut()
        await self._sharing.leave()

    # -- For Sharing

    async def declare(self, wire: Wire) -> None:
        """
        Declare our queues.
        """
        await self._queues.declare(wire)

    def opened(self) -> None:
        """
        There is another channel.
        """
        self._spare.begin()

    def shared_by(self, members: int) -> None:
        """
        So many share the rate.
        """
        self._pace.shared_by(members)

    async def look(self, channel: Channel) -> None:
        """
        Pass on, or take, what is not needed.
        """
        await self._spare.look(channel)

    def received(self, message: Message) -> None:
        """
        Another member has tokens for us.
        """
        self._spare.received(message)
