"""
A queue: its consumers and whose turn it is, its limits, and what else is known of it.
Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import attrs

from quebert.broker.state._arguments import DROP_HEAD, QueueArguments
from quebert.broker.state._entry import Entry
from quebert.broker.state._ready import Ready
from quebert.broker.state._timers import Timer

__all__ = ["Queue", "QueueConsumer", "Stranded"]


class Topology(Protocol):
    """
    The exchanges and queues of a virtual host.
    """

    @property
    def name(self) -> str:
        """
        The name of the virtual host.
        """

    def has_exchange(self, name: str) -> bool:
        """
        Whether there is an exchange of that name.
        """

    def reached_from(
        self, exchange: str, keys: Iterable[str], headers: Mapping[str, Any]
    ) -> list[Queue]:
        """
        The queues that a message reaches from the exchange of that name, each once.
        """


class QueueConsumer(Protocol):
    """
    What a queue knows of a consumer.
    """

    tag: str
    no_ack: bool
    exclusive: bool

    @property
    def has_room(self) -> bool:
        """
        Whether it takes another message now.
        """

    def receive(self, queue: Queue, entry: Entry) -> None:
        """
        Here is one.
        """

    def cancelled(self) -> None:
        """
        Its queue is gone.
        """


@attrs.frozen(eq=False)
class Stranded:
    """
    A dead letter that could not be sent on.

    @ivar reason: why it has died.
    @ivar reached: the queues that have taken it, and get it no more.
    """

    entry: Entry
    reason: str
    reached: set[Queue]


@attrs.define(eq=False)
class Queue:
    """
    A queue.

    @ivar id: by which the journal knows it.
    @ivar vhost: its virtual host.
    @ivar name: its name.
    @ivar durable: whether it is there again after a restart.
    @ivar owner: the connection that it is exclusive to, or C{None}.
    @ivar auto_delete: whether it goes with its last consumer.
    @ivar arguments: as they came, by name.
    @ivar settings: what its arguments mean.
    @ivar ready: its messages that no consumer has.
    @ivar delivered: the greatest id of an entry that was ever delivered.
    @ivar unacked: how many messages consumers have.
    @ivar consumers: who gets its messages.
    @ivar waiting: consumers that had room, last we knew: the next is the first.
    @ivar incoming: its bindings.
    @ivar may_expire: whether an entry with a time to expire has been in it.
    @ivar expiry: when the next entry is looked at that may have expired.
    @ivar lifetime: when it is looked whether the queue is used.
    @ivar stranded: dead letters that could not be sent on.
    @ivar retry: when it is tried again to send them on.
    @ivar last_used: when it was last used, by the clock of the broker.
    @ivar deleted: whether it is gone.
    """

    id: int
    vhost: Topology
    name: str
    durable: bool
    owner: object | None
    auto_delete: bool
    arguments: Mapping[str, Any]
    settings: QueueArguments
    ready: Ready
    delivered: int = 0
    unacked: int = 0
    consumers: list[QueueConsumer] = attrs.field(factory=list)
    waiting: OrderedDict[QueueConsumer, None] = attrs.field(factory=OrderedDict)
    incoming: set[Any] = attrs.field(factory=set)
    may_expire: bool = False
    expiry: Timer | None = None
    lifetime: Timer | None = None
    stranded: list[Stranded] = attrs.field(factory=list)
    retry: Timer | None = None
    last_used: float = 0.0
    deleted: bool = False

    def __str__(self) -> str:
        return f"queue '{self.name}' in vhost '{self.vhost.name}'"

    def subscribe(self, consumer: QueueConsumer) -> None:
        """
        Another consumer.
        """
        self.consumers.append(consumer)
        self.wake(consumer)

    def unsubscribe(self, consumer: QueueConsumer) -> None:
        """
        One less; where only one is active, another becomes it.
        """
        self.consumers.remove(consumer)
        self.waiting.pop(consumer, None)
        if self.settings.single_active and self.consumers:
            self.wake(self.consumers[0])

    def wake(self, consumer: QueueConsumer) -> None:
        """
        It may have room again.
        """
        if self._active(consumer):
            self.waiting.setdefault(consumer)

    def _active(self, consumer: QueueConsumer) -> bool:
        return not self.settings.single_active or consumer is self.consumers[0]

    def next_consumer(self) -> QueueConsumer | None:
        """
        Whose turn it is, of those that have room.
        """
        while self.waiting:
            consumer = next(iter(self.waiting))
            if consumer.has_room:
                self.waiting.move_to_end(consumer)
                return consumer
            del self.waiting[consumer]
        return None

    def is_full(self, more: int) -> bool:
        """
        Whether a limit of the queue would be exceeded by a message of C{more} bytes.
        """
        return self._over(len(self.ready) + 1, self.ready.bytes + more)

    def drops_head(self) -> bool:
        """
        Whether the first message is to be dropped, since a limit is exceeded.  A queue
        that refuses messages drops none: messages that are given back may exceed its
        limit for a while.
        """
        return self.settings.overflow == DROP_HEAD and self._over(
            len(self.ready), self.ready.bytes
        )

    def _over(self, length: int, size: int) -> bool:
        most, most_bytes = self.settings.max_length, self.settings.max_bytes
        return (most is not None and length > most) or (
            most_bytes is not None and size > most_bytes
        )
