"""
Hears on one connection that queues were paused or resumed, and questions about tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from quebert.amqp.coordination._pause_sign import CONTROL
from quebert.amqp.link import DeclareOnce
from quebert.amqp.queues import CLASSIC
from quebert.amqp.wire import Channel
from quebert.errors import BrokerError, ChannelLost

if TYPE_CHECKING:
    from quebert.amqp.coordination._pause_mark import PauseMark
    from quebert.amqp.wire import Message, Wire

__all__ = ["PauseListener"]


class PauseListener:
    """
    A queue of this client, bound to L{CONTROL}, which lasts as long as the connection.

    @param name: of the queue.
    @param mark: is made before the queue is.
    @param heard: called with the name of a queue that was paused or resumed.
    @param asked: called with a question about the tasks of a queue.
    @param ended: called with the reason when the listener hears nothing any more,
        unless C{wire} is closed.
    @ivar dead: it hears nothing any more; another listener may.
    """

    def __init__(
        self,
        wire: Wire,
        name: str,
        mark: PauseMark,
        heard: Callable[[str], None],
        asked: Callable[[Message], None],
        ended: Callable[[BrokerError], None],
    ) -> None:
        self.wire = wire
        self.name = name
        self.dead = False
        self._mark = mark
        self._heard = heard
        self._asked = asked
        self._ended = ended
        self._channel: Channel | None = None
        self._queues: set[str] = set()
        self._beginning = DeclareOnce(self._begin)

    async def listen(self, queue: str) -> None:
        """
        Hear of C{queue}, too.

        @raise BrokerError: RabbitMQ refuses it, or the connection is lost.
        """
        try:
            if queue not in self._queues:
                await self._bind(queue)
                self._queues.add(queue)
        except BrokerError as e:
            self.end(e)
            raise

    async def _bind(self, queue: str) -> None:
        await self._beginning.made(self.wire, self.name)
        assert self._channel is not None
        await self._channel.call(
            "queue_bind", queue=self.name, exchange=CONTROL, routing_key=queue
        )

    async def _begin(self, wire: Wire, name: str) -> None:
        self._channel = channel = await wire.open_channel(confirms=False)
        channel.on_message = self._received
        channel.on_cancel = self._cancelled
        channel.when_closed().addCallback(self.end)
        await channel.call(
            "exchange_declare", exchange=CONTROL, exchange_type="direct", durable=True
        )
        await self._mark.make(wire)
        own = {"queue": name, "exclusive": True, "auto_delete": True}
        await channel.call("queue_declare", **own, arguments=CLASSIC)
        await channel.call("basic_consume", queue=name, consumer_tag=name)

    def _received(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.ack(message.delivery_tag)
        if message.body:
            self._asked(message)
        else:
            self._heard(message.routing_key)

    def _cancelled(self, consumer_tag: str) -> None:
        self.end(
            ChannelLost("somebody deleted the queue in which pauses are announced")
        )

    def end(self, reason: BrokerError) -> None:
        """
        Hear nothing any more.
        """
        if self.dead or self.wire.closed:
            return
        self.dead = True
        self._ended(reason)
        if self._channel is not None:
            Deferred.fromCoroutine(self._channel.shut())
