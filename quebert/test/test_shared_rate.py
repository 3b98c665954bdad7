"""
How a rate is shared: many that watch a queue, and the broker that counts them, in
virtual time.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import count, pairwise
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock, deferLater
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.properties import encode_properties
from quebert.amqp.coordination._pace import Pace
from quebert.amqp.coordination._shared_rate import SharedRate
from quebert.amqp.coordination._spare_tokens import SpareTokens
from quebert.amqp.watch import DeliveredMessage
from quebert.amqp.watch._places import Places
from quebert.errors import BrokerError, BrokerRefused, BrokerUnreachable, ChannelLost
from quebert.limits import Rate
from quebert.test.support import logged


class FakeBroker:
    """
    What counts consumers, and gives messages to them in turn.

    @ivar refuses: what is raised instead of an answer.
    @ivar hides: whether it says that there are no consumers.
    """

    def __init__(self) -> None:
        self.hides = False
        self.channels: list[FakeChannel] = []
        self.queues: dict[str, dict[str, Any]] = {}
        self.refuses: dict[str, Exception] = {}
        self._turn = count()

    def consumers(self, queue: str) -> list[FakeChannel]:
        """
        Who consumes from a queue.
        """
        return [c for c in self.channels if queue in c.consumers.values()]

    def publish(self, queue: str, body: bytes) -> None:
        """
        Give it to the next one.
        """
        consumers = self.consumers(queue)
        if consumers:
            consumer = consumers[next(self._turn) % len(consumers)]
            message = DeliveredMessage("", 1, False, "", queue)
            message.body = body
            consumer.on_message(message)


@attrs.frozen
class Counted:
    """
    An answer.
    """

    consumer_count: int


class FakeChannel:
    """
    A channel to it.
    """

    def __init__(self, wire: FakeWire) -> None:
        self.client = wire
        self.broker = wire.broker
        self.consumers: dict[str, str] = {}
        self.closed = False
        self.on_message: Any = None
        self.on_cancel: Any = None
        self.acked = 0
        self._tags = count()

    async def call(self, method: str, **arguments: Any) -> Any:
        """
        Call a method.
        """
        if self.closed:
            raise ChannelLost("closed")
        broker = self.broker
        if method in broker.refuses:
            raise broker.refuses[method]
        queue = arguments.get("queue", "")
        if method == "basic_consume":
            tag = arguments.get("consumer_tag") or f"tag-{next(self._tags)}"
            self.consumers[tag] = queue
        elif method == "basic_cancel":
            del self.consumers[arguments["consumer_tag"]]
        elif not arguments.get("passive"):
            broker.queues[queue] = arguments
        return Counted(0 if broker.hides else len(broker.consumers(queue)))

    def ack(self, delivery_tag: int) -> None:
        """
        Settle one.
        """
        self.acked += 1

    async def shut(self) -> None:
        """
        Close it.
        """
        self.closed = True
        if self in self.broker.channels:
            self.broker.channels.remove(self)


class FakeWire:
    """
    A connection to it.
    """

    def __init__(self, broker: FakeBroker) -> None:
        self.closed = False
        self.broker = broker
        self._opened: list[FakeChannel] = []

    @property
    def opened(self) -> int:
        """
        How many channels were opened.
        """
        return len(self._opened)

    @property
    def channels(self) -> list[FakeChannel]:
        """
        Those that were to consume.
        """
        return [each for each in self._opened if each.on_cancel is not None]

    async def open_channel(self, *, confirms: bool = True) -> FakeChannel:
        """
        One more channel.
        """
        channel = FakeChannel(self)
        self.broker.channels.append(channel)
        self._opened.append(channel)
        return channel

    def lose(self) -> None:
        """
        It is gone.
        """
        self.closed = True
        for each in self._opened:
            each.closed = True
            if each in self.broker.channels:
                self.broker.channels.remove(each)


class FakePublisher:
    """
    A way to publish to it.
    """

    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.answers: Callable[[], Deferred[None]] = lambda: succeed(None)
        self.published: list[float] = []
        self.shuts = 0

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: bytes,
        timeout: float | None = None,
    ) -> None:
        """
        Publish.
        """
        self.published.append(float(body))
        await self.answers()
        self.broker.publish(routing_key, body)

    def shut(self) -> None:
        """
        Publish no more.
        """
        self.shuts += 1


class Mediator:
    """
    One that keeps to a rate together with others.

    @ivar begun: when its messages began.
    """

    def __init__(
        self, clock: Clock, broker: FakeBroker, rate: float, burst: float | None
    ) -> None:
        self.clock = clock
        self.begun: list[float] = []
        self.most = 10**9
        self.seconds = 0.0
        self.publisher = FakePublisher(broker)
        self.pace = Pace(Rate(rate), burst, lambda: clock)
        publisher: Any = self.publisher
        self.share = SharedRate("queue", self.pace, publisher, lambda: clock)
        self.places = Places(0, self._begin, [self.pace])
        self.wire = FakeWire(broker)
        self.running = 0
        self._waiting = 0

    def join(self) -> Deferred[None]:
        """
        Begin.
        """
        wire: Any = self.wire
        return Deferred.fromCoroutine(self.share.join(wire))

    def fetch(self) -> None:
        """
        Have work, as much as it may have at once.
        """
        while self._waiting < 50 and self.running + self._waiting < self.most:
            self._waiting += 1
            self.places.enter(DeliveredMessage("", 0, False, "", "queue"))

    def _begin(self, message: DeliveredMessage) -> None:
        self.begun.append(self.clock.seconds())
        self._waiting -= 1
        self.running += 1
        self.clock.callLater(self.seconds, self._end, message)

    def _end(self, message: DeliveredMessage) -> None:
        self.running -= 1
        self.places.leave(message)

    def rate(self, start: float, end: float) -> float:
        """
        Messages that began per second.
        """
        return sum(start <= each < end for each in self.begun) / (end - start)


class SpareTokensTests(SynchronousTestCase):
    """
    L{SpareTokens} of one of two members, whose messages have to wait or not.
    """

    def setUp(self) -> None:
        """
        Its share of 100 tokens a second is the half.
        """
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.broker = FakeBroker()
        self.publisher = FakePublisher(self.broker)
        publisher: Any = self.publisher
        self.pace = Pace(Rate(100), 10, lambda: self.clock)
        self.pace.shared_by(2)
        self.tokens = SpareTokens(
            "spare", self.pace, publisher, lambda: self.clock, 1.0
        )
        wire: Any = FakeWire(self.broker)
        self.channel: Any = self.successResultOf(
            Deferred.fromCoroutine(wire.open_channel())
        )
        self.others: list[Any] = []

    def listen(self, number: int = 1) -> None:
        """
        Others want tokens.
        """
        wire: Any = FakeWire(self.broker)
        for _ in range(number):
            other = self.successResultOf(Deferred.fromCoroutine(wire.open_channel()))
            other.consumers["spare"] = "spare"
            other.on_message = self.others.append

    def look(self, *, delayed: bool = False) -> None:
        """
        Look, after messages had to wait or not.
        """
        self.pace.delayed += delayed
        looking = self.tokens.look(self.channel)
        self.successResultOf(Deferred.fromCoroutine(looking))

    def sleep(self, seconds: float) -> None:
        """
        Have unused tokens.
        """
        self.pace.wait  # noqa: B018
        self.clock.advance(seconds)

    def give(self, body: str) -> float:
        """
        Another member has so many tokens; returns how many were taken.
        """
        message = DeliveredMessage("", 1, False, "", "spare")
        message.body = body.encode()
        before = self.pace.got
        self.tokens.received(message)
        return self.pace.got - before

    def test_received(self) -> None:
        """
        Tokens for two periods are taken at most, and at least some.
        """
        table = ("1", 1.0), ("0.25", 0.25), ("200", 200.0), ("201", 0.0), ("0", 0.0)
        for body, taken in (*table, ("-1", 0.0), ("x", 0.0)):
            self.assertEqual(self.give(body), taken, body)

    def test_received_tokens_count(self) -> None:
        """
        They come over the next second, beside those of the own share.
        """
        for _ in range(5):
            self.pace.begun(DeliveredMessage("", 1, False, "", ""))
        self.assertGreater(self.pace.wait, 0)
        self.give("50")
        self.clock.advance(0.0625)
        self.pace.wait  # noqa: B018
        self.assertAlmostEqual(self.pace.bucket.tokens, 6.25)

    def test_wants(self) -> None:
        """
        It listens once messages had to wait, on one consumer, and not if it is alone.
        """
        self.pace.members = 1
        self.look(delayed=True)
        self.assertEqual(self.channel.consumers, {})
        self.pace.members = 2
        self.look()
        self.assertEqual(self.channel.consumers, {})
        for _ in range(2):
            self.look(delayed=True)
            self.assertEqual(self.channel.consumers, {"spare": "spare"})

    def test_wants_no_more(self) -> None:
        """
        It listens until no message had to wait for three looks.
        """
        for _ in range(2):
            self.look(delayed=True)
            for listens in (True, True, False, False):
                self.look()
                self.assertEqual(bool(self.channel.consumers), listens)

    def test_another_channel(self) -> None:
        """
        Over another channel nothing is cancelled that was never begun.
        """
        self.look(delayed=True)
        self.look()
        self.channel.consumers.clear()
        self.tokens.begin()
        for _ in range(4):
            self.look()
        self.look(delayed=True)
        for _ in range(2):
            self.look()
        self.assertEqual(self.channel.consumers, {"spare": "spare"})

    def test_passes_on(self) -> None:
        """
        What was not used goes to those that want it, in equal parts, once.
        """
        self.listen(3)
        self.sleep(1)
        self.look()
        self.assertEqual(self.publisher.published, [16.666667] * 3)
        self.assertEqual(len(self.others), 3)
        self.assertEqual(self.pace.passed_on, 50.0)
        self.look()
        self.assertEqual(len(self.publisher.published), 3)

    def test_passes_on_no_more_than_of_two_periods(self) -> None:
        self.listen()
        self.sleep(60)
        self.look()
        self.assertEqual(self.publisher.published, [100.0])
        self.assertEqual(self.pace.passed_on, 100.0)

    def test_has_nothing_to_pass_on(self) -> None:
        """
        Then RabbitMQ is not asked who wants it; nor if it is alone, or listens itself.
        """
        self.listen()
        self.broker.refuses["queue_declare"] = BrokerError("not to be asked")
        self.look()
        self.sleep(1)
        self.pace.members = 1
        self.look()
        self.pace.members = 2
        self.look(delayed=True)
        self.sleep(1)
        self.look()
        self.assertEqual(self.publisher.published, [])

    def test_nobody_wants(self) -> None:
        self.sleep(1)
        self.look()
        self.assertEqual((self.publisher.published, self.pace.passed_on), ([], 0.0))

    def test_unconfirmed(self) -> None:
        """
        As long as one message is not confirmed, no other one is published; whether it
        was lost does not matter.
        """
        self.listen(2)
        answers: list[Deferred[None]] = []

        def answer() -> Deferred[None]:
            answers.append(Deferred())
            return answers[-1]

        self.publisher.answers = answer
        for settle, published in (((), 2), ((0,), 2), ((1,), 4)):
            for each in settle:
                answers[each].errback(BrokerUnreachable("no"))
            self.sleep(1)
            self.look()
            self.assertEqual(len(self.publisher.published), published)
        self.assertEqual(self.pace.passed_on, 100.0)
        for answered in answers[2:]:
            answered.callback(None)

    def test_fault_of_ours(self) -> None:
        """
        Only an error of the broker is to be expected.
        """
        self.listen()

        def fail() -> Deferred[None]:
            raise ZeroDivisionError

        self.publisher.answers = fail
        self.sleep(1)
        self.look()
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_how_it_publishes(self) -> None:
        """
        RabbitMQ keeps no token on disk, and is waited for no longer than a period.
        """
        told: list[Any] = []

        async def publish(*arguments: Any) -> None:
            told.append(arguments)

        self.patch(self.publisher, "publish", publish)
        self.listen()
        self.sleep(1)
        self.look()
        properties = encode_properties({"delivery-mode": 1})
        self.assertEqual(told, [("", "spare", b"50.000000", properties, 1.0)])


class ShareTests(SynchronousTestCase):
    """
    L{SharedRate}: together they keep to one rate.
    """

    def setUp(self) -> None:
        """
        A broker.
        """
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.broker = FakeBroker()
        self.all: list[Mediator] = []
        self.chance = random.Random(11)

    def mediators(
        self, number: int, rate: float = 100, burst: float | None = None
    ) -> list[Mediator]:
        """
        Some more, that come one after the other.
        """
        new = []
        for _ in range(number):
            new.append(Mediator(self.clock, self.broker, rate, burst))
            self.all.append(new[-1])
            self.successResultOf(new[-1].join())
            self.addCleanup(self.clock.advance, 0)
            self.pass_time(self.chance.random() * 0.3)
        return new

    def pass_time(self, seconds: float) -> float:
        """
        Let time pass, in steps of some ten milliseconds; gives the time before.
        """
        began = now = self.clock.seconds()
        while now < began + seconds:
            step = min(self.chance.uniform(0.005, 0.03), began + seconds - now)
            for each in self.all:
                if not each.wire.closed:
                    each.fetch()
            self.clock.advance(max(step, 1e-6))
            now = self.clock.seconds()
        return float(began)

    def rate(self, since: float) -> float:
        """
        Messages that began per second, of all together.
        """
        now = self.clock.seconds()
        return sum(each.rate(since, now) for each in self.all)

    def assert_rate(self, since: float, rate: float = 100) -> None:
        """
        Together they kept to it, within two in a hundred.
        """
        self.assertLess(abs(self.rate(since) - rate), rate * 0.02, self.rate(since))

    def check_no_look_is_left(self, one: Mediator) -> None:
        """
        Who leaves looks no more.
        """
        opened = one.wire.opened
        Deferred.fromCoroutine(one.share.leave())
        self.pass_time(20)
        self.assertEqual(one.wire.opened, opened)

    def test_joins_while_a_look_fails(self) -> None:
        """
        A look that fails while somebody waits to join is followed by one look, too.
        """
        (one,) = self.mediators(1)
        gates: list[Deferred[None]] = []
        call = FakeChannel.call

        async def gated(channel: FakeChannel, method: str, **arguments: Any) -> Any:
            if not gates:
                gates.append(Deferred())
                await gates[0]
            return await call(channel, method, **arguments)

        self.patch(FakeChannel, "call", gated)
        self.pass_time(3)
        one.join()
        gates[0].errback(BrokerRefused(406, "PRECONDITION_FAILED"))
        self.pass_time(0.1)
        self.check_no_look_is_left(one)

    def test_joins_while_slow(self) -> None:
        """
        Where RabbitMQ answers more slowly than it is asked, there is one look at a
        time, whoever joins meanwhile; and none is left to be made in the end.
        """
        (one,) = self.mediators(1)
        call = FakeChannel.call

        async def slow(channel: FakeChannel, method: str, **arguments: Any) -> Any:
            await deferLater(self.clock, 2.0)
            return await call(channel, method, **arguments)

        self.patch(FakeChannel, "call", slow)
        for _ in range(4):
            one.join()
            self.pass_time(10)
        self.check_no_look_is_left(one)

    def test_alone(self) -> None:
        """
        One that is alone has all of it.
        """
        self.mediators(1)
        self.pass_time(1)
        self.assert_rate(self.pass_time(20))
        self.assertEqual(self.all[0].pace.members, 1)
        self.assertEqual(self.all[0].publisher.published, [])

    def test_looks_less_and_less_often(self) -> None:
        """
        The broker is looked at soon after the beginning, when others may come, too, and
        then every second.
        """
        looks, clock = [], self.clock

        class Looked(FakeBroker):
            def consumers(self, queue: str) -> list[FakeChannel]:
                looks.append(clock.seconds())
                return super().consumers(queue)

        alone = Mediator(self.clock, Looked(), 100, None)
        self.successResultOf(alone.join())
        for _ in range(120):
            self.clock.advance(0.05)
        times = sorted(set(looks))
        gaps = [round(b - a, 1) for a, b in pairwise(times)]
        self.assertEqual(gaps[:6], [0.1, 0.2, 0.4, 0.8, 1.0, 1.0])

    def test_helper_queues(self) -> None:
        """
        The helper queues are declared as all versions of quebert declare them, or
        RabbitMQ would refuse it to one of them; they go when nobody uses them, and
        tokens that nobody takes do so after a second.
        """
        self.mediators(1)
        ends = {"x-queue-type": "classic", "x-expires": 600_000}
        stale = {"x-max-length": 100, "x-message-ttl": 1_000}
        declared = [each["arguments"] for each in self.broker.queues.values()]
        self.assertEqual(declared, [ends, {**ends, **stale}])

    def test_equal(self) -> None:
        """
        Where all have as much to do each has its part, and none is passed on.
        """
        self.mediators(4)
        self.pass_time(1.2)
        since = self.pass_time(20)
        self.assert_rate(since)
        for each in self.all:
            self.assertLess(abs(each.rate(since, self.clock.seconds()) - 25), 1)
            self.assertEqual(each.publisher.published, [])

    def test_killed(self) -> None:
        """
        Those that are left share what one had that was killed.
        """
        self.mediators(3)
        self.pass_time(2)
        since = self.pass_time(10)
        self.all[0].wire.lose()
        self.pass_time(30)
        self.assert_rate(since)
        self.assertEqual([each.pace.members for each in self.all[1:]], [2, 2])

    def test_one_is_slow(self) -> None:
        """
        What one cannot use the others do, who ask for it.
        """
        slow, *_ = self.mediators(3)
        slow.most, slow.seconds = 1, 0.2
        self.pass_time(5)
        since = self.pass_time(30)
        self.assert_rate(since)
        self.assertLess(slow.rate(since, self.clock.seconds()), 6)

    def test_all_but_one_are_idle(self) -> None:
        """
        However many have nothing to do, one that has gets all of it.
        """
        busy, *others = self.mediators(10)
        for each in others:
            each.most = 0
        self.pass_time(60)  # until they have done what they had fetched
        since = self.pass_time(30)
        self.assert_rate(since)
        self.assertEqual(self.rate(since), busy.rate(since, self.clock.seconds()))

    def test_low_rate(self) -> None:
        """
        Also at a rate of which each has but little.
        """
        slow, *_ = self.mediators(3, 30)
        slow.most = 0
        self.pass_time(10)
        self.assert_rate(self.pass_time(30), 30)

    def test_it_has_work_again(self) -> None:
        """
        One that had nothing to do has its part again when it has, and all together
        never exceed the rate.
        """
        changing, *_ = self.mediators(3)
        since = self.clock.seconds()
        for most in (0, 10**9, 0, 3, 0, 10**9):
            changing.most = most
            self.pass_time(10)
        self.assertLess(self.rate(since), 103)
        self.assertGreater(self.rate(since), 90)

    def test_nobody_wants_it(self) -> None:
        """
        What nobody waits for is not passed on.
        """
        self.mediators(3)
        for each in self.all:
            each.most, each.seconds = 1, 0.5
        self.pass_time(20)  # until they have done what they had fetched
        for each in self.all:
            each.publisher.published.clear()
        self.pass_time(20)
        self.assertEqual([each.publisher.published for each in self.all], [[], [], []])

    def test_not_confirmed(self) -> None:
        """
        Where the broker takes no messages, nothing piles up to be told too late.
        """
        idle, *_ = self.mediators(2)
        self.pass_time(2)
        idle.most = 0
        idle.publisher.answers = Deferred
        self.pass_time(60)
        self.assertEqual(len(idle.publisher.published), 1)

    def test_not_published(self) -> None:
        """
        What cannot be passed on is lost, and all goes on.
        """
        idle, *_ = self.mediators(2)

        def refused() -> Deferred[None]:
            raise BrokerUnreachable("no")

        idle.publisher.answers = refused
        idle.most = 0
        self.pass_time(20)
        self.assertGreater(len(idle.publisher.published), 5)

    def lines(self) -> AbstractContextManager[list[str]]:
        """
        What is logged.
        """
        return logged(LogLevel.info)

    def test_told_who_shares(self) -> None:
        """
        The log tells how many share the rate, whenever that changes.
        """
        with self.lines() as lines:
            self.mediators(1)
            self.pass_time(3)
        self.assertEqual(lines, [])
        with self.lines() as lines:
            self.mediators(1)
            self.pass_time(3)
        self.assertEqual(lines, ["2 watches share the rate of queue 'queue'"] * 2)

    def test_told_that_nobody_tells(self) -> None:
        """
        One line tells that the share is kept since RabbitMQ does not answer, and one
        that it does again; the end leaves no timer for that.
        """
        (one,) = self.mediators(1)
        one.most = 0
        self.pass_time(10)
        with self.lines() as lines:
            for error in (ChannelLost("something"), None):
                self.broker.refuses.clear()
                if error is not None:
                    self.broker.refuses["queue_declare"] = error
                self.pass_time(20)
        unknown, known = lines
        self.assertIn(
            "rate of queue 'queue' cannot be counted; this one keeps its share", unknown
        )
        self.assertIn("something", unknown)
        self.assertIn("the rate of queue 'queue' can be counted again", known)
        self.broker.refuses["queue_declare"] = ChannelLost("something")
        self.pass_time(3)
        self.leave(one)

    def leave(self, one: Mediator) -> None:
        """
        One leaves, of which nothing is left.
        """
        self.successResultOf(Deferred.fromCoroutine(one.share.leave()))
        self.successResultOf(Deferred.fromCoroutine(one.pace.leave()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_told_that_the_queue_is_gone(self) -> None:
        """
        So it is where a queue is not there when it joins again.
        """
        (one,) = self.mediators(1)
        one.most = 0
        self.pass_time(3)
        self.broker.refuses["queue_declare"] = BrokerRefused(404, "NOT_FOUND")
        one.wire.lose()
        one.wire = FakeWire(self.broker)
        with self.lines() as lines:
            self.successResultOf(one.join())
        self.assertEqual(len(lines), 1)
        self.assertIn("NOT_FOUND", lines[0])
        self.broker.refuses["queue_declare"] = BrokerRefused(403, "ACCESS_REFUSED")
        self.failureResultOf(one.join(), BrokerRefused)
        self.leave(one)

    def test_left_while_it_looks(self) -> None:
        """
        What fails after it has left is not told, and nothing is asked again.
        """
        (one,) = self.mediators(1)
        one.most = 0
        self.pass_time(3)
        answer: Deferred[Any] = Deferred()
        channel = one.wire.channels[-1]

        async def wait(*_: object, **__: object) -> Any:
            return await answer

        self.patch(channel, "call", wait)
        self.clock.advance(1)
        self.leave(one)
        with self.lines() as lines:
            answer.errback(ChannelLost("closed"))
        self.assertEqual((lines, self.clock.getDelayedCalls()), ([], []))

    def test_fault_of_ours(self) -> None:
        """
        It is no reason to say that RabbitMQ does not answer.
        """
        (one,) = self.mediators(1)
        one.most = 0
        self.pass_time(3)
        self.broker.refuses["queue_declare"] = ZeroDivisionError()
        with self.lines() as lines:
            self.pass_time(1.5)
            self.broker.refuses.clear()  # with the frames that the error knows
            gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertFalse(any("nobody tells" in each for each in lines))
        self.leave(one)

    def test_wants_tokens_over_the_next_channel(self) -> None:
        """
        One that has lost its channel listens again for what others have to spare.
        """
        one, idle = self.mediators(2)
        idle.most = 0
        self.pass_time(5)
        self.assertEqual(
            self.broker.consumers("quebert.rate.queue.spare")[:1],
            [one.wire.channels[-1]],
        )
        one.wire.channels[-1].on_cancel("tag")
        self.pass_time(3)
        self.assertEqual(len(one.wire.channels), 2)
        self.assertEqual(
            self.broker.consumers("quebert.rate.queue.spare"), [one.wire.channels[-1]]
        )

    def test_connection_lost(self) -> None:
        """
        Without a connection it does not look, and says nothing.
        """
        (one,) = self.mediators(1)
        one.most = 0
        self.pass_time(3)
        one.wire.lose()
        with self.lines() as lines:
            self.pass_time(10)
        self.assertEqual((lines, self.clock.getDelayedCalls()), ([], []))

    def test_acknowledges(self) -> None:
        """
        What it is told it acknowledges.
        """
        (one,) = self.mediators(1)
        one.wire.channels[0].on_message(self.message(b"5"))
        self.assertEqual(one.wire.channels[0].acked, 1)
        self.assertEqual(one.pace.got, 5.0)
        self.leave_all()
        one.wire.channels[0].on_message(self.message(b"5"))
        self.assertEqual(one.wire.channels[0].acked, 1)

    def leave_all(self) -> None:
        """
        All leave.
        """
        for each in self.all:
            self.successResultOf(Deferred.fromCoroutine(each.share.leave()))

    def test_nonsense(self) -> None:
        """
        What is no number of tokens is none, and what is too many neither.
        """
        one, _ = self.mediators(2)
        self.pass_time(5)
        for body in (b"", b"x", b"nan", b"-5", b"1e9", b"inf"):
            one.wire.channels[0].on_message(self.message(body))
        self.assertEqual(one.pace.got, 0)

    def message(self, body: bytes) -> DeliveredMessage:
        """
        What another might have said.
        """
        message = DeliveredMessage("", 1, False, "", "")
        message.body = body
        return message

    def test_refused(self) -> None:
        """
        A broker that refuses the queue, or to let us consume from it, is told of; no
        channel is left open, and no timer is left.
        """
        for method in ("queue_declare", "basic_consume"):
            mediator = Mediator(self.clock, self.broker, 100, None)
            self.broker.refuses = {method: BrokerRefused(403, "access refused")}
            self.failureResultOf(mediator.join(), BrokerRefused)
            self.assertEqual(self.broker.channels, [])
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused_later(self) -> None:
        """
        While the broker does not answer the share stays as it was.
        """
        one, _ = self.mediators(2)
        self.pass_time(2)
        self.broker.refuses["queue_declare"] = ChannelLost("something")
        since = self.pass_time(10)
        self.assert_rate(since)
        self.assertEqual(one.pace.members, 2)
        self.broker.refuses.clear()
        one.wire.lose()
        self.pass_time(3)
        self.assertEqual(self.all[1].pace.members, 1)

    def test_node_is_down(self) -> None:
        """
        One that knew its share keeps it with another connection, while the node that
        has the queue is down; one that did not cannot join.
        """
        one, two = self.mediators(2)
        self.pass_time(2)
        down = BrokerRefused(404, "NOT_FOUND - home node 'a' of durable queue is down")
        self.broker.refuses["queue_declare"] = down
        for each in (one, two):
            each.wire.lose()
            each.wire = FakeWire(self.broker)
            self.successResultOf(each.join())
        since = self.pass_time(10)
        self.assert_rate(since)
        new = Mediator(self.clock, self.broker, 100, None)
        self.failureResultOf(new.join(), BrokerRefused)
        self.broker.refuses.clear()
        self.pass_time(2)
        self.assertEqual([each.pace.members for each in self.all], [2, 2])
        self.assertEqual(len(self.broker.channels), 2)

    def test_no_leader(self) -> None:
        """
        A quorum queue without a leader seems to have no consumers: one that knew its
        share keeps it, one that did not cannot join.
        """
        one, _ = self.mediators(2)
        self.pass_time(2)
        self.broker.hides = True
        since = self.pass_time(10)
        self.assert_rate(since)
        self.assertEqual(one.pace.members, 2)
        new = Mediator(self.clock, self.broker, 100, None)
        self.failureResultOf(new.join(), BrokerError)

    def test_quorum(self) -> None:
        """
        Beside a quorum queue there are quorum queues, whose names say so: a queue
        cannot change its type.
        """
        publisher: Any = FakePublisher(self.broker)
        pace = Pace(Rate(100), None, lambda: self.clock)
        share = SharedRate("queue", pace, publisher, lambda: self.clock, quorum=True)
        wire: Any = FakeWire(self.broker)
        self.successResultOf(Deferred.fromCoroutine(share.join(wire)))
        self.assertEqual(
            {
                name: declared["arguments"]["x-queue-type"]
                for name, declared in self.broker.queues.items()
            },
            {
                "quebert.rate.queue.quorum": "quorum",
                "quebert.rate.queue.spare.quorum": "quorum",
            },
        )
        self.successResultOf(Deferred.fromCoroutine(share.leave()))

    def test_queue_deleted(self) -> None:
        """
        Where somebody deletes the queues, they are there again a second later, and
        nobody exceeds its share meanwhile.
        """
        self.mediators(4)
        self.pass_time(2)
        since = self.clock.seconds()
        for each in self.all:
            each.wire.channels[0].on_cancel("tag")
        self.assertEqual(self.broker.channels, [])
        for _ in range(20):
            self.pass_time(0.1)
            self.assertEqual({each.pace.members for each in self.all}, {4})
        self.assert_rate(since)
        self.assertEqual([len(each.wire.channels) for each in self.all], [2] * 4)

    def test_one_loses_its_channel(self) -> None:
        """
        A member that comes back a moment later is not missed.
        """
        first, *_ = self.mediators(3)
        self.pass_time(2)
        since = self.clock.seconds()
        first.wire.channels[0].on_cancel("tag")
        for _ in range(30):
            self.pass_time(0.1)
            self.assertEqual({each.pace.members for each in self.all}, {3})
        self.assert_rate(since)

    def test_one_leaves_and_one_blinks(self) -> None:
        """
        Just after it has believed that one has left, the next one is not believed to
        have left at once, either.
        """
        one, two, three = self.mediators(3)
        self.pass_time(6)
        three.wire.lose()
        while one.pace.members == 3:
            self.clock.advance(0.01)
        two.wire.lose()
        self.clock.advance(1)
        self.assertEqual(one.pace.members, 2)
        self.clock.advance(1)
        self.assertEqual(one.pace.members, 1)

    def test_all_reconnect(self) -> None:
        """
        After a restart of the broker, when each comes back after another time, they
        keep to the rate together; those that do not come back are missed in the end.
        """
        self.mediators(5)
        self.pass_time(2)
        for each in self.all:
            each.wire.lose()
        since = self.clock.seconds()
        for each in self.all[1:]:
            each.wire = FakeWire(self.broker)
            self.successResultOf(each.join())
            self.pass_time(1)
            self.assertEqual(each.pace.members, 5)
        self.assertLess(self.rate(since), 100)
        self.pass_time(7)
        self.assert_rate(self.pass_time(20))
        self.assertEqual([each.pace.members for each in self.all[1:]], [4] * 4)

    def test_join_again(self) -> None:
        """
        With another connection it counts once; with the same one, too.
        """
        one, two = self.mediators(2)
        self.pass_time(2)
        one.wire.lose()
        one.wire = FakeWire(self.broker)
        self.successResultOf(one.join())
        self.successResultOf(one.join())
        self.assertEqual(one.pace.members, 2)
        self.pass_time(3)
        self.assertEqual([one.pace.members, two.pace.members], [2, 2])

    def test_leave(self) -> None:
        """
        One that leaves is not counted any more, and does nothing.
        """
        one, two = self.mediators(2)
        self.pass_time(2)
        for each in (one, two):
            self.successResultOf(Deferred.fromCoroutine(each.share.leave()))
            self.successResultOf(Deferred.fromCoroutine(each.pace.leave()))
        self.assertEqual(self.broker.channels, [])
        self.assertEqual((one.publisher.shuts, two.publisher.shuts), (1, 1))
        for call in self.clock.getDelayedCalls():
            self.assertNotIn("SharedRate", str(call))

    def test_leave_before_joining(self) -> None:
        """
        One that has not joined may leave.
        """
        mediator = Mediator(self.clock, self.broker, 100, None)
        self.successResultOf(Deferred.fromCoroutine(mediator.share.leave()))
        self.assertEqual(mediator.publisher.shuts, 1)

    def test_join_after_leaving(self) -> None:
        """
        One that has left opens no channel to join again.
        """
        one, _ = self.mediators(2)
        self.successResultOf(Deferred.fromCoroutine(one.share.leave()))
        one.wire = FakeWire(self.broker)
        self.failureResultOf(one.join(), ChannelLost)
        self.assertEqual(one.wire.opened, 0)

    def test_leave_while_joining(self) -> None:
        """
        One that leaves while it is about to join, or to join again, is not counted.
        """
        one, two = self.mediators(2)
        opening: Deferred[None] = Deferred()
        open_channel = two.wire.open_channel

        async def open_slowly(*, confirms: bool = True) -> FakeChannel:
            await opening
            return await open_channel(confirms=confirms)

        self.patch(two.wire, "open_channel", open_slowly)
        [channel] = two.wire.channels
        self.successResultOf(Deferred.fromCoroutine(channel.shut()))
        joining = two.join()
        self.broker.queues.clear()
        self.successResultOf(Deferred.fromCoroutine(two.share.leave()))
        opening.callback(None)
        self.failureResultOf(joining, ChannelLost)
        self.assertEqual(self.broker.queues, {})  # nothing was declared
        self.failureResultOf(two.join(), ChannelLost)
        self.assertEqual(self.broker.consumers("quebert.rate.queue"), one.wire.channels)

    def test_leave_while_consuming(self) -> None:
        """
        One that leaves when it is about to consume, to be counted, is not counted.
        """
        one, two = self.mediators(2)
        consuming: Deferred[None] = Deferred()
        call = FakeChannel.call

        async def call_slowly(
            channel: FakeChannel, method: str, **arguments: Any
        ) -> Any:
            answer = await call(channel, method, **arguments)
            if method == "basic_consume":
                await consuming
            return answer

        [channel] = two.wire.channels
        self.successResultOf(Deferred.fromCoroutine(channel.shut()))
        self.patch(FakeChannel, "call", call_slowly)
        joining = two.join()
        self.successResultOf(Deferred.fromCoroutine(two.share.leave()))
        consuming.callback(None)
        self.failureResultOf(joining, ChannelLost)
        self.assertEqual(self.broker.consumers("quebert.rate.queue"), one.wire.channels)

    def test_names(self) -> None:
        """
        Each queue has helper queues of its own, which go when nobody needs them; a
        name that is too long is told by its hash.
        """
        publisher: Any = FakePublisher(self.broker)
        for name in ("queue", "q" * 255, "é" * 127):
            share = SharedRate(
                name, self.mediator_pace(), publisher, lambda: self.clock
            )
            wire: Any = FakeWire(self.broker)
            self.successResultOf(Deferred.fromCoroutine(share.join(wire)))
        names = list(self.broker.queues)
        self.assertEqual(names[:2], ["quebert.rate.queue", "quebert.rate.queue.spare"])
        self.assertEqual(len(set(names)), 6)
        for name, arguments in self.broker.queues.items():
            self.assertLessEqual(len(name.encode()), 255)
            self.assertTrue(arguments["durable"])
            self.assertEqual(arguments["arguments"]["x-expires"], 600_000)

    def mediator_pace(self) -> Pace:
        """
        A pace.
        """
        return Pace(Rate(1), None, lambda: self.clock)
