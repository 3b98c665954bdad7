"""
The headers that mediators write.  Those that RabbitMQ writes are in
L{quebert._protocol.extensions}.
"""

from __future__ import annotations

__all__ = [
    "ALONE",
    "DELAY",
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
#: Headers: where a message was published to that came from a queue of RabbitMQ anew.
EXCHANGE, ROUTING_KEY = "quebert-exchange", "quebert-routing-key"

#: How the names of these headers begin.
OURS = b"quebert-"
