"""
Forwarding: what has waited on the delay ladder goes from the queue in which it arrived
to its task queue, or to its next wait.

A message is acknowledged once the broker has confirmed it where it goes.  Where the
task queue takes nothing, since it is full or was deleted, a L{ForwardingBreaker} has
the messages that are due wait here, unacknowledged.  Up to L{_MOST} messages or
L{_MOST_BYTES} bytes wait here, and further ones wait in the queue in which they
arrived, which holds up no other.  Messages are fetched as soon as they arrive, since
those that are fetched do not expire there by a policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert._protocol.extensions import COUNTS, DEATH_HEADERS
from quebert._protocol.properties import amend_properties
from quebert._repeated import RepeatedWarning
from quebert.amqp.delays._astray import Astray, OldLadder
from quebert.amqp.delays._breaker import ForwardingBreaker
from quebert.amqp.delays._ladder import Ladder
from quebert.amqp.delays._refusals import LadderRefused
from quebert.amqp.delays._rungs import TOLERANCE, arrivals_of, left, next_wait, wait_of
from quebert.amqp.delays._rungs_in_use import CHECK
from quebert.amqp.link import Publisher, Send, has_failed, pause_after
from quebert.amqp.wire import DELAY, Channel, Message, Unconfirmed
from quebert.clock import seconds_set
from quebert.errors import BrokerError, ChannelLost, PublishRefused

if TYPE_CHECKING:
    from quebert.amqp.link import Session
    from quebert.amqp.wire import Wire

__all__ = ["Forwarder"]

# How many messages wait here, or are on their way, at a time, ...
_MOST = 10_000
# ... and how many bytes: with more, no further messages are fetched.
_MOST_BYTES = 64 * 2**20
# Seconds at most between two attempts.
_LONGEST_PAUSE = 3.0
# Seconds after which a round begins that follows a failed one.
_AGAIN = 1.0
# Seconds for which nothing is forwarded after a fault of our own.
_AFTER_FAULT = 60.0
# Seconds for which a message is held that came too early: a policy that shortens waits
# shortens its next wait, too.
_HOLD = 5.0
# Seconds for which the answers to what was published are awaited at the end: fewer than
# a watch gives the broker for its last answers.
_PATIENCE = 4.0
_WHY_EARLY = (
    "a policy of RabbitMQ shortens their wait (message-ttl), or a clock was set back"
)
# Names its consumer.
_TAG = "quebert"
_COUNTED = tuple(name.encode() for name in COUNTS)


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
        old_ladder: OldLadder,
        session: Session,
        queue: str,
        publisher: Publisher,
        now: Callable[[], float],
    ) -> None:
        self._ladder = ladder
        self._new_queues = ladder.new_queues
        self._session = session
        self._queue = queue
        self._publisher = publisher
        self._now = now
        self._astray = Astray(ladder, old_ladder, queue, publisher)
        self._channel: Channel | None = None
        self._consuming = False
        self._busy: set[Message] = set()
        self._bytes = 0  # of their bodies
        self._holds: set[Deferred[None]] = set()
        self._event: Deferred[None] | None = None  # what the loop waits for
        self._interrupted = False  # begin anew
        # One for the task queue and one for the rungs: a full task queue must not stop
        # publications to rungs.
        self._queue_breaker = ForwardingBreaker(lambda: session.reactor, _LONGEST_PAUSE)
        self._rung_breaker = ForwardingBreaker(lambda: session.reactor, _LONGEST_PAUSE)
        self._refused = RepeatedWarning(
            self.log,
            lambda: session.reactor,
            "Queue {queue!r} takes no delayed tasks for now; they wait in queue"
            " {arrivals!r}",
            "Queue {queue!r} takes delayed tasks again",
            queue=queue,
            arrivals=arrivals_of(queue),
        )
        self._early = RepeatedWarning(
            self.log,
            lambda: session.reactor,
            "Delayed tasks of queue {queue!r} come before their time, and wait again",
            "Delayed tasks of queue {queue!r} wait for their time again",
            queue=queue,
        )
        self._bringing_back: Deferred[Any] | None = None
        self._running: Deferred[None] | None = None
        self._connecting: Deferred[Wire] | None = None
        self._failures = 0  # of RabbitMQ, in a row
        self._ended = False

    def begin(self) -> None:
        """
        Forward, with this connection and with all others, until the end.
        """
        if self._running is None:
            self._running = Deferred.fromCoroutine(self._run())

    async def end(self) -> None:
        """
        Forward no more; what was not confirmed stays where it is.
        """
        self._ended = True
        self._interrupt()
        if self._connecting is not None:
            self._connecting.cancel()
        try:
            if self._running is not None:
                await self._running
        finally:
            self._astray.end()
            self._early.end()
            self._refused.end()

    def declared(self) -> None:
        """
        The task queue was declared, perhaps anew: look at once for what waits for it.
        """
        self._astray.look_again()
        self._queue_breaker.reset()
        self._wake()

    # -- The loop

    async def _run(self) -> None:
        with suppress(CancelledError):
            while not self._ended:
                try:
                    await self._forward_on()
                except CancelledError:
                    raise
                except Exception:
                    self._tell_fault()
                    await self._wait(_AFTER_FAULT)

    def _tell_fault(self) -> None:
        self.log.failure(
            "Bringing delayed tasks to queue {queue!r} failed, and goes on in"
            " {seconds:.0f} s",
            queue=self._queue,
            seconds=_AFTER_FAULT,
        )

    async def _forward_on(self) -> None:
        while not self._ended:
            try:
                await self._round(await self._connected())
            except BrokerError as e:
                # Whoever keeps the error shall not keep the connection with it.
                e.with_traceback(None)
                if not self._ended:
                    self._fails(e)
                    await self._wait_after(e)

    async def _wait_after(self, why: BrokerError) -> None:
        if not has_failed(why):
            await self._wait(_AGAIN)
            return
        self._failures += 1
        clock = self._session.reactor
        end = clock.seconds() + pause_after(self._failures)
        # Wait for all of it, even if declared() wakes us.
        while not self._ended and (left := end - clock.seconds()) > 0:
            await self._wait(left)

    async def _connected(self) -> Wire:
        self._connecting = Deferred.fromCoroutine(self._session.connected())
        try:
            return await self._connecting
        finally:
            self._connecting = None

    async def _round(self, wire: Wire) -> None:
        """
        Forward until something is to be done otherwise.
        """
        self._interrupted = self._consuming = False
        self._bytes = 0
        await self._ladder.prepare(wire, self._queue)
        channel = await wire.open_channel(confirms=False)
        channel.on_message = self._received
        channel.on_cancel = lambda consumer_tag: self._cancelled()
        channel.when_closed().addCallback(self._closed)
        self._channel = channel
        try:
            await channel.call("basic_qos", prefetch_count=_MOST)
            while not self._interrupted:
                await self._consume_or_rest(channel)
                await self._look_after(wire)
                self._failures = 0
                await self._wait(CHECK)
        finally:
            await self._leave(channel)
            if self._bringing_back is not None:
                await self._bringing_back

    async def _consume_or_rest(self, channel: Channel) -> None:
        """
        Fetch messages, unless many bytes are on their way.
        """
        if not self._consuming and self._bytes <= _MOST_BYTES / 2:
            self._consuming = True
            queue = arrivals_of(self._queue)
            await channel.call("basic_consume", queue=queue, consumer_tag=_TAG)
        elif self._consuming and self._bytes > _MOST_BYTES:
            self._consuming = False
            await channel.call("basic_cancel", consumer_tag=_TAG)

    async def _leave(self, channel: Channel) -> None:
        """
        Fetch no more, wait for the answers to what was published, and give back what
        was not taken.
        """
        self._channel = None
        self._queue_breaker.reset()
        self._rung_breaker.reset()
        for hold in list(self._holds):
            hold.cancel()
        try:
            if not channel.closed:
                if self._consuming:
                    await channel.call("basic_cancel", consumer_tag=_TAG)
                await self._until_idle()
        except BrokerError:
            pass  # it is closed: all that is not acknowledged comes again
        finally:  # also when nobody waits for that any longer
            channel.give_all_back()
            self._busy.clear()
            shut = Deferred.fromCoroutine(channel.shut())
        await shut

    async def _until_idle(self) -> None:
        end = self._session.reactor.seconds() + _PATIENCE
        while self._busy and self._session.reactor.seconds() < end:
            await self._wait(0.05)

    async def _wait(self, seconds: float) -> bool:
        """
        Wait; whether that was for so many seconds, and not until L{_wake}.
        """
        event: Deferred[None] = Deferred()
        self._event = event
        try:
            await event.addTimeout(seconds, self._session.reactor)
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
            self._interrupt()

    def _cancelled(self) -> None:
        """
        Somebody has deleted the queue in which messages arrive.
        """
        self._ladder.forget()
        self._interrupt()

    async def _look_after(self, wire: Wire) -> None:
        """
        See to what somebody may have deleted, and to what went astray, of which the
        ladder tells.  To bring that back may take long, and the ladder must not wait.
        """
        try:
            await self._ladder.check(wire)
        except BrokerError as e:
            if wire.closed:
                raise
            self._not_looked_after(e)
        if self._bringing_back is None:
            bringing = Deferred.fromCoroutine(self._astray.bring_back(wire))
            self._bringing_back = bringing
            bringing.addBoth(self._brought_back)

    def _brought_back(self, result: object) -> None:
        self._bringing_back = None
        if isinstance(result, Failure):
            result.trap(BrokerError)
            self._not_looked_after(result.value)

    def _not_looked_after(self, why: object) -> None:
        self.log.debug("The queues for delayed tasks cannot be checked: {why}", why=why)

    # -- One message

    def _received(self, message: Message) -> None:
        channel = self._channel
        if channel is not None and not self._interrupted:
            self._busy.add(message)
            self._bytes += len(message.body)
            if self._consuming and self._bytes > _MOST_BYTES:
                self._wake()
            forwarding = Deferred.fromCoroutine(self._forward(channel, message))
            forwarding.addErrback(self._not_forwarded, message)
            forwarding.addCallback(lambda _: self._gone(channel, message))

    def _not_forwarded(self, failure: Failure, message: Message) -> None:
        self.log.failure(
            "Bringing {message} to queue {queue!r} failed",
            failure,
            message=message,
            queue=self._queue,
        )

    def _gone(self, channel: Channel, message: Message) -> None:
        self._busy.discard(message)
        if channel is self._channel:
            self._bytes -= len(message.body)
            if not self._consuming and self._bytes <= _MOST_BYTES / 2:
                self._wake()

    async def _forward(self, channel: Channel, message: Message) -> None:
        """
        Pass a message on, again until the broker has it, or its channel is left.
        """
        early = self._early_by(message)
        due = self._session.reactor.seconds() + early
        if early > 0 and _is_too_early(message, early):
            self._early.met(_WHY_EARLY)
            await self._hold(min(early, _HOLD))
        send: Send = self._publisher.publish
        while channel is self._channel:
            is_due = self._early_by(message, due) <= 0
            if is_due and self._new_queues.has(channel.client, self._queue):
                await self._hold(self._new_queues.left(channel.client, self._queue))
                continue
            breaker = self._queue_breaker if is_due else self._rung_breaker
            await breaker.may_try()
            if channel is not self._channel:
                return breaker.not_tried()
            try:
                await self._pass_on(channel.client, message, due, send)
            except BrokerError as e:
                if isinstance(e, Unconfirmed) and e.refusal is not None:
                    send = self._publisher.publish_alone  # is it this message?
                if channel is self._channel:
                    breaker.failed()
                    self._fails(e)
            except BaseException:  # a fault of ours
                breaker.not_tried()
                raise
            else:
                channel.ack(message.delivery_tag)
                breaker.reset()
                return self._refused.succeeded()
        return None

    def _early_by(self, message: Message, due: float = math.inf) -> float:
        """
        In how many seconds a message is due.

        @param due: when it is, by the reactor's clock, as far as that was known when it
            came: what it has waited here counts, too.
        """
        clock = self._session.reactor
        early = left(message, self._now(), seconds_set(clock))
        return early if early <= 0 else min(early, due - clock.seconds())

    async def _hold(self, seconds: float) -> None:
        hold: Deferred[None] = deferLater(self._session.reactor, seconds)
        self._holds.add(hold)
        try:
            await hold
        except CancelledError:
            pass  # its channel is left
        finally:
            self._holds.discard(hold)

    async def _pass_on(
        self, wire: Wire, message: Message, due: float, send: Send
    ) -> None:
        """
        Publish a message where it goes next; returns when it is safe there.

        @param due: when it is due, by the reactor's clock.
        @param send: publishes it.
        """
        if self._early_by(message, due) > 0:
            await self._publisher.unblocked()
        early = self._early_by(message, due)
        if early > 0:
            most = next_wait(message, self._now(), early)
            rung = await self._ladder.rung_for(
                wire, self._queue, lambda: min(most, self._early_by(message, due))
            )
            early = self._early_by(message, due)
        if early > 0:
            await send(rung, self._queue, message.body, _to_wait(message, early))
            return await self._ladder.kept(wire, rung, self._queue)
        self._early.succeeded()
        self._astray.arrived()
        has_waited_here = self._early_by(message) > 0
        await send("", self._queue, message.body, _to_begin(message, has_waited_here))
        return await self._new_queues.old(wire, self._queue)

    def _fails(self, why: BrokerError) -> None:
        if not isinstance(why, PublishRefused | LadderRefused):  # what is full is there
            self._ladder.forget()
        if isinstance(why, ChannelLost):  # which the watch tells
            return
        if not self._ladder.tells(why, self._queue, self._session.reactor):
            self._refused.met(why)


def _is_too_early(message: Message, early: float) -> bool:
    """
    Whether a message did not wait as long in its rung as it should have.
    """
    rest = message.number_in(DELAY) - wait_of(message.died_in)
    return early > max(0.0, rest) + TOLERANCE


def _to_begin(message: Message, has_waited_here: bool) -> bytes:
    """
    The properties as they came, without what RabbitMQ has written there about the
    deliveries so far.

    @param has_waited_here: whether the message was not due when it came.
    """
    if has_waited_here:  # as if its rung had let it wait for all that was left
        return _amended(message, {DELAY: wait_of(message.died_in)}, COUNTS)
    encoded = message.encoded_properties
    if any(name in encoded for name in _COUNTED):
        return _amended(message, {}, COUNTS)
    return encoded


def _to_wait(message: Message, seconds: float) -> bytes:
    """
    The properties with which a message begins a wait, as one that has not died there.
    """
    return _amended(message, {DELAY: seconds}, (*COUNTS, *DEATH_HEADERS))


def _amended(
    message: Message, headers: Mapping[str, Any], dropped: Sequence[str]
) -> bytes:
    encoded = message.encoded_properties
    try:
        return amend_properties(encoded, changes={}, headers=headers, dropped=dropped)
    except ValueError:
        return encoded
