"""
A register to which any number of programs append at a time, and which they read in
turn.

Theory of operation.  A durable queue has messages, and the register is what all of them
together tell, in any order and however often: so what is in it must be merged.

To append to it is to publish a message, and to wait for the confirm.  Nobody is asked,
and nobody waits for somebody else.

To read it is to consume the queue and to end the channel, which gives all back.  The
queue has a I{single active consumer}: RabbitMQ delivers to one reader at a time, and
the next one becomes active in the same step in which the queue takes back all that the
reader before had, however that reader ended.  That is done by one process of RabbitMQ,
or one command of the queue's Raft log.  So whoever has got any message is the one
reader, and nobody else has one.  It has all that was confirmed before it began when
the queue tells that none is ready, and none has come for a while.  (The queue's leader
tells how many are ready; in a cluster another node may deliver, a little later.)  Where
others append all the time, there is always one ready, or coming: then it is enough to
have as many as there were when it had begun (L{_Enough}).

A reader must not end its consumer before it has given back everything: the next reader
would become active with less.  So it ends the channel alone.

A reader to whom nothing comes is not active, or the queue is empty: a program was
killed after it had declared it.  Then the reader appends a message that tells nothing.

A reader may replace messages by fewer: it publishes these, waits for the confirms, and
acknowledges the former.  A program that is killed in between leaves both.  Messages are
also replaced that came back some times, since a policy may have RabbitMQ drop those
that came back too often.

RabbitMQ delivers L{_ALL} messages at most that are not acknowledged.  A register with
more is read in parts: each part is replaced by fewer, which come after the rest, and
the last part then tells all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from quebert._protocol.extensions import SINGLE_ACTIVE_CONSUMER
from quebert.amqp.coordination._register import Publish, came_back, kind_of, taken
from quebert.amqp.queues import declare_queue, find_queue
from quebert.amqp.wire import Channel, Message
from quebert.errors import BrokerError, Unroutable

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["Appended", "RegisterReading"]

# Messages that are delivered at once: as many as AMQP lets one ask for.
_ALL = 65_535
# Seconds in which it must be read: a connection of a machine that has vanished ends
# after its heartbeats.
_PATIENCE = 90.0
# Seconds in which nothing more may have come, and after which a message is appended.
_STEP = 0.05
_EMPTY = 0.5
# Seconds after which all has come that RabbitMQ has sent.
_COMING = 0.5


@attrs.frozen
class Appended:
    """
    @ivar name: the queue that keeps it.
    """

    name: str

    async def exists(self, wire: Wire) -> bool:
        """
        Whether anything was ever appended to it.

        @raise MayNotLook: the user lacks the permission to see it.
        """
        return await find_queue(wire, self.name) is not None

    async def append(self, wire: Wire, body: bytes, publish: Publish) -> bool:
        """
        Add a message; returns when the broker has confirmed it.

        @return: whether the register was made for that.
        @raise BrokerError: nobody knows whether it was done.
        """
        try:
            await taken(Deferred.fromCoroutine(publish(self.name, body)), wire)
        except Unroutable:
            arguments = {**kind_of(wire), SINGLE_ACTIVE_CONSUMER: True}
            await declare_queue(wire, self.name, arguments)
            await taken(Deferred.fromCoroutine(publish(self.name, body)), wire)
            return True
        return False

    @asynccontextmanager
    async def read(
        self, wire: Wire, nothing: bytes, publish: Publish
    ) -> AsyncIterator[RegisterReading]:
        """
        Have all of it, or the first part, which nobody else reads as long as this block
        lasts.

        @param nothing: the body of a message that tells nothing.
        @raise BrokerError: another program reads it for too long, or the broker does
            not tell.
        """
        channel = await wire.open_channel(confirms=False)
        reading = RegisterReading(self.name, wire, channel, nothing, publish)
        try:
            await reading.begin()
            yield reading
        finally:
            await channel.shut()


@attrs.define(eq=False)
class RegisterReading:
    """
    A register that nobody else reads now.

    @ivar messages: those that it has.
    @ivar is_all: whether these are all of them.  Else they are to be replaced
        (L{replace}) before the others come (L{go_on}).
    """

    _name: str
    _wire: Wire
    _channel: Channel
    _nothing: bytes
    _publish: Publish
    messages: list[Message] = attrs.field(factory=list)
    is_all: bool = attrs.field(default=False, init=False)
    _is_deleted: bool = attrs.field(default=False, init=False)

    async def begin(self) -> None:
        """
        Returns once all messages are here, or as many as RabbitMQ delivers.
        """
        channel = self._channel
        channel.on_message = self.messages.append
        channel.on_cancel = self._cancelled
        await channel.call("basic_qos", prefetch_count=_ALL)
        await channel.call("basic_consume", queue=self._name)
        await self.go_on()

    async def go_on(self) -> None:
        """
        The same when those that were there are replaced.
        """
        clock = self._wire.clock
        began, seen, has_appended = clock.seconds(), 0, False
        enough = _Enough()
        while True:
            ready = await self._ready()
            count, now = len(self.messages), clock.seconds()
            # We were active before, so that those count as ready that came back.
            was_active = seen > 0
            if count >= _ALL:
                return
            if was_active and (
                (count == seen and not ready) or enough.are(count, ready, now)
            ):
                self.is_all = True
                return
            if self._is_deleted or now - began >= _PATIENCE:
                why = "it was deleted" if self._is_deleted else "another program does"
                raise BrokerError(f"queue {self._name!r} cannot be read: {why}")
            if not count and not has_appended and now - began >= _EMPTY:
                has_appended = True
                appending = self._publish(self._name, self._nothing)
                Deferred.fromCoroutine(appending).addErrback(_ignored)
            seen = count
            await deferLater(clock, _STEP)

    async def _ready(self) -> int:
        """
        How many messages were ready before the last that have come.
        """
        call = self._channel.call
        found = await call("queue_declare", queue=self._name, passive=True)
        await call("basic_qos", prefetch_count=_ALL)  # deliveries come before
        count: int = found.message_count
        return count

    def _cancelled(self, consumer_tag: str) -> None:
        self._is_deleted = True

    @property
    def came_back(self) -> bool:
        """
        Whether messages came back so often that they are to be replaced.
        """
        return came_back(self.messages)

    async def replace(self, bodies: Sequence[bytes]) -> None:
        """
        Have C{bodies}, which tell the same, take the place of the messages.

        @raise BrokerError: nobody knows whether it was done; nothing is lost.
        """
        former = self.messages[:]
        for body in bodies:
            publishing = Deferred.fromCoroutine(self._publish(self._name, body))
            await taken(publishing, self._wire)
        for each in former:
            self._channel.ack(each.delivery_tag)
        del self.messages[: len(former)]
        await self._channel.call("basic_qos", prefetch_count=_ALL)


@attrs.define(eq=False)
class _Enough:
    """
    Whether those messages are here that there were at one moment, in which we had begun
    to have them: some were ready, and some on their way.  Pure; time is an argument.
    """

    _since: float | None = attrs.field(default=None, init=False)
    _ready: int = attrs.field(init=False)
    _count: int | None = attrs.field(default=None, init=False)

    def are(self, count: int, ready: int, now: float) -> bool:
        """
        Whether they are.

        @param count: how many are here.
        @param ready: how many were ready just now.
        @param now: seconds.
        """
        if self._since is None:
            self._since, self._ready = now, ready
        elif self._count is None and now >= self._since + _COMING:
            self._count = count + self._ready  # so many, or fewer
        return self._count is not None and count >= self._count


def _ignored(failure: Failure) -> None:
    failure.trap(BrokerError)  # the reader tells that it cannot read
