"""
The AMQP edge: consuming, settling and publishing on RabbitMQ.
"""

from quebert.amqp._connection import TxAMQPClient
from quebert.amqp._message import Message
from quebert.amqp._watcher import Counts, Watcher

__all__ = ["Counts", "Message", "TxAMQPClient", "Watcher"]
