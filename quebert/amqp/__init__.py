"""
The AMQP edge: consuming, settling and publishing on RabbitMQ.
"""

from quebert.amqp._client import TxAMQPClient
from quebert.amqp.coordination import PriorityGroup
from quebert.amqp.watch import Counts, PaceStatus, Watcher, WatchOptions
from quebert.amqp.wire import Message

__all__ = [
    "Counts",
    "Message",
    "PaceStatus",
    "PriorityGroup",
    "TxAMQPClient",
    "WatchOptions",
    "Watcher",
]
