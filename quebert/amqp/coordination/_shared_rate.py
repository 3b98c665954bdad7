"""
Our share of a rate that all who watch a queue keep to together.

The broker counts them: each of them consumes from a queue C{quebert.rate.<queue>},
which never has a message.  Each second, a mediator reads the number of consumers of
that queue.  A mediator with unused tokens publishes them to
C{quebert.rate.<queue>.spare}; mediators whose messages wait consume them.  So no server
is needed beside the broker, nobody leads whose end the others must notice, and it costs
nothing per message.  When a mediator is killed the broker knows at once, and the others
two seconds later.

Tokens are published at most once: together they never begin more than the rate says,
but for the moment in which another one comes.

More members are believed at once, and fewer are not: a member may come back in a
moment.  It has lost its channel, or somebody has deleted the queue, so that all have to
come back, or the broker was restarted.  Until it is clear who is there, each keeps to
the share that it had.

A classic queue is on one node, and cannot be asked while that node is down.  So beside
a quorum queue both queues are quorum queues, with C{.quorum} behind their names.
Beside a classic queue, those who know their share keep it until the node is back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert._protocol.properties import encode_properties
from quebert._repeated import RepeatedWarning
from quebert.amqp.coordination._pace import Pace
from quebert.amqp.link import Publisher
from quebert.amqp.queues import CLASSIC, NOT_FOUND, declare_queue, derived
from quebert.amqp.watch import Throttle
from quebert.amqp.wire import Channel, Message
from quebert.errors import BrokerError, BrokerRefused, ChannelLost

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["SharedRate", "rate_queue_of"]

#: Seconds between two looks at who else is there.
PERIOD = 1.0
# The first ones, of those who have come just now, as others may have.
_FIRST = 0.1
# Seconds after which all have come back that have lost their connections or channels.
_RETURN = 5.0
# Looks for which we keep listening for what others have to spare.
_PATIENCE = 2
_PREFIX = "quebert.rate."
# Milliseconds after which helper queues go that nobody uses, ...
_EXPIRES = 600_000
# ... and tokens that nobody takes.
_STALE = 1_000
_MOST_WAITING = 100


class SharedRate(Throttle):
    """
    Keeps the rate of a L{Pace} at our share.

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
        self._publisher = publisher
        self._clock = clock
        self._type = {"x-queue-type": "quorum"} if quorum else {}
        suffix = ".quorum" if quorum else ""
        self._all, self._spare = (
            rate_queue_of(queue, suffix),
            rate_queue_of(queue, ".spare" + suffix),
        )
        self._knows = False  # how many there are, or were
        self._opened_at: float | None = None  # the channel, not for the first time
        self._fewer_since: float | None = None  # were counted
        self._wire: Wire | None = None
        self._channel: Channel | None = None
        self._listening = ""  # the consumer tag
        self._calm = 0  # looks since a message had to wait
        self._delayed = 0
        self._looks = 0
        self._timer: IDelayedCall | None = None
        self._passing = 0  # messages that are not confirmed yet
        self._unknown = RepeatedWarning(
            self.log,
            clock,
            "Queue {queue!r} keeps its share of the rate: nobody tells who shares it",
            "Queue {queue!r} knows again who shares its rate",
            queue=queue,
        )
        self._lock = DeferredLock()
        self._shut = False

    async def join(self, wire: Wire) -> None:
        """
        Be one of those that share; returns when our share is known.

        @raise BrokerError: the broker does not let us, or was lost; or we have left.
        """
        await self._lock.acquire()
        try:
            self._check()
            self._cancel()
            self._wire = wire
            self._looks = 0
            try:
                await self._count(await self._opened(wire))
            except BrokerRefused as e:
                if e.code != NOT_FOUND or not self._knows:
                    raise
                self._unknown.met(e)
            self._schedule()
        finally:
            self._lock.release()

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
            self._channel, self._listening, self._calm = channel, "", 0
            if self._knows:
                self._opened_at = self._clock().seconds()
        return channel

    async def _begin(self, channel: Channel) -> None:
        channel.on_message = self._received
        channel.on_cancel = lambda tag: self._lost(channel)
        ends = {**self._type, "x-expires": _EXPIRES}
        stale = {"x-max-length": _MOST_WAITING, "x-message-ttl": _STALE}
        for queue, arguments in ((self._all, ends), (self._spare, {**ends, **stale})):
            named = {**CLASSIC, **arguments}
            await declare_queue(channel.client, queue, named, arguments)
        await channel.call("basic_consume", queue=self._all)

    def _check(self) -> None:
        if self._shut:
            raise ChannelLost("the rate is not shared any more")

    async def leave(self) -> None:
        """
        Share no more.
        """
        self._shut = True
        self._cancel()
        self._unknown.end()
        channel, self._channel = self._channel, None
        self._publisher.shut()
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
        await self._lock.acquire()
        try:
            if wire is not self._wire:
                return  # join() was called meanwhile
            channel = await self._opened(wire)
            await self._count(channel)
            delayed, self._delayed = self._delayed, self._pace.delayed
            if delayed != self._delayed:
                await self._want(channel)
            else:
                await self._want_not(channel)
            self._schedule()
        finally:
            self._lock.release()

    def _lost(self, channel: Channel) -> None:
        """
        Somebody has deleted a queue of ours.
        """
        Deferred.fromCoroutine(channel.shut())

    async def _count(self, channel: Channel) -> None:
        members = await self._consumers(channel, self._all)
        if not members:  # though we are one: RabbitMQ has no leader for the queue now
            if not self._knows:
                raise BrokerError(f"queue {self._all!r} has no leader")
            members = self._pace.members
        if self._knows:
            members = self._believed(members)
        self._knows = True
        self._unknown.succeeded()
        if members != self._pace.members:
            self.log.info(
                "{members} share the rate of queue {queue!r}",
                members=members,
                queue=self._queue,
            )
        if members != self._pace.members or not self._looks:
            self._pace.shared_by(members)

    def _believed(self, counted: int) -> int:
        """
        How many members there are, now that so many have been counted.
        """
        if counted >= self._pace.members:
            self._fewer_since = None
            return counted
        now = self._clock().seconds()
        if self._fewer_since is None:
            self._fewer_since = now
        doubted = now < self._fewer_since + PERIOD
        if self._opened_at is not None:
            doubted |= now < self._opened_at + _RETURN
        if doubted:
            return self._pace.members
        self._fewer_since = None  # the next one is doubted, too
        return counted

    async def _consumers(self, channel: Channel, queue: str) -> int:
        found = await channel.call("queue_declare", queue=queue, passive=True)
        return int(found.consumer_count)

    # -- What one does not need, and another does

    async def _want(self, channel: Channel) -> None:
        """
        Messages have to wait here: take what others do not need.
        """
        self._calm = 0
        if not self._listening and self._pace.members > 1:
            self._listening = "spare"
            await channel.call(
                "basic_consume",
                queue=self._spare,
                consumer_tag=self._listening,
            )

    async def _want_not(self, channel: Channel) -> None:
        self._calm += 1
        if self._listening and self._calm > _PATIENCE:
            tag, self._listening = self._listening, ""
            await channel.call("basic_cancel", consumer_tag=tag)
        spare = self._pace.bucket.spilled(self._clock().seconds())
        # However long we have slept, others are not to hurry for it.
        spare = min(spare, 2 * PERIOD * self._pace.bucket.rate)
        if not self._listening and spare > 0 and self._pace.members > 1:
            wanting = await self._consumers(channel, self._spare)
            if wanting:
                self._pass_on(spare, wanting)

    def _pass_on(self, spare: float, wanting: int) -> None:
        if self._passing:
            return  # what is said later is not true any more
        self._pace.passed_on += spare
        properties = encode_properties({"delivery-mode": 1})
        body = f"{spare / wanting:.6f}".encode()
        for _ in range(wanting):  # the broker gives one to each
            publishing = self._publisher.publish(
                "", self._spare, body, properties, PERIOD
            )
            passing = Deferred.fromCoroutine(publishing)
            self._passing += 1
            passing.addBoth(self._passed)

    def _passed(self, result: object) -> None:
        self._passing -= 1
        if isinstance(result, Failure):
            result.trap(BrokerError)  # it is lost

    def _received(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.ack(message.delivery_tag)
        try:
            tokens = float(message.body)
        except ValueError:
            return
        if 0 < tokens <= 2 * PERIOD * self._pace.rate:
            self._pace.got += tokens
            self._pace.bucket.add(tokens, PERIOD, self._clock().seconds())


def rate_queue_of(queue: str, suffix: str = "") -> str:
    """
    The queue that all consume from who share the rate of C{queue}.

    @param suffix: what its name ends with.
    """
    return derived(_PREFIX, queue, suffix)
