"""
A queue, and what waits in it, as data.  Pure.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import attrs

from quebert._protocol.codec import Long
from quebert._protocol.extensions import ACQUIRED_COUNT, DELIVERY_COUNT
from quebert._protocol.properties import amend_properties
from quebert.broker.state._arguments import DROP_HEAD, QueueArguments
from quebert.broker.state._timers import Timer

__all__ = [
    "DeliveryCounts",
    "Entry",
    "PublishedMessage",
    "Queue",
    "Ready",
    "Receiver",
    "Stranded",
]

#: Bytes that a message takes in memory beside its body and properties, about.
_OVERHEAD = 400


@attrs.define(eq=False)
class PublishedMessage:
    """
    A message as it was published; several queues may share it.

    @ivar exchange: the name of the exchange that it was published to.
    @ivar routing_key: with which routing key.
    @ivar properties: encoded.
    @ivar body: its body.
    """

    exchange: str
    routing_key: str
    properties: bytes
    body: bytes

    @property
    def weight(self) -> int:
        """
        Bytes that it takes in memory, about.
        """
        return len(self.body) + len(self.properties) + _OVERHEAD


@attrs.define(eq=False)
class DeliveryCounts:
    """
    What a quorum queue counts of a message, as RabbitMQ 4.3 does.

    @ivar acquired: how often it came back from a consumer.
    @ivar failed: how often it came back since its delivery failed: it was rejected, or
        the channel or the connection was lost.
    @ivar out: whether it is with a consumer.
    """

    acquired: int = 0
    failed: int = 0
    out: bool = False

    def came_back(self, *, failed: bool) -> None:
        """
        A consumer has it no longer.
        """
        self.out = False
        self.acquired += 1
        self.failed += failed

    def headers(self) -> dict[str, int]:
        """
        The headers by which the next consumer is told.
        """
        named = {ACQUIRED_COUNT: self.acquired, DELIVERY_COUNT: self.failed}
        return {name: Long(count) for name, count in named.items() if count}


@attrs.define(eq=False)
class Entry:
    """
    A message in one queue.

    @ivar id: a later one has a greater one.
    @ivar size: bytes of the body.
    @ivar priority: that of the message, as far as the queue has priorities.
    @ivar expires: when, in seconds of the epoch, or C{None}.
    @ivar stored: whether the journal has it.
    @ivar message: C{None} while only the journal has it.
    @ivar redelivered: whether it may have been delivered before.
    @ivar counts: C{None} in a queue that does not count.
    """

    id: int
    size: int
    priority: int
    expires: float | None
    stored: bool
    message: PublishedMessage | None
    redelivered: bool = False
    counts: DeliveryCounts | None = None

    def content(self) -> PublishedMessage:
        """
        The message as its next consumer gets it.
        """
        assert self.message is not None
        if self.counts is None or not self.counts.acquired:
            return self.message
        properties = amend_properties(
            self.message.properties, changes={}, headers=self.counts.headers()
        )
        return attrs.evolve(self.message, properties=properties)


class _Lane:
    """
    What is ready of one priority.  What was given back has a place: that of its id, or
    one before all ids.
    """

    __slots__ = ("fresh", "returned")

    def __init__(self) -> None:
        self.fresh: deque[Entry] = deque()
        self.returned: list[tuple[int, Entry]] = []  # a heap

    def __bool__(self) -> bool:
        return bool(self.fresh or self.returned)

    def _returned_first(self) -> bool:
        return bool(self.returned) and (
            not self.fresh or self.returned[0][0] < self.fresh[0].id
        )

    def head(self) -> Entry:
        return self.returned[0][1] if self._returned_first() else self.fresh[0]

    def pop(self) -> Entry:
        if self._returned_first():
            return heapq.heappop(self.returned)[1]
        return self.fresh.popleft()

    def __iter__(self) -> Iterator[Entry]:
        yield from (entry for _, entry in self.returned)
        yield from self.fresh


class Ready:
    """
    What waits to be delivered, the most urgent and then the oldest first.

    @param max_priority: above it, priorities make no difference.
    @param returned_first: what was given back goes before all that was not, in the
        order in which it came back, as in RabbitMQ's quorum queues; else it gets the
        place that it had, as in classic queues.
    """

    def __init__(self, max_priority: int = 0, *, returned_first: bool = False) -> None:
        self._most = max_priority
        self._places = itertools.count(-(2**62)) if returned_first else None
        self._lanes = [_Lane() for _ in range(max_priority + 1)]
        self._length = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self._length

    def _lane(self, entry: Entry) -> _Lane:
        return self._lanes[self._most - min(entry.priority, self._most)]

    def push(self, entry: Entry) -> None:
        """
        A new one.
        """
        self._lane(entry).fresh.append(entry)
        self._length += 1
        self.bytes += entry.size

    def put_back(self, entry: Entry) -> None:
        """
        One that was popped before.
        """
        place = entry.id if self._places is None else next(self._places)
        heapq.heappush(self._lane(entry).returned, (place, entry))
        self._length += 1
        self.bytes += entry.size

    def head(self) -> Entry:
        """
        The one that L{pop} would give.
        """
        return next(lane for lane in self._lanes if lane).head()

    def pop(self) -> Entry:
        """
        Take out the next one.

        @raise StopIteration: there is none.
        """
        return self._taken(next(lane for lane in self._lanes if lane))

    def _taken(self, lane: _Lane) -> Entry:
        entry = lane.pop()
        self._length -= 1
        self.bytes -= entry.size
        return entry

    def next_expiry(self) -> float | None:
        """
        When the first one expires that is the head of its priority.
        """
        heads = [lane.head().expires for lane in self._lanes if lane]
        return min((time for time in heads if time is not None), default=None)

    def pop_expired(self, now: float) -> Iterator[Entry]:
        """
        Take out those that have expired, as far as none before them has not.
        """
        for lane in self._lanes:
            while lane and (time := lane.head().expires) is not None and time <= now:
                yield self._taken(lane)

    def __iter__(self) -> Iterator[Entry]:
        """
        About in their order.
        """
        for lane in self._lanes:
            yield from lane


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


class Receiver(Protocol):
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
    consumers: list[Receiver] = attrs.field(factory=list)
    waiting: OrderedDict[Receiver, None] = attrs.field(factory=OrderedDict)
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

    def subscribe(self, consumer: Receiver) -> None:
        """
        Another consumer.
        """
        self.consumers.append(consumer)
        self.wake(consumer)

    def unsubscribe(self, consumer: Receiver) -> None:
        """
        One less; where only one is active, another becomes it.
        """
        self.consumers.remove(consumer)
        self.waiting.pop(consumer, None)
        if self.settings.single_active and self.consumers:
            self.wake(self.consumers[0])

    def wake(self, consumer: Receiver) -> None:
        """
        It may have room again.
        """
        if self._active(consumer):
            self.waiting.setdefault(consumer)

    def _active(self, consumer: Receiver) -> bool:
        return not self.settings.single_active or consumer is self.consumers[0]

    def next_consumer(self) -> Receiver | None:
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
        Whether a message of C{more} bytes would be too much.
        """
        return self._over(len(self.ready) + 1, self.ready.bytes + more)

    def drops_head(self) -> bool:
        """
        Whether the head is to go, since there is more than there may be.  A queue that
        refuses messages drops none: what is given back may be too much for a while.
        """
        return self.settings.overflow == DROP_HEAD and self._over(
            len(self.ready), self.ready.bytes
        )

    def _over(self, length: int, size: int) -> bool:
        most, most_bytes = self.settings.max_length, self.settings.max_bytes
        return (most is not None and length > most) or (
            most_bytes is not None and size > most_bytes
        )
