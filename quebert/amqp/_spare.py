"""
A connection that may be lost without harm.

RabbitMQ closes the connection where it fails at a call (C{INTERNAL_ERROR}, 541), with
the channels of all queues of a client.  So what it may fail at for good reasons is
asked over a connection that has nothing else to do: C{basic.get} fails until a quorum
queue whose node was lost has another leader.  Over the connection that consumes, each
loss of a node would interrupt all mediators of the cluster for seconds, and have them
repeat the requests that run at that moment.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from quebert.errors import BrokerError, ChannelLost

if TYPE_CHECKING:
    from quebert.amqp._connection import Connection
    from quebert.amqp._wire import Wire

__all__ = ["HEARTBEAT", "Spare"]

#: Seconds of its heartbeat, at most.  After a failure it leads to another host than the
#: other connections.  If that host is frozen, delayed tasks are held up until the
#: connection is given up, after two heartbeats.
HEARTBEAT = 5
# Seconds in which there must be a connection.
_PATIENCE = 10.0
# Seconds for which it is not asked for where there was none.
_AGAIN = 60.0


class Spare:
    """
    @param connection: made when it is first asked for.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._missing_until = -math.inf

    async def instead_of(self, wire: Wire) -> Wire:
        """
        The spare connection; C{wire} where there is none, as RabbitMQ lets the user
        have no further connection.

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
