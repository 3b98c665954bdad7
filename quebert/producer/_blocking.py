"""
Adding tasks without Twisted: from threads, greenlets, forked processes and signal
handlers.

How a call uses connections is in C{_publishing} and C{_pool}.
"""

from __future__ import annotations

import atexit
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any

from quebert import task as tasks
from quebert.config import Broker, default_amqp_url
from quebert.producer._blocking_many import BlockingWindow
from quebert.producer._deadline import Deadline
from quebert.producer._intercept import add_each, is_intercepted, taken
from quebert.producer._items import WINDOW, OnResult
from quebert.producer._letter import EXCHANGE, MEDIUM, Letter, letter, new_letter
from quebert.producer._publishing import (
    CONNECTIONS,
    PATIENCE,
    BlockingPublisher,
    Limit,
)
from quebert.producer._sending import OutgoingLetter

__all__ = ["BlockingProducer", "add_task", "add_tasks", "kept_producer"]


# Seconds for which the broker's answer to the end of connections is waited for.
_FAREWELL = 1.0
# The producers that there are.
_alive: weakref.WeakSet[BlockingProducer] = weakref.WeakSet()


class BlockingProducer:
    """
    Adds tasks, blocking, over connections of its own that are kept and made again.
    Threads and greenlets may share one.

    A method may be interrupted by any exception: C{KeyboardInterrupt}, one of a
    signal handler, C{gevent.Timeout}.  It raises that exception, and then nobody
    knows whether the task was added; add it again with the same C{uuid}.  Signal
    handlers may call the methods, too.

    @param amqp_url: where the broker is; C{QUEBERT_AMQP_URL} of the
        environment, or guest at localhost, by default.
    @param patience: seconds that a call may take in all: to wait for a free connection,
        to look the host up, to connect, to log in, and to get the confirm.
    @param max_connections: how many calls are at work at the same time; others wait.
    @raise ConfigError: C{amqp_url} is wrong, or a number is none.
    """

    def __init__(
        self,
        amqp_url: str | None = None,
        exchange: str = EXCHANGE,
        *,
        patience: float = PATIENCE,
        max_connections: int = CONNECTIONS,
        now: Callable[[], float] = time.time,
    ) -> None:
        broker = Broker.from_url(amqp_url or default_amqp_url())
        Limit.of(patience)  # whether it is a number
        self._patience = patience
        self._now = now
        self._publisher = BlockingPublisher(broker, exchange, max_connections)
        # When nobody has this producer any more, and nothing may wait.
        weakref.finalize(self, self._publisher.close).atexit = False
        _alive.add(self)

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
        Add a task, and return its uuid once the broker has confirmed it.  When a
        L{BrokerError} is raised, its C{added} tells whether the broker may have the
        task.

        @param fields: the other arguments of L{Producer.add_task}.
        @raise BadTask: an argument is wrong.
        @raise BrokerError: the broker has not confirmed it.
        @raise TypeError: there is no such argument.
        """
        limit = Limit.of(self._patience)
        fields |= {"kind": kind, "priority": priority, "max_body": max_body}
        uuid, letter = new_letter(self._now(), url, params, **fields)
        self.publish(letter, limit)
        return uuid

    def publish(self, letter: Letter, limit: Limit) -> None:
        """
        Publish a message that is made already, within another limit of time.

        @raise BrokerError: the broker has not confirmed it.
        """
        exchange = self._publisher.exchange
        if not taken(exchange, letter):
            with OutgoingLetter(exchange, letter) as sent:
                self._publisher.publish(sent, limit)

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
        limit = Limit.of(self._patience)
        self.publish(letter(body, kind, priority, self._now(), None, max_body), limit)

    def add_tasks(
        self,
        items: Iterable[Mapping[str, Any]],
        on_result: OnResult,
        *,
        window: int = WINDOW,
    ) -> int:
        """
        Add many tasks, and return how many were added.  Those that are wrong or refused
        do not keep the others from being added.

        An item is read only when fewer than C{window} tasks are unconfirmed, so that
        memory is bounded.  They are confirmed in any order.

        The limit of time, C{patience}, is that for each wait: for a connection, and for
        the next confirms.

        @param items: mappings, each with the keywords of L{add_task}, and with C{url}.
        @param on_result: called with a L{TaskResult} for each item that was read: once
            the broker has confirmed its task, or with what is wrong.  Where the
            connection is lost, each task that may be there has one with a
            L{BrokerError} whose C{added} is C{None}: add it again with the uuid in the
            result.
        @param window: how many tasks may be unconfirmed.
        @raise BrokerError: no more can be added, since the broker is out of reach, does
            not confirm in time, or refuses the login.
        @raise Exception: what C{items} or C{on_result} raised first, once the tasks
            before have their results.
        """
        return self._add_many(self._patience, items, on_result, window)

    def _add_many(
        self,
        patience: float,
        items: Iterable[Mapping[str, Any]],
        on_result: OnResult,
        window: int,
    ) -> int:
        if is_intercepted():
            limit = Limit.of(patience)
            publish = partial(self.publish, limit=limit)
            return add_each(items, on_result, self._now, publish)
        adding = BlockingWindow(self._publisher, on_result, self._now, patience, window)
        return adding.add_all(items)

    def close(self) -> None:
        """
        Close the connections that are not in use.  It may wait for a second.
        """
        self._close_until(Deadline.after(_FAREWELL))

    def _close_until(self, deadline: Deadline) -> None:
        self._publisher.close(deadline)

    def __enter__(self) -> BlockingProducer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@atexit.register
def _close_all() -> None:
    deadline = Deadline.after(_FAREWELL)  # of all of them
    for producer in list(_alive):
        # A program that ends within a callback of gevent must not wait.
        with suppress(Exception):
            producer._close_until(deadline)


# The producers of add_task, for all threads.
_kept: dict[tuple[str, str], BlockingProducer] = {}


def kept_producer(amqp_url: str | None, exchange: str) -> BlockingProducer:
    """
    The producer of the functions for a broker and an exchange.
    """
    key = (amqp_url or default_amqp_url(), exchange)
    producer = _kept.get(key)
    if producer is None:
        producer = _kept.setdefault(key, BlockingProducer(*key))
    return producer


def add_task(
    url: str,
    params: Any = None,
    *,
    amqp_url: str | None = None,
    exchange: str = EXCHANGE,
    patience: float = PATIENCE,
    kind: str = "tasks",
    priority: str = MEDIUM,
    max_body: int = tasks.BOUNDS.body,
    **fields: Any,
) -> str:
    """
    Add a task, blocking until the broker has confirmed it, and return its uuid.

    Connections are kept for further calls, of all threads.  If a call is interrupted,
    as by C{KeyboardInterrupt} or C{gevent.Timeout}, it raises that exception.  Then
    nobody knows whether the task was added; add it again with the same C{uuid}.

    @param amqp_url: where the broker is; C{QUEBERT_AMQP_URL} of the
        environment, or guest at localhost, by default.
    @param patience: seconds that the call may take in all.
    @param fields: as for L{Producer.add_task}.
    @raise BadTask: an argument is wrong.
    @raise BrokerError: the broker has not confirmed it; C{added} tells whether it may
        have the task.
    @raise ConfigError: C{amqp_url} is wrong.
    @raise TypeError: there is no such argument.
    """
    limit = Limit.of(patience)
    producer = kept_producer(amqp_url, exchange)
    fields |= {"kind": kind, "priority": priority, "max_body": max_body}
    uuid, letter = new_letter(time.time(), url, params, **fields)
    producer.publish(letter, limit)
    return uuid


def add_tasks(
    items: Iterable[Mapping[str, Any]],
    on_result: OnResult,
    *,
    amqp_url: str | None = None,
    exchange: str = EXCHANGE,
    patience: float = PATIENCE,
    window: int = WINDOW,
) -> int:
    """
    Add many tasks, blocking, and return how many were added: as
    L{BlockingProducer.add_tasks}, over a connection that is kept for further calls.

    @param amqp_url: where the broker is; C{QUEBERT_AMQP_URL} of the
        environment, or guest at localhost, by default.
    @param patience: seconds for each wait: for a connection, and for the next confirms.
    @raise ConfigError: C{amqp_url} is wrong.
    """
    producer = kept_producer(amqp_url, exchange)
    return producer._add_many(patience, items, on_result, window)
