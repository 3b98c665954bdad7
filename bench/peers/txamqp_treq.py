"""
txamqp and treq as they come: what quebert would be without code of its own.
"""

from __future__ import annotations

import json
from typing import Any

import treq
from _common import JSON, TIMEOUT, Settings, main, put
from treq.client import HTTPClient
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectionLost, TimeoutError
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestNotSent,
    RequestTransmissionFailed,
    ResponseFailed,
)
from txamqp.client import TwistedDelegate
from txamqp.protocol import AMQClient

from quebert.amqp.wire import SPEC  # txamqp brings none of its own
from quebert.config import Broker

reactor: Any = global_reactor
FAILURES = (
    ConnectError,
    ConnectionLost,
    RequestNotSent,
    RequestTransmissionFailed,
    ResponseFailed,
    TimeoutError,
)


class Delegate(TwistedDelegate):  # type: ignore[misc]
    """
    Answers the broker's greeting as it wants it answered: with PLAIN.
    """

    def connection_start(self, channel: Any, message: Any) -> None:
        """
        Authenticate.
        """
        channel.connection_start_ok(
            mechanism="PLAIN", response=self.client.response, locale="en_US"
        )


async def connected(settings: Settings) -> AMQClient:
    """
    A connection to the broker, open.
    """
    broker = Broker.from_url(settings.amqp)
    client = AMQClient(Delegate(), broker.vhost, SPEC, heartbeat=30)
    # txamqp's own greeting is that of an older AMQP, which RabbitMQ refuses.
    client.send_init_string = lambda: client.transport.write(b"AMQP\0\0\x09\x01")
    address = broker.addresses[0]
    endpoint = TCP4ClientEndpoint(reactor, address.host, address.port)
    client.response = f"\0{broker.username}\0{broker.password}"
    await connectProtocol(endpoint, client)
    await client.started.wait()
    zero = await client.channel(0)
    await zero.connection_open(virtual_host=broker.vhost)
    return client


async def posted(http: Any, body: bytes) -> bool:
    """
    POST a task to its URL; whether the whole answer is a 2xx.
    """
    url = json.loads(body)["url"]
    try:
        response = await http.post(url, data=body, headers=JSON, timeout=TIMEOUT)
        await treq.content(response)
    except FAILURES:
        return False
    return bool(200 <= response.code < 300)


async def consume(settings: Settings) -> None:
    """
    Dispatch for ever.
    """
    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = settings.concurrency
    agent: Any = Agent(reactor, pool=pool)
    http = HTTPClient(agent)
    client = await connected(settings)
    channel = await client.channel(1)
    await channel.channel_open()
    await channel.basic_qos(prefetch_count=settings.concurrency)
    await channel.basic_consume(queue=settings.queue, consumer_tag="bench")
    messages = await client.queue("bench")

    async def dispatch(message: Any) -> None:
        if await posted(http, message.content.body.encode()):
            channel.basic_ack(message.delivery_tag)
        else:
            channel.basic_reject(message.delivery_tag, requeue=True)

    while True:
        Deferred.fromCoroutine(dispatch(await messages.get()))


def work(settings: Settings) -> None:
    """
    Dispatch on Twisted's default reactor.
    """

    def start() -> None:
        done = Deferred.fromCoroutine(consume(settings))
        done.addErrback(lambda failure: failure.printTraceback())
        done.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(start)
    reactor.run()


def publish(settings: Settings, task: dict[str, Any]) -> None:
    """
    Put one task into the queue, as it is.
    """
    put(settings, task)


if __name__ == "__main__":
    main(work, publish)
