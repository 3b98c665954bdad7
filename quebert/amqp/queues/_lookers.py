"""
Who else looks through a queue.

Whoever browses a queue holds messages unacknowledged, and RabbitMQ tells nobody how
many of those there are: C{queue.declare-ok} has the number of ready messages and of
consumers.  So browsing consumes meanwhile from a queue C{quebert.look.<queue>}, which
never has a message.  The number of its consumers is the number of those who browse.
When one is killed, RabbitMQ gives back its messages and ends its consumer at the same
time.

Others who hold messages are seen if they consume from the queue itself.  RabbitMQ
counts each message of a quorum queue that was fetched with C{basic.get} and is not
settled as one consumer, too (3.10, 4.3).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from quebert._protocol.extensions import EXPIRES
from quebert.amqp.queues._declaring import CLASSIC, declare_queue
from quebert.amqp.queues._existing import find_queue
from quebert.amqp.queues._names import derived
from quebert.errors import BrokerRefused, MayNotLook

if TYPE_CHECKING:
    from quebert.amqp.wire import Channel, Wire

__all__ = ["count_lookers", "looking"]

_PREFIX = "quebert.look."
# Milliseconds after the last browsing has ended.
_EXPIRES = 60_000


def _name(queue: str) -> str:
    return derived(_PREFIX, queue)


async def count_lookers(wire: Wire, queue: str) -> int:
    """
    How many browse C{queue}, or consume from it, and more where it is a quorum
    queue; as far as the user may see.

    @raise BrokerError: the broker does not answer.
    """
    count = 0
    for each in (_name(queue), queue):
        try:
            found = await find_queue(wire, each)
        except MayNotLook:
            continue
        count += found.consumer_count if found is not None else 0
    return count


@asynccontextmanager
async def looking(
    wire: Wire, queue: str
) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """
    Have others see that C{queue} is browsed.  A user who lacks the permission to
    declare or read the helper queue is not seen.

    @return: counts the others.
    @raise BrokerError: the broker does not answer.
    """
    channel = await _seen(wire, _name(queue))

    async def others() -> int:
        return await count_lookers(wire, queue) - (channel is not None)

    try:
        yield others
    finally:
        if channel is not None:
            await channel.shut()


async def _seen(wire: Wire, name: str) -> Channel | None:
    try:
        await declare_queue(wire, name, {**CLASSIC, EXPIRES: _EXPIRES})
        channel = await wire.open_channel(confirms=False)
        channel.on_cancel = lambda tag: None
        try:
            await channel.call("basic_consume", queue=name)
        except BaseException:
            Deferred.fromCoroutine(channel.shut())
            raise
    except BrokerRefused:
        return None
    return channel
