"""
The AMQP edge: consuming, settling and publishing on RabbitMQ.
"""

from quebert.amqp._client import TxAMQPClient
from quebert.amqp._message import Message
from quebert.amqp._priorities import PriorityGroup
from quebert.amqp._restraint import PaceStatus
from quebert.amqp._settler import Counts
from quebert.amqp._watcher import Watcher

__all__ = [
    "Counts",
    "Message",
    "PaceStatus",
    "PriorityGroup",
    "TxAMQPClient",
    "Watcher",
]
