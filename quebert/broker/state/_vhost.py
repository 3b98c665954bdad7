"""
A virtual host: its exchanges, its queues, and how long these live.

The rules and the texts of refusals are RabbitMQ's.  Knows no sockets.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from quebert._protocol.extensions import QUEUE_TYPE
from quebert._protocol.values import decode_table
from quebert.broker.state._arguments import (
    QUORUM,
    QueueArguments,
    check_equivalent,
    check_same,
    read_arguments,
)
from quebert.broker.state._errors import (
    access_refused,
    no_queue,
    not_implemented,
    precondition_failed,
    resource_locked,
    unsupported,
)
from quebert.broker.state._exchange import Exchange, destinations
from quebert.broker.state._exchanges import Exchanges
from quebert.broker.state._journal import Journal
from quebert.broker.state._queue import Queue, QueueConsumer
from quebert.broker.state._ready import Ready
from quebert.broker.state._records import BindingRecord, QueueRecord
from quebert.broker.state._routing import Router
from quebert.broker.state._timers import Timers

__all__ = ["VirtualHost", "check_deletion"]

_REPLY_TO = "amq.rabbitmq.reply-to"


class VirtualHost:
    """
    @param ids: of queues; each is greater than the one before.
    @ivar name: its name.
    @ivar router: what moves messages through its queues.
    @ivar exchanges: its exchanges.
    @ivar queues: its queues, by their names.
    """

    def __init__(
        self,
        name: str,
        timers: Timers,
        journal: Journal,
        router: Router,
        ids: Iterator[int],
    ) -> None:
        self.name = name
        self.router = router
        self._timers = timers
        self._journal = journal
        self._ids = ids
        self.exchanges = Exchanges(name, journal)
        self.queues: dict[str, Queue] = {}

    # -- Routing

    def has_exchange(self, name: str) -> bool:
        """
        Whether there is an exchange of that name.
        """
        return self.exchanges.get(name) is not None

    def reached_from(
        self, exchange: str, keys: Iterable[str], headers: Mapping[str, Any]
    ) -> list[Queue]:
        """
        The queues that a message reaches from the exchange of that name, each once.
        """
        return self.route(self.exchanges[exchange], keys, headers)

    def route(
        self, exchange: Exchange, keys: Iterable[str], headers: Mapping[str, Any]
    ) -> list[Queue]:
        """
        The queues that a message reaches from an exchange, each once.
        """
        if not exchange.name:  # each queue is bound to it by its name
            named = dict.fromkeys(keys)
            return [self.queues[key] for key in named if key in self.queues]
        return destinations(exchange, keys, headers, self.exchanges)

    # -- Queues

    def queue(self, name: str, connection: object) -> Queue:
        """
        A queue by its name.

        @raise AMQPError: there is none, or it is another connection's.
        """
        queue = self.queues.get(name)
        if queue is None and name == _REPLY_TO:
            raise unsupported(f"direct reply-to ({name})")
        if queue is None:
            raise no_queue(self.name, name)
        if queue.owner not in (None, connection):
            raise resource_locked(self.name, name)
        return queue

    def declare_queue(
        self,
        name: str,
        *,
        durable: bool,
        owner: object | None,
        auto_delete: bool,
        arguments: Mapping[str, Any],
    ) -> Queue:
        """
        Make a queue, where there is none that is just so.

        @param name: with C{""} one is made up.
        @param owner: the connection that it is for, or C{None} for all.
        @raise AMQPError: it cannot be.
        """
        if name.startswith("amq."):
            text = f"queue name '{name}' contains reserved prefix 'amq.*'"
            raise access_refused(text)
        if arguments.get(QUEUE_TYPE) == QUORUM:
            _check_quorum(name, self.name, durable, owner, auto_delete)
        durable = durable and owner is None  # it ends with its connection
        name = name or f"amq.gen-{secrets.token_urlsafe(16)}"
        existing = self.queues.get(name)
        if existing is not None:
            self._check_same_queue(existing, durable, owner, auto_delete, arguments)
            self.used(existing)
            return existing
        what = f"queue '{name}' in vhost '{self.name}'"
        settings = read_arguments(arguments, what)
        queue = self._add_queue(
            Queue(
                next(self._ids),
                self,
                name,
                durable,
                owner,
                auto_delete,
                arguments,
                settings,
                _ready(settings),
            )
        )
        if queue.durable:
            self._journal.queue_declared(queue)
        return queue

    def _check_same_queue(
        self,
        queue: Queue,
        durable: bool,
        owner: object | None,
        auto_delete: bool,
        arguments: Mapping[str, Any],
    ) -> None:
        if queue.owner is not owner:
            raise resource_locked(self.name, queue.name)
        wanted = (
            ("durable", durable, queue.durable),
            ("auto_delete", auto_delete, queue.auto_delete),
        )
        check_same(str(queue), wanted)
        check_equivalent(queue.arguments, arguments, str(queue))
        read_arguments(arguments, str(queue))

    def _add_queue(self, queue: Queue) -> Queue:
        self.queues[queue.name] = queue
        self.used(queue)
        return queue

    def delete_queue(self, queue: Queue) -> None:
        """
        Remove a queue and what is in it, and cancel its consumers.
        """
        queue.deleted = True
        del self.queues[queue.name]
        self.exchanges.remove_incoming(queue)
        self.router.abandon(queue)
        if queue.durable:
            self._journal.queue_deleted(queue)
        for timer in (queue.expiry, queue.lifetime, queue.retry):
            if timer is not None:
                timer.cancel()
        consumers, queue.consumers = queue.consumers, []
        for consumer in consumers:
            consumer.cancelled()

    def connection_lost(self, connection: object) -> None:
        """
        Its exclusive queues go with it.
        """
        for queue in list(self.queues.values()):
            if queue.owner is connection:
                self.delete_queue(queue)

    def used(self, queue: Queue) -> None:
        """
        Somebody cares for the queue: its time to live begins anew.
        """
        queue.last_used = self._timers.now
        if queue.settings.expires is not None and queue.lifetime is None:
            self._look_later(queue, queue.settings.expires)

    def _look_later(self, queue: Queue, expires: float) -> None:
        time = queue.last_used + expires
        queue.lifetime = self._timers.at(time, lambda: self._still_used(queue, expires))

    def _still_used(self, queue: Queue, expires: float) -> None:
        queue.lifetime = None
        if queue.consumers or queue.last_used + expires > self._timers.now:
            if queue.consumers:
                queue.last_used = self._timers.now
            self._look_later(queue, expires)
        else:
            self.delete_queue(queue)

    # -- Consumers

    def consume(self, queue: Queue, consumer: QueueConsumer) -> None:
        """
        Another consumer of a queue.

        @raise AMQPChannelError: it cannot be.
        """
        alone = any(each.exclusive for each in queue.consumers[:1])  # or there are none
        single = queue.settings.single_active
        if (
            alone
            or (consumer.exclusive and single)
            or (consumer.exclusive and queue.consumers)
        ):
            raise access_refused(f"{queue} in exclusive use")
        queue.subscribe(consumer)

    def cancel(self, queue: Queue, consumer: QueueConsumer) -> None:
        """
        One less; an auto-delete queue goes with the last one.
        """
        queue.unsubscribe(consumer)
        if queue.consumers:
            self.router.deliver(queue)  # to another, if only one is active
        elif queue.auto_delete:
            self.delete_queue(queue)
        else:
            self.used(queue)

    # -- After a restart

    def restore_queue(self, record: QueueRecord) -> Queue:
        """
        A queue that was there before, and empty as yet.
        """
        arguments = decode_table(record.arguments)
        what = f"queue '{record.name}' in vhost '{self.name}'"
        settings = read_arguments(arguments, what)
        return self._add_queue(
            Queue(
                record.id,
                self,
                record.name,
                True,
                None,
                record.auto_delete,
                arguments,
                settings,
                _ready(settings),
                record.delivered,
            )
        )

    def restore_binding(self, record: BindingRecord) -> None:
        """
        A binding that was there before.
        """
        homes: Any = self.queues if record.to_queue else self.exchanges
        source = self.exchanges.get(record.source)
        destination = homes.get(record.destination)
        if source is None or destination is None:
            return
        table = decode_table(record.arguments)
        binding = source.binding(destination, record.key, table, record.arguments)
        if not source.add(binding):  # there twice, with its arguments in another order
            self._journal.unbound(self.name, binding)


def check_deletion(queue: Queue, *, if_unused: bool, if_empty: bool) -> None:
    """
    Refuse to delete a queue that is not as the client wants.

    @raise AMQPError: it is in use or not empty, or RabbitMQ does not look.
    """
    for name, asked in (("if-empty", if_empty), ("if-unused", if_unused)):
        if asked and queue.settings.quorum:
            text = f"cannot delete {queue}. queue.delete operations with {name} flag"
            raise not_implemented(f"{text} set are not supported by quorum queues")
    if if_unused and queue.consumers:
        raise precondition_failed(f"{queue} in use")
    if if_empty and queue.ready:
        raise precondition_failed(f"{queue} not empty")


def _ready(settings: QueueArguments) -> Ready:
    return Ready(settings.max_priority, returned_first=settings.quorum)


def _check_quorum(
    name: str, vhost: str, durable: bool, owner: object | None, auto_delete: bool
) -> None:
    """
    Refuse a quorum queue that does not outlive its connection, its consumers and the
    broker.

    @raise AMQPChannelError: it is one.
    """
    if not name:
        text = "Cannot declare a server-named queue for type rabbit_quorum_queue"
        raise precondition_failed(text)
    for found, what in (
        (auto_delete, "auto-delete"),
        (owner is not None, "exclusive-owner"),
        (not durable, "non-durable"),
    ):
        if found:
            text = f"invalid property '{what}' for queue '{name}' in vhost '{vhost}'"
            raise precondition_failed(text)
