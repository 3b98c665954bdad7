"""
One watched queue: consume, keep to the window, settle.

A message is acknowledged only after whatever replaces it is confirmed by the
broker, so that a crash at any point duplicates at worst.  Knows no frames and
no HTTP; what a message means is the callback's business.

The window is C{maxEvents} running callbacks.  A message that waits before it
goes back holds its delivery but not its place: when such messages have used
up the consumer's prefetch, another consumer takes over, which the broker lets
fetch afresh.  (RabbitMQ applies C{basic.qos} to new consumers only, and has
deprecated the kind that changes running ones.)
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Union, assert_never

import attrs
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    TimeoutError,
    maybeDeferred,
    succeed,
)
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from quebert.amqp._channel import Channel
from quebert.amqp._message import ERRORS, NOT_BEFORE, Message
from quebert.errors import BrokerError, ChannelLost, ConfigError
from quebert.outcome import Discard, Done, Outcome, Retry
from quebert.policy import exponential

if TYPE_CHECKING:
    from quebert.amqp._connection import TxAMQPClient

__all__ = ["Callback", "Counts", "OnDisconnect", "Watcher"]

Answer = Union[None, bytes, str, Outcome]
Callback = Callable[[Message], Union[Answer, Awaitable[Answer]]]
OnDisconnect = Callable[[Failure], object]

#: How many messages may be with the callback at once unless told otherwise.
DEFAULT_MAX_EVENTS = 100
#: Seconds that running callbacks get to finish when a watch is stopped.
DRAIN = 30.0
#: Seconds a delivery is held at most: RabbitMQ closes a channel that holds one
#: for 30 minutes.  What must wait longer goes back, with the time in a header.
HOLD_LIMIT = 900.0
#: How many waiting messages may be held beside the window.
MAX_HELD = 10_000
#: Seconds between attempts at what the broker did not do.
_RETRY_LIMIT = 60.0
#: The longest wait, in seconds, of a message whose callback fails.
_ERROR_LIMIT = 120.0
# Seconds: a finite time, since what is not finite is no time in a header.
_FOREVER = 1e9
# What is counted no further.
_MOST_ERRORS = 1e6
# Seconds that a channel must have lasted to be replaced at once.
_LASTING = 60.0
# Seconds that the broker gets to confirm what is put back at the end.
_LAST_CONFIRMS = 5.0


@attrs.define
class Counts:
    """
    What became of the messages; they add up::

        received == done + retried + discarded + returned + watcher.in_flight

    @ivar returned: given back to the broker unfinished, by C{stop} or with
        the connection.
    """

    received: int = 0
    done: int = 0
    retried: int = 0
    discarded: int = 0
    returned: int = 0


class Watcher:
    """
    What L{TxAMQPClient.watch <quebert.amqp.TxAMQPClient.watch>} gives, and
    whose parameters it takes.

    @ivar counts: see L{Counts}.
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
        now: Callable[[], float] = time.time,
    ) -> None:
        self.exchange = exchange
        self.queue = queue
        self.routingKey = routingKey
        self.exchangeType = exchangeType
        self.maxEvents = DEFAULT_MAX_EVENTS if maxEvents is None else maxEvents
        self.errorDelay = errorDelay
        self.counts = Counts()
        self.consuming = False
        self._client = client
        self._callback = callback
        self._onDisconnect = onDisconnect
        self._now = now
        self._channel: Channel | None = None
        self._consumer_tag = ""
        self._taken = 0  # unsettled messages of that consumer
        self._unsettled: set[Message] = set()  # of that channel
        self._ready: deque[Message] = deque()
        self._running: set[Message] = set()  # those that have a place
        self._tasks: dict[Message, Deferred[None]] = {}
        self._pauses: dict[Deferred[None], IDelayedCall] = {}
        self._starting = False
        self._renewing = False
        self._consulted: set[Message] = set()  # those with the callback
        self._short = 0  # how many channels in a row did not last
        self._attached = 0.0
        self._stopping: Deferred[None] | None = None
        self._keeping: Deferred[None] = succeed(None)
        self._idle: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<Watcher of {self.queue!r}, consuming: {self.consuming}>"

    @property
    def in_flight(self) -> int:
        """
        How many messages the broker waits for.
        """
        return len(self._unsettled)

    # -- Consuming

    async def start(self) -> None:
        """
        Begin; returns once the broker delivers.
        """
        self._check()
        await self._attach(self._client.connectTimeout)
        self._attached = self._client.reactor.seconds()
        self._keeping = Deferred.fromCoroutine(self._keep())

    def _check(self) -> None:
        if not self.queue:
            raise ConfigError("watch needs the name of a queue")
        if not callable(self._callback):
            raise ConfigError("watch needs a callback that can be called")
        if self.maxEvents not in range(65536):
            raise ConfigError(f"maxEvents={self.maxEvents} must be from 0 to 65535")

    async def _attach(self, timeout: float | None) -> None:
        wire = await self._client.connected(timeout)
        channel = await wire.open_channel()
        if self._stopping is not None:
            await channel.shut()
            raise ChannelLost(f"{self} was stopped")
        channel.on_message = self._received
        channel.on_cancel = self._cancelled
        self._channel = channel
        try:
            await self._declare(channel)
            await channel.call("basic_qos", prefetch_count=self.maxEvents)
            await self._consume(channel)
        except BaseException:
            await channel.shut()
            raise

    async def _declare(self, channel: Channel) -> None:
        queue, exchange = self.queue, self.exchange
        await channel.call("queue_declare", queue=queue, durable=True)
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
        self._consumer_tag = f"quebert-{uuid.uuid4()}"
        self._taken = 0
        tag = self._consumer_tag
        await channel.call("basic_consume", queue=self.queue, consumer_tag=tag)
        self.consuming = self._stopping is None

    async def _keep(self) -> None:
        """
        Consume again, whatever ended it, until stopped.
        """
        while self._channel is not None:
            why = await self._channel.when_closed()
            self._abandon()
            if self._stopping is None:
                self._tell(why, self._channel)
                await self._reattach()
            else:
                self._channel = None

    async def _reattach(self) -> None:
        lasted = self._client.reactor.seconds() - self._attached
        attempt = self._short = self._short + 1 if lasted < _LASTING else 0
        if attempt > 1:
            await self._wait_for_attempt(attempt)
        while self._stopping is None:
            try:
                await self._attach(None)
            except BrokerError as e:
                attempt += 1
                self._warn("cannot be consumed, trying again", e)
                await self._wait_for_attempt(attempt)
            else:
                self._attached = self._client.reactor.seconds()
                return
        self._channel = None

    async def _wait_for_attempt(self, attempt: int) -> None:
        if self._stopping is None:
            delay = exponential(attempt, constant=1.5, maximum=_RETRY_LIMIT)
            await self._pause(delay)

    def _tell(self, why: BrokerError, channel: Channel) -> None:
        self._warn("is not consumed for now", why)
        if self._onDisconnect is not None and channel.client.closed:
            try:
                self._onDisconnect(Failure(why))
            except Exception:
                self.log.failure("onDisconnect failed")

    def _warn(self, what: str, why: object) -> None:
        self.log.warn(
            "Queue {queue!r} {what}: {why}", queue=self.queue, what=what, why=why
        )

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
            again = Deferred.fromCoroutine(self._consume_anew(channel))
            again.addErrback(lambda _: Deferred.fromCoroutine(channel.shut()))

    async def _consume_anew(self, channel: Channel) -> None:
        await self._declare(channel)
        await self._consume(channel)

    def _abandon(self) -> None:
        """
        The channel is gone: the broker gives out again what it had given us,
        and does not want to hear of it any more.
        """
        self.consuming = False
        self.counts.returned += len(self._unsettled)
        self._unsettled.clear()
        self._ready.clear()
        self._cut_pauses()

    # -- The window

    def _received(self, message: Message) -> None:
        self.counts.received += 1
        self._unsettled.add(message)
        if message.consumer_tag == self._consumer_tag:
            self._taken += 1
        self._ready.append(message)
        self._start_ready()

    def _start_ready(self) -> None:
        if self._stopping is not None or self._starting:
            return
        self._starting = True  # a callback that ends at once comes back here
        while self._ready and self._has_place():
            self._start(self._ready.popleft())
        self._starting = False
        self._renew_if_used_up()

    def _start(self, message: Message) -> None:
        self._running.add(message)
        task = Deferred.fromCoroutine(self._process(message))
        if not task.called:
            self._tasks[message] = task
        task.addBoth(self._ended, message)

    def _has_place(self) -> bool:
        return not self.maxEvents or len(self._running) < self.maxEvents

    def _leave(self, message: Message) -> None:
        """
        Give up the place of a message, for the next.
        """
        if message in self._running:
            self._running.remove(message)
            self._start_ready()

    def _ended(self, result: object, message: Message) -> None:
        if isinstance(result, Failure):
            self.log.failure("settling {message} failed", result, message=message)
        self._tasks.pop(message, None)
        self._leave(message)
        if self._idle is not None and not self._tasks:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def _renew_if_used_up(self) -> None:
        used_up = 0 < self.maxEvents <= self._taken and not self._ready
        waiting = 0 < len(self._pauses) < MAX_HELD
        if used_up and waiting and self._has_place() and not self._renewing:
            self._renewing = True
            renewed = Deferred.fromCoroutine(self._renew())
            renewed.addErrback(self._not_renewed)

    async def _renew(self) -> None:
        channel, old = self._channel, self._consumer_tag
        if channel is not None:
            await self._consume(channel)
            await channel.call("basic_cancel", consumer_tag=old)
        self._renewing = False
        self._renew_if_used_up()  # which may have happened meanwhile

    def _not_renewed(self, failure: Failure) -> None:
        failure.trap(BrokerError)  # the channel is closed, _keep() takes over
        self._renewing = False

    # -- One message

    async def _process(self, message: Message) -> None:
        outcome, errors = await self._outcome(message)
        if isinstance(outcome, Retry):
            await self._put_back(message, outcome, errors)
        elif message in self._unsettled:
            self._settle(message)
            if isinstance(outcome, Done):
                self.counts.done += 1
            elif isinstance(outcome, Discard):
                self.counts.discarded += 1
                self._warn("has a message that is discarded", outcome.reason)
            else:
                assert_never(outcome)

    async def _outcome(self, message: Message) -> tuple[Outcome, int]:
        """
        What to do with the message, and how often in a row the callback failed.
        """
        early = message.number_in(NOT_BEFORE) - self._now()
        # Anybody can write headers.
        errors = int(min(max(0.0, message.number_in(ERRORS)), _MOST_ERRORS))
        if early > 0:
            return Retry(after=early), errors
        self._consulted.add(message)
        try:
            answer = await maybeDeferred(self._callback, message)
            return _as_outcome(answer), 0
        except GeneratorExit:
            raise
        except CancelledError:
            if message in self._unsettled:  # not by us
                self.log.failure("The callback failed with {message}", message=message)
        except BaseException:  # its sys.exit() must not leave the message hanging
            self.log.failure("The callback failed with {message}", message=message)
        finally:
            self._consulted.discard(message)
        growth = exponential(errors, constant=2, maximum=_ERROR_LIMIT)
        after = min(self.errorDelay * growth, max(_ERROR_LIMIT, self.errorDelay))
        return Retry(after=after), errors + 1

    def _settle(self, message: Message) -> None:
        """
        Whatever replaces the message is safe: the broker may forget it.
        """
        assert self._channel is not None
        self._forget(message)
        self._channel.ack(message.delivery_tag)

    def _forget(self, message: Message) -> None:
        self._unsettled.remove(message)
        if message.consumer_tag == self._consumer_tag:
            self._taken -= 1

    def _give_back(self, message: Message) -> None:
        if message in self._unsettled and self._channel is not None:
            self._forget(message)
            self._channel.give_back(message.delivery_tag)
            self.counts.returned += 1

    async def _put_back(self, message: Message, retry: Retry, errors: int) -> None:
        due = self._now() + min(retry.after, _FOREVER)
        if retry.after > 0 and self._stopping is None:
            held = self._pause(min(retry.after, HOLD_LIMIT))
            self._leave(message)
            await held
        early = due - self._now() > 0.001
        properties = message.amended_properties(
            errors=errors, not_before=due if early else None
        )
        body = message.body if retry.body is None else retry.body
        if await self._published(message, body, properties):
            self._settle(message)
            self.counts.retried += 1

    async def _published(
        self, message: Message, body: bytes, properties: bytes
    ) -> bool:
        """
        Publish to the queue itself, again until the broker has it; tells
        whether it has, and the message is still ours to settle.
        """
        attempt = 0
        while message in self._unsettled and self._channel is not None:
            try:
                await self._channel.publish("", self.queue, body, properties)
                return message in self._unsettled
            except BrokerError as e:
                self._warn("does not take a task back for now", e)
            attempt += 1
            if self._stopping is None:
                await self._pause(exponential(attempt, constant=2, maximum=60))
            else:
                self._give_back(message)
        return False

    def _pause(self, seconds: float) -> Deferred[None]:
        """
        Fires after C{seconds}, or as soon as there is no point in waiting.
        """
        pause: Deferred[None] = Deferred(self._end_pause)
        call = self._client.reactor.callLater(seconds, self._end_pause, pause)
        self._pauses[pause] = call
        return pause

    def _end_pause(self, pause: Deferred[None]) -> None:
        call = self._pauses.pop(pause)
        if call.active():
            call.cancel()
        pause.callback(None)

    def _cut_pauses(self) -> None:
        for pause in list(self._pauses):
            self._end_pause(pause)

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
        waiter: Deferred[None] = Deferred()
        self._stopping.addBoth(_pass_on, waiter)
        return waiter

    async def _stop(self, grace: float) -> None:
        if self in self._client.watchers:
            self._client.watchers.remove(self)
        await self._stop_consuming()
        for message in self._ready:
            self._give_back(message)
        self._ready.clear()
        self._cut_pauses()
        await self._until_idle(grace)
        for message, task in list(self._tasks.items()):
            if message in self._consulted:
                self._give_back(message)
                task.cancel()
        await self._until_idle(_LAST_CONFIRMS)
        if self._channel is not None:
            await self._channel.shut()
        self._keeping.addErrback(lambda failure: failure.trap(CancelledError))
        self._keeping.cancel()

    async def _stop_consuming(self) -> None:
        self.consuming = False
        try:
            if self._channel is not None:
                tag = self._consumer_tag
                await self._channel.call("basic_cancel", consumer_tag=tag)
        except BrokerError as e:
            self.log.debug("No consumer to cancel: {why}", why=e)

    async def _until_idle(self, seconds: float) -> None:
        if self._tasks and seconds > 0:
            self._idle = Deferred()
            idle = self._idle.addTimeout(seconds, self._client.reactor)
            try:
                await idle
            except TimeoutError:
                self._idle = None


def _pass_on(result: Any, waiter: Deferred[Any]) -> Any:
    waiter.callback(None)
    return result


def _check_retry(retry: Retry) -> None:
    body: object = retry.body
    after: object = retry.after
    if body is not None and not isinstance(body, bytes):
        raise TypeError(f"the body of a Retry must be bytes, not {type(body).__name__}")
    if not isinstance(after, (int, float)):
        raise TypeError(f"Retry(after=...) is seconds, not {type(after).__name__}")


def _as_outcome(answer: object) -> Outcome:
    if answer is None:
        return Done()
    if isinstance(answer, str):
        return Retry(body=answer.encode("utf-8"))
    if isinstance(answer, bytes):
        return Retry(body=answer)
    if isinstance(answer, Retry):
        _check_retry(answer)
    if isinstance(answer, (Done, Retry, Discard)):
        return answer
    raise TypeError(
        "a callback of watch() must return None, bytes, str or an Outcome,"
        f" not {type(answer).__name__}"
    )
