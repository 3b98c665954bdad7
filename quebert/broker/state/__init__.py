"""
What the embedded broker has: virtual hosts, exchanges, queues, messages.
"""

from quebert.broker.state._errors import (
    AmqpError,
    ChannelError,
    ConnectionError,
    access_refused,
    not_allowed,
    not_implemented,
    precondition_failed,
)
from quebert.broker.state._exchange import Binding, Exchange
from quebert.broker.state._journal import Journal, NoJournal
from quebert.broker.state._message_properties import read_wishes
from quebert.broker.state._queue import Entry, Message, Queue
from quebert.broker.state._records import (
    BindingRecord,
    EntryRecord,
    ExchangeRecord,
    QueueRecord,
    Records,
)
from quebert.broker.state._routing import Traffic
from quebert.broker.state._timers import Agenda
from quebert.broker.state._vhost import VirtualHost, check_deletion

__all__ = [
    "Agenda",
    "AmqpError",
    "Binding",
    "BindingRecord",
    "ChannelError",
    "ConnectionError",
    "Entry",
    "EntryRecord",
    "Exchange",
    "ExchangeRecord",
    "Journal",
    "Message",
    "NoJournal",
    "Queue",
    "QueueRecord",
    "Records",
    "Traffic",
    "VirtualHost",
    "access_refused",
    "check_deletion",
    "not_allowed",
    "not_implemented",
    "precondition_failed",
    "read_wishes",
]
