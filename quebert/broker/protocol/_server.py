"""
One client's connection to the broker: its states, and what may be called in each.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from quebert._host import network_of
from quebert._protocol.frames import (
    CHANNEL_MAX,
    FRAME_HEARTBEAT,
    FRAME_MAX,
    FRAME_METHOD,
    FrameError,
)
from quebert._protocol.methods import method_frame, reply_text
from quebert._protocol.values import CodecError
from quebert._repeated import RepeatedWarning
from quebert.broker.protocol import _login
from quebert.broker.protocol._channels import Channels
from quebert.broker.protocol._frame_connection import (
    FrameConnection,
    Incoming,
    TurnOwner,
)
from quebert.broker.protocol._methods import decode_method, name_of
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


class ConnectionOwner(TurnOwner, Protocol):
    """
    The broker, as its connections know it.

    @ivar vhosts: its virtual hosts, by their names.
    @ivar default_vhost: that of a connection which has not said otherwise yet.
    @ivar refused: warns of those who are not let in.
    """

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

    def connection_lost(self, connection: ServerConnection) -> None:
        """
        One client less.
        """


class ServerConnection(FrameConnection):
    """
    @ivar state: a key of L{STATES}.
    @ivar user: whose password was right; empty before the client has logged in.
    @ivar vhost: what it works with; before it has said so, the default one.
    @ivar wants_cancels: whether it is told when a queue that it consumes is gone.
    @ivar broker: whose client it is.
    @ivar network: the address of the client, or its IPv6 network of 64 bits.
    @ivar channels: its channels.
    """

    def __init__(self, broker: ConnectionOwner, host: str = "") -> None:
        super().__init__(broker)
        self.broker = broker
        self.network = network_of(host)
        self.state = "header"
        self.user = ""
        self.vhost: VirtualHost = broker.default_vhost
        self.wants_cancels = False
        self.channels = Channels(self, CHANNEL_MAX, broker.rely)
        self._deadline: IDelayedCall | None = None
        self._waiting: tuple[str, IDelayedCall] | None = None

    def _enter(self, state: str) -> None:
        self.state = state
        self.incoming = STATES[state].incoming

    # -- The beginning

    def connectionMade(self) -> None:
        """
        Tell the broker of the client, which must log in in time.
        """
        super().connectionMade()
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
            self._deadline = self.broker.clock.callLater(seconds, self.cut)

    def header_received(self) -> None:
        """
        The client speaks AMQP: ask who it is.
        """
        mechanisms = " ".join(_login.MECHANISMS)
        start = (0, 9, _login.SERVER_PROPERTIES, mechanisms, "en_US")
        self._call("connection.start", *start)
        self._enter("starting")

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
            self.cut()
        elif wait:
            transport: Any = self.transport
            transport.pauseProducing()
            self._enter("waiting")
            again = self._log_in_later, user, password, mechanism, is_told
            self._waiting = user, self.broker.clock.callLater(wait, *again)
        else:
            self._log_in(user, password, mechanism, is_told)

    def _log_in_later(self, user: str, *rest: Any) -> None:
        self._waiting = None
        self.broker.end_wait(self, user)
        self._log_in(user, *rest)
        transport: Any = self.transport
        if transport is not None:
            transport.resumeProducing()
            self.read_on()  # what came meanwhile

    def _log_in(self, user: str, password: str, mechanism: str, is_told: bool) -> None:
        if self.broker.lets_in(self, user, password):
            self.user = user
            limits = CHANNEL_MAX, FRAME_MAX, _login.PROPOSED_HEARTBEAT
            self._call("connection.tune", *limits)
            self._enter("tuning")
        elif is_told:
            self._refuse(_login.login_refused(mechanism))
        else:
            self.lose()

    def tune_ok(self, arguments: Mapping[str, Any]) -> None:
        """
        What the client makes of our limits.

        @raise AMQPConnectionError: it goes beyond them.
        """
        _login.check_limits(arguments)
        self.channels = Channels(self, arguments["channel_max"], self.broker.rely)
        self.agree(arguments["frame_max"], arguments["heartbeat"])
        self._enter("opening")

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
        self._enter("running")

    def secret_updated(self, arguments: Mapping[str, Any]) -> None:
        """
        A password does not expire here.
        """
        self._call("connection.update-secret-ok")

    # -- While it lasts

    def frame_received(self, kind: int, number: int, payload: bytes) -> None:
        """
        Do what a frame asks for; what is wrong about it closes the connection.
        """
        try:
            self._take_frame(kind, number, payload)
        except AMQPConnectionError as e:
            self.fail(e)
        except (CodecError, struct.error, IndexError) as e:
            self.fail(AMQPConnectionError(ReplyCode.FRAME_ERROR, str(e)))

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

    def _call(self, name: str, *arguments: Any) -> None:
        self.write(method_frame(0, name, arguments))

    def relieved(self) -> None:
        """
        Give the consumers of the client what they had no room for.

        @raise StoreError: a message cannot be read.
        """
        for channel in self.channels:
            channel.wake()

    # -- The end

    def close(self, arguments: Mapping[str, Any]) -> None:
        """
        The client wants no more.
        """
        self._end()
        self._call("connection.close-ok")
        self.lose()

    def close_ok(self, arguments: Mapping[str, Any]) -> None:
        """
        It agrees that the connection is closed.
        """
        self.lose()

    def shut(self, code: ReplyCode, text: str) -> None:
        """
        Close it from here.
        """
        if self.state == "header":
            self.lose()
        elif self.state not in ("closing", "deaf", "over"):
            self.fail(AMQPConnectionError(code, text))

    def not_understood(self, error: FrameError) -> None:
        """
        What came is no frame: close the connection, and read nothing more.
        """
        self.fail(AMQPConnectionError(ReplyCode.FRAME_ERROR, str(error)))
        if self.state == "closing":
            self._enter("deaf")

    def fail(self, error: AMQPError) -> None:
        """
        Close the connection, and tell the client why.
        """
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
        self._enter("closing")
        self._within(CLOSE_TIMEOUT)

    def _end(self) -> None:
        try:
            self.channels.end()
            self.vhost.connection_lost(self)
        except StoreError as e:
            self.broker.fail(e)

    def lose(self) -> None:
        """
        Close the transport, once all is written.
        """
        self._enter("over")
        if self.transport is not None:
            self._within(CLOSE_TIMEOUT)
            self._output.end()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        End all channels: their deliveries go back to the queues.
        """
        self.broker.begin_turn()
        self._enter("over")
        self._within(None)
        if self._waiting is not None:
            (user, call), self._waiting = self._waiting, None
            self.broker.end_wait(self, user)
            call.cancel()
        self._end()
        super().connectionLost(reason)
        self.broker.connection_lost(self)


Take = Callable[[ServerConnection, Mapping[str, Any]], None]


@attrs.frozen
class _ConnectionState:
    """
    @ivar methods: what a client may call on channel 0.
    @ivar incoming: what becomes of what it sends.
    """

    methods: Mapping[str, Take] = attrs.field(factory=dict)
    incoming: Incoming = Incoming.FRAMES


_CLOSE: dict[str, Take] = {"connection.close": ServerConnection.close}

#: The states of a connection, in their order.
STATES = {
    "header": _ConnectionState(incoming=Incoming.HEADER),
    "starting": _ConnectionState({"connection.start-ok": ServerConnection.start_ok}),
    # A password is not looked at yet, since others were wrong.
    "waiting": _ConnectionState(incoming=Incoming.KEEP),
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
    "deaf": _ConnectionState(incoming=Incoming.DROP),
    # ... nothing is left but to write what is to be written.
    "over": _ConnectionState(incoming=Incoming.DROP),
}
