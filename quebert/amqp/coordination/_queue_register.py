"""
The register of the queues that were made over the API: the durable queue
C{quebert.queues}, with C{quebert.queues.changing} as its lock
(L{quebert.amqp.coordination._register}).

Whoever changes it tells the mediators, as whoever pauses a queue does
(L{announce<quebert.amqp.coordination._pause_sign.announce>}), with C{quebert.queues} as
the routing key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from quebert.amqp.coordination._pause_sign import announce
from quebert.amqp.coordination._queue_entries import (
    Entries,
    KnownQueues,
    changed,
    entries_from_plain,
    entries_to_plain,
    known,
    merged_entries,
)
from quebert.amqp.coordination._register import Held, Publish, Register
from quebert.amqp.queues import find_queue
from quebert.amqp.wire import temporary_channel
from quebert.config import QueueDefinition
from quebert.errors import BrokerError, ConfigError

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = [
    "QUEUES",
    "QUEUES_LOCK",
    "announce_queues",
    "change_queues",
    "read_queues",
    "remove_gone_queue",
]

#: The queue that keeps the definitions.
QUEUES = "quebert.queues"
#: The queue that a program has for itself while it reads or changes them.
QUEUES_LOCK = "quebert.queues.changing"

_REGISTER = Register(QUEUES, QUEUES_LOCK)
# Definitions, and bytes of all together.
_MOST = 10_000
_MOST_BYTES = 2**23

#: Gives the new definition of a queue; C{None} to change nothing.
Change = Callable[[KnownQueues], Awaitable["QueueDefinition | None"]]


async def read_queues(wire: Wire, publish: Publish | None = None) -> KnownQueues:
    """
    The queues that were made over the API.

    @param publish: replaces messages of the register where that is needed; not over
        C{wire}, if that consumes, since RabbitMQ may read nothing more from a
        connection that publishes.
    @raise MayNotLook: the user lacks the permission to see it.
    @raise BrokerError: the broker does not tell.
    """
    if not await _REGISTER.exists(wire):
        return KnownQueues()
    async with _REGISTER.held(wire) as held:
        entries = _told(held)
        if publish is not None:
            await held.renew(entries_to_plain(entries), publish)
        return known(entries)


async def change_queues(wire: Wire, change: Change, now: float) -> bool:
    """
    Change the definition of a queue, or add one; returns when the broker has confirmed
    it.

    @param change: called with those that there are, while nobody else changes them.
    @param now: the time of day, in seconds since the epoch.
    @return: whether the register was made for that.
    @raise ConfigError: there are too many.
    @raise BrokerError: nobody knows whether it was done.
    """
    async with _REGISTER.held(wire) as held:
        entries = _told(held)
        definition = await change(known(entries))
        if definition is None:
            return False
        entries = changed(entries, definition, now)
        body = entries_to_plain(entries)
        if len(entries) > _MOST or len(body) > _MOST_BYTES:
            raise ConfigError(
                f"there are {len(entries) - 1} queues that were made over the API, with"
                " those that were deleted in the last days, and there may be"
                f" {_MOST}, which together take {_MOST_BYTES} bytes at most"
            )
        return await held.replace(body)


async def announce_queues(wire: Wire) -> BrokerError | None:
    """
    Have all mediators read the register.

    @return: why they are not told.
    """
    return await announce(wire, QUEUES)


async def remove_gone_queue(wire: Wire, name: str, now: float) -> bool:
    """
    Delete a queue whose definition was deleted long ago, unless it has tasks, or
    somebody watches it.

    @return: whether it is gone, or is to stay.
    @raise BrokerError: the broker does not do it, or does not tell.
    """
    async with _REGISTER.held(wire) as held:
        definition = known(_told(held)).definitions.get(name)
        if definition is None or not definition.is_gone(now):
            return True  # it was made anew
        # RabbitMQ has no condition for the deletion of quorum queues.
        found = await find_queue(wire, name)
        if found is None:
            return True
        if found.message_count or found.consumer_count:
            return False
        async with temporary_channel(wire) as channel:
            await channel.call("queue_delete", queue=name)
        return True


def _told(held: Held) -> Entries:
    return merged_entries(
        each for body in held.bodies for each in entries_from_plain(body)
    )
