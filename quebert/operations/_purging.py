"""
Dropping what waits in a queue.

Of tasks that are created over HTTP somebody wants to know the end
(L{quebert.task_ends}).  RabbitMQ does not tell which messages it purges, so they are
taken out, where there may be any: the end of each is told before it is acknowledged.
Who is killed in between leaves a task that runs, and whose end is told again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

from quebert._lanes import all_of
from quebert.amqp import Message, TxAMQPClient
from quebert.amqp.queues import find_queue, held_at_most
from quebert.amqp.wire import Channel, Wire, temporary_channel
from quebert.errors import ConfigError, MayNotLook
from quebert.operations._access import BrokerAccess
from quebert.operations._progress import Progress
from quebert.operations._refusals import no_stream
from quebert.operations._status import Status, living
from quebert.operations._taking import Taking
from quebert.outcome import CANCELLED, Discard
from quebert.task_ends import ENDED

__all__ = ["purge"]

# Messages that are taken at a time, if the queue bears as many, and that are asked for
# at once; and bytes of bodies with which there are enough.
_FEW, _AT_ONCE = 200, 20
_ENOUGH = 16 * 2**20
_PURGED = Discard("its queue was purged", CANCELLED)


async def purge(
    broker: BrokerAccess,
    queue: str,
    progress: Progress | None = None,
    sure: Callable[[Status], bool] | None = None,
    limit: float = math.inf,
) -> bool:
    """
    Drop the messages that wait in C{queue}.  With C{sure}: as many as it was told of,
    the oldest first; all of them if the user may not see how many there are.

    @param progress: is told how many were dropped, also where that fails half-way.
    @param sure: called with the C{Status} of the queue; if it says no, nothing is
        dropped.
    @param limit: seconds after which no more are taken out, about; C{progress.ended}
        tells whether all were.
    @return: whether C{sure} agreed; C{True} without it.
    @raise ConfigError: there is no such queue, or the URL is no AMQP URL.
    @raise BrokerError: there is no broker in five seconds, or it refuses this, or
        the connection is lost, or the queue is a stream.
    """
    progress = Progress() if progress is None else progress
    async with broker.client() as (_, wire):
        now = await living(wire, queue)
    if now.ready is None and now.consumers is not None:
        raise ConfigError(f"there is no queue {queue!r}")
    if sure is not None and not sure(now):
        return False
    async with broker.client() as (client, wire):
        if now.ready is None or (sure is None and not await _tells_ends(wire)):
            with no_stream(queue):
                async with temporary_channel(wire) as channel:
                    purged = await channel.call("queue_purge", queue=queue)
            progress.total = progress.seen = progress.done = purged.message_count
            progress.ended = True
        else:
            progress.total = now.ready
            least = 1 if sure is None else 0
            await _take(client, wire, queue, progress, limit, least)
    return True


async def _tells_ends(wire: Wire) -> bool:
    """
    Whether there may be tasks whose ends are told.
    """
    with suppress(MayNotLook):
        return await find_queue(wire, ENDED) is not None
    return False


async def _take(
    client: TxAMQPClient,
    wire: Wire,
    queue: str,
    progress: Progress,
    limit: float,
    least: int,
) -> None:
    """
    Drop as many messages of C{queue} as are to be dropped in total, one by one.

    @param least: messages that are asked for at least: a stream tells late how many it
        has, and gives none.
    """
    deadline = wire.clock.seconds() + limit
    taking = Taking(client, wire, queue)
    few = held_at_most(wire, _FEW)
    with no_stream(queue):
        async with temporary_channel(wire) as channel:
            left = max(progress.total, least)
            while messages := await _some(channel, queue, min(few, left)):
                await taking.note_ends(messages, _PURGED)
                for each in messages:
                    channel.ack(each.delivery_tag)
                    progress.seen += 1
                    progress.done += 1
                    progress.watch(progress)
                progress.total = max(progress.total, progress.done)
                left = progress.total - progress.done
                if left > 0 and wire.clock.seconds() >= deadline:
                    return
    progress.ended = True


async def _some(channel: Channel, queue: str, most: int) -> list[Message]:
    """
    The next messages of a queue.
    """
    found: list[Message] = []
    left = most
    while left > 0 and sum(len(each.body) for each in found) < _ENOUGH:
        size = min(left, _AT_ONCE)
        answers = await all_of(_next(channel, queue) for _ in range(size))
        found += filter(None, answers)
        if None in answers:  # the queue has no more
            break
        left -= size
    return found


async def _next(channel: Channel, queue: str) -> Message | None:
    return await channel.get(queue)
