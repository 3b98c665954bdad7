"""
The delay ladder: where messages wait in RabbitMQ until they are due.

L{Ladder} is the interface for who puts tasks into it:

  - L{Ladder.prepare} declares the queue in which delayed tasks of a task queue arrive.
  - L{Ladder.rung_for} gives the exchange to which a delayed task is published.
  - L{Ladder.kept} returns once a task that the broker has confirmed there is safe.
"""

from quebert.amqp.delays._astray import OldLadder, browse_store, is_for
from quebert.amqp.delays._due import due_in
from quebert.amqp.delays._forwarder import Forwarder
from quebert.amqp.delays._ladder import Ladder, has_quorum
from quebert.amqp.delays._refusals import LadderRefused
from quebert.amqp.delays._rungs import (
    ARRIVALS,
    PREFIX,
    UNCLAIMED,
    WAITS,
    Rungs,
    arrivals_of,
)

__all__ = [
    "ARRIVALS",
    "PREFIX",
    "UNCLAIMED",
    "WAITS",
    "Forwarder",
    "Ladder",
    "LadderRefused",
    "OldLadder",
    "Rungs",
    "arrivals_of",
    "browse_store",
    "due_in",
    "has_quorum",
    "is_for",
]
