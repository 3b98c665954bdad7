"""
One watched queue: declare, consume, keep consuming, and stop.

The window (L{Window<quebert.amqp._window.Window>}) is C{maxEvents} running
callbacks.  A message that waits before it goes back holds its delivery but not
its place: when such messages have used up the consumer's prefetch, another
consumer takes over, which the broker lets fetch afresh.  (RabbitMQ applies
C{basic.qos} to new consumers only, and has deprecated the kind that changes
running ones.)  Knows no frames and no HTTP; what a message means is the
callback's business.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from quebert._deadlines import Deadlines
from quebert.amqp._calling import Callback, Caller
from quebert.amqp._channel import Channel
from quebert.amqp._message import Message
from quebert.amqp._pausing import Pausing
from quebert.amqp._priorities import PriorityGroup
from quebert.amqp._restraint import PaceStatus, Restraint
from quebert.amqp._settler import HOLD_LIMIT, HOLD_UP_TO, Counts, Settler
from quebert.amqp._window import Window
from quebert.errors import BrokerError, ChannelLost, ConfigError
from quebert.limits import RateLike
from quebert.outcome import Bury, Outcome, Retry
from quebert.policy import exponential

if TYPE_CHECKING:
    from quebert.amqp._client import TxAMQPClient

__all__ = ["DRAIN", "OnDisconnect", "Watcher"]

OnDisconnect = Callable[[Failure], object]

#: How many messages may be with the callback at once unless told otherwise.
DEFAULT_MAX_EVENTS = 100
#: Seconds that running callbacks get to finish when a watch is stopped.
DRAIN = 30.0
#: How many waiting messages may be held beside the window.
MAX_HELD = 10_000
#: And with how many bytes together with those in it.
MAX_HELD_BYTES = 64 * 2**20
#: Seconds at most between attempts to consume.
RETRY_LIMIT = 60.0
# Seconds that a channel must have lasted to be replaced at once.
_LASTING = 60.0
# Seconds that the broker gets at the end for each of its answers.
_LAST_ANSWERS = 5.0


class Watcher:
    """
    What L{TxAMQPClient.watch <quebert.amqp.TxAMQPClient.watch>} gives, and
    whose parameters it takes.

    @ivar consuming: whether the broker delivers to it now.
    """

    log = Logger()

    def __init__(
        self,
        client: TxAMQPClient,
        exchange: str,
        queue: str,
        routingKey: str,
        callback: Callback,
        *,
        onDisconnect: OnDisconnect | None = None,
        maxEvents: int | None = None,
        exchangeType: str = "topic",
        errorDelay: float = 1.0,
        timeout: float | None = None,
        queueType: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        holdUpTo: float = HOLD_UP_TO,
        rate: RateLike | None = None,
        burst: float | None = None,
        shareRate: bool = True,
        group: PriorityGroup | None = None,
        weight: float = 1.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.exchange = exchange
        self.queue = queue
        self.routingKey = routingKey
        self.exchangeType = exchangeType
        self.timeout = timeout
        self.arguments = dict(arguments or {})
        if queueType is not None:
            self.arguments["x-queue-type"] = queueType
        self.maxEvents = DEFAULT_MAX_EVENTS if maxEvents is None else maxEvents
        self.consuming = False
        self._client = client
        self._callback = callback
        self._onDisconnect = onDisconnect
        self._caller = Caller(callback, errorDelay, now)
        self._publisher = client.make_publisher()
        self.holdUpTo = holdUpTo
        self._settler = Settler(
            queue,
            self._publisher,
            lambda: client.reactor,
            now,
            self._settled,
            ladder=client.ladder,
            hold_up_to=holdUpTo,
        )
        self._restraint = Restraint(
            client, queue, rate, burst, shareRate, group, weight
        )
        self._window = Window(self.maxEvents, self._begin, self._restraint.doors)
        self._pausing = Pausing(client.pauses, queue, self._halt, self._go_on)
        self._patience = Deadlines[Message](lambda: client.reactor, self._late)
        self._overdue: set[Message] = set()
        self._going_back: set[Message] = set()
        self._channel: Channel | None = None
        self._attached_at = 0.0
        self._short_lived = 0  # how many channels in a row did not last
        self._consumer_tag = ""
        self._taken = 0  # unsettled messages of that consumer
        self._prefetch = self.maxEvents
        self._renewing = False
        self._keeping: Deferred[None] = succeed(None)
        self._stopping: Deferred[None] | None = None
        self._idle: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<Watcher of {self.queue!r}, consuming: {self.consuming}>"

    @property
    def counts(self) -> Counts:
        """
        What became of the messages so far.
        """
        return self._settler.counts

    @property
    def in_flight(self) -> int:
        """
        How many messages the broker waits for.
        """
        return len(self._settler.unsettled)

    @property
    def paused(self) -> bool:
        """
        Whether the queue is paused, for all who watch it.
        """
        return self._pausing.paused

    @property
    def pace(self) -> PaceStatus | None:
        """
        How the rate is kept to; C{None} where there is none.
        """
        return self._restraint.status

    # -- Consuming

    async def start(self) -> None:
        """
        Begin; returns once the broker delivers.
        """
        self._check()
        try:
            await self._attach(self._client.connectTimeout)
        except BaseException:
            self._pausing.end()
            Deferred.fromCoroutine(self._restraint.leave())
            raise
        self._keeping = Deferred.fromCoroutine(self._keep())

    def _check(self) -> None:
        if not self.queue:
            raise ConfigError("watch needs the name of a queue")
        if not callable(self._callback):
            raise ConfigError("watch needs a callback that can be called")
        if self.maxEvents not in range(65536):
            raise ConfigError(f"maxEvents={self.maxEvents} must be from 0 to 65535")
        if self.timeout is not None and not self.timeout > 0:
            raise ConfigError(f"timeout={self.timeout} must be more than 0 seconds")
        if not 0 <= self.holdUpTo <= HOLD_LIMIT:
            text = f"must be from 0 to {HOLD_LIMIT:.0f} seconds"
            raise ConfigError(f"holdUpTo={self.holdUpTo} {text}")

    async def _attach(self, timeout: float | None) -> None:
        wire = await self._client.connected(timeout)
        channel = await wire.open_channel(confirms=False)
        if self._stopping is not None:
            await channel.shut()
            raise ChannelLost(f"{self} was stopped")
        channel.on_message = self._received
        channel.on_cancel = self._cancelled
        self._channel = self._settler.channel = channel
        self._consumer_tag = ""
        try:
            await self._declare(channel)
            await self._restraint.join(wire)
            self._prefetch = self._restraint.prefetch(self.maxEvents)
            await channel.call("basic_qos", prefetch_count=self._prefetch)
            await self._pausing.begin(wire)
        except BaseException:
            Deferred.fromCoroutine(channel.shut())  # which may take its time
            raise
        self._attached_at = self._client.reactor.seconds()

    async def _declare(self, channel: Channel) -> None:
        queue, exchange = self.queue, self.exchange
        arguments = self.arguments
        await channel.call(
            "queue_declare", queue=queue, durable=True, arguments=arguments
        )
        if exchange:  # the default one is bound to every queue
            kind = self.exchangeType
            await channel.call(
                "exchange_declare", exchange=exchange, exchange_type=kind, durable=True
            )
            key = self.routingKey
            await channel.call(
                "queue_bind", queue=queue, exchange=exchange, routing_key=key
            )

    async def _consume(self, channel: Channel) -> None:
        if self._restraint.pace is not None and not self._fits(channel):
            return
        self._consumer_tag = f"quebert-{uuid.uuid4()}"
        self._taken = 0
        tag = self._consumer_tag
        await channel.call("basic_consume", queue=self.queue, consumer_tag=tag)
        self.consuming = self._stopping is None and not self.paused

    def _fits(self, channel: Channel) -> bool:
        """
        Whether to consume at all, at our rate; and if so, fetch what fits it.
        """
        restraint = self._restraint
        if restraint.pace is not None and restraint.is_far:
            self.consuming, self._consumer_tag = False, ""
            restraint.pace.call_when_near(self._wake)
            return False
        fit = restraint.prefetch(self.maxEvents)
        if fit != self._prefetch:
            self._prefetch = fit
            fetching = channel.call("basic_qos", prefetch_count=fit)
            Deferred.fromCoroutine(fetching).addErrback(_is_told_elsewhere)
        return True

    async def _halt(self) -> None:
        """
        Consume no more for now; what has not begun goes back.
        """
        self.consuming = False
        self._window.close()
        channel, tag = self._channel, self._consumer_tag
        self._consumer_tag = ""
        if tag and channel is not None:
            await channel.call("basic_cancel", consumer_tag=tag)
        for message in self._window.forget_waiting():
            self._settler.give_back(message)

    async def _go_on(self) -> None:
        if self._stopping is None and self._channel is not None:
            self._window.open()
            await self._consume(self._channel)

    def _cancelled(self, consumer_tag: str) -> None:
        """
        The broker has ended the consumer: its queue is gone.
        """
        channel = self._channel
        if self._stopping is not None:
            return
        if consumer_tag == self._consumer_tag and channel is not None:
            self.consuming = False
            self._warn("is declared anew", "the broker cancelled its consumer")
            again = Deferred.fromCoroutine(self._consume_anew(channel, consumer_tag))
            again.addErrback(lambda _: Deferred.fromCoroutine(channel.shut()))

    async def _consume_anew(self, channel: Channel, ended: str) -> None:
        await self._declare(channel)
        if self._consumer_tag == ended:  # nobody has halted it meanwhile
            await self._consume(channel)

    # -- Consuming again

    async def _keep(self) -> None:
        """
        Consume again, whatever ended it, until stopped.
        """
        while self._channel is not None:
            why = await self._channel.when_closed()
            self.consuming = False
            self._window.forget_waiting()
            self._settler.abandon()
            if self._stopping is None:
                self._warn("is not consumed for now", why)
                await self._reattach(self._channel)
            else:
                self._channel = None

    async def _reattach(self, lost: Channel) -> None:
        lasted = self._client.reactor.seconds() - self._attached_at
        if lasted < _LASTING and not lost.client.closed:
            self._short_lived += 1  # it may be our own doing, each time
        else:
            self._short_lived = 0
        attempt = self._short_lived
        if attempt > 1:
            await self._wait_for_attempt(attempt)
        while self._stopping is None:
            try:
                return await self._attach(None)
            except BrokerError as e:
                attempt += 1
                self._warn("cannot be consumed, trying again", e)
                await self._wait_for_attempt(attempt)
        self._channel = None
        return None

    async def _wait_for_attempt(self, attempt: int) -> None:
        if self._stopping is None:
            delay = exponential(attempt, constant=1.5, maximum=RETRY_LIMIT)
            await self._settler.pause(delay)

    def disconnected(self, why: BrokerError) -> None:
        """
        The connection is lost: tell the user, if we began at all.
        """
        began = not self._keeping.called and self._stopping is None
        if self._onDisconnect is not None and began:
            try:
                self._onDisconnect(Failure(why))
            except Exception:
                self.log.failure("onDisconnect failed")

    def _warn(self, what: str, why: object) -> None:
        self.log.warn(
            "Queue {queue!r} {what}: {why}", queue=self.queue, what=what, why=why
        )

    # -- One message

    def _received(self, message: Message) -> None:
        self._settler.received(message)
        if message.consumer_tag == self._consumer_tag:
            self._taken += 1
        self._window.enter(message)
        if self._restraint.pace is not None:
            self._rest_if_far()
        self._renew_if_used_up()

    def _begin(self, message: Message) -> None:
        if self._restraint.pace is not None:
            self._rest_if_far()  # before it is acknowledged, and another comes
            self._renew_if_used_up()
        if self.timeout is not None:
            self._patience.begin(message, self.timeout)
        self._caller.call(message, self._decided)

    def _decided(self, message: Message, outcome: Outcome) -> None:
        if self.timeout is not None:
            self._patience.end(message)
            self._overdue.discard(message)
        if isinstance(outcome, Retry):
            self._move(message, self._settler.put_back(message, outcome, self._leave))
        elif isinstance(outcome, Bury):
            self._move(message, self._settler.bury(message, outcome))
        else:
            self._settler.settle(message, outcome)
            self._ended(message)

    def _move(self, message: Message, moving: Coroutine[Any, Any, None]) -> None:
        self._going_back.add(message)
        Deferred.fromCoroutine(moving).addBoth(self._gone_back, message)

    def _gone_back(self, result: object, message: Message) -> None:
        if isinstance(result, Failure):
            self.log.failure("settling {message} failed", result, message=message)
        self._going_back.discard(message)
        self._ended(message)

    def _ended(self, message: Message) -> None:
        self._leave(message)
        if self._idle is not None and not self._is_at_work:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def _late(self, message: Message) -> None:
        """
        The callback takes longer than others should have to wait for it.
        """
        self._overdue.add(message)
        self._leave(message)

    def _leave(self, message: Message) -> None:
        self._window.leave(message)
        self._renew_if_used_up()

    def _settled(self, message: Message) -> None:
        if message.consumer_tag == self._consumer_tag:
            self._taken -= 1

    @property
    def _is_at_work(self) -> bool:
        return bool(self._caller.busy or self._going_back)

    # -- Widening

    def _renew_if_used_up(self) -> None:
        """
        Where only waiting and slow messages keep the broker from delivering,
        have another consumer take over.
        """
        if not (self._settler.held or self._overdue or self._restraint.pace):
            return  # nearly always, and this is asked several times a message
        few = len(self._settler.held) + len(self._overdue) < MAX_HELD
        used_up = 0 < self._prefetch <= self._taken
        light = self._settler.unsettled_bytes < MAX_HELD_BYTES
        # Not while a channel is being made ready: it has no prefetch yet.
        wanted = self.consuming and not self._renewing
        if used_up and few and light and wanted and self._window.has_room():
            self._renewing = True
            renewed = Deferred.fromCoroutine(self._renew())
            renewed.addErrback(self._not_renewed)

    async def _renew(self) -> None:
        channel, old = self._channel, self._consumer_tag
        if channel is not None:
            await self._consume(channel)
            await channel.call("basic_cancel", consumer_tag=old)
        self._renewing = False
        self._rest_if_far()
        self._renew_if_used_up()  # which may have happened meanwhile

    def _rest_if_far(self) -> None:
        """
        Where the next message may not begin before long, leave it to others, and
        consume again when it may.
        """
        restraint, channel, tag = self._restraint, self._channel, self._consumer_tag
        if restraint.pace is None or not restraint.is_far:
            return
        if self.consuming and not self._renewing and channel is not None:
            self.consuming, self._consumer_tag = False, ""
            cancelling = channel.call("basic_cancel", consumer_tag=tag)
            Deferred.fromCoroutine(cancelling).addErrback(_is_told_elsewhere)
            restraint.pace.call_when_near(self._wake)
        if not self.consuming:
            for message in self._window.forget_waiting():
                self._settler.give_back(message)

    def _wake(self) -> None:
        channel = self._channel
        unwanted = self._stopping is not None or self.paused or self._consumer_tag
        if channel is not None and not channel.closed and not unwanted:
            consuming = Deferred.fromCoroutine(self._consume(channel))
            consuming.addErrback(_is_told_elsewhere)

    def _not_renewed(self, failure: Failure) -> None:
        failure.trap(BrokerError)  # the channel is closed, _keep() takes over
        self._renewing = False

    # -- The end

    def stop(self, grace: float = DRAIN) -> Deferred[None]:
        """
        Consume no more, let running callbacks finish, give the rest back.

        @param grace: seconds that running callbacks get; then they are
            cancelled, and their messages go back to the queue.
        """
        if self._stopping is None:
            self._stopping = Deferred()
            stopped = Deferred.fromCoroutine(self._stop(grace))
            stopped.chainDeferred(self._stopping)
        return another_waiter(self._stopping)

    async def _stop(self, grace: float) -> None:
        self._window.close()
        self._settler.hurried = True
        leaving = Deferred.fromCoroutine(self._restraint.leave())
        await self._stop_consuming()
        for message in self._window.forget_waiting():
            self._settler.give_back(message)
        self._settler.hurry()
        await self._until_idle(grace)
        self._give_up_running()
        await self._until_idle(_LAST_ANSWERS)
        if self._channel is not None:
            await self._within(Deferred.fromCoroutine(self._channel.shut()))
        await self._within(leaving)
        self._pausing.end()
        self._publisher.shut()
        self._keeping.addErrback(lambda failure: failure.trap(CancelledError))
        self._keeping.cancel()
        if self in self._client.watchers:
            self._client.watchers.remove(self)

    async def _stop_consuming(self) -> None:
        self.consuming = False
        if self._channel is not None and self._consumer_tag:
            tag = self._consumer_tag
            cancelling = self._channel.call("basic_cancel", consumer_tag=tag)
            await self._within(Deferred.fromCoroutine(cancelling))

    async def _within(self, asked: Deferred[Any]) -> None:
        """
        Wait for the broker, but not for one that does not answer.
        """
        try:
            await asked.addTimeout(_LAST_ANSWERS, self._client.reactor)
        except (BrokerError, TimeoutError) as e:
            self.log.debug("The broker did not answer the end: {why}", why=e)

    def _give_up_running(self) -> None:
        running = list(self._caller.busy)
        for message in running:
            self._settler.give_back(message)
        for message in running:  # which may end others, too
            self._caller.give_up(message)

    async def _until_idle(self, seconds: float) -> None:
        if self._is_at_work and seconds > 0:
            self._idle = Deferred()
            idle = self._idle.addTimeout(seconds, self._client.reactor)
            try:
                await idle
            except TimeoutError:
                self._idle = None


def _is_told_elsewhere(failure: Failure) -> None:
    failure.trap(BrokerError)  # the channel is closed


def another_waiter(event: Deferred[None]) -> Deferred[None]:
    """
    Fires when C{event} does, and can be cancelled without harm to it.
    """
    waiter: Deferred[None] = Deferred()

    def tell(result: Any) -> Any:
        waiter.callback(None)
        return result

    event.addBoth(tell)
    return waiter
