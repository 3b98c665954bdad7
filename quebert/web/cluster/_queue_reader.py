"""
Reads the messages of a durable queue in groups.  A group is acknowledged once it is
taken: what is not acknowledged comes again, also to another process, in its old place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from quebert.amqp import Message
from quebert.amqp.queues import CLASSIC, declare_queue, depth, find_queue
from quebert.amqp.wire import temporary_channel
from quebert.errors import BrokerRefused, MayNotLook
from quebert.operations import BrokerAccess
from quebert.web.cluster._keep_going import KeepGoing

if TYPE_CHECKING:
    from quebert.amqp.wire import Channel, Wire

__all__ = ["QueueReader"]

#: Messages that are here at once.
MOST_MESSAGES = 200
# Seconds until it is seen again whether somebody else reads the queue.
_STANDBY = 2.0


class QueueReader:
    """
    @param broker: where the queue is.
    @param queue: its name.
    @param take: takes messages, the first of which came first, and gives how many of
        them it has taken; they are acknowledged then.
    @param log: told of failures.
    @param what: the things that the messages are, for the log: C{"Ends of tasks"}.
    @param exclusive: whether this process reads only while no other one does: then all
        messages are taken in the order of the queue.
    """

    def __init__(
        self,
        broker: BrokerAccess,
        queue: str,
        take: Callable[[Sequence[Message]], Awaitable[int]],
        log: Logger,
        what: str,
        exclusive: bool = False,
    ) -> None:
        self._exclusive = exclusive
        self._broker = broker
        self._queue = queue
        self._take = take
        self._came: deque[Message] = deque()
        self._is_refused = False  # the last group was not taken
        self._wake: Deferred[None] = Deferred()
        self._going = KeepGoing(
            self._read,
            broker.reactor,
            log,
            f"{what} do not reach the database",
            f"{what} reach the database again",
            f"the queue {queue} is not read yet",
        )

    @property
    def problem(self) -> str:
        """
        Why nothing is read now; empty if it is, here or by another process.
        """
        return self._going.problem

    def start(self) -> None:
        """
        Begin.
        """
        self._going.start()

    async def stop(self) -> None:
        """
        Read no more; a group that has begun is ended first.
        """
        await self._going.stop()

    async def _read(self) -> None:
        """
        Read until the connection is lost, or the database fails.
        """
        async with (
            self._broker.client() as (_, wire),
            temporary_channel(wire) as channel,
        ):
            await self._await_turn(wire)
            if not await self._consume(wire, channel):
                return  # another one was quicker
            while not (channel.closed or self._going.is_stopped):
                if self._came:
                    await self._take_some(channel)
                else:
                    await self._going.wait(self._wake)
            if channel.closed:
                raise channel.error()

    async def _await_turn(self, wire: Wire) -> None:
        """
        Wait until nobody else reads the queue, if it is to be read by one at a time.
        An exclusive consumer would have that, too, but not of a quorum queue, and
        RabbitMQ logs an error for each that it refuses.
        """
        while self._exclusive and await self._is_read(wire):
            self._going.goes()
            await self._going.wait(deferLater(self._broker.reactor, _STANDBY))

    async def _is_read(self, wire: Wire) -> bool:
        """
        Whether somebody reads the queue, as far as we may see.
        """
        if self._going.is_stopped:
            return False
        with suppress(MayNotLook):
            found = await depth(wire, self._queue)
            return found is not None and found.consumers > 0
        return False

    async def _consume(self, wire: Wire, channel: Channel) -> bool:
        """
        Begin to receive.

        @return: whether it does: not while another process reads the queue for itself.
        """
        self._came, self._wake = deque(), Deferred()
        await _declare(wire, self._queue)
        channel.on_message = self._received
        channel.on_cancel = partial(_shut, channel)
        channel.when_closed().addCallback(self._awake)
        await channel.call("basic_qos", prefetch_count=MOST_MESSAGES)
        try:
            await channel.call(
                "basic_consume",
                queue=self._queue,
                consumer_tag=self._queue,
                exclusive=self._exclusive,
            )
        except BrokerRefused as e:
            if not (self._exclusive and "exclusive use" in str(e)):
                raise
            self._going.goes()
            return False
        if not self._is_refused:
            self._going.goes()
        return True

    def _received(self, message: Message) -> None:
        self._came.append(message)
        self._awake()

    def _awake(self, _: object = None) -> None:
        wake, self._wake = self._wake, Deferred()
        if not wake.called:
            wake.callback(None)

    async def _take_some(self, channel: Channel) -> None:
        """
        Have some of the messages that are here taken.
        """
        self._is_refused = True
        taken = await self._take(tuple(self._came))
        self._is_refused = False
        self._going.goes()
        for _ in range(taken):
            channel.ack(self._came.popleft().delivery_tag)


async def _declare(wire: Wire, queue: str) -> None:
    """
    Have the queue there.  One that somebody has declared otherwise is used as it is.
    """
    with suppress(MayNotLook):
        if await find_queue(wire, queue) is not None:
            return
    await declare_queue(wire, queue, CLASSIC)


def _shut(channel: Channel, consumer_tag: str) -> None:
    """
    The queue was deleted: have it declared anew.
    """
    Deferred.fromCoroutine(channel.shut())
