"""
A fault of RabbitMQ: messages that are due, and stay in their rung.

C{basic.get} may find that all messages of a quorum queue have expired at this moment.
RabbitMQ puts them aside then, to be passed on.  It begins with that only when a message
is published to the queue, when a consumer begins, or when a channel ends that has
published to the queue or got a message from it (C{rabbit_fifo:apply/3} of a
C{dequeue}).  In a rung that nobody else uses, that may be never.  Meanwhile
C{queue.declare-ok} does not count them.

Measured, with C{basic.get} at the millisecond in which a message expires: 3 of 300
messages stayed (3.10.8), and 5 of 400 (4.0.5).  RabbitMQ 4.3.6 does the same.

So where C{basic.get} gives none of the messages that a rung may have had, a consumer
begins and ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quebert.amqp.link import has_failed
from quebert.amqp.wire import temporary_channel
from quebert.errors import BrokerRefused

if TYPE_CHECKING:
    from quebert.amqp.wire import Message, Wire

__all__ = ["pass_on_overdue"]


async def pass_on_overdue(wire: Wire, rung: str) -> None:
    """
    Have RabbitMQ pass on what has expired in a rung of quorum queues.  Where the user
    may not read from the rung, or the rung is not there, nothing is done.

    @raise BrokerError: RabbitMQ fails at it, or the connection was lost.
    """
    async with temporary_channel(wire) as channel:
        channel.on_message = _comes_back
        channel.on_cancel = _is_gone
        try:
            await channel.call("basic_qos", prefetch_count=1)
            await channel.call("basic_consume", queue=rung, consumer_tag="quebert")
        except BrokerRefused as e:
            if has_failed(e):
                raise


def _comes_back(message: Message) -> None:
    """
    It is not due, and goes back with the channel, to the front of its rung.
    """


def _is_gone(consumer_tag: str) -> None:
    """
    Somebody has deleted the rung.
    """
