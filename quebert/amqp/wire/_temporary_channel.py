"""
A channel for a moment, so that what the broker refuses closes nobody else's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from quebert.errors import BrokerRefused

if TYPE_CHECKING:
    from quebert.amqp.wire._channel import Channel
    from quebert.amqp.wire._wire import Wire

__all__ = ["refusal", "temporary_channel"]


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
