"""
One watched queue, from the channel that brings its messages to the outcomes that
settle them.

The window (L{Window<quebert.amqp.watch._places.Window>}) is C{prefetch} running
callbacks; which messages come is the consumer's business (L{Consumer
<quebert.amqp.watch._consumer.Consumer>}), and what they mean the callback's.  Knows no
frames and no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.python.failure import Failure

from quebert._bounds import BODY_BYTE, PROPERTY_BYTE, memory_of
from quebert._deadlines import Deadlines
from quebert._log import Logger
from quebert.amqp.coordination import PaceStatus, Pausing, Throttle
from quebert.amqp.queues import TYPE, Binding, declare_task_queue
from quebert.amqp.watch._channel_keeper import ChannelKeeper
from quebert.amqp.watch._consumer import Consumer
from quebert.amqp.watch._handler import Callback, Caller
from quebert.amqp.watch._hanging_hosts import Hanging
from quebert.amqp.watch._memory_budget import Part
from quebert.amqp.watch._one_suspect import LONGEST_WAIT
from quebert.amqp.watch._options import WatchOptions
from quebert.amqp.watch._places import Window
from quebert.amqp.watch._redelivery import Redelivery, restore
from quebert.amqp.watch._settlement import Counts, Settler
from quebert.amqp.watch._suspects import Record
from quebert.amqp.wire import Channel, Message
from quebert.clock import seconds_set
from quebert.errors import BrokerError, ConfigError
from quebert.outcome import Bury, Outcome, Retry

if TYPE_CHECKING:
    from quebert.amqp.watch._session import WatchSession
    from quebert.amqp.wire import Wire

__all__ = ["DRAIN", "OnDisconnect", "Watcher"]

OnDisconnect = Callable[[Failure], object]

#: Seconds that running callbacks get to finish when a watch is stopped.
DRAIN = 30.0
#: How many waiting messages may be held beside the window.
MAX_HELD = 10_000
#: And with how many bytes together with those in it.
MAX_HELD_BYTES = 64 * 2**20
# Seconds that a message waits in the broker which has waited for memory for too long.
_HEAVY = 60.0
# Seconds that the broker gets at the end for each of its answers.
_LAST_ANSWERS = 5.0


class Watcher:
    """
    What L{TxAMQPClient.watch <quebert.amqp.TxAMQPClient.watch>} gives.

    @param client: its connections, and what it shares with other watches.
    @param binding: the queue, and how it gets its messages.
    @param callback: called with each message.
    @param onDisconnect: called with a C{Failure}, once for each lost connection.
    @ivar queue: the queue.
    @ivar options: how it is watched.
    """

    log = Logger()

    def __init__(
        self,
        client: WatchSession,
        binding: Binding,
        callback: Callback,
        options: WatchOptions,
        onDisconnect: OnDisconnect | None = None,
    ) -> None:
        queue = binding.queue
        self.queue = queue
        self.options = options
        self._binding = binding
        self._client = client
        self._callback = callback
        owner = getattr(callback, "__self__", None)
        self._memory_of = getattr(owner, "memory_of", memory_of)
        self._onDisconnect = onDisconnect
        self._slow_after = options.slow_after
        self._caller = Caller(
            callback,
            options.error_delay,
            client.now,
            lambda: seconds_set(client.reactor),
        )
        self._publisher = client.make_publisher()
        self._arguments = options.declared
        kind = self._arguments.get(TYPE)
        self._throttle = Throttle(
            client,
            queue,
            options.rate,
            options.burst,
            options.share_rate,
            options.group,
            options.weight,
            quorum=kind == "quorum",
        )
        self._consumer = Consumer(
            queue,
            options.prefetch,
            self._throttle,
            may_widen=self._may_widen,
            waiting=self._count_waiting,
            rested=self._rest,
            single=bool(self._arguments.get("x-single-active-consumer")),
        )
        self._settler = Settler(
            queue,
            self._publisher,
            lambda: client.reactor,
            client.now,
            self._consumer.settled,
            ladder=client.ladder,
            hold_up_to=options.hold_up_to,
            queue_type=kind,
        )
        self._redelivery = Redelivery(self._settler, client.suspects, self.leave)
        self._keeper = ChannelKeeper(
            client, queue, self._prepare, self._lost, self._settler.pause
        )
        self._forwarder = client.make_forwarder(queue, self._publisher)
        self._part = Part(client.budget)
        self._free = client.budget.free
        self._light = self._free // max(BODY_BYTE, PROPERTY_BYTE)  # bytes
        self._hanging = Hanging(
            self,
            queue,
            options.prefetch,
            options.hang_after,
            options.hold_up_to,
            lambda: client.reactor,
        )
        self._window = Window(
            options.prefetch,
            self.begin,
            self._throttle.doors,
            self._part,
            self._hanging.look_again,
            lambda message: self._heavy.begin(message, LONGEST_WAIT),
        )
        self._pausing = Pausing(
            client.pauses, queue, self._halt, self._go_on, self._settler.pause
        )
        self._patience = Deadlines[Message](lambda: client.reactor, self._late)
        self._heavy = Deadlines[Message](lambda: client.reactor, self._put_off_heavy)
        self._overdue: set[Message] = set()
        self._going_back: set[Message] = set()
        self._keeping: Deferred[None] = succeed(None)
        self._stopping: Deferred[None] | None = None
        self._idle: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<Watcher of {self.queue!r}, consuming: {self.consuming}>"

    @property
    def maxEvents(self) -> int:
        """
        How many messages may be with the callback at once; 0 for no limit.
        """
        return self.options.prefetch

    @property
    def consuming(self) -> bool:
        """
        Whether the broker delivers to it now.
        """
        return self._consumer.consuming

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
        Whether the queue is paused, for all who watch it; also where the user may not
        see whether it is.
        """
        return self._pausing.paused

    @property
    def pace(self) -> PaceStatus | None:
        """
        How the rate is kept to; C{None} where there is none.
        """
        return self._throttle.status

    # -- Consuming

    async def start(self) -> None:
        """
        Begin; returns once the broker delivers.
        """
        self._check()
        if self._client.alone.wanted:
            self.hold()
        try:
            await self._keeper.begin(self._client.connectTimeout)
        except BaseException:
            self._keeper.end()
            self._pausing.end()
            self._client.bindings.forget(self._binding)
            Deferred.fromCoroutine(self._throttle.leave())
            self._part.end()
            raise
        self._keeping = Deferred.fromCoroutine(self._keeper.keep())
        self._forwarder.begin()

    def _check(self) -> None:
        if not self.queue:
            raise ConfigError("watch needs the name of a queue")
        if not callable(self._callback):
            raise ConfigError("watch needs a callback that can be called")

    async def _prepare(self, wire: Wire, channel: Channel) -> None:
        channel.on_message = self._received
        channel.on_cancel = self._cancelled
        self._settler.channel = channel
        self._client.ladder.tell_kind(wire)
        await self._client.suspects.reconnected(wire)
        await self._declare(wire, channel)
        await self._throttle.join(wire)
        await self._consumer.prepare(channel)
        await self._pausing.begin(wire)
        if self._stopping is None:
            self._client.bindings.keep(wire, self._binding)

    async def _declare(self, wire: Wire, channel: Channel) -> None:
        kind, new_queues = self._arguments.get(TYPE), self._client.ladder.new_queues
        exists = await new_queues.is_there(wire, self.queue)
        with new_queues.declaring(wire, self.queue, kind, exists=exists):
            self._redelivery.counted = await declare_task_queue(
                wire, channel, self.queue, self._arguments
            )
        await self._binding.declare(channel)
        self._forwarder.declared()

    async def _halt(self) -> None:
        """
        Consume no more for now; what has not begun goes back.
        """
        self._window.close("paused")
        await self._consumer.end()
        await self._tell_in_order()
        self._give_back_waiting()

    async def _go_on(self) -> None:
        if self._stopping is None:
            self._window.open("paused")
            await self._consumer.begin()

    def _cancelled(self, consumer_tag: str) -> None:
        """
        The broker has ended a consumer: its queue is gone.
        """
        channel = self._keeper.channel
        ended = self._stopping is None and self._consumer.was_ended(consumer_tag)
        if ended and channel is not None:
            self._keeper.warn("the broker cancelled its consumer; it is declared anew")
            again = Deferred.fromCoroutine(self._consume_anew(channel, consumer_tag))
            again.addErrback(lambda _: Deferred.fromCoroutine(channel.shut()))

    async def _consume_anew(self, channel: Channel, ended: str) -> None:
        self._client.ladder.new_queues.forget(self.queue)  # it was deleted
        await self._declare(channel.client, channel)
        await self._consumer.replace(ended)
        self._keeper.recovered()

    def _lost(self) -> None:
        self._consumer.lost()
        self._forget_waiting()
        self._client.suspects.interrupted(self._settler.unsettled)
        self._settler.abandon()
        self._client.alone.lost(self)
        self._hanging.forget_waiting()

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

    # -- One message

    def _received(self, message: Message) -> None:
        self._settler.received(message)
        self._consumer.took(message)
        message.hanging = self._hanging
        if len(message.body) + len(message.encoded_properties) > self._light:
            message.memory = self._weighed(message)
        if message.redelivered or message.was_put_back:
            self._received_again(message)
        else:  # nearly always
            message.may_have_past = False
            self._window.enter(message)
        self._adapt()

    def _weighed(self, message: Message) -> int:
        """
        The bytes that a task takes at most while it is at work; 0 for few.
        """
        properties = len(message.encoded_properties) * PROPERTY_BYTE
        memory: int = self._memory_of(message.body) + properties
        return memory if memory > self._free else 0

    def _received_again(self, message: Message) -> None:
        """
        A message that RabbitMQ delivers anew, or what was put back.
        """
        record, channel = Record.of(message), self._settler.channel
        assert channel is not None
        if message.redelivered:
            self._examine(message, self._redelivery.replace(message))
        elif record.in_question and record.suspect:
            self._examine(message, self._redelivery.judge(message, channel.client))
        elif self._client.suspects.is_copying(record.flight):
            self._examine(message, self._redelivery.wait(record.flight))
        else:
            self._enter(message, record)

    def _examine(self, message: Message, settling: Coroutine[Any, Any, bool]) -> None:
        self._going_back.add(message)
        Deferred.fromCoroutine(settling).addBoth(self._examined, message)

    def _examined(self, result: bool | Failure, message: Message) -> None:
        if isinstance(result, Failure):
            self.log.failure("looking at {message} failed", result, message=message)
        self._going_back.discard(message)
        if self.wire_of(message) is None:
            self._ended(message)
        elif self._consumer.wanted:  # also what failed, which would fail again
            self._enter(message, Record.of(message))
        else:  # the queue was paused meanwhile, or the watch is being stopped
            self._give_back(message)
            self._ended(message)

    def _enter(self, message: Message, record: Record) -> None:
        if record.is_copy:
            restore(message)
        if record.suspect:
            message.hanging = None  # it waits for nothing, once it is its turn
            self._client.alone.add(self, message)
        else:
            self._window.enter(message)

    def begin(self, message: Message) -> None:
        """
        Call the callback with a message.
        """
        if self._throttle.pace is not None:
            self._adapt()  # before it is acknowledged, and another comes
        if self._slow_after is not None:
            self._patience.begin(message, self._slow_after)
        if message.memory:
            self._heavy.end(message)
            self._part.take(message.memory)
        self._caller.call(message, self._decided)

    def _decided(self, message: Message, outcome: Outcome) -> None:
        if message.memory:
            self._part.give(message.memory)
        if self._slow_after is not None:
            self._patience.end(message)
        if self._overdue:
            self._overdue.discard(message)
        if message.origin is not None and not message.turned_away:
            self._hanging.ended(message)
        if self._client.alone.wanted:
            self._client.alone.decided(message)
        if message in self._going_back:
            return  # it was given back while it ran
        if message.turned_away:
            self._turned_away(message)
        elif isinstance(outcome, Retry):
            self._move(message, self._settler.put_back(message, outcome, self.leave))
        elif isinstance(outcome, Bury):
            self._move(message, self._settler.bury(message, outcome, self.leave))
        else:
            self._settler.settle(message, outcome)
            self._ended(message)

    def _turned_away(self, message: Message) -> None:
        """
        The callback would not request its origin now.
        """
        if self._consumer.wanted and message in self._settler.unsettled:
            self._hanging.wait(message)
        else:  # the queue was paused meanwhile, or the watch is being stopped
            self._give_back(message)
            self._ended(message)

    def _move(self, message: Message, moving: Coroutine[Any, Any, object]) -> None:
        self._going_back.add(message)
        Deferred.fromCoroutine(moving).addBoth(self._gone_back, message)

    def _gone_back(self, result: object, message: Message) -> None:
        if isinstance(result, Failure):
            self.log.failure("settling {message} failed", result, message=message)
            self._settler.give_back(message)
        self._going_back.discard(message)
        self._ended(message)

    def _ended(self, message: Message) -> None:
        self.leave(message)
        if self._idle is not None and not self._is_at_work:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def _late(self, message: Message) -> None:
        """
        The callback takes longer than others should have to wait for it.
        """
        self._overdue.add(message)
        self._hanging.left(message)
        self.leave(message)

    def leave(self, message: Message) -> None:
        """
        Free the place of a message, if it has one.
        """
        self._window.leave(message)
        self._adapt()

    @property
    def _is_at_work(self) -> bool:
        return bool(self._caller.busy or self._going_back)

    async def _tell_in_order(self) -> None:
        """
        Tell other mediators that what comes back was given back in good order.
        """
        channel = self._settler.channel
        if channel is not None and self._settler.unsettled:
            await self._client.suspects.end_in_order(channel.client, self.queue)

    def _give_back_waiting(self) -> None:
        for message in self._take_waiting():
            self._give_back(message)

    def _rest(self) -> None:
        """
        The rate lets no message begin before long: leave those that wait to others.
        RabbitMQ may count that they come back, which would be taken for ends of
        mediators.  So of one that came back before there is a copy.
        """
        for message in self._take_waiting():
            if message.redelivered:
                self._move(message, self._redelivery.give_back(message))
            else:
                self._settler.give_back(message)

    def _take_waiting(self) -> list[Message]:
        """
        Take out the messages that have not begun.
        """
        waiting = [*self._forget_waiting(), *self._hanging.forget_waiting()]
        return [*waiting, *self._client.alone.take_back(self)]

    def _forget_waiting(self) -> list[Message]:
        """
        Take out the messages that wait for a place.
        """
        waiting = self._window.forget_waiting()
        for message in waiting:
            self._heavy.end(message)
        return waiting

    def _put_off_heavy(self, message: Message) -> None:
        """
        A message has waited for memory for so long that with the longest timeout of a
        request RabbitMQ would close the channel.
        """
        self._window.take_out(message)
        self.put_off_for(message, _HEAVY)

    def put_off(self, message: Message) -> None:
        """
        Have a message come again that was not begun.
        """
        self._give_back(message)

    def _give_back(self, message: Message) -> None:
        if Record.of(message).is_copy:  # this is no end that counts
            self._move(message, self._redelivery.give_back(message))
        else:
            self._settler.give_back(message)

    # -- Suspects

    @property
    def running(self) -> int:
        """
        How many unsettled messages are with the callback.
        """
        return len(self._caller.busy.keys() & self._settler.unsettled.keys())

    def hold(self) -> None:
        """
        Begin no further message while a suspect is attempted.
        """
        self._window.close("suspect")

    def go_on(self) -> None:
        """
        Begin further messages.
        """
        self._window.open("suspect")

    def wire_of(self, message: Message) -> Wire | None:
        """
        The connection that a message came on, while it is unsettled.
        """
        channel = self._settler.channel
        if channel is None or channel.closed or message not in self._settler.unsettled:
            return None
        wire: Wire = channel.client
        return wire

    # -- Hosts that hang

    @property
    def is_busy(self) -> bool:
        """
        Whether more than half of the places are taken, or a message waits for one.
        """
        return self._window.is_busy

    def requesting(self) -> list[Message]:
        """
        The messages whose callbacks make a request now, but for suspects, in the order
        in which these were called.
        """
        return [m for m in self._caller.busy if m.url and m.hanging is not None]

    def has_place(self, message: Message) -> bool:
        """
        Whether a message that is with its callback has not left its place.
        """
        return message not in self._overdue

    def late(self, message: Message) -> None:
        """
        Free the place of a message whose request hangs.
        """
        if message not in self._overdue:
            self._late(message)

    def begin_again(self, message: Message) -> None:
        """
        Give a message that has waited for a host to its callback, when it has a place.
        """
        message.was_begun = True
        self._window.enter(message)

    def put_off_for(self, message: Message, seconds: float) -> None:
        """
        Have a message that waits for a host, or for memory, wait in the broker.
        """
        retry = Retry(after=seconds, attempted=False)
        self._move(message, self._settler.put_back(message, retry, self.leave))

    # -- How much comes

    def _adapt(self) -> None:
        # Nearly always there is nothing to do, and this is asked several times a
        # message.
        consumer = self._consumer
        if (
            self._settler.held
            or self._overdue
            or self._hanging.waiting
            or self._throttle.pace
            or consumer.is_wide
        ):
            consumer.adapt()

    def _count_waiting(self) -> int:
        waiting = len(self._settler.held) + len(self._overdue)
        return waiting + self._hanging.waiting

    def _may_widen(self) -> bool:
        """
        Whether it is waiting and slow messages that keep the broker from delivering,
        and not too many.
        """
        waiting = self._count_waiting()
        some = waiting > 0 or self._throttle.pace is not None
        light = self._settler.unsettled_bytes < MAX_HELD_BYTES
        return some and waiting < MAX_HELD and light and self._window.has_room()

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
        self._keeper.end()
        self._client.bindings.forget(self._binding)
        self._pausing.end()
        self._window.close("stopped")
        self._hanging.end()
        self._settler.hurried = True
        leaving = Deferred.fromCoroutine(self._throttle.leave())
        forwarding = Deferred.fromCoroutine(self._forwarder.end())
        await self._within(Deferred.fromCoroutine(self._consumer.end()))
        await self._within(Deferred.fromCoroutine(self._tell_in_order()))
        self._give_back_waiting()
        self._settler.hurry()
        await self._until_idle(grace)
        if grace and self._caller.busy:  # it may be long since that was told
            await self._within(Deferred.fromCoroutine(self._tell_in_order()))
        self._give_up_running()
        await self._until_idle(_LAST_ANSWERS)
        if self._keeper.channel is not None:
            await self._within(Deferred.fromCoroutine(self._keeper.channel.shut()))
        await self._within(leaving)
        await self._within(forwarding)
        self._publisher.shut()
        self._settler.end()
        self._part.end()
        self._keeping.addErrback(lambda failure: failure.trap(CancelledError))
        self._keeping.cancel()
        self._client.watch_ended(self)

    async def _within(self, asked: Deferred[Any]) -> None:
        """
        Wait for the broker, but not for one that does not answer.  To be cancelled may
        take an answer, too: nobody waits for that, and the end of the connection
        brings it.
        """
        asked.addErrback(self._unanswered)
        try:
            await another_waiter(asked).addTimeout(_LAST_ANSWERS, self._client.reactor)
        except TimeoutError:
            asked.cancel()

    def _unanswered(self, failure: Failure) -> None:
        failure.trap(BrokerError, CancelledError)
        why = failure.value
        self.log.debug("The broker did not answer the end: {why}", why=why)

    def _give_up_running(self) -> None:
        running = list(self._caller.busy)
        for message in running:
            self._give_back(message)
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
