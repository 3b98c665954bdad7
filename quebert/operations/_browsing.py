"""
One way through the dead letters of a queue, from the first to the last that is there
when it begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quebert.amqp import Message, TxAMQPClient
from quebert.amqp.queues import Browsing, browse, dead_letters_of, depth, looking
from quebert.amqp.wire import Wire
from quebert.errors import BrokerError, ConfigError
from quebert.operations._access import publish_confirmed
from quebert.operations._dead_letter import DeadLetter
from quebert.operations._progress import Progress
from quebert.operations._refusals import no_stream

__all__ = ["go_through", "letter_of"]


def letter_of(message: Message) -> DeadLetter:
    """
    What C{message} tells, also if its properties cannot be read.
    """
    try:
        return DeadLetter(message.properties, message.body)
    except ValueError:  # of a type that nobody knows
        return DeadLetter({}, message.body)


async def go_through(
    client: TxAMQPClient,
    wire: Wire,
    queue: str,
    progress: Progress,
    visit: Callable[[Message, Browsing], Any],
) -> None:
    """
    Browse the dead letters of C{queue} that are there now.

    @param visit: awaited with each; returns C{True} to remove the message.
    @raise ConfigError: there is no such queue, nor dead letters of it.
    @raise BrokerError: the broker does not do it, or not all of it.
    """
    dead = dead_letters_of(queue)
    found = await depth(wire, dead)
    if found is None:
        if await depth(wire, queue) is None:
            raise ConfigError(f"there is no queue {queue!r}, nor {dead!r}")
        progress.ended = True
        return
    publisher = client.make_publisher()

    async def replace(message: Message, properties: bytes) -> None:
        try:
            await publish_confirmed(client, publisher, dead, message.body, properties)
        except BrokerError as e:
            raise BrokerError(
                f"{dead} counts how often a message comes back, and drops those that"
                f" come back too often; the broker takes no copy in its place: {e}"
            ) from e

    async with looking(wire, dead) as count_others:
        before = await count_others()
        found = await depth(wire, dead)
        progress.others = max(before, await count_others())
        progress.total = found.ready if found is not None else 0
        # One step at least, since a stream may say that it holds nothing.
        async with browse(wire, dead, max(1, progress.total), replace) as browsing:

            async def look(message: Message) -> bool:
                leaves: bool = await visit(message, browsing)
                progress.seen += 1
                progress.done += leaves
                progress.watch(progress)
                return leaves

            with no_stream(dead):
                await browsing.through(look)
    progress.ended = True
