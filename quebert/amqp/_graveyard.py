"""
Where messages go that are given up: the queue C{<queue>.dead}, with what there is
to tell of them in their headers.

C{<queue>.dead} keeps messages as well as the queue that they come from does: it is a
quorum queue beside a quorum queue, without RabbitMQ's limit of deliveries, so that none
is dropped for having been looked at.  One that exists is used as it is.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from quebert.amqp._declaring import CLASSIC, QUORUM, declare_queue, no_delivery_limit
from quebert.amqp._existing import find_queue
from quebert.amqp._names import NAME_LIMIT, fitting
from quebert.amqp._once import Once
from quebert.amqp._publisher import Send
from quebert.errors import MayNotLook

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

    @param queue_type: the type that the queue was declared with; C{None} where it was
        left to the broker.
    """

    def __init__(self, queue_type: str | None = None) -> None:
        self._queue_type = queue_type
        self._graves = Once(self._make)

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

    async def _make(self, wire: Wire, grave: str) -> None:
        # Somebody may have declared it otherwise, or be the only one who may.
        with suppress(MayNotLook):
            if await find_queue(wire, grave) is not None:
                return
        await declare_queue(wire, grave, *_ways(wire, self._queue_type))


def _ways(wire: Wire, queue_type: str | None) -> list[dict[str, Any]]:
    """
    The arguments to declare C{<queue>.dead} with.

    A queue that was declared without a type has the default of the virtual host, and
    C{<queue>.dead} gets it the same way.  RabbitMQ tells which one that is: it takes
    the delivery limit, or refuses it (406), since only quorum queues have the argument.
    """
    limitless = no_delivery_limit(wire)
    if queue_type == "quorum":
        return [{**QUORUM, **limitless}]
    if queue_type is None:
        return [limitless, CLASSIC] if limitless else [{}]
    return [CLASSIC]
