"""
AMQP frames over one connection: txamqp's client with its frame reader, frame writer
and codec replaced.

The dispatch of the broker's methods and the waiting for replies are txamqp's.
"""

from __future__ import annotations

import struct
from typing import Any

from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.internet.tcp import Connection as TCPConnection
from twisted.python.failure import Failure
from txamqp.client import TwistedDelegate
from txamqp.connection import Frame, Method
from txamqp.protocol import AMQClient

from quebert._protocol.content import ContentTooLarge
from quebert._protocol.frames import (
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    FRAME_OVERHEAD,
    HEARTBEAT_FRAME,
    MAX_PAYLOAD,
    PROTOCOL_HEADER,
    FrameError,
    FrameReader,
    UnexpectedFrame,
    frame,
)
from quebert._protocol.heartbeat import Heartbeat
from quebert._protocol.methods import METHODS
from quebert._protocol.values import CodecError
from quebert._transport_writer import TransportWriter
from quebert.amqp.wire._channel import Channel
from quebert.amqp.wire._spec import SPEC
from quebert.errors import ProtocolError, ReplyCode

__all__ = ["FrameClient"]

# The class of methods that channel 0 has, and no other.
_CONNECTION = 10
_CLOSE_OK = METHODS["channel.close-ok"].index
#: Bytes of a content header that are taken, whatever was agreed: brokers add to the
#: headers of dead letters, and have only one frame for them.
_MAX_HEADER = 2**20
# Bytes that are read at once: nearly always, and while a large frame comes.  What is
# behind 3 MiB then comes after 7 ms, and not after 8.  Of small frames, the larger
# number would be work for 20 ms.
_READ, _READ_MORE = 65_536, 262_144
# Bytes of a frame that is large.
_LARGE = 32_768
# What decoding a malformed frame may raise.
_MALFORMED = (CodecError, struct.error, IndexError)


class FrameClient(AMQClient):  # type: ignore[misc]
    """
    A connection to a broker that has its channels take each frame.

    @ivar output: what it writes.
    @ivar max_payload: the largest payload of a frame, in bytes.
    @ivar closing_channels: channels for which both sides have sent C{channel.close};
        the broker's C{close-ok} is still to come.
    @ivar left_channels: channels that the broker has closed.  RabbitMQ may send more on
        them, such as deliveries, until it has our answer.
    @ivar closed: whether it has ended, or is about to.
    """

    channelClass = Channel

    def __init__(
        self, delegate: TwistedDelegate, vhost: str, clock: IReactorTime
    ) -> None:
        # txamqp's own heartbeat schedules calls for each frame: it stays off.
        super().__init__(delegate, vhost, SPEC, heartbeat=0, clock=clock)
        self.max_payload = MAX_PAYLOAD
        self._reader = FrameReader(MAX_PAYLOAD, _MAX_HEADER)
        self.output = TransportWriter()
        self._reads_more = False
        self._heartbeat = Heartbeat(clock, self._beat, self.fell_silent)
        self.closing_channels: set[int] = set()
        self.left_channels: set[int] = set()
        self.channels[0] = self.channelFactory(0, self.outgoing, self)

    def connectionMade(self) -> None:
        """
        Begin with the header of the protocol.
        """
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self.output.begin(self.transport)
        self.output.write(PROTOCOL_HEADER)

    def agree(self, frame_max: int, heartbeat: int) -> None:
        """
        Both sides have agreed to limits.

        @param frame_max: bytes of a frame, at most.
        @param heartbeat: seconds between two heartbeats; 0 for none.
        """
        self.max_payload = frame_max - FRAME_OVERHEAD
        self._reader.max_payload = self.max_payload
        self._heartbeat.start(heartbeat)

    # -- What a subclass makes of it

    def fail(self, error: ProtocolError) -> None:
        """
        End the connection, and tell the broker why.
        """
        raise NotImplementedError

    def beat(self, seconds: float) -> None:
        """
        So many seconds have passed again, half a heartbeat interval.
        """
        raise NotImplementedError

    def fell_silent(self) -> None:
        """
        Nothing was heard from the broker for two heartbeat intervals.
        """
        raise NotImplementedError

    # -- Reading

    def dataReceived(self, data: bytes) -> None:
        """
        Have the channels take the frames in it; what is no AMQP ends the connection.
        """
        self._heartbeat.heard = self.output.may_send = True
        reader = self._reader
        try:
            while not self.closed:
                for kind, number, payload in reader.read(data):
                    channel = self.channels.get(number)
                    if channel is None or kind == FRAME_HEARTBEAT:
                        self._unusual_frame_received(kind, number, payload)
                    elif kind == FRAME_BODY:
                        channel.body_received(payload)
                    elif kind == FRAME_HEADER:
                        channel.header_received(payload)
                    elif not channel.method_received(payload):
                        channel.dispatch(self._method_frame(number, payload), self.work)
                    if self.closed:
                        return
                if not reader.stopped:
                    if self._reads_more or len(reader.buffer) >= _LARGE:  # seldom
                        self._adapt_reading()
                    return
                data = b""  # the frame that was refused may fit now
        except (ProtocolError, FrameError, *_MALFORMED) as e:
            self.fail(_as_protocol_error(e))

    def _adapt_reading(self) -> None:
        """
        Read more at once while a large frame comes.
        """
        self._reads_more = len(self._reader.buffer) >= _LARGE
        if isinstance(self.transport, TCPConnection):
            self.transport.bufferSize = _READ_MORE if self._reads_more else _READ

    def _unusual_frame_received(self, kind: int, number: int, payload: bytes) -> None:
        if kind == FRAME_HEARTBEAT:
            return
        if number not in self.closing_channels | self.left_channels:
            text = f"a frame came for channel {number}: not open"
            raise ProtocolError(ReplyCode.CHANNEL_ERROR, text)
        if kind == FRAME_METHOD and payload[:4] == _CLOSE_OK:
            self.closing_channels.discard(number)

    def _method_frame(self, number: int, payload: bytes) -> Frame:
        klass, method = struct.unpack_from(">HH", payload)
        if (klass == _CONNECTION) != (number == 0):
            text = f"the broker sent method {klass}.{method} on channel {number}"
            raise ProtocolError(ReplyCode.COMMAND_INVALID, text)
        try:
            command = SPEC.classes.byid[klass].methods.byid[method]
        except KeyError:
            text = f"the broker sent method {klass}.{method}, which is unknown"
            raise ProtocolError(ReplyCode.COMMAND_INVALID, text) from None
        return Frame(number, Method(command, *command.layout.decode(payload)))

    # -- Writing

    def send_method(self, channel: int, method: Any, arguments: Any) -> None:
        """
        Write a method frame.

        @raise CodecError: an argument does not fit.
        """
        payload = method.layout.encode(arguments)
        self.output.write(frame(FRAME_METHOD, channel, payload))

    def _beat(self) -> None:
        self.output.write(HEARTBEAT_FRAME)
        self.beat(self._heartbeat.beat_after)

    # -- The end

    def connectionLost(self, reason: Failure) -> None:
        """
        Fail all that waits for an answer.
        """
        self._heartbeat.stop()
        super().connectionLost(reason)


def _as_protocol_error(e: Exception) -> ProtocolError:
    """
    The error that tells the broker why its frames were not taken.
    """
    if isinstance(e, ProtocolError):
        return e
    if not isinstance(e, FrameError):
        text = f"the broker sent a malformed frame: {e}"
        return ProtocolError(ReplyCode.SYNTAX_ERROR, text)
    if isinstance(e, (ContentTooLarge, UnexpectedFrame)):
        return ProtocolError(e.code, f"a frame from the broker is refused: {e}")
    return ProtocolError(e.code, f"the peer does not speak AMQP 0-9-1: {e}")
