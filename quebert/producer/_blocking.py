"""
Adding tasks from what knows no Twisted: over connections that are kept, and
made again when they turn out to be stale.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

from quebert import task as tasks
from quebert.config import Broker, default_amqp_url
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    ChannelLost,
    PublishRefused,
    Unroutable,
)
from quebert.producer._letter import EXCHANGE, MEDIUM, Letter, letter, task_letter
from quebert.producer._pika import connect, end, import_pika, our_errors, publish

__all__ = ["BlockingProducer", "add_task"]


class BlockingProducer:
    """
    Adds tasks over a connection of its own, blocking; for one thread.

    A connection that hangs is noticed by its heartbeats, after twice the
    C{heartbeat} of the URL and 10 seconds; with C{heartbeat=0}, never.

    @param amqp_url: where the broker is; C{QUEBERT_AMQP_URL} of the
        environment, or guest at localhost, by default.
    @param patience: seconds in which a connection must be made, and for which
        the broker may block it (RabbitMQ does so when its memory is full).
    @param max_url_length: characters that the URL of a task may have: no more than
        its mediator takes.
    @raise ConfigError: C{amqp_url} is wrong, or pika not installed.
    """

    def __init__(
        self,
        amqp_url: str | None = None,
        exchange: str = EXCHANGE,
        *,
        patience: float = 30.0,
        max_url_length: int = tasks.MAX_URL_LENGTH,
        now: Callable[[], float] = time.time,
    ) -> None:
        import_pika()
        self._broker = Broker.from_url(amqp_url or default_amqp_url())
        self._exchange = exchange
        self._patience = patience
        self._max_url_length = max_url_length
        self._now = now
        self._channel: Any = None
        self._pid = os.getpid()
        self._end: Callable[[], object] = lambda: None

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
        @raise TypeError: there is no such argument.
        """
        now = self._now()
        length = self._max_url_length
        task = tasks.make(now, url, params, max_url_length=length, **fields)
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
        self._channel = None
        self._end()

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
        Publish; when the connection was an old one, which the broker may have
        closed long ago, a second time over a new one.
        """
        old = self._channel is not None
        try:
            self._publish_once(letter)
        except BrokerError as e:
            if not old or not _is_stale(e):
                raise
        else:
            return
        self._publish_once(letter)

    def _publish_once(self, letter: Letter) -> None:
        channel = self._opened()
        # Whoever is interrupted must not leave his confirm to the next one.
        self._channel = None
        try:
            publish(channel, self._exchange, letter)
        except (Unroutable, PublishRefused):
            self._channel = channel if channel.is_open else None
            raise
        self._channel = channel

    def _opened(self) -> Any:
        """
        A channel in confirm mode.
        """
        if self._channel is None or self._pid != os.getpid():
            self.close()
            connection = connect(self._broker, self._patience)
            self._keep(connection)
            with our_errors(self._exchange, ""):
                self._channel = connection.channel()
                self._channel.confirm_delivery()
        return self._channel

    def _keep(self, connection: Any) -> None:
        """
        See to it that C{connection} is closed with us: by L{close}, at the
        end of the thread that had us, or, for the main one, of the program.
        """
        self._pid = os.getpid()
        closing = weakref.finalize(self, end, connection, self._pid)
        closing.atexit = threading.current_thread() is threading.main_thread()
        self._end = closing


def _is_stale(error: BrokerError) -> bool:
    """
    Whether it tells of the connection and not of the task, so that another
    attempt may succeed.
    """
    closed = isinstance(error, BrokerRefused) and not error.final
    return closed or isinstance(error, ChannelLost)


class _Kept(threading.local):
    """
    The producers of a thread.
    """

    def __init__(self) -> None:
        self.producers: dict[tuple[str, str], BlockingProducer] = {}


_kept = _Kept()


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
    @raise ConfigError: C{amqp_url} is wrong, or pika not installed.
    @raise TypeError: there is no such argument.
    """
    key = (amqp_url or default_amqp_url(), exchange)
    producer = _kept.producers.get(key)
    if producer is None:
        producer = _kept.producers[key] = BlockingProducer(*key)
    return producer.add_task(url, params, **fields)
