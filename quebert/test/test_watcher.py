"""
L{quebert.amqp.watch._watcher} with a channel that only pretends, and a clock that
only the tests move.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import signal
import struct
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert._consumer_timeout import HOLD_LIMIT
from quebert._protocol.properties import decode_properties, encode_properties
from quebert._protocol.values import encode_longstr, encode_shortstr
from quebert._repeated import RepeatedWarning
from quebert.amqp.coordination import Pauses, PauseSwitch, Questions, throttles_of
from quebert.amqp.coordination._pace import Pace
from quebert.amqp.delays import PREFIX, Ladder
from quebert.amqp.queues import KIND, REASON, Bindings, QueueBinding, dead_letters_of
from quebert.amqp.watch import (
    Budget,
    DeliveredMessage,
    OneSuspect,
    Suspects,
    Throttle,
    Watcher,
    WatchOptions,
    _backlog,
)
from quebert.amqp.watch._channel_keeper import ChannelKeeper
from quebert.amqp.watch._delivery import Fate
from quebert.amqp.watch._suspects import PERIOD, in_order_sign
from quebert.amqp.wire import DELAY, ENDS, ERRORS, FLIGHT, NOT_BEFORE
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnreachable,
    ChannelLost,
    ConfigError,
    MayNotLook,
    PublishRefused,
    Unroutable,
)
from quebert.outcome import EXHAUSTED, POISON, Bury, Discard, Done, Outcome, Retry
from quebert.policy import BURIED_AT
from quebert.test.checks import QUICK
from quebert.test.doubles import FakeForwarder
from quebert.test.support import logged

START = 1_700_000_000.0
#: The answer to each call, of which a watcher reads only that to C{queue.declare}.
DECLARED = SimpleNamespace(message_count=0, consumer_count=0)


@attrs.define(eq=False)
class Publication:
    """
    What a watcher has published.
    """

    confirmed: Deferred[None]
    exchange: str
    routing_key: str
    body: bytes
    properties: dict[str, Any]

    @property
    def delay(self) -> int:
        """
        Seconds for which it goes up the ladder.
        """
        assert self.exchange.startswith(PREFIX)
        return int(self.exchange.rpartition(".")[2].rstrip("s"))

    @property
    def headers(self) -> dict[str, Any]:
        """
        Its headers.
        """
        headers: dict[str, Any] = self.properties.get("headers", {})
        return headers


@attrs.define(eq=False)
class FakeWire:
    """
    A connection.
    """

    client: FakeClient
    closed: bool = False
    max_payload: int = 131_064
    server_properties: dict[str, Any] = attrs.field(factory=dict)

    @property
    def clock(self) -> Clock:
        """
        That of the client.
        """
        return self.client.reactor

    async def open_channel(self, *, confirms: bool = True) -> FakeChannel:
        """
        A channel, on which nothing is published.
        """
        assert not confirms
        channel = FakeChannel(self)
        self.client.channels.append(channel)
        try:
            await channel.call("channel_open")
        except BaseException:
            channel.opening_failed = True
            raise
        return channel


class FakePublisher:
    """
    A way to publish, and the broker behind it.
    """

    def __init__(self) -> None:
        self.publications: list[Publication] = []
        self.alone: list[int] = []  # those on channels of their own
        self.confirmed: list[Publication] = []
        self.refuses: BrokerError | None = None
        self.ready = True
        self.shuts = 0
        self.blockade: Deferred[None] | None = None

    async def unblocked(self) -> None:
        """
        Wait while the broker reads nothing.
        """
        if self.blockade is not None:
            await self.blockade

    async def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: bytes
    ) -> None:
        """
        Publish, and wait for the test to confirm it.
        """
        assert isinstance(properties, bytes)
        assert not self.shuts
        if not isinstance(body, bytes):
            raise TypeError(f"a body of type {type(body)}")
        confirmed: Deferred[None] = Deferred()
        publication = Publication(
            confirmed, exchange, routing_key, body, decode_properties(properties)
        )
        self.publications.append(publication)
        if self.refuses is not None:
            confirmed.errback(self.refuses)
        await confirmed

    async def publish_alone(self, *arguments: Any) -> None:
        """
        Publish it, where nothing else is.
        """
        self.alone.append(len(self.publications))
        await self.publish(*arguments)

    def shut(self) -> None:
        """
        It is not needed any more.
        """
        self.shuts += 1

    @property
    def unconfirmed(self) -> list[Publication]:
        """
        The publications that wait.
        """
        return [each for each in self.publications if not each.confirmed.called]

    def confirm(self, problem: BrokerError | None = None, *, which: int = 0) -> None:
        """
        Confirm a publication, the oldest one, or fail it.
        """
        publication = self.unconfirmed[which]
        if problem is None:
            self.confirmed.append(publication)
            publication.confirmed.callback(None)
        else:
            publication.confirmed.errback(problem)


class FakeLadder(Ladder):
    """
    A delay ladder that is there already.

    @ivar prepared: the queues that were to be reached.
    @ivar forgotten: how often something of it was found to be missing.
    @ivar highest: the highest priority of what may wait.
    @ivar told: the connections of which the kind of its queues was told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.prepared: list[str] = []
        self.forgotten = 0
        self.highest: int | None = None
        self.told: list[Any] = []

    async def rung_for(self, wire: Any, queue: str, left: Callable[[], float]) -> str:
        """
        A rung for any whole number of seconds.
        """
        assert not wire.closed
        self.prepared.append(queue)
        return f"{PREFIX}.wait.{math.ceil(left())}s"

    def highest_priority(self, wire: Any) -> int | None:
        """
        The highest priority.
        """
        return self.highest

    def tell_kind(self, wire: Any) -> None:
        """
        Note the connection.
        """
        self.told.append(wire)

    def forget(self) -> None:
        """
        Look again.
        """
        self.forgotten += 1


class FakeQuestions(Questions):
    """
    What nobody asks.
    """

    def __init__(self, clock: Callable[[], Clock] = Clock) -> None:
        super().__init__("mediator", FakePublisher, clock, clock().seconds)  # type: ignore[arg-type]

    async def catch_up(self, wire: Any, queue: str, ear: object) -> None:
        """
        Nothing is cancelled.
        """


class FakePauses(Pauses):
    """
    What knows which queues are paused.

    @ivar looks: what is called when that may have changed.
    @ivar hidden: queues of which the user may not see it.
    """

    def __init__(self, clock: Callable[[], Clock] = Clock) -> None:
        super().__init__(clock, FakeQuestions(clock))
        self.paused: set[str] = set()
        self.hidden: set[str] = set()
        self.looks: dict[str, Any] = {}

    async def ask(self, wire: Any, queue: str, look: Any) -> bool:
        """
        Whether this one is.
        """
        assert not wire.closed
        self.looks[queue] = look
        if queue in self.hidden:
            raise MayNotLook("the user needs a permission")
        return queue in self.paused

    def forget(self, queue: str, look: Any) -> None:
        """
        Nobody wants to know any more.
        """
        self.looks.pop(queue, None)


class FakeBindings(Bindings):
    """
    What keeps bindings, which nobody takes away here.
    """

    def keep(self, wire: Any, binding: Any) -> None:
        """
        It stays.
        """
        assert not wire.closed


@attrs.define(eq=False)
class FakeClient:
    """
    What a watcher needs of a client.

    @ivar unreachable: why there is no connection, while there is none.
    @ivar waiters: who wait for a connection, when C{waits} is set.
    @ivar held: the methods whose answers wait for L{FakeChannel.answer}.
    @ivar signs: the queues that tell of suspects.
    """

    reactor: Clock
    connectTimeout: float | None = 30.0
    now: Callable[[], float] = time.time
    watchers: list[Any] = attrs.field(factory=list)
    channels: list[FakeChannel] = attrs.field(factory=list)
    unreachable: Exception | None = None
    waits: bool = False
    waiters: list[Deferred[None]] = attrs.field(factory=list)
    held: set[str] = attrs.field(factory=set)
    refused: dict[str, BrokerError] = attrs.field(factory=dict)
    asked: list[tuple[float, float | None]] = attrs.field(factory=list)
    wire: FakeWire | None = None
    publisher: FakePublisher = attrs.field(factory=FakePublisher)
    ladder: FakeLadder = attrs.field(factory=lambda: FakeLadder())
    pauses: FakePauses = attrs.field(init=False)
    questions: FakeQuestions = attrs.field(init=False)
    bindings: FakeBindings = attrs.field(factory=lambda: FakeBindings(Clock))
    budget: Budget = attrs.field(factory=Budget)
    suspects: Suspects = attrs.field(init=False)
    one_suspect: OneSuspect = attrs.field(init=False)
    signs: set[str] = attrs.field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.pauses = FakePauses(lambda: self.reactor)
        self.questions = FakeQuestions(lambda: self.reactor)
        self.suspects = Suspects(lambda: self.reactor, self.reactor.seconds)
        self.one_suspect = OneSuspect(self.suspects, lambda: self.reactor)

    def make_forwarder(self, *arguments: object) -> Any:
        """
        Something that forwards nothing.
        """
        return FakeForwarder(*arguments)

    def watch_ended(self, watcher: Watcher) -> None:
        """
        Forget a watch.
        """
        self.watchers.remove(watcher)

    def make_throttles(self, queue: str, options: Any) -> Any:
        """
        Those of a client.
        """
        client: Any = self
        return throttles_of(client, queue, options)

    def make_switch(self, queue: str, halt: Any, go_on: Any) -> PauseSwitch:
        """
        That of a client.
        """
        return PauseSwitch(self.pauses, queue, halt, go_on)

    def make_publisher(self) -> FakePublisher:
        """
        The publisher, a new one for each watcher.
        """
        self.publisher = FakePublisher()
        return self.publisher

    async def connected(self, timeout: float | None = None) -> FakeWire:
        """
        A connection.
        """
        self.asked.append((self.reactor.seconds(), timeout))
        if self.waits:
            waiter: Deferred[None] = Deferred()
            self.waiters.append(waiter)
            try:
                await waiter
            except CancelledError:
                raise BrokerUnreachable("not wanted any more") from None
        if self.unreachable is not None:
            raise self.unreachable
        if self.wire is None or self.wire.closed:
            self.wire = FakeWire(self)
        return self.wire

    def connect(self) -> None:
        """
        Now there is a connection.
        """
        self.waits = False
        waiters, self.waiters = self.waiters, []
        for each in waiters:
            each.callback(None)


class FakeChannel:
    """
    A channel, and the broker behind it: it minds the prefetch of each
    consumer, and that nothing is settled twice.
    """

    def __init__(self, wire: FakeWire) -> None:
        self.client = wire
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.pending: list[tuple[str, Deferred[None]]] = []
        self.delivered: dict[int, DeliveredMessage] = {}
        self.acked: list[int] = []
        self.given_back: list[int] = []
        self.closed = False
        self.opening_failed = False
        self.shuts = 0
        self.why: BrokerError = ChannelLost("closed")
        self.consumers: dict[str, int] = {}
        self.beginning: set[Any] = set()
        self.prefetch = 0
        self._waiters: list[Deferred[BrokerError]] = []
        self.on_message: Any = None
        self.on_cancel: Any = None

    # -- As the watcher sees it

    async def call(self, method: str, **arguments: Any) -> object:
        if self.closed:
            raise self.why
        self.calls.append((method, arguments))
        tag = arguments.get("consumer_tag")
        # RabbitMQ closes the whole connection then.
        early = method == "basic_cancel" and tag in self.beginning
        assert not early, "a consumer is cancelled before it is there"
        if method == "basic_consume":
            self.beginning.add(tag)
        try:
            await self._answer_to(method, arguments)
        finally:
            self.beginning.discard(tag)
        return DECLARED

    async def _answer_to(self, method: str, arguments: dict[str, Any]) -> None:
        client = self.client.client
        if method in client.held or "*" in client.held:
            answered: Deferred[None] = Deferred()
            self.pending.append((method, answered))
            await answered
        if method in client.refused:
            error = client.refused[method]
            if isinstance(error, BrokerRefused):
                self.lose(error)
            raise error
        name = arguments.get("queue", "")
        is_sign = name.startswith(("quebert.flight.", "quebert.in-order."))
        if is_sign and method == "queue_delete":
            client.signs.discard(name)
        elif is_sign and arguments.get("passive") and name not in client.signs:
            self.lose(BrokerRefused(404, "NOT_FOUND"))
            raise self.why
        elif is_sign and not arguments.get("passive"):
            client.signs.add(name)
        elif method == "basic_qos":
            self.prefetch = arguments["prefetch_count"]
        elif method == "basic_consume":
            self.consumers[arguments["consumer_tag"]] = self.prefetch
        elif method == "basic_cancel":
            self.consumers.pop(arguments["consumer_tag"], None)

    def ack(self, delivery_tag: int) -> None:
        if not self.closed:
            self._check_unsettled(delivery_tag)
            self.acked.append(delivery_tag)

    def give_back(self, delivery_tag: int) -> None:
        if not self.closed:
            self._check_unsettled(delivery_tag)
            self.given_back.append(delivery_tag)

    def _check_unsettled(self, tag: int) -> None:
        assert tag in self.delivered, f"{tag} was never delivered"
        assert tag not in self.acked, f"{tag} is acked already"
        assert tag not in self.given_back, f"{tag} is given back already"

    def when_closed(self) -> Deferred[BrokerError]:
        if self.closed:
            return succeed(self.why)
        waiter: Deferred[BrokerError] = Deferred()
        self._waiters.append(waiter)
        return waiter

    async def shut(self) -> None:
        self.shuts += 1
        if not self.closed:
            self.lose(ChannelLost("the channel was closed here"))

    # -- As the test sees it

    def methods(self) -> list[str]:
        """
        The methods that were called.
        """
        return [method for method, _ in self.calls]

    @property
    def is_brief(self) -> bool:
        """
        Whether it is for another queue than the one that is watched, or to declare that
        as a quorum queue.
        """
        queues = self.argument("queue_declare", "queue")
        queues += self.argument("queue_delete", "queue")
        given = self.argument("queue_declare", "arguments")
        return {"x-queue-type": "quorum"} in given or any(
            each != "queue" for each in queues
        )

    def argument(self, method: str, name: str) -> list[Any]:
        """
        One argument of every call of a method.
        """
        called = (arguments for each, arguments in self.calls if each == method)
        return [arguments.get(name) for arguments in called]

    def answer(self) -> None:
        """
        Answer the call that has waited longest.
        """
        self.pending.pop(0)[1].callback(None)

    @property
    def unsettled(self) -> list[DeliveredMessage]:
        """
        What was delivered and not settled.
        """
        settled = {*self.acked, *self.given_back}
        return [each for tag, each in self.delivered.items() if tag not in settled]

    def room(self) -> str | None:
        """
        A consumer that may be given a message.
        """
        taken = [each.consumer_tag for each in self.unsettled]
        for tag, prefetch in self.consumers.items():
            if not prefetch or taken.count(tag) < prefetch:
                return tag
        return None

    def deliver(
        self,
        body: bytes = b"task",
        headers: dict[str, Any] | None = None,
        *,
        raw: bytes | None = None,
        beyond_prefetch: bool = False,
        redelivered: bool = False,
        exchange: str | None = None,
        **properties: Any,
    ) -> DeliveredMessage:
        """
        Deliver a message to a consumer that has room.

        @param exchange: where it was published to; by default a copy where mediators
            publish, any other where producers do.
        """
        if exchange is None:
            exchange = "" if headers is not None and ENDS in headers else "flow"
        consumer = self.room()
        if consumer is None and beyond_prefetch:
            consumer = next(iter(self.consumers))
        assert consumer is not None, "no consumer may be given a message now"
        tag = len(self.delivered) + 1
        key = "tasks.low" if exchange else "queue"
        message = DeliveredMessage(consumer, tag, redelivered, exchange, key)
        message.body = body
        if headers is not None:
            properties["headers"] = headers
        message.encoded_properties = (
            encode_properties(properties) if raw is None else raw
        )
        self.delivered[tag] = message
        self.on_message(message)
        return message

    def deliver_anyhow(self) -> DeliveredMessage:
        """
        Deliver a message to a consumer that nobody knows of.
        """
        self.consumers["unknown"] = 0
        return self.deliver()

    def lose(self, why: BrokerError | None = None) -> None:
        """
        The channel is gone.
        """
        if self.closed:
            return
        self.closed = True
        self.why = why or ChannelLost("the channel was lost")
        self.consumers.clear()
        pending, self.pending = self.pending, []
        for _, answer in pending:
            if not answer.called:
                answer.errback(self.why)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(self.why)

    def lose_connection(self, why: BrokerError | None = None) -> None:
        """
        The whole connection is gone.
        """
        why = why or ChannelLost("the connection was lost")
        self.client.closed = True
        self.lose(why)
        for each in self.client.client.watchers:
            each.disconnected(why)

    def cancel_consumer(self) -> None:
        """
        The queue is gone, and with it the consumer.
        """
        tag = list(self.consumers)[-1]
        del self.consumers[tag]
        self.on_cancel(tag)


class Slots(Throttle):
    """
    A throttle that lets C{number} messages be at work at once.
    """

    def __init__(self) -> None:
        self.number = 1
        self._begun = 0

    def may_begin(self, again: Callable[[], None]) -> bool:
        return self._begun < self.number

    def begun(self, message: DeliveredMessage) -> None:
        self._begun += 1

    def left(self, message: DeliveredMessage) -> None:
        self._begun -= 1


class WatcherTestCase(SynchronousTestCase):
    """
    A watcher that consumes; its callback answers when the test says so.
    """

    options: dict[str, Any] = {}

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.client = FakeClient(self.clock)
        self.running: list[tuple[DeliveredMessage, Deferred[Any]]] = []
        self.called: list[DeliveredMessage] = []
        self.cancelled: list[DeliveredMessage] = []
        self.at_once: dict[bytes, Any] = {}
        self.disconnects: list[Failure] = []
        self.watcher = self.make(**self.options)

    def make(self, **options: Any) -> Watcher:
        """
        A watcher that was not started.
        """
        settings = {
            "onDisconnect": self.disconnects.append,
            "now": self.clock.seconds,
            "queue": "queue",
            "exchange": "flow",
            "callback": self.callback,
            "hold_up_to": HOLD_LIMIT,
            **options,
        }
        client: Any = self.client
        client.now = settings.pop("now")
        queue, callback = settings.pop("queue"), settings.pop("callback")
        onDisconnect, exchange = settings.pop("onDisconnect"), settings.pop("exchange")
        how = WatchOptions(**settings)
        binding = QueueBinding(queue, exchange, how.exchange_type, "tasks.#", {})
        watcher = Watcher(client, binding, callback, how, onDisconnect)
        self.client.watchers = [watcher]
        return watcher

    @property
    def pace(self) -> Pace:
        """
        The throttle of the last watcher, which has a rate.
        """
        (pace,) = self.watcher._intake._throttles.all
        assert isinstance(pace, Pace)
        return pace

    def begin(self, **options: Any) -> FakeChannel:
        """
        Start it, or another with these options; gives the channel.
        """
        if options:
            self.watcher = self.make(**options)
        self.successResultOf(Deferred.fromCoroutine(self.watcher.start()))
        self.addCleanup(self.end)
        return self.channel

    def waits(self) -> list[Any]:
        """
        What happens later, but for lines about a fault.
        """
        calls: list[Any] = [*self.clock.getDelayedCalls()]
        warn = (RepeatedWarning, ChannelKeeper)
        return [each for each in calls if not isinstance(each.func.__self__, warn)]

    def end(self) -> None:
        """
        Stop it; nothing may be left of it.
        """
        self.check()
        self.client.held.clear()
        self.client.refused.clear()
        stopped = self.watcher.stop(0)
        for _ in range(3):
            self.clock.advance(10)
        self.successResultOf(stopped)
        self.client.suspects.warn_no_more()
        self.check()
        self.assertEqual(self.watcher.in_flight, 0)
        self.assertFalse(self.watcher.consuming)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.flushLoggedErrors(CancelledError)

    @property
    def channel(self) -> FakeChannel:
        """
        The channel that brings messages to the watcher, else the newest.
        """
        channels = [each for each in self.client.channels if not each.is_brief]
        ours = self.watcher._deliveries
        bringing = [
            each
            for each in channels
            if getattr(each.on_message, "__self__", None) is ours and not each.closed
        ]
        return (bringing or channels)[-1]

    def callback(self, message: DeliveredMessage) -> Any:
        """
        What the watcher calls: answers at once where C{at_once} has it, else
        when L{finish} says so.
        """
        self.called.append(message)
        if message.body in self.at_once:
            answer = self.at_once[message.body]
            if isinstance(answer, BaseException):
                raise answer
            return answer
        answered: Deferred[Any] = Deferred(lambda _: self.cancelled.append(message))
        self.running.append((message, answered))
        answered.addBoth(self._not_running, message)
        return answered

    def _not_running(self, result: Any, message: DeliveredMessage) -> Any:
        self.running = [each for each in self.running if each[0] is not message]
        return result

    def finish(self, message: DeliveredMessage, answer: Any = None) -> None:
        """
        The callback answers, or fails where the answer is an exception.
        """
        (answered,) = [each for at, each in self.running if at is message]
        if isinstance(answer, BaseException):
            answered.errback(answer)
        else:
            answered.callback(answer)
        self.check()

    def deliver(self, *arguments: Any, **options: Any) -> DeliveredMessage:
        """
        Deliver a message.
        """
        message = self.channel.deliver(*arguments, **options)
        self.check()
        return message

    def advance(self, seconds: float) -> None:
        """
        Let time pass.
        """
        self.clock.advance(seconds)
        self.check()

    def confirm(self, problem: BrokerError | None = None) -> None:
        """
        Confirm, or not, what was published first.
        """
        self.client.publisher.confirm(problem)
        self.check()

    def check_running(self, limit: int) -> None:
        """
        How many run must hold at any time.
        """
        if limit and self.watcher.options.slow_after is None:
            self.assertLessEqual(len(self.running), limit)

    def check(self) -> None:
        """
        What must hold at any time.
        """
        counts = self.watcher.counts
        settled = sum((counts.done, counts.retried, counts.discarded, counts.buried))
        settled += counts.returned
        self.assertEqual(counts.received, settled + self.watcher.in_flight, counts)
        self.check_running(self.watcher.options.prefetch)
        if self.client.channels:
            channel = self.channel
            unsettled = 0 if channel.closed else len(channel.unsettled)
            self.assertEqual(self.watcher.in_flight, unsettled)
        for channel in self.client.channels:
            self.assertEqual(set(channel.acked) & set(channel.given_back), set())

    def check_counts(self, **expected: int) -> None:
        """
        The counts are these, and the others are 0.
        """
        self.check()
        names = "received", *(fate.name.lower() for fate in Fate)
        counts = {name: getattr(self.watcher.counts, name) for name in names}
        self.assertEqual({name: n for name, n in counts.items() if n}, expected)

    def check_settled(self, acked: list[int], given_back: list[int]) -> None:
        """
        These deliveries are settled, on the newest channel.
        """
        self.assertEqual(sorted(self.channel.acked), acked)
        self.assertEqual(sorted(self.channel.given_back), given_back)

    def check_logged(self, kind: type[BaseException], times: int = 1) -> None:
        """
        This was logged, with its traceback, so often.
        """
        self.assertEqual(len(self.flushLoggedErrors(kind)), times)


class StartTests(WatcherTestCase):
    """
    Tests for L{Watcher.start}.
    """

    def test_topology(self) -> None:
        """
        Queue and exchange are declared, durable, and bound; then it consumes.
        """
        channel = self.begin(prefetch=7)
        self.assertEqual(
            channel.methods()[1:],
            [
                "queue_declare",
                "exchange_declare",
                "queue_bind",
                "basic_qos",
                "basic_consume",
            ],
        )
        arguments = dict(channel.calls)
        self.assertEqual(
            arguments["queue_declare"],
            {"queue": "queue", "durable": True, "arguments": {}},
        )
        self.assertEqual(
            arguments["exchange_declare"],
            {"exchange": "flow", "exchange_type": "topic", "durable": True},
        )
        self.assertEqual(
            arguments["queue_bind"],
            {"queue": "queue", "exchange": "flow", "routing_key": "tasks.#"},
        )
        self.assertEqual(arguments["basic_qos"], {"prefetch_count": 7})
        self.assertTrue(self.watcher.consuming)

    def test_queue_arguments(self) -> None:
        """
        C{queue_type} and C{arguments} are the queue's.
        """
        self.begin(queue_type="quorum", arguments={"x-max-length": 5})
        brief = self.client.channels[-1]
        self.assertEqual(
            brief.argument("queue_declare", "arguments"),
            [{"x-queue-type": "quorum", "x-max-length": 5}],
        )

    def test_default_exchange(self) -> None:
        """
        The default exchange is neither declared nor bound to.
        """
        channel = self.begin(exchange="")
        self.assertNotIn("exchange_declare", channel.methods())
        self.assertNotIn("queue_bind", channel.methods())

    def test_exchange_type(self) -> None:
        """
        An exchange may be of another type.
        """
        channel = self.begin(exchange_type="direct")
        self.assertEqual(
            channel.argument("exchange_declare", "exchange_type"), ["direct"]
        )

    def test_prefetch(self) -> None:
        """
        There is a limit unless none is asked for.
        """
        self.assertEqual(self.begin().argument("basic_qos", "prefetch_count"), [100])

    def test_no_limit(self) -> None:
        """
        C{prefetch=0} is no limit, for RabbitMQ neither.
        """
        channel = self.begin(prefetch=0)
        self.assertEqual(channel.argument("basic_qos", "prefetch_count"), [0])

    def test_past(self) -> None:
        """
        A message that comes for the first time has no past, whether or not a place is
        free; one that was delivered before may have one.
        """
        self.begin(prefetch=1)
        first = self.deliver()
        second = self.deliver(beyond_prefetch=True)
        again = self.deliver(redelivered=True, beyond_prefetch=True)
        self.assertEqual(self.called, [first])
        pasts = [each.may_have_past for each in (first, second, again)]
        self.assertEqual(pasts, [False, False, True])

    def test_not_within_another(self) -> None:
        """
        A message that comes while the callback runs with another one waits until that
        call has returned, whether or not it ends at once.
        """
        for answer in (None, Deferred[None]()):
            self.setUp()
            order: list[bytes] = []

            def callback(
                message: DeliveredMessage,
                answer: Any = answer,
                order: list[bytes] = order,
            ) -> Any:
                order.append(message.body + b" begins")
                if message.body == b"one":
                    self.channel.deliver(b"two")
                    self.channel.deliver(b"three")
                order.append(message.body + b" returns")
                return answer

            self.begin(prefetch=4, callback=callback)
            self.deliver(b"one")
            told = [b" begins", b" returns"]
            bodies = [b"one", b"two", b"three"]
            self.assertEqual(order, [body + what for body in bodies for what in told])

    def check_refused(self, **options: Any) -> None:
        """
        There is no watcher with these options.
        """
        self.assertRaises(ConfigError, self.make, **options)
        self.assertEqual(self.client.channels, [])

    def test_settings(self) -> None:
        """
        What is wrong with the settings is told before anything is asked.
        """
        self.check_refused(queue="")
        self.check_refused(callback=None)

    def test_options(self) -> None:
        """
        An option that is wrong is named.
        """
        for name, wrong, right in (
            ("prefetch", -1, "from 0 to 65535"),
            ("prefetch", 65536, "from 0 to 65535"),
            ("prefetch", 1.5, "from 0 to 65535"),
            ("queue_type", "stream", "classic or quorum"),
            ("slow_after", 0, "more than 0 seconds"),
            ("slow_after", float("nan"), "more than 0 seconds"),
            ("hold_up_to", -1, "from 0 to 900 seconds"),
            ("hold_up_to", float("nan"), "from 0 to 900 seconds"),
            ("hang_after", float("inf"), "0 for never"),
            ("error_delay", -1, "0 for at once"),
            ("rate", "x", "500/s, 30/m or 10/h"),
            ("rate", 0, "more than 0"),
            ("burst", 3, "needs a rate"),
            ("weight", 0, "more than 0"),
        ):
            options: dict[str, Any] = {name: wrong}
            error = self.assertRaises(ConfigError, WatchOptions, **options)
            told = str(error)
            self.assertRegex(told, f"^{name}={re.escape(repr(wrong))}:? ")
            self.assertIn(right, told)
        with self.assertRaises(ConfigError):
            WatchOptions(arguments={"x-queue-type": "stream"})

    def test_refused(self) -> None:
        """
        A queue that is declared otherwise fails the start, and is not tried
        again.
        """
        refusal = BrokerRefused(406, "PRECONDITION_FAILED")
        self.client.refused["queue_declare"] = refusal
        starting = Deferred.fromCoroutine(self.watcher.start())
        self.assertIs(self.failureResultOf(starting).value, refusal)
        self.clock.advance(1000)
        self.assertEqual(len(self.client.channels), 1)
        self.assertEqual(self.disconnects, [])
        self.assertFalse(self.watcher.consuming)

    def test_kind_told(self) -> None:
        """
        With each connection the log may tell of which kind the ladder is.
        """
        self.begin()
        self.channel.lose_connection()
        self.assertEqual(
            self.client.ladder.told, [c.client for c in self.client.channels]
        )

    def test_unreachable(self) -> None:
        """
        It waits for a connection as long as the client says; then it fails.
        """
        self.client.unreachable = BrokerUnreachable("no answer")
        starting = Deferred.fromCoroutine(self.watcher.start())
        self.failureResultOf(starting, BrokerUnreachable)
        self.assertEqual(self.client.asked, [(START, 30.0)])

    def lose_while_starting(self) -> Deferred[None]:
        """
        Begin to start; RabbitMQ fails, and closes the connection.
        """
        self.client.held.add("basic_consume")
        starting = Deferred.fromCoroutine(self.watcher.start())
        self.channel.lose_connection(BrokerRefused(541, "INTERNAL_ERROR"))
        return starting

    def test_lost(self) -> None:
        """
        Where the connection is lost meanwhile, it starts with another one, after
        growing waits that are told once.
        """
        with logged() as lines:
            starting = self.lose_while_starting()
            self.advance(1.5)
            self.channel.lose_connection(BrokerRefused(541, "INTERNAL_ERROR"))
            self.advance(1.1)
            self.assertEqual(len(self.client.asked), 2)
            self.client.held.clear()
            self.advance(1.2)
            self.successResultOf(starting)
            self.advance(5)
        self.assertTrue(self.watcher.consuming)
        self.assertEqual(self.disconnects, [])
        for at, left in self.client.asked:
            assert left is not None
            self.assertAlmostEqual(at + left, START + 30)
        told = [each for each in lines if "not consumed" in each]
        self.assertEqual(
            told, ["Queue 'queue' is not consumed for now: INTERNAL_ERROR"]
        )
        self.end()

    def test_lost_too_often(self) -> None:
        """
        It fails with the last reason when its time is over.
        """
        starting = self.lose_while_starting()
        for _ in range(310):  # an attempt may begin just before 30 s are over
            if len(self.client.channels) and not self.channel.closed:
                self.channel.lose_connection(BrokerRefused(541, "INTERNAL_ERROR"))
            self.clock.advance(0.1)
        why = self.failureResultOf(starting, BrokerRefused).value
        self.assertEqual(why.code, 541)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lost_at_different_moments(self) -> None:
        """
        Queues that share a connection wait for different times, so that the one which
        RabbitMQ fails at lets the others start.
        """
        times = set()
        for _ in range(5):
            self.watcher = self.make()
            starting = self.lose_while_starting()
            (wait,) = self.waits()
            times.add(wait.getTime())
            starting.cancel()
            self.failureResultOf(starting, CancelledError)
        self.assertEqual(len(times), 5)

    def test_stopped_after_a_loss(self) -> None:
        """
        It is not started again after it was stopped.
        """
        starting = self.lose_while_starting()
        self.watcher.stop(0)
        self.failureResultOf(starting, ChannelLost)
        self.advance(1000)
        self.assertEqual(len(self.client.asked), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_fires_when_consuming(self) -> None:
        """
        It has started when the broker has answered C{basic.consume}.
        """
        self.client.held.add("basic_consume")
        starting = Deferred.fromCoroutine(self.watcher.start())
        self.assertNoResult(starting)
        self.assertFalse(self.watcher.consuming)
        self.channel.answer()
        self.successResultOf(starting)
        self.assertTrue(self.watcher.consuming)
        self.end()

    def test_no_answer(self) -> None:
        """
        A broker that does not answer for half a minute is told of, and its answer, too.
        """
        self.client.held.add("basic_consume")
        with capturedLogs() as events:
            starting = Deferred.fromCoroutine(self.watcher.start())
            self.clock.advance(29)
            self.assertEqual(events, [])
            self.clock.advance(1)
            self.channel.answer()
            self.successResultOf(starting)
            self.clock.advance(6)
        self.assertEqual(
            [formatEvent(each) for each in events],
            [
                "Queue 'queue' is not consumed for now: the broker has not answered"
                " for 30 s; its log may tell why",
                "Queue 'queue' is consumed again, after 1 failure in 0 s.",
            ],
        )
        self.end()


class AnswerTests(WatcherTestCase):
    """
    Tests for what a callback may return.
    """

    def setUp(self) -> None:
        super().setUp()
        self.begin(prefetch=5)

    def check_done(self, answer: Any) -> None:
        """
        The message is acknowledged, and nothing is published.
        """
        self.at_once[b"task"] = answer
        self.deliver(b"task")
        self.check_settled([1], [])
        self.assertEqual(self.client.publisher.publications, [])
        self.check_counts(received=1, done=1)

    def check_put_back(self, answer: Any, body: bytes) -> None:
        """
        The message is put back with this body, and acked when that is
        confirmed, not before.
        """
        self.at_once[b"task"] = answer
        self.deliver(b"task")
        (publication,) = self.client.publisher.publications
        self.assertEqual(publication.body, body)
        self.check_settled([], [])
        self.check_counts(received=1)
        self.confirm()
        self.check_settled([1], [])
        self.check_counts(received=1, retried=1)

    def test_none(self) -> None:
        """
        C{None}: done.
        """
        self.check_done(None)

    def test_done(self) -> None:
        """
        L{Done}: done.
        """
        self.check_done(Done())

    def test_no_text(self) -> None:
        """
        Text that cannot be sent, since half a character is in it, is the answer
        of a callback that has failed.
        """
        self.at_once[b"task"] = "half a pair: \ud83d"
        self.deliver(b"task")
        self.check_logged(UnicodeEncodeError)
        self.advance(1)
        (publication,) = self.client.publisher.publications
        self.assertEqual(publication.headers, {ERRORS: 1})
        self.confirm()
        self.check_counts(received=1, retried=1)

    def test_one_deferred_for_several(self) -> None:
        """
        One Deferred may answer for several messages: all are done, or all are
        put back, and none is taken to be done because another was.
        """
        for answer in (None, ZeroDivisionError("bad"), b"again"):
            batch: Deferred[Any] = Deferred()
            self.at_once = dict.fromkeys((b"a", b"b", b"c"), batch)
            before = self.watcher.counts.done
            for body in self.at_once:
                self.deliver(body)
            if isinstance(answer, BaseException):
                batch.errback(answer)
                self.check_logged(ZeroDivisionError)
                self.advance(1)
            else:
                batch.callback(answer)
            done = self.watcher.counts.done - before
            back = self.watcher.in_flight
            self.assertEqual((done, back), (0, 3) if answer else (3, 0))
            for _ in range(back):
                self.confirm()
        self.assertEqual(self.watcher.in_flight, 0)

    def test_deferred_none(self) -> None:
        """
        A Deferred that fires with C{None}: done.
        """
        self.check_done(succeed(None))

    def test_coroutine_none(self) -> None:
        """
        A coroutine that returns C{None}: done.
        """

        async def nothing() -> None:
            pass

        self.check_done(nothing())

    def test_discard(self) -> None:
        """
        L{Discard}: acked, and counted as such.
        """
        self.at_once[b"task"] = Discard("no url")
        with capturedLogs() as events:
            self.deliver(b"task")
        self.check_settled([1], [])
        self.assertEqual(self.client.publisher.publications, [])
        self.check_counts(received=1, discarded=1)
        told = "Task (no uuid) of queue 'queue' is discarded, and is gone: no url"
        self.assertEqual([formatEvent(each) for each in events], [told])

    def test_bytes(self) -> None:
        """
        C{bytes}: put back with this body.
        """
        self.check_put_back(b"\xff\x00", b"\xff\x00")

    def test_empty_bytes(self) -> None:
        """
        No bytes at all are a body, too.
        """
        self.check_put_back(b"", b"")

    def test_str(self) -> None:
        """
        C{str}: put back with this body, in UTF-8.
        """
        self.check_put_back("größe", "größe".encode())

    def test_empty_str(self) -> None:
        """
        An empty C{str} is a body, too, and not C{None}.
        """
        self.check_put_back("", b"")

    def test_retry(self) -> None:
        """
        L{Retry}: put back at once, with the body it came with.
        """
        self.check_put_back(Retry(), b"task")

    def test_retry_body(self) -> None:
        """
        L{Retry} with a body: put back with that.
        """
        self.check_put_back(Retry(body=b"other"), b"other")

    def test_deferred_bytes(self) -> None:
        """
        A Deferred that fires with C{bytes}: put back.
        """
        self.check_put_back(succeed(b"other"), b"other")

    def test_coroutine_retry(self) -> None:
        """
        A coroutine that returns an outcome: what it says.
        """

        async def retry() -> Retry:
            return Retry(body=b"other")

        self.check_put_back(retry(), b"other")

    def test_later(self) -> None:
        """
        Nothing is settled before the callback's Deferred has fired.
        """
        message = self.deliver()
        self.advance(10_000)
        self.check_counts(received=1)
        self.assertEqual(self.watcher.in_flight, 1)
        self.finish(message)
        self.check_settled([1], [])
        self.check_counts(received=1, done=1)

    def test_in_any_order(self) -> None:
        """
        Each message is settled when its own callback is through.
        """
        messages = [self.deliver(b"%d" % n) for n in range(3)]
        self.finish(messages[2])
        self.assertEqual(self.channel.acked, [3])
        self.finish(messages[0], b"again")
        self.finish(messages[1])
        self.assertEqual(self.channel.acked, [3, 2])
        self.confirm()
        self.assertEqual(self.channel.acked, [3, 2, 1])

    def check_wrong(self, answer: Any) -> None:
        """
        The answer counts as a failure of the callback.
        """
        self.at_once[b"task"] = answer
        self.deliver(b"task")
        self.check_logged(TypeError)
        self.check_settled([], [])
        self.advance(1)
        (publication,) = self.client.publisher.publications
        self.assertEqual(publication.body, b"task")
        self.assertEqual(publication.headers, {ERRORS: 1})
        self.confirm()
        self.check_counts(received=1, retried=1)

    def test_wrong_type(self) -> None:
        """
        An answer of another type is a failure of the callback.
        """
        self.check_wrong({"url": "http://localhost/"})

    def test_false(self) -> None:
        """
        C{False} is not C{None}.
        """
        self.check_wrong(False)

    def test_outcome_class(self) -> None:
        """
        A class is not one of its instances.
        """
        self.check_wrong(Done)

    def test_retry_with_text(self) -> None:
        """
        A L{Retry} whose body is no bytes is a failure of the callback; the
        message is not stuck.
        """
        text: Any = "text"
        self.at_once[b"task"] = Retry(body=text)
        self.deliver(b"task")
        self.flushLoggedErrors()
        self.advance(1)
        self.assertEqual(len(self.client.publisher.publications), 1)

    def test_retry_with_no_number(self) -> None:
        """
        A L{Retry} after no number of seconds is a failure of the callback;
        the message is not stuck.
        """
        text: Any = "5"
        self.at_once[b"task"] = Retry(after=text)
        self.deliver(b"task")
        self.flushLoggedErrors()
        self.advance(1)
        self.assertEqual(len(self.client.publisher.publications), 1)


class PutBackTests(WatcherTestCase):
    """
    Tests for how a message is put back.
    """

    def setUp(self) -> None:
        super().setUp()
        self.begin(prefetch=5)
        self.at_once[b"task"] = b"again"

    def test_to_the_queue(self) -> None:
        """
        It goes to the queue it came from, through the default exchange.
        """
        self.deliver()
        (publication,) = self.client.publisher.publications
        self.assertEqual((publication.exchange, publication.routing_key), ("", "queue"))

    def test_properties(self) -> None:
        """
        It is persistent; the other properties stay, but for the user id and
        the headers that would copy it to other queues.
        """
        properties = {
            "content-type": "application/json",
            "delivery-mode": 1,
            "priority": 3,
            "message-id": "m",
            "timestamp": 1_600_000_000,
            "user-id": "somebody",
            "headers": {"CC": ["a"], "BCC": ["b"], "mine": [1, {"x": None}]},
        }
        self.deliver(raw=encode_properties(properties))
        (publication,) = self.client.publisher.publications
        found = dict(publication.properties)
        timestamp = found.pop("timestamp")
        self.assertEqual(int(timestamp), 1_600_000_000)
        self.assertEqual(
            found,
            {
                "content-type": "application/json",
                "delivery-mode": 2,
                "priority": 3,
                "message-id": "m",
                "headers": {"mine": [1, {"x": None}]},
            },
        )

    def test_not_taken(self) -> None:
        """
        What the broker does not take is published again, after longer and
        longer waits; it is not acked before it is taken.
        """
        self.deliver()
        waits = []
        for n in range(8):
            problem = (PublishRefused("no"), Unroutable("no queue"))[n % 2]
            self.confirm(problem)
            self.check_settled([], [])
            waits.append(self.wait_for_publication())
        self.assertEqual(waits, sorted(waits))
        self.assertGreaterEqual(waits[0], 1)
        self.assertGreater(waits[-1], waits[0])
        self.assertLessEqual(waits[-1], 60)
        bodies = {each.body for each in self.client.publisher.publications}
        self.assertEqual(bodies, {b"again"})
        self.confirm()
        self.check_settled([1], [])
        self.check_counts(received=1, retried=1)

    def wait_for_publication(self) -> float:
        """
        How long it takes until something is published.
        """
        for seconds in range(1, 1000):
            self.advance(1)
            if self.client.publisher.unconfirmed:
                return seconds
        raise AssertionError("nothing is published")

    def test_lost_before_the_confirm(self) -> None:
        """
        A channel lost before the confirm acks nothing, neither on the old
        channel nor on the new one; the publication is withdrawn, which helps
        if it was not sent yet, and not asked for again.
        """
        self.deliver()
        old = self.channel
        old.lose()
        self.advance(100)
        self.assertIsNot(self.channel, old)
        self.assertEqual(old.acked, [])
        self.check_settled([], [])
        self.assertEqual(self.client.publisher.unconfirmed, [])
        self.assertEqual(len(self.client.publisher.publications), 1)
        self.check_counts(received=1, returned=1)

    def test_lost_while_waiting_to_publish(self) -> None:
        """
        A channel lost between two attempts ends them.
        """
        self.deliver()
        self.confirm(PublishRefused("no"))
        self.channel.lose()
        self.advance(1000)
        self.assertEqual(len(self.client.publisher.publications), 1)
        self.check_counts(received=1, returned=1)

    def test_publisher_lost(self) -> None:
        """
        When the connection that publishes is lost before the confirm, it is
        published again over the next, and then acked.
        """
        self.deliver()
        for _ in range(3):
            self.confirm(ChannelLost("not known"))
            self.advance(10)
        self.check_settled([], [])
        self.confirm()
        self.check_settled([1], [])
        self.assertEqual(len(self.client.publisher.publications), 4)
        self.check_counts(received=1, retried=1)

    def test_unreadable_properties(self) -> None:
        """
        Properties that nobody can read do not stop a message from being put
        back with its body.
        """
        message = self.channel.deliver(raw=b"\x80\x00\x01x")
        self.assertEqual(message.properties["content-type"], "x")
        self.assertEqual(len(self.client.publisher.publications), 1)


class ErrorTests(WatcherTestCase):
    """
    Tests for callbacks that raise.
    """

    def setUp(self) -> None:
        super().setUp()
        self.at_once[b"bad"] = ZeroDivisionError("bad")

    def wait(self, errors: Any) -> float:
        """
        How long a message that failed so often waits after one more failure;
        it must be counted.
        """
        headers = {ERRORS: errors} if errors is not None else None
        before = len(self.client.publisher.publications)
        self.deliver(b"bad", headers)
        self.check_logged(ZeroDivisionError)
        started = self.clock.seconds()
        while len(self.client.publisher.publications) == before:
            self.assertLess(self.clock.seconds() - started, 1000)
            self.advance(0.25)
        publication = self.client.publisher.publications[-1]
        self.assertEqual(publication.body, b"bad")
        if type(errors) is int and errors in range(1000):
            self.assertEqual(publication.headers, {ERRORS: errors + 1})
        self.confirm()
        return self.clock.seconds() - started

    def test_delay(self) -> None:
        """
        It is put back after one second, doubling to 120 seconds.
        """
        self.begin()
        waits = [self.wait(errors) for errors in range(10)]
        self.assertEqual(waits, [1, 2, 4, 8, 16, 32, 64, 120, 120, 120])

    def test_first(self) -> None:
        """
        The first failure is counted as one.
        """
        self.begin()
        self.assertEqual(self.wait(None), 1)
        self.assertEqual(self.client.publisher.publications[0].headers, {ERRORS: 1})

    def test_own_delay(self) -> None:
        """
        C{error_delay} is where the doubling begins.
        """
        self.begin(error_delay=5.0)
        waits = [self.wait(errors) for errors in range(7)]
        self.assertEqual(waits, [5, 10, 20, 40, 80, 120, 120])

    def test_long_delay(self) -> None:
        """
        An C{error_delay} beyond 120 seconds is kept, and not doubled.
        """
        self.begin(error_delay=300.0)
        self.assertEqual([self.wait(0), self.wait(3)], [300, 300])

    def test_no_delay(self) -> None:
        """
        C{error_delay=0} puts it back at once.
        """
        self.begin(error_delay=0)
        for errors in (0, 5, 500):
            self.assertEqual(self.wait(errors), 0)

    def test_place_is_free(self) -> None:
        """
        A message that waits after a failure leaves its place to others.
        """
        self.begin(prefetch=1)
        self.deliver(b"bad")
        self.check_logged(ZeroDivisionError)
        self.deliver(b"good")
        self.assertEqual([each.body for each in self.called], [b"bad", b"good"])

    def test_asynchronous(self) -> None:
        """
        A Deferred that fails is a callback that raises.
        """
        self.begin()
        message = self.deliver()
        self.finish(message, ZeroDivisionError())
        self.check_logged(ZeroDivisionError)
        self.advance(1)
        self.assertEqual(self.client.publisher.publications[0].headers, {ERRORS: 1})

    def test_coroutine(self) -> None:
        """
        A coroutine that raises is a callback that raises.
        """

        async def fails(message: DeliveredMessage) -> None:
            raise ZeroDivisionError

        self.begin(callback=fails)
        self.deliver()
        self.check_logged(ZeroDivisionError)
        self.advance(1)
        self.assertEqual(self.client.publisher.publications[0].headers, {ERRORS: 1})

    def test_reset(self) -> None:
        """
        The failures in a row are forgotten when the callback succeeds.
        """
        self.begin()
        for answer in (b"again", Retry(), Retry(after=3)):
            message = self.deliver(b"task", {ERRORS: 5, "mine": 1})
            self.finish(message, answer)
            self.advance(3)
            self.assertEqual(
                self.client.publisher.publications[-1].headers, {"mine": 1}
            )
            self.confirm()

    def test_strange_counts(self) -> None:
        """
        A count that is none counts as 0, and the message is not stuck.
        """
        self.begin()
        for strange in ("5", True, None, [1]):
            self.assertEqual(self.wait(strange), 1, strange)

    def test_counts_that_are_no_numbers(self) -> None:
        """
        A count that no integer can hold does not leave a message stuck.
        """
        self.begin()
        for strange in (float("nan"), float("inf"), float("-inf")):
            before = len(self.called)
            # We do not write such a number: it comes as it would from others.
            count = encode_shortstr(ERRORS) + b"d" + struct.pack(">d", strange)
            self.deliver(b"bad", raw=b"\x20\x00" + encode_longstr(count))
            self.flushLoggedErrors()
            self.assertEqual(len(self.called), before + 1, strange)
            self.advance(121)
            self.assertEqual(len(self.client.publisher.unconfirmed), 1, strange)
            self.confirm()

    def test_not_attempted(self) -> None:
        """
        An outcome that is no attempt leaves the count as it is.
        """
        self.begin()
        self.at_once[b"later"] = Retry(after=2000, attempted=False)
        self.deliver(b"later", {ERRORS: 3})
        (publication,) = self.client.publisher.publications
        self.assertEqual(publication.headers[ERRORS], 3)

    def test_negative_count(self) -> None:
        """
        A negative count makes no hot loop.
        """
        self.begin()
        self.assertGreaterEqual(self.wait(-1000), 1)

    def test_huge_count(self) -> None:
        """
        A huge count is the longest wait, and takes no time to compute.
        """
        self.begin()
        with alarm(5):
            self.assertEqual(self.wait(2**62), 120)

    def test_no_exception(self) -> None:
        """
        What is raised need not be an C{Exception}: asyncio's cancellation is
        none, nor is C{sys.exit}; the message is put back all the same.
        """
        self.begin()
        for raised in (asyncio.CancelledError(), SystemExit(1)):
            self.at_once[b"exit"] = raised
            message = self.deliver(b"exit")
            self.flushLoggedErrors()
            self.advance(1)
            self.assertEqual(len(self.client.publisher.unconfirmed), 1, repr(raised))
            self.confirm()
            self.assertIn(message.delivery_tag, self.channel.acked)

    def test_logs_no_body(self) -> None:
        """
        Neither the body nor the headers are in the log.
        """
        self.begin()
        self.at_once[b"secret"] = ZeroDivisionError()
        self.deliver(b"secret", {"token": "hidden"})
        (logged,) = self.flushLoggedErrors(ZeroDivisionError)
        self.assertNotIn("secret", repr(self.called[0]))
        self.assertNotIn("hidden", str(logged))


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """
    Interrupt what computes for too long, so that a failing test ends.
    """

    def ring(number: int, stack: object) -> None:
        raise AssertionError(f"that took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class PlacesTests(WatcherTestCase):
    """
    Tests for C{prefetch}.
    """

    def test_at_most(self) -> None:
        """
        At most so many callbacks run; the others wait their turn, in order.
        """
        self.begin(prefetch=2)
        messages = [self.deliver(b"%d" % n, beyond_prefetch=True) for n in range(5)]
        self.assertEqual(self.called, messages[:2])
        self.assertEqual(self.watcher.in_flight, 5)
        self.finish(messages[1])
        self.assertEqual(self.called, messages[:3])
        self.finish(messages[0])
        self.finish(messages[2])
        self.assertEqual(self.called, messages)

    def test_memory(self) -> None:
        """
        A message that would take too much memory with those that run begins when one of
        them has ended, however it ended, also after its connection was lost.
        """
        self.client.budget = Budget(200)
        self.begin(prefetch=3)
        large = b"x" * 60
        for answer in (None, Retry(after=5), Bury("no task"), ValueError("no")):
            first, second = self.deliver(large), self.deliver(large)
            self.assertEqual(self.called[-1], first)
            self.finish(first, answer)
            self.assertEqual(self.called[-1], second)
            self.finish(second)
            self.advance(0)
        self.flushLoggedErrors(ValueError)
        before = self.deliver(large)
        self.channel.lose()
        after = self.deliver(large)
        self.assertEqual(self.called[-1], before)
        self.finish(before)
        self.assertEqual(self.called[-1], after)

    def test_small_needs_no_memory(self) -> None:
        """
        A small message begins while a large one waits for memory.
        """
        self.client.budget = Budget(2_048_000)
        self.begin(prefetch=10)
        first, second = (self.deliver(b"x" * 1_200_000) for _ in range(2))
        small = self.deliver(b"small")
        self.assertEqual(self.called, [first, small])
        self.finish(first)
        self.assertEqual(self.called, [first, small, second])

    def test_waits_long_for_memory(self) -> None:
        """
        A message that has waited for memory for long waits in the broker: RabbitMQ up
        to 4.2 closes a channel that holds one for 30 minutes, and from 4.3 on a quorum
        queue takes it back and cancels the consumer.
        """
        self.client.budget = Budget(2_048_000)
        self.begin(prefetch=10, hold_up_to=5)
        messages = [self.deliver(b"x" * 1_200_000) for _ in range(3)]
        self.assertEqual(self.called, messages[:1])
        self.advance(239)
        self.finish(messages[0])
        self.assertEqual(self.called, messages[:2])
        self.assertEqual(self.client.publisher.publications, [])
        self.advance(2)
        (put_off,) = self.client.publisher.publications
        self.assertEqual(put_off.delay, 60)
        self.confirm()
        self.assertEqual(len(self.channel.acked), 2)
        self.finish(messages[1])
        self.assertEqual(self.called, messages[:2])
        self.deliver(b"x" * 1_200_000)
        waits = self.deliver(b"x" * 1_200_000)
        self.channel.lose()
        self.advance(500)
        self.assertNotIn(waits, self.called)
        self.assertEqual(self.client.publisher.publications, [put_off])

    def test_unlimited(self) -> None:
        """
        C{prefetch=0} is no limit, and never a second consumer.
        """
        self.begin(prefetch=0)
        messages = [self.deliver() for _ in range(300)]
        self.assertEqual(len(self.running), 300)
        for each in messages:
            self.finish(each, Retry(after=5))
        self.assertEqual(self.channel.methods().count("basic_consume"), 1)

    def test_place_kept_until_confirmed(self) -> None:
        """
        A message that is put back at once keeps its place until that is
        confirmed.
        """
        self.begin(prefetch=1)
        first = self.deliver()
        second = self.deliver(beyond_prefetch=True)
        self.finish(first, b"again")
        self.assertEqual(self.called, [first])
        self.confirm()
        self.assertEqual(self.called, [first, second])

    def test_many_ready(self) -> None:
        """
        However many wait their turn, callbacks that answer at once deal with
        them all.
        """
        self.begin(prefetch=1)
        first = self.deliver()
        self.at_once[b"quick"] = None
        for _ in range(1000):
            self.channel.deliver(b"quick", beyond_prefetch=True)
        with alarm(20):
            self.finish(first)
        self.assertEqual(self.flushLoggedErrors(RecursionError), [])
        self.check_counts(received=1001, done=1001)

    def test_slow_one_leaves_its_place(self) -> None:
        """
        A callback that takes longer than C{slow_after} lets the next begin, and
        its own message is settled all the same.
        """
        self.begin(prefetch=1, slow_after=5)
        slow = self.deliver()
        self.assertIsNone(self.channel.room())
        self.advance(4.9)
        self.assertIsNone(self.channel.room())
        self.advance(0.2)
        quick = self.deliver()
        self.assertEqual(self.called, [slow, quick])
        self.finish(quick)
        self.finish(slow)
        self.check_counts(received=2, done=2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slow_ones_come_back(self) -> None:
        """
        Once slow callbacks have ended, no more than C{prefetch} run again.
        """
        self.begin(prefetch=2, slow_after=5)
        slow = [self.deliver(), self.deliver()]
        self.advance(5)
        quick = [self.deliver(), self.deliver()]
        for each in slow:
            self.finish(each)
        self.deliver(beyond_prefetch=True)
        self.assertEqual(self.called, slow + quick)

    def test_many_ready_that_wait(self) -> None:
        """
        The same for messages that are not due yet.
        """
        self.begin(prefetch=1)
        first = self.deliver()
        for _ in range(1000):
            self.channel.deliver(
                b"early", {NOT_BEFORE: START + 60}, beyond_prefetch=True
            )
        self.finish(first)
        self.assertEqual(self.flushLoggedErrors(RecursionError), [])
        self.assertEqual(self.watcher.in_flight, 1000)
        self.at_once[b"early"] = None
        self.advance(60)
        self.assertEqual(len(self.called), 1001)
        self.check_counts(received=1001, done=1001)


class WaitTests(WatcherTestCase):
    """
    Tests for messages that wait before they go back.
    """

    def test_retry_after(self) -> None:
        """
        L{Retry} with C{after}: put back then, not before.
        """
        self.begin()
        self.at_once[b"task"] = Retry(body=b"again", after=30)
        self.deliver()
        self.advance(29.9)
        self.assertEqual(self.client.publisher.publications, [])
        self.advance(0.1)
        (publication,) = self.client.publisher.publications
        self.assertEqual(publication.body, b"again")
        self.assertNotIn(NOT_BEFORE, publication.headers)
        self.confirm()
        self.check_counts(received=1, retried=1)

    def test_place_is_free(self) -> None:
        """
        A waiting message leaves its place to those that wait their turn.
        """
        self.begin(prefetch=1)
        first = self.deliver()
        second = self.deliver(beyond_prefetch=True)
        self.finish(first, Retry(after=10))
        self.assertEqual(self.called, [first, second])

    def test_renewed(self) -> None:
        """
        When waiting messages have used up the prefetch, another consumer is
        made, and then the old one is cancelled: once, not in a loop.
        """
        channel = self.begin(prefetch=3)
        self.at_once[b"wait"] = Retry(after=60)
        for _ in range(3):
            self.deliver(b"wait")
        calls = [each for each in channel.calls if each[0] in CONSUMING]
        self.assertEqual(
            [method for method, _ in calls],
            ["basic_consume", "basic_consume", "basic_cancel"],
        )
        tags = [arguments["consumer_tag"] for _, arguments in calls]
        self.assertNotEqual(tags[0], tags[1])
        self.assertEqual(tags[2], tags[0])
        self.assertEqual(list(channel.consumers), [tags[1]])
        self.assertTrue(self.watcher.consuming)

    def check_renewed_by_a_throttle(self, outcome: Outcome | None) -> None:
        """
        A message leaves, and the two that a throttle has refused begin, of which one is
        held at once: another message may be fetched, for the place that is free.
        """
        slots = Slots()
        self.patch(FakeClient, "make_throttles", lambda *_: [slots])
        channel = self.begin(prefetch=2)
        running = self.deliver(b"run")
        slots.number = 2
        self.at_once[b"again"] = Retry(after=1)
        self.deliver(b"again")  # a second consumer takes over
        slots.number = 1
        self.advance(1)
        self.confirm()
        self.at_once[b"wait"] = Retry(after=60)
        self.deliver(b"wait")
        self.deliver(b"run")
        self.assertEqual(channel.methods().count("basic_consume"), 2)
        self.finish(running, outcome)
        self.assertEqual([each.body for each in self.called[-2:]], [b"wait", b"run"])
        self.assertEqual(channel.methods().count("basic_consume"), 3)

    def test_renewed_after_a_throttle(self) -> None:
        """
        Another consumer is made, too, if it is a throttle alone that has kept messages
        waiting until another one was done, or was dropped.
        """
        for outcome in (None, Discard("no")):
            self.setUp()
            self.check_renewed_by_a_throttle(outcome)

    def test_not_renewed(self) -> None:
        """
        Another consumer is made only where there is nothing left to fetch, and
        a place is free.
        """
        channel = self.begin(prefetch=3)
        self.at_once[b"wait"] = Retry(after=60)
        self.deliver(b"wait")
        self.deliver(b"wait")
        self.assertEqual(channel.methods().count("basic_consume"), 1)
        self.deliver(b"run")
        self.assertEqual(channel.methods().count("basic_consume"), 2)

    def test_not_renewed_with_much_held(self) -> None:
        """
        Nor is one made while the messages that are held are large together.
        """
        self.patch(_backlog, "MAX_BACKLOG_BYTES", 100)
        channel = self.begin(prefetch=1)
        self.at_once[b"wait" * 20] = Retry(after=60)
        self.deliver(b"wait" * 20)
        self.assertEqual(channel.methods().count("basic_consume"), 2)
        self.deliver(b"wait" * 20)
        self.assertEqual(channel.methods().count("basic_consume"), 2)
        self.advance(60)
        self.confirm()  # and the other makes room no more than it has to
        self.assertEqual(channel.methods().count("basic_consume"), 3)
        self.confirm()
        self.deliver(b"wait" * 20)
        self.assertEqual(channel.methods().count("basic_consume"), 4)

    def test_not_renewed_with_a_full_window(self) -> None:
        """
        While all places are taken, no other consumer is made, however many
        messages wait.
        """
        channel = self.begin(prefetch=2)
        self.at_once[b"wait"] = Retry(after=60)
        self.deliver(b"wait")
        self.deliver(b"wait")
        self.deliver(b"run")
        running = self.deliver(b"run")
        self.assertEqual(channel.methods().count("basic_consume"), 2)
        self.finish(running, Retry(after=60))
        self.assertEqual(channel.methods().count("basic_consume"), 3)

    def test_not_renewed_for_what_is_settled(self) -> None:
        """
        What is settled takes nothing of the prefetch.
        """
        channel = self.begin(prefetch=2)
        self.at_once[b"quick"] = None
        self.at_once[b"wait"] = Retry(after=60)
        for _ in range(10):
            self.deliver(b"quick")
        self.deliver(b"wait")
        self.assertEqual(channel.methods().count("basic_consume"), 1)

    def test_all_running(self) -> None:
        """
        A watch whose places all have running callbacks needs no other consumer.
        """
        channel = self.begin(prefetch=3)
        for _ in range(3):
            self.deliver(b"run")
        self.assertEqual(channel.methods().count("basic_consume"), 1)

    def test_renewed_again(self) -> None:
        """
        Each time that waiting messages have used up the prefetch, there is
        another consumer, and one only.  It fetches as many as wait.
        """
        channel = self.begin(prefetch=2)
        self.at_once[b"wait"] = Retry(after=60)
        consumers = []
        for _ in range(40):
            self.deliver(b"wait")
            consumers.append(channel.methods().count("basic_consume"))
            self.assertEqual(len(channel.consumers), 1)
        renewed = [n for n in range(1, 40) if consumers[n] > consumers[n - 1]]
        self.assertEqual([n + 1 for n in renewed], [2, 4, 8, 16, 32])
        self.assertEqual(
            channel.argument("basic_qos", "prefetch_count"), [2, 4, 8, 16, 32]
        )

    def test_narrow_again(self) -> None:
        """
        Once few messages wait, a consumer fetches as many as usual, also where the
        queue has many more.
        """
        channel = self.begin(prefetch=2)
        self.at_once[b"wait"] = Retry(after=60)
        for _ in range(8):
            self.deliver(b"wait")
        self.advance(60)
        for _ in range(8):
            self.assertNotIn(2, channel.argument("basic_qos", "prefetch_count")[1:])
            self.deliver(b"run")
            self.confirm()
        self.assertEqual(channel.argument("basic_qos", "prefetch_count"), [2, 4, 8, 2])
        self.assertEqual(list(channel.consumers.values()), [2])

    def test_narrow_once_done(self) -> None:
        """
        That comes with the end of the last message of an older consumer, if it had to
        wait for that.
        """
        channel = self.begin(prefetch=2)
        running = self.deliver(b"run")
        self.at_once[b"wait"] = Retry(after=60)
        for _ in range(8):
            self.deliver(b"wait")
        self.advance(60)
        for _ in range(8):
            self.confirm()
        self.assertNotIn(2, channel.argument("basic_qos", "prefetch_count")[1:])
        self.finish(running)
        self.assertEqual(channel.argument("basic_qos", "prefetch_count")[-1], 2)

    def test_due_tasks_are_not_starved(self) -> None:
        """
        Behind any number of waiting messages, one that is due is begun.
        """
        self.begin(prefetch=2)
        self.at_once[b"wait"] = Retry(after=600)
        for _ in range(50):
            self.deliver(b"wait")
        due = self.deliver(b"due")
        self.assertEqual(self.called[-1], due)
        self.assertEqual(len(self.running), 1)

    def test_used_up_while_renewing(self) -> None:
        """
        When the new consumer's prefetch is used up before the broker has
        answered the cancelling of the old one, there is another one still.
        """
        channel = self.begin(prefetch=2)
        self.client.held.add("basic_cancel")
        self.at_once[b"wait"] = Retry(after=600)
        self.deliver(b"wait")
        self.deliver(b"wait")
        self.assertEqual([method for method, _ in channel.pending], ["basic_cancel"])
        old = channel.argument("basic_consume", "consumer_tag")[0]
        channel.consumers.pop(old, None)
        self.deliver(b"wait")
        self.deliver(b"wait")
        channel.answer()
        self.client.held.clear()
        self.assertIsNotNone(channel.room(), "the broker can deliver nothing more")
        self.deliver(b"due")
        self.assertEqual(self.called[-1].body, b"due")

    def test_lost_while_renewing(self) -> None:
        """
        A channel lost while a consumer is renewed is replaced, and renewing
        works on the new one.
        """
        self.begin(prefetch=1)
        self.at_once[b"wait"] = Retry(after=600)
        for held in ("basic_consume", "basic_cancel"):
            self.client.held.add(held)
            self.deliver(b"wait")
            self.assertEqual([method for method, _ in self.channel.pending], [held])
            self.client.held.clear()
            self.channel.lose()
            self.advance(60)
            self.assertTrue(self.watcher.consuming)
        self.deliver(b"wait")
        self.assertIsNotNone(self.channel.room())

    def test_not_before(self) -> None:
        """
        A message with a time in its header is not given to the callback before
        it, and waits without a place.
        """
        self.begin(prefetch=1)
        self.deliver(b"early", {NOT_BEFORE: START + 30, "mine": 1, ERRORS: 4})
        running = self.deliver(b"other")
        self.advance(29)
        self.assertEqual(self.called, [running])
        self.assertEqual(self.client.publisher.publications, [])
        self.advance(1)
        (publication,) = self.client.publisher.publications
        self.assertEqual(publication.body, b"early")
        self.assertEqual(publication.headers, {"mine": 1, ERRORS: 4})
        self.confirm()
        self.assertEqual(self.called, [running])
        self.check_counts(received=2, retried=1)

    def test_not_before_in_the_past(self) -> None:
        """
        A time that has come does not matter, and is gone when the message is
        put back.
        """
        self.begin()
        for due in (START, START - 1, 0, -5):
            message = self.deliver(b"task", {NOT_BEFORE: due})
            self.assertEqual(self.called[-1], message)
            self.finish(message, b"again")
            self.assertEqual(self.client.publisher.publications[-1].headers, {})
            self.confirm()

    def test_not_before_strange(self) -> None:
        """
        A time that is none does not matter.
        """
        self.begin()
        for strange in ("tomorrow", None, True, [START + 5]):
            message = self.deliver(b"task", {NOT_BEFORE: strange})
            self.assertEqual(self.called[-1], message)
            self.finish(message)

    def test_wait_after_long_work(self) -> None:
        """
        The time that the callback took counts: a delivery is not held beyond
        what the broker bears, and the message goes back at once instead.
        """
        self.begin()
        message = self.deliver()
        self.advance(HOLD_LIMIT + 1)
        self.finish(message, Retry(after=120))
        (publication,) = self.client.publisher.publications
        self.assertEqual(publication.delay, 120)
        self.confirm()
        self.check_settled([1], [])

    def test_long_wait(self) -> None:
        """
        What is to wait longer than C{hold_up_to} waits in the broker: it goes up the
        ladder at once, and needs no memory here.
        """
        self.begin(hold_up_to=5)
        self.at_once[b"task"] = Retry(body=b"again", after=5.1)
        self.deliver()
        (publication,) = self.client.publisher.publications
        self.assertEqual(publication.body, b"again")
        self.assertEqual(publication.delay, 6)
        self.assertEqual(publication.routing_key, "queue")
        delay = publication.headers.pop(DELAY)
        self.assertAlmostEqual(delay, 5.1, 5)
        self.assertEqual(publication.headers, {NOT_BEFORE: START + 5.1})
        self.assertEqual(self.client.ladder.prepared, ["queue"])
        self.assertIsNotNone(self.channel.room())
        self.confirm()
        self.check_settled([1], [])

    def test_short_wait(self) -> None:
        """
        What is to wait no longer than that waits here.
        """
        self.begin(hold_up_to=5)
        self.at_once[b"task"] = Retry(after=5)
        self.deliver()
        self.assertEqual(self.client.publisher.publications, [])
        self.advance(5)
        (publication,) = self.client.publisher.publications
        self.assertEqual(publication.exchange, "")
        self.assertEqual(self.client.ladder.prepared, [])

    def test_short_wait_and_the_clock_set(self) -> None:
        """
        A wait is as long as it is, wherever the clock of the machine is set meanwhile.
        """
        for jump in (3_600, -3_600, 86_400, -86_400):
            now = [START]
            self.begin(hold_up_to=5, now=lambda now=now: now[0])
            self.at_once[b"task"] = Retry(after=5)
            self.deliver()
            now[0] += jump
            self.advance(4.9)
            self.assertEqual(self.client.publisher.publications, [])
            self.advance(0.1)
            (publication,) = self.client.publisher.publications
            self.assertEqual(publication.exchange, "")
            self.confirm()
            self.client.publisher.publications.clear()

    def test_long_wait_and_the_clock_set(self) -> None:
        """
        So is a wait in the broker that can only begin later.
        """
        for jump in (3_600, -3_600):
            now = [START]
            self.begin(hold_up_to=5, now=lambda now=now: now[0])
            self.at_once[b"task"] = Retry(after=60)
            self.deliver()
            now[0] += jump
            self.confirm(Unroutable("no queue"))
            self.advance(2)
            self.assertEqual(self.client.publisher.publications[-1].delay, 58)
            self.confirm()
            self.client.publisher.publications.clear()

    def test_no_ladder(self) -> None:
        """
        Where the ladder does not take a message it is looked after, and tried
        again, for the time that is left.
        """
        self.begin(hold_up_to=5)
        self.at_once[b"task"] = Retry(after=60)
        self.deliver()
        self.confirm(Unroutable("no queue"))
        self.assertEqual(self.client.ladder.forgotten, 1)
        self.advance(2)
        self.assertEqual(self.client.publisher.publications[-1].delay, 58)
        self.confirm()
        self.check_settled([1], [])

    def test_deaths(self) -> None:
        """
        What the broker wrote into a message on its way down the ladder is not
        there when it goes up again, or the broker would drop it one day.
        """
        self.begin(hold_up_to=5)
        deaths = {"x-death": [{"count": 1}], "x-first-death-queue": "q", "mine": 1}
        self.at_once[b"task"] = Retry(after=60)
        self.deliver(b"task", deaths, expiration="10")
        (publication,) = self.client.publisher.publications
        self.assertEqual(
            publication.headers, {"mine": 1, NOT_BEFORE: START + 60, DELAY: 60}
        )
        self.assertNotIn("expiration", publication.properties)

    def test_priority(self) -> None:
        """
        A message waits in the broker with no higher priority than the ladder allows;
        one that goes back at once, or to the dead, keeps its own.
        """
        self.begin(hold_up_to=0)
        self.client.ladder.highest = 4
        for answer, wanted in (
            (Retry(after=60), 4),
            (Retry(), 9),
            (Bury("it is dead"), 9),
        ):
            self.at_once[b"task"] = answer
            self.deliver(b"task", priority=9)
            publication = self.client.publisher.publications[-1]
            self.assertEqual(publication.properties["priority"], wanted, answer)
            self.confirm()

    def test_while_blocked(self) -> None:
        """
        While the broker reads nothing, a message waits here, and is put where it waits
        for what is left then.
        """
        self.begin(hold_up_to=0)
        blockade: Deferred[None] = Deferred()
        self.client.publisher.blockade = blockade
        self.at_once[b"task"] = Retry(after=60)
        self.deliver(b"task")
        self.advance(50)
        self.assertEqual(self.client.publisher.publications, [])
        self.client.publisher.blockade = None
        blockade.callback(None)
        (publication,) = self.client.publisher.publications
        self.assertEqual(publication.delay, 10)

    def test_very_long_wait(self) -> None:
        """
        Not even an infinite wait is held longer, or begun early.
        """
        self.begin()
        self.at_once[b"task"] = Retry(after=float("inf"))
        self.deliver()
        (publication,) = self.client.publisher.publications
        self.assertEqual(publication.delay, 10**9)
        self.assertGreater(publication.headers[NOT_BEFORE], START + 10**6)
        self.confirm()
        self.deliver(b"task", publication.headers)
        self.assertEqual(len(self.called), 1)

    def test_negative_wait(self) -> None:
        """
        A wait of less than nothing is none.
        """
        self.begin()
        self.at_once[b"task"] = Retry(after=-5)
        self.deliver()
        self.assertEqual(len(self.client.publisher.publications), 1)
        self.assertEqual(self.client.publisher.publications[0].headers, {})


class BuryTests(WatcherTestCase):
    """
    Tests for messages that are given up.
    """

    def test_to_the_dead(self) -> None:
        """
        L{Bury}: the message goes to C{<queue>.dead} as it was, with why and what
        else there is to tell in its headers, and is acknowledged when the broker
        has it there.
        """
        self.begin()
        self.at_once[b"task"] = Bury("status 500", headers={"quebert-attempts": 3})
        self.deliver(b"task", {"mine": 1, "x-death": [{"count": 1}], ERRORS: 2})
        (publication,) = self.client.publisher.publications
        self.assertEqual((publication.exchange, publication.body), ("", b"task"))
        self.assertEqual(publication.routing_key, "queue.dead")
        wanted = {
            "mine": 1,
            "quebert-attempts": 3,
            REASON: "status 500",
            KIND: EXHAUSTED,
            BURIED_AT: START,
        }
        self.assertEqual(publication.headers, wanted)
        declared = [c.argument("queue_declare", "queue") for c in self.client.channels]
        self.assertIn(["queue.dead"], declared)
        self.check_settled([], [])
        self.confirm()
        self.check_settled([1], [])
        self.check_counts(received=1, buried=1)

    def test_not_taken(self) -> None:
        """
        Where the broker does not take it, it is tried again, and the queue is
        declared again.
        """
        self.begin()
        self.at_once[b"task"] = Bury("no task", POISON)
        self.deliver()
        self.confirm(Unroutable("no queue"))
        self.check_settled([], [])
        self.advance(2)
        self.assertEqual(len(self.client.publisher.publications), 2)
        self.assertEqual(self.examined("queue.dead"), 2)
        with capturedLogs() as events:
            self.confirm()
        self.check_settled([1], [])
        told = "Task (no uuid) of queue 'queue' is now in queue 'queue.dead': no task"
        self.assertEqual([formatEvent(each) for each in events], [told])

    def test_refused_leaves_its_place(self) -> None:
        """
        What the broker does not take, to the dead or back, keeps no others waiting:
        it may be their end that makes room.
        """
        channel = self.begin(prefetch=2)
        for outcome in (Bury("no task", POISON), Retry()):
            self.finish(self.deliver(), outcome)
        self.assertIsNone(channel.room())
        for _ in range(2):
            self.confirm(PublishRefused("full"))
        self.finish(self.deliver(b"other"))
        self.assertEqual(self.watcher.counts.done, 1)
        self.advance(2)
        for _ in range(2):
            self.confirm()
        self.check_counts(received=3, done=1, buried=1, retried=1)

    def test_there_already(self) -> None:
        """
        A queue for the dead is used as it is, whoever has declared it.
        """
        self.begin()
        self.at_once[b"task"] = Bury("no task", POISON)
        self.deliver()
        asked = [call for each in self.client.channels[1:] for call in each.calls[1:]]
        look = ("queue_declare", {"queue": "queue.dead", "passive": True})
        (first, (method, arguments), last) = asked
        self.assertEqual((first, method, last), (look, "queue_declare", look))
        self.assertEqual(arguments["arguments"], {"x-queue-type": "classic"})

    def examined(self, queue: str) -> int:
        """
        How often a queue that is there was asked for its arguments.
        """
        found = 0
        for each in self.client.channels:
            declared = each.argument("queue_declare", "arguments")
            found += each.argument("queue_declare", "queue") == [queue] != declared
            found -= each.argument("queue_declare", "passive") == [True]
        return found

    def test_declared_once(self) -> None:
        """
        The queue is declared when it is first needed.
        """
        self.begin()
        self.assertEqual(len(self.client.channels), 1)
        self.at_once[b"task"] = Bury("no task", POISON)
        for _ in range(2):
            self.deliver()
            self.confirm()
        self.assertEqual(self.examined("queue.dead"), 1)

    def test_no_room(self) -> None:
        """
        A message whose properties cannot tell what was tried with it would be tried
        for ever: it is buried as it came.  Where nothing is to be told, it goes back.
        """
        self.begin()
        headers = {"mine": "x" * 131_030}
        for after in (0, 100):
            self.at_once[b"task"] = Retry(after=after, headers={"quebert-attempts": 3})
            self.deliver(b"task", headers)
            self.advance(after)
            self.confirm()
        self.at_once[b"task"] = Retry()
        self.deliver(b"task", headers)
        self.confirm()
        keys = [each.routing_key for each in self.client.publisher.publications]
        self.assertEqual(keys, ["queue.dead", "queue.dead", "queue"])
        self.check_settled([1, 2, 3], [])
        self.check_counts(received=3, buried=2, retried=1)

    def test_strange_reason(self) -> None:
        """
        A reason that is none is the callback's failure.
        """
        self.begin()
        reason: Any = 5
        self.at_once[b"task"] = Bury(reason)
        self.deliver()
        (error,) = self.flushLoggedErrors(TypeError)
        self.assertIn("Bury(reason=...) must be a text, not int", str(error.value))
        self.assertEqual(self.watcher.in_flight, 1)  # for later

    def test_long_name(self) -> None:
        """
        The dead of each queue have a queue of their own, however long its name.
        """
        names = ["q", "q" * 250, "q" * 251, "q" * 255, "q" * 254 + "p"]
        graves = [dead_letters_of(name) for name in names]
        self.assertEqual(graves[:2], ["q.dead", "q" * 250 + ".dead"])
        self.assertEqual(len(set(graves)), len(names))
        for dead in graves:
            self.assertLessEqual(len(dead), 255)


CONSUMING = ("basic_consume", "basic_cancel")


class LossTests(WatcherTestCase):
    """
    Tests for channels and connections that are lost.
    """

    options = {"prefetch": 2}

    def setUp(self) -> None:
        super().setUp()
        self.old = self.begin()

    def test_late_outcome_before_the_prefetch(self) -> None:
        """
        An outcome from a lost channel waits for nothing, and has no consumer
        begin on a new one that has no prefetch yet.
        """
        self.begin(prefetch=1)
        message = self.deliver()
        self.client.held.add("basic_qos")
        self.channel.lose_connection()
        self.advance(5)
        restored = self.client.channels[-1]
        self.assertEqual(restored.methods()[-1], "basic_qos")
        self.finish(message, Retry(after=60))
        self.assertEqual(restored.methods()[-1], "basic_qos")
        self.assertEqual(self.waits(), [])
        self.client.held.clear()
        restored.answer()
        self.assertEqual(restored.methods().count("basic_consume"), 1)

    def test_returned(self) -> None:
        """
        What was in flight is the broker's again: running, waiting its turn,
        waiting to go back.
        """
        self.at_once[b"wait"] = Retry(after=100)
        self.deliver(b"wait")
        self.deliver(b"run")
        self.deliver(b"run", beyond_prefetch=True)
        self.deliver(b"ready", beyond_prefetch=True)
        self.old.lose_connection()
        self.check_counts(received=4, returned=4)
        self.assertEqual(self.watcher.in_flight, 0)
        self.assertEqual(self.waits(), [])
        for message, _ in list(self.running):
            self.finish(message)
        self.advance(1000)
        self.assertNotIn(b"ready", [each.body for each in self.called])
        self.assertEqual(self.client.publisher.publications, [])
        self.check_counts(received=4, returned=4)

    def test_consumes_again(self) -> None:
        """
        All is declared and consumed anew, at once.
        """
        self.old.lose_connection()
        self.assertIsNot(self.channel, self.old)
        self.assertEqual(self.channel.methods(), self.old.methods())
        self.assertTrue(self.watcher.consuming)
        self.deliver(b"task")
        self.assertEqual(len(self.called), 1)

    def test_late_outcomes(self) -> None:
        """
        Outcomes of before the loss settle nothing on the new channel, where
        the same delivery tags mean other messages.
        """
        first, second = self.deliver(), self.deliver()
        self.old.lose_connection()
        other = self.deliver(b"other")
        self.assertEqual(other.delivery_tag, first.delivery_tag)
        self.finish(first)
        self.finish(second, b"again")
        self.check_settled([], [])
        self.assertEqual(self.client.publisher.publications, [])
        self.check_counts(received=3, returned=2)

    def test_late_failure(self) -> None:
        """
        The same for a callback that fails late.
        """
        first = self.deliver()
        self.old.lose_connection()
        self.finish(first, ZeroDivisionError())
        self.check_logged(ZeroDivisionError)
        self.advance(500)
        self.assertEqual(self.client.publisher.publications, [])
        self.check_counts(received=1, returned=1)

    def test_late_places(self) -> None:
        """
        Callbacks from before the loss keep their places as long as they run.
        """
        first, second = self.deliver(), self.deliver()
        self.old.lose_connection()
        self.deliver(b"one")
        self.deliver(b"two")
        self.assertEqual(len(self.called), 2)
        self.finish(first)
        self.finish(second, Retry(after=5))
        self.assertEqual([each.body for each in self.called[2:]], [b"one", b"two"])

    def test_on_disconnect(self) -> None:
        """
        C{onDisconnect} is called once, with the reason in a C{Failure}.
        """
        why = BrokerRefused(320, "CONNECTION_FORCED")
        self.old.lose_connection(why)
        (failure,) = self.disconnects
        self.assertIsInstance(failure, Failure)
        self.assertIs(failure.value, why)
        self.advance(1000)
        self.assertEqual(len(self.disconnects), 1)
        self.channel.lose_connection()
        self.assertEqual(len(self.disconnects), 2)

    def test_on_disconnect_while_unreachable(self) -> None:
        """
        It is called once for a broker that stays away for long.
        """
        self.client.unreachable = BrokerUnreachable("gone")
        self.old.lose_connection()
        self.advance(1000)
        self.client.unreachable = None
        self.advance(100)
        self.assertEqual(len(self.disconnects), 1)
        self.assertTrue(self.watcher.consuming)

    def test_only_the_channel(self) -> None:
        """
        It is not called when only the channel was lost.
        """
        self.deliver()
        self.old.lose(BrokerRefused(406, "delivery acknowledgement timed out"))
        self.assertEqual(self.disconnects, [])
        self.assertTrue(self.watcher.consuming)
        self.check_counts(received=1, returned=1)

    def test_on_disconnect_raises(self) -> None:
        """
        An C{onDisconnect} that raises does no harm.
        """

        def raises(failure: Failure) -> None:
            raise ZeroDivisionError

        self.end()
        self.begin(onDisconnect=raises)
        self.channel.lose_connection()
        self.check_logged(ZeroDivisionError)
        self.assertTrue(self.watcher.consuming)

    def test_no_on_disconnect(self) -> None:
        """
        There need be no C{onDisconnect}.
        """
        self.end()
        self.begin(onDisconnect=None)
        self.channel.lose_connection()
        self.assertTrue(self.watcher.consuming)

    def test_growing_delays(self) -> None:
        """
        While it fails, it is tried again after growing delays, up to a minute,
        without a limit in time.
        """
        self.client.unreachable = BrokerUnreachable("gone")
        self.client.asked.clear()
        self.old.lose_connection()
        for _ in range(1200):
            self.advance(0.5)
        times = [at for at, _ in self.client.asked]
        self.assertEqual({limit for _, limit in self.client.asked}, {None})
        delays = [after - at for at, after in pairwise(times)]
        self.assertGreater(len(delays), 8)
        self.assertEqual(delays, sorted(delays))
        self.assertGreaterEqual(delays[0], 1)
        self.assertLessEqual(delays[-1], 60.5)
        self.client.unreachable = None
        self.advance(60)
        self.assertTrue(self.watcher.consuming)

    def test_rarer_where_rabbitmq_fails(self) -> None:
        """
        Where RabbitMQ fails at a queue, and closes the connection of all, attempts
        become rarer than the longest requests take.
        """
        self.client.held.add("basic_consume")
        self.client.asked.clear()
        self.old.lose_connection()
        for _ in range(40_000):
            if not self.channel.closed:
                self.channel.lose_connection(BrokerRefused(541, "INTERNAL_ERROR"))
            self.clock.advance(1)
        times = [at for at, _ in self.client.asked]
        delays = [after - at for at, after in pairwise(times)]
        self.assertGreater(min(delays[-3:]), 1700)
        self.assertLess(max(delays), 3602)
        self.assertLess(len(delays), 40)
        self.client.held.clear()
        self.advance(3600)
        self.assertTrue(self.watcher.consuming)

    def test_refused_for_now(self) -> None:
        """
        A queue that cannot be declared now is tried again, on a fresh channel
        each time; each that was opened is closed.
        """
        self.client.refused["queue_declare"] = BrokerRefused(404, "home node is down")
        self.old.lose()
        self.advance(10)
        tried = len(self.client.channels)
        self.assertGreater(tried, 2)
        self.assertTrue(all(each.closed for each in self.client.channels))
        self.client.refused.clear()
        self.advance(60)
        self.assertTrue(self.watcher.consuming)
        self.assertEqual(len(self.client.channels), tried + 1)

    def test_failed_without_a_close(self) -> None:
        """
        A channel on which consuming could not be begun is closed.
        """
        self.client.refused["basic_consume"] = BrokerError("no")
        self.old.lose()
        self.assertTrue(self.channel.closed)
        self.client.refused.clear()
        self.advance(60)
        self.assertTrue(self.watcher.consuming)

    def test_no_hot_loop(self) -> None:
        """
        A message that cannot be published (we may not publish to the default
        exchange, say) makes no hot loop.
        """
        self.at_once[b"poison"] = b"again"
        refusal = BrokerRefused(403, "ACCESS_REFUSED - amq.default")
        self.client.publisher.refuses = refusal
        channels = len(self.client.channels)
        self.deliver(b"poison")
        for _ in range(60):
            self.advance(1)
        self.assertLess(len(self.client.publisher.publications), 15)
        self.assertEqual(len(self.client.channels), channels)
        self.client.publisher.refuses = None
        self.advance(60)
        self.confirm()
        self.check_settled([1], [])

    def test_again_in_the_middle(self) -> None:
        """
        A connection lost while it is being consumed again is made once more.
        """
        for method in ("channel_open", "queue_declare", "basic_consume"):
            self.client.held.add(method)
            self.channel.lose_connection()
            self.advance(60)
            self.assertEqual(self.channel.pending[0][0], method)
            self.client.held.clear()
            self.channel.lose_connection()
            self.advance(60)
            self.assertTrue(self.watcher.consuming, method)


class ConsumerTests(WatcherTestCase):
    """
    Tests for what is asked of the broker at the wrong moment.
    """

    def begin_anew(self) -> FakeChannel:
        """
        Lose the channel, and have another one wait for its prefetch.
        """
        self.client.held.add("basic_qos")
        self.channel.lose()
        self.client.held.clear()
        (waiting,) = self.channel.pending
        self.assertEqual(waiting[0], "basic_qos")
        return self.channel

    def test_stop_while_renewing(self) -> None:
        """
        A consumer that is just taking over is cancelled once it is there.
        """
        channel = self.begin(prefetch=1)
        self.client.held.add("basic_consume")
        self.finish(self.deliver(), Retry(after=60.0))
        stopped = self.watcher.stop()
        self.assertEqual(channel.methods().count("basic_cancel"), 0)
        self.client.held.clear()
        channel.answer()
        self.confirm()
        self.successResultOf(stopped)
        tags = channel.argument("basic_consume", "consumer_tag")
        self.assertEqual(
            sorted(channel.argument("basic_cancel", "consumer_tag")), sorted(tags)
        )

    def test_stop_while_starting(self) -> None:
        """
        Neither is the first cancelled before it is there.
        """
        self.client.held.add("basic_consume")
        started = Deferred.fromCoroutine(self.watcher.start())
        stopped = self.watcher.stop()
        self.assertEqual(self.channel.methods().count("basic_cancel"), 0)
        self.client.held.clear()
        self.channel.answer()
        self.successResultOf(stopped)
        started.addErrback(lambda failure: failure.trap(BrokerError))

    def test_resumed_while_made_ready(self) -> None:
        """
        Where the queue goes on just as another channel is made ready, there is one
        consumer, which the next pause ends.
        """
        pauses = self.client.pauses
        pauses.paused.add("queue")
        self.begin()
        channel = self.begin_anew()
        pauses.paused.clear()
        pauses.looks["queue"]()
        channel.answer()
        self.assertEqual(len(channel.consumers), 1)
        pauses.paused.add("queue")
        pauses.looks["queue"]()
        self.assertEqual(channel.consumers, {})

    def test_woken_while_made_ready(self) -> None:
        """
        So it is where the rate allows the next message just then.
        """
        self.begin(rate="10/h", share_rate=False)
        self.finish(self.deliver())
        self.advance(359.5)
        channel = self.begin_anew()
        self.advance(2)
        self.assertEqual(channel.consumers, {})
        channel.answer()
        self.assertEqual(len(channel.consumers), 1)

    def test_lost_while_made_ready(self) -> None:
        """
        What came on a channel that was lost before all was ready is forgotten with it.
        """
        self.begin()
        self.client.held.add("exchange_declare")
        self.channel.lose_connection()
        self.client.held.clear()
        early = self.channel
        message = early.deliver_anyhow()
        early.lose_connection()
        self.advance(5)
        self.assertIsNot(self.channel, early)
        self.assertEqual(self.watcher.in_flight, 0)
        self.finish(message)
        self.assertEqual(self.channel.acked, [])


class CancelTests(WatcherTestCase):
    """
    Tests for a broker that cancels the consumer.
    """

    def setUp(self) -> None:
        super().setUp()
        self.begin(prefetch=2)

    def test_declared_anew(self) -> None:
        """
        The queue is declared, bound and consumed anew, on the same channel.
        """
        channel = self.channel
        message = self.deliver()
        before = len(channel.calls)
        channel.cancel_consumer()
        _, brief = self.client.channels  # which a refusal would close
        declared = ["queue_declare", "exchange_declare", "queue_bind"]
        self.assertEqual(brief.methods(), ["channel_open", *declared])
        called = [method for method, _ in channel.calls[before:]]
        self.assertEqual(called, ["basic_consume"])
        self.assertEqual(len(set(channel.argument("basic_consume", "consumer_tag"))), 2)
        self.assertTrue(self.watcher.consuming)
        self.finish(message)
        self.check_settled([1], [])
        self.assertEqual(self.disconnects, [])

    def test_meanwhile(self) -> None:
        """
        Until that is done, it does not consume.
        """
        self.client.held.add("queue_declare")
        self.channel.cancel_consumer()
        self.assertFalse(self.watcher.consuming)
        self.client.channels[-1].answer()
        self.assertTrue(self.watcher.consuming)

    def test_another_consumer(self) -> None:
        """
        The end of a consumer that is not ours any more does not matter.
        """
        self.channel.on_cancel("quebert-some-other")
        self.assertEqual(self.channel.methods().count("basic_consume"), 1)
        self.assertTrue(self.watcher.consuming)

    def test_refused(self) -> None:
        """
        Where that is refused, the channel is closed by the broker, and it is
        tried again on others.
        """
        refusal = BrokerRefused(404, "NOT_FOUND")
        self.client.refused["queue_declare"] = refusal
        self.channel.cancel_consumer()
        self.client.refused.clear()
        self.advance(60)
        self.assertTrue(self.watcher.consuming)
        self.assertGreater(len(self.client.channels), 1)

    def test_refused_with_tasks(self) -> None:
        """
        Where that is refused, the tasks that are here are finished first: RabbitMQ has
        deleted them with their queue.
        """
        running, put_back = self.deliver(), self.deliver()
        old = self.channel
        self.client.refused["queue_declare"] = BrokerRefused(406, "another type")
        with logged() as lines:
            old.cancel_consumer()
            self.advance(30)
        self.assertIn("first 2 tasks are finished", "".join(lines))
        self.assertFalse(old.closed)
        self.finish(put_back, Retry())
        self.confirm()
        self.advance(2)
        self.assertFalse(old.closed)
        self.finish(running)
        self.advance(8)
        self.assertTrue(old.closed)
        self.client.refused.clear()
        self.assertEqual(sorted(old.acked), [1, 2])
        self.check_counts(received=2, done=1, retried=1)
        self.advance(60)
        self.assertTrue(self.watcher.consuming)

    def test_refused_for_a_while(self) -> None:
        """
        Where it is not refused any more while tasks are here, the queue is consumed on
        the same channel: what is to be tried again can go nowhere before.
        """
        message = self.deliver()
        old = self.channel
        self.client.refused["queue_declare"] = BrokerRefused(403, "ACCESS_REFUSED")
        old.cancel_consumer()
        self.finish(message, Retry())
        self.confirm(Unroutable("there is no queue"))
        self.advance(5)
        self.assertFalse(self.watcher.consuming)
        self.client.refused.clear()
        self.advance(8)
        self.assertTrue(self.watcher.consuming)
        while self.client.publisher.unconfirmed:
            self.confirm()
        self.assertFalse(old.closed)
        self.assertEqual(old.acked, [1])

    def test_fault_with_tasks(self) -> None:
        """
        A fault of ours while tasks are here has another channel tried, too.
        """
        self.deliver()
        old = self.channel
        refused: dict[str, Any] = self.client.refused
        refused["queue_declare"] = BrokerRefused(403, "ACCESS_REFUSED")
        old.cancel_consumer()
        refused["queue_declare"] = ValueError("fault")
        self.advance(2)
        self.assertTrue(old.closed)
        refused.clear()
        self.advance(60)
        self.assertTrue(self.watcher.consuming)
        self.check_logged(ValueError, times=2)  # and once by the next channel

    def test_fails_without_a_close(self) -> None:
        """
        Where that fails in another way, the channel is closed by us, and it is
        tried again on others.
        """
        self.client.refused["queue_declare"] = BrokerError("no")
        old = self.channel
        old.cancel_consumer()
        self.client.refused.clear()
        self.advance(60)
        self.assertTrue(old.closed)
        self.assertTrue(self.watcher.consuming)

    def test_fault(self) -> None:
        """
        A fault of ours is logged, and it is tried again on another channel.
        """
        refused: dict[str, Any] = self.client.refused
        refused["exchange_declare"] = ValueError("fault")
        with logged() as lines:
            self.channel.cancel_consumer()
        refused.clear()
        self.assertIn("Declaring queue 'queue' anew failed", lines)
        self.check_logged(ValueError, times=2)  # and once by the next channel
        self.advance(60)
        self.assertTrue(self.watcher.consuming)

    def test_while_stopping(self) -> None:
        """
        A watcher that is being stopped does not consume anew.
        """
        self.client.held.add("basic_cancel")
        stopped = self.watcher.stop()
        self.channel.cancel_consumer()
        self.channel.answer()
        self.successResultOf(stopped)
        self.assertEqual(self.channel.methods().count("basic_consume"), 1)


class SharedAnswerTests(WatcherTestCase):
    """
    One Deferred that answers for several messages, and is given up.
    """

    def test_stop(self) -> None:
        """
        All of them are given back, once each, and the watch is stopped.
        """
        self.begin(prefetch=5)
        shared: Deferred[Any] = Deferred()
        for body in (b"a", b"b", b"c"):
            self.at_once[body] = shared
            self.deliver(body)
        stopped = self.watcher.stop(0)
        self.check_settled([], [1, 2, 3])
        self.assertEqual(self.client.publisher.publications, [])
        self.clock.advance(10)
        self.successResultOf(stopped)
        self.check_counts(received=3, returned=3)


class StopTests(WatcherTestCase):
    """
    Tests for L{Watcher.stop}.
    """

    options = {"prefetch": 2}

    def test_one_answer_for_several(self) -> None:
        """
        A callback that is cancelled may end others, too: nobody wants their outcomes,
        of those either that a copy replaces.
        """
        answer: Deferred[None] = Deferred()
        self.begin(callback=lambda message: answer)
        self.deliver(b"1")
        self.deliver(b"2", {ENDS: 1, FLIGHT: "a" * 32}, exchange="")
        stopped = self.watcher.stop(0)
        self.confirm()
        self.advance(0)
        self.assertNotIsInstance(answer.result, Failure)
        self.successResultOf(stopped)
        self.check_counts(received=2, returned=2)

    def test_idle(self) -> None:
        """
        With nothing in flight, the consumer is cancelled, the channel closed.
        """
        channel = self.begin()
        self.successResultOf(self.watcher.stop())
        tag = channel.argument("basic_consume", "consumer_tag")
        self.assertEqual(channel.argument("basic_cancel", "consumer_tag"), tag)
        self.assertTrue(channel.closed)
        self.assertFalse(self.watcher.consuming)
        self.assertEqual(self.client.watchers, [])
        self.assertEqual(self.client.one_suspect._watches, {})
        self.assertEqual(self.disconnects, [])
        self.clock.advance(1000)
        self.assertEqual(len(self.client.channels), 1)

    def test_unstarted(self) -> None:
        """
        What waits its turn is given back at once, and never begun.
        """
        self.begin()
        messages = [self.deliver(beyond_prefetch=True) for _ in range(4)]
        stopped = self.watcher.stop()
        self.check_settled([], [3, 4])
        self.finish(messages[0])
        self.assertNoResult(stopped)
        self.finish(messages[1])
        self.successResultOf(stopped)
        self.check_settled([1, 2], [3, 4])
        self.assertEqual(self.called, messages[:2])
        self.check_counts(received=4, done=2, returned=2)

    def test_never_answered(self) -> None:
        """
        The end does not wait for a broker that must answer before a wait can end.
        """
        self.begin()
        waits = [Deferred[None](), Deferred[None]()]

        async def end() -> None:
            try:
                await waits[0]
            finally:
                await waits[1]  # the channel is closed

        self.patch(self.watcher._intake._forwarder, "end", end)
        stopped = self.watcher.stop()
        self.clock.advance(5)
        self.successResultOf(stopped)
        self.assertTrue(waits[0].called)  # it was cancelled
        with logged() as lines:
            waits[1].callback(None)  # with the connection
        self.assertIn(
            "RabbitMQ did not answer as the watch of queue 'queue' ended: ", lines
        )

    def test_told_again_after_the_grace(self) -> None:
        """
        That messages are given back in good order is told again when they are: what was
        told at the beginning of the end may be out of date.
        """
        self.begin()
        self.deliver()
        stopped = self.watcher.stop(60)
        self.client.signs.clear()
        self.clock.advance(59)
        self.assertEqual(self.client.signs, set())
        self.clock.advance(1)
        now = self.clock.seconds()
        signs = {in_order_sign("queue", when) for when in (now, now + PERIOD)}
        self.assertEqual(self.client.signs, signs)
        self.successResultOf(stopped)
        self.check_settled([], [1])

    def test_delivered_while_stopping(self) -> None:
        """
        What is delivered before the broker knows is given back, unbegun.
        """
        self.begin()
        self.client.held.add("basic_cancel")
        stopped = self.watcher.stop()
        self.deliver()
        self.assertEqual(self.called, [])
        self.channel.answer()
        self.successResultOf(stopped)
        self.check_settled([], [1])
        self.check_counts(received=1, returned=1)

    def test_waiting(self) -> None:
        """
        What waits before it goes back goes up the ladder at once.
        """
        self.begin()
        self.at_once[b"wait"] = Retry(body=b"again", after=60)
        self.deliver(b"wait")
        self.advance(10)
        stopped = self.watcher.stop()
        (publication,) = self.client.publisher.publications
        self.assertEqual(publication.body, b"again")
        self.assertEqual(publication.headers, {NOT_BEFORE: START + 60, DELAY: 50})
        self.assertEqual(publication.delay, 50)
        self.assertNoResult(stopped)
        self.confirm()
        self.successResultOf(stopped)
        self.check_settled([1], [])
        self.check_counts(received=1, retried=1)

    def test_early(self) -> None:
        """
        What came too early goes up the ladder for the time that is left.
        """
        self.begin()
        self.deliver(b"early", {NOT_BEFORE: START + 60, ERRORS: 2})
        stopped = self.watcher.stop()
        (publication,) = self.client.publisher.publications
        headers = {ERRORS: 2, NOT_BEFORE: START + 60, DELAY: 60}
        self.assertEqual((publication.headers, publication.delay), (headers, 60))
        self.confirm()
        self.successResultOf(stopped)

    def test_outcome_while_stopping(self) -> None:
        """
        What is to be tried later goes up the ladder at once.
        """
        self.begin()
        message = self.deliver()
        failing = self.deliver(b"failing")
        stopped = self.watcher.stop()
        self.finish(message, Retry(after=60))
        self.finish(failing, ZeroDivisionError())
        self.check_logged(ZeroDivisionError)
        first, second = self.client.publisher.publications
        self.assertEqual(first.headers, {NOT_BEFORE: START + 60, DELAY: 60})
        self.assertEqual(second.headers, {NOT_BEFORE: START + 1, DELAY: 1, ERRORS: 1})
        self.assertEqual((first.delay, second.delay), (60, 1))
        self.confirm()
        self.confirm()
        self.successResultOf(stopped)
        self.check_counts(received=2, retried=2)

    def test_not_taken_while_stopping(self) -> None:
        """
        What the broker does not take then is given back.
        """
        self.begin()
        message = self.deliver()
        stopped = self.watcher.stop()
        self.finish(message, b"again")
        self.confirm(PublishRefused("no"))
        self.successResultOf(stopped)
        self.check_settled([], [1])
        self.check_counts(received=1, returned=1)

    def test_not_taken_before_stopping(self) -> None:
        """
        What the broker did not take before is tried once more, then given
        back.
        """
        self.begin()
        self.at_once[b"task"] = b"again"
        self.deliver()
        self.confirm(PublishRefused("no"))
        stopped = self.watcher.stop()
        self.assertEqual(len(self.client.publisher.unconfirmed), 1)
        self.confirm(PublishRefused("no"))
        self.successResultOf(stopped)
        self.check_settled([], [1])

    def test_grace(self) -> None:
        """
        Running callbacks get C{grace} seconds; then they are cancelled, and
        their messages given back.
        """
        self.begin()
        quick, slow = self.deliver(), self.deliver()
        stopped = self.watcher.stop(grace=20)
        self.advance(19)
        self.finish(quick)
        self.assertEqual(self.cancelled, [])
        self.assertNoResult(stopped)
        self.advance(1)
        self.assertEqual(self.cancelled, [slow])
        self.successResultOf(stopped)
        self.check_settled([1], [2])
        self.check_counts(received=2, done=1, returned=1)
        self.flushLoggedErrors(CancelledError)

    def test_no_grace(self) -> None:
        """
        With no grace they are cancelled at once.
        """
        self.begin()
        message = self.deliver()
        stopped = self.watcher.stop(0)
        self.successResultOf(stopped)
        self.assertEqual(self.cancelled, [message])
        self.check_settled([], [1])
        self.flushLoggedErrors(CancelledError)

    def test_cancelling_is_no_failure(self) -> None:
        """
        A callback that was cancelled has not failed: no traceback is logged.
        """
        self.begin()
        self.deliver()
        self.successResultOf(self.watcher.stop(0))
        self.assertEqual(self.flushLoggedErrors(CancelledError), [])

    def test_stubborn(self) -> None:
        """
        A callback that cannot be cancelled does not hold up the end, and its
        late outcome is dropped.
        """
        late: Deferred[bytes] = Deferred()

        async def stubborn(message: DeliveredMessage) -> bytes:
            while True:
                with contextlib.suppress(CancelledError):
                    return await shielded(late)

        self.begin(callback=stubborn)
        self.deliver()
        stopped = self.watcher.stop(grace=10)
        self.advance(10)
        self.advance(5)
        self.successResultOf(stopped)
        self.check_settled([], [1])
        late.callback(b"again")
        self.assertEqual(self.client.publisher.publications, [])
        self.check_counts(received=1, returned=1)

    def test_finishes_when_cancelled(self) -> None:
        """
        A callback that answers when it is cancelled settles nothing twice.
        """

        async def callback(message: DeliveredMessage) -> bytes:
            with contextlib.suppress(CancelledError):
                await Deferred[None]()
            return b"partly done"

        self.begin(callback=callback)
        self.deliver()
        self.successResultOf(self.watcher.stop(0))
        self.check_settled([], [1])
        self.check_counts(received=1, returned=1)

    def test_unconfirmed(self) -> None:
        """
        What is put back and never confirmed holds up the end for seconds only,
        and is not acked.
        """
        self.begin()
        self.at_once[b"wait"] = Retry(after=60)
        self.deliver(b"wait")
        stopped = self.watcher.stop(grace=10)
        self.advance(10)
        self.assertNoResult(stopped)
        self.advance(5)
        self.successResultOf(stopped)
        self.check_settled([], [])
        self.check_counts(received=1, returned=1)

    def test_unconfirmed_in_its_place(self) -> None:
        """
        The same for what is put back at once: the callback is through, and the
        broker gets its seconds to confirm, however short the grace.
        """
        self.begin()
        self.at_once[b"task"] = b"again"
        self.deliver()
        stopped = self.watcher.stop(0)
        self.assertEqual(self.flushLoggedErrors(CancelledError), [])
        self.advance(1)
        self.assertNoResult(stopped)
        self.confirm()
        self.successResultOf(stopped)
        self.check_settled([1], [])
        self.check_counts(received=1, retried=1)

    def test_twice(self) -> None:
        """
        It may be stopped twice; both are told of the end.
        """
        self.begin()
        message = self.deliver()
        first, second = self.watcher.stop(), self.watcher.stop(0)
        self.assertNoResult(first)
        self.assertNoResult(second)
        self.finish(message)
        self.successResultOf(first)
        self.successResultOf(second)
        self.successResultOf(self.watcher.stop())
        self.assertEqual(self.channel.methods().count("basic_cancel"), 1)

    def test_given_up(self) -> None:
        """
        One who does not wait for the end any more does not hinder it.
        """
        self.begin()
        message = self.deliver()
        first, second = self.watcher.stop(), self.watcher.stop()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.finish(message)
        self.successResultOf(second)
        self.check_settled([1], [])

    def test_lost_while_stopping(self) -> None:
        """
        A channel lost while it is stopped stays lost.
        """
        self.begin()
        message = self.deliver()
        stopped = self.watcher.stop(grace=20)
        self.channel.lose_connection()
        self.check()
        self.finish(message)
        self.advance(25)
        self.successResultOf(stopped)
        self.assertIs(self.channel, self.client.channels[0])
        self.check_counts(received=1, returned=1)

    def test_lost_while_cancelling(self) -> None:
        """
        The same when it is lost before the cancelling is answered.
        """
        self.begin()
        self.deliver()
        self.client.held.add("basic_cancel")
        stopped = self.watcher.stop(grace=0)
        self.channel.lose_connection()
        self.check()
        self.advance(10)
        self.successResultOf(stopped)
        self.assertIs(self.channel, self.client.channels[0])
        self.flushLoggedErrors(CancelledError)

    def check_ended(self, stopped: Deferred[None]) -> None:
        """
        It has stopped, and does nothing any more.
        """
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        asked, opened = len(self.client.asked), len(self.client.channels)
        self.client.unreachable = None
        self.client.connect()
        self.clock.advance(1000)
        self.assertEqual(len(self.client.asked), asked)
        self.assertEqual(len(self.client.channels), opened)
        self.assertFalse(self.watcher.consuming)

    def test_between_attempts(self) -> None:
        """
        It may be stopped between two attempts to consume again.
        """
        self.begin()
        self.client.unreachable = BrokerUnreachable("gone")
        self.channel.lose_connection()
        self.advance(3)
        self.check_ended(self.watcher.stop())

    def test_while_connecting(self) -> None:
        """
        It may be stopped while there is no connection.
        """
        self.begin()
        self.client.waits = True
        self.channel.lose_connection()
        self.check_ended(self.watcher.stop())

    def test_while_opening(self) -> None:
        """
        It may be stopped while a channel is being opened; nothing is logged as
        an error.
        """
        self.begin()
        self.client.held.add("channel_open")
        self.channel.lose_connection()
        self.check_ended(self.watcher.stop())

    def test_while_declaring(self) -> None:
        """
        It may be stopped while the queue is being declared; the new channel is
        closed.
        """
        self.begin()
        self.client.held.add("queue_declare")
        self.channel.lose_connection()
        stopped = self.watcher.stop()
        self.check_ended(stopped)
        self.assertTrue(self.channel.closed)

    def test_with_callbacks_from_before(self) -> None:
        """
        A callback from before the loss gets its grace, too.
        """
        self.begin()
        message = self.deliver()
        self.client.unreachable = BrokerUnreachable("gone")
        self.channel.lose_connection()
        stopped = self.watcher.stop(grace=20)
        self.advance(19)
        self.assertEqual(self.cancelled, [])
        self.finish(message, b"again")
        self.check_ended(stopped)

    def test_before_it_was_started(self) -> None:
        """
        It may be stopped before it was started.
        """
        self.successResultOf(self.watcher.stop())
        self.assertEqual(self.client.asked, [])

    def test_while_starting(self) -> None:
        """
        When it is stopped before there is a connection, it does not consume
        once there is one.
        """
        self.client.waits = True
        starting = Deferred.fromCoroutine(self.watcher.start())
        self.successResultOf(self.watcher.stop())
        self.client.connect()
        self.failureResultOf(starting, BrokerError)
        self.assertTrue(all(each.closed for each in self.client.channels))
        self.assertFalse(self.watcher.consuming)

    def test_while_starting_to_consume(self) -> None:
        """
        When it is stopped while the queue is being declared, the start fails.
        """
        self.client.held.add("queue_declare")
        starting = Deferred.fromCoroutine(self.watcher.start())
        self.successResultOf(self.watcher.stop())
        self.failureResultOf(starting, BrokerError)
        self.assertTrue(self.channel.closed)
        self.clock.advance(100)
        self.assertEqual(len(self.client.channels), 1)


def shielded(deferred: Deferred[bytes]) -> Deferred[bytes]:
    """
    A Deferred whose cancelling leaves the other alone.
    """
    waiter: Deferred[bytes] = Deferred()

    def tell(result: bytes) -> bytes:
        if not waiter.called:
            waiter.callback(result)
        return result

    deferred.addCallback(tell)
    return waiter


# -- Anything, in any order

_ACTIONS = st.one_of(
    st.tuples(
        st.just("deliver"),
        st.sampled_from(["now", "now", "early", "failed", "far"]),
    ),
    st.tuples(
        st.just("finish"),
        st.tuples(
            st.integers(0, 5),
            st.sampled_from(
                [
                    None,
                    "again",
                    b"again",
                    Retry(),
                    Retry(after=5),
                    Retry(after=2000),
                    Discard("bad"),
                    ZeroDivisionError(),
                    object(),
                ]
            ),
        ),
    ),
    st.tuples(st.just("confirm"), st.tuples(st.integers(0, 5), st.integers(0, 3))),
    st.tuples(st.just("advance"), st.sampled_from([0.5, 1.0, 5.0, 60.0, 1000.0])),
    st.tuples(st.just("lose"), st.booleans()),
    st.tuples(st.just("cancel"), st.none()),
    st.tuples(st.just("hold"), st.sampled_from(["*", "basic_cancel", "basic_consume"])),
    st.tuples(st.just("answer"), st.none()),
    st.tuples(st.just("reachable"), st.booleans()),
)


class AnyOrderTests(WatcherTestCase):
    """
    Tests with whatever order of events Hypothesis thinks of.
    """

    @given(
        st.lists(_ACTIONS, min_size=5, max_size=60),
        st.sampled_from([0, 1, 3]),
        st.sampled_from([0.0, 7.0]),
    )
    @QUICK
    def check_actions(
        self, actions: list[tuple[str, Any]], limit: int, grace: float
    ) -> None:
        """
        Do all that; what must hold is checked after each step.
        """
        self.setUp()
        self.watcher = self.make(prefetch=limit)
        self.successResultOf(Deferred.fromCoroutine(self.watcher.start()))
        self.acked: list[bytes] = []
        self.finished: dict[bytes, Any] = {}
        for name, argument in actions:
            getattr(self, f"do_{name}")(argument)
            self.check()
            self.check_acks()
        self.do_end(grace)

    def check_acks(self) -> None:
        """
        What is acked was done with, or what replaces it was confirmed on the
        same channel before.
        """
        for channel in self.client.channels:
            confirmed = {
                each.properties["message-id"]
                for each in self.client.publisher.confirmed
            }
            for tag in channel.acked:
                name = channel.delivered[tag].properties["message-id"]
                through = self.finished.get(channel.delivered[tag].body, ...)
                is_done = through is None or isinstance(through, Discard)
                self.assertTrue(is_done or name in confirmed, name)

    def do_deliver(self, kind: str) -> None:
        """
        The broker delivers, if it may.
        """
        channel = self.channel
        if channel.closed or channel.room() is None:
            return
        name = f"{len(self.client.channels)}-{len(channel.delivered)}"
        now = self.clock.seconds()
        headers = {
            "now": {},
            "early": {NOT_BEFORE: now + 10},
            "failed": {ERRORS: 3},
            "far": {NOT_BEFORE: now + 5000},
        }[kind]
        properties = {"message-id": name, "headers": headers}
        channel.deliver(name.encode(), raw=encode_properties(properties))

    def do_finish(self, argument: tuple[int, Any]) -> None:
        """
        A callback answers.
        """
        place, answer = argument
        if place < len(self.running):
            message = self.running[place][0]
            self.finished[message.body] = answer
            self.finish(message, answer)
            self.flushLoggedErrors(ZeroDivisionError, TypeError)

    def do_confirm(self, argument: tuple[int, int]) -> None:
        """
        The broker confirms, or does not.
        """
        place, problem = argument
        if place < len(self.client.publisher.unconfirmed):
            problems = {0: PublishRefused("no"), 1: Unroutable("no")}
            self.client.publisher.confirm(problems.get(problem), which=place)

    def do_advance(self, seconds: float) -> None:
        """
        Time passes.
        """
        self.clock.advance(seconds)

    def do_lose(self, whole: bool) -> None:
        """
        The channel or the connection is lost.
        """
        if whole:
            self.channel.lose_connection()
        else:
            self.channel.lose()

    def do_cancel(self, argument: None) -> None:
        """
        The queue is deleted.
        """
        if self.channel.consumers:
            self.channel.cancel_consumer()

    def do_hold(self, method: str) -> None:
        """
        The broker is slow to answer.
        """
        self.client.held.add(method)

    def do_answer(self, argument: None) -> None:
        """
        The broker answers all.
        """
        self.client.held.clear()
        while self.channel.pending:
            self.channel.answer()

    def do_reachable(self, reachable: bool) -> None:
        """
        The broker comes and goes.
        """
        self.client.unreachable = None if reachable else BrokerUnreachable("gone")

    def do_end(self, grace: float) -> None:
        """
        It is stopped; nothing is left.
        """
        self.do_answer(None)
        stopped = self.watcher.stop(grace)
        for _ in range(5):
            self.do_answer(None)
            self.clock.advance(5)
            self.check()
            self.check_acks()
        self.successResultOf(stopped)
        self.assertEqual(self.watcher.in_flight, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(self.channel.closed)
        self.assertEqual(self.running, [])
        self.flushLoggedErrors(CancelledError)

    def test_any_order(self) -> None:
        """
        In whatever order things happen, the counts add up, nothing is settled
        twice, and nothing is acked before its replacement is confirmed.
        """
        self.check_actions()
