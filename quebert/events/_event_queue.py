"""
L{EventQueue}: a queue from which RabbitMQ delivers events until the reader ends.

The queue has a bound: RabbitMQ drops the oldest events of a reader that falls behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from quebert._log import Logger
from quebert._protocol.extensions import MAX_LENGTH_BYTES, OVERFLOW
from quebert._repeated import RepeatedWarning
from quebert.amqp.queues import CLASSIC
from quebert.amqp.wire import Channel, Message
from quebert.errors import BrokerError, BrokerRefused, ChannelLost, ReplyCode
from quebert.events._names import EXCHANGE, ONLOOKER

if TYPE_CHECKING:
    from quebert.amqp import TxAMQPClient

__all__ = ["EventQueue", "declare_exchange"]

#: Bytes of events that may wait for a reader without a durable queue.
ONLOOKER_BYTES = 16 * 2**20
#: Bytes that may wait in a durable queue: of small tasks some 40 million.
DURABLE_BYTES = 2**30
#: Messages that are here at once.
_PREFETCH = 10
# Seconds until it is tried again, at first and at most.
_SOON, _LATE = 1.0, 30.0


async def declare_exchange(channel: Channel) -> None:
    """
    Have the exchange there.

    @raise BrokerError: it cannot be.
    """
    await channel.call(
        "exchange_declare", exchange=EXCHANGE, exchange_type="topic", durable=True
    )


class EventQueue:
    """
    @param client: of the broker; it must live longer than this.
    @param name: of a durable queue; empty for one that lasts as long as the connection.
    @param keys: the routing keys of the events that go into it.
    @param most_bytes: bytes that may wait in it; C{None} for the default.
    @param received: called with each message, which is to be acknowledged on
        C{channel}.
    @param opened: called when the messages begin to come from another channel.
    @param interrupted: called with the reason when the broker delivers no more, and
        with C{None} when it delivers again.
    @ivar channel: the last channel.
    @ivar consumed: whether the broker delivers now.
    """

    log = Logger()

    def __init__(
        self,
        client: TxAMQPClient,
        name: str,
        keys: tuple[str, ...],
        most_bytes: int | None,
        received: Callable[[Message], None],
        opened: Callable[[], object],
        interrupted: Callable[[BrokerError | None], object],
    ) -> None:
        self.channel: Channel | None = None
        self.consumed = False
        self._client = client
        self._name = name
        self._keys = keys
        self._most_bytes = most_bytes or (DURABLE_BYTES if name else ONLOOKER_BYTES)
        self._received = received
        self._opened = opened
        self._interrupted = interrupted
        self._keeping: Deferred[None] | None = None
        self._ended = False
        self._consumer_has_ended = False
        self._lost = RepeatedWarning(
            self.log,
            lambda: client.reactor,
            "Events cannot be read",
            "Events are read again",
        )

    async def start(self) -> None:
        """
        Begin; returns once the broker delivers.  From then on it reconnects by itself.

        @raise BrokerError: the broker is not there in the time that the client has for
            that, or refuses.
        """
        channel = await self._first()
        self._keeping = Deferred.fromCoroutine(self._keep(channel))
        self._keeping.addErrback(self._broken)

    async def _first(self) -> Channel:
        while True:
            try:
                return await self._open(self._client.connectTimeout)
            except ChannelLost:
                if self._ended:
                    raise
                await self._wait(_SOON)

    async def _keep(self, channel: Channel) -> None:
        """
        Have another channel whenever one is closed.
        """
        while True:
            why = await channel.when_closed()
            self.consumed = False
            if self._consumer_has_ended:
                text = "RabbitMQ has ended its consumer, as where its queue is deleted"
                why, self._consumer_has_ended = BrokerError(text), False
            self._tell(why)
            seconds = _SOON
            while True:
                self._lost.met(why)
                await self._wait(seconds)
                try:
                    channel = await self._open(None)
                except BrokerError as e:
                    why, seconds = e, min(2 * seconds, _LATE)
                else:
                    self._lost.succeeded()
                    self._tell(None)
                    break

    def _tell(self, why: BrokerError | None) -> None:
        try:
            self._interrupted(why)
        except Exception:
            self.log.failure("That events are read, or not, could not be told.")

    async def _open(self, timeout: float | None) -> Channel:
        """
        Have the queue deliver on a new channel.
        """
        wire = await self._client.connected(timeout)
        if self._ended:
            raise ChannelLost("this reader has ended")
        channel = await wire.open_channel(confirms=False)
        self._consumer_has_ended = False
        try:
            await self._consume(channel)
        except BaseException:
            Deferred.fromCoroutine(channel.shut())
            raise
        self.consumed = True
        return channel

    async def _consume(self, channel: Channel) -> None:
        await declare_exchange(channel)
        own = {"exclusive": True, "auto_delete": True}
        kind = {"durable": True} if self._name else own
        queue = self._name or f"{ONLOOKER}.{uuid4()}"
        bound = {MAX_LENGTH_BYTES: self._most_bytes, OVERFLOW: "drop-head"}
        await channel.call(
            "queue_declare", queue=queue, arguments={**CLASSIC, **bound}, **kind
        )
        for key in self._keys:
            await channel.call(
                "queue_bind", queue=queue, exchange=EXCHANGE, routing_key=key
            )
        channel.on_message = self._received
        channel.on_cancel = self._cancelled
        self.channel = channel
        self._opened()
        await channel.call("basic_qos", prefetch_count=_PREFETCH)
        with _one_reader(queue):
            await channel.call(
                "basic_consume",
                queue=queue,
                consumer_tag="quebert.events",
                exclusive=True,
            )

    def _cancelled(self, consumer_tag: str) -> None:
        """
        The queue was deleted: declare it again, on a new channel.
        """
        if self.channel is not None:
            self._consumer_has_ended = True
            Deferred.fromCoroutine(self.channel.shut())

    async def _wait(self, seconds: float) -> None:
        await deferLater(self._client.reactor, seconds)

    def _broken(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self.log.failure("Events are read no more.", failure)

    def pause(self) -> None:
        """
        Take no other channel.
        """
        self._ended = True
        self.consumed = False
        self._lost.end()
        if self._keeping is not None:
            self._keeping.cancel()

    async def end(self) -> None:
        """
        Let the broker deliver no more; returns when it has said so.
        """
        self.pause()
        if self.channel is not None:
            await self.channel.shut()


@contextmanager
def _one_reader(queue: str) -> Iterator[None]:
    """
    Say what is wrong where another program reads a queue.
    """
    try:
        yield
    except BrokerRefused as e:
        if e.code != ReplyCode.ACCESS_REFUSED or "exclusive use" not in str(e):
            raise
        text = f"another program reads the queue {queue}, such as a second quebert web"
        raise BrokerRefused(e.code, text) from e
