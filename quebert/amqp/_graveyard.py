"""
Where messages go that are given up: the queue C{<queue>.dead}, with what there is
to tell of them in their headers.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from quebert.amqp._brief import brief_channel
from quebert.amqp._names import NAME_LIMIT, fitting
from quebert.amqp._once import Once
from quebert.amqp._publisher import Send
from quebert.errors import BrokerRefused

if TYPE_CHECKING:
    from quebert.amqp._wire import Wire

__all__ = ["KIND", "REASON", "Graveyard", "grave_of"]

#: Header: why it was buried, in a sentence.
REASON = "quebert-reason"
#: Header: L{EXHAUSTED<quebert.outcome.EXHAUSTED>} or
#: L{POISON<quebert.outcome.POISON>}.
KIND = "quebert-kind"
_SUFFIX = ".dead"


def grave_of(queue: str) -> str:
    """
    The queue for what is given up of C{queue}: C{<queue>.dead}, where a name has room
    for that.
    """
    return f"{fitting(queue, NAME_LIMIT - len(_SUFFIX))}{_SUFFIX}"


class Graveyard:
    """
    Buries the messages of one queue.
    """

    def __init__(self) -> None:
        self._graves = Once(_make)

    async def publish(
        self, wire: Wire, send: Send, queue: str, body: bytes, properties: bytes
    ) -> None:
        """
        Put a message there; returns when the broker has confirmed it.

        @param send: publishes it.
        @raise BrokerError: it does not take it.
        """
        grave = grave_of(queue)
        await self._graves.made(wire, grave)
        await send("", grave, body, properties)

    def forget(self) -> None:
        """
        It may be missing: declare it again before it is used.
        """
        self._graves.forget()


async def _make(wire: Wire, grave: str) -> None:
    # Somebody may have declared it otherwise, or be the only one who may.
    with suppress(BrokerRefused):
        async with brief_channel(wire) as channel:
            await channel.call("queue_declare", queue=grave, passive=True)
            return
    async with brief_channel(wire) as channel:
        await channel.call("queue_declare", queue=grave, durable=True)
