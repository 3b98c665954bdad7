"""
For how long a message may be unsettled (RabbitMQ's C{consumer_timeout}), and the limits
of quebert that follow from that.  Pure.

By default RabbitMQ waits for L{CONSUMER_TIMEOUT} seconds until a message is settled.
Then RabbitMQ up to 4.2 closes the channel, and delivers all its unsettled messages
anew.  RabbitMQ 4.3 takes the message of a quorum queue back and cancels the consumer;
with classic queues it does nothing.

A message is unsettled while it waits for its turn, while its hooks run, and while its
request lasts.  The wait and the request together stay below that limit.  Hooks have no
limit of their own: 60 seconds are left for them, and for what follows.
"""

from __future__ import annotations

__all__ = [
    "CONSUMER_TIMEOUT",
    "HOLD_LIMIT",
    "LONGEST_REQUEST",
    "LONGEST_WAIT",
    "wait_left",
]

#: Seconds that a message may be unsettled (C{consumer_timeout}).
CONSUMER_TIMEOUT = 1_800.0
#: Seconds that a request may take at most.
LONGEST_REQUEST = 1_500.0
#: Seconds that a message may wait for its turn.
LONGEST_WAIT = 240.0
#: Seconds for which a message may be held until its retry, from when it came.
HOLD_LIMIT = CONSUMER_TIMEOUT / 2


def wait_left(came: float, now: float) -> float:
    """
    For how many seconds a message may still wait for its turn.

    @param came: when it came, in seconds of the clock that C{now} is of.
    """
    return max(0.0, LONGEST_WAIT - (now - came))
