"""
A sign that a watch gives to others: it consumes from a queue that never has a message.

An exclusive sign is a lock: RabbitMQ lets one have it at a time.  When its owner is
killed, RabbitMQ takes it away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from quebert.amqp.queues import declare_queue
from quebert.errors import BrokerRefused, ReplyCode

if TYPE_CHECKING:
    from quebert.amqp.wire import Channel, Message, Wire

__all__ = ["ConsumerSign"]


class ConsumerSign:
    """
    @param exclusive: whether one may have it at a time.
    @ivar queue: that is consumed.
    """

    def __init__(
        self, queue: str, arguments: Mapping[str, Any], *, exclusive: bool = False
    ) -> None:
        self.queue = queue
        self._arguments = arguments
        self._exclusive = exclusive
        self._channel: Channel | None = None
        self._ended = False

    @property
    def is_given(self) -> bool:
        """
        Whether we give it.
        """
        return self._channel is not None and not self._channel.closed

    async def give(self, wire: Wire) -> bool:
        """
        Give it, unless we do already.

        @return: whether we do: others may have one that is exclusive, or it was ended.
        @raise BrokerError: RabbitMQ refuses it, or the connection is lost.
        """
        if self.is_given:
            return True
        await declare_queue(wire, self.queue, self._arguments)
        channel = await wire.open_channel(confirms=False)
        channel.on_message = _ack_on(channel)
        channel.on_cancel = lambda tag: _shut(channel)
        try:
            await channel.call(
                "basic_consume", queue=self.queue, exclusive=self._exclusive
            )
        except BrokerRefused as e:
            _shut(channel)
            if self._exclusive and e.code == ReplyCode.ACCESS_REFUSED:
                return False
            raise
        except BaseException:
            _shut(channel)
            raise
        if self._ended:  # meanwhile
            _shut(channel)
            return False
        self._channel = channel
        return True

    async def take_back(self) -> None:
        """
        Give it no more.
        """
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.shut()

    async def end(self) -> None:
        """
        Give it no more, for ever; also if it is about to be given.
        """
        self._ended = True
        await self.take_back()


def _ack_on(channel: Channel) -> Any:
    def ack(message: Message) -> None:
        channel.ack(message.delivery_tag)

    return ack


def _shut(channel: Channel) -> None:
    Deferred.fromCoroutine(channel.shut())
