"""
L{EventPublisher}: publishes the attempts and the state of a mediator.

A timer takes what the L{Recorder} has, and publishes a batch over the client's
connection that publishes, on a channel of its own.  Nobody waits for that: if RabbitMQ
is away, or takes no messages, batches wait in the L{Outbox}, within its bound, and none
of this reaches a task.

Batches are mandatory messages: RabbitMQ returns one that no queue gets.  Then nobody
listens, and nothing more is written or compressed.  The records of the last seconds are
kept, and a batch without records asks twice a second whether somebody has come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList, TimeoutError
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert._protocol.properties import encode_properties
from quebert._repeated import RepeatedWarning
from quebert.amqp.wire import Unconfirmed, Wire, temporary_channel
from quebert.errors import BrokerError, BrokerRefused, Unroutable
from quebert.events._columns import Columns
from quebert.events._event_queue import declare_exchange
from quebert.events._names import ATTEMPTS, EXCHANGE, MEDIATORS
from quebert.events._outbox import Outbox, Parcel
from quebert.events._recorder import Recorder
from quebert.events._records import MediatorState
from quebert.events._state_codec import encode_state

if TYPE_CHECKING:
    from quebert.amqp import TxAMQPClient
    from quebert.amqp.link import Publisher

__all__ = ["STATE_INTERVAL", "EventPublisher"]

#: Seconds between two states of a mediator.
STATE_INTERVAL = 2.0
#: Seconds of which records are kept while nobody listens.
KEPT = 2.0
#: Seconds between two questions whether somebody listens; where the exchange may be
#: missing; and after a refusal.
ASKING, SELDOM, AFTER_REFUSAL = 0.5, 10.0, 60.0
# Batches that are under way at once; where there is no connection, the one that waits
# for it.
_UNDER_WAY = 8
# Seconds that the last batches get at the end.
_LAST = 3.0
_PERSISTENT = encode_properties({"delivery-mode": 2})
_TRANSIENT = encode_properties({"delivery-mode": 1})


class _NoBroker(BrokerError):
    """
    There is no connection.  The client has logged that already.
    """


class EventPublisher:
    """
    Publishes the attempts and the state of a mediator, by a timer.

    @param recorder: has the tasks that have ended.
    @param client: publishes.
    @param mediator: the name of the mediator.
    @param state: gives the state of the mediator, from the time, and from how late the
        timer was at most since the state before, in seconds.
    @param interval: seconds between two batches.
    @param most: how many records may wait.
    @param publish: whether anything is published, or only L{listeners} get records.
    @ivar lag: seconds by which the timer was late at most since the last state.
    @ivar listeners: called with the records of each batch, before it is published; in
        this process, and quickly.
    """

    log = Logger()

    def __init__(
        self,
        recorder: Recorder,
        client: TxAMQPClient,
        mediator: str,
        state: Callable[[float, float], MediatorState],
        *,
        interval: float = 0.25,
        most: int = 100_000,
        publish: bool = True,
    ) -> None:
        self.listeners: list[Callable[[Columns], object]] = []
        self.interval = interval
        self.publish = publish
        self._recorder = recorder
        self._client = client
        self._publisher: Publisher = client.make_publisher()
        self._state = state
        self._outbox = Outbox(mediator, most)
        self._recent: deque[tuple[float, Columns]] = deque()
        self._under_way: set[Deferred[Any]] = set()
        self._is_heard = False  # as far as is known
        self._is_refused = False
        self._declared: Wire | None = None  # over which connection
        self._may_declare = True
        self._ask_at = self._state_at = 0.0
        self._due = self.lag = 0.0
        self._telling: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._failing = RepeatedWarning(
            self.log,
            lambda: client.reactor,
            "Events are not published",
            "Events are published again",
        )

    def change(
        self, client: TxAMQPClient, *, interval: float, most: int, publish: bool
    ) -> None:
        """
        Go on with other settings, or over another client.
        """
        self.interval, self.publish, self._outbox.most = interval, publish, most
        if not publish:
            self._unheard(0.0)
            self._recent.clear()
        if client is not self._client:
            self._publisher.shut()
            self._client, self._publisher = client, client.make_publisher()
            self._declared = None
            for each in [*self._under_way]:
                each.cancel()

    @property
    def dropped(self) -> int:
        """
        How many records were dropped for want of room.
        """
        return self._outbox.dropped

    # -- The timer

    def start(self) -> None:
        """
        Begin, unless it has.
        """
        if self._timer is not None:
            return
        self._due = self._client.reactor.seconds() + self.interval
        self._timer = self._client.reactor.callLater(self.interval, self._tick)

    def _tick(self) -> None:
        reactor = self._client.reactor
        now = reactor.seconds()
        self.lag = max(self.lag, now - self._due)
        self._due = now + self.interval
        self._timer = reactor.callLater(self.interval, self._tick)
        try:
            self.collect()
            if self.publish:
                self._send(now)
                if now >= self._state_at:
                    self._state_at = now + STATE_INTERVAL
                    self._tell_state()
        except Exception:
            self.log.failure("Events are lost.")

    def collect(self) -> None:
        """
        Take the tasks that have ended up to now.
        """
        now = self._client.reactor.seconds()
        columns = self._recorder.take()
        if not columns:
            return
        for listener in self.listeners:
            try:
                listener(columns)
            except Exception:
                self.log.failure("A listener to events has failed.")
        if not self.publish:
            return
        if self._is_heard:
            self._outbox.put(columns, self._client.now())
            return
        self._recent.append((now, columns))
        while self._recent[0][0] < now - KEPT:
            self._outbox.skip(len(self._recent.popleft()[1]))

    # -- Batches

    def _send(self, now: float) -> None:
        ready = self._publisher.ready
        if not self._is_heard:
            has_news = bool(self._recent) or not ready  # states need a channel
            if now < self._ask_at or self._under_way or not has_news:
                return
            self._ask_at = now + ASKING
            self._outbox.put(Columns.of(()), self._client.now())
        most = _UNDER_WAY if ready else 1
        for _ in range(most):
            parcel = self._outbox.next(most)
            if parcel is None:
                return
            sending = Deferred.fromCoroutine(self._publish(parcel))
            self._under_way.add(sending)
            sending.addBoth(self._sent, sending, parcel)

    async def _publish(self, parcel: Parcel) -> None:
        try:
            wire = await self._client.connected(None)
        except BrokerError as e:
            raise _NoBroker(str(e)) from None
        if self._declared is not wire:
            await self._declare(wire)
        await self._publisher.publish(EXCHANGE, ATTEMPTS, parcel.body, _PERSISTENT)

    async def _declare(self, wire: Wire) -> None:
        """
        Have the exchange there.  A user who may not declare it may be allowed to
        publish to it, and readers declare it, too.
        """
        self._may_declare = True
        try:
            async with temporary_channel(wire) as channel:
                await declare_exchange(channel)
        except BrokerRefused:
            self._may_declare = False
        self._declared = wire

    def _sent(self, result: object, sending: Deferred[Any], parcel: Parcel) -> None:
        self._under_way.discard(sending)
        error = result.value if isinstance(result, Failure) else None
        self._is_refused = False
        match error:
            case None:
                self._outbox.confirmed(parcel)
                self._failing.succeeded()
                self._hear()
            case Unroutable():
                self._unheard(ASKING if self._may_declare else SELDOM)
            case Unconfirmed(refusal=BrokerRefused() as why) | (BrokerRefused() as why):
                self._failing.met(why)
                self._unheard(AFTER_REFUSAL)
                self._is_refused = True
            case _NoBroker():
                self._unheard(AFTER_REFUSAL)
            case _:
                self._outbox.failed(parcel)
                if not isinstance(error, (BrokerError, CancelledError)):
                    assert isinstance(result, Failure)
                    self.log.failure("Events are not published.", result)

    def _hear(self) -> None:
        """
        A queue gets the events.
        """
        if not self._is_heard:
            self._is_heard = True
            now = self._client.now()
            while self._recent:
                self._outbox.put(self._recent.popleft()[1], now)

    def _unheard(self, seconds: float) -> None:
        """
        No queue gets the events: try again in C{seconds}.
        """
        self._outbox.clear()
        self._is_heard = False
        self._ask_at = self._client.reactor.seconds() + seconds

    # -- States

    def _tell_state(self) -> None:
        if self._telling is not None or self._is_refused or not self._publisher.ready:
            return
        state = self._state(self._client.now(), self.lag)
        self.lag = 0.0
        telling = self._publisher.publish(
            EXCHANGE, MEDIATORS, encode_state(state), _TRANSIENT
        )
        self._telling = Deferred.fromCoroutine(telling)
        self._telling.addBoth(self._told)

    def _told(self, result: object) -> None:
        """
        Whatever has become of a state, the next one follows.
        """
        self._telling = None

    # -- The end

    async def stop(self) -> None:
        """
        Publish the attempts that wait, and end.
        """
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        reactor = self._client.reactor
        self.collect()
        if self.publish and self._publisher.ready:
            until = reactor.seconds() + _LAST
            self._ask_at = 0.0
            self._send(reactor.seconds())
            while self._under_way and reactor.seconds() < until:
                waiting = DeferredList([*self._under_way])
                try:
                    await waiting.addTimeout(until - reactor.seconds(), reactor)
                except TimeoutError:
                    break
                self._send(reactor.seconds())
            await self._tell_end(until - reactor.seconds())
        for each in [*self._under_way]:
            each.cancel()
        self._failing.end()
        self._publisher.shut()

    async def _tell_end(self, patience: float) -> None:
        """
        Tell that nothing more will come.

        @param patience: seconds that this may take.
        """
        if self._is_refused:
            return
        state = self._state(self._client.now(), self.lag)
        body = encode_state(attrs.evolve(state, ended=True))
        telling = Deferred.fromCoroutine(
            self._publisher.publish(EXCHANGE, MEDIATORS, body, _TRANSIENT)
        )
        telling.addTimeout(max(0.0, patience), self._client.reactor)
        telling.addErrback(lambda _: None)  # who has not heard it, sees it lost
        await telling
