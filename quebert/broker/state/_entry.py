"""
A message, and its place in one queue: what the queue counts of it, and what its next
consumer gets.  Pure.
"""

from __future__ import annotations

import attrs

from quebert._protocol.extensions import ACQUIRED_COUNT, DELIVERY_COUNT
from quebert._protocol.properties import amend_properties
from quebert._protocol.values import Long

__all__ = ["DeliveryCounts", "Entry", "PublishedMessage"]

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
    @ivar died: why it is a dead letter, while it waits to be sent on; else empty.
    """

    acquired: int = 0
    failed: int = 0
    out: bool = False
    died: str = ""

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
