"""
C{quebert add} with a URL: a task is published, and confirmed.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import TimeoutError

from quebert.amqp import TxAMQPClient
from quebert.errors import BrokerError
from quebert.producer import Producer

__all__ = ["CONNECT_TIMEOUT", "add", "client_of"]

#: Seconds in which a host that says nothing must have let us in.
CONNECT_TIMEOUT = 20.0
#: Seconds in which the broker must have confirmed a task.
PATIENCE = 20.0


def client_of(reactor: Any, amqp_url: str, wait: float) -> TxAMQPClient:
    """
    A client.

    @param wait: seconds to wait for a broker that is about to start; with 0, one that
        refuses connections is told at once.
    @raise ConfigError: C{amqp_url} is wrong.
    """
    return TxAMQPClient.from_url(
        amqp_url,
        reactor=reactor,
        connectTimeout=wait or CONNECT_TIMEOUT,
        patient=wait > 0,
    )


async def add(
    reactor: Any,
    amqp_url: str,
    exchange: str,
    key: str | None,
    wait: float,
    url: str,
    uuid: str,
    **fields: Any,
) -> str:
    """
    Add a task, and give its uuid once the broker has confirmed it.

    @param key: the routing key; C{None} for what kind and priority say.
    @param wait: as for L{client_of}.
    @param fields: as for L{Producer.add_task}.
    @raise QuebertError: it is none, or was not confirmed.
    """
    client = client_of(reactor, amqp_url, wait)
    producer = Producer(client, exchange, routing_key=key)
    adding = producer.add_task(url, uuid=uuid, **fields)
    try:
        return await adding.addTimeout(wait + PATIENCE, reactor)
    except TimeoutError:
        raise BrokerError(_unconfirmed(client, wait + PATIENCE, uuid)) from None
    finally:
        await client.stop(0)


def _unconfirmed(client: TxAMQPClient, seconds: float, uuid: str) -> str:
    again = f"add it again with --uuid={uuid}, and it is at worst there twice"
    if client.blocked is not None:
        return (
            f"the broker is blocked ({client.blocked}), and has not confirmed the task"
            f" in {seconds:g} s; it may take the task later: {again}"
        )
    return (
        f"the broker has not confirmed the task in {seconds:g} s, and may have it:"
        f" {again}"
    )
