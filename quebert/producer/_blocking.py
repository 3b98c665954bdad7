"""
Adding tasks from what knows no Twisted, over a connection of pika's.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from quebert import task as tasks
from quebert.config import Broker, default_amqp_url
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnreachable,
    ConfigError,
    PublishRefused,
    Unroutable,
)
from quebert.producer._letter import EXCHANGE, MEDIUM, Letter, letter, task_letter

__all__ = ["BlockingProducer", "add_task"]


class BlockingProducer:
    """
    Adds tasks over a connection of its own, blocking; for one thread.

    @param amqp_url: where the broker is; C{QUEBERT_AMQP_URL} of the
        environment, or guest at localhost, by default.
    @param patience: seconds in which a connection must be made.
    """

    def __init__(
        self,
        amqp_url: str | None = None,
        exchange: str = EXCHANGE,
        *,
        patience: float = 30.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._pika = _pika()
        self._broker = Broker.from_url(amqp_url or default_amqp_url())
        self._exchange = exchange
        self._patience = patience
        self._now = now
        self._connection: Any = None
        self._channel: Any = None

    def add_task(
        self,
        url: str,
        params: Any = None,
        *,
        kind: str = "tasks",
        priority: str = MEDIUM,
        **fields: Any,
    ) -> str:
        """
        Add a task and return its uuid, as L{Producer.add_task} does, whose
        other arguments are C{fields}.

        @raise BadTask: an argument is wrong.
        @raise BrokerError: the broker has not confirmed it.
        """
        now = self._now()
        task = tasks.make(url, params, now=now, **fields)
        self._publish(task_letter(task, kind, priority, now))
        uuid: str = task["uuid"]
        return uuid

    def add_raw_task(
        self, body: bytes, kind: str = "tasks", priority: str = MEDIUM
    ) -> None:
        """
        Add a task whose C{body} is sent as it is.
        """
        self._publish(letter(body, kind, priority, self._now(), None))

    def close(self) -> None:
        """
        Close the connection, if there is one.
        """
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None and connection.is_open:
            connection.close()

    def __enter__(self) -> BlockingProducer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _publish(self, letter: Letter) -> None:
        """
        Publish; on a connection that has been idle, which the broker may have
        closed long ago, a second time when the first fails.
        """
        exceptions = self._pika.exceptions
        used_before = self._channel is not None
        try:
            self._publish_once(letter)
        except (exceptions.AMQPConnectionError, exceptions.AMQPChannelError) as e:
            self._channel = None
            if not used_before or _said_by_broker(e):
                raise _translated(e, self._exchange) from e
            self._publish(letter)

    def _publish_once(self, letter: Letter) -> None:
        names = {k.replace("-", "_"): v for k, v in letter.properties.items()}
        self._open_channel().basic_publish(
            self._exchange,
            letter.routing_key,
            letter.body,
            self._pika.BasicProperties(**names),
            mandatory=True,
        )

    def _open_channel(self) -> Any:
        if self._channel is None:
            self.close()
            self._connection = self._connect()
            self._channel = self._connection.channel()
            self._channel.confirm_delivery()
        return self._channel

    def _connect(self) -> Any:
        broker = self._broker
        pika = self._pika
        tls = {"ssl_options": pika.SSLOptions(_tls_context())} if broker.tls else {}
        return pika.BlockingConnection(
            pika.ConnectionParameters(
                host=broker.host,
                port=broker.port,
                virtual_host=broker.vhost,
                credentials=pika.PlainCredentials(broker.username, broker.password),
                heartbeat=broker.heartbeat,
                socket_timeout=self._patience,
                stack_timeout=self._patience,
                blocked_connection_timeout=self._patience,
                **tls,
            )
        )


def _tls_context() -> Any:
    import ssl

    return ssl.create_default_context()


def _pika() -> Any:
    try:
        import pika
        import pika.exceptions
    except ImportError:
        text = (
            "adding tasks without Twisted needs pika: pip install 'quebert[blocking]'"
        )
        raise ConfigError(text) from None
    return pika


def _said_by_broker(error: Exception) -> bool:
    """
    Whether it is an answer, so that asking again would be in vain.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    return not names.isdisjoint(
        {"UnroutableError", "NackError", "ChannelClosedByBroker"}
    )


def _translated(error: Exception, exchange: str) -> BrokerError:
    name = type(error).__name__
    code, text = getattr(error, "reply_code", 0), getattr(error, "reply_text", "")
    if name == "UnroutableError" or (code == 404 and "no exchange" in text):
        return Unroutable(f"no queue takes this task at exchange {exchange!r} {text}")
    if name == "NackError":
        return PublishRefused("the broker did not take the task")
    if code:
        return BrokerRefused(code, text)
    if name.startswith("Probable"):
        return BrokerRefused(403, f"the broker does not let us in: {error}")
    return BrokerUnreachable(f"the broker cannot be reached: {error!r}")


_local = threading.local()


def add_task(
    url: str,
    params: Any = None,
    *,
    amqp_url: str | None = None,
    exchange: str = EXCHANGE,
    **fields: Any,
) -> str:
    """
    Add a task, blocking until the broker has confirmed it, and return its
    uuid.  Needs C{quebert[blocking]}.

    The connection is kept for the next call of the same thread.

    @param amqp_url: where the broker is; C{QUEBERT_AMQP_URL} of the
        environment, or guest at localhost, by default.
    @param fields: as for L{Producer.add_task}.
    @raise BadTask: an argument is wrong.
    @raise BrokerError: the broker has not confirmed it.
    """
    producer = _kept_producer(amqp_url or default_amqp_url(), exchange)
    return producer.add_task(url, params, **fields)


def _kept_producer(amqp_url: str, exchange: str) -> BlockingProducer:
    # A process that forks must not share its parent's connection.
    key = (os.getpid(), amqp_url, exchange)
    if getattr(_local, "key", None) != key:
        _local.producer = BlockingProducer(amqp_url, exchange)
        _local.key = key
    kept: BlockingProducer = _local.producer
    return kept
