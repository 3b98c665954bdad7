"""
The register of a queue's cancelled tasks, which the broker keeps.

Theory of operation.  The durable queue C{quebert.cancelled.<queue>} has one message
that tells all of them.  Whoever reads or changes the register first declares the
exclusive queue C{quebert.cancelling.<queue>}, which RabbitMQ grants to one connection
at a time and deletes with it, and has it as a lock.  To change the register is to fetch
its message, to publish one that has more, to wait for the confirm, and to acknowledge
the former.  A program that is killed in between leaves both messages: the register is
what all messages together tell.

Whoever reads the register gives its message back.  RabbitMQ may count that, and a
policy may have it drop what came back too often, so that a message which came back
L{_MOST_RETURNS} times is replaced.

A register whose holder was just killed may be empty for a moment, until the broker has
its message again.  It is also empty if a program was killed after it had declared the
register.  So an empty one is read again for L{_EMPTY} seconds.

RabbitMQ may lose what is in a quorum queue if it is killed within seconds after the
queue was made (L{NewQueues<quebert.amqp.queues.NewQueues>}).  So L{add_cancelled} tells
whether it has made the register.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater

from quebert._protocol.extensions import DELIVERY_COUNT, EXPIRES
from quebert._protocol.properties import encode_properties
from quebert._waiters import another_waiter
from quebert.amqp.coordination._cancellation import (
    KEPT,
    MOST,
    Cancellation,
    from_plain,
    merged,
    to_plain,
)
from quebert.amqp.delays import has_quorum
from quebert.amqp.queues import (
    CLASSIC,
    QUORUM,
    declare_queue,
    derived,
    find_queue,
    own_quorum,
)
from quebert.amqp.wire import Channel, Message
from quebert.errors import BrokerError, BrokerRefused, ConfigError, ReplyCode

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = [
    "PERSISTENT",
    "add_cancelled",
    "lock_of",
    "read_cancelled",
    "register_of",
]

#: Publishes a body to a queue; returns when the broker has confirmed it.
Publish = Callable[[str, bytes], Coroutine[Any, Any, None]]

#: The properties of the message.
PERSISTENT = encode_properties({"delivery-mode": 2})
_PREFIX = "quebert.cancelled."
_LOCK = "quebert.cancelling."
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
# Bytes of all cancelled tasks of a queue together.
_MOST_BYTES = 2**21
# Milliseconds after the last use: then nothing in it is wanted any more.
_EXPIRES = int((KEPT + 86_400) * 1000)


def register_of(queue: str) -> str:
    """
    The queue that keeps the cancelled tasks of C{queue}.
    """
    return derived(_PREFIX, queue)


def lock_of(queue: str) -> str:
    """
    The queue that a program has for itself while it reads or changes the register.
    """
    return derived(_LOCK, queue)


async def read_cancelled(
    wire: Wire, queue: str, now: float, publish: Publish | None = None
) -> dict[str, Cancellation]:
    """
    The tasks of C{queue} that are cancelled, by their uuids.

    @param now: the time of day, in seconds since the epoch.
    @param publish: replaces messages of the register where that is needed; not over
        C{wire}, if that consumes, since RabbitMQ may read nothing more from a
        connection that publishes.
    @raise MayNotLook: the user lacks the permission to see it.
    @raise BrokerError: the broker does not tell.
    """
    if await find_queue(wire, register_of(queue)) is None:
        return {}
    async with _locked(wire, queue) as channel:
        messages = await _fetched(channel, register_of(queue))
        found = merged((c for m in messages for c in from_plain(m.body)), now)
        counts = [each.number_in(DELIVERY_COUNT) for each in messages]
        is_worn = len(messages) > 1 or any(c >= _MOST_RETURNS for c in counts)
        if publish is not None and is_worn:
            with suppress(BrokerError):  # it is read again, and may be replaced then
                body = to_plain(found.values())
                publishing = publish(register_of(queue), body)
                await _taken(Deferred.fromCoroutine(publishing), wire)
                await _acknowledge(channel, messages)
        return found


async def add_cancelled(
    wire: Wire, queue: str, added: Iterable[Cancellation], now: float
) -> bool:
    """
    Add to the cancelled tasks of C{queue}; returns when the broker has confirmed it.

    @param now: the time of day, in seconds since the epoch.
    @return: whether the register was made for that.
    @raise ConfigError: there are too many.
    @raise BrokerError: nobody knows whether they are added.
    """
    name = register_of(queue)
    async with _locked(wire, queue) as channel:
        exists = await find_queue(wire, name) is not None
        if not exists:
            await _declare(wire, name)
        before = await _fetched(channel, name) if exists else []
        known = [c for m in before for c in from_plain(m.body)]
        cancelled = merged([*known, *added], now)
        body = to_plain(cancelled.values())
        if len(cancelled) > MOST or len(body) > _MOST_BYTES:
            raise ConfigError(
                f"queue {queue!r} has {len(merged(known, now))} cancelled tasks, and"
                f" may have {MOST}: they are forgotten {KEPT / 86_400:.0f} days"
                " after they were cancelled"
            )
        await _taken(channel.publish("", name, body, PERSISTENT), wire)
        await _acknowledge(channel, before)
    return not exists


async def _acknowledge(channel: Channel, messages: Iterable[Message]) -> None:
    """
    Something else tells what these do; returns when RabbitMQ knows it.
    """
    for each in messages:
        channel.ack(each.delivery_tag)
    await channel.call("channel_flow", active=True)


async def _declare(wire: Wire, name: str) -> None:
    kind = {**QUORUM, **own_quorum(wire)} if has_quorum(wire) else CLASSIC
    await declare_queue(wire, name, {**kind, EXPIRES: _EXPIRES})


async def _taken(published: Deferred[None], wire: Wire) -> None:
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
async def _locked(wire: Wire, queue: str) -> AsyncIterator[Channel]:
    """
    Have the register for oneself, with a channel for it.
    """
    lock = lock_of(queue)
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
