"""
L{EventReader}: reads the events of all mediators from a queue of its own.

The queue has a bound: RabbitMQ drops the oldest events of a reader that falls behind,
and the reader tells of the gap.  Mediators notice nothing of their readers.

One event is with the handler at a time, in the order of the queue, and is acknowledged
only after the handler has done with it.  If the handler fails with attempts, it gets
them again, until it does not; the others wait meanwhile.  After a reconnect RabbitMQ
delivers again what was not acknowledged: the reader acknowledges what the handler has
had, and does not pass it on a second time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import deferLater

from quebert._log import Logger
from quebert._protocol.extensions import MAX_LENGTH_BYTES, OVERFLOW
from quebert._repeated import RepeatedWarning
from quebert._waiters import another_waiter
from quebert.amqp.queues import CLASSIC
from quebert.amqp.wire import Channel, Message
from quebert.errors import BrokerError, ChannelLost, ConfigError
from quebert.events._batch_codec import UnreadableEvents, decode_batch
from quebert.events._names import ATTEMPTS, EXCHANGE, MEDIATORS, ONLOOKER
from quebert.events._positions import Positions
from quebert.events._records import AttemptBatch, Gap, MediatorState
from quebert.events._state_codec import decode_state

if TYPE_CHECKING:
    from quebert.amqp import TxAMQPClient

__all__ = ["EventHandler", "EventReader", "declare_exchange", "reading"]

#: Bytes that may wait for somebody who looks on.
ONLOOKER_BYTES = 16 * 2**20
#: Bytes that may wait in a durable queue: of small tasks some 40 million.
DURABLE_BYTES = 2**30
#: Messages that are here at once.
_PREFETCH = 10
# Seconds until it is tried again, at first and at most.
_SOON, _LATE = 1.0, 30.0
# Seconds that the handler gets to finish when the reader is stopped.
_LAST = 10.0


class EventHandler(Protocol):
    """
    Is told the events.  A class that derives from this one overrides what it wants.
    """

    def attempts(self, batch: AttemptBatch, gap: Gap | None) -> object:
        """
        Attempts of a mediator.  If this raises, or its Deferred or coroutine fails,
        it is called with the same batch again, in a second or later.

        @param gap: records of this mediator that are missing before these, if any.
        """

    def state(self, state: MediatorState) -> object:
        """
        A mediator tells how it is.
        """


async def declare_exchange(channel: Channel) -> None:
    """
    Have the exchange there.

    @raise BrokerError: it cannot be.
    """
    await channel.call(
        "exchange_declare", exchange=EXCHANGE, exchange_type="topic", durable=True
    )


class EventReader:
    """
    @param client: of the broker; it must live longer than the reader.
    @param queue: a durable queue, in which events wait while nobody reads; empty for
        one that lasts as long as the connection.
    @param keys: which events: C{ATTEMPTS} and C{MEDIATORS} are both.
    @param most_bytes: bytes that may wait in the queue; by default 1 GiB in a durable
        one, else 16 MiB.
    @param positions: L{AttemptBatch.total} of the last batch that the handler has kept
        of each mediator, if it has kept any.
    @ivar reading: whether the broker delivers to it now.
    @ivar missing: how many records it has told as missing.
    @ivar unreadable: how many messages it could not read.
    @ivar at: when the last batch was made that the handler has had; C{None} for none.
    """

    log = Logger()

    def __init__(
        self,
        client: TxAMQPClient,
        handler: EventHandler,
        *,
        queue: str = "",
        keys: Iterable[str] = (ATTEMPTS, MEDIATORS),
        most_bytes: int | None = None,
        positions: Mapping[str, int] | None = None,
    ) -> None:
        self.reading = False
        self.missing = 0
        self.unreadable = 0
        self.at: float | None = None
        self._client = client
        self._handler = handler
        self._queue = queue
        self._keys = tuple(keys)
        if not self._keys:
            raise ConfigError("EventReader: keys must name at least one kind of events")
        self._most_bytes = most_bytes or (DURABLE_BYTES if queue else ONLOOKER_BYTES)
        self._positions = Positions(positions or {})
        self._channel: Channel | None = None
        self._came: deque[Message] = deque()
        self._working: Deferred[None] | None = None
        self._running: Deferred[None] | None = None
        self._stopped = False
        self._lost = self._warning("Events cannot be read", "Events are read again")
        self._bad = self._warning("An event cannot be read", "Events can be read")
        self._failing = self._warning(
            "Events cannot be taken, and wait", "Events are taken again"
        )

    def _warning(self, fault: str, over: str) -> RepeatedWarning:
        return RepeatedWarning(self.log, lambda: self._client.reactor, fault, over)

    # -- The queue

    async def start(self) -> None:
        """
        Begin; returns once the broker delivers.  From then on it reconnects by itself.

        @raise BrokerError: the broker is not there in the time that the client has for
            that, or refuses; such as C{PRECONDITION_FAILED} where the queue has another
            bound.
        """
        channel = await self._first()
        self._running = Deferred.fromCoroutine(self._run(channel))
        self._running.addErrback(self._broken)

    async def _first(self) -> Channel:
        while True:
            try:
                return await self._open(self._client.connectTimeout)
            except ChannelLost:
                if self._stopped:
                    raise
                await self._wait(_SOON)

    async def _run(self, channel: Channel) -> None:
        seconds = _SOON
        while not self._stopped:
            why = await channel.when_closed()
            self.reading = False
            while not self._stopped:
                self._lost.met(why)
                await self._wait(seconds)
                try:
                    channel = await self._open(None)
                except BrokerError as e:
                    why, seconds = e, min(2 * seconds, _LATE)
                else:
                    self._lost.succeeded()
                    seconds = _SOON
                    break

    async def _open(self, timeout: float | None) -> Channel:
        """
        Have the queue deliver on a new channel.
        """
        wire = await self._client.connected(timeout)
        if self._stopped:
            raise ChannelLost("this reader has ended")
        channel = await wire.open_channel(confirms=False)
        try:
            await declare_exchange(channel)
            own = {"exclusive": True, "auto_delete": True}
            kind = {"durable": True} if self._queue else own
            queue = self._queue or f"{ONLOOKER}.{uuid4()}"
            arguments = {
                **CLASSIC,
                MAX_LENGTH_BYTES: self._most_bytes,
                OVERFLOW: "drop-head",
            }
            await channel.call(
                "queue_declare", queue=queue, arguments=arguments, **kind
            )
            for key in self._keys:
                await channel.call(
                    "queue_bind",
                    queue=queue,
                    exchange=EXCHANGE,
                    routing_key=key,
                )
            channel.on_message = self._received
            channel.on_cancel = self._cancelled
            self._came.clear()
            self._channel = channel
            await channel.call("basic_qos", prefetch_count=_PREFETCH)
            await channel.call(
                "basic_consume",
                queue=queue,
                consumer_tag="quebert.events",
                exclusive=True,
            )
        except BaseException:
            Deferred.fromCoroutine(channel.shut())
            raise
        self.reading = True
        return channel

    def _cancelled(self, consumer_tag: str) -> None:
        """
        Somebody has deleted the queue: it is declared again.
        """
        if self._channel is not None:
            Deferred.fromCoroutine(self._channel.shut())

    async def _wait(self, seconds: float) -> None:
        await deferLater(self._client.reactor, seconds)

    async def stop(self) -> None:
        """
        Read no more.  What is with the handler gets some seconds to end.
        """
        self._stopped = True
        self.reading = False
        self._came.clear()
        for warning in (self._lost, self._bad, self._failing):
            warning.end()
        channel, working = self._channel, self._working
        if working is not None:
            if channel is not None and not channel.closed:  # else it comes again
                await self._within(working)
            working.cancel()
        if self._running is not None:
            self._running.cancel()
        if channel is not None:
            await self._within(Deferred.fromCoroutine(channel.shut()))

    async def _within(self, ending: Deferred[None]) -> None:
        waiting = another_waiter(ending).addTimeout(_LAST, self._client.reactor)
        with suppress(TimeoutError, CancelledError):
            await waiting

    # -- Events

    def _received(self, message: Message) -> None:
        self._came.append(message)
        if self._working is None:
            working = Deferred.fromCoroutine(self._work())
            if not working.called:
                self._working = working
            working.addErrback(self._broken)

    async def _work(self) -> None:
        try:
            while self._came:
                channel, message = self._channel, self._came.popleft()
                if channel is not None and await self._is_done(message, channel):
                    channel.ack(message.delivery_tag)
        finally:
            self._working = None

    def _broken(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self.log.failure("Events are read no more.", failure)

    async def _is_done(self, message: Message, channel: Channel) -> bool:
        """
        Pass a message on.  Returns whether the handler has it.
        """
        try:
            if message.routing_key == MEDIATORS:
                self._tell_state(decode_state(message.body))
                return True
            batch = decode_batch(message.body)
        except UnreadableEvents as e:
            self.unreadable += 1
            self._bad.met(e)
            return True
        self._bad.succeeded()
        if self._positions.is_known(batch):
            return True
        gap = self._positions.gap_before(batch)
        seconds = _SOON
        has_news = bool(batch.records or gap)
        while has_news and not await self._is_taken(batch, gap):
            await self._wait(seconds)
            if channel.closed or self._stopped:
                return False  # it comes again
            seconds = min(2 * seconds, _LATE)
        self._positions.passed(batch)
        self.at = batch.at
        if gap is not None:
            self.missing += gap.count
        return True

    def _tell_state(self, state: MediatorState) -> None:
        try:
            self._handler.state(state)
        except Exception:
            self.log.failure("The state of a mediator could not be taken.")

    async def _is_taken(self, batch: AttemptBatch, gap: Gap | None) -> bool:
        try:
            taking: Any = self._handler.attempts(batch, gap)
            if isawaitable(taking):
                await taking
        except CancelledError:
            raise
        except Exception as e:
            self._failing.met(f"{type(e).__name__}: {e}")
            return False
        self._failing.succeeded()
        return True


@asynccontextmanager
async def reading(
    client: TxAMQPClient, handler: EventHandler, **options: Any
) -> AsyncIterator[EventReader]:
    """
    Read events while the block runs.

    @param options: as for L{EventReader}.
    @raise BrokerError: as for L{EventReader.start}.
    """
    reader = EventReader(client, handler, **options)
    try:
        await reader.start()
        yield reader
    finally:
        await reader.stop()
