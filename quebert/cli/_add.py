"""
C{quebert add}: a task is published, and confirmed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from quebert.amqp import TxAMQPClient
from quebert.boundaries import Publisher
from quebert.producer import Producer

__all__ = ["add"]

#: Seconds in which a task must find its broker.
CONNECT_TIMEOUT = 5.0


@attrs.frozen
class _KeyedPublisher:
    """
    Publishes with a routing key that need not be one of a kind and a priority, as those
    of producers are.
    """

    publisher: Publisher
    key: str

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Mapping[str, Any],
    ) -> Deferred[None]:
        """
        Publish it.
        """
        return self.publisher.publish(exchange, self.key, body, properties)


async def add(
    reactor: Any,
    amqp_url: str,
    exchange: str,
    key: str,
    url: str,
    params: Any,
    **fields: Any,
) -> str:
    """
    Add a task, and give its uuid once the broker has confirmed it.

    @param fields: as for L{Producer.add_task}.
    @raise QuebertError: it is none, or was not confirmed.
    """
    client = TxAMQPClient.from_url(
        amqp_url, reactor=reactor, connectTimeout=CONNECT_TIMEOUT
    )
    producer = Producer(_KeyedPublisher(client, key), exchange)
    try:
        return await producer.add_task(url, params, **fields)
    finally:
        await client.stop(0)
