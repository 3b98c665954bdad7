"""
The embedded broker: an AMQP 0-9-1 server in Python, for the first five minutes,
for laptops, demonstrations, small single machines, and for tests.

RabbitMQ is what one deploys.
"""

from quebert.broker._broker import BrokerFactory
from quebert.broker._embedded import EmbeddedBroker
from quebert.broker.store import Store

__all__ = ["BrokerFactory", "EmbeddedBroker", "Store"]
