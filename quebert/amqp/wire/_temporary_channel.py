"""
A channel for a moment, so that what the broker refuses closes nobody else's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from quebert._lanes import all_of
from quebert.errors import BrokerRefused

if TYPE_CHECKING:
    from quebert.amqp.wire._channel import Channel
    from quebert.amqp.wire._wire import Wire

__all__ = ["Call", "call_in_one_write", "refusal", "temporary_channel"]

#: An AMQP method, such as C{"queue_declare"}, and its arguments.
Call = tuple[str, dict[str, Any]]


@asynccontextmanager
async def temporary_channel(wire: Wire) -> AsyncIterator[Channel]:
    """
    A channel, which is shut behind the block.

    @raise BrokerError: it cannot be opened.
    """
    channel = await wire.open_channel(confirms=False)
    try:
        yield channel
    finally:
        await channel.shut()


async def call_in_one_write(wire: Wire, calls: Iterable[Call]) -> None:
    """
    Call AMQP methods on a channel of their own, one right behind the other: the broker
    carries them out in their order, and it may be far away.

    @raise BrokerError: the reason why the first one that failed was not done.
    """
    async with temporary_channel(wire) as channel:
        await all_of(channel.call(method, **arguments) for method, arguments in calls)


async def refusal(wire: Wire, method: str, **arguments: Any) -> BrokerRefused | None:
    """
    Call an AMQP method on a channel of its own: why the broker refuses it, or C{None}.

    @raise BrokerError: the connection was lost.
    """
    async with temporary_channel(wire) as channel:
        try:
            await channel.call(method, **arguments)
        except BrokerRefused as e:
            return e
    return None
