"""
Making queues that all mediators serve which are told to, changing and deleting them.

The definitions of these queues stand in RabbitMQ
(L{quebert.amqp.coordination._queue_register}); mediators heed a change within moments.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import attrs

from quebert._protocol.extensions import QUEUE_TYPE
from quebert.amqp.coordination import (
    QUEUES,
    KnownQueues,
    announce_queues,
    change_queues,
    read_queues,
    remove_note,
    set_paused,
)
from quebert.amqp.queues import DEAD_LETTERS, declare_task_queue, find_queue
from quebert.amqp.wire import temporary_channel
from quebert.config import QueueDefinition
from quebert.errors import ConfigError
from quebert.operations._access import BrokerAccess

if TYPE_CHECKING:
    from quebert.amqp import TxAMQPClient
    from quebert.amqp.wire import Wire

__all__ = [
    "QUEUE_CHANGED",
    "QUEUE_DELETED",
    "QUEUE_EXISTED",
    "QUEUE_EXISTS",
    "QUEUE_MADE",
    "QUEUE_OUTDATED",
    "QUEUE_UNKNOWN",
    "QueueChange",
    "change_queue",
    "delete_queue",
    "made_queues",
    "make_queue",
]

#: The queue was made.
QUEUE_MADE = "made"
#: There is a queue of this name.
QUEUE_EXISTS = "exists"
#: A queue of this name was deleted less than seven days ago.
QUEUE_EXISTED = "existed"
#: The queue was changed.
QUEUE_CHANGED = "changed"
#: Somebody else has changed it meanwhile.
QUEUE_OUTDATED = "outdated"
#: The queue was deleted.
QUEUE_DELETED = "deleted"
#: There is no such queue.
QUEUE_UNKNOWN = "unknown"


@attrs.frozen
class QueueChange:
    """
    The result of making, changing or deleting a queue.

    @ivar result: L{QUEUE_MADE}, L{QUEUE_CHANGED} or L{QUEUE_DELETED}; or why nothing
        was changed: L{QUEUE_EXISTS}, L{QUEUE_EXISTED}, L{QUEUE_OUTDATED} or
        L{QUEUE_UNKNOWN}.
    @ivar queue: its definition after that; C{None} where there is none, as of a queue
        that was not made with L{make_queue}.
    @ivar problems: what is not as it should be; sentences.
    """

    result: str
    queue: QueueDefinition | None
    problems: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """
        Whether something was changed.
        """
        return self.result in (QUEUE_MADE, QUEUE_CHANGED, QUEUE_DELETED)


Change = Callable[[KnownQueues], Awaitable[QueueDefinition | QueueChange]]


async def make_queue(broker: BrokerAccess, definition: QueueDefinition) -> QueueChange:
    """
    Make a queue; returns once it takes tasks that outlive everything.  In RabbitMQ that
    takes 3.5 s, unless it is a classic queue.

    A queue that is in RabbitMQ already, without a definition, gets one if it is empty,
    has no consumers and is of the same type: it may be the queue of another program.
    Tasks of a queue that had the name before are dropped.

    @param definition: its C{version} and C{deleted_at} do not matter.
    @raise ConfigError: there are too many queues, the definition that there is cannot
        be read by this version of quebert, the name is one of dead letters, or the URL
        is no AMQP URL.
    @raise BrokerError: the broker refuses, or nobody knows whether it was made.
    """
    name = definition.name
    if name.endswith(DEAD_LETTERS):  # mediators would carry them out again
        raise ConfigError(f"{name} cannot be made: it is a name of dead letters")
    async with broker.client() as (client, wire):

        async def change(known: KnownQueues) -> QueueDefinition | QueueChange:
            before, version, purged = known.of(name), 1, definition.purge_time
            if before is not None:
                if not before.is_deleted:
                    return QueueChange(QUEUE_EXISTS, before)
                if not before.is_gone(client.now()):
                    return QueueChange(QUEUE_EXISTED, before)
                version, purged = before.version + 1, before.deleted_at or purged
            elif await _is_used(wire, name):
                return QueueChange(QUEUE_EXISTS, None)
            await _declare(client, wire, definition)
            return attrs.evolve(
                definition, version=version, deleted_at=None, purge_time=purged
            )

        made = await _change(client, wire, QUEUE_MADE, change)
        await client.ladder.new_queues.old(wire, name)
        return made


async def change_queue(
    broker: BrokerAccess, definition: QueueDefinition, *, expected: int | None = None
) -> QueueChange:
    """
    Change a queue; returns when the broker keeps the change.

    @param definition: all of its new definition; C{version} and C{deleted_at} do not
        matter.
    @param expected: the version that it must have for that, so that no change of
        somebody else is lost; C{None} for any.
    @raise ConfigError: the type of the queue would be another, there are too many
        queues, the definition that there is cannot be read by this version of quebert,
        or the URL is no AMQP URL.
    @raise BrokerError: the broker refuses, or nobody knows whether it was changed.
    """
    async with broker.client() as (client, wire):

        async def change(known: KnownQueues) -> QueueDefinition | QueueChange:
            before = _living(known, definition.name, expected)
            if isinstance(before, QueueChange):
                return before
            if before.queue_type != definition.queue_type:
                raise ConfigError(
                    f"queue {definition.name!r} cannot become another type of queue:"
                    f" queue_type must be {before.queue_type!r}, not"
                    f" {definition.queue_type!r}"
                )
            version = before.version + 1
            return attrs.evolve(definition, version=version, deleted_at=None)

        return await _change(client, wire, QUEUE_CHANGED, change)


async def delete_queue(
    broker: BrokerAccess, name: str, *, expected: int | None = None
) -> QueueChange:
    """
    Delete a queue that was made with L{make_queue}, with its tasks; returns when the
    broker keeps that.

    If it is paused, its pause ends.  Mediators drop its tasks for seven days, those too
    which wait for their time meanwhile.  Then they delete the queue in RabbitMQ, and
    its name is free.  What is due later stays in RabbitMQ, in the queue
    C{quebert.delay.unclaimed}.

    @param expected: see L{change_queue}.
    @raise ConfigError: the definition cannot be read by this version of quebert, or the
        URL is no AMQP URL.
    @raise BrokerError: the broker refuses, or nobody knows whether it was deleted.
    """
    async with broker.client() as (client, wire):

        async def change(known: KnownQueues) -> QueueDefinition | QueueChange:
            before = _living(known, name, expected)
            if isinstance(before, QueueChange):
                return before
            return attrs.evolve(
                before, version=before.version + 1, deleted_at=client.now()
            )

        deleted = await _change(client, wire, QUEUE_DELETED, change)
        if deleted.is_done:  # else nobody would drop its tasks
            await remove_note(wire, name)
            await set_paused(wire, name, False)
        return deleted


async def made_queues(broker: BrokerAccess) -> KnownQueues:
    """
    The queues that were made with L{make_queue}, and those that were deleted in the
    last days.

    @raise ConfigError: the URL is no AMQP URL.
    @raise BrokerError: the broker refuses, or does not answer.
    """
    async with broker.client() as (_, wire):
        return await read_queues(wire)


def _living(
    known: KnownQueues, name: str, expected: int | None
) -> QueueDefinition | QueueChange:
    """
    The definition that is to be changed, or why it is not.
    """
    before = known.of(name)
    if before is None or before.is_deleted:
        return QueueChange(QUEUE_UNKNOWN, before)
    if expected is not None and before.version != expected:
        return QueueChange(QUEUE_OUTDATED, before)
    return before


async def _change(
    client: TxAMQPClient, wire: Wire, result: str, change: Change
) -> QueueChange:
    """
    Change the register, and have mediators know.
    """
    changes: list[QueueChange] = []

    async def changing(known: KnownQueues) -> QueueDefinition | None:
        found = await change(known)
        if isinstance(found, QueueChange):
            changes.append(found)
            return None
        changes.append(QueueChange(result, found))
        return found

    new_queues = client.ladder.new_queues
    if await change_queues(wire, changing, client.now()):
        new_queues.declared(wire, QUEUES, None)
    (changed,) = changes
    if not changed.is_done:
        return changed
    why = await announce_queues(wire)
    await new_queues.old(wire, QUEUES)
    if why is None:
        return changed
    late = f"mediators are not told, and may notice only in a minute: {why}"
    return attrs.evolve(changed, problems=(late,))


async def _is_used(wire: Wire, name: str) -> bool:
    """
    Whether RabbitMQ has a queue that somebody uses.
    """
    found = await find_queue(wire, name)
    return found is not None and (found.message_count or found.consumer_count) > 0


async def _declare(
    client: TxAMQPClient, wire: Wire, definition: QueueDefinition
) -> None:
    """
    Have the queue in RabbitMQ, as a mediator declares it.
    """
    name, kind = definition.name, definition.queue_type
    arguments = {} if kind is None else {QUEUE_TYPE: kind}
    exists = await find_queue(wire, name) is not None
    with client.ladder.new_queues.declaring(wire, name, kind, exists=exists):
        async with temporary_channel(wire) as channel:
            await declare_task_queue(wire, channel, name, arguments)
