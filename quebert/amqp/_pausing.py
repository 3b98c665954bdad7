"""
Pausing a queue for all who watch it, for as long as somebody likes.

A queue is paused while there is a durable exchange C{quebert.paused.<queue>}: it
takes nobody to remember it but the broker, all of whose nodes know it, and whether
it is there anybody may ask.  Who watches asks at each connection.  Meanwhile a
message on the exchange C{quebert.control}, with the queue as its routing key, makes
them ask again: it says nothing by itself, so none that is lost or late can lie.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from quebert.amqp._brief import brief_channel
from quebert.amqp._channel import Channel
from quebert.amqp._names import NAME_LIMIT, fitting
from quebert.errors import BrokerError, BrokerRefused, ChannelLost, Unroutable

if TYPE_CHECKING:
    from quebert.amqp._client import TxAMQPClient
    from quebert.amqp._message import Message
    from quebert.amqp._wire import Wire

__all__ = ["CONTROL", "Pauses", "Pausing", "is_paused", "set_paused", "sign_of"]

Look = Callable[[], None]
Step = Callable[[], Coroutine[Any, Any, None]]

#: The exchange over which those who watch are told to look.
CONTROL = "quebert.control"
_SIGN = "quebert.paused."

# Seconds until the broker is asked again that did not say.
_AGAIN = 1.0
_ACCESS_REFUSED, _NOT_FOUND = 403, 404


def sign_of(queue: str) -> str:
    """
    The exchange that is there while C{queue} is paused.
    """
    return _SIGN + fitting(queue, NAME_LIMIT - len(_SIGN))


# -- The sign


async def is_paused(wire: Wire, queue: str) -> bool:
    """
    Whether C{queue} is paused.  RabbitMQ wants no permissions of who asks.
    """
    sign = {"exchange": sign_of(queue), "exchange_type": "fanout", "passive": True}
    async with brief_channel(wire) as channel:  # which a "no" closes
        try:
            await channel.call("exchange_declare", **sign)
        except BrokerRefused as e:
            if e.code != _NOT_FOUND:
                raise
            return False
    return True


async def set_paused(
    client: TxAMQPClient, wire: Wire, queue: str, paused: bool
) -> None:
    """
    Pause C{queue}, or have it go on, and tell those who watch it.

    @raise BrokerError: the broker does not let us.
    """
    async with brief_channel(wire) as channel:
        await _declare_control(channel)
        if paused:
            sign = {"exchange": sign_of(queue), "exchange_type": "fanout"}
            await channel.call("exchange_declare", durable=True, **sign)
        else:
            await channel.call("exchange_delete", exchange=sign_of(queue))
    with suppress(Unroutable):  # nobody watches it now
        await client.publish(CONTROL, queue, b"")


async def _declare_control(channel: Channel) -> None:
    await channel.call(
        "exchange_declare", exchange=CONTROL, exchange_type="direct", durable=True
    )


# -- Being told


class Pauses:
    """
    Has those of one client who watch queues told to look whether they are paused.
    """

    log = Logger()

    def __init__(self) -> None:
        self._looks: dict[str, set[Look]] = {}
        self._ear: _Ear | None = None  # of the newest connection
        self._told = False

    async def ask(self, wire: Wire, queue: str, look: Look) -> bool:
        """
        Whether C{queue} is paused; from now on, as long as C{wire} lasts, C{look}
        is called whenever that may have changed.  Where the broker does not let us
        know, it is not.

        @raise BrokerError: the broker does not say.
        """
        self._looks.setdefault(queue, set()).add(look)
        try:
            # Before asking, so that nothing happens in between.
            await self._ear_of(wire).listen(queue)
        except BrokerError as e:
            self._deaf(wire, e)
        try:
            return await is_paused(wire, queue)
        except BrokerRefused as e:
            if e.code != _ACCESS_REFUSED:
                raise  # and ask again
            self._deaf(wire, e)
            return False

    def forget(self, queue: str, look: Look) -> None:
        """
        Call C{look} no more.
        """
        looks = self._looks.get(queue, set())
        looks.discard(look)
        if not looks:
            self._looks.pop(queue, None)

    def _ear_of(self, wire: Wire) -> _Ear:
        if self._ear is None or self._ear.wire is not wire:
            self._ear = _Ear(wire, self._heard, partial(self._deaf, wire))
        return self._ear

    def _deaf(self, wire: Wire, why: BrokerError) -> None:
        if wire.closed:
            raise why
        if not self._told:
            self._told = True
            self.log.warn(
                "Whether queues are paused is noticed at a new connection at best:"
                " {why}",
                why=why,
            )

    def _heard(self, queue: str) -> None:
        for look in list(self._looks.get(queue, ())):
            look()


class _Ear:
    """
    A queue of our own, as long as the connection lasts, for what is said of others.

    @param heard: called with the name of a queue.
    @param deaf: called with the reason when nothing can be heard any more.
    """

    def __init__(
        self,
        wire: Wire,
        heard: Callable[[str], None],
        deaf: Callable[[BrokerError], None],
    ) -> None:
        self.wire = wire
        self._heard = heard
        self._deaf = deaf
        self._name = f"{CONTROL}.{uuid.uuid4()}"
        self._channel: Channel | None = None
        self._queues: set[str] = set()
        self._lock = DeferredLock()

    async def listen(self, queue: str) -> None:
        """
        Hear of C{queue}, too.

        @raise BrokerError: it cannot be heard of.
        """
        await self._lock.acquire()
        try:
            if queue not in self._queues:
                await self._bind(queue)
                self._queues.add(queue)
        finally:
            self._lock.release()

    async def _bind(self, queue: str) -> None:
        if self._channel is None:
            self._channel = await self.wire.open_channel(confirms=False)
            await self._begin(self._channel)
        await self._channel.call(
            "queue_bind", queue=self._name, exchange=CONTROL, routing_key=queue
        )

    async def _begin(self, channel: Channel) -> None:
        channel.on_message = self._received
        channel.on_cancel = self._cancelled
        channel.when_closed().addCallback(self._closed)
        await _declare_control(channel)
        own = {"queue": self._name, "exclusive": True, "auto_delete": True}
        await channel.call("queue_declare", **own)
        tag = {"consumer_tag": self._name}
        await channel.call("basic_consume", queue=self._name, **tag)

    def _received(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.ack(message.delivery_tag)
        self._heard(message.routing_key)

    def _cancelled(self, consumer_tag: str) -> None:
        self._deaf(ChannelLost("somebody has deleted the queue that it is told by"))

    def _closed(self, why: BrokerError) -> None:
        if not self.wire.closed:
            self._deaf(why)


# -- Doing it


class Pausing:
    """
    One watch that does as it is told.

    @param halt: called, and waited for, where the queue is paused.
    @param go_on: the same, where it is not.
    @param pause: waits so many seconds, or less when the end is near.
    @ivar paused: whether it is.
    """

    log = Logger()

    def __init__(
        self,
        pauses: Pauses,
        queue: str,
        halt: Step,
        go_on: Step,
        pause: Callable[[float], Deferred[None]],
    ) -> None:
        self.paused = False
        self._pause = pause
        self._ended = False
        self._pauses = pauses
        self._queue = queue
        self._halt = halt
        self._go_on = go_on
        self._lock = DeferredLock()

    async def begin(self, wire: Wire) -> None:
        """
        Do what is to be done with a new connection.

        @raise BrokerError: it was lost, or a step failed.
        """
        await self._lock.acquire()  # what is asked later must be answered later
        try:
            self._wire = wire
            await self._ask(wire)
            await (self._halt() if self.paused else self._go_on())
        finally:
            self._lock.release()

    def end(self) -> None:
        """
        Do nothing any more.
        """
        self._ended = True
        self._pauses.forget(self._queue, self._look)

    def _look(self) -> None:
        Deferred.fromCoroutine(self._look_until_known())

    async def _look_until_known(self) -> None:
        # On a connection that is lost nothing is known; with the next one we ask.
        while not self._is_over():
            try:
                return await self._look_again()
            except BrokerError as e:
                if self._is_over():
                    break
                self.log.warn(
                    "Whether queue {queue!r} is paused is asked again: {why}",
                    queue=self._queue,
                    why=e,
                )
                await self._pause(_AGAIN)
        return None

    def _is_over(self) -> bool:
        return self._ended or self._wire.closed

    async def _look_again(self) -> None:
        await self._lock.acquire()
        try:
            if await self._ask(self._wire):
                await (self._halt() if self.paused else self._go_on())
        finally:
            self._lock.release()

    async def _ask(self, wire: Wire) -> bool:
        """
        Ask; tells whether something has changed.
        """
        paused = await self._pauses.ask(wire, self._queue, self._look)
        changed, self.paused = paused != self.paused, paused
        if changed:
            what = "is paused" if paused else "goes on"
            self.log.info("Queue {queue!r} {what}.", queue=self._queue, what=what)
        return changed
