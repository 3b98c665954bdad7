"""
Carries out outcomes: acknowledges a message, puts it back, buries it, or gives it back.

A message is acknowledged only after whatever replaces it is confirmed by the
broker, so that a crash at any point duplicates at worst.  A delivery tag is
used on the channel that it came on, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert._holding import HOLD_LIMIT
from quebert._log import Logger
from quebert._protocol.properties import encode_properties
from quebert._repeated import RepeatedWarning
from quebert._text import printable
from quebert.amqp.delays import Ladder, LadderRefused
from quebert.amqp.link import Publisher, Send
from quebert.amqp.queues import KIND, REASON, DeadLetters, dead_letters_of
from quebert.amqp.watch._delivery import Event, Fate, State
from quebert.amqp.watch._ledger import Ledger
from quebert.amqp.wire import (
    DELAY,
    EXCHANGE,
    NOT_BEFORE,
    ROUTING_KEY,
    Channel,
    Message,
    Unconfirmed,
    amended_properties,
    copied_properties,
)
from quebert.errors import (
    BrokerError,
    ChannelLost,
    MessageRefused,
    PublishRefused,
    Unroutable,
)
from quebert.outcome import POISON, Bury, Discard, Retry
from quebert.policy import BURIED_AT, exponential

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["HOLD_UP_TO", "Settlement"]

#: Seconds up to which it waits here; what is to wait longer waits in the broker.
HOLD_UP_TO = 5.0
# Python looks up members of an Enum slowly, and each message needs these.
_FINISH, _DONE = Event.FINISH, Fate.DONE
# Shorter waits, in seconds, count as 0.
_AT_ONCE = 0.001
# Characters: it is a header, and a sentence.
_REASON_LIMIT = 1_000
_NO_ROOM = "its properties cannot be read, or have no room for quebert's headers"
# Seconds: replaces infinity, which a header cannot hold.
_FOREVER = 1e9
#: Seconds at most between attempts to put a task back, ...
RETRY_LIMIT = 4.5
#: ... unless so many tasks wait for this that there were more attempts a second.
RETRY_RATE = 200.0


class Settlement:
    """
    Settles the messages of one queue, on one channel after the other.

    @param ledger: the deliveries.
    @param queue: where messages are put back to.
    @param publisher: puts them there.
    @param clock: gives the clock that all waits go by.
    @param ladder: where they wait that are to come back later.
    @param hold_up_to: seconds that they wait here instead, at most.
    @param queue_type: the type that the queue is declared with, if any.
    @param now: the time of day, in seconds since the epoch; only written to headers.
    @param leave: called with each message that begins to wait here, and needs no place.
    @ivar queue: the queue.
    @ivar hurried: messages wait here for their retries no more.
    """

    log = Logger()

    def __init__(
        self,
        ledger: Ledger[Message],
        queue: str,
        publisher: Publisher,
        clock: Callable[[], IReactorTime],
        now: Callable[[], float],
        leave: Callable[[Message], None],
        *,
        ladder: Ladder,
        hold_up_to: float = HOLD_UP_TO,
        queue_type: str | None = None,
    ) -> None:
        self.channel: Channel | None = None
        self.hurried = False
        self.queue = queue
        self._ledger = ledger
        self._publisher = publisher
        self._clock = clock
        self._now = now
        self._free_place = leave
        self._ladder = ladder
        self._dead_letters = DeadLetters(queue, clock, ladder.new_queues, queue_type)
        self._hold_up_to = hold_up_to
        self._waits: dict[Deferred[None], IDelayedCall] = {}
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
            "Queue {dead!r} refuses dead letters for now",
            "Queue {dead!r} takes dead letters again",
            dead=dead_letters_of(queue),
        )

    def acknowledge(
        self, message: Message, event: Event = _FINISH, fate: Fate = _DONE
    ) -> bool:
        """
        Acknowledge a message, if its delivery is ours.

        @return: whether it was.
        """
        if not self._ledger.settle(message, event, fate):
            return False
        assert self.channel is not None  # without a call: each message comes this way
        self.channel.ack(message.delivery_tag)
        return True

    def discard(self, message: Message, outcome: Discard) -> None:
        """
        Drop a message; nothing if its channel is lost.
        """
        if self.acknowledge(message, _FINISH, Fate.DISCARDED):
            self._log_removed(message, "is discarded, and is gone", outcome.reason)

    def give_back(self, message: Message) -> None:
        """
        Let the broker deliver it again.
        """
        if self._ledger.settle(message, Event.GIVE_BACK, Fate.RETURNED):
            self._live_channel.give_back(message.delivery_tag)

    @property
    def _live_channel(self) -> Channel:
        """
        The channel that brought each message whose delivery is ours.
        """
        assert self.channel is not None
        return self.channel

    def abandon(self) -> None:
        """
        The channel is lost: RabbitMQ delivers the unsettled messages again, and takes
        no acknowledgement of them.
        """
        self.channel = None
        self._ledger.lose()
        self.end_waits()
        for publishing in list(self._publishing):
            publishing.cancel()

    def end(self) -> None:
        """
        No more messages will come: log nothing more.
        """
        self._refused.end()
        self._dead_refused.end()
        self._dead_letters.end()

    def end_waits(self) -> None:
        """
        End all waiting.
        """
        for wait in list(self._waits):
            self._end_wait(wait)

    async def put_back(self, message: Message, retry: Retry) -> None:
        """
        Have the broker keep a message for later; nothing if its channel is lost.
        """
        if message not in self._ledger:
            return
        now = self._clock().seconds()
        due = now + min(retry.after, _FOREVER)
        hold = self._hold(message, retry.after, now)
        if hold > 0 and not self.hurried:
            held = self.wait(hold)
            self._leave(message)
            await held
        elif due > now or not self._publisher.ready:
            self._leave(message)
        await self._return(message, retry, due)

    def _hold(self, message: Message, after: float, now: float) -> float:
        if after > self._hold_up_to:
            return 0.0
        return min(after, HOLD_LIMIT - (now - message.came))

    def _leave(self, message: Message) -> None:
        self._ledger.move(message, Event.HOLD)
        self._free_place(message)

    async def _return(self, message: Message, retry: Retry, due: float) -> None:
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
            await self.bury(message, Bury(_NO_ROOM, POISON))
            return
        body = message.body if retry.body is None else retry.body

        def publish(wire: Wire, send: Send) -> Coroutine[Any, Any, None]:
            return self._publish(wire, send, body, properties, due)

        try:
            if await self._published(message, publish, self._refused, MessageRefused):
                self.acknowledge(message, Event.CONFIRM, Fate.RETRIED)
        except MessageRefused as e:
            if retry.otherwise is not None:
                await self._return(message, retry.otherwise, due)
            else:
                why = f"the broker refuses the task as it would go back: {e}"
                await self.bury(message, Bury(why))

    async def replace(
        self,
        message: Message,
        headers: Mapping[str, Any],
        after: float,
    ) -> bool:
        """
        Put a fresh copy in the place of a message that was not attempted; nothing if
        its channel is lost.

        @param headers: of the copy, beside those of the message.
        @param after: seconds that it waits in the broker.
        @return: whether the copy has taken its place; it has not where the broker
            refuses the copy.
        """
        if message not in self._ledger:
            return False
        properties = self._copied_properties(message, headers, after)
        if properties is None:
            return False
        due = self._clock().seconds() + after

        def publish(wire: Wire, send: Send) -> Coroutine[Any, Any, None]:
            return self._publish(wire, send, message.body, properties, due)

        refusals = (MessageRefused, PublishRefused, Unroutable)
        if after > 0:  # the queue for that may be new
            self._leave(message)
        try:
            taken = await self._published(message, publish, self._refused, *refusals)
        except BrokerError:
            return False
        return taken and self.acknowledge(message, Event.CONFIRM, Fate.RETURNED)

    def _copied_properties(
        self, message: Message, headers: Mapping[str, Any], after: float
    ) -> bytes | None:
        """
        The properties of a copy: with all C{headers}, or with none where there is no
        room for them.
        """
        max_payload = self._live_channel.client.max_payload
        due = {NOT_BEFORE: self._now() + after, DELAY: after} if after > 0 else {}
        for told in ({**headers, **due}, {EXCHANGE: None, ROUTING_KEY: None}):
            properties = copied_properties(
                message,
                told,
                delayed=after > 0,
                highest_priority=self._highest_priority if after > 0 else None,
                max_payload=max_payload,
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

    async def bury(self, message: Message, outcome: Bury) -> bool:
        """
        Move a message to C{<queue>.dead}; nothing if its channel is lost.

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
                lambda: self._leave(message),
            )

        taken = await self._published(message, publish, self._dead_refused)
        if not (taken and self.acknowledge(message, Event.CONFIRM, Fate.BURIED)):
            return False
        now_in = f"is now in queue {dead_letters_of(self.queue)!r}"
        self._log_removed(message, now_in, outcome.reason)
        return True

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
        return amended_properties(message, max_payload=payload, **changes)

    async def _published(
        self,
        message: Message,
        publish: Callable[[Wire, Send], Coroutine[Any, Any, None]],
        warning: RepeatedWarning,
        *refusals: type[BrokerError],
    ) -> bool:
        """
        Publish what replaces a message, again until the broker has it; tells
        whether it has.  Where the broker does not take it at once, the message leaves
        its place: what it waits for may be that others are done.

        @param warning: tells of it where the broker does not take it.
        @param refusals: after which it is not tried again.
        @raise BrokerError: one of C{refusals}.
        """
        attempt = 0
        send: Send = self._publisher.publish
        while message in self._ledger:
            wire = self._live_channel.client
            publishing = Deferred.fromCoroutine(publish(wire, send))
            self._publishing.add(publishing)
            try:
                await publishing
                warning.succeeded()
                return True
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
                held = self._ledger.numbers[State.HELD]
                limit = max(RETRY_LIMIT, held / RETRY_RATE)
                delay = exponential(attempt, constant=2, maximum=limit)
                waited = self.wait(delay)
                self._leave(message)
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

    def wait(self, seconds: float) -> Deferred[None]:
        """
        Fires after C{seconds}, or as soon as there is no point in waiting.
        """
        wait: Deferred[None] = Deferred(self._end_wait)
        call = self._clock().callLater(seconds, self._end_wait, wait)
        self._waits[wait] = call
        return wait

    def _end_wait(self, wait: Deferred[None]) -> None:
        call = self._waits.pop(wait)
        if call.active():
            call.cancel()
        wait.callback(None)

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
