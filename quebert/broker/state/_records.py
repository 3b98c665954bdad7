"""
What of a broker outlives its process, as it is read when it starts.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

__all__ = [
    "BindingRecord",
    "EntryRecord",
    "ExchangeRecord",
    "QueueRecord",
    "Records",
]


@attrs.frozen
class ExchangeRecord:
    """
    @ivar vhost: the name of its virtual host.
    @ivar name: its name.
    @ivar type: such as C{"topic"}.
    @ivar auto_delete: whether it goes with its last binding.
    @ivar internal: whether clients cannot publish to it.
    @ivar arguments: an encoded table.
    """

    vhost: str
    name: str
    type: str
    auto_delete: bool
    internal: bool
    arguments: bytes


@attrs.frozen
class QueueRecord:
    """
    @ivar id: by which the journal knows it.
    @ivar vhost: the name of its virtual host.
    @ivar name: its name.
    @ivar auto_delete: whether it goes with its last consumer.
    @ivar arguments: an encoded table.
    @ivar delivered: the greatest id of an entry that was ever delivered.
    """

    id: int
    vhost: str
    name: str
    auto_delete: bool
    arguments: bytes
    delivered: int


@attrs.frozen
class BindingRecord:
    """
    @ivar vhost: the name of its virtual host.
    @ivar source: the name of the exchange that messages come from.
    @ivar destination: the name of the queue or exchange that they go to.
    @ivar to_queue: whether the destination is a queue, not an exchange.
    @ivar key: its routing key.
    @ivar arguments: an encoded table.
    """

    vhost: str
    source: str
    destination: str
    to_queue: bool
    key: str
    arguments: bytes


@attrs.frozen
class EntryRecord:
    """
    @ivar id: a later one has a greater one.
    @ivar queue: the id of its queue.
    @ivar priority: that of the message.
    @ivar expires: the time of day, in seconds of the epoch, or C{None}.
    @ivar size: bytes of the body.
    @ivar acquired: how often it came back from a consumer, as a quorum queue counts.
    @ivar failed: how often its delivery failed.
    @ivar out: whether it was with a consumer; for a dead letter that waits to be sent
        on, why it has died.
    """

    id: int
    queue: int
    priority: int
    expires: float | None
    size: int
    acquired: int
    failed: int
    out: int | str


@attrs.frozen
class Records:
    """
    All of it.

    @ivar exchanges: all that are durable.
    @ivar queues: all that are durable.
    @ivar bindings: all between those.
    @ivar entries: by their ids.
    @ivar last_id: the greatest id that was ever given to a queue or an entry.
    """

    exchanges: Iterable[ExchangeRecord] = ()
    queues: Iterable[QueueRecord] = ()
    bindings: Iterable[BindingRecord] = ()
    entries: Iterable[EntryRecord] = ()
    last_id: int = 0
