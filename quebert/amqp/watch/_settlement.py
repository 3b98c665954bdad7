"""
Carrying out outcomes: acknowledge, put back, give back.

A message is acknowledged only after whatever replaces it is confirmed by the
broker, so that a crash at any point duplicates at worst.  A delivery tag is
used on the channel that it came on, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert._log import Logger
from quebert._protocol.properties import encode_properties
from quebert._repeated import RepeatedWarning
from quebert._text import printable
from quebert.amqp.delays import Ladder, LadderRefused
from quebert.amqp.link import Publisher, Send
from quebert.amqp.queues import KIND, REASON, DeadLetters, dead_letters_of
from quebert.amqp.wire import (
    DELAY,
    EXCHANGE,
    NOT_BEFORE,
    ROUTING_KEY,
    Channel,
    Message,
    Unconfirmed,
)
from quebert.errors import (
    BrokerError,
    ChannelLost,
    MessageRefused,
    PublishRefused,
    Unroutable,
)
from quebert.outcome import POISON, Bury, Discard, Done, Retry
from quebert.policy import BURIED_AT, exponential

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["HOLD_LIMIT", "HOLD_UP_TO", "Counts", "Settler"]

#: Seconds for which a delivery waits at most, from when it came: RabbitMQ closes
#: a channel that holds one for 30 minutes.
HOLD_LIMIT = 900.0
#: Seconds up to which it waits here; what is to wait longer waits in the broker.
HOLD_UP_TO = 5.0
# Seconds that are none, where clocks and floats are concerned.
_AT_ONCE = 0.001
# Characters: it is a header, and a sentence.
_REASON_LIMIT = 1_000
_NO_ROOM = "its properties cannot be read, or leave no room for what was tried with it"
# Seconds: a finite time, since what is not finite is no time in a header.
_FOREVER = 1e9
#: Seconds at most between attempts to put a task back, ...
RETRY_LIMIT = 4.5
#: ... unless so many tasks wait for this that there were more attempts a second.
RETRY_RATE = 200.0
# So many messages in a row may have the time at which the first of them came.
_SAME_TIME = 16


@attrs.define
class Counts:
    """
    What became of the messages; they add up::

        received == (done + retried + discarded + buried + returned
                     + watcher.in_flight)

    @ivar buried: moved to C{<queue>.dead}.
    @ivar returned: given back to the broker unfinished, by C{stop} or with
        the connection, or as a copy that was to be attempted instead.
    """

    received: int = 0
    done: int = 0
    retried: int = 0
    discarded: int = 0
    buried: int = 0
    returned: int = 0


class Settler:
    """
    Settles the messages of one queue, on one channel after the other.

    @param queue: where messages are put back to.
    @param publisher: puts them there.
    @param clock: gives the clock that all waits go by.
    @param ladder: where they wait that are to come back later.
    @param hold_up_to: seconds that they wait here instead, at most.
    @param queue_type: the type that the queue is declared with, if any.
    @param now: the time of day, in seconds since the epoch; only written to headers.
    @param settled: called with each message that is settled.
    @ivar queue: the queue.
    @ivar unsettled: what the broker waits for.
    @ivar unsettled_bytes: the size of its bodies.
    @ivar held: those of them that wait, without a place, before they go back.
    @ivar hurried: messages wait here for their retries no more.
    """

    log = Logger()

    def __init__(
        self,
        queue: str,
        publisher: Publisher,
        clock: Callable[[], IReactorTime],
        now: Callable[[], float],
        settled: Callable[[Message], None],
        *,
        ladder: Ladder,
        hold_up_to: float = HOLD_UP_TO,
        queue_type: str | None = None,
    ) -> None:
        self.counts = Counts()
        self.channel: Channel | None = None
        self.unsettled: dict[Message, float] = {}  # and when they came, or earlier
        self.unsettled_bytes = 0
        self.hurried = False
        self.queue = queue
        self._publisher = publisher
        self._clock = clock
        self._came = 0.0
        self._now = now
        self._settled = settled
        self._ladder = ladder
        self._dead_letters = DeadLetters(queue, clock, ladder.new_queues, queue_type)
        self._hold_up_to = hold_up_to
        self._pauses: dict[Deferred[None], IDelayedCall] = {}
        self._publishing: set[Deferred[None]] = set()
        self._refused = RepeatedWarning(
            self.log,
            clock,
            "Queue {queue!r} does not take a task back for now",
            "Queue {queue!r} takes tasks back again",
            queue=queue,
        )
        self._dead_refused = RepeatedWarning(
            self.log,
            clock,
            "Queue {dead!r} does not take a task that is given up for now",
            "Queue {dead!r} takes tasks that are given up again",
            dead=dead_letters_of(queue),
        )
        self.held: set[Message] = set()

    def received(self, message: Message) -> None:
        """
        A message has come, which must be settled.
        """
        counts, unsettled = self.counts, self.unsettled
        if not unsettled or not counts.received % _SAME_TIME:
            self._came = self._clock().seconds()
        counts.received += 1
        self.unsettled_bytes += len(message.body)
        unsettled[message] = self._came

    def settle(self, message: Message, outcome: Done | Discard) -> None:
        """
        Acknowledge a message that is done or discarded; nothing if its channel is lost.
        """
        if message not in self.unsettled:
            return
        self._ack(message)
        if isinstance(outcome, Done):
            self.counts.done += 1
        else:
            self.counts.discarded += 1
            self._log_removed(message, "is discarded, and is gone", outcome.reason)

    def give_back(self, message: Message) -> None:
        """
        Let the broker deliver it again.
        """
        if message in self.unsettled and self.channel is not None:
            self._forget(message)
            self.channel.give_back(message.delivery_tag)
            self.counts.returned += 1

    def abandon(self) -> None:
        """
        The channel is lost: RabbitMQ delivers the unsettled messages again, and takes
        no acknowledgement of them.
        """
        self.channel = None
        self.counts.returned += len(self.unsettled)
        self.unsettled.clear()
        self.unsettled_bytes = 0
        self.hurry()
        for publishing in list(self._publishing):
            publishing.cancel()

    def end(self) -> None:
        """
        No more messages will come: log nothing more.
        """
        self._refused.end()
        self._dead_refused.end()
        self._dead_letters.end()

    def hurry(self) -> None:
        """
        End all waiting.
        """
        for pause in list(self._pauses):
            self._end_pause(pause)

    def _ack(self, message: Message) -> None:
        self._forget(message)
        assert self.channel is not None
        self.channel.ack(message.delivery_tag)

    def _forget(self, message: Message) -> None:
        del self.unsettled[message]
        self.unsettled_bytes -= len(message.body)
        self._settled(message)

    async def put_back(
        self, message: Message, retry: Retry, leave: Callable[[Message], None]
    ) -> None:
        """
        Have the broker keep a message for later; nothing if its channel is lost.

        @param leave: called with it when it begins to wait.
        """
        if message not in self.unsettled:
            return
        now = self._clock().seconds()
        due = now + min(retry.after, _FOREVER)
        hold = self._hold(message, retry.after, now)
        try:
            if hold > 0 and not self.hurried:
                held = self.pause(hold)
                self._leave(message, leave)
                await held
            elif due > now or not self._publisher.ready:
                self._leave(message, leave)
            await self._return(message, retry, due, leave)
        finally:
            self.held.discard(message)

    def _hold(self, message: Message, after: float, now: float) -> float:
        if after > self._hold_up_to:
            return 0.0
        return min(after, HOLD_LIMIT - (now - self.unsettled[message]))

    def _leave(self, message: Message, leave: Callable[[Message], None]) -> None:
        self.held.add(message)
        leave(message)

    async def _return(
        self,
        message: Message,
        retry: Retry,
        due: float,
        leave: Callable[[Message], None],
    ) -> None:
        early = due - self._clock().seconds()
        delayed = early > _AT_ONCE
        properties = self._amended(
            message,
            errors=message.errors,
            not_before=self._now() + early if delayed else None,
            delay=early if delayed else None,
            delayed=delayed,
            highest_priority=self._highest_priority if delayed else None,
            headers=retry.headers,
            attempted=retry.attempted,
        )
        if properties is None:
            await self.bury(message, Bury(_NO_ROOM, POISON), leave)
            return
        body = message.body if retry.body is None else retry.body

        def publish(wire: Wire, send: Send) -> Coroutine[Any, Any, None]:
            return self._publish(wire, send, body, properties, due)

        try:
            taken = await self._published(
                message, publish, leave, self._refused, MessageRefused
            )
            if taken:
                self._ack(message)
                self.counts.retried += 1
        except MessageRefused as e:
            if retry.otherwise is not None:
                await self._return(message, retry.otherwise, due, leave)
            else:
                why = f"the broker refuses the task as it would go back: {e}"
                await self.bury(message, Bury(why), leave)

    async def replace(
        self,
        message: Message,
        headers: Mapping[str, Any],
        after: float,
        leave: Callable[[Message], None],
    ) -> bool:
        """
        Put a fresh copy in the place of a message that was not attempted; nothing if
        its channel is lost.

        @param headers: of the copy, beside those of the message.
        @param after: seconds that it waits in the broker.
        @param leave: called with it when it has to wait for the broker.
        @return: whether the copy has taken its place; it has not where the broker
            refuses the copy.
        """
        if self.channel is None or message not in self.unsettled:
            return False
        properties = self._copied_properties(message, headers, after)
        if properties is None:
            return False
        due = self._clock().seconds() + after

        def publish(wire: Wire, send: Send) -> Coroutine[Any, Any, None]:
            return self._publish(wire, send, message.body, properties, due)

        refusals = (MessageRefused, PublishRefused, Unroutable)
        if after > 0:  # the queue for that may be new
            self._leave(message, leave)
        try:
            taken = await self._published(
                message, publish, leave, self._refused, *refusals
            )
            if taken:
                self._ack(message)
                self.counts.returned += 1
        except BrokerError:
            return False
        finally:
            self.held.discard(message)
        return taken

    def _copied_properties(
        self, message: Message, headers: Mapping[str, Any], after: float
    ) -> bytes | None:
        """
        The properties of a copy: with all C{headers}, or with none where there is no
        room for them.
        """
        assert self.channel is not None
        due = {NOT_BEFORE: self._now() + after, DELAY: after} if after > 0 else {}
        for told in ({**headers, **due}, {EXCHANGE: None, ROUTING_KEY: None}):
            properties = message.copied_properties(
                told,
                delayed=after > 0,
                highest_priority=self._highest_priority if after > 0 else None,
                max_payload=self.channel.client.max_payload,
            )
            if properties is not None:
                return properties
        return None

    @property
    def _highest_priority(self) -> int | None:
        """
        With which messages may wait in the broker; C{None} for any.
        """
        channel = self.channel
        return channel and self._ladder.highest_priority(channel.client)

    async def bury(
        self, message: Message, outcome: Bury, leave: Callable[[Message], None]
    ) -> bool:
        """
        Move a message to C{<queue>.dead}; nothing if its channel is lost.

        @param leave: called with it when it has to wait for the broker.
        @return: whether it is there.
        """
        headers = {
            **outcome.headers,
            REASON: _writable(outcome.reason[:_REASON_LIMIT]),
            KIND: outcome.kind,
            BURIED_AT: self._now(),
        }
        properties = self._burial_properties(message, headers)

        async def publish(wire: Wire, send: Send) -> None:
            await self._dead_letters.publish(
                wire,
                send,
                message.body,
                properties,
                lambda: self._leave(message, leave),
            )

        try:
            taken = await self._published(message, publish, leave, self._dead_refused)
            if taken:
                self._ack(message)
                self.counts.buried += 1
                now_in = f"is now in queue {dead_letters_of(self.queue)!r}"
                self._log_removed(message, now_in, outcome.reason)
            return taken
        finally:
            self.held.discard(message)

    def _burial_properties(self, message: Message, headers: dict[str, Any]) -> bytes:
        """
        The properties with which a message goes to the dead: with all C{headers}, or
        as many as there is room for.  In any case without those for which RabbitMQ
        would copy it (C{CC}), drop it (C{expiration}), or refuse it (C{user-id}).
        """
        for told in (headers, {KIND: headers[KIND]}, {}):
            amended = self._amended(
                message, errors=0, not_before=None, delayed=True, headers=told
            )
            if amended is not None:
                return amended
        kept = {name: value for name, value in headers.items() if value is not None}
        return encode_properties({"delivery-mode": 2, "headers": kept})

    def _amended(self, message: Message, **changes: Any) -> bytes | None:
        channel = self.channel
        if channel is None:
            return None  # nor will it be published
        payload = channel.client.max_payload
        return message.amended_properties(max_payload=payload, **changes)

    async def _published(
        self,
        message: Message,
        publish: Callable[[Wire, Send], Coroutine[Any, Any, None]],
        leave: Callable[[Message], None],
        warning: RepeatedWarning,
        *refusals: type[BrokerError],
    ) -> bool:
        """
        Publish what replaces a message, again until the broker has it; tells
        whether it has, and the message is still ours to settle.

        @param leave: called with it when the broker does not take it at once: what it
            waits for may be that others are done.
        @param warning: tells of it where the broker does not take it.
        @param refusals: after which it is not tried again.
        @raise BrokerError: one of C{refusals}.
        """
        attempt = 0
        send: Send = self._publisher.publish
        while message in self.unsettled and self.channel is not None:
            publishing = Deferred.fromCoroutine(publish(self.channel.client, send))
            self._publishing.add(publishing)
            try:
                await publishing
                warning.succeeded()
                return message in self.unsettled
            except CancelledError:
                return False  # the broker gives it out again anyway
            except Unconfirmed as e:  # which is told once, and not for each message
                if e.refusal is not None and send != self._publisher.publish_alone:
                    send = self._publisher.publish_alone  # is it this message?
                    continue
            except ChannelLost:
                pass
            except LadderRefused:
                attempt = 0  # the ladder tells, and asks the broker once for all
            except refusals:
                raise
            except BrokerError as e:
                if not isinstance(e, PublishRefused):  # what is full is there
                    self._ladder.forget()
                    self._dead_letters.forget()
                if not self._ladder.tells(e, self.queue, self._clock()):
                    warning.met(e)
            finally:
                self._publishing.discard(publishing)
            attempt += 1
            if self.hurried:
                self.give_back(message)
            else:
                limit = max(RETRY_LIMIT, len(self.held) / RETRY_RATE)
                delay = exponential(attempt, constant=2, maximum=limit)
                waited = self.pause(delay)
                self._leave(message, leave)
                await waited
        return False

    async def _publish(
        self, wire: Wire, send: Send, body: bytes, properties: bytes, due: float
    ) -> None:
        clock, rung = self._clock(), ""
        if due - clock.seconds() > _AT_ONCE:
            await self._publisher.unblocked()
        if due - clock.seconds() > _AT_ONCE:
            rung = await self._ladder.rung_for(
                wire, self.queue, lambda: due - clock.seconds()
            )
        if rung and due - clock.seconds() > _AT_ONCE:
            await send(rung, self.queue, body, properties)
            await self._ladder.kept(wire, rung, self.queue)
        else:  # the original is in the same queue: RabbitMQ loses both, or none
            await send("", self.queue, body, properties)

    def pause(self, seconds: float) -> Deferred[None]:
        """
        Fires after C{seconds}, or as soon as there is no point in waiting.
        """
        pause: Deferred[None] = Deferred(self._end_pause)
        call = self._clock().callLater(seconds, self._end_pause, pause)
        self._pauses[pause] = call
        return pause

    def _end_pause(self, pause: Deferred[None]) -> None:
        call = self._pauses.pop(pause)
        if call.active():
            call.cancel()
        pause.callback(None)

    def _log_removed(self, message: Message, what: str, why: str) -> None:
        """
        Log that a message has left the queue without being done.

        @param what: where the message is now: "is discarded, and is gone".
        """
        self.log.warn(
            "Task {uuid} of queue {queue!r} {what}: {why}",
            uuid=message.id_for_log,
            queue=self.queue,
            what=what,
            why=printable(why[:_REASON_LIMIT]),
        )


def _writable(text: str) -> str:
    """
    The text without halves of surrogate pairs, which UTF-8 cannot hold.
    """
    return text.encode("utf-8", "backslashreplace").decode()
