"""
What the embedded broker has: virtual hosts, exchanges, queues, messages.

What changes together:

 - Another argument of queues: L{quebert.broker.state._arguments}, and what heeds it:
   L{Queue} (whose turn it is, and limits), C{_ready} (the order), L{Router} (what
   becomes of messages) or L{VirtualHost} (how long a queue lives).
 - An argument of consumers: C{_basic_consume} in C{protocol/_commands}, which refuses
   all with C{x-}; C{ServerConsumer} in C{protocol/_channel}, which keeps it; and
   L{Queue.next_consumer}, which says whose turn it is.
 - Another type of queue: C{_CHECKS_OF} and C{_queue_type} in C{_arguments}, each place
   that asks for C{settings.quorum} (C{_routing} and C{_vhost}),
   C{VirtualHost.declare_queue}, and C{VirtualHost.consume} (who may consume beside
   whom).  The arguments in C{_CHECKS},
   such as C{x-single-active-consumer}, are for all types.  C{information} in
   C{protocol/_login} says whose quorum queues they are like.  For mediators:
   L{quebert.amqp.queues}.
 - Another type of exchange: C{TYPES} in C{_exchange}, which judges one binding after
   the other; L{Exchange.matching}, if it chooses among bindings, or does not go by the
   routing key alone, by which routes are remembered; the names in C{_exchanges}, if one
   is there from the beginning; C{exchange_type} in C{config/_queue.py}, for mediators,
   and in C{docs/configuration.rst}.
 - Another reason of deaths: C{Router._die} is called with it; C{_death_header} tells it
   in C{x-death}, and C{goes_in_circles} there asks which reasons end a circle.
"""

from quebert.broker.state._entry import Entry, PublishedMessage
from quebert.broker.state._errors import (
    AMQPChannelError,
    AMQPConnectionError,
    AMQPError,
    access_refused,
    not_allowed,
    not_implemented,
    precondition_failed,
    unsupported,
)
from quebert.broker.state._exchange import Binding, Exchange
from quebert.broker.state._journal import Journal, NoJournal
from quebert.broker.state._message_properties import read_properties
from quebert.broker.state._queue import Queue
from quebert.broker.state._records import (
    BindingRecord,
    EntryRecord,
    ExchangeRecord,
    QueueRecord,
    Records,
)
from quebert.broker.state._routing import Router
from quebert.broker.state._timers import Timers
from quebert.broker.state._vhost import VirtualHost, check_deletion

__all__ = [
    "AMQPChannelError",
    "AMQPConnectionError",
    "AMQPError",
    "Binding",
    "BindingRecord",
    "Entry",
    "EntryRecord",
    "Exchange",
    "ExchangeRecord",
    "Journal",
    "NoJournal",
    "PublishedMessage",
    "Queue",
    "QueueRecord",
    "Records",
    "Router",
    "Timers",
    "VirtualHost",
    "access_refused",
    "check_deletion",
    "not_allowed",
    "not_implemented",
    "precondition_failed",
    "read_properties",
    "unsupported",
]
