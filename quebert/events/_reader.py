"""
L{EventReader}: reads the events of all mediators from a queue of its own, and tells of
gaps.  Mediators notice nothing of their readers.

One event is with the handler at a time, in the order of the queue, and is acknowledged
only after the handler has done with it.  If the handler fails with attempts, it gets
them again, until it does not; the others wait meanwhile.  After a reconnect RabbitMQ
delivers again what was not acknowledged: the reader acknowledges what the handler has
had, and does not pass it on a second time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import deferLater

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert._waiters import another_waiter
from quebert.amqp.wire import Channel, Message
from quebert.errors import BrokerError, ConfigError
from quebert.events._batch_decoder import decode_batch
from quebert.events._batch_format import UnreadableEvents
from quebert.events._event_queue import EventQueue
from quebert.events._names import ATTEMPTS, MEDIATORS
from quebert.events._positions import Positions
from quebert.events._records import AttemptBatch, Gap, MediatorState
from quebert.events._state_codec import decode_state

if TYPE_CHECKING:
    from quebert.amqp import TxAMQPClient

__all__ = ["EventHandler", "EventReader", "reading"]

# Seconds until a handler that has failed is called again, at first and at most.
_SOON, _LATE = 1.0, 30.0
# Seconds that the handler, and the broker, get to finish when the reader is stopped.
_LAST = 10.0


class EventHandler(Protocol):
    """
    Gets the events from a L{EventReader}.  A subclass overrides the methods of those
    that it wants.
    """

    def attempts(self, batch: AttemptBatch, gap: Gap | None) -> object:
        """
        Attempts of a mediator.  If this raises, or its Deferred or coroutine fails,
        it is called with the same batch again, in a second or later.

        @param gap: records of this mediator that are missing before these, if any.
        """

    def state(self, state: MediatorState) -> object:
        """
        A mediator has published its state.
        """


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
    @param interrupted: called with the reason when the broker delivers no more, and
        with C{None} when events are read again.  A reader without a durable queue
        misses what is published meanwhile.
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
        interrupted: Callable[[BrokerError | None], object] = lambda why: None,
    ) -> None:
        names = tuple(keys)
        if not names:
            raise ConfigError("EventReader: keys must name at least one kind of events")
        self.missing = 0
        self.unreadable = 0
        self.at: float | None = None
        self._reactor: Any = client.reactor
        self._handler = handler
        self._positions = Positions(positions or {})
        self._came: deque[Message] = deque()
        self._queue = EventQueue(
            client,
            queue,
            names,
            most_bytes,
            self._received,
            self._came.clear,
            interrupted,
        )
        self._working: Deferred[None] | None = None
        self._stopped = False
        self._bad = self._warning("An event cannot be read", "Events can be read")
        self._failing = self._warning(
            "Events cannot be taken, and wait", "Events are taken again"
        )

    def _warning(self, fault: str, over: str) -> RepeatedWarning:
        return RepeatedWarning(self.log, lambda: self._reactor, fault, over)

    @property
    def reading(self) -> bool:
        """
        Whether the broker delivers to it now.
        """
        return self._queue.consumed

    async def start(self) -> None:
        """
        Begin; returns once the broker delivers.  From then on it reconnects by itself.

        @raise BrokerError: the broker is not there in the time that the client has for
            that, or refuses; such as C{PRECONDITION_FAILED} where the queue has another
            bound, or C{ACCESS_REFUSED} where another reader has a durable queue.
        """
        await self._queue.start()

    async def stop(self) -> None:
        """
        Read no more.  The handler has some seconds to end with the event that it has.
        """
        self._stopped = True
        self._came.clear()
        self._queue.pause()
        for warning in (self._bad, self._failing):
            warning.end()
        channel, working = self._queue.channel, self._working
        if working is not None:
            if channel is not None and not channel.closed:  # else it comes again
                await self._within(working)
            working.cancel()
        await self._within(Deferred.fromCoroutine(self._queue.end()))

    async def _within(self, ending: Deferred[None]) -> None:
        waiting = another_waiter(ending).addTimeout(_LAST, self._reactor)
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
                channel, message = self._queue.channel, self._came.popleft()
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
            await deferLater(self._reactor, seconds)
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
