"""
A durable queue beside the one that is watched, such as that of end notes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quebert.amqp.link import DeclareOnce, Send
from quebert.amqp.queues import CLASSIC, declare_queue
from quebert.errors import Unroutable

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["SideQueue"]

# Seconds for which a refusal to declare the queue stands.
_AGAIN = 5.0


class SideQueue:
    """
    The queue of a name; it is declared when it is found to be missing.

    @ivar name: the name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._once = DeclareOnce(_declare, _AGAIN)

    async def publish(
        self, wire: Wire, send: Send, body: bytes, properties: bytes
    ) -> None:
        """
        Publish to it; returns when the broker has confirmed the message.

        @param wire: a connection on which it may be declared.
        @raise BrokerError: the broker does not take it.
        """
        try:
            await send("", self.name, body, properties)
        except Unroutable:  # nobody has declared the queue, or it was deleted
            self._once.forget()
            await self._once.made(wire, self.name)
            await send("", self.name, body, properties)


async def _declare(wire: Wire, queue: str) -> None:
    await declare_queue(wire, queue, CLASSIC)
