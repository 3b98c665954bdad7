"""
Our share of a rate that all who watch a queue keep to together.

RabbitMQ counts them: each of them consumes from a queue C{quebert.rate.<queue>}, which
never has a message.  Each second, a mediator reads the number of consumers of that
queue.  A mediator with unused tokens publishes them to C{quebert.rate.<queue>.spare};
mediators whose messages wait consume them.  So no server is needed beside RabbitMQ,
nobody leads whose end the others must notice, and it costs nothing per message.  When a
mediator is killed, RabbitMQ knows at once, and the others two seconds later.  When its
machine vanishes, RabbitMQ knows after the heartbeats that do not come.

Together they begin no more than the rate says, but for the moment in which another
one comes, and where there are more of them than C{burst}: each may begin one at once.
Beside a classic queue whose node is down, those who know their share keep
it until the node is back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp.coordination._member_count import MemberCount
from quebert.amqp.coordination._pace import Pace
from quebert.amqp.coordination._rate_queues import RateQueues, count_consumers
from quebert.amqp.coordination._spare_tokens import SpareTokens
from quebert.amqp.link import Publisher
from quebert.amqp.watch import Throttle
from quebert.amqp.wire import Channel, Message
from quebert.errors import BrokerError, BrokerRefused, ChannelLost, ReplyCode

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["SharedRate"]

#: Seconds between two looks at who else is there.
PERIOD = 1.0
# The first ones, of those who have come just now, as others may have.
_FIRST = 0.1


class SharedRate(Throttle):
    """
    Keeps the rate of a L{Pace} at our share.  It is a throttle only to join and leave
    with its watch.

    @param queue: whose messages begin at C{pace}.
    @param publisher: of our own.
    @param quorum: whether the queue is a quorum queue.
    """

    log = Logger()

    def __init__(
        self,
        queue: str,
        pace: Pace,
        publisher: Publisher,
        clock: Callable[[], IReactorTime],
        *,
        quorum: bool = False,
    ) -> None:
        self._queue = queue
        self._pace = pace
        self._clock = clock
        self._queues = RateQueues(queue, quorum)
        self._members = MemberCount(PERIOD)
        self._spare = SpareTokens(self._queues.spare, pace, publisher, clock, PERIOD)
        self._wire: Wire | None = None
        self._channel: Channel | None = None
        self._looks = 0
        self._timer: IDelayedCall | None = None
        self._unknown = RepeatedWarning(
            self.log,
            clock,
            "The watches that share the rate of queue {queue!r} cannot be counted; this"
            " one keeps its share",
            "The watches that share the rate of queue {queue!r} can be counted again",
            queue=queue,
        )
        self._lock = DeferredLock()
        self._shut = False

    async def join(self, wire: Wire) -> None:
        """
        Be one of those that share; returns when our share is known.

        @raise BrokerError: the broker refuses it, or was lost; or the watch has ended.
        """
        async with self._lock:
            self._check()
            self._cancel()
            self._wire = wire
            self._looks = 0
            try:
                await self._count(await self._opened(wire))
            except BrokerRefused as e:
                if e.code != ReplyCode.NOT_FOUND or not self._members.known:
                    raise
                self._unknown.met(e)
            self._schedule()

    async def _opened(self, wire: Wire) -> Channel:
        channel = self._channel
        if channel is None or channel.closed:
            channel = await wire.open_channel(confirms=False)
            try:
                self._check()
                await self._begin(channel)
                self._check()
            except BaseException:
                Deferred.fromCoroutine(channel.shut())
                raise
            self._channel = channel
            self._spare.begin()
            self._members.reopened(self._clock().seconds())
        return channel

    async def _begin(self, channel: Channel) -> None:
        channel.on_message = self._received
        channel.on_cancel = lambda tag: self._lost(channel)
        await self._queues.declare(channel.client)
        await channel.call("basic_consume", queue=self._queues.members)

    def _check(self) -> None:
        if self._shut:
            raise ChannelLost("the watch that shared this rate has ended")

    async def leave(self) -> None:
        """
        Share no more.
        """
        self._shut = True
        self._cancel()
        self._unknown.end()
        channel, self._channel = self._channel, None
        self._spare.shut()
        if channel is not None:
            await channel.shut()

    # -- Looking

    def _schedule(self) -> None:
        self._cancel()
        if not self._shut:
            wait = min(PERIOD, _FIRST * 2**self._looks)
            self._looks = min(self._looks + 1, 10)
            self._timer = self._clock().callLater(wait, self._look)

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _look(self) -> None:
        self._timer = None
        wire = self._wire
        if wire is None or wire.closed:
            return  # join() will be called with the next one
        looking = Deferred.fromCoroutine(self._look_around(wire))
        looking.addErrback(self._cannot_look)

    def _cannot_look(self, failure: Failure) -> None:
        failure.trap(BrokerError)
        wire = self._wire
        if self._shut or wire is None or wire.closed:
            return
        self._unknown.met(failure.value)
        self._schedule()

    async def _look_around(self, wire: Wire) -> None:
        async with self._lock:
            if wire is not self._wire:
                return  # join() was called meanwhile
            channel = await self._opened(wire)
            await self._count(channel)
            await self._spare.look(channel)
            self._schedule()

    def _lost(self, channel: Channel) -> None:
        """
        Somebody has deleted a queue of ours.
        """
        Deferred.fromCoroutine(channel.shut())

    async def _count(self, channel: Channel) -> None:
        counted = await count_consumers(channel, self._queues.members)
        self._members.counted(counted, self._clock().seconds())
        # None though we are one: RabbitMQ has no leader for the queue now.
        if not self._members.known:
            raise BrokerError(
                f"queue {self._queues.members!r} has no leader in the cluster now"
            )
        self._unknown.succeeded()
        members, before = self._members.number, self._pace.members
        if members != before:
            self.log.info(
                "{members} watches share the rate of queue {queue!r}",
                members=members,
                queue=self._queue,
            )
        if members != before or not self._looks:
            self._pace.shared_by(members)

    def _received(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.ack(message.delivery_tag)
        self._spare.received(message)
