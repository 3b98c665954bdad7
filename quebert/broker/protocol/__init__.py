"""
AMQP as the embedded broker speaks it: connections, channels, methods.
"""

from quebert.broker.protocol._server import ServerConnection
from quebert.broker.protocol._strangers import MOST_STRANGERS, Guesses, Strangers

__all__ = [
    "MOST_STRANGERS",
    "Guesses",
    "ServerConnection",
    "Strangers",
]
