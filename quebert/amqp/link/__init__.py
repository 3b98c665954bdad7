"""
Connections to the broker that are made again when they are lost, and publishing.

When a silent broker is given up is told by L{quebert._protocol.heartbeat}; which host
comes next, by C{_hosts}; how often a broker that fails is asked again, by C{_failing};
how long each step may take, by C{_negotiation}.

To add an option of the connection: a field of L{Broker<quebert.config.Broker>}, which
reads it from the URL, and C{_broker} in C{config/_file.py}; a parameter of
L{TxAMQPClient<quebert.amqp.TxAMQPClient>} and its C{of_broker}; C{_negotiation} or
C{_connection}, and C{producer/_frame_stream}, which heed it;
C{docs/configuration.rst}.  To add an option of TLS: L{quebert._tls}.
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
