"""
How long to wait before a call is repeated at which RabbitMQ closed the connection.

Where RabbitMQ fails, it closes the connection with C{INTERNAL_ERROR} (541), and with it
the channels of all queues of a client.  Measured with quorum queues:

  - RabbitMQ 3.10.8 was killed soon after it had made a queue.  The queue is there after
    the restart, and gets no leader: not in 7 minutes, nor when RabbitMQ starts again;
    only C{ra:trigger_election} gives it one.  C{basic.consume} fails after 60 s.
  - The process of a queue has ended.  C{basic.consume} and C{basic.get} fail at once
    (3.10.8, 4.3.6).

To declare such a queue succeeds.  Long names have RabbitMQ fail, too
(L{quebert.amqp.queues._names}).

The reply code 541 does not name the queue.  Every consumer tries again at a random
moment of its own, so the broken queue seldom interrupts the same others.  Each further
failure costs all queues their connection, and the requests that run at that moment are
made again.  So attempts become rarer than the longest requests take.
"""

from __future__ import annotations

import random

from quebert.errors import BrokerRefused, ReplyCode
from quebert.policy import exponential

__all__ = ["FAILURE_LIMIT", "has_failed", "pause_after"]

#: Seconds at most before such a call is repeated.
FAILURE_LIMIT = 3_600.0


def has_failed(why: object) -> bool:
    """
    Whether RabbitMQ has failed, at this or at something else of the same connection.
    """
    return isinstance(why, BrokerRefused) and why.code == ReplyCode.INTERNAL_ERROR


def pause_after(failures: int) -> float:
    """
    Seconds until the next attempt, after so many failures in a row.
    """
    jitter = random.uniform(0.5, 1.0)  # nosec B311
    return exponential(failures, constant=1.5, maximum=FAILURE_LIMIT) * jitter
