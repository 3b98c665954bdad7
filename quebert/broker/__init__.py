"""
The embedded broker: an AMQP 0-9-1 server in Python, for the first five minutes,
for laptops, demonstrations, small single machines, and for tests.

RabbitMQ is what one deploys.

It answers as RabbitMQ does: what differs, between versions of RabbitMQ or here, is in
C{quebert/test/contract/differences.py}, from which C{docs/dev.rst} has its table.  What
changes together is told by L{quebert.broker.state} (arguments, types of queues and
exchanges, reasons of deaths), L{quebert.broker.protocol} (methods, confirms, logging
in) and L{quebert.broker.store} (what outlives a process).  An option of C{quebert
broker}: C{Served} in C{cli/_broker.py}, the command in C{cli/_main.py}, and
L{BrokerFactory}, which has the broker's policies: who may in, and what is committed in
which order.  A limit of connections: of clients that have not logged in,
C{protocol/_strangers}; of others, C{BrokerFactory.lets_in}.
"""

from quebert.broker._broker import BrokerFactory
from quebert.broker._embedded import EmbeddedBroker
from quebert.broker.store import Store

__all__ = ["BrokerFactory", "EmbeddedBroker", "Store"]
