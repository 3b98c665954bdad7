"""
Settings as frozen values: their parsing and its error messages, nothing else.
"""

from quebert.config._broker import (
    DEFAULT_AMQP_URL,
    TLS,
    Address,
    Broker,
    default_amqp_url,
)
from quebert.config._watch import Watch

__all__ = [
    "DEFAULT_AMQP_URL",
    "TLS",
    "Address",
    "Broker",
    "Watch",
    "default_amqp_url",
]
