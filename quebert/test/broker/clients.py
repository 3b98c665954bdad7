"""
Four client libraries, each used as its own documentation says, behind one face,
so that a test says once what a broker does for all of them.

All calls block.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any, TypeVar

import aio_pika
import attrs
import pika
import pika.exceptions
from amqp.exceptions import ConsumerCancelled
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Consumer, Producer
from pamqp import commands
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.pollreactor import PollReactor
from twisted.internet.threads import blockingCallFromThread
from txamqp.client import ConnectionClosed, TwistedDelegate
from txamqp.content import Content
from txamqp.protocol import AMQClient
from txamqp.spec import Field, Spec

from quebert.amqp.wire import _spec

__all__ = ["LIBRARIES", "PATIENCE", "Delivery", "Library", "awaited"]

#: Seconds: far more than anything takes, for what is waited for.
PATIENCE = 30.0

T = TypeVar("T")


@attrs.frozen
class Delivery:
    """
    A message that came.

    @ivar handle: how the library settles it.
    """

    body: bytes
    headers: Mapping[str, Any]
    redelivered: bool
    handle: Any


def awaited(condition: Callable[[], T], step: Callable[[], object]) -> T:
    """
    Call C{step} until C{condition()} is true, and give what it returned.
    """
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come true in {PATIENCE} s")
        step()
    return value


class Library:
    """
    A connection with one channel that has its publications confirmed.

    @cvar headers: what the library can write, and read.
    @cvar hears_cancels: whether it says that it wants to.
    """

    hears_cancels = True
    headers: Mapping[str, Any] = {
        "text": "\N{SNOWMAN}",
        "yes": True,
        "number": -(2**40),
        "nothing": None,
        "price": Decimal("1.25"),
        "list": [1, ["two", {"three": 3}]],
        "table": {"deeper": {"deepest": False}},
    }

    def __init__(self, url: str) -> None:
        raise NotImplementedError

    def declare(
        self, exchange: str, type: str, queue: str, key: str, **options: bool
    ) -> None:
        """
        An exchange, and a queue that is bound to it.

        @param options: of the queue: C{durable}, C{exclusive}, C{auto_delete}.
        """
        raise NotImplementedError

    def depth(self, queue: str) -> int:
        """
        How many messages are ready.
        """
        raise NotImplementedError

    def publish(
        self, exchange: str, key: str, body: bytes, headers: Mapping[str, Any] = {}
    ) -> bool:
        """
        Publish, persistent and mandatory, and wait for the confirm; whether a
        queue took it.
        """
        raise NotImplementedError

    def get(self, queue: str) -> Delivery | None:
        """
        The next message, to be settled.
        """
        raise NotImplementedError

    def consume(self, queue: str, prefetch: int) -> None:
        """
        Have messages delivered, for L{receive}.
        """
        raise NotImplementedError

    def receive(self) -> Delivery:
        """
        The next delivery.
        """
        raise NotImplementedError

    def ack(self, delivery: Delivery) -> None:
        """
        It is done.
        """
        raise NotImplementedError

    def nack(self, delivery: Delivery, *, requeue: bool) -> None:
        """
        It is not, with C{basic.nack}.
        """
        raise NotImplementedError

    def reject(self, delivery: Delivery, *, requeue: bool) -> None:
        """
        The same with C{basic.reject}.
        """
        raise NotImplementedError

    def purge(self, queue: str) -> int:
        """
        Empty a queue; how many were in it.
        """
        raise NotImplementedError

    def delete(self, queue: str) -> None:
        """
        Remove a queue.
        """
        raise NotImplementedError

    def await_cancel(self) -> None:
        """
        Wait to be told that the consumer is cancelled.
        """
        raise NotImplementedError

    def await_end(self) -> tuple[int, str]:
        """
        Wait until the broker closes the connection; the code and the text.
        """
        raise NotImplementedError

    def close(self) -> None:
        """
        End the connection, if there still is one.
        """
        raise NotImplementedError


class Pika(Library):
    """
    The blocking face of pika.
    """

    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        self._came: deque[Delivery] = deque()
        self._cancels: list[Any] = []

    def declare(
        self, exchange: str, type: str, queue: str, key: str, **options: bool
    ) -> None:
        self._channel.exchange_declare(exchange, type, durable=True)
        self._channel.queue_declare(queue, **options)
        self._channel.queue_bind(queue, exchange, key)

    def depth(self, queue: str) -> int:
        declared = self._channel.queue_declare(queue, passive=True)
        count: int = declared.method.message_count
        return count

    def publish(
        self, exchange: str, key: str, body: bytes, headers: Mapping[str, Any] = {}
    ) -> bool:
        properties = pika.BasicProperties(delivery_mode=2, headers=headers)
        try:
            self._channel.basic_publish(exchange, key, body, properties, mandatory=True)
        except pika.exceptions.UnroutableError as e:
            (returned,) = e.messages
            assert (returned.method.reply_code, returned.body) == (312, body)
            return False
        return True

    def _delivery(self, method: Any, properties: Any, body: bytes) -> Delivery:
        tag = method.delivery_tag
        return Delivery(body, properties.headers, method.redelivered, tag)

    def get(self, queue: str) -> Delivery | None:
        method, properties, body = self._channel.basic_get(queue)
        return method and self._delivery(method, properties, body)

    def consume(self, queue: str, prefetch: int) -> None:
        def came(channel: Any, *message: Any) -> None:
            self._came.append(self._delivery(*message))

        self._channel.basic_qos(prefetch_count=prefetch)
        self._channel.add_on_cancel_callback(self._cancels.append)
        self._channel.basic_consume(queue, came)

    def _step(self) -> None:
        self._connection.process_data_events(time_limit=1)

    def receive(self) -> Delivery:
        awaited(lambda: self._came, self._step)
        return self._came.popleft()

    def ack(self, delivery: Delivery) -> None:
        self._channel.basic_ack(delivery.handle)

    def nack(self, delivery: Delivery, *, requeue: bool) -> None:
        self._channel.basic_nack(delivery.handle, requeue=requeue)

    def reject(self, delivery: Delivery, *, requeue: bool) -> None:
        self._channel.basic_reject(delivery.handle, requeue=requeue)

    def purge(self, queue: str) -> int:
        count: int = self._channel.queue_purge(queue).method.message_count
        return count

    def delete(self, queue: str) -> None:
        self._channel.queue_delete(queue)

    def await_cancel(self) -> None:
        awaited(lambda: self._cancels, self._step)

    def await_end(self) -> tuple[int, str]:
        try:
            awaited(lambda: False, self._step)
        except pika.exceptions.ConnectionClosedByBroker as e:
            return e.reply_code, e.reply_text
        raise AssertionError("unreachable")

    def close(self) -> None:
        if self._connection.is_open:
            self._connection.close()


class AioPika(Library):
    """
    aio-pika, whose loop runs while something is waited for.
    """

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._came: asyncio.Queue[Any] = asyncio.Queue()
        self._cancels: asyncio.Queue[Any] = asyncio.Queue()
        self._ends: asyncio.Queue[Any] = asyncio.Queue()
        self._run(self._connect(url))
        self._open = True

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(asyncio.wait_for(call, PATIENCE))

    async def _connect(self, url: str) -> None:
        self._connection = await aio_pika.connect(url)
        self._connection.close_callbacks.add(lambda _, e: self._ends.put_nowait(e))
        self._channel: Any = await self._connection.channel(on_return_raises=True)

    def declare(
        self, exchange: str, type: str, queue: str, key: str, **options: bool
    ) -> None:
        async def declare() -> None:
            kind = aio_pika.ExchangeType(type)
            await self._channel.declare_exchange(exchange, kind, durable=True)
            declared = await self._channel.declare_queue(queue, **options)
            await declared.bind(exchange, key)

        self._run(declare())

    def depth(self, queue: str) -> int:
        declared = self._run(self._channel.declare_queue(queue, passive=True))
        count: int = declared.declaration_result.message_count
        return count

    def publish(
        self, exchange: str, key: str, body: bytes, headers: Mapping[str, Any] = {}
    ) -> bool:
        async def publish() -> None:
            to = await self._channel.get_exchange(exchange)
            message = aio_pika.Message(body, headers=dict(headers), delivery_mode=2)
            await to.publish(message, key, mandatory=True)

        try:
            self._run(publish())
        except aio_pika.exceptions.PublishError:
            return False
        return True

    def _delivery(self, message: Any) -> Delivery:
        redelivered = bool(message.redelivered)
        return Delivery(message.body, message.headers, redelivered, message)

    async def _queue(self, name: str) -> Any:
        return await self._channel.get_queue(name, ensure=False)

    def get(self, queue: str) -> Delivery | None:
        async def get() -> Any:
            return await (await self._queue(queue)).get(fail=False)

        message = self._run(get())
        return message and self._delivery(message)

    def consume(self, queue: str, prefetch: int) -> None:
        async def consume() -> None:
            await self._channel.set_qos(prefetch_count=prefetch)
            underlay = await self._channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(self._cancels.put_nowait)
            await (await self._queue(queue)).consume(self._came.put)

        self._run(consume())

    def receive(self) -> Delivery:
        return self._delivery(self._run(self._came.get()))

    def ack(self, delivery: Delivery) -> None:
        self._run(delivery.handle.ack())

    def nack(self, delivery: Delivery, *, requeue: bool) -> None:
        self._run(delivery.handle.nack(requeue=requeue))

    def reject(self, delivery: Delivery, *, requeue: bool) -> None:
        self._run(delivery.handle.reject(requeue=requeue))

    def purge(self, queue: str) -> int:
        async def purge() -> int:
            purged = await (await self._queue(queue)).purge()
            return int(purged.message_count)

        return self._run(purge())

    def delete(self, queue: str) -> None:
        self._run(self._channel.queue_delete(queue))

    def await_cancel(self) -> None:
        self._run(self._cancels.get())

    def await_end(self) -> tuple[int, str]:
        error = self._run(self._ends.get())
        return error.args[0], error.args[1]

    def close(self) -> None:
        if self._open:
            self._open = False
            self._run(self._connection.close())
            self._runner.close()


class Kombu(Library):
    """
    kombu, with py-amqp; its messages are in the encoding they say they have.
    """

    def __init__(self, url: str) -> None:
        options = {"confirm_publish": True}
        self._connection = Connection(url, transport_options=options)
        self._channel: Any = self._connection.channel()
        self._producer = Producer(self._channel, on_return=self._returned)
        self._returns: list[Any] = []
        self._came: deque[Delivery] = deque()

    def _returned(self, error: Any, exchange: str, key: str, message: Any) -> None:
        assert error.reply_code == 312
        self._returns.append(bytes(message.body))

    def declare(
        self, exchange: str, type: str, queue: str, key: str, **options: bool
    ) -> None:
        source = Exchange(exchange, type, durable=True)
        options = {"durable": False, **options}
        Queue(queue, source, key, **options)(self._channel).declare()

    def _queue(self, name: str) -> Any:
        return Queue(name, no_declare=True)(self._channel)

    def depth(self, queue: str) -> int:
        count: int = self._queue(queue).queue_declare(passive=True).message_count
        return count

    def publish(
        self, exchange: str, key: str, body: bytes, headers: Mapping[str, Any] = {}
    ) -> bool:
        self._returns.clear()
        self._producer.publish(
            body,
            key,
            exchange=exchange,
            headers=dict(headers),
            mandatory=True,
            content_type="application/data",
            content_encoding="binary",
        )
        return self._returns != [body]

    def _delivery(self, message: Any) -> Delivery:
        redelivered = message.delivery_info["redelivered"]
        body = bytes(message.body or b"")
        return Delivery(body, message.headers, redelivered, message)

    def get(self, queue: str) -> Delivery | None:
        message = self._queue(queue).get()
        return message and self._delivery(message)

    def consume(self, queue: str, prefetch: int) -> None:
        def came(message: Any) -> None:
            self._came.append(self._delivery(message))

        consumer = Consumer(
            self._channel,
            [self._queue(queue)],
            on_message=came,
            prefetch_count=prefetch,
            auto_declare=False,
            accept=["application/data"],
        )
        consumer.consume()

    def _step(self) -> None:
        self._connection.drain_events(timeout=PATIENCE)

    def receive(self) -> Delivery:
        awaited(lambda: self._came, self._step)
        return self._came.popleft()

    def ack(self, delivery: Delivery) -> None:
        delivery.handle.ack()

    def nack(self, delivery: Delivery, *, requeue: bool) -> None:
        self.reject(delivery, requeue=requeue)  # py-amqp has no basic.nack

    def reject(self, delivery: Delivery, *, requeue: bool) -> None:
        delivery.handle.reject(requeue=requeue)

    def purge(self, queue: str) -> int:
        count: int = self._queue(queue).purge()
        return count

    def delete(self, queue: str) -> None:
        self._queue(queue).delete()

    def await_cancel(self) -> None:
        with suppress(ConsumerCancelled):
            awaited(lambda: False, self._step)

    def await_end(self) -> tuple[int, str]:
        try:
            awaited(lambda: False, self._step)
        except self._connection.connection_errors as e:
            return e.code, e.reply_text
        raise AssertionError("unreachable")

    def close(self) -> None:
        self._connection.release()


def _make_spec() -> Spec:
    # Ours, which leaves the properties of messages to our own codec, and them.
    spec = _spec._build()
    properties = commands.Basic.Properties
    for place, name in enumerate(properties.attributes()):
        field = Field(name, place, properties.amqp_type(name), [])
        spec.classes.byname["basic"].fields.add(field)
    return spec


_SPEC = _make_spec()


class _Delegate(TwistedDelegate):  # type: ignore[misc]
    """
    Takes what stock txamqp has no place for: confirms.
    """

    def __init__(self) -> None:
        super().__init__()
        self.confirms: DeferredQueue[Any] = DeferredQueue()

    def basic_ack(self, channel: Any, message: Any) -> None:
        self.confirms.put(message)


class TxAMQP(Library):
    """
    txamqp as it is, with a spec that has confirms.  Its headers are ASCII and
    numbers of 32 bits, and so it cannot say that it wants to be told of cancels.
    """

    hears_cancels = False
    headers: Mapping[str, Any] = {"text": "plain", "number": 2**31 - 1}

    def __init__(self, url: str) -> None:
        parameters = pika.URLParameters(url)
        self._delegate = _Delegate()
        self._reactor = PollReactor()
        self._thread = threading.Thread(
            target=lambda: self._reactor.run(installSignalHandlers=False), daemon=True
        )
        self._thread.start()
        self._run(self._connect, parameters)

    def _run(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """
        Call it in the reactor's thread, and wait for what it gives.
        """

        def run() -> Any:
            result = call(*arguments, **named)
            if isinstance(result, Coroutine):
                result = Deferred.fromCoroutine(result)
            if isinstance(result, Deferred):
                result.addTimeout(PATIENCE, self._reactor)
            return result

        return blockingCallFromThread(self._reactor, run)

    async def _connect(self, to: Any) -> None:
        vhost, clock = to.virtual_host, self._reactor
        self._client = AMQClient(self._delegate, vhost, _SPEC, clock=clock)
        endpoint = TCP4ClientEndpoint(self._reactor, to.host, to.port)
        await connectProtocol(endpoint, self._client)
        await self._client.authenticate("guest", "guest")
        self._channel = await self._client.channel(1)
        await self._channel.channel_open()
        await self._channel.confirm_select()

    def declare(
        self, exchange: str, type: str, queue: str, key: str, **options: bool
    ) -> None:
        async def declare() -> None:
            call = self._channel
            await call.exchange_declare(
                exchange=exchange, exchange_type=type, durable=True
            )
            await call.queue_declare(queue=queue, **options)
            await call.queue_bind(queue=queue, exchange=exchange, routing_key=key)

        self._run(declare)

    def depth(self, queue: str) -> int:
        declared = self._run(self._channel.queue_declare, queue=queue, passive=True)
        return int(declared.message_count)

    def publish(
        self, exchange: str, key: str, body: bytes, headers: Mapping[str, Any] = {}
    ) -> bool:
        properties = {"delivery_mode": 2, "headers": dict(headers)}
        content = Content(body, properties=properties)
        returns = self._client.basic_return_queue
        where = {"exchange": exchange, "routing_key": key, "mandatory": True}
        self._run(self._channel.basic_publish, content=content, **where)
        self._run(self._delegate.confirms.get)
        if not returns.pending:
            return True
        returned = self._run(returns.get)
        assert (returned.reply_code, returned.content.body) == (312, body.decode())
        return False

    def _delivery(self, message: Any) -> Delivery:
        body, properties = message.content.body, message.content.properties
        body = body.encode() if isinstance(body, str) else body
        tag = message.delivery_tag
        return Delivery(body, properties.get("headers", {}), message.redelivered, tag)

    def get(self, queue: str) -> Delivery | None:
        message = self._run(self._channel.basic_get, queue=queue)
        return self._delivery(message) if message.method.name == "get-ok" else None

    def consume(self, queue: str, prefetch: int) -> None:
        async def consume() -> Any:
            await self._channel.basic_qos(prefetch_count=prefetch)
            await self._channel.basic_consume(queue=queue, consumer_tag="me")
            return await self._client.queue("me")

        self._came = self._run(consume)

    def receive(self) -> Delivery:
        return self._delivery(self._run(self._came.get))

    def ack(self, delivery: Delivery) -> None:
        self._run(self._channel.basic_ack, delivery_tag=delivery.handle)

    def nack(self, delivery: Delivery, *, requeue: bool) -> None:
        self._run(
            self._channel.basic_nack, delivery_tag=delivery.handle, requeue=requeue
        )

    def reject(self, delivery: Delivery, *, requeue: bool) -> None:
        self._run(
            self._channel.basic_reject, delivery_tag=delivery.handle, requeue=requeue
        )

    def purge(self, queue: str) -> int:
        return int(self._run(self._channel.queue_purge, queue=queue).message_count)

    def delete(self, queue: str) -> None:
        self._run(self._channel.queue_delete, queue=queue)

    def await_end(self) -> tuple[int, str]:
        self._run(self._client.disconnected.wait)
        try:
            self._run(self._channel.queue_declare, queue="")
        except ConnectionClosed as e:
            return e.args[0].reply_code, e.args[0].reply_text
        raise AssertionError("unreachable")

    def close(self) -> None:
        if not self._thread.is_alive():
            return
        if not self._client.closed:
            self._run(self._client.close, within=PATIENCE)
        self._run(self._client.disconnected.wait)
        self._reactor.callFromThread(self._reactor.stop)
        self._thread.join()


LIBRARIES: dict[str, type[Library]] = {
    "pika": Pika,
    "aio-pika": AioPika,
    "kombu": Kombu,
    "txamqp": TxAMQP,
}
