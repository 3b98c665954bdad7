"""
How an operation reaches the broker: a connection of its own, and messages that the
broker confirms.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
from twisted.internet.defer import Deferred, TimeoutError

from quebert.amqp import TxAMQPClient
from quebert.amqp.link import Publisher
from quebert.amqp.wire import Wire
from quebert.config import DEFAULT_AMQP_URL, Broker
from quebert.errors import BrokerError

__all__ = ["BrokerAccess", "publish_confirmed"]

#: Seconds in which there must be a broker.
CONNECT_TIMEOUT = 5.0
#: Seconds in which it must take a message.
PATIENCE = 60.0


@attrs.frozen
class BrokerAccess:
    """
    The broker to operate on.  Each operation makes connections of its own, and none is
    left when it ends, however that is.

    @ivar reactor: the one that runs.
    @ivar url: an AMQP URL, with a user and a password.
    @ivar management_url: where RabbitMQ's management API is, as
        C{http://host:15672}; C{None} for the same hosts as AMQP and the usual port.
    @ivar configured: what a configuration has in place of C{url}.
    """

    reactor: Any
    url: str = DEFAULT_AMQP_URL
    management_url: str | None = None
    configured: Broker | None = None

    @property
    def broker(self) -> Broker:
        """
        Where it is, and who we are there.

        @raise ConfigError: C{url} is no AMQP URL.
        """
        return self.configured or Broker.from_url(self.url)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[tuple[TxAMQPClient, Wire]]:
        """
        A client of it, connected.

        @raise ConfigError: C{url} is no AMQP URL.
        @raise BrokerUnreachable: there is no broker in L{CONNECT_TIMEOUT} seconds.
        @raise BrokerRefused: it refuses the login.
        """
        client = TxAMQPClient.of_broker(
            self.broker, reactor=self.reactor, connectTimeout=CONNECT_TIMEOUT
        )
        try:
            yield client, await client.connected(CONNECT_TIMEOUT)
        finally:
            await client.stop(0)


async def publish_confirmed(
    client: TxAMQPClient,
    publisher: Publisher,
    queue: str,
    body: bytes,
    properties: bytes,
) -> None:
    """
    Publish to C{queue}; returns when the broker has confirmed it.

    @raise BrokerError: the broker does not take it, or not in L{PATIENCE} seconds.
    """
    publishing = publisher.publish("", queue, body, properties)
    confirmed = Deferred.fromCoroutine(publishing)
    try:
        await confirmed.addTimeout(PATIENCE, client.reactor)
    except TimeoutError:
        why = client.blocked or "it confirmed nothing"
        raise BrokerError(
            f"the broker takes no messages for {PATIENCE:.0f} s: {why}"
        ) from None
