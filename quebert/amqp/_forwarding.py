"""
Forwarding: what has waited on the delay ladder goes from the queue in which it arrived
to its task queue, or to its next wait.

A message is acknowledged once the broker has confirmed it where it goes.  Where the
task queue takes nothing, since it is full or was deleted, nothing is fetched for a
moment, and all stay where they are: in a queue of their own, which holds up no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger

from quebert._protocol.properties import amend_properties
from quebert._repeated import RepeatedWarning
from quebert.amqp._astray import Astray
from quebert.amqp._channel import Channel
from quebert.amqp._delay import TOLERANCE, arrivals_of, left, wait_of
from quebert.amqp._ladder import CHECK, Ladder, LadderRefused
from quebert.amqp._message import DEATHS, DELAY, DELIVERIES, Message
from quebert.clock import seconds_set
from quebert.errors import BrokerError, BrokerRefused, ChannelLost
from quebert.policy import exponential

if TYPE_CHECKING:
    from quebert.amqp._client import TxAMQPClient
    from quebert.amqp._publisher import Publisher
    from quebert.amqp._wire import Wire

__all__ = ["Forwarder"]

# How many messages are on their way to the task queue at a time.
_PREFETCH = 1_000
# Seconds at most between two attempts.
_LIMIT = 3.0
# Seconds for which the answers to what was published are awaited at the end.
_PATIENCE = 5.0
_WHY_EARLY = (
    "a policy of RabbitMQ shortens their wait (message-ttl), or a clock was set back"
)
# A message that begins another wait has not died in that rung yet.
_DROPPED = (*DELIVERIES, *DEATHS)
_COUNTED = tuple(name.encode() for name in DELIVERIES)


class Forwarder:
    """
    Forwards messages to one task queue, from L{begin} to L{end}.

    @param publisher: publishes them.
    @param now: the time, in seconds since the epoch.
    """

    log = Logger()

    def __init__(
        self,
        ladder: Ladder,
        client: TxAMQPClient,
        queue: str,
        publisher: Publisher,
        now: Callable[[], float],
    ) -> None:
        self._ladder = ladder
        self._client = client
        self._queue = queue
        self._publisher = publisher
        self._now = now
        self._astray = Astray(ladder, client.old_ladder, queue, publisher)
        self._channel: Channel | None = None
        self._busy: set[Message] = set()
        self._event: Deferred[None] | None = None  # what the loop waits for
        self._interrupted = False  # begin anew
        self._failures = 0  # rounds in a row
        self._trouble = ""  # as told
        self._early = RepeatedWarning(
            self.log,
            lambda: client.reactor,
            "Delayed tasks of queue {queue!r} come before their time, and wait again",
            "Delayed tasks of queue {queue!r} wait for their time again",
            queue=queue,
        )
        self._running: Deferred[None] | None = None
        self._connecting: Deferred[Wire] | None = None
        self._ended = False

    def begin(self) -> None:
        """
        Forward, with this connection and with all others, until the end.
        """
        if self._running is None:
            self._running = Deferred.fromCoroutine(self._run())
            self._running.addErrback(
                lambda failure: self.log.failure(
                    "Nothing is forwarded to queue {queue!r} any more",
                    failure,
                    queue=self._queue,
                )
            )

    async def end(self) -> None:
        """
        Forward no more; what was not confirmed stays where it is.
        """
        self._ended = True
        self._early.end()
        self._interrupt()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._running is not None:
            await self._running

    def declared(self) -> None:
        """
        The task queue was declared, perhaps anew: look at once for what waits for it.
        """
        self._failures = 0
        self._astray.look_again()
        self._wake()

    # -- The loop

    async def _run(self) -> None:
        with suppress(CancelledError):
            await self._forward_on()

    async def _forward_on(self) -> None:
        while not self._ended:
            try:
                await self._round(await self._connected())
            except BrokerError as e:
                if isinstance(e, BrokerRefused):
                    self._ladder.forget()  # somebody may have deleted a part
                self._fails(e)
            if self._failures and not self._ended:
                pause = exponential(self._failures - 1, constant=2, maximum=_LIMIT)
                await self._wait(pause)

    async def _connected(self) -> Wire:
        self._connecting = Deferred.fromCoroutine(self._client.connected())
        try:
            return await self._connecting
        finally:
            self._connecting = None

    async def _round(self, wire: Wire) -> None:
        """
        Forward until something is to be done otherwise.
        """
        self._interrupted = False
        await self._ladder.prepare(wire, self._queue)
        channel = await wire.open_channel(confirms=False)
        channel.on_message = self._received
        channel.on_cancel = lambda consumer_tag: self._cancelled()
        channel.when_closed().addCallback(self._closed)
        self._channel = channel
        try:
            await channel.call("basic_qos", prefetch_count=_PREFETCH)
            tag, queue = "quebert", arrivals_of(self._queue)
            await channel.call("basic_consume", queue=queue, consumer_tag=tag)
            await self._look_after(wire)
            while not self._interrupted:
                if await self._wait(CHECK):
                    self._goes_well()
                await self._look_after(wire)
        finally:
            await self._leave(channel)

    async def _leave(self, channel: Channel) -> None:
        """
        Fetch no more, wait for the answers to what was published, and give back what
        was not taken.
        """
        self._channel = None
        if not channel.closed:
            try:
                await channel.call("basic_cancel", consumer_tag="quebert")
                await self._until_idle()
            except BrokerError:
                pass  # it is closed: all that is not acknowledged comes again
            channel.give_all_back()
        self._busy.clear()
        await channel.shut()

    async def _until_idle(self) -> None:
        end = self._client.reactor.seconds() + _PATIENCE
        while self._busy and self._client.reactor.seconds() < end:
            await self._wait(0.05)

    async def _wait(self, seconds: float) -> bool:
        """
        Wait; whether that was for so many seconds, and not until L{_wake}.
        """
        event: Deferred[None] = Deferred()
        self._event = event
        try:
            await event.addTimeout(seconds, self._client.reactor)
        except TimeoutError:
            return True
        finally:
            self._event = None
        return False

    def _wake(self) -> None:
        event, self._event = self._event, None
        if event is not None:
            event.callback(None)

    def _interrupt(self) -> None:
        self._interrupted = True
        self._wake()

    def _closed(self, why: BrokerError) -> None:
        if self._channel is not None:
            self._fails(why)

    def _cancelled(self) -> None:
        """
        Somebody has deleted the queue in which messages arrive.
        """
        self._ladder.forget()
        self._interrupt()

    async def _look_after(self, wire: Wire) -> None:
        """
        See to what somebody may have deleted, and to what went astray.
        """
        try:
            await self._ladder.check(wire)
            await self._astray.bring_back(wire)
        except BrokerError as e:
            if wire.closed:
                raise
            self.log.debug("The delay ladder cannot be looked after: {why}", why=e)

    # -- One message

    def _received(self, message: Message) -> None:
        channel = self._channel
        if channel is not None and not self._interrupted:
            self._busy.add(message)
            Deferred.fromCoroutine(self._forward(channel, message)).addErrback(
                lambda failure: self.log.failure("forwarding failed", failure)
            )

    async def _forward(self, channel: Channel, message: Message) -> None:
        try:
            early = left(message, self._now(), seconds_set(self._client.reactor))
            if early > 0:
                await self._delay(channel.client, message, early)
            else:
                self._early.succeeded()
                await self._publish("", message, {})
            channel.ack(message.delivery_tag)
        except BrokerError as e:
            self._fails(e)
        finally:
            self._busy.discard(message)

    async def _delay(self, wire: Wire, message: Message, early: float) -> None:
        """
        Have a message wait that is not due.
        """
        expected = message.number_in(DELAY) - wait_of(message.died_in)
        if early > max(0.0, expected) + TOLERANCE:
            self._early.met(_WHY_EARLY)
        clock = self._client.reactor
        due = clock.seconds() + early
        rung, _ = await self._ladder.way(
            wire, self._queue, lambda: due - clock.seconds()
        )
        await self._publish(rung, message, {DELAY: due - clock.seconds()})
        await self._ladder.settled(wire, rung, self._queue)

    async def _publish(
        self, exchange: str, message: Message, headers: Mapping[str, Any]
    ) -> None:
        properties = _amended(message, headers)
        await self._publisher.publish(exchange, self._queue, message.body, properties)

    # -- What is told

    def _fails(self, why: BrokerError) -> None:
        """
        Leave all messages where they are for a moment.
        """
        if not self._interrupted:
            self._failures += 1
            self._interrupt()
        told = isinstance(why, (ChannelLost, LadderRefused))  # elsewhere
        if not (told or self._trouble or self._ended):
            self._trouble = str(why)
            self.log.warn(
                "Queue {queue!r} takes no delayed tasks for now; they wait in queue"
                " {arrivals!r}: {why}",
                queue=self._queue,
                arrivals=arrivals_of(self._queue),
                why=why,
            )

    def _goes_well(self) -> None:
        """
        For some seconds nothing was refused.
        """
        self._failures = 0
        if self._trouble:
            self._trouble = ""
            self.log.info(
                "Queue {queue!r} takes delayed tasks again.", queue=self._queue
            )


def _amended(message: Message, headers: Mapping[str, Any]) -> bytes:
    """
    The properties as they came, with other headers, and without what RabbitMQ has
    written there about the deliveries and deaths so far.
    """
    encoded = message.encoded_properties
    if not headers and not any(name in encoded for name in _COUNTED):
        return encoded
    dropped = _DROPPED if headers else DELIVERIES
    try:
        return amend_properties(encoded, changes={}, headers=headers, dropped=dropped)
    except ValueError:
        return encoded
