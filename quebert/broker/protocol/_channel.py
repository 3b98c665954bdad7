"""
A channel, as the broker has it: its consumers, and what was delivered over it and
is not settled yet.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterable

import attrs

from quebert._protocol.basic import deliver, deliver_head
from quebert.broker.protocol._channel_writer import ChannelWriter, ServerChannelOwner
from quebert.broker.protocol._publishing import Publishing
from quebert.broker.state import Entry, Queue, not_allowed, precondition_failed

__all__ = ["ServerChannel", "ServerConsumer"]


@attrs.define(eq=False)
class ServerConsumer:
    """
    One who gets what is in a queue.

    @ivar limit: how many unsettled deliveries it may have, 0 for any number.
    @ivar unsettled: how many it has.
    """

    channel: ServerChannel
    queue: Queue
    tag: str
    no_ack: bool
    exclusive: bool
    limit: int
    unsettled: int = 0
    _head: bytes = b""

    def __attrs_post_init__(self) -> None:
        self._head = deliver_head(self.tag)

    @property
    def has_room(self) -> bool:
        """
        Whether it takes another message now.
        """
        channel = self.channel
        if channel.closing or channel.writer.connection.congested:
            return False
        if self.no_ack:
            return True
        if self.limit and self.unsettled >= self.limit:
            return False
        return not channel.limit or channel.unsettled < channel.limit

    def receive(self, queue: Queue, entry: Entry) -> None:
        """
        Here is a message.
        """
        tag = self.channel.delivered(queue, entry, None if self.no_ack else self)
        message = entry.content()
        place = message.exchange, message.routing_key
        method = deliver(self._head, tag, entry.redelivered, *place)
        self.channel.writer.write_content(method, message)

    def cancelled(self) -> None:
        """
        Its queue is gone.
        """
        self.channel.consumer_cancelled(self)


@attrs.frozen(eq=False)
class _Delivery:
    queue: Queue
    entry: Entry
    consumer: ServerConsumer | None


class ServerChannel:
    """
    @ivar writer: what is written to.
    @ivar publishing: what is being published over it.
    @ivar last_queue: the queue that was declared last over it, or C{""}.
    @ivar prefetch: what a new consumer's limit is.
    @ivar limit: of unsettled deliveries over the whole channel, 0 for none.
    @ivar unsettled: how many those are.
    @ivar closing: whether it ends, or the client has yet to agree that it has ended:
        its consumers get nothing any more.
    """

    def __init__(self, number: int, connection: ServerChannelOwner) -> None:
        self.writer = ChannelWriter(number, connection)
        self.vhost = connection.vhost
        self.publishing = Publishing(self.writer)
        self.last_queue = ""
        self.consumers: dict[str, ServerConsumer] = {}
        self.prefetch = 0
        self.limit = 0
        self.unsettled = 0
        self.closing = False
        # Unlike a dict, it does not look at what was taken before when it begins anew.
        self._unacked: OrderedDict[int, _Delivery] = OrderedDict()
        self._last_tag = 0

    # -- Deliveries

    def delivered(
        self, queue: Queue, entry: Entry, consumer: ServerConsumer | None
    ) -> int:
        """
        The tag of a delivery, which is to be settled if it has a consumer.
        """
        self._last_tag += 1
        if consumer is not None:
            consumer.unsettled += 1
            self.unsettled += 1
            self._unacked[self._last_tag] = _Delivery(queue, entry, consumer)
        return self._last_tag

    def got(self, queue: Queue, entry: Entry, *, no_ack: bool) -> int:
        """
        The tag of what C{basic.get} gave; it does not count for the limits.
        """
        self._last_tag += 1
        if no_ack:
            self.vhost.router.settle(queue, entry)
        else:
            self._unacked[self._last_tag] = _Delivery(queue, entry, None)
        return self._last_tag

    def ack(self, tag: int, *, multiple: bool) -> None:
        """
        Deliveries are done.

        @raise AMQPChannelError: they are not to be settled.
        """
        settle = self.vhost.router.settle
        deliveries = self._take(tag, multiple)
        for each in deliveries:
            settle(each.queue, each.entry)
        self._settled(deliveries)

    def reject(self, tag: int, *, multiple: bool) -> None:
        """
        Reject without requeue: dead-letter or drop.

        @raise AMQPChannelError: they are not to be settled.
        """
        deliveries = self._take(tag, multiple)
        for queue, entries in _by_queue(deliveries).items():
            self.vhost.router.reject(queue, entries)
        self._settled(deliveries)

    def requeue(self, tag: int, *, multiple: bool, failed: bool) -> None:
        """
        Requeue deliveries.

        @param failed: whether a quorum queue counts that as a failure.
        @raise AMQPChannelError: they are not to be settled.
        """
        deliveries = self._take(tag, multiple)
        for queue, entries in _by_queue(deliveries).items():
            self.vhost.router.requeue(queue, entries, failed=failed)
        self._settled(deliveries)

    def _take(self, tag: int, multiple: bool) -> list[_Delivery]:
        unacked = self._unacked
        if multiple and tag == 0:
            tags = list(unacked)
        elif tag not in unacked:
            raise precondition_failed(f"unknown delivery tag {tag}")
        elif multiple:
            tags = []
            for each in unacked:
                if each > tag:
                    break
                tags.append(each)
        else:
            tags = [tag]
        deliveries = [unacked.pop(each) for each in tags]
        for delivery in deliveries:
            if delivery.consumer is not None:
                delivery.consumer.unsettled -= 1
                self.unsettled -= 1
        return deliveries

    def _settled(self, deliveries: Iterable[_Delivery]) -> None:
        if self.limit:
            self.wake()
            return
        consumers = {each.consumer: None for each in deliveries}
        self._wake(consumer for consumer in consumers if consumer is not None)

    def wake(self) -> None:
        """
        The consumers may have room again.
        """
        self._wake(self.consumers.values())

    def _wake(self, consumers: Iterable[ServerConsumer]) -> None:
        live = [each for each in consumers if self.consumers.get(each.tag) is each]
        for consumer in live:
            consumer.queue.wake(consumer)
        for queue in {consumer.queue: None for consumer in live}:
            self.vhost.router.deliver(queue)

    # -- Consumers

    def consume(
        self, queue: Queue, tag: str, *, no_ack: bool, exclusive: bool
    ) -> ServerConsumer:
        """
        A new consumer, which gets nothing before L{wake}.

        @param tag: with C{""} one is made up.
        @raise AMQPError: there cannot be such a consumer.
        """
        if tag in self.consumers:
            raise not_allowed(f"attempt to reuse consumer tag '{tag}'")
        tag = tag or f"amq.ctag-{secrets.token_urlsafe(16)}"
        consumer = ServerConsumer(self, queue, tag, no_ack, exclusive, self.prefetch)
        self.vhost.consume(queue, consumer)
        self.consumers[tag] = consumer
        return consumer

    def cancel(self, tag: str) -> None:
        """
        A consumer gets nothing more; it is fine if there is none.
        """
        consumer = self.consumers.pop(tag, None)
        if consumer is not None:
            self.vhost.cancel(consumer.queue, consumer)

    def consumer_cancelled(self, consumer: ServerConsumer) -> None:
        """
        The queue of a consumer is gone.
        """
        self.consumers.pop(consumer.tag, None)
        if self.writer.connection.wants_cancels:
            self.writer.call("basic.cancel", consumer.tag, True)

    def end(self) -> None:
        """
        The channel is closed: what is not settled goes back.
        """
        self.publishing.end()
        self.closing = True
        consumers, self.consumers = self.consumers, {}
        self.requeue(0, multiple=True, failed=True)
        for consumer in consumers.values():
            self.vhost.cancel(consumer.queue, consumer)


def _by_queue(deliveries: Iterable[_Delivery]) -> dict[Queue, list[Entry]]:
    found: dict[Queue, list[Entry]] = {}
    for each in deliveries:
        found.setdefault(each.queue, []).append(each.entry)
    return found
