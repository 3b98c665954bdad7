"""
Settings as frozen values: their parsing and its error messages, nothing else.
"""

from quebert.config._broker import (
    DEFAULT_AMQP_URL,
    EMPTY_AMQP_URL,
    TLS,
    Address,
    Broker,
    default_amqp_url,
)
from quebert.config._file import MOST_PROCESSES, read
from quebert.config._problems import BadConfig, Problem
from quebert.config._settings import (
    DEFAULT_URL,
    EVERY,
    Backoff,
    Host,
    Priorities,
    QueueSettings,
    Service,
    Settings,
    Signing,
)
from quebert.config._watch import Watch, settings_of

__all__ = [
    "DEFAULT_AMQP_URL",
    "DEFAULT_URL",
    "EMPTY_AMQP_URL",
    "EVERY",
    "MOST_PROCESSES",
    "TLS",
    "Address",
    "Backoff",
    "BadConfig",
    "Broker",
    "Host",
    "Priorities",
    "Problem",
    "QueueSettings",
    "Service",
    "Settings",
    "Signing",
    "Watch",
    "default_amqp_url",
    "read",
    "settings_of",
]
