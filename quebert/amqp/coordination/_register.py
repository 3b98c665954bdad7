"""
A register: a message that the broker keeps, and that one program at a time changes.

Theory of operation.  A durable queue has one message that tells all of the register.
Whoever reads or changes the register first declares an exclusive queue, the lock, which
RabbitMQ grants to one connection at a time and deletes with it.  To change the register
is to fetch its message, to publish one that takes its place, to wait for the confirm,
and to acknowledge the former.  A program that is killed in between leaves both
messages: the register is what all messages together tell.  So what is in it must be
told by any number of messages in any order (C{merged} of its user).

Whoever reads the register gives its message back.  RabbitMQ may count that, and a
policy may have it drop what came back too often, so that a message which came back
L{_MOST_RETURNS} times is replaced.

A register whose holder was just killed may be empty for a moment, until the broker has
its message again.  It is also empty if a program was killed after it had declared the
register.  So an empty one is read again for L{_EMPTY} seconds.

RabbitMQ may lose what is in a quorum queue if it is killed within seconds after the
queue was made (L{NewQueues<quebert.amqp.queues.NewQueues>}).  So L{Held.replace} tells
whether it has made the register.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater

from quebert._protocol.extensions import DELIVERY_COUNT, EXPIRES
from quebert._protocol.properties import encode_properties
from quebert._waiters import another_waiter
from quebert.amqp.delays import has_quorum
from quebert.amqp.queues import (
    CLASSIC,
    QUORUM,
    declare_queue,
    find_queue,
    own_quorum,
)
from quebert.amqp.wire import Channel, Message
from quebert.errors import BrokerError, BrokerRefused, ReplyCode

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = [
    "PERSISTENT",
    "Held",
    "Publish",
    "Register",
    "came_back",
    "kind_of",
    "taken",
]

#: Publishes a body to a queue; returns when the broker has confirmed it.
Publish = Callable[[str, bytes], Coroutine[Any, Any, None]]

#: The properties of the message.
PERSISTENT = encode_properties({"delivery-mode": 2})
# How often its message may have come back before it is replaced.
_MOST_RETURNS = 3
# Seconds in which there must be the lock: a connection of a machine that has vanished
# ends after its heartbeats.
_PATIENCE = 90.0
# Seconds between two attempts to have it, at most.
_AGAIN = 0.1
# Seconds for which an empty register is read again, and between two looks.
_EMPTY = 1.0
_LOOK = 0.1
# Seconds in which RabbitMQ must take the message.
_TAKING = 10.0


@attrs.frozen
class Register:
    """
    @ivar name: the queue that keeps it.
    @ivar lock: the queue that a program has for itself while it reads or changes it.
    @ivar expires: seconds after the last use: then nothing in it is wanted any more;
        C{None} if that is always wanted.
    """

    name: str
    lock: str
    expires: float | None = None

    async def exists(self, wire: Wire) -> bool:
        """
        Whether anything was ever kept in it.

        @raise MayNotLook: the user lacks the permission to see it.
        """
        return await find_queue(wire, self.name) is not None

    @asynccontextmanager
    async def held(self, wire: Wire) -> AsyncIterator[Held]:
        """
        Have it for oneself, as long as this block lasts.

        @raise BrokerError: another program has it for too long, or the broker does not
            tell.
        """
        async with _locked(wire, self.lock) as channel:
            exists = await self.exists(wire)
            messages = await _fetched(channel, self.name) if exists else []
            yield Held(self, wire, channel, messages, exists)

    async def declare(self, wire: Wire) -> None:
        """
        Have the broker keep it.
        """
        more = {} if self.expires is None else {EXPIRES: int(self.expires * 1000)}
        await declare_queue(wire, self.name, {**kind_of(wire), **more})


@attrs.define(eq=False)
class Held:
    """
    A register that nobody else has now.
    """

    _register: Register
    _wire: Wire
    _channel: Channel
    _messages: list[Message]
    _exists: bool

    @property
    def bodies(self) -> list[bytes]:
        """
        The bodies of its messages.
        """
        return [each.body for each in self._messages]

    async def replace(self, body: bytes) -> bool:
        """
        Have C{body} tell all of it; returns when the broker has confirmed it.

        @return: whether the register was made for that.
        @raise BrokerError: nobody knows whether it was done.
        """
        if not self._exists:
            await self._register.declare(self._wire)
        taking = self._channel.publish("", self._register.name, body, PERSISTENT)
        await taken(taking, self._wire)
        await self._acknowledge()
        return not self._exists

    async def renew(self, body: bytes, publish: Publish) -> None:
        """
        Have C{body}, which tells the same, take the place of the messages, if these are
        several or came back often.

        @param publish: not over the connection that holds the register, if that
            consumes, since RabbitMQ may read nothing more from a connection that
            publishes.
        """
        if len(self._messages) <= 1 and not came_back(self._messages):
            return
        with suppress(BrokerError):  # it is read again, and may be replaced then
            publishing = publish(self._register.name, body)
            await taken(Deferred.fromCoroutine(publishing), self._wire)
            await self._acknowledge()

    async def _acknowledge(self) -> None:
        """
        Something else tells what the messages do; returns when RabbitMQ knows it.
        """
        for each in self._messages:
            self._channel.ack(each.delivery_tag)
        await self._channel.call("channel_flow", active=True)


def kind_of(wire: Wire) -> dict[str, Any]:
    """
    The arguments of the queue of a register.
    """
    return {**QUORUM, **own_quorum(wire)} if has_quorum(wire) else CLASSIC


def came_back(messages: Iterable[Message]) -> bool:
    """
    Whether messages of a register came back so often that they are to be replaced.
    """
    return any(each.number_in(DELIVERY_COUNT) >= _MOST_RETURNS for each in messages)


async def taken(published: Deferred[None], wire: Wire) -> None:
    """
    Returns when the broker has taken what was published.

    @raise BrokerError: it has not, or not in time.
    """
    try:
        await published.addTimeout(_TAKING, wire.clock)
    except TimeoutError:
        why = wire.blocked or f"no answer within {_TAKING:g} s"
        raise BrokerError(f"RabbitMQ takes no messages now: {why}") from None


async def _fetched(channel: Channel, name: str) -> list[Message]:
    """
    All messages of a register.  Those that are not acknowledged go back with the
    channel.
    """
    clock = channel.client.clock
    end = clock.seconds() + _EMPTY
    messages: list[Message] = []
    while True:
        while (message := await channel.get(name)) is not None:
            messages.append(message)
        if messages or clock.seconds() >= end:
            return messages
        await deferLater(clock, _LOOK)


@asynccontextmanager
async def _locked(wire: Wire, lock: str) -> AsyncIterator[Channel]:
    """
    Have a register for oneself, with a channel for it.
    """
    end = wire.clock.seconds() + _PATIENCE
    try:
        while not await _lock(wire, lock):
            if wire.clock.seconds() >= end:
                raise BrokerError(
                    f"another program has queue {lock!r} for itself for more than"
                    f" {_PATIENCE:.0f} s"
                )
            jitter = random.uniform(0.1, 1.0)  # nosec B311
            await deferLater(wire.clock, jitter * _AGAIN)
        channel = await wire.open_channel()
        try:
            yield channel
        finally:
            channel.give_all_back()
            await channel.shut()
    finally:  # also where this is cancelled: the connection may last
        await another_waiter(Deferred.fromCoroutine(_unlock(wire, lock)))


async def _lock(wire: Wire, lock: str) -> bool:
    channel = await wire.open_channel(confirms=False)
    try:
        await channel.call(
            "queue_declare", queue=lock, exclusive=True, arguments=CLASSIC
        )
    except BrokerRefused as e:
        if e.code != ReplyCode.RESOURCE_LOCKED:
            raise
        return False
    finally:
        await channel.shut()
    return True


async def _unlock(wire: Wire, lock: str) -> None:
    if wire.closed:
        return
    try:
        channel = await wire.open_channel(confirms=False)
        await channel.call("queue_delete", queue=lock)
        await channel.shut()
    except BrokerError:
        pass  # the connection is lost, and the lock with it
