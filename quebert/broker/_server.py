"""
One client's connection to the broker: frames, the states of the connection, and
what may be called in each.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from quebert import __version__
from quebert._protocol.codec import CodecError, decode_table
from quebert._protocol.frames import (
    BODY,
    FRAME_END,
    FRAME_START,
    HEADER,
    HEARTBEAT,
    HEARTBEAT_FRAME,
    METHOD,
    PROTOCOL_HEADER,
)
from quebert.broker._channel import Channel
from quebert.broker._commands import COMMANDS, Session
from quebert.broker._errors import (
    AmqpError,
    ChannelError,
    ConnectionError,
    not_allowed,
)
from quebert.broker._methods import decode_method, method_frame
from quebert.broker._vhost import VirtualHost
from quebert.errors import StoreError

if TYPE_CHECKING:
    from quebert.broker._broker import Broker

__all__ = ["Connection"]

FRAME_MAX = 131_072
FRAME_MIN = 4_096
CHANNEL_MAX = 2_047
HEARTBEAT_SECONDS = 60
#: Seconds in which a client is to have opened its virtual host, as RabbitMQ's.
HANDSHAKE_TIMEOUT = 10.0
#: Seconds that it has for its C{close-ok}.
CLOSE_TIMEOUT = 10.0
#: Bytes that wait for the client to read: beyond, it gets no deliveries, ...
CONGESTED = 256 * 2**10
#: ... and beyond this, nothing is read from it either.
SWAMPED = 16 * 2**20

#: That of AMQP 0-9, too: it is safely taken for 0-9-1, as RabbitMQ does, and all
#: that txamqp says of itself.
_HEADERS = (PROTOCOL_HEADER, b"AMQP\1\1\0\x09")

_KINDS = frozenset((METHOD, HEADER, BODY, HEARTBEAT))

_SERVER_PROPERTIES = {
    # Whose rules it keeps, not who it is: kombu, and so Celery, goes by these two
    # when it chooses how to raise a prefetch count (basic.qos with global, as
    # RabbitMQ has it from 3.3 to 3.13).
    "product": "RabbitMQ",
    "version": "3.13.0",
    "platform": f"quebert {__version__}, Python/Twisted",
    "information": "the embedded broker: for development, demonstrations, tests",
    "capabilities": {
        "authentication_failure_close": True,
        "basic.nack": True,
        "consumer_cancel_notify": True,
        "exchange_exchange_bindings": True,
        "per_consumer_qos": True,
        "publisher_confirms": True,
    },
}


@implementer(IPushProducer)
class Connection(Protocol):
    """
    @ivar state: a key of L{STATES}.
    @ivar congested: whether what is written waits for the client to read.
    """

    log = Logger()

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.state = "header"
        self.user = ""
        self.wants_cancels = False
        self.congested = False
        self.max_payload = FRAME_MAX - 8
        self.channels: dict[int, Channel] = {}
        self._channel_max = CHANNEL_MAX
        self._buffer = b""
        self._out: list[bytes] = []
        self._out_size = 0
        self._unread = 0  # bytes since the client was last known to have read all
        self._paused = False
        self._confirming: dict[Channel, None] = {}
        self._deadline: IDelayedCall | None = None
        self._beat = LoopingCall(self._heartbeat)
        self._beat.clock = broker.clock
        self._heard = True
        self._wrote = True
        self._silent_beats = 0
        # Until it says which it wants.
        self.vhost: VirtualHost = broker.default_vhost

    # -- The beginning

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        transport.registerProducer(self, True)
        self.broker.connections.add(self)
        self._within(HANDSHAKE_TIMEOUT)

    def _within(self, seconds: float | None) -> None:
        """
        It is to go on within C{seconds}, or for C{None} any time.
        """
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
        if seconds is not None:
            transport: Any = self.transport
            self._deadline = self.broker.clock.callLater(
                seconds, transport.abortConnection
            )

    def _begin(self) -> None:
        mechanisms = " ".join(_MECHANISMS)
        start = (0, 9, _SERVER_PROPERTIES, mechanisms, "en_US")
        self._call("connection.start", *start)
        self.state = "start-ok"

    def start_ok(self, arguments: Mapping[str, Any]) -> None:
        """
        Who the client is.

        @raise ConnectionError: it may not in.
        """
        properties = arguments["client_properties"]
        capabilities = properties.get("capabilities")
        if not isinstance(capabilities, dict):
            capabilities = {}
        self.wants_cancels = bool(capabilities.get("consumer_cancel_notify"))
        mechanism = arguments["mechanism"]
        read = _MECHANISMS.get(mechanism)
        if read is None:
            text = f"the mechanism is to be one of {', '.join(_MECHANISMS)}"
            raise ConnectionError(503, f"COMMAND_INVALID - {text}, not {mechanism!r}")
        user, password = read(arguments["response"])
        if not self.broker.lets_in(user, password):
            if not capabilities.get("authentication_failure_close"):
                self._lose()
                return
            text = "Login was refused using authentication mechanism"
            details = "For details see the broker logfile."
            text = f"ACCESS_REFUSED - {text} {mechanism}. {details}"
            self._fail(ConnectionError(403, text))
            return
        self.user = user
        self._call("connection.tune", CHANNEL_MAX, FRAME_MAX, HEARTBEAT_SECONDS)
        self.state = "tune-ok"

    def tune_ok(self, arguments: Mapping[str, Any]) -> None:
        """
        What the client makes of our limits; 0 would be none.

        @raise ConnectionError: it goes beyond them.
        """
        for name, least, most in (
            ("channel_max", 1, CHANNEL_MAX),
            ("frame_max", FRAME_MIN, FRAME_MAX),
        ):
            wanted = arguments[name]
            if wanted == 0 or wanted > most:
                text = "is higher than the maximum allowed value"
                raise not_allowed(f"negotiated {name} = {wanted} {text} ({most})")
            if wanted < least:
                text = "is lower than the minimum allowed value"
                raise not_allowed(f"negotiated {name} = {wanted} {text} ({least})")
        self._channel_max = arguments["channel_max"]
        self.max_payload = arguments["frame_max"] - 8
        if arguments["heartbeat"]:
            self._beat.start(arguments["heartbeat"] / 2, now=False)
        self.state = "open"

    def open(self, arguments: Mapping[str, Any]) -> None:
        """
        Which virtual host the client wants.

        @raise ConnectionError: there is no such one.
        """
        name = arguments["virtual_host"]
        vhost = self.broker.vhosts.get(name)
        if vhost is None:
            raise not_allowed(f"vhost {name} not found")
        self.vhost = vhost
        self._within(None)
        self._call("connection.open-ok", "")
        self.state = "running"

    def secret_updated(self, arguments: Mapping[str, Any]) -> None:
        """
        A password does not expire here.
        """
        self._call("connection.update-secret-ok")

    # -- Reading

    def dataReceived(self, data: bytes) -> None:
        self._heard = True
        if self.state == "over":
            return
        self.broker.begin_turn()
        if self._buffer:
            data = self._buffer + data
        at = 0
        try:
            if self.state == "header":
                at = self._protocol_header(data)
            self._buffer = data[self._frames(data, at) :]
        except ConnectionError as e:
            self._fail(e)
        except (CodecError, struct.error, IndexError) as e:
            self._fail(ConnectionError(501, f"FRAME_ERROR - {e}"))
        except StoreError as e:
            self.broker.fail(e)
        except Exception:
            self.log.failure("A connection is closed for a defect of the broker.")
            self._fail(ConnectionError(541, "INTERNAL_ERROR - a defect of the broker"))

    def _protocol_header(self, data: bytes) -> int:
        if data[:8] in _HEADERS:
            self._begin()
            return 8
        if not any(each.startswith(data[:8]) for each in _HEADERS):
            self.write(PROTOCOL_HEADER)  # what we do speak (section 2.2.4)
            self._lose()
        return 0

    def _frames(self, data: bytes, at: int) -> int:
        """
        Take in the whole frames; returns where the rest begins.
        """
        there = len(data)
        while there - at >= 8 and self.state not in ("header", "over"):
            kind, number, size = FRAME_START.unpack_from(data, at)
            begin = at + 7
            end = begin + size
            # Eight octets more than agreed, since some clients count so.
            if kind not in _KINDS or size > self.max_payload + 8:
                text = f"a frame of type {kind} with {size} octets"
                most = f"the maximum is {self.max_payload + 8}"
                raise ConnectionError(501, f"FRAME_ERROR - {text}; {most}")
            if end >= there:
                break
            if data[end] != FRAME_END:
                text = f"a frame ends with {data[end]}, not with {FRAME_END}"
                raise ConnectionError(501, f"FRAME_ERROR - {text}")
            self._frame_received(kind, number, data[begin:end])
            at = end + 1
        return at

    def _frame_received(self, kind: int, number: int, payload: bytes) -> None:
        if kind == HEARTBEAT:
            if number:
                text = f"a heartbeat on channel {number}"
                raise ConnectionError(505, f"UNEXPECTED_FRAME - {text}")
        elif number == 0:
            self._own_frame_received(kind, payload)
        elif self.state == "running":
            self._channel_frame_received(kind, number, payload)
        elif self.state != "closing":
            text = f"a frame for channel {number} before the connection is open"
            raise ConnectionError(505, f"UNEXPECTED_FRAME - {text}")

    def _own_frame_received(self, kind: int, payload: bytes) -> None:
        if kind != METHOD:
            text = f"a frame of type {kind} on channel 0"
            raise ConnectionError(505, f"UNEXPECTED_FRAME - {text}")
        method = decode_method(payload)
        take = STATES[self.state].get(method.name)
        if take is None and self.state == "closing":
            return
        try:
            if take is None:
                text = f"unexpected method in connection state {self.state}"
                raise ConnectionError(504, f"CHANNEL_ERROR - {text}")
            take(self, method.arguments)
        except ConnectionError as e:
            self._fail(e, method.index)

    # -- Channels

    def _channel_frame_received(self, kind: int, number: int, payload: bytes) -> None:
        channel = self.channels.get(number)
        if channel is None or channel.closing:
            self._unopened_frame_received(kind, number, payload)
        elif channel.expects == METHOD:
            if kind != METHOD:
                raise _unexpected("method frame", "non method frame")
            self._method_received(channel, payload)
        else:
            self._content_received(channel, kind, payload)

    def _content_received(self, channel: Channel, kind: int, payload: bytes) -> None:
        try:
            if channel.expects == HEADER:
                if kind != HEADER:
                    wanted = "content header for class 60"
                    raise _unexpected(wanted, "non content header frame")
                channel.header_received(payload)
            else:
                if kind != BODY:
                    raise _unexpected("content body", "non content body frame")
                channel.body_received(payload)
        except ChannelError as e:
            self._close_channel(channel, e, _PUBLISH)
        except ConnectionError as e:
            self._fail(e, _PUBLISH)

    def _method_received(self, channel: Channel, payload: bytes) -> None:
        if payload[:4] == _PUBLISH_INDEX and payload[-1] < 2:
            channel.publish(*_read_publish(payload), mandatory=payload[-1] == 1)
            return
        method = decode_method(payload)
        if method.name == "channel.close":
            self._channel_closed(channel)
            return
        command = COMMANDS.get(method.name)
        try:
            if command is None:
                raise ConnectionError(503, "COMMAND_INVALID - unimplemented method")
            session = Session(self, channel, self.broker.rely)
            command(session, method.arguments)
        except ChannelError as e:
            self._close_channel(channel, e, method.index)
        except ConnectionError as e:
            self._fail(e, method.index)

    def _unopened_frame_received(self, kind: int, number: int, payload: bytes) -> None:
        closing = number in self.channels
        if closing and kind != METHOD:
            return
        method = decode_method(payload) if kind == METHOD else None
        name = "" if method is None else method.name
        if closing:
            if name in ("channel.close", "channel.close-ok"):
                del self.channels[number]
            if name == "channel.close":
                self._call_on(number, "channel.close-ok")
        elif name == "channel.open":
            self._open_channel(number)
        elif name != "channel.close-ok":
            error = ConnectionError(504, "CHANNEL_ERROR - expected 'channel.open'")
            self._fail(error, (0, 0) if method is None else method.index)

    def _open_channel(self, number: int) -> None:
        if len(self.channels) >= self._channel_max:
            raise not_allowed(
                f"number of channels opened ({len(self.channels)}) has reached the"
                f" negotiated channel_max ({self._channel_max})"
            )
        self.channels[number] = Channel(number, self)
        self._call_on(number, "channel.open-ok", "")

    def _channel_closed(self, channel: Channel) -> None:
        channel.confirm_all()
        channel.end()
        del self.channels[channel.number]
        self._call_on(channel.number, "channel.close-ok")

    def _close_channel(
        self, channel: Channel, error: AmqpError, index: tuple[int, int]
    ) -> None:
        channel.confirm_all()
        channel.closing = True
        channel.end()
        text = _short(str(error))
        channel.call("channel.close", error.code, text, *index)

    # -- Writing

    def write(self, data: bytes) -> None:
        """
        Send C{data} at the end of this turn.
        """
        self._out.append(data)
        self._out_size += len(data)
        if self._out_size > CONGESTED:
            self.congested = True
        self.broker.ends_turn(self)

    def _call(self, name: str, *arguments: Any) -> None:
        self._call_on(0, name, *arguments)

    def _call_on(self, number: int, name: str, *arguments: Any) -> None:
        self.write(method_frame(number, name, arguments))

    def confirming(self, channel: Channel) -> None:
        """
        A channel has something to confirm at the end of this turn.
        """
        self._confirming[channel] = None
        self.broker.rely()
        self.broker.ends_turn(self)

    def finish_turn(self) -> None:
        """
        Say what there is to say: what it promises is committed.
        """
        for channel in self._confirming:
            if not channel.closing:
                channel.confirm_all()
        self._confirming.clear()
        out, self._out, self._out_size = b"".join(self._out), [], 0
        transport: Any = self.transport
        if not out or transport is None:
            return
        self._wrote = True
        self._unread += len(out)
        transport.write(out)
        if self.state == "over":
            transport.loseConnection()
        elif self._paused and self._unread > SWAMPED:
            transport.pauseProducing()
        elif self.congested and not self._paused:
            self.resumeProducing()

    def pauseProducing(self) -> None:
        """
        The client does not read as fast as we write.
        """
        self.congested = self._paused = True

    def resumeProducing(self) -> None:
        """
        It has read all.
        """
        self.congested = self._paused = False
        transport: Any = self.transport
        if self._unread > SWAMPED:
            transport.resumeProducing()
        self._unread = 0
        self.broker.begin_turn()
        for channel in list(self.channels.values()):
            channel.wake()

    def stopProducing(self) -> None:
        """
        The connection is lost; L{connectionLost} does what is to be done.
        """

    def _heartbeat(self) -> None:
        self._silent_beats = 0 if self._heard else self._silent_beats + 1
        self._heard = False
        # Two intervals, of two beats each (section 4.2.7).
        if self._silent_beats >= 4:
            transport: Any = self.transport
            transport.abortConnection()
        elif not self._wrote and self.transport is not None:
            self.transport.write(HEARTBEAT_FRAME)
        self._wrote = False

    # -- The end

    def close(self, arguments: Mapping[str, Any]) -> None:
        """
        The client wants no more.
        """
        self._call("connection.close-ok")
        self._end()
        self._lose()

    def close_ok(self, arguments: Mapping[str, Any]) -> None:
        """
        It agrees that the connection is closed.
        """
        self._lose()

    def shut(self, code: int, text: str) -> None:
        """
        Close it from here.
        """
        if self.state in ("header", "over"):
            self._lose()
        elif self.state != "closing":
            self._fail(ConnectionError(code, text))

    def _fail(self, error: AmqpError, index: tuple[int, int] = (0, 0)) -> None:
        if self.state in ("closing", "over"):  # it has been told once
            self._lose()
            return
        self.log.info(
            "The connection of {user!r} is closed: {error}",
            user=self.user,
            error=error,
        )
        self._end()
        self._call("connection.close", error.code, _short(str(error)), *index)
        self.state = "closing"
        self._buffer = b""
        self._within(CLOSE_TIMEOUT)

    def _end(self) -> None:
        channels, self.channels = self.channels, {}
        for channel in channels.values():
            if not channel.closing:
                channel.confirm_all()
                channel.closing = True
                channel.end()
        self.vhost.connection_lost(self)

    def _lose(self) -> None:
        self.state = "over"
        self._buffer = b""
        transport: Any = self.transport
        if transport is None:
            return
        self._within(CLOSE_TIMEOUT)
        transport.unregisterProducer()  # or it would not be closed
        if self._out:
            self.broker.ends_turn(self)
        else:
            transport.loseConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.broker.begin_turn()
        self.state = "over"
        self._within(None)
        if self._beat.running:
            self._beat.stop()
        self._end()
        self._out.clear()
        self.transport = None
        self.broker.connection_lost(self)


#: What a client may call on channel 0, by the state of its connection.
STATES: dict[str, dict[str, Callable[[Connection, Mapping[str, Any]], None]]] = {
    "header": {},
    "start-ok": {"connection.start-ok": Connection.start_ok},
    "tune-ok": {"connection.tune-ok": Connection.tune_ok},
    "open": {
        "connection.open": Connection.open,
        "connection.close": Connection.close,
    },
    "running": {
        "connection.close": Connection.close,
        "connection.update-secret": Connection.secret_updated,
    },
    "closing": {
        "connection.close": Connection.close,
        "connection.close-ok": Connection.close_ok,
    },
    "over": {},
}


# -- How clients say who they are


def _plain(response: str | bytes) -> tuple[str, str]:
    """
    RFC 4616; as RabbitMQ, we take nobody for anybody else.
    """
    parts = _text(response).split("\0")
    if len(parts) != 3:
        raise ConnectionError(502, "SYNTAX_ERROR - the response is not one of PLAIN")
    return parts[1], parts[2]


def _amqplain(response: str | bytes) -> tuple[str, str]:
    """
    A table without its length, of LOGIN and PASSWORD.
    """
    raw = response.encode() if isinstance(response, str) else response
    try:
        table = decode_table(struct.pack(">I", len(raw)) + raw)
    except CodecError as e:
        text = f"the response is not one of AMQPLAIN: {e}"
        raise ConnectionError(502, f"SYNTAX_ERROR - {text}") from None
    return _text(table.get("LOGIN", "")), _text(table.get("PASSWORD", ""))


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) else ""


_MECHANISMS = {"PLAIN": _plain, "AMQPLAIN": _amqplain}


# -- What is read often, or is too long

_PUBLISH = (60, 40)
_PUBLISH_INDEX = struct.pack(">HH", *_PUBLISH)


def _read_publish(payload: bytes) -> tuple[str, str]:
    """
    Exchange and routing key of C{basic.publish}, behind a reserved short.
    """
    begin = 7
    end = begin + payload[6]
    key_begin = end + 1
    key_end = key_begin + payload[end]
    if key_end + 1 != len(payload):
        raise CodecError("basic.publish is cut short, or too long")
    return (
        payload[begin:end].decode("utf-8", "surrogateescape"),
        payload[key_begin:key_end].decode("utf-8", "surrogateescape"),
    )


def _unexpected(expected: str, got: str) -> ConnectionError:
    text = f"expected {expected}, got {got} instead"
    return ConnectionError(505, f"UNEXPECTED_FRAME - {text}")


def _short(text: str) -> str:
    """
    As much of C{text} as a reply text may hold: 255 bytes.
    """
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= 255 else raw[:252].decode("utf-8", "ignore") + "..."
