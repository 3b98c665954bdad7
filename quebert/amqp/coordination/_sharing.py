"""
How many watches share a limit of a queue, as RabbitMQ counts them.

Each of them consumes from a queue that never has a message.  Each second, a watch reads
the number of consumers of that queue.  So no server is needed beside RabbitMQ, nobody
leads whose end the others must notice, and it costs nothing per message.  When a
mediator is killed, RabbitMQ knows at once, and the others two seconds later.  When its
machine vanishes, RabbitMQ knows after the heartbeats that do not come.

Beside a classic queue whose node is down, those who know their share keep it until the
node is back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp.coordination._member_count import MemberCount
from quebert.amqp.coordination._rate_queues import count_consumers
from quebert.errors import BrokerError, BrokerRefused, ChannelLost, ReplyCode

if TYPE_CHECKING:
    from quebert.amqp.wire import Channel, Message, Wire

__all__ = ["PERIOD", "Shared", "Sharing"]

#: Seconds between two looks at who else is there.
PERIOD = 1.0
# The first ones, of those who have come just now, as others may have.
_FIRST = 0.1


class Shared(Protocol):
    """
    A limit that watches share.
    """

    async def declare(self, wire: Wire) -> None:
        """
        Declare the queue that is consumed, and others.

        @raise BrokerError: RabbitMQ refuses it, or the connection is lost.
        """

    def opened(self) -> None:
        """
        There is another channel.
        """

    def shared_by(self, members: int) -> None:
        """
        So many share the limit.  It is called whenever the number changes, and by the
        first look over a connection.
        """

    async def look(self, channel: Channel) -> None:
        """
        Called at each look but the first, after the count.
        """

    def received(self, message: Message) -> None:
        """
        A message has come over our channel.
        """


class Sharing:
    """
    @param shared: what is shared.
    @param what: its name.
    @param queue: the queue that is watched.
    @param members: the queue that is consumed.
    @ivar period: seconds between two looks.
    """

    log = Logger()

    def __init__(
        self,
        shared: Shared,
        what: str,
        queue: str,
        members: str,
        clock: Callable[[], IReactorTime],
    ) -> None:
        self._shared = shared
        self._what = what
        self._queue = queue
        self._consumed = members
        self._clock = clock
        self.period = PERIOD
        self._members = MemberCount(self.period)
        self._told = 1
        self._wire: Wire | None = None
        self._channel: Channel | None = None
        self._looks: int
        self._timer: IDelayedCall | None = None
        self._unknown = RepeatedWarning(
            self.log,
            clock,
            f"The watches that share the {what} of queue {{queue!r}} cannot be counted;"
            " this one keeps its share",
            f"The watches that share the {what} of queue {{queue!r}} can be counted"
            " again",
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
            self._cancel()  # a look would wait for the lock, and schedule one more
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
            self._shared.opened()
            self._members.reopened(self._clock().seconds())
        return channel

    async def _begin(self, channel: Channel) -> None:
        channel.on_message = self._received
        channel.on_cancel = lambda tag: self._lost(channel)
        await self._shared.declare(channel.client)
        await channel.call("basic_consume", queue=self._consumed)

    def _check(self) -> None:
        if self._shut:
            raise ChannelLost(f"the watch that shared this {self._what} has ended")

    async def leave(self) -> None:
        """
        Share no more.
        """
        self._shut = True
        self._cancel()
        self._unknown.end()
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.shut()

    # -- Looking

    def _schedule(self) -> None:
        self._cancel()
        if not self._shut:
            wait = min(self.period, _FIRST * 2**self._looks)
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
            await self._shared.look(channel)
            self._schedule()

    def _lost(self, channel: Channel) -> None:
        """
        Somebody has deleted a queue of ours.
        """
        Deferred.fromCoroutine(channel.shut())

    async def _count(self, channel: Channel) -> None:
        counted = await count_consumers(channel, self._consumed)
        self._members.counted(counted, self._clock().seconds())
        # None though we are one: RabbitMQ has no leader for the queue now.
        if not self._members.known:
            raise BrokerError(
                f"queue {self._consumed!r} has no leader in the cluster now"
            )
        self._unknown.succeeded()
        members, before = self._members.number, self._told
        if members != before:
            self.log.info(
                "{members} watches share the {what} of queue {queue!r}",
                members=members,
                what=self._what,
                queue=self._queue,
            )
        if members != before or not self._looks:
            self._told = members
            self._shared.shared_by(members)

    def _received(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.ack(message.delivery_tag)
        self._shared.received(message)
