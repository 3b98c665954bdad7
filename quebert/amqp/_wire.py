"""
AMQP frames over one connection: txamqp's client with its frame reader, frame
writer and codec replaced.

Negotiation, the dispatch of the broker's methods and the waiting for replies
are txamqp's.  C{basic.deliver}, C{basic.return} and confirms, with their
contents, are read here, and C{basic.publish}, C{basic.ack} and C{basic.nack}
written here, without its queues.  Knows no reconnecting and no queues.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import takewhile
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from txamqp.client import Closed, TwistedDelegate
from txamqp.connection import Frame, Method
from txamqp.message import Message as Reply
from txamqp.protocol import AMQChannel, AMQClient
from txamqp.queue import Closed as QueueClosed

from quebert.amqp._codec import (
    CodecError,
    decode_arguments,
    encode_arguments,
    encode_shortstr,
)
from quebert.amqp._message import Message
from quebert.amqp._spec import SPEC
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    ChannelLost,
    ProtocolError,
    PublishRefused,
    Unroutable,
)

__all__ = ["Channel", "Wire"]

_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_FRAME_END = 0xCE
_FRAME_START = struct.Struct(">BHI")
_CONTENT_HEADER = struct.Struct(">HHQ")
_HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"
# Class and method numbers of what does not take txamqp's way.
_RETURN, _DELIVER, _ACK, _NACK = 0x3C0032, 0x3C003C, 0x3C0050, 0x3C0078
_CLOSE_OK = struct.pack(">HH", 20, 41)
_BASIC_PUBLISH = struct.Struct(">HHH").pack(60, 40, 0)
_SETTLE = struct.Struct(">BHIHHQBB")  # a whole frame of ack or nack

FRAME_MAX = 131_072
CHANNEL_MAX = 2_047

_CLIENT_PROPERTIES = {
    "product": "quebert",
    "platform": "Python/Twisted",
    "information": "an HTTP-push task queue on AMQP",
    "capabilities": {
        "authentication_failure_close": True,
        "basic.nack": True,
        "connection.blocked": True,
        "consumer_cancel_notify": True,
        "publisher_confirms": True,
    },
}


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _FRAME_START.pack(kind, channel, len(payload)) + payload + b"\xce"


@attrs.define(eq=False)
class _Publication:
    """
    A message that was published and waits for its confirm.
    """

    confirmed: Deferred[None]
    exchange: str
    routing_key: str
    properties: bytes
    body: bytes
    problem: BrokerError | None = None

    def is_like(self, returned: _Returned) -> bool:
        return (
            self.problem is None
            and self.body == returned.body
            and self.routing_key == returned.routing_key
            and self.exchange == returned.exchange
        )

    def settle(self, problem: BrokerError | None) -> None:
        problem = self.problem or problem
        if problem is None:
            self.confirmed.callback(None)
        else:
            self.confirmed.errback(problem)


@attrs.define(eq=False)
class _Returned:
    """
    A C{basic.return} whose content is being read.
    """

    text: str
    exchange: str
    routing_key: str
    body: bytes = b""
    encoded_properties: bytes = b""


def _unexpected(what: object) -> None:
    raise ProtocolError(503, "a delivery came where nothing is consumed")


class Channel(AMQChannel):  # type: ignore[misc]
    """
    One channel: methods by name with L{call}, and the three quick ones.

    @ivar on_message: called with each L{Message} delivered.
    @ivar on_cancel: called with the consumer tag when the broker has ended a
        consumer, since its queue is gone.
    """

    def __init__(self, id: int, outgoing: object, client: Wire) -> None:
        super().__init__(id, outgoing, client)
        self.on_message: Callable[[Message], None] = _unexpected
        self.on_cancel: Callable[[str], None] = _unexpected
        self.why: BrokerError | None = None
        self._incoming: Message | _Returned | None = None
        self._missing = 0
        self._chunks: list[bytes] = []
        self._published = 0
        self._unconfirmed: dict[int, _Publication] = {}
        self._closed_waiters: list[Deferred[BrokerError]] = []
        self._shutting = False

    # -- Methods that are answered

    async def call(self, method: str, **arguments: Any) -> Reply:
        """
        Call an AMQP method, such as C{queue_declare}, and wait for its answer.

        @raise BrokerRefused: the broker closed the channel instead.
        @raise ChannelLost: the connection went away before the answer.
        """
        return await getattr(self, method)(**arguments)

    def invoke(self, method: Any, args: Any, content: None = None) -> Deferred[Any]:
        """
        What txamqp's generated methods call.
        """
        if self.closed:
            return fail(self.error())
        try:
            self.client.send_method(self.id, method, args)
        except CodecError as e:
            return fail(BrokerError(f"{method.klass.name}.{method.name}: {e}"))
        if not method.responses:
            return succeed(None)
        reply: Deferred[Any] = self.responses.get()
        reply.addCallbacks(self._reply, self._no_reply)
        # Who gives up waiting must not leave the answer to the next one.
        waiter: Deferred[Any] = Deferred()
        reply.addCallbacks(waiter.callback, waiter.errback)
        return waiter

    def _reply(self, frame: Any) -> Reply:
        return Reply(frame.payload.method, frame.payload.args)

    def _no_reply(self, failure: Failure) -> None:
        failure.trap(QueueClosed)
        raise self.error()

    # -- The quick ones

    def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: bytes
    ) -> Deferred[None]:
        """
        Publish, mandatory, on a channel in confirm mode; the Deferred fires
        with the broker's confirm.  It fails with L{Unroutable},
        L{PublishRefused}, or L{ChannelLost}: then nobody knows.
        """
        if self.closed:
            return fail(self.error())
        try:
            frames = self._publish_frames(exchange, routing_key, body, properties)
        except CodecError as e:
            return fail(BrokerError(f"basic.publish: {e}"))
        self._published += 1
        confirmed: Deferred[None] = Deferred()
        self._unconfirmed[self._published] = _Publication(
            confirmed, exchange, routing_key, properties, body
        )
        self.client.transport.write(frames)
        return confirmed

    def _publish_frames(
        self, exchange: str, routing_key: str, body: bytes, properties: bytes
    ) -> bytes:
        address = encode_shortstr(exchange) + encode_shortstr(routing_key)
        method = b"%b%b\x01" % (_BASIC_PUBLISH, address)  # 1: mandatory
        header = _CONTENT_HEADER.pack(60, 0, len(body)) + properties
        step = self.client.max_payload
        if len(header) > step:
            raise CodecError(f"the properties are longer than {step} bytes")
        pieces = [_frame(_METHOD, self.id, method), _frame(_HEADER, self.id, header)]
        for at in range(0, len(body), step):
            pieces.append(_frame(_BODY, self.id, body[at : at + step]))
        return b"".join(pieces)

    def ack(self, delivery_tag: int) -> None:
        """
        Acknowledge one delivery of this channel; nothing when it is closed.
        """
        if not self.closed:
            data = (_METHOD, self.id, 13, 60, 80, delivery_tag, 0, _FRAME_END)
            self.client.transport.write(_SETTLE.pack(*data))

    def give_back(self, delivery_tag: int) -> None:
        """
        Let the broker deliver it again (C{basic.nack} with requeue).
        """
        if not self.closed:
            data = (_METHOD, self.id, 13, 60, 120, delivery_tag, 2, _FRAME_END)
            self.client.transport.write(_SETTLE.pack(*data))

    # -- What comes from the broker

    def method_received(self, index: int, payload: bytes) -> bool:
        """
        A method frame; tells whether it was one of the quick ones.
        """
        if self._incoming is not None:
            raise ProtocolError(505, "a method came where a content was expected")
        if index == _DELIVER:
            self._incoming = _parse_deliver(payload)
        elif index in (_ACK, _NACK):
            tag, flags = struct.unpack_from(">QB", payload, 4)
            self._confirm(tag, multiple=bool(flags & 1), taken=index == _ACK)
        elif index == _RETURN:
            types = ("short", "shortstr", "shortstr", "shortstr")
            self._incoming = _Returned(*decode_arguments(types, payload, 4)[1:])
        else:
            return False
        return True

    def header_received(self, payload: bytes) -> None:
        """
        A content header: the body's size and the properties.
        """
        if self._incoming is None or self._missing:
            raise ProtocolError(505, "a content header came unexpectedly")
        self._missing = _CONTENT_HEADER.unpack_from(payload)[2]
        self._incoming.encoded_properties = payload[_CONTENT_HEADER.size :]
        if not self._missing:
            self._content_complete()

    def body_received(self, payload: bytes) -> None:
        """
        A piece of a body.
        """
        # A body of no bytes has no frames: nothing is missing, none may come.
        if self._incoming is None or not 0 < self._missing >= len(payload):
            raise ProtocolError(505, "more of a body came than was announced")
        self._chunks.append(payload)
        self._missing -= len(payload)
        if not self._missing:
            self._content_complete()

    def _content_complete(self) -> None:
        incoming, self._incoming = self._incoming, None
        chunks, self._chunks = self._chunks, []
        assert incoming is not None
        incoming.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if isinstance(incoming, Message):
            self.on_message(incoming)
        else:
            self._returned(incoming)

    def _confirm(self, tag: int, multiple: bool, taken: bool) -> None:
        problem = None if taken else PublishRefused("the broker did not take it")
        waiting = self._unconfirmed
        if multiple:
            tags = list(takewhile(lambda each: each <= tag, waiting))
        else:
            tags = [tag] if tag in waiting else []
        for each in tags:
            waiting.pop(each).settle(problem)

    def _returned(self, returned: _Returned) -> None:
        """
        The broker tells of a return before it confirms, but not of which
        publication: that is the one that was just like it.
        """
        alike = [each for each in self._unconfirmed.values() if each.is_like(returned)]
        # A broker may write properties in another way than we did.
        same = (e for e in alike if e.properties == returned.encoded_properties)
        publication = next(same, alike[0] if alike else None)
        if publication is not None:
            where = f"exchange {returned.exchange!r}, key {returned.routing_key!r}"
            text = f"no queue takes this message ({where}): {returned.text}"
            publication.problem = Unroutable(text)

    # -- The end

    def error(self) -> BrokerError:
        """
        Why the channel is closed.
        """
        return self.why or self.client.why or ChannelLost("the channel is closed")

    def when_closed(self) -> Deferred[BrokerError]:
        """
        A Deferred that fires, with the reason, once the channel is closed.
        """
        if self.closed:
            return succeed(self.error())
        waiter: Deferred[BrokerError] = Deferred()
        self._closed_waiters.append(waiter)
        return waiter

    async def shut(self) -> None:
        """
        Close the channel; what it delivered and nobody settled goes back.
        """
        if not self.closed and not self._shutting:
            self._shutting = True
            self.why = ChannelLost("the channel was closed here")
            self.channel_close(reply_code=200).addBoth(self._shut)
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
        super().do_close(reason)
        self.client.channels.pop(self.id, None)
        error = self.error()
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        for publication in unconfirmed.values():
            publication.settle(_unknown(publication, error))
        waiters, self._closed_waiters = self._closed_waiters, []
        for waiter in waiters:
            waiter.callback(error)


def _unknown(publication: _Publication, error: BrokerError) -> BrokerError:
    no_such_exchange = f"no exchange '{publication.exchange}'"
    if isinstance(error, BrokerRefused) and no_such_exchange in str(error):
        return Unroutable(f"no queue takes this message: {error}")
    return ChannelLost(f"not known to be taken: {error}")


def _parse_deliver(payload: bytes) -> Message:
    end = 5 + payload[4]
    consumer_tag = payload[5:end].decode("utf-8", "surrogateescape")
    delivery_tag, redelivered, size = struct.unpack_from(">QBB", payload, end)
    at = end + 10
    exchange = payload[at : at + size].decode("utf-8", "surrogateescape")
    key = payload[at + size + 1 :].decode("utf-8", "surrogateescape")
    return Message(consumer_tag, delivery_tag, redelivered == 1, exchange, key)


class _Delegate(TwistedDelegate):  # type: ignore[misc]
    """
    What the broker asks of us.
    """

    client: Wire

    def connection_start(self, channel: Channel, message: Any) -> None:
        mechanisms = message.mechanisms.split()
        if self.client.mechanism not in mechanisms:
            text = f"the broker knows {mechanisms}, not {self.client.mechanism}"
            raise ProtocolError(530, text)
        channel.connection_start_ok(
            client_properties=_CLIENT_PROPERTIES,
            mechanism=self.client.mechanism,
            response=self.client.response,
            locale=self.client.locale,
        )

    def connection_tune(self, channel: Channel, message: Any) -> None:
        self.client.tuned(message.channel_max, message.frame_max, message.heartbeat)

    def connection_close(self, channel: Channel, message: Any) -> None:
        self.client.why = BrokerRefused(message.reply_code, message.reply_text)
        super().connection_close(channel, message)

    def connection_blocked(self, channel: Channel, message: Any) -> None:
        self.client.log.warn(
            "The broker takes no messages for now: {reason}", reason=message.reason
        )

    def connection_unblocked(self, channel: Channel, message: Any) -> None:
        self.client.log.info("The broker takes messages again.")

    def channel_close(self, channel: Channel, message: Any) -> None:
        channel.why = BrokerRefused(message.reply_code, message.reply_text)
        super().channel_close(channel, message)

    def basic_cancel(self, channel: Channel, message: Any) -> None:
        channel.on_cancel(message.consumer_tag)


class Wire(AMQClient):  # type: ignore[misc]
    """
    One connection to a broker.

    @ivar why: why it ended, or C{None}.
    @ivar lost: fires, with that reason, when it has ended.
    @ivar max_payload: the largest payload of a frame, in bytes.
    """

    log = Logger()
    channelClass = Channel

    def __init__(self, *, vhost: str, heartbeat: int, clock: IReactorTime) -> None:
        # txamqp's own heartbeat schedules calls for each frame: it stays off.
        super().__init__(_Delegate(), vhost, SPEC, heartbeat=0, clock=clock)
        self.why: BrokerError | None = None
        self.lost: Deferred[BrokerError] = Deferred()
        self.max_payload = FRAME_MAX - 8
        self._buffer = bytearray()
        self._wanted_heartbeat = heartbeat
        self._channel_max = CHANNEL_MAX
        self._heard = True
        self._silent_beats = 0
        #: Channels that both sides have closed: the broker answers ours yet.
        self.closing_channels: set[int] = set()
        self._beat = LoopingCall(self._heartbeat)
        self._beat.clock = clock
        self.channels[0] = self.channelFactory(0, self.outgoing, self)

    # -- The beginning

    def connectionMade(self) -> None:
        set_no_delay = getattr(self.transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)
        self.transport.write(_PROTOCOL_HEADER)

    async def negotiate(self, username: str, password: str) -> None:
        """
        Log in and open the virtual host.

        @raise BrokerError: the broker does not let us.
        """
        self.mechanism, self.locale = "PLAIN", "en_US"
        self.response = f"\0{username}\0{password}"
        try:
            await self.started.wait()
            await self.channels[0].call("connection_open", virtual_host=self.vhost)
        except Closed:
            raise self.why or ChannelLost("the connection was lost") from None

    def tuned(self, channel_max: int, frame_max: int, heartbeat: int) -> None:
        """
        Answer the broker's limits, of which 0 is none (section 1.4.2.6).
        """
        frame_max = min(frame_max or FRAME_MAX, FRAME_MAX)
        self._channel_max = min(channel_max or CHANNEL_MAX, CHANNEL_MAX)
        wanted = self._wanted_heartbeat
        heartbeat = min(heartbeat or wanted, wanted)
        self.channels[0].connection_tune_ok(self._channel_max, frame_max, heartbeat)
        self.max_payload = frame_max - 8
        if heartbeat:
            self._beat.start(heartbeat / 2, now=False)
        self.started.fire()

    async def open_channel(self, *, confirms: bool = True) -> Channel:
        """
        A new channel, in confirm mode.
        """
        taken = self.channels.keys() | self.closing_channels
        numbers = range(1, self._channel_max + 1)
        number = next((n for n in numbers if n not in taken), None)
        if number is None:
            raise BrokerError(f"all {self._channel_max} channels are in use")
        if self.closed:
            raise self.why or ChannelLost("the connection is closed")
        channel: Channel = self.channelFactory(number, self.outgoing, self)
        self.channels[number] = channel
        try:
            await channel.call("channel_open")
            if confirms:
                await channel.call("confirm_select")
        except BaseException:
            Deferred.fromCoroutine(channel.shut())  # which may take its time
            raise
        return channel

    def channel(self, id: int) -> Deferred[Channel]:
        """
        What txamqp asks for a channel with, which is open by then.
        """
        return succeed(self.channels[id])

    # -- Reading

    def dataReceived(self, data: bytes) -> None:
        self._heard = True
        if self.closed:
            return
        self._buffer += data
        try:
            self._frames()
        except ProtocolError as e:
            self._fail(e)
        except (CodecError, struct.error, IndexError) as e:
            self._fail(ProtocolError(502, f"the broker sent a malformed frame: {e}"))

    def _frames(self) -> None:
        """
        Take the whole frames off the buffer.
        """
        buffer, at = self._buffer, 0
        while len(buffer) - at >= 8 and not self.closed:
            kind, channel, size = _FRAME_START.unpack_from(buffer, at)
            if size > self.max_payload or kind not in (1, 2, 3, 8):
                text = "the peer does not speak AMQP 0-9-1, or sent too large a frame"
                raise ProtocolError(501, text)
            end = at + 7 + size
            if end >= len(buffer):
                break
            if buffer[end] != _FRAME_END:
                raise ProtocolError(501, "a frame does not end where it should")
            payload = bytes(memoryview(buffer)[at + 7 : end])
            at = end + 1
            self._frame_received(kind, channel, payload)
        del buffer[:at]

    def _frame_received(self, kind: int, number: int, payload: bytes) -> None:
        if kind == _HEARTBEAT:
            return
        channel = self.channels.get(number)
        if channel is None and number in self.closing_channels:
            if kind == _METHOD and payload[:4] == _CLOSE_OK:
                self.closing_channels.remove(number)
            return
        if channel is None:
            raise ProtocolError(504, f"a frame came for channel {number}: not open")
        if kind == _METHOD:
            index = int.from_bytes(payload[:4], "big")
            if not channel.method_received(index, payload):
                channel.dispatch(self._method_frame(number, payload), self.work)
        elif kind == _HEADER:
            channel.header_received(payload)
        else:
            channel.body_received(payload)

    def _method_frame(self, number: int, payload: bytes) -> Frame:
        klass, method = struct.unpack_from(">HH", payload)
        try:
            command = SPEC.classes.byid[klass].methods.byid[method]
        except KeyError:
            text = f"the broker sent method {klass}.{method}, which is unknown"
            raise ProtocolError(503, text) from None
        arguments = decode_arguments(command.types, payload, 4)
        return Frame(number, Method(command, *arguments))

    # -- Writing

    def send_method(self, channel: int, method: Any, arguments: Any) -> None:
        """
        Write a method frame.

        @raise CodecError: an argument does not fit.
        """
        encoded = encode_arguments(method.types, arguments)
        index = struct.pack(">HH", method.klass.id, method.id)
        self.transport.write(_frame(_METHOD, channel, index + encoded))

    def _heartbeat(self) -> None:
        self._silent_beats = 0 if self._heard else self._silent_beats + 1
        self._heard = False
        # Two intervals, of two beats each (section 4.2.7).
        if self._silent_beats >= 4:
            self.why = ChannelLost("nothing was heard of the broker for two heartbeats")
            self.transport.abortConnection()
        else:
            self.transport.write(_HEARTBEAT_FRAME)

    # -- The end

    def _fail(self, error: ProtocolError) -> None:
        self.why = error
        self.log.error("Closing the connection to the broker: {error}", error=error)
        closing = self.channels[0].connection_close(error.code, str(error)[:255])
        closing.addErrback(lambda _: None)
        self.do_close(error)

    def do_close(self, reason: object) -> None:
        """
        Close all channels, and then the transport.
        """
        self.closed = True
        for channel in list(self.channels.values()):
            channel.close(reason)
        self.delegate.close(reason)

    def close(self, reason: object = None, within: float = 0) -> None:
        """
        What txamqp calls when it failed to carry out a method of the broker's,
        and when the connection is lost.
        """
        if self.closed:
            return
        if self.why is None and isinstance(reason, Failure):
            self.log.failure("Closing the connection to the broker.", reason)
            error = reason.value
            if not isinstance(error, BrokerError):
                error = ChannelLost(str(error))
            self.why = error
        self.do_close(reason)

    async def shut(self, within: float = 5.0) -> None:
        """
        Close the connection politely; after C{within} seconds, anyway.
        """
        if not self.closed:
            self.why = ChannelLost("the connection was closed here")
            closing = self.channels[0].connection_close(200, "goodbye")
            closing.addTimeout(within, self.clock).addErrback(lambda _: None)
            await closing
            self.do_close(self.why)

    def connectionLost(self, reason: Failure) -> None:
        if self._beat.running:
            self._beat.stop()
        if self.why is None:
            text = f"the connection to the broker was lost: {reason.value}"
            self.why = ChannelLost(text)
        super().connectionLost(reason)
        self.lost.callback(self.why)
