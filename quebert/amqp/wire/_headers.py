"""
The headers of AMQP messages that L{quebert.amqp} writes and reads.  Others of
quebert's: the attempts and the moment of a burial (L{quebert.policy._history}), the
reason and the kind of a dead letter (L{quebert.amqp.queues._dead_letters}).  The names
of all begin with L{OURS}.  Those that RabbitMQ writes are in
L{quebert._protocol.extensions}.  C{Quebert-Attempt} and C{Quebert-Outcome} are headers
of HTTP (C{mediator/_policy_failures}).

To add a header: its name here; C{_ENDED} in
L{quebert.amqp.wire._replacement_properties}, if it is over with the next attempt; and
C{_TIMES} in C{cli/_dead.py}, if it is a time.  C{quebert dead redrive} removes every
header of ours.  To rename a header: messages with the old name wait in queues, so read
both names.  Remove the old one wherever the new one is set, removed or dropped:
C{Record._headers} in C{watch/_record} (the ends, the flight); C{watch/_properties} (the
due time of a copy, what a dead letter tells); C{amended_properties} (the errors, the
due time), C{copied_properties} (the exchange, the routing key), C{_ENDED}, and
C{_DROPPED} if copies do not keep it, in C{_replacement_properties}; C{History.headers}
and C{policy/_rules}; C{delays/_forwarding}.  While older mediators watch the same
queue, write both names instead.  Who reads a header:
L{Message.number_in<quebert.amqp.wire.Message.number_in>} and C{text_in};
L{History<quebert.policy.History>} and L{DeadLetter<quebert.operations.DeadLetter>} from
the decoded headers; and whoever looks for L{OURS} in the encoded properties
(C{Message.was_put_back}, and C{Deliveries._received} in C{watch}): so the name of a
header that producers write must not begin with L{OURS}.  Headers are told in
C{docs/retries.rst} (the table of dead letters), C{delays.rst}, C{reliability.rst},
C{operating.rst}, C{security.rst} and C{watching.rst}.
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
    "RUN_NOW",
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
#: Header: when somebody wanted the task to run whose time had not come, in seconds
#: since the epoch.
RUN_NOW = "quebert-run-now"

#: How the names of these headers begin.
OURS = b"quebert-"
