"""
Connections to the broker that are made again when they are lost, and publishing.

Which module tells what:

 - L{quebert._protocol.heartbeat}: when a silent broker is given up, also by the
   producer without Twisted.
 - C{_hosts}: which host a connection tries next, and how long it waits before.
 - C{_negotiation}: how long each step of connecting may take.
 - C{_failing}: how long a consumer, or the use of a rung, waits after RabbitMQ has
   closed the connection with 541.

To add an option of the connection: a field of L{Broker<quebert.config.Broker>}, which
reads it from the URL, and C{_broker} in C{config/_file.py}; a parameter of
L{TxAMQPClient<quebert.amqp.TxAMQPClient>} and its C{of_broker}; the module that heeds
it, of those above, or C{_connection}; C{producer/_frame_stream}, if the producer
without Twisted heeds it, too; C{docs/configuration.rst}.  To add an option of TLS:
L{quebert._tls}.
"""

from quebert.amqp.link._connection import BrokerConnection
from quebert.amqp.link._declare_once import DeclareOnce
from quebert.amqp.link._failing import has_failed, pause_after
from quebert.amqp.link._publisher import Publisher, Send
from quebert.amqp.link._session import Session
from quebert.amqp.link._spare_connection import SPARE_HEARTBEAT, SpareConnection

__all__ = [
    "SPARE_HEARTBEAT",
    "BrokerConnection",
    "DeclareOnce",
    "Publisher",
    "Send",
    "Session",
    "SpareConnection",
    "has_failed",
    "pause_after",
]
