"""
A connection that may be lost without harm.

When RabbitMQ fails at a call, it closes the connection (C{INTERNAL_ERROR}, 541), with
the channels of all queues of a client.  C{basic.get} fails when the node of a quorum
queue was lost, until the queue has another leader.  Over the connection that consumes,
this would interrupt all mediators of a cluster for seconds at each loss of a node, and
have them repeat the requests that run at that moment.  So calls that may fail are made
over a connection that has nothing else to do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from quebert.errors import BrokerError, ChannelLost

if TYPE_CHECKING:
    from quebert.amqp.link._connection import BrokerConnection
    from quebert.amqp.wire import Wire

__all__ = ["SPARE_HEARTBEAT", "SpareConnection"]

#: Seconds of its heartbeat interval, at most.  After a failure it leads to another host
#: than the other connections.  If that host is frozen, delayed tasks are held up until
#: the connection is given up, after two to two and a half of these intervals.
SPARE_HEARTBEAT = 5
# Seconds for which a caller waits for it.
_PATIENCE = 10.0
# Seconds for which it is not asked for after it could not be made.
_AGAIN = 60.0


class SpareConnection:
    """
    @param connection: made when it is first asked for.
    """

    def __init__(self, connection: BrokerConnection) -> None:
        self._connection = connection
        self._missing_until = -math.inf

    async def instead_of(self, wire: Wire) -> Wire:
        """
        The spare connection; C{wire} if it cannot be made, such as where RabbitMQ lets
        the user have no more connections.

        @raise ChannelLost: the client was stopped meanwhile.
        """
        if wire.clock.seconds() < self._missing_until:
            return wire
        try:
            return await self._connection.connected(_PATIENCE)
        except ChannelLost:
            raise
        except BrokerError:
            if not wire.closed:  # else there was no broker for any connection
                self._missing_until = wire.clock.seconds() + _AGAIN
            return wire

    async def stop(self) -> None:
        """
        End the connection.
        """
        await self._connection.stop()
