"""
Sees whether a queue was paused or resumed, at the cost of one question for all queues.

Theory of operation.  To ask for the sign of each queue would cost a closed channel, and
an error in RabbitMQ's log, for each queue that is not paused.  Instead a client asks
for one exchange of its own, C{quebert.control.mark.<uuid>}, which is there unless
something has changed.  The client's exchange is auto-delete and has one binding, to
C{quebert.control.mark}.  L{set_paused<quebert.amqp.coordination.set_paused>} deletes
C{quebert.control.mark}: the binding goes, and with it the client's exchange.  A client
whose exchange is gone makes it anew, and then has all its watches ask.  The exchange of
a client that was killed stays until the next pause.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from quebert.amqp.coordination._pause_sign import MARK
from quebert.amqp.queues import find_exchange
from quebert.amqp.wire import temporary_channel
from quebert.errors import BrokerError, BrokerRefused, ReplyCode

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["PauseMark"]

# How often an exchange is made that somebody deletes at once.
_ATTEMPTS = 5


class PauseMark:
    """
    The exchange of one client.

    @ivar name: its name.
    """

    def __init__(self) -> None:
        self.name = f"{MARK}.{uuid.uuid4()}"

    async def make(self, wire: Wire) -> None:
        """
        Make the exchange.

        @raise BrokerError: RabbitMQ refuses it, or the connection is lost.
        """
        for left in reversed(range(_ATTEMPTS)):
            try:
                return await self._make_once(wire)
            except BrokerRefused as e:
                if e.code != ReplyCode.NOT_FOUND or not left:
                    raise
        return None

    async def _make_once(self, wire: Wire) -> None:
        async with temporary_channel(wire) as channel:
            await channel.call(
                "exchange_declare", exchange=MARK, exchange_type="fanout", durable=True
            )
            await channel.call(
                "exchange_declare",
                exchange=self.name,
                exchange_type="fanout",
                auto_delete=True,
            )
            await channel.call("exchange_bind", destination=MARK, source=self.name)

    async def was_deleted(self, wire: Wire) -> bool:
        """
        Whether a queue was paused or resumed since L{make} or since this was C{True}.
        The exchange is made anew then.

        @raise BrokerError: RabbitMQ does not say.
        """
        if wire.closed or await find_exchange(wire, self.name) is not None:
            return False
        await self.make(wire)
        return True

    async def remove(self, wire: Wire) -> None:
        """
        Leave no exchange behind, if RabbitMQ lets us.
        """
        with suppress(BrokerError):
            async with temporary_channel(wire) as channel:
                await channel.call("exchange_delete", exchange=self.name)
