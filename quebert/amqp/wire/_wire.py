"""
One connection to a broker: logging in, opening channels, a broker that takes no
messages for now, and the end.

Negotiation is txamqp's.  Knows no reconnecting and no queues.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from txamqp.client import Closed, TwistedDelegate

from quebert._log import Logger
from quebert._protocol.frames import CHANNEL_MAX, FRAME_MAX, FRAME_MIN
from quebert._protocol.methods import reply_text
from quebert._repeated import RepeatedState
from quebert._text import printable
from quebert._waiters import Waiters
from quebert.amqp.wire._channel import Channel
from quebert.amqp.wire._frame_client import FrameClient
from quebert.amqp.wire._unanswered import Unanswered
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    ChannelLost,
    ProtocolError,
    ReplyCode,
)

__all__ = ["Wire"]

#: Bytes of a body that a broker takes, unless somebody has set a strange limit.
_SURELY_TAKEN = 2**18

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


class _Delegate(TwistedDelegate):  # type: ignore[misc]
    """
    What the broker asks of us.
    """

    client: Wire

    def dispatch(self, channel: Channel, message: Any) -> None:
        method = f"{message.method.klass.name}_{message.method.name}"
        if not hasattr(self, method.replace("-", "_")):
            text = f"the broker sent {method}, which only clients may"
            raise ProtocolError(ReplyCode.COMMAND_INVALID, text)
        super().dispatch(channel, message)

    def connection_start(self, channel: Channel, message: Any) -> None:
        if self.client.greeted:
            text = "the broker sent connection.start again"
            raise ProtocolError(ReplyCode.COMMAND_INVALID, text)
        self.client.greeted = True
        self.client.server_properties = message.server_properties
        mechanisms = message.mechanisms.split()
        if self.client.mechanism not in mechanisms:
            known = f"{mechanisms!r:.200}"
            text = f"the broker knows {known}, not {self.client.mechanism}"
            raise ProtocolError(ReplyCode.NOT_ALLOWED, text)
        channel.connection_start_ok(
            client_properties={
                "connection_name": self.client.name,
                **_CLIENT_PROPERTIES,
            },
            mechanism=self.client.mechanism,
            response=self.client.response,
            locale=self.client.locale,
        )

    def connection_tune(self, channel: Channel, message: Any) -> None:
        self.client.tuned(message.channel_max, message.frame_max, message.heartbeat)

    def connection_close(self, channel: Channel, message: Any) -> None:
        self.client.why = _refusal(message)
        super().connection_close(channel, message)

    def connection_blocked(self, channel: Channel, message: Any) -> None:
        self.client.block(printable(message.reason))

    def connection_unblocked(self, channel: Channel, message: Any) -> None:
        self.client.unblock()

    def channel_close(self, channel: Channel, message: Any) -> None:
        channel.why = _refusal(message)
        self.client.left_channels.add(channel.id)
        super().channel_close(channel, message)

    def basic_cancel(self, channel: Channel, message: Any) -> None:
        channel.cancelled(message.consumer_tag)


def _refusal(message: Any) -> BrokerRefused:
    return BrokerRefused(message.reply_code, printable(message.reply_text))


class Wire(FrameClient):
    """
    One connection to a broker.

    @ivar name: the name of the connection, which the broker is told
        (C{connection_name}).
    @ivar why: why it ended, or C{None}.
    @ivar lost: fires, with that reason, when it has ended.
    @ivar blocked: why the broker reads nothing that we publish, or C{None}.
    @ivar greeted: whether the broker has said anything yet.
    @ivar server_properties: what the broker has told of itself.
    @ivar max_message_size: the largest body, in bytes, that the broker is known to
        take.  RabbitMQ tells its limit when it refuses a larger one.
    @ivar mechanism: the SASL mechanism by which we log in, such as C{PLAIN}.
    @ivar response: what proves to the broker who we are, in the form of the mechanism.
    @ivar locale: the language of the broker's texts.  txamqp's C{connection.start-ok}
        has all three.
    """

    log = Logger()

    def __init__(
        self, *, vhost: str, heartbeat: int, clock: IReactorTime, name: str = "quebert"
    ) -> None:
        super().__init__(_Delegate(), vhost, clock)
        self.name = name
        self.why: BrokerError | None = None
        self.lost: Deferred[BrokerError] = Deferred()
        self.blocked: str | None = None
        self._until_unblocked: Waiters[None] = Waiters()
        self._blockade = RepeatedState(
            self.log,
            lambda: self.clock,
            "The broker takes no messages for now",
            "The broker takes messages again",
        )
        self._unanswered = Unanswered(lambda: self.clock, name)
        self.greeted = False
        self.server_properties: dict[str, Any] = {}
        self.max_message_size = _SURELY_TAKEN
        self._tuned = False
        self._wanted_heartbeat = heartbeat
        self._channel_max = CHANNEL_MAX
        self._last_number = 0  # of a channel

    # -- The beginning

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
            why = self.why or ChannelLost("the connection was lost")
            raise why from why.__cause__  # which may be about a certificate

    def tuned(self, channel_max: int, frame_max: int, heartbeat: int) -> None:
        """
        Answer the broker's limits, where 0 means no limit (reference, section
        1.4.2.6).

        @raise ProtocolError: it is not the time for that, or they are too low.
        """
        if not self.greeted or self._tuned:
            text = "the broker sent connection.tune at a wrong time"
            raise ProtocolError(ReplyCode.COMMAND_INVALID, text)
        if 0 < frame_max < FRAME_MIN:
            text = f"the broker takes frames of {frame_max} bytes, not of {FRAME_MIN}"
            raise ProtocolError(ReplyCode.SYNTAX_ERROR, text)
        self._tuned = True
        frame_max = min(frame_max or FRAME_MAX, FRAME_MAX)
        self._channel_max = min(channel_max or CHANNEL_MAX, CHANNEL_MAX)
        wanted = self._wanted_heartbeat
        heartbeat = min(heartbeat or wanted, wanted)
        self.channels[0].connection_tune_ok(self._channel_max, frame_max, heartbeat)
        self.agree(frame_max, heartbeat)
        self.started.fire()

    @property
    def unconfirmed(self) -> int:
        """
        How many publications wait for their confirm, or for being sent.
        """
        return sum(len(each.publications) for each in self.channels.values())

    async def open_channel(self, *, confirms: bool = True) -> Channel:
        """
        A new channel, in confirm mode if C{confirms}.
        """
        number = self._free_number()
        if self.closed:
            raise self.why or ChannelLost("the connection is closed")
        channel: Channel = self.channelFactory(number, self.outgoing, self)
        self.left_channels.discard(number)
        self.channels[number] = channel
        try:
            await channel.call("channel_open")
            if confirms:
                await channel.call("confirm_select")
        except BaseException:
            Deferred.fromCoroutine(channel.shut())  # which may take its time
            raise
        return channel

    def _free_number(self) -> int:
        """
        The number of a channel that is free, in turn: what the broker still sends on a
        channel that it has closed is not taken for the next channel's.
        """
        taken = self.channels.keys() | self.closing_channels
        last, most = self._last_number, self._channel_max
        numbers = chain(range(last + 1, most + 1), range(1, last + 1))
        number = next((n for n in numbers if n not in taken), None)
        if number is None:
            raise BrokerError(f"all {most} channels are in use")
        self._last_number = number
        return number

    def channel(self, id: int) -> Deferred[Channel]:
        """
        What txamqp asks for a channel with, which is open by then.
        """
        return succeed(self.channels[id])

    # -- While it lasts

    def beat(self, seconds: float) -> None:
        """
        Look for what the broker leaves without an answer.  While it blocks, it reads
        nothing, and tells so.
        """
        if self.blocked is not None:
            self._unanswered.forget()
            return
        channels = list(self.channels.values())
        waiting = (each for channel in channels for each in channel.waits_for())
        self._unanswered.look(waiting, 1.5 * seconds)

    def fell_silent(self) -> None:
        """
        Give the connection up.
        """
        self.why = ChannelLost(
            "nothing was heard from the broker for two heartbeat intervals"
        )
        self.transport.abortConnection()

    def block(self, reason: str) -> None:
        """
        The broker is short of memory or disk (C{connection.blocked}), and does not read
        what we publish.
        """
        if self.blocked is None:
            self._blockade.begun(reason)
        self.blocked = reason

    def unblock(self) -> None:
        """
        The broker reads again (C{connection.unblocked}).
        """
        if self.blocked is None:
            return
        self.blocked = None
        self._blockade.over()
        for channel in list(self.channels.values()):
            channel.publications.send_waiting()
        self._until_unblocked.fire(None)

    def when_unblocked(self) -> Deferred[None]:
        """
        Fires as soon as the broker reads what we publish, or the connection is closed.
        """
        if self.blocked is None or self.closed:
            return succeed(None)
        return self._until_unblocked.wait()

    # -- The end

    def fail(self, error: ProtocolError) -> None:
        """
        End the connection, and tell the broker why.
        """
        self.why = error  # which is told by whoever is connected
        closing = self.channels[0].connection_close(error.code, reply_text(str(error)))
        closing.addErrback(lambda _: None)
        self.do_close(error)

    def do_close(self, reason: object) -> None:
        """
        Close all channels, and then the transport.
        """
        self.closed = True
        for channel in list(self.channels.values()):
            channel.close(reason)
        self._until_unblocked.fire(None)
        self.delegate.close(reason)

    def close(self, reason: object = None, within: float = 0) -> None:
        """
        What txamqp calls when it failed to carry out a method of the broker's,
        and when the connection is lost.
        """
        if self.closed:
            return
        if isinstance(reason, Failure) and isinstance(reason.value, ProtocolError):
            self.fail(reason.value)
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
        Close the connection politely; after C{within} seconds, and when the
        broker reads nothing, anyway.
        """
        if not self.closed:
            self.why = ChannelLost("the connection was closed here")
            within = 0 if self.blocked is not None else within
            for channel in self.channels.values():
                channel.flush()
            closing = self.channels[0].connection_close(
                ReplyCode.REPLY_SUCCESS, "goodbye"
            )
            closing.addTimeout(within, self.clock)
            closing.addCallbacks(lambda _: True, lambda _: False)
            answered = await closing
            self.do_close(self.why)
            if not answered:  # nor will it read what is still to be sent
                self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        """
        Fail all that waits for an answer.
        """
        self._blockade.end()
        if self.why is None:
            text = f"the connection to the broker was lost: {reason.value}"
            self.why = ChannelLost(text)
            self.why.__cause__ = reason.value
        super().connectionLost(reason)
        self.lost.callback(self.why)
