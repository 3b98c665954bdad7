"""
The AMQP client: consumes, settles and publishes on RabbitMQ.

L{TxAMQPClient} brings the subpackages together, which C{CONTRIBUTING.rst} calls rooms
and lists.  A watched queue is in C{watch}.  What stands behind it: C{delays}, where
tasks wait; C{queues}, dead letters among them; C{link}, connections; and C{wire}, the
protocol of one connection.  C{coordination} is what several mediators agree on.
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
