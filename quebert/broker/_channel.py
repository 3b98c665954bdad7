"""
A channel, as the broker has it: what was delivered over it and is not settled
yet, its consumers, and what is being published over it.

Knows frames, but no sockets: it writes to its L{Peer}.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterable
from typing import Any, Protocol

import attrs

from quebert._protocol.codec import encode_shortstr
from quebert._protocol.frames import BODY, CONTENT_HEADER, HEADER, METHOD, ack, frame
from quebert.broker._errors import (
    ConnectionError,
    access_refused,
    not_allowed,
    precondition_failed,
)
from quebert.broker._methods import method_frame
from quebert.broker._queue import Entry, Message, Queue
from quebert.broker._vhost import VirtualHost
from quebert.broker._wishes import read_wishes

__all__ = ["Channel", "Consumer", "Peer"]

#: Bytes that the body of a message may have, as RabbitMQ has it.
MOST_BODY = 2**27
_CLASS_BASIC = 60
_DELIVER = struct.pack(">HH", _CLASS_BASIC, 60)
_TAG = struct.Struct(">QB")
_NO_ROUTE = (312, "NO_ROUTE")


class Peer(Protocol):
    """
    What a channel knows of its connection.

    @ivar congested: whether what is written waits for the client to read.
    @ivar max_payload: the largest payload of a frame, in bytes.
    """

    vhost: VirtualHost
    user: str
    wants_cancels: bool

    @property
    def congested(self) -> bool: ...

    @property
    def max_payload(self) -> int: ...

    def write(self, data: bytes) -> None:
        """
        Send it at the end of this turn.
        """

    def confirming(self, channel: Channel) -> None:
        """
        The channel has something to confirm at the end of this turn.
        """


@attrs.define(eq=False)
class Consumer:
    """
    One who gets what is in a queue.

    @ivar limit: how many unsettled deliveries it may have, 0 for any number.
    @ivar unsettled: how many it has.
    """

    channel: Channel
    queue: Queue
    tag: str
    no_ack: bool
    exclusive: bool
    limit: int
    unsettled: int = 0
    _head: bytes = b""

    def __attrs_post_init__(self) -> None:
        self._head = _DELIVER + encode_shortstr(self.tag)

    @property
    def has_room(self) -> bool:
        """
        Whether it takes another message now.
        """
        channel = self.channel
        if channel.peer.congested:
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
        message = entry.message
        assert message is not None
        method = b"".join(
            (
                self._head,
                _TAG.pack(tag, entry.redelivered),
                encode_shortstr(message.exchange),
                encode_shortstr(message.routing_key),
            )
        )
        self.channel.write_content(method, message)

    def cancelled(self) -> None:
        """
        Its queue is gone.
        """
        self.channel.consumer_cancelled(self)


@attrs.frozen(eq=False)
class _Delivery:
    queue: Queue
    entry: Entry
    consumer: Consumer | None


@attrs.define
class _Publication:
    """
    What is being published: its method, its header, and what there is of its
    body.
    """

    exchange: str
    routing_key: str
    mandatory: bool
    properties: bytes | None = None
    size: int = 0
    body: bytearray | bytes = b""


class Channel:
    """
    @ivar last_queue: the queue that was declared last over it, or C{""}.
    @ivar prefetch: what a new consumer's limit is.
    @ivar limit: of unsettled deliveries over the whole channel, 0 for none.
    @ivar unsettled: how many those are.
    @ivar closing: whether the client has yet to agree that it is closed.
    """

    def __init__(self, number: int, peer: Peer) -> None:
        self.number = number
        self.peer = peer
        self.vhost = peer.vhost
        self.last_queue = ""
        self.consumers: dict[str, Consumer] = {}
        self.prefetch = 0
        self.limit = 0
        self.unsettled = 0
        self.closing = False
        self._unacked: dict[int, _Delivery] = {}
        self._last_tag = 0
        self._confirms = False
        self._last_publication = 0
        self._last_confirmed = 0
        self._publication: _Publication | None = None

    # -- Writing

    def call(self, name: str, *arguments: Any) -> None:
        """
        Send the client a method.
        """
        self.peer.write(method_frame(self.number, name, arguments))

    def write_content(self, method: bytes, message: Message) -> None:
        """
        Send a method that a message belongs to.
        """
        number, body, most = self.number, message.body, self.peer.max_payload
        header = CONTENT_HEADER.pack(_CLASS_BASIC, 0, len(body)) + message.properties
        pieces = [frame(METHOD, number, method), frame(HEADER, number, header)]
        if len(body) <= most:
            if body:
                pieces.append(frame(BODY, number, body))
        else:
            starts = range(0, len(body), most)
            pieces += [frame(BODY, number, body[at : at + most]) for at in starts]
        self.peer.write(b"".join(pieces))

    # -- Publishing

    @property
    def confirms(self) -> bool:
        """
        Whether publications are confirmed.
        """
        return self._confirms

    def confirm(self) -> None:
        """
        From now on they are.
        """
        self._confirms = True

    def publish(self, exchange: str, routing_key: str, *, mandatory: bool) -> None:
        """
        A message is about to come.
        """
        self._publication = _Publication(exchange, routing_key, mandatory)

    @property
    def expects(self) -> int:
        """
        What kind of frame is to come next.
        """
        publication = self._publication
        if publication is None:
            return METHOD
        return HEADER if publication.properties is None else BODY

    def header_received(self, payload: bytes) -> None:
        """
        The header of the message.

        @raise AmqpError: it is not as it should be.
        """
        klass, _, size = CONTENT_HEADER.unpack_from(payload)
        publication = self._publication
        assert publication is not None
        if klass != _CLASS_BASIC:
            text = f"expected content header for class 60, got one for class {klass}"
            raise ConnectionError(505, f"UNEXPECTED_FRAME - {text} instead")
        if size > MOST_BODY:
            text = f"message size {size} is larger than configured max size {MOST_BODY}"
            raise precondition_failed(text)
        publication.properties, publication.size = payload[12:], size
        if not size:
            self._published(publication)

    def body_received(self, payload: bytes) -> None:
        """
        Some of its body.

        @raise AmqpError: it is too much, or the message cannot be published.
        """
        publication = self._publication
        assert publication is not None
        there = len(publication.body) + len(payload)
        if there > publication.size:
            text = f"{there} bytes of a body came where {publication.size} were to"
            raise ConnectionError(501, f"FRAME_ERROR - {text}")
        if publication.body:
            assert isinstance(publication.body, bytearray)
            publication.body += payload
        elif there < publication.size:
            publication.body = bytearray(payload)
        else:
            publication.body = payload
        if there == publication.size:
            self._published(publication)

    def _published(self, publication: _Publication) -> None:
        self._publication = None
        exchange = self.vhost.exchange(publication.exchange)
        if exchange.internal:
            text = f"cannot publish to internal exchange '{exchange.name}'"
            raise access_refused(f"{text} in vhost '{self.vhost.name}'")
        assert publication.properties is not None
        wishes = read_wishes(publication.properties)
        if wishes.user is not None and wishes.user != self.peer.user:
            text = f"user_id property set to '{wishes.user}' but authenticated user was"
            raise precondition_failed(f"{text} '{self.peer.user}'")
        if self._confirms:
            self._last_publication += 1
        key, body = publication.routing_key, bytes(publication.body)
        message = Message(exchange.name, key, wishes.properties, body)
        keys = (key, *wishes.further_keys)
        queues = self.vhost.route(exchange, keys, wishes.headers)
        if publication.mandatory and not queues:
            self._return(message)
        taken = self.vhost.traffic.publish(queues, message, wishes)
        if self._confirms and taken:
            self.peer.confirming(self)
        elif self._confirms:
            self._confirm_up_to(self._last_publication - 1)
            self.call("basic.nack", self._last_publication, False, False)
            self._last_confirmed = self._last_publication

    def _return(self, message: Message) -> None:
        method = method_frame(
            self.number,
            "basic.return",
            (*_NO_ROUTE, message.exchange, message.routing_key),
        )
        self.write_content(method[7:-1], message)

    def confirm_all(self) -> None:
        """
        What was published so far is where it is to be.
        """
        self._confirm_up_to(self._last_publication)

    def _confirm_up_to(self, last: int) -> None:
        if (count := last - self._last_confirmed) > 0:
            self.peer.write(ack(self.number, last, multiple=count > 1))
            self._last_confirmed = last

    # -- Deliveries

    def delivered(self, queue: Queue, entry: Entry, consumer: Consumer | None) -> int:
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
            self.vhost.traffic.settle(queue, entry)
        else:
            self._unacked[self._last_tag] = _Delivery(queue, entry, None)
        return self._last_tag

    def ack(self, tag: int, *, multiple: bool) -> None:
        """
        Deliveries are done.

        @raise ChannelError: they are not to be settled.
        """
        settle = self.vhost.traffic.settle
        deliveries = self._take(tag, multiple)
        for each in deliveries:
            settle(each.queue, each.entry)
        self._settled(deliveries)

    def reject(self, tag: int, *, multiple: bool, requeue: bool) -> None:
        """
        Deliveries go back, or nobody is to have them.

        @raise ChannelError: they are not to be settled.
        """
        deliveries = self._take(tag, multiple)
        traffic = self.vhost.traffic
        handle = traffic.requeue if requeue else traffic.reject
        for queue, entries in _by_queue(deliveries).items():
            handle(queue, entries)
        self._settled(deliveries)

    def recover(self) -> None:
        """
        All deliveries go back.
        """
        deliveries = self._take(0, multiple=True)
        for queue, entries in _by_queue(deliveries).items():
            self.vhost.traffic.requeue(queue, entries)
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

    def _wake(self, consumers: Iterable[Consumer]) -> None:
        live = [each for each in consumers if self.consumers.get(each.tag) is each]
        for consumer in live:
            consumer.queue.wake(consumer)
        for queue in {consumer.queue: None for consumer in live}:
            self.vhost.traffic.deliver(queue)

    # -- Consumers

    def consume(
        self, queue: Queue, tag: str, *, no_ack: bool, exclusive: bool
    ) -> Consumer:
        """
        A new consumer, which gets nothing before L{wake}.

        @param tag: with C{""} one is made up.
        @raise AmqpError: there cannot be such a consumer.
        """
        if tag in self.consumers:
            raise not_allowed(f"attempt to reuse consumer tag '{tag}'")
        tag = tag or f"amq.ctag-{secrets.token_urlsafe(16)}"
        consumer = Consumer(self, queue, tag, no_ack, exclusive, self.prefetch)
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

    def consumer_cancelled(self, consumer: Consumer) -> None:
        """
        The queue of a consumer is gone.
        """
        self.consumers.pop(consumer.tag, None)
        if self.peer.wants_cancels:
            self.call("basic.cancel", consumer.tag, True)

    def end(self) -> None:
        """
        The channel is closed: what is not settled goes back.
        """
        self.confirm_all()
        self.closing = True
        self._publication = None
        consumers, self.consumers = self.consumers, {}
        # None of ours is to get what another of ours gives back.
        for consumer in consumers.values():
            consumer.queue.waiting.pop(consumer, None)
        self.recover()
        for consumer in consumers.values():
            self.vhost.cancel(consumer.queue, consumer)


def _by_queue(deliveries: Iterable[_Delivery]) -> dict[Queue, list[Entry]]:
    found: dict[Queue, list[Entry]] = {}
    for each in deliveries:
        found.setdefault(each.queue, []).append(each.entry)
    return found
