"""
Adding tasks without Twisted, over connections that are kept and made again.

A call takes the idle connection away from its producer, or makes a new one.  It
gives the connection back only when the broker has answered.  A call that is
interrupted, wherever that is, leaves nothing behind that a later call could
use.  A call from within another one, by a signal handler, finds no idle
connection and makes its own.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
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
from quebert.producer._pika import PikaConnection, connect, import_pika

__all__ = ["BlockingProducer", "add_task"]


class BlockingProducer:
    """
    Adds tasks over a connection of its own, blocking; for one thread.

    A connection that hangs is noticed by its heartbeats, after twice the
    C{heartbeat} of the URL and 10 seconds; with C{heartbeat=0}, never.

    A method may be interrupted by any exception: C{KeyboardInterrupt}, one of a
    signal handler, C{gevent.Timeout}.  It raises that exception, and then nobody
    knows whether the task was added; add it again with the same C{uuid}.  A time
    limit should not be a subclass of C{Exception}: pika catches those in places,
    and goes on.  Signal handlers may call the methods, too.

    @param amqp_url: where the broker is; C{QUEBERT_AMQP_URL} of the
        environment, or guest at localhost, by default.
    @param patience: seconds in which a connection must be made, and for which
        the broker may block it (RabbitMQ does so when its memory is full).
    @raise ConfigError: C{amqp_url} is wrong, or pika not installed.
    """

    def __init__(
        self,
        amqp_url: str | None = None,
        exchange: str = EXCHANGE,
        *,
        patience: float = 30.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        import_pika()
        self._broker = Broker.from_url(amqp_url or default_amqp_url())
        self._exchange = exchange
        self._patience = patience
        self._now = now
        self._idle: list[PikaConnection] = []  # one at most
        # Closes the connection at the end of the thread that has this producer;
        # in the main thread, at the end of the program.
        self._closing = weakref.finalize(self, _close_all, self._idle)

    def add_task(
        self,
        url: str,
        params: Any = None,
        *,
        kind: str = "tasks",
        priority: str = MEDIUM,
        max_body: int = tasks.BOUNDS.body,
        **fields: Any,
    ) -> str:
        """
        Add a task, and return its uuid once the broker has confirmed it.  When
        anything but L{BadTask} or C{TypeError} is raised, the task may have been added
        or not.

        @param fields: the other arguments of L{Producer.add_task}.
        @raise BadTask: an argument is wrong.
        @raise BrokerError: the broker has not confirmed it.
        @raise TypeError: there is no such argument.
        """
        now = self._now()
        task = tasks.make(now, url, params, **fields)
        self._publish(task_letter(task, kind, priority, now, max_body))
        uuid: str = task["uuid"]
        return uuid

    def add_raw_task(
        self,
        body: bytes,
        kind: str = "tasks",
        priority: str = MEDIUM,
        *,
        max_body: int = tasks.BOUNDS.body,
    ) -> None:
        """
        Add a task whose C{body} is sent as it is.

        @param max_body: bytes that the body may have at most.
        """
        self._publish(letter(body, kind, priority, self._now(), None, max_body))

    def close(self) -> None:
        """
        Close the connection, if there is one.
        """
        _close_all(self._idle)

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
        Publish over the idle connection.  The broker may have closed it long
        ago; then publish a second time, over a new one.

        @raise BrokerError: the broker has not confirmed it.
        """
        error: BrokerError | None = None
        connection = self._take()
        if connection is not None:
            error = self._publish_over(connection, letter)
        if connection is None or _is_stale(error):
            error = self._publish_over(self._connect(), letter)
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback would keep the producer from being freed

    def _publish_over(
        self, connection: PikaConnection, letter: Letter
    ) -> BrokerError | None:
        """
        Publish, and keep the connection if it is known to be in order.  RabbitMQ 3
        may refuse all that is published on a channel to a quorum queue that was full
        once, although it takes messages on other channels.

        @return: as for L{PikaConnection.publish}.
        """
        error = connection.publish(self._exchange, letter)
        in_order = error is None or isinstance(error, Unroutable)
        answered = in_order or isinstance(error, PublishRefused)
        if in_order and connection.is_open and not self._idle:
            self._idle.append(connection)
        elif answered or not connection.is_open:
            connection.close()  # in any other state that may wait for ever
        return error

    def _take(self) -> PikaConnection | None:
        connection = _pop(self._idle)
        ours = connection is not None and connection.is_ours
        return connection if ours else None

    def _connect(self) -> PikaConnection:
        main = threading.current_thread() is threading.main_thread()
        self._closing.atexit = main  # the end of a thread comes earlier
        return connect(self._broker, self._patience)


def _is_stale(error: BrokerError | None) -> bool:
    """
    Whether C{error} is about the connection and not about the task.  Then another
    attempt may succeed.
    """
    closed = isinstance(error, BrokerRefused) and not error.final
    return closed or isinstance(error, ChannelLost)


def _pop(idle: list[PikaConnection]) -> PikaConnection | None:
    """
    Take a connection, in one step: a signal handler must not take it, too.
    """
    with suppress(IndexError):
        return idle.pop()
    return None


def _close_all(idle: list[PikaConnection]) -> None:
    while (connection := _pop(idle)) is not None:
        connection.close()


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
    uuid.  Needs pika.

    The connection is kept for the next call of the same thread.  If a call is
    interrupted, as by C{KeyboardInterrupt} or C{gevent.Timeout}, it raises that
    exception.  Then nobody knows whether the task was added; add it again with
    the same C{uuid}.

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
