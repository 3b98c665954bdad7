"""
Gives each message to the callback, and carries out its outcome.

The ledger (L{Ledger<quebert.amqp.watch._ledger.Ledger>}) knows the state of each
delivery; this module tells the ledger each event.  It knows no frames and no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, TimeoutError

from quebert._deadlines import Deadlines
from quebert._protocol.extensions import QUEUE_TYPE, SINGLE_ACTIVE_CONSUMER
from quebert.amqp.link import Publisher
from quebert.amqp.watch._backlog import Backlog
from quebert.amqp.watch._callback_tasks import callback_tasks_known_to
from quebert.amqp.watch._consumer import Consumer
from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.amqp.watch._delivery import Event, State
from quebert.amqp.watch._end_notes import MARK, wants_end_note
from quebert.amqp.watch._examinations import Examinations
from quebert.amqp.watch._handler import Callback, Handler
from quebert.amqp.watch._hanging_hosts import HangingHosts
from quebert.amqp.watch._held_tasks import HeldTasks
from quebert.amqp.watch._ledger import Ledger
from quebert.amqp.watch._options import WatchOptions
from quebert.amqp.watch._parts import WatchParts
from quebert.amqp.watch._places import Places
from quebert.amqp.watch._postponements import Postponements
from quebert.amqp.watch._redelivery import Redelivery
from quebert.amqp.watch._returns import Returns
from quebert.amqp.watch._settlement import Settlement
from quebert.amqp.watch._task_memory import TaskMemory, memory_known_to
from quebert.amqp.watch._throttle import Throttles
from quebert.amqp.wire import OURS
from quebert.clock import seconds_set
from quebert.outcome import CANCELLED, Bury, Discard, Outcome, Retry

if TYPE_CHECKING:
    from quebert.amqp.watch._session import WatchSession
    from quebert.amqp.wire import Channel, Wire

__all__ = ["Deliveries"]

# Python looks up a member of an Enum slowly, and uses it slowly as an index.
_BEGIN, _HELD, _OVERDUE = Event.BEGIN, int(State.HELD), int(State.OVERDUE)
# Seconds that a message waits in the broker which has waited for memory for too long.
_HEAVY = 60.0


class Deliveries:
    """
    The deliveries of one watch.

    @param client: what it shares with other watches.
    @param throttles: what keeps messages from beginning.
    @param publisher: publishes the replacements of messages.
    @ivar ledger: where each delivery stands.
    @ivar consumer: has RabbitMQ deliver them.
    @ivar returns: returns them.
    @ivar waits: of those that wait here for their retries.
    @ivar held_tasks: tells of their tasks.
    """

    def __init__(
        self,
        client: WatchSession,
        queue: str,
        callback: Callback,
        options: WatchOptions,
        throttles: Throttles,
        publisher: Publisher,
    ) -> None:
        arguments = options.declared
        self._client = client
        self._throttles = throttles
        self._publisher = publisher
        self._slow_after = options.slow_after
        self.ledger: Ledger[DeliveredMessage] = Ledger()
        self._handler = Handler(
            callback,
            options.error_delay,
            client.now,
            lambda: seconds_set(client.reactor),
        )
        self._settlement = Settlement(
            self.ledger,
            queue,
            publisher,
            lambda: client.reactor,
            client.now,
            self.leave,
            ladder=client.ladder,
            hold_up_to=options.hold_up_to,
            queue_type=arguments.get(QUEUE_TYPE),
        )
        self.waits = self._settlement.waits
        self._redelivery = Redelivery(
            self._settlement,
            client.suspects,
            self._handler.early_by,
            callback_tasks_known_to(callback),
        )
        self._memory = TaskMemory(
            client.budget,
            lambda: client.reactor,
            self._put_off_heavy,
            memory_known_to(callback),
        )
        self._places = Places(
            options.prefetch,
            self.begin,
            throttles.all,
            self._memory,
            throttled=self.adapt,
        )
        self._hanging_hosts = HangingHosts(
            self,
            self._places,
            self._handler,
            queue,
            options.prefetch,
            options.hang_after,
            options.hold_up_to,
            lambda: client.reactor,
        )
        self._origins = self._hanging_hosts.origin_places
        self._places.when_busy = self._hanging_hosts.look_again
        parts = WatchParts(
            self.ledger,
            self._settlement,
            self._redelivery,
            self._places,
            client.one_suspect,
        )
        self.returns = Returns(
            self, parts, self._handler, self._hanging_hosts, client.suspects
        )
        self._examinations = Examinations(self, parts, self.returns)
        self._postponements = Postponements(
            self, parts, throttles, options.hold_up_to, lambda: client.reactor
        )
        backlog = Backlog(
            self.ledger,
            self._origins,
            self._places,
            throttles,
            self._postponements,
            self.waits,
            lambda: client.reactor,
            self.adapt,
        )
        self.consumer = Consumer(
            queue,
            options.prefetch,
            throttles,
            self.ledger.of_consumers,
            may_widen=backlog.may_widen,
            waiting=backlog.size,
            crowded=backlog.is_crowded,
            rested=self.returns.rest,
            single=bool(arguments.get(SINGLE_ACTIVE_CONSUMER)),
        )
        self._cancelled = client.questions.cancelled_in(queue)
        self.held_tasks = HeldTasks(
            self.ledger,
            self._settlement,
            self._handler.at_work,
            self._cancelled,
            lambda: (
                self.consumer.number
                if self._redelivery.highest_count is not None
                else int(self.consumer.consuming)
            ),
            client,
            queue,
        )
        self._patience = Deadlines[DeliveredMessage](lambda: client.reactor, self.late)
        self._idle: Deferred[None] | None = None
        self._seconds: Callable[[], float]

    # -- The channel, and the end

    def begin_on(self, channel: Channel) -> None:
        """
        Take what a channel brings, and settle it there.
        """
        self._seconds = self._client.reactor.seconds
        self._settlement.channel = channel
        channel.message_type = DeliveredMessage
        channel.on_message = self._received

    def lost(self) -> None:
        """
        The channel is lost, and all deliveries with it.
        """
        self.consumer.lost()
        self._places.forget_waiting()
        self._client.suspects.interrupted(self.ledger)
        self._settlement.abandon()
        self._client.one_suspect.lost(self)
        self._hanging_hosts.forget_waiting()

    def set_highest_count(self, limit: float | None) -> None:
        """
        Set the highest delivery count that a message of the queue can reach; infinity
        where no limit is known; C{None} where RabbitMQ counts nothing.
        """
        self._redelivery.highest_count = limit

    def close(self, reason: str) -> None:
        """
        Have no message begin, until L{open} is called with the same reason: C{paused},
        C{stopped} or C{suspect}.
        """
        self._places.close(reason)

    def open(self, reason: str) -> None:
        """
        Have messages begin again, unless something else is against it.
        """
        self._places.open(reason)

    def stop_holding(self) -> None:
        """
        Have no message wait for its retry here any more.
        """
        self._hanging_hosts.end()
        self.waits.hurried = True

    async def until_idle(self, seconds: float) -> None:
        """
        Wait until no callback runs and no message is examined or replaced, for
        C{seconds} at most.
        """
        if self._is_at_work and seconds > 0:
            self._idle = Deferred()
            idle = self._idle.addTimeout(seconds, self._client.reactor)
            try:
                await idle
            except TimeoutError:
                self._idle = None

    def end(self) -> None:
        """
        No more messages will come.
        """
        self._publisher.shut()
        self._settlement.end()
        self._memory.end()

    # -- One message

    def _received(self, message: DeliveredMessage) -> None:
        message.came = self._seconds()
        message.request_places = self._origins
        message.cancelled_tasks = self._cancelled
        if len(message.body) + len(message.encoded_properties) > self._memory.light:
            self._memory.weigh(message)
        if MARK in message.encoded_properties:  # seldom
            message.tells_end = wants_end_note(message)
        # That is was_put_back, without a call.
        if message.redelivered or OURS in message.encoded_properties:
            number = self.ledger.deliver(message)
            self._examinations.received(message)
        elif self._places.take(message):  # nearly always
            # This does what L{begin} does for messages that have waited.
            message.may_have_past = False
            if self._slow_after is not None:
                self._patience.begin(message, self._slow_after)
            number = self.ledger.deliver(message, begins=True)
            try:
                self._handler.call(message, self._decided)
            finally:
                self._places.is_beginning = False
            if self._places.is_put_off:
                self._places.begin_put_off()
        else:
            message.may_have_past = False
            number = self.ledger.deliver(message)
            self._places.enter(message)
        if number >= self.consumer.prefetch_count or self._throttles.limit_fetching:
            self.adapt()  # no more may come, or a throttle is against it

    def begin(self, message: DeliveredMessage) -> None:
        """
        Call the callback with a message.
        """
        if self._throttles.limit_fetching:
            self.consumer.adapt()  # before it is acknowledged, and another comes
        if self._slow_after is not None:
            self._patience.begin(message, self._slow_after)
        if message.memory:
            self._memory.begin(message)
        self.ledger.move(message, _BEGIN)
        self._handler.call(message, self._decided)

    def _decided(self, message: DeliveredMessage, outcome: Outcome | None) -> None:
        if message.memory:
            self._memory.ended(message)
        if self._slow_after is not None:
            self._patience.end(message)
        if message.origin is not None and not message.turned_away:
            self._hanging_hosts.ended(message)
        if self._client.one_suspect.wanted:
            self._client.one_suspect.decided(message)
        if outcome is None:  # it was given back while it ran
            self.leave(message)
        elif isinstance(outcome, Retry):
            if message.turned_away:
                self._turned_away(message, outcome)
            else:
                self._retry(message, outcome)
        elif isinstance(outcome, Bury):
            self._settlement.replace(message, self._settlement.bury(message, outcome))
        else:
            if isinstance(outcome, Discard) and outcome.kind == CANCELLED:
                self.held_tasks.dropped(message)
            if message.tells_end:
                telling = self._settlement.tell_end(message, outcome)
                self._settlement.replace(message, telling)
                return
            # Without a throttle it is known before the message leaves whether the
            # consumer has to adapt, or somebody waits until the watch is idle.
            needs_look = (
                self._idle is not None
                or bool(self._throttles.all)
                or not self._fetches_as_usual
            )
            if isinstance(outcome, Discard):
                self._settlement.discard(message, outcome)
            else:
                self._settlement.acknowledge(message)
            self._places.leave(message)
            if needs_look:
                self._has_left()

    def _retry(self, message: DeliveredMessage, retry: Retry) -> None:
        if self._postponements.may_wait(message, retry):
            self._postponements.wait(message, retry.after)
        else:
            self._settlement.replace(message, self._settlement.put_back(message, retry))

    def _turned_away(self, message: DeliveredMessage, retry: Retry) -> None:
        """
        The request of a message may not be made now: the message waits for its host.
        """
        if retry.attempted or not self._hanging_hosts.may_wait(message):
            self._origins.give_up(message)
            self._retry(message, retry)
            return
        is_ours = self.ledger.move(message, Event.TURN_AWAY)
        if is_ours and self.is_wanted:
            self._hanging_hosts.wait(message)
            return
        if is_ours:  # the queue was paused meanwhile, or the watch is being stopped
            self.return_message(message)
        self.leave(message)

    def late(self, message: DeliveredMessage) -> None:
        """
        Free the place of a message whose request hangs, or whose callback takes longer
        than others should have to wait for it.  The callback goes on.
        """
        self.ledger.move(message, Event.OVERDUE)
        self._origins.left(message)
        self.leave(message)

    def leave(self, message: DeliveredMessage) -> None:
        """
        Free the place of a message, if it has one.
        """
        self._places.leave(message)
        self._has_left()

    def _has_left(self) -> None:
        self.adapt()
        if self._idle is not None and not self._is_at_work:
            idle, self._idle = self._idle, None
            idle.callback(None)

    @property
    def is_wanted(self) -> bool:
        """
        Whether the watch wants deliveries: its queue is not paused, and the watch is
        not being stopped.
        """
        return self.consumer.wanted

    @property
    def are_with_callback(self) -> bool:
        """
        Whether the callback has any message.
        """
        return bool(self._handler.at_work)

    @property
    def _is_at_work(self) -> bool:
        return bool(
            self._handler.at_work
            or self._examinations.number
            or self._settlement.replacing
        )

    def _put_off_heavy(self, message: DeliveredMessage) -> None:
        """
        A message has waited for memory for so long that with the longest request it
        might be held for more than L{CONSUMER_TIMEOUT
        <quebert._consumer_timeout.CONSUMER_TIMEOUT>} seconds.
        """
        self._places.take_out(message)
        if message.origin is not None:  # its turn has come, and it gives way
            self._hanging_hosts.ended(message)
        self.put_off_for(message, _HEAVY)

    def return_message(self, message: DeliveredMessage) -> None:
        """
        Have a message come again, itself or as a copy.
        """
        self.returns.return_message(message)

    # -- Suspects

    @property
    def running(self) -> int:
        """
        How many unsettled messages are with the callback.
        """
        return sum(message in self.ledger for message in self._handler.at_work)

    def wire_of(self, message: DeliveredMessage) -> Wire | None:
        """
        The connection that a message came on, while it is unsettled.
        """
        return self._settlement.wire_of(message)

    # -- Hosts that hang

    def begin_again(self, message: DeliveredMessage) -> None:
        """
        Give a message that has waited for a host, or was postponed, to its callback,
        when it has a place.
        """
        message.was_begun = True
        self._places.enter(message)

    def put_off_for(self, message: DeliveredMessage, seconds: float) -> None:
        """
        Have a message that waits for a host, for memory, or for its time, wait in the
        broker.
        """
        retry = Retry(after=seconds, attempted=False)
        self._settlement.replace(message, self._settlement.put_back(message, retry))

    # -- How much comes

    def adapt(self) -> None:
        """
        Have the consumer fetch as much as may begin, if something limits that.
        """
        if not self._fetches_as_usual:
            self.consumer.adapt()

    @property
    def _fetches_as_usual(self) -> bool:
        """
        Whether nothing but its prefetch count limits what the consumer fetches.
        """
        return not (
            self.ledger.numbers[_HELD]
            or self.ledger.numbers[_OVERDUE]
            or self._origins.waiting
            or self._throttles.limit_fetching
            or self.consumer.is_wide
        )
