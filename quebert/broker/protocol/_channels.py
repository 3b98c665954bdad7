"""
The channels of one connection: which are open, and what comes for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from quebert._protocol.basic import SETTLEMENT, read_publish
from quebert._protocol.frames import FRAME_BODY, FRAME_HEADER, FRAME_METHOD
from quebert._protocol.methods import METHODS, method_frame, reply_text
from quebert.broker.protocol._channel import ServerChannel
from quebert.broker.protocol._channel_writer import ServerChannelOwner
from quebert.broker.protocol._commands import COMMANDS, CommandContext
from quebert.broker.protocol._methods import decode_method, name_of
from quebert.broker.state import AMQPChannelError, AMQPConnectionError, not_allowed
from quebert.errors import ReplyCode

__all__ = ["Channels"]

_PUBLISH, _ACK = METHODS["basic.publish"], METHODS["basic.ack"]
_PUBLISH_INDEX, _ACK_INDEX = _PUBLISH.index, _ACK.index


class Channels:
    """
    @param most: how many may be open.
    @param rely: to be called when an answer is a promise that outlives the broker.
    """

    def __init__(
        self, connection: ServerChannelOwner, most: int, rely: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._most = most
        self._rely = rely
        self._channels: dict[int, ServerChannel] = {}

    def __iter__(self) -> Iterator[ServerChannel]:
        return iter(list(self._channels.values()))

    def frame_received(self, kind: int, number: int, payload: bytes) -> None:
        """
        A frame for a channel.

        @raise AMQPConnectionError: it may not come.
        @raise CodecError: it is malformed.
        """
        channel = self._channels.get(number)
        if channel is None or channel.closing:
            self._unopened_frame_received(kind, number, payload)
        elif channel.publishing.expects == FRAME_METHOD:
            if kind != FRAME_METHOD:
                raise _unexpected("method frame", "non method frame")
            self._method_received(channel, payload)
        else:
            self._content_received(channel, kind, payload)

    def _method_received(self, channel: ServerChannel, payload: bytes) -> None:
        index = payload[:4]
        if index == _PUBLISH_INDEX and payload[-1] < 2:
            exchange, key, bits = read_publish(payload)
            channel.publishing.publish(exchange, key, mandatory=bits == 1)
        elif (
            index == _ACK_INDEX and len(payload) == SETTLEMENT.size and payload[-1] < 2
        ):
            tag, multiple = SETTLEMENT.unpack(payload)
            try:
                channel.ack(tag, multiple=multiple == 1)
            except AMQPChannelError as e:
                self._close(channel, e, _ACK.numbers)
        else:
            self._other_method_received(channel, payload)

    def _other_method_received(self, channel: ServerChannel, payload: bytes) -> None:
        name, index = name_of(payload)
        if name == "channel.close":
            self._closed(channel)
            return
        command = COMMANDS.get(name)
        try:
            if command is None:
                raise AMQPConnectionError(
                    ReplyCode.COMMAND_INVALID, "unimplemented method"
                )
            arguments = decode_method(payload).arguments
            command(CommandContext(self._connection, channel, self._rely), arguments)
        except AMQPChannelError as e:
            self._close(channel, e, index)
        except AMQPConnectionError as e:
            raise e.about(index) from None

    def _content_received(
        self, channel: ServerChannel, kind: int, payload: bytes
    ) -> None:
        publishing = channel.publishing
        try:
            if publishing.expects == FRAME_HEADER:
                if kind != FRAME_HEADER:
                    wanted = "content header for class 60"
                    raise _unexpected(wanted, "non content header frame")
                publishing.header_received(payload)
            else:
                if kind != FRAME_BODY:
                    raise _unexpected("content body", "non content body frame")
                publishing.body_received(payload)
        except AMQPChannelError as e:
            self._close(channel, e, _PUBLISH.numbers)
        except AMQPConnectionError as e:
            raise e.about(_PUBLISH.numbers) from None

    # -- Opening and closing

    def _unopened_frame_received(self, kind: int, number: int, payload: bytes) -> None:
        closing = number in self._channels
        if kind != FRAME_METHOD and closing:
            return
        name, index = name_of(payload) if kind == FRAME_METHOD else ("", None)
        if closing:
            if name in ("channel.close", "channel.close-ok"):
                del self._channels[number]
            if name == "channel.close":
                self._call(number, "channel.close-ok")
        elif name == "channel.open":
            self._open(number)
        elif name != "channel.close-ok":
            error = AMQPConnectionError(
                ReplyCode.CHANNEL_ERROR, "expected 'channel.open'"
            )
            raise error if index is None else error.about(index)

    def _open(self, number: int) -> None:
        there = len(self._channels)
        if there >= self._most:
            text = f"has reached the negotiated channel_max ({self._most})"
            raise not_allowed(f"number of channels opened ({there}) {text}")
        self._channels[number] = ServerChannel(number, self._connection)
        self._call(number, "channel.open-ok", "")

    def _closed(self, channel: ServerChannel) -> None:
        channel.end()
        del self._channels[channel.writer.number]
        self._call(channel.writer.number, "channel.close-ok")

    def _close(
        self, channel: ServerChannel, error: AMQPChannelError, index: tuple[int, int]
    ) -> None:
        channel.end()
        channel.writer.call("channel.close", error.code, reply_text(str(error)), *index)

    def end(self) -> None:
        """
        The connection is closed, and so are they.
        """
        channels, self._channels = self._channels, {}
        live = [channel for channel in channels.values() if not channel.closing]
        for channel in live:  # none of them is to get what another one gives back
            channel.closing = True
        for channel in live:
            channel.end()

    def _call(self, number: int, name: str, *arguments: object) -> None:
        self._connection.write(method_frame(number, name, arguments))


def _unexpected(expected: str, got: str) -> AMQPConnectionError:
    text = f"expected {expected}, got {got} instead"
    return AMQPConnectionError(ReplyCode.UNEXPECTED_FRAME, text)
