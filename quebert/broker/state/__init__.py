"""
What the embedded broker has: virtual hosts, exchanges, queues, messages.
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
]
