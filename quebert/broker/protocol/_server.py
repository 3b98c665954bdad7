"""
One client's connection to the broker: frames, the states of the connection, and
what may be called in each.
"""

from __future__ import annotations

import struct
import typing
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from quebert._host import network_of
from quebert._log import Logger
from quebert._protocol.codec import CodecError
from quebert._protocol.frames import (
    CHANNEL_MAX,
    FRAME_HEARTBEAT,
    FRAME_MAX,
    FRAME_METHOD,
    FRAME_OVERHEAD,
    HEARTBEAT_FRAME,
    PROTOCOL_HEADER,
    FrameError,
    FrameReader,
    WholeFrame,
)
from quebert._protocol.heartbeat import Heartbeat
from quebert._protocol.methods import method_frame, reply_text
from quebert._repeated import RepeatedWarning
from quebert.broker.protocol import _login
from quebert.broker.protocol._channel_writer import Confirming
from quebert.broker.protocol._channels import Channels
from quebert.broker.protocol._methods import decode_method, name_of
from quebert.broker.protocol._output import Output
from quebert.broker.state import (
    AMQPConnectionError,
    AMQPError,
    VirtualHost,
    not_allowed,
)
from quebert.errors import ReplyCode, StoreError

__all__ = ["ServerConnection"]

#: Seconds in which a client is to have opened its virtual host, as RabbitMQ's.
HANDSHAKE_TIMEOUT = 10.0
#: Seconds that it has for its C{close-ok}.
CLOSE_TIMEOUT = 10.0
#: Bytes that a frame has at most before a client has logged in, as in RabbitMQ 4.1:
#: what is in it is decoded for anybody.
INITIAL_FRAME_MAX = 8_192
#: Bytes that may have come after a password that waits.
MOST_WAITING_BYTES = 131_072

#: That of AMQP 0-9, too: it is safely taken for 0-9-1, as RabbitMQ does, and all
#: that txamqp says of itself.
_HEADERS = (PROTOCOL_HEADER, b"AMQP\1\1\0\x09")
#: Octets of a frame beyond what was agreed that are taken: some clients count so.
_TOLERATED = 8
#: The states in which no frame is looked at.
_NO_FRAMES = ("waiting", "over")


class ConnectionOwner(typing.Protocol):
    """
    The broker, as its connections know it.

    @ivar clock: its clock.
    @ivar vhosts: its virtual hosts, by their names.
    @ivar default_vhost: that of a connection which has not said otherwise yet.
    @ivar refused: warns of those who are not let in.
    """

    clock: IReactorTime
    vhosts: dict[str, VirtualHost]
    default_vhost: VirtualHost
    refused: RepeatedWarning

    def connected(self, connection: ServerConnection) -> None:
        """
        Another client, that has not logged in.
        """

    def begin_login(self, connection: ServerConnection, user: str) -> float | None:
        """
        Somebody gives a password.

        @return: seconds after which L{lets_in} may be asked; C{None} where the client
            is to be cut off.  L{end_wait} must follow if they are not 0.
        """

    def end_wait(self, connection: ServerConnection, user: str) -> None:
        """
        The password waits no longer.
        """

    def lets_in(self, connection: ServerConnection, user: str, password: str) -> bool:
        """
        Whether that is a user's password.
        """

    def begin_turn(self) -> None:
        """
        Something came, or its time did.
        """

    def rely(self) -> None:
        """
        What was done in this turn is to be safe before its end.
        """

    def ends_turn(self, connection: ServerConnection) -> None:
        """
        A connection has something to say at the end of this turn.
        """

    def fail(self, error: StoreError) -> None:
        """
        What is durable cannot be read or written.
        """

    def connection_lost(self, connection: ServerConnection) -> None:
        """
        One client less.
        """


class ServerConnection(Protocol):
    """
    @ivar state: a key of L{STATES}.
    @ivar user: who the client is.
    @ivar vhost: what it works with; before it has said so, the default one.
    @ivar wants_cancels: whether it is told when a queue that it consumes is gone.
    @ivar max_payload: the largest payload of a frame, in bytes.
    @ivar broker: whose client it is.
    @ivar network: the address of the client, or its IPv6 network of 64 bits.
    @ivar channels: its channels.
    """

    log = Logger()
    _output: Output

    def __init__(self, broker: ConnectionOwner, host: str = "") -> None:
        self.broker = broker
        self.network = network_of(host)
        self.state = "header"
        self.user = ""
        self.vhost: VirtualHost = broker.default_vhost
        self.wants_cancels = False
        self.max_payload = INITIAL_FRAME_MAX - FRAME_OVERHEAD
        self._reader = FrameReader(self.max_payload + _TOLERATED)
        self._frames: deque[WholeFrame] = deque()  # read, but the client must wait
        self.channels = Channels(self, CHANNEL_MAX, broker.rely)
        self._going_on: IDelayedCall | None = None
        self._confirming: dict[Confirming, None] = {}
        self._deadline: IDelayedCall | None = None
        self._waiting: tuple[str, IDelayedCall] | None = None
        self._heartbeat = Heartbeat(broker.clock, self._send_heartbeat, self._cut)

    # -- The beginning

    def connectionMade(self) -> None:
        """
        Tell the broker of the client, which must log in in time.
        """
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        self._output = Output(transport, self._relieved)
        self.broker.connected(self)
        self._within(HANDSHAKE_TIMEOUT)

    def _within(self, seconds: float | None) -> None:
        """
        It is to go on within C{seconds}, or for C{None} any time.
        """
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
        if seconds is not None:
            self._deadline = self.broker.clock.callLater(seconds, self._cut)

    def _cut(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()

    def _begin(self) -> None:
        mechanisms = " ".join(_login.MECHANISMS)
        start = (0, 9, _login.SERVER_PROPERTIES, mechanisms, "en_US")
        self._call("connection.start", *start)
        self.state = "starting"

    def start_ok(self, arguments: Mapping[str, Any]) -> None:
        """
        Who the client is.

        @raise AMQPConnectionError: it may not in.
        """
        capabilities = arguments["client_properties"].get("capabilities")
        if not isinstance(capabilities, dict):
            capabilities = {}
        self.wants_cancels = bool(capabilities.get("consumer_cancel_notify"))
        mechanism = arguments["mechanism"]
        is_told = bool(capabilities.get("authentication_failure_close"))
        user, password = _login.credentials(mechanism, arguments["response"])
        wait = self.broker.begin_login(self, user)
        if wait is None:
            self._cut()
        elif wait:
            transport: Any = self.transport
            transport.pauseProducing()
            self.state = "waiting"
            again = self._log_in_later, user, password, mechanism, is_told
            self._waiting = user, self.broker.clock.callLater(wait, *again)
        else:
            self._log_in(user, password, mechanism, is_told)

    def _log_in_later(self, user: str, *rest: Any) -> None:
        self._waiting = None
        self.broker.begin_turn()
        self.broker.end_wait(self, user)
        self._log_in(user, *rest)
        transport: Any = self.transport
        if transport is not None:
            transport.resumeProducing()
            self.dataReceived(b"")  # what came meanwhile

    def _log_in(self, user: str, password: str, mechanism: str, is_told: bool) -> None:
        if self.broker.lets_in(self, user, password):
            self.user = user
            limits = CHANNEL_MAX, FRAME_MAX, _login.PROPOSED_HEARTBEAT
            self._call("connection.tune", *limits)
            self.state = "tuning"
        elif is_told:
            self._refuse(_login.login_refused(mechanism))
        else:
            self._lose()

    def tune_ok(self, arguments: Mapping[str, Any]) -> None:
        """
        What the client makes of our limits.

        @raise AMQPConnectionError: it goes beyond them.
        """
        _login.check_limits(arguments)
        self.channels = Channels(self, arguments["channel_max"], self.broker.rely)
        self.max_payload = arguments["frame_max"] - FRAME_OVERHEAD
        self._reader.max_payload = self.max_payload + _TOLERATED
        self._heartbeat.start(arguments["heartbeat"])
        self.state = "opening"

    def open(self, arguments: Mapping[str, Any]) -> None:
        """
        Which virtual host the client wants.

        @raise AMQPConnectionError: there is no such one.
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
        """
        Read the frames in it, unless the client must wait.
        """
        self._heartbeat.heard = True
        if self.state == "waiting":
            self._reader.buffer += data
            if len(self._reader.buffer) > MOST_WAITING_BYTES:
                self._cut()
            return
        if not STATES[self.state].reads:
            return
        if self._output.swamped:  # a frame of a few bytes may ask for megabytes
            self._reader.buffer += data
            return
        self.broker.begin_turn()
        try:
            rest = self._protocol_header(data) if self.state == "header" else data
            if rest is not None:
                self._read(rest)
        except FrameError as e:  # where the next frame begins, who knows
            self._fail(AMQPConnectionError(ReplyCode.FRAME_ERROR, str(e)))
            self.state = "deaf" if self.state == "closing" else self.state
        except StoreError as e:
            self.broker.fail(e)
        except Exception:
            self.log.failure("A connection is closed for a defect of the broker.")
            self._fail(
                AMQPConnectionError(ReplyCode.INTERNAL_ERROR, "a defect of the broker")
            )

    def _protocol_header(self, data: bytes) -> bytes | None:
        """
        What follows the protocol header; C{None} where that has not come, or is of
        another protocol.
        """
        data = self._reader.buffer + data
        if data[:8] in _HEADERS:
            self._reader.buffer = b""
            self._begin()
            return data[8:]
        self._reader.buffer = data
        if not any(each.startswith(data[:8]) for each in _HEADERS):
            self.write(PROTOCOL_HEADER)  # what we do speak (section 2.2.4)
            self._lose()
        return None

    def _read(self, data: bytes) -> None:
        """
        Read the frames in it, until the client must wait; the others are kept.
        """
        frames = self._frames
        if frames:
            self._reader.buffer += data
        else:
            frames.extend(self._reader.read(data))
        while frames:
            if not self._frame_received(*frames.popleft()):
                return
            if not frames:  # or the next one is to be refused
                frames.extend(self._reader.read(b""))

    def _frame_received(self, kind: int, number: int, payload: bytes) -> bool:
        """
        @return: whether to read on.
        """
        try:
            self._take_frame(kind, number, payload)
        except AMQPConnectionError as e:
            self._fail(e)
        except (CodecError, struct.error, IndexError) as e:
            self._fail(AMQPConnectionError(ReplyCode.FRAME_ERROR, str(e)))
        return self.state not in _NO_FRAMES and not self._output.swamped

    def _take_frame(self, kind: int, number: int, payload: bytes) -> None:
        if self.state == "running" and number and kind != FRAME_HEARTBEAT:
            self.channels.frame_received(kind, number, payload)
        elif kind == FRAME_METHOD and number == 0:
            self._method_received(payload)
        elif (kind != FRAME_HEARTBEAT or number) and self.state != "closing":
            text = f"a frame of type {kind} on channel {number} in the state"
            raise AMQPConnectionError(
                ReplyCode.UNEXPECTED_FRAME, f"{text} {self.state}"
            )

    def _method_received(self, payload: bytes) -> None:
        name, index = name_of(payload)
        take = STATES[self.state].methods.get(name)
        try:
            if self.state == "closing":  # no arguments count any more
                if take is not None:
                    take(self, {})
            elif take is not None:
                take(self, decode_method(payload).arguments)
            else:
                text = f"unexpected method in connection state {self.state}"
                raise AMQPConnectionError(ReplyCode.CHANNEL_ERROR, text)
        except AMQPConnectionError as e:
            raise e.about(index) from None

    # -- Writing

    @property
    def congested(self) -> bool:
        """
        Whether the client does not read as fast as we write.
        """
        return self._output.congested

    def write(self, data: bytes) -> None:
        """
        Send C{data} at the end of this turn.
        """
        self._output.gather(data)
        self.broker.ends_turn(self)

    def _call(self, name: str, *arguments: Any) -> None:
        self.write(method_frame(0, name, arguments))

    def confirming(self, who: Confirming) -> None:
        """
        Somebody has something to confirm at the end of this turn.
        """
        self._confirming[who] = None
        self.broker.rely()
        self.broker.ends_turn(self)

    def finish_turn(self) -> None:
        """
        Say what there is to say: what it promises is committed.
        """
        for each in self._confirming:
            each.confirm_all()
        self._confirming.clear()
        if self.transport is not None:
            self._output.flush()

    def _relieved(self) -> None:
        self.broker.begin_turn()
        try:
            for channel in self.channels:
                channel.wake()
        except StoreError as e:
            self.broker.fail(e)
        there_is_more = self._frames or self._reader.buffer
        if there_is_more and self._going_on is None:
            self._going_on = self.broker.clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        """
        Read what has come already.
        """
        self._going_on = None
        self.dataReceived(b"")

    def _send_heartbeat(self) -> None:
        if not self._output.wrote and self.transport is not None:
            self.transport.write(HEARTBEAT_FRAME)
        self._output.wrote = False

    # -- The end

    def close(self, arguments: Mapping[str, Any]) -> None:
        """
        The client wants no more.
        """
        self._end()
        self._call("connection.close-ok")
        self._lose()

    def close_ok(self, arguments: Mapping[str, Any]) -> None:
        """
        It agrees that the connection is closed.
        """
        self._lose()

    def shut(self, code: ReplyCode, text: str) -> None:
        """
        Close it from here.
        """
        if self.state == "header":
            self._lose()
        elif self.state not in ("closing", "deaf", "over"):
            self._fail(AMQPConnectionError(code, text))

    def _fail(self, error: AMQPError) -> None:
        if self.state in ("closing", "over"):  # it has been told once
            return
        if self.user:
            self.log.info(
                "The connection of {user!r} is closed: {error}",
                user=self.user,
                error=error,
            )
        else:  # anybody can have this logged as often as they connect
            self.broker.refused.met(error)
        self._refuse(error)

    def _refuse(self, error: AMQPError) -> None:
        self._end()
        self._call("connection.close", error.code, reply_text(str(error)), *error.index)
        self.state = "closing"
        self._within(CLOSE_TIMEOUT)

    def _end(self) -> None:
        try:
            self.channels.end()
            self.vhost.connection_lost(self)
        except StoreError as e:
            self.broker.fail(e)

    def _lose(self) -> None:
        self.state = "over"
        if self.transport is not None:
            self._within(CLOSE_TIMEOUT)
            self._output.end()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        End all channels: their deliveries go back to the queues.
        """
        self.broker.begin_turn()
        self.state = "over"
        self._within(None)
        if self._going_on is not None:
            self._going_on.cancel()
            self._going_on = None
        if self._waiting is not None:
            (user, call), self._waiting = self._waiting, None
            self.broker.end_wait(self, user)
            call.cancel()
        self._heartbeat.stop()
        self._end()
        self._output.discard()
        self.transport = None
        self.broker.connection_lost(self)


Take = Callable[[ServerConnection, Mapping[str, Any]], None]


@attrs.frozen
class _ConnectionState:
    """
    @ivar methods: what a client may call on channel 0.
    @ivar reads: whether what it sends is looked at.
    """

    methods: Mapping[str, Take] = attrs.field(factory=dict)
    reads: bool = True


_CLOSE: dict[str, Take] = {"connection.close": ServerConnection.close}

#: The states of a connection, in their order.
STATES = {
    "header": _ConnectionState(),
    "starting": _ConnectionState({"connection.start-ok": ServerConnection.start_ok}),
    # A password is not looked at yet, since others were wrong.
    "waiting": _ConnectionState(reads=False),
    "tuning": _ConnectionState({"connection.tune-ok": ServerConnection.tune_ok}),
    "opening": _ConnectionState({"connection.open": ServerConnection.open, **_CLOSE}),
    "running": _ConnectionState(
        {"connection.update-secret": ServerConnection.secret_updated, **_CLOSE}
    ),
    # We have closed it, and the client is to agree; ...
    "closing": _ConnectionState(
        {"connection.close-ok": ServerConnection.close_ok, **_CLOSE}
    ),
    # ... we do not understand it any more; ...
    "deaf": _ConnectionState(reads=False),
    # ... nothing is left but to write what is to be written.
    "over": _ConnectionState(reads=False),
}
