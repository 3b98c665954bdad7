"""
Whether a queue can be watched in some way, without watching it.

A queue or an exchange that exists is declared again as a watch declares it, which the
broker refuses or which changes nothing.  One that does not exist is not declared: a
watch will do that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quebert.amqp.queues._declaring import declare_task_queue
from quebert.amqp.queues._existing import find_exchange, find_queue
from quebert.amqp.wire import temporary_channel

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["check_watchable"]


async def check_watchable(
    wire: Wire,
    queue: str,
    arguments: Mapping[str, Any],
    exchange: str,
    exchange_type: str,
) -> bool:
    """
    Try to declare a queue and its exchange, as far as they exist.

    @param arguments: of the queue, with its type if that is given.
    @param exchange: empty for the default exchange.
    @return: whether the queue exists.
    @raise BrokerRefused: a watch would be refused.
    @raise BrokerError: the connection is lost.
    """
    exists = await find_queue(wire, queue) is not None
    if exists:
        async with temporary_channel(wire) as channel:
            await declare_task_queue(wire, channel, queue, arguments)
    if exchange and await find_exchange(wire, exchange) is not None:
        async with temporary_channel(wire) as channel:
            await channel.call(
                "exchange_declare",
                exchange=exchange,
                exchange_type=exchange_type,
                durable=True,
            )
    return exists
