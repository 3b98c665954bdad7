"""
The headers that mediators write, and those of RabbitMQ that they read.
"""

from __future__ import annotations

__all__ = [
    "ALONE",
    "COPYING_HEADERS",
    "DEATHS",
    "DELAY",
    "DELIVERIES",
    "DELIVERY_COUNT",
    "ENDS",
    "ERRORS",
    "EXCHANGE",
    "FLIGHT",
    "IN_QUESTION",
    "NOT_BEFORE",
    "OURS",
    "ROUTING_KEY",
]

#: Header: how often in a row the callback failed with this message.
ERRORS = "quebert-errors"
#: Header: seconds since the epoch before which the callback is not called.
NOT_BEFORE = "quebert-not-before"
#: Header: seconds from when it began to wait in the broker until it is due.
DELAY = "quebert-delay"
#: Header: at how many ends of a mediator the message may have been in flight.
ENDS = "quebert-ends"
#: Header: at how many sudden ends it was alone at work.
ALONE = "quebert-ends-alone"
#: Header: names one copy of the message.
FLIGHT = "quebert-flight"
#: Header: a mediator has ended with this copy, nobody knows how.
IN_QUESTION = "quebert-in-question"
#: Header, of quorum queues.  Up to RabbitMQ 4.2 it counts how often the message came
#: back for any reason, since 4.3 how often it came back because its delivery failed.
DELIVERY_COUNT = "x-delivery-count"
#: Headers: where a message was published to that came from a queue of RabbitMQ anew.
EXCHANGE, ROUTING_KEY = "quebert-exchange", "quebert-routing-key"

#: How the names of these headers begin, but for that of RabbitMQ.
OURS = b"quebert-"

#: RabbitMQ copies a message to the queues that these name: a message that is
#: put back would be a new task to each.
COPYING_HEADERS = ("CC", "BCC")

#: What the broker writes into dead letters, as all are that come down the delay
#: ladder: it drops those that look as if they went in circles.
DEATHS = (
    "x-death",
    *(
        f"x-{which}-death-{field}"
        for which in ("first", "last")
        for field in ("reason", "queue", "exchange")
    ),
)
#: Headers: how often this message, not its copy, came back to its quorum queue.  Since
#: RabbitMQ 4.3, x-delivery-count counts failures alone, x-acquired-count all returns.
DELIVERIES = (DELIVERY_COUNT, "x-acquired-count")
