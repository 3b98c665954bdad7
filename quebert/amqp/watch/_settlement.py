"""
Carries out outcomes: acknowledges a message, puts it back, buries it, or gives it back.
In the end L{Settlement.acknowledge} or L{Settlement.give_back} settles each delivery of
a watch.

A message is acknowledged only after whatever replaces it is confirmed by the
broker, so that a crash at any point duplicates at worst.  A delivery tag is
used on the channel that it came on, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from quebert._consumer_timeout import HOLD_LIMIT
from quebert._log import Logger
from quebert._text import printable
from quebert.amqp.delays import Ladder
from quebert.amqp.link import Publisher
from quebert.amqp.queues import DeadLetters, dead_letters_of
from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.amqp.watch._delivery import Event, Fate
from quebert.amqp.watch._end_teller import EndTeller
from quebert.amqp.watch._ledger import Ledger
from quebert.amqp.watch._properties import REASON_LIMIT, ReplacementProperties
from quebert.amqp.watch._replacements import Replacements
from quebert.amqp.watch._until_confirmed import UntilConfirmed
from quebert.amqp.watch._waits import Waits
from quebert.amqp.wire import RUN_NOW, Channel
from quebert.errors import BrokerError, MessageRefused, PublishRefused, Unroutable
from quebert.outcome import POISON, Bury, Discard, Done, Retry

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["HOLD_UP_TO", "Settlement"]

#: Seconds up to which it waits here; what is to wait longer waits in the broker.
HOLD_UP_TO = 5.0
# Python looks up members of an Enum slowly, and each message needs these.
_FINISH, _DONE = Event.FINISH, Fate.DONE
_NO_ROOM = "its properties cannot be read, or have no room for quebert's headers"
# Seconds: replaces infinity, which a header cannot hold.
_FOREVER = 1e9


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
    @param leave: called with each message that needs no place: it waits here, or has
        been replaced.
    @ivar queue: the queue.
    @ivar waits: of the messages that wait here for their retries.
    @ivar replacing: how many messages are being replaced.
    @ivar returning: the messages that are being put back, and whether they were
        attempted.
    """

    log = Logger()

    def __init__(
        self,
        ledger: Ledger[DeliveredMessage],
        queue: str,
        publisher: Publisher,
        clock: Callable[[], IReactorTime],
        now: Callable[[], float],
        leave: Callable[[DeliveredMessage], None],
        *,
        ladder: Ladder,
        hold_up_to: float = HOLD_UP_TO,
        queue_type: str | None = None,
    ) -> None:
        self.channel: Channel | None = None
        self.queue = queue
        self._ledger = ledger
        self._publisher = publisher
        self._clock = clock
        self._free_place = leave
        self._hold_up_to = hold_up_to
        self.waits = Waits(clock)
        self.replacing = 0
        self.returning: dict[DeliveredMessage, bool] = {}
        self._now = now
        self._properties = ReplacementProperties(ladder, now)
        dead_letters = DeadLetters(queue, clock, ladder.new_queues, queue_type)
        self._until_confirmed = UntilConfirmed(
            ledger,
            queue,
            publisher,
            clock,
            self.waits,
            ladder,
            dead_letters,
            leave=self._leave,
            give_back=self.give_back,
        )
        self._replacements = Replacements(
            queue,
            publisher,
            clock,
            ladder,
            dead_letters,
            self._until_confirmed,
            self._leave,
        )
        self._ends = EndTeller(ledger, queue, clock, now, self._until_confirmed)

    def acknowledge(
        self, message: DeliveredMessage, event: Event = _FINISH, fate: Fate = _DONE
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

    def discard(
        self, message: DeliveredMessage, outcome: Discard, event: Event = _FINISH
    ) -> None:
        """
        Drop a message; nothing if its channel is lost.
        """
        if self.acknowledge(message, event, Fate.DISCARDED):
            self._log_removed(message, "is discarded, and is gone", outcome.reason)

    def give_back(self, message: DeliveredMessage) -> None:
        """
        Let the broker deliver it again.
        """
        if self._ledger.settle(message, Event.GIVE_BACK, Fate.RETURNED):
            self._live_channel.give_back(message.delivery_tag)

    def wire_of(self, message: DeliveredMessage) -> Wire | None:
        """
        The connection that a message came on, while it is unsettled.
        """
        if message not in self._ledger or self._live_channel.closed:
            return None
        wire: Wire = self._live_channel.client
        return wire

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
        self.waits.end()
        self._until_confirmed.abandon()

    def end(self) -> None:
        """
        No more messages will come: log nothing more.
        """
        self._until_confirmed.end()
        self._replacements.end()
        self._ends.end()

    def replace(
        self, message: DeliveredMessage, replacing: Coroutine[Any, Any, object]
    ) -> None:
        """
        Begin to replace a message.  In the end it is settled, whatever happens, and
        needs no place.

        @param replacing: does that, such as L{put_back} or L{bury}.
        """
        self._ledger.move(message, Event.REPLACE)
        self.replacing += 1
        Deferred.fromCoroutine(replacing).addBoth(self._replaced, message)

    def _replaced(self, result: object, message: DeliveredMessage) -> None:
        if isinstance(result, Failure):
            self.log.failure("settling {message} failed", result, message=message)
        self.give_back(message)  # unless it is settled
        self.replacing -= 1
        self._free_place(message)

    async def put_back(self, message: DeliveredMessage, retry: Retry) -> None:
        """
        Have the broker keep a message for later; nothing if its channel is lost.
        """
        if message not in self._ledger:
            return
        self.returning[message] = retry.attempted
        try:
            if retry.queue is not None:
                await self._hand_over(message, retry, retry.queue)
            else:
                await self._put_back(message, retry)
        finally:
            del self.returning[message]

    async def _put_back(self, message: DeliveredMessage, retry: Retry) -> None:
        now = self._clock().seconds()
        due = now + min(retry.after, _FOREVER)
        hold = self._hold(message, retry.after, now)
        if hold > 0 and not self.waits.hurried:
            message.hastened = False  # that was about the attempt before
            held = self.waits.wait_with(message, hold)
            self._leave(message)
            await held
            if message.hastened:
                due = self._clock().seconds()
                headers = {**retry.headers, RUN_NOW: self._now()}
                retry = attrs.evolve(retry, headers=headers)
        elif due > now or not self._publisher.ready:
            self._leave(message)
        await self._return(message, retry, due)

    async def _hand_over(
        self, message: DeliveredMessage, retry: Retry, queue: str
    ) -> None:
        wire = self._live_channel.client
        properties = self._properties.of_retry(message, wire, retry, 0)
        if properties is None:
            await self.bury(message, Bury(_NO_ROOM, POISON))
        elif await self._replacements.hand_over(message, wire, properties, queue):
            self.acknowledge(message, Event.CONFIRM, Fate.RETRIED)

    def _hold(self, message: DeliveredMessage, after: float, now: float) -> float:
        if after > self._hold_up_to:
            return 0.0
        return min(after, HOLD_LIMIT - (now - message.came))

    def _leave(self, message: DeliveredMessage) -> None:
        self._ledger.move(message, Event.HOLD)
        self._free_place(message)

    async def _return(
        self, message: DeliveredMessage, retry: Retry, due: float
    ) -> None:
        if message not in self._ledger:
            return
        early = due - self._clock().seconds()
        wire = self._live_channel.client
        properties = self._properties.of_retry(message, wire, retry, early)
        if properties is None:
            await self.bury(message, Bury(_NO_ROOM, POISON))
            return
        body = message.body if retry.body is None else retry.body
        replacement = message, wire, body, properties, due
        try:
            if await self._replacements.publish(*replacement, MessageRefused):
                self.acknowledge(message, Event.CONFIRM, Fate.RETRIED)
        except MessageRefused as e:
            if retry.otherwise is not None:
                await self._return(message, retry.otherwise, due)
            else:
                why = f"the broker refuses the task as it would go back: {e}"
                await self.bury(message, Bury(why))

    async def copy(
        self,
        message: DeliveredMessage,
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
        wire = self._live_channel.client
        properties = self._properties.of_copy(message, wire, headers, after)
        if properties is None:
            return False
        due = self._clock().seconds() + after
        copy = message, wire, message.body, properties, due
        refusals = (MessageRefused, PublishRefused, Unroutable)
        if after > 0:  # the queue for that may be new
            self._leave(message)
        try:
            taken = await self._replacements.publish(*copy, *refusals, stays=True)
        except BrokerError:
            return False
        return taken and self.acknowledge(message, Event.CONFIRM, Fate.RETURNED)

    async def bury(self, message: DeliveredMessage, outcome: Bury) -> bool:
        """
        Move a message to C{<queue>.dead}; nothing if its channel is lost.

        @return: whether it is there.
        """
        if message not in self._ledger:
            return False
        wire = self._live_channel.client
        properties = self._properties.of_dead_letter(message, wire, outcome)
        taken = await self._replacements.bury(message, wire, properties)
        if message.tells_end:
            taken = taken and await self._ends.tell(message, wire, outcome)
        if not (taken and self.acknowledge(message, Event.CONFIRM, Fate.BURIED)):
            return False
        now_in = f"is now in queue {dead_letters_of(self.queue)!r}"
        self._log_removed(message, now_in, outcome.reason)
        return True

    async def tell_end(
        self, message: DeliveredMessage, outcome: Done | Discard
    ) -> None:
        """
        Publish the callback task and the end note of a message that nothing replaces,
        and then acknowledge the message; nothing if its channel is lost.
        """
        if message not in self._ledger:
            return
        if not self._publisher.ready:
            self._leave(message)
        wire = self._live_channel.client
        if not await self._ends.tell(message, wire, outcome):
            return
        if isinstance(outcome, Discard):
            self.discard(message, outcome, Event.CONFIRM)
        else:
            self.acknowledge(message, Event.CONFIRM)

    def _log_removed(self, message: DeliveredMessage, what: str, why: str) -> None:
        """
        Log that a message has left the queue without being done.

        @param what: where the message is now: "is discarded, and is gone".
        """
        self.log.warn(
            "Task {uuid} of queue {queue!r} {what}: {why}",
            uuid=message.id_for_log,
            queue=self.queue,
            what=what,
            why=printable(why[:REASON_LIMIT]),
        )
