"""
Dropping what waits in a queue.
"""

from __future__ import annotations

from collections.abc import Callable

from quebert.amqp import Message
from quebert.amqp.queues import browse
from quebert.amqp.wire import Wire, temporary_channel
from quebert.errors import ConfigError
from quebert.operations._access import BrokerAccess
from quebert.operations._progress import Progress
from quebert.operations._refusals import no_stream
from quebert.operations._status import Status, living

__all__ = ["purge"]


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
    async with broker.client() as (_, wire):
        if sure is None or now.ready is None:  # nobody knows of a number
            with no_stream(queue):
                async with temporary_channel(wire) as channel:
                    purged = await channel.call("queue_purge", queue=queue)
            progress.total = progress.seen = progress.done = purged.message_count
        else:
            await _take(wire, queue, now.ready, progress)
    progress.ended = True
    return True


async def _take(wire: Wire, queue: str, most: int, progress: Progress) -> None:
    """
    Drop so many messages of C{queue}, one by one.
    """
    progress.total = most

    async def visit(message: Message) -> bool:
        progress.seen += 1
        progress.done += 1
        progress.watch(progress)
        return True

    async def replace(message: Message, properties: bytes) -> None:
        raise AssertionError("no message stays")

    async with browse(wire, queue, most, replace) as browsing:
        with no_stream(queue):
            await browsing.through(visit)
