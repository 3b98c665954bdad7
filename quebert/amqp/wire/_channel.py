"""
One AMQP channel: methods that are answered, deliveries, and publications with
their confirms.

C{basic.deliver}, C{basic.get}, C{basic.return} and confirms, with their contents,
are read here, and C{basic.publish}, C{basic.ack} and C{basic.nack} written here,
without txamqp's queues; any other method goes through them.  Knows no reconnecting,
and nothing of what messages mean.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from txamqp.message import Message as Reply
from txamqp.protocol import AMQChannel

from quebert._bounds import MESSAGE
from quebert._protocol.basic import (
    SETTLEMENT,
    nack_with_requeue,
    publish_mandatory,
    read_deliver,
    read_get_ok,
)
from quebert._protocol.content import (
    CONTENT_HEADER,
    ContentReader,
    content_head,
    content_pieces,
    whole_content,
)
from quebert._protocol.methods import METHODS
from quebert._protocol.values import CodecError
from quebert._transport_writer import TransportWriter
from quebert._waiters import Waiters
from quebert.amqp.wire._acks import Acks
from quebert.amqp.wire._basic_get import Gets
from quebert.amqp.wire._message import Message
from quebert.amqp.wire._prefetch import Prefetch
from quebert.amqp.wire._publication_group import (
    GroupWrites,
    Outgoing,
    PublicationGroup,
)
from quebert.amqp.wire._publications import (
    LAST_TAG,
    NotSent,
    Publication,
    Publications,
    ReturnedMessage,
)
from quebert.amqp.wire._unanswered import Waiting
from quebert.errors import (
    BrokerError,
    ChannelLost,
    MessageRefused,
    ProtocolError,
    ReplyCode,
)

__all__ = ["Channel"]

# Class and method of what does not take txamqp's way.
_RETURN, _DELIVER, _GET_OK, _GET_EMPTY, _ACK, _NACK = (
    METHODS[f"basic.{name}"].index
    for name in ("return", "deliver", "get-ok", "get-empty", "ack", "nack")
)


def _unexpected(_delivery: object) -> None:
    text = "the broker sent a delivery where nothing is consumed"
    raise ProtocolError(ReplyCode.COMMAND_INVALID, text)


def _unexpected_cancel(consumer_tag: str) -> None:
    text = "the broker ended an unknown consumer"
    raise ProtocolError(ReplyCode.COMMAND_INVALID, text)


def _unwanted(message: Message) -> None:
    """
    The broker delivers it again, when the channel is closed.
    """


class ChannelOwner(Protocol):
    """
    The connection that a channel belongs to.
    """

    @property
    def output(self) -> TransportWriter:
        """
        Where frames are written to.
        """

    @property
    def clock(self) -> IReactorTime:
        """
        The clock.
        """

    @property
    def blocked(self) -> str | None:
        """
        Why the broker reads no publications for now, or C{None}.
        """


class Channel(AMQChannel):  # type: ignore[misc]
    """
    One channel: methods by name with L{call}; and those that are written without
    txamqp: L{publish}, L{get}, L{ack} and L{give_back}.

    @ivar message_type: makes messages of what is delivered to consumers: L{Message}, or
        a class that has more.
    @ivar on_message: called with each message delivered.  It is to be set before the
        method of a delivery comes.
    @ivar on_cancel: called with the consumer tag of a C{basic.cancel} of the broker:
        the queue was deleted, its node is lost, or (since RabbitMQ 4.3) a message of a
        quorum queue was held for too long.
    @ivar why: why it was closed, or C{None}.
    @ivar publications: what was published and is not confirmed yet.
    @ivar acks: the acknowledgements that are sent at the end of the turn.
    @ivar ack: acknowledges one delivery of this channel, by its tag: L{Acks.done}.
    @ivar header_received: takes a content header: L{ContentReader.header_received}.
    @ivar body_received: takes a piece of a body: L{ContentReader.body_received}.
    """

    def __init__(self, id: int, outgoing: object, client: ChannelOwner) -> None:
        super().__init__(id, outgoing, client)
        self.message_type: type[Message] = Message
        self.on_message: Callable[[Any], None] = _unexpected
        self.on_cancel: Callable[[str], None] = _unexpected_cancel
        self.why: BrokerError | None = None
        self._content = ContentReader()
        self.header_received = self._content.header_received
        self.body_received = self._content.body_received
        self._prefetch = Prefetch()
        # The methods that were called and are to be answered, and who waits for that.
        self._asked: deque[tuple[Any, Deferred[Any]]] = deque()
        write = client.output.write
        self.publications = Publications(lambda: client.blocked is not None)
        self._gets = Gets(id, write)
        self.acks = Acks(id, client.output.write_last, client.clock)
        self.ack = self.acks.done
        self._until_closed: Waiters[BrokerError] = Waiters()
        self._shutting = False

    # -- Methods that are answered

    async def call(self, method: str, **arguments: Any) -> Reply:
        """
        Call an AMQP method, such as C{queue_declare}, and wait for its answer.

        @raise BrokerRefused: the broker closed the channel instead.
        @raise ChannelLost: the connection went away before the answer.
        """
        self._prefetch.calling(method, arguments)
        reply: Reply = await getattr(self, method)(**arguments)
        self._prefetch.called(method, arguments, self.acks.unsettled)
        return reply

    def invoke(self, method: Any, args: Any, content: None = None) -> Deferred[Any]:
        """
        What txamqp's generated methods call.
        """
        # After our channel.close, only channel.close-ok may be sent.
        if self.closed or (self._shutting and method.responses):
            return fail(self.error())
        self.flush()
        try:
            self.client.send_method(self.id, method, args)
        except CodecError as e:
            return fail(BrokerError(f"{method.klass.name}.{method.name}: {e}"))
        if not method.responses:
            return succeed(None)
        waiter: Deferred[Any] = Deferred()
        self._asked.append((method, waiter))
        return waiter

    # -- Methods that are written without txamqp

    def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: bytes
    ) -> Deferred[None]:
        """
        Publish, mandatory, on a channel in confirm mode, as soon as there is
        room; the Deferred fires with the broker's confirm.  It fails with
        C{Unroutable}, C{PublishRefused}, C{NotSent}, C{MessageRefused} if it cannot be
        written, or L{ChannelLost}: then nobody knows.
        """
        if self.closed or self._shutting:
            return fail(self.error())
        try:
            head = self._publish_head(exchange, routing_key, len(body), properties)
        except CodecError as e:
            text = f"basic.publish: {e}"
            return fail(MessageRefused(ReplyCode.SYNTAX_ERROR, text))
        # What waits to be sent has no second copy of its body.
        send = partial(self._send_content, head, body)
        size = len(head) + len(body)
        return self.publications.add(
            send, size, exchange, routing_key, properties, body
        )

    def publish_group(
        self, messages: Sequence[Outgoing]
    ) -> Deferred[list[BrokerError | None]]:
        """
        The same for several messages.  The frames of those for which there is room now
        are written at once, which costs a fifth of writing each.

        @return: fires with C{None} for each that is confirmed, or with why it is not.
            Once it is cancelled, it fires at once, with what is known by then.
        """
        group = PublicationGroup(self.publications, len(messages))
        writes = GroupWrites(self.id, self.client.max_payload, self._send_content)
        error = NotSent(str(self.error())) if self.closed or self._shutting else None
        for number, (exchange, routing_key, body, properties) in enumerate(messages):
            problem: BrokerError | None = error
            head = b""
            if problem is None:
                try:
                    head = self._publish_head(
                        exchange, routing_key, len(body), properties
                    )
                except CodecError as e:
                    problem = MessageRefused(
                        ReplyCode.SYNTAX_ERROR, f"basic.publish: {e}"
                    )
            if problem is not None:
                group.tell(number, problem)
                continue
            send = partial(writes.send, head, body)
            size = len(head) + len(body)
            tell = partial(group.tell, number)
            group.put(
                Publication(send, size, exchange, routing_key, properties, body, tell)
            )
        writes.end()
        return group.answered

    async def commit(self) -> None:
        """
        End the transaction of a channel in transactional mode (C{tx_select}), and begin
        the next one.  What was published in it gets its confirm here: a transaction has
        no confirms of its own.  Each publication must be sent by then: wait until the
        broker does not block, and publish fewer messages than C{MAX_SENT}, all in the
        same turn of the reactor.

        RabbitMQ carries out a transaction as a whole, or not at all where the
        connection is lost before C{tx.commit} has come.  That is not so if RabbitMQ
        itself is killed meanwhile, or if a full queue refuses messages
        (U{https://www.rabbitmq.com/docs/semantics}).

        @raise BrokerError: nobody knows whether it was carried out.
        """
        await self.call("tx_commit")
        self.publications.confirm(LAST_TAG, multiple=True, taken=True)

    def _publish_head(
        self, exchange: str, routing_key: str, size: int, properties: bytes
    ) -> bytes:
        method = publish_mandatory(exchange, routing_key)
        most = self.client.max_payload
        if CONTENT_HEADER.size + len(properties) > most:
            raise CodecError(f"the properties are longer than {most} bytes")
        return content_head(self.id, method, properties, size)

    def _send_content(self, head: bytes, body: bytes) -> None:
        most, output = self.client.max_payload, self.client.output
        if len(body) <= most:  # nearly always
            output.write(whole_content(head, self.id, body))
        else:
            output.write_pieces(content_pieces(head, self.id, body, most))

    def get(self, queue: str) -> Deferred[Message | None]:
        """
        One message (C{basic.get}), to be acknowledged; C{None} where the queue has
        no more.  For a channel that consumes nothing.
        """
        if self.closed or self._shutting:
            return fail(self.error())
        self.on_message = self._gets.answered
        return self._gets.ask(queue)

    def flush(self) -> None:
        """
        Write what waits to be acknowledged.
        """
        self.acks.flush()

    def give_back(self, delivery_tag: int) -> None:
        """
        Let the broker deliver it again (C{basic.nack} with requeue).
        """
        if not (self.closed or self._shutting):
            self.acks.given_back(delivery_tag)
            self.client.output.write(nack_with_requeue(self.id, delivery_tag))

    def give_all_back(self, up_to: int = 0) -> None:
        """
        Let the broker deliver again, in their order, all that are not settled, or the
        first of these.  After that, settle only deliveries with larger tags, and then
        shut the channel: L{acks} does not learn of it, and keeps these deliveries as
        unsettled.

        That is a C{basic.nack} with C{requeue} and C{multiple}.
        C{basic.nack} is an extension of AMQP 0-9-1 by RabbitMQ:
        U{https://www.rabbitmq.com/docs/nack}.

        @param up_to: the tag of the last one of them; 0 for all.
        """
        if not (self.closed or self._shutting):
            self.flush()
            nack = nack_with_requeue(self.id, up_to, multiple=True)
            self.client.output.write(nack)

    # -- What comes from the broker

    def cancelled(self, consumer_tag: str) -> None:
        """
        The broker has ended a consumer.
        """
        self._prefetch.cancelled(consumer_tag, self.acks.unsettled)
        self.on_cancel(consumer_tag)

    def dispatch(self, frame: Any, work: Any) -> None:
        """
        A method that txamqp has read: an answer, which must be one to what was asked,
        or what the broker asks of us.
        """
        method = frame.payload.method
        name = f"{method.klass.name}.{method.name}"
        if method.content and not method.response:
            # txamqp would wait for its content, and take the next method for that.
            text = f"the broker sent {name}, which only clients may"
            raise ProtocolError(ReplyCode.COMMAND_INVALID, text)
        if not method.response:
            super().dispatch(frame, work)
            return
        # Not always the first: RabbitMQ sends consume-ok once the queue has told the
        # channel, and may have answered what was asked after that.
        asked = (each for each in self._asked if method in each[0].responses)
        first = next(asked, None)
        if first is None:
            text = f"the broker sent {name}, which nothing asked for"
            raise ProtocolError(ReplyCode.COMMAND_INVALID, text)
        self._asked.remove(first)
        first[1].callback(Reply(method, frame.payload.args))

    def method_received(self, payload: bytes) -> bool:
        """
        A method frame; returns whether it was read here, without txamqp.
        """
        reader = self._content
        if reader.content is not None:
            text = "the broker sent a method in place of a content"
            raise ProtocolError(ReplyCode.UNEXPECTED_FRAME, text)
        method = payload[:4]
        if method == _DELIVER:
            if self.on_message is _unexpected:
                _unexpected(payload)  # before its body has come
            if len(self.acks.outstanding) >= self._prefetch.limit:
                limit = self._prefetch.limit
                text = f"the broker sent more than {limit:.0f} deliveries at once"
                raise ProtocolError(ReplyCode.COMMAND_INVALID, text)
            message = read_deliver(payload, self.message_type)
            self.acks.outstanding[message.delivery_tag] = False
            reader.expect(message, MESSAGE, self.on_message)
        elif method in (_ACK, _NACK):
            tag, flags = SETTLEMENT.unpack_from(payload)
            multiple, taken = bool(flags & 1), method == _ACK
            self.publications.confirm(tag, multiple=multiple, taken=taken)
        elif method == _RETURN:
            if not self.publications.unconfirmed_bytes:
                text = "the broker returned a message, and none was published"
                raise ProtocolError(ReplyCode.COMMAND_INVALID, text)
            _, *rest = METHODS["basic.return"].decode(payload)
            returned = ReturnedMessage(*rest)
            most = self.publications.unconfirmed_bytes
            reader.expect(returned, most, self.publications.returned)
        elif method == _GET_OK and self._gets.waiting:
            message = read_get_ok(payload, Message)
            self.acks.outstanding[message.delivery_tag] = False
            reader.expect(message, MESSAGE, self.on_message)
        elif method == _GET_EMPTY and self._gets.waiting:
            self._gets.answered(None)
        else:
            return False
        return True

    def waits_for(self) -> Iterator[Waiting]:
        """
        What has waited for longest for each kind of answer, and the words for it.
        """
        if self._asked:
            method, waiter = self._asked[0]
            yield waiter, partial("{}.{}".format, method.klass.name, method.name)
        if (get := self._gets.oldest) is not None:
            yield get, lambda: "basic.get"
        for sent in self.publications.oldest():
            yield sent, sent.words

    # -- The end

    def error(self) -> BrokerError:
        """
        Why the channel is closed.
        """
        why = self.why or self.client.why or ChannelLost("the channel is closed")
        # Raised again and again, it would keep the frames of each time alive.
        return why.with_traceback(None)

    def when_closed(self) -> Deferred[BrokerError]:
        """
        A Deferred that fires, with the reason, once the channel is closed.
        """
        if self.closed:
            return succeed(self.error())
        return self._until_closed.wait()

    async def shut(self) -> None:
        """
        Close the channel; what it delivered and nobody settled goes back.  The broker's
        answer is waited for without limit.
        """
        if not self.closed and not self._shutting:
            self.on_message = _unwanted
            if isinstance(self._content.content, Message):  # it comes just now
                self._content.completed = _unwanted
            self.why = ChannelLost("the channel was closed here")
            closing = self.channel_close(reply_code=ReplyCode.REPLY_SUCCESS)
            self._shutting = True
            self.acks.end()  # what is done was written before channel.close
            closing.addBoth(self._shut)
        await self.when_closed()

    def _shut(self, result: object) -> None:
        self._shutting = False
        self.close(self.why)

    def do_close(self, reason: object) -> None:
        """
        Called once, whoever ended it.
        """
        if self.closed:
            return
        if self._shutting and not self.client.closed:
            self.client.closing_channels.add(self.id)  # close-ok will come still
        self.acks.end()
        self._content.end()
        super().do_close(reason)
        asked, self._asked = self._asked, deque()
        for _, waiter in asked:
            waiter.errback(self.error())
        self.client.channels.pop(self.id, None)
        error = self.error()
        self.publications.end(error)
        self._gets.end(error)
        self._until_closed.fire(error)
