"""
The queues through which the watches of one queue share its rate.

A classic queue is on one node, and cannot be asked while that node is down.  So beside
a quorum queue both are quorum queues, with C{.quorum} behind their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quebert._protocol.extensions import EXPIRES, MAX_LENGTH, MESSAGE_TTL, QUEUE_TYPE
from quebert.amqp.queues import CLASSIC, declare_queue, derived

if TYPE_CHECKING:
    from quebert.amqp.wire import Channel, Wire

__all__ = ["RateQueues", "count_consumers", "rate_queue_of"]

_PREFIX = "quebert.rate."
# Milliseconds after which these queues go if nobody uses them, ...
_EXPIRES = 600_000
# ... and tokens that nobody takes.
_STALE = 1_000
_MOST_WAITING = 100


def rate_queue_of(queue: str, suffix: str = "") -> str:
    """
    The queue that all consume from who share the rate of C{queue}.

    @param suffix: what its name ends with.
    """
    return derived(_PREFIX, queue, suffix)


class RateQueues:
    """
    @param queue: the queue with the rate.
    @param quorum: whether it is a quorum queue.
    @ivar members: the queue from which all consume who share the rate.  It never has a
        message.
    @ivar spare: the queue with the tokens that somebody does not need.
    """

    def __init__(self, queue: str, quorum: bool) -> None:
        suffix = ".quorum" if quorum else ""
        self.members = rate_queue_of(queue, suffix)
        self.spare = rate_queue_of(queue, ".spare" + suffix)
        self._type = {QUEUE_TYPE: "quorum"} if quorum else {}

    async def declare(self, wire: Wire) -> None:
        """
        Declare both.

        @raise BrokerError: RabbitMQ refuses it, or the connection is lost.
        """
        ends = {**self._type, EXPIRES: _EXPIRES}
        stale = {MAX_LENGTH: _MOST_WAITING, MESSAGE_TTL: _STALE}
        for queue, arguments in ((self.members, ends), (self.spare, {**ends, **stale})):
            await declare_queue(wire, queue, {**CLASSIC, **arguments}, arguments)


async def count_consumers(channel: Channel, queue: str) -> int:
    """
    How many consume from C{queue}; 0 also while a quorum queue has no leader.

    @raise BrokerError: there is no such queue, or the channel is lost.
    """
    found = await channel.call("queue_declare", queue=queue, passive=True)
    return int(found.consumer_count)
