"""
A plugin of pytest for the tests of amqpstorm: they connect to the default port, and
remove their queues over RabbitMQ's management API.  Here the port is that of
$RABBITMQ_5672_TCP, and there is no such API; the broker goes with its queues.
"""

import os
from unittest.mock import MagicMock

import amqpstorm.management

PORT = int(os.environ["RABBITMQ_5672_TCP"])

_init = amqpstorm.Connection.__init__


def _on_our_port(
    self: amqpstorm.Connection,
    host: str,
    user: str,
    password: str,
    port: int = PORT,
    **options: object,
) -> None:
    _init(self, host, user, password, port, **options)


amqpstorm.Connection.__init__ = _on_our_port
amqpstorm.management.ManagementApi = lambda *args, **options: MagicMock()
