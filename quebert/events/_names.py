"""
The names of the events in the broker.  Pure.
"""

from __future__ import annotations

__all__ = ["ATTEMPTS", "EXCHANGE", "HISTORY", "MEDIATORS", "ONLOOKER"]

#: The topic exchange that mediators publish to.
EXCHANGE = "quebert.events"
#: The routing key of batches of attempts.
ATTEMPTS = "attempts"
#: The routing key of the states of mediators.
MEDIATORS = "mediator"
#: The durable queue of the attempts that are to be in the history.
HISTORY = "quebert.history"
#: How the names of the queues of those begin who look on.
ONLOOKER = "quebert.onlooker"
