"""
Dropping what waits in a queue.

Of tasks that are created over HTTP somebody wants to know the end
(L{quebert.task_ends}).  RabbitMQ does not tell which messages it purges, so they are
taken out, where there may be any: the end of each is told before it is acknowledged.
Who is killed in between leaves a task that runs, and whose end is told again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from quebert.amqp import Message, TxAMQPClient
from quebert.amqp.queues import find_queue
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

# Messages that are taken at a time.
_FEW = 200
_PURGED = Discard("its queue was purged", CANCELLED)


async def purge(
    broker: BrokerAccess,
    queue: str,
    progress: Progress | None = None,
    sure: Callable[[Status], bool] | None = None,
) -> bool:
    """
    Drop the messages that wait in C{queue}.  With C{sure}: as many as it was told of,
    the oldest first; all of them if the user may not see how many there are.

    @param progress: is told how many were dropped, also where that fails half-way.
    @param sure: called with the C{Status} of the queue; if it says no, nothing is
        dropped.
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
        else:
            await _take(client, wire, queue, now.ready, progress)
    progress.ended = True
    return True


async def _tells_ends(wire: Wire) -> bool:
    """
    Whether there may be tasks whose ends are told.
    """
    with suppress(MayNotLook):
        return await find_queue(wire, ENDED) is not None
    return False


async def _take(
    client: TxAMQPClient, wire: Wire, queue: str, most: int, progress: Progress
) -> None:
    """
    Drop so many messages of C{queue}, one by one.
    """
    progress.total = most
    taking = Taking(client, wire, queue)
    with no_stream(queue):
        async with temporary_channel(wire) as channel:
            while messages := await _some(channel, queue, most - progress.done):
                await taking.note_ends(messages, _PURGED)
                for each in messages:
                    channel.ack(each.delivery_tag)
                    progress.seen += 1
                    progress.done += 1
                    progress.watch(progress)


async def _some(channel: Channel, queue: str, most: int) -> list[Message]:
    """
    The next messages of a queue.
    """
    found: list[Message] = []
    while len(found) < min(most, _FEW):
        message = await channel.get(queue)
        if message is None:
            break
        found.append(message)
    return found
