"""
Tests for L{quebert.amqp.delays._rungs_in_use}.
"""

from __future__ import annotations

from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.delays._rungs import WAITS, Rungs
from quebert.amqp.delays._rungs_in_use import CHECK, RungsInUse
from quebert.errors import BrokerRefused, ChannelLost
from quebert.test.doubles import FakeWire


class OneChannel:
    """
    A channel of a L{ClosingWire}.
    """

    def __init__(self, wire: ClosingWire) -> None:
        self.client = wire
        self._refusal: BrokerRefused | None = None

    async def call(self, method: str, **arguments: Any) -> Any:
        """
        Call a method.
        """
        queue = arguments.get("queue")
        if method == "basic_consume" and queue in self.client.refused_consumers:
            self._refusal = self.client.refused_consumers[queue]
            self.client.tries += 1
        called = self._do(self.client.call(method, **arguments))
        if method == "basic_consume" and queue in self.client.hanging:
            await self.client.hanging.pop(queue)
        return await called

    async def get(self, queue: str) -> Any:
        """
        The first message.
        """
        return await self._do(self.client.get(queue))

    async def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            if self._refusal is not None:
                raise self._refusal
            return await work
        except BrokerRefused as e:
            self._refusal = e
            raise
        finally:
            work.close()

    async def shut(self) -> None:
        """
        It is not needed any more.
        """
        self.client.shuts += 1


class ClosingWire(FakeWire):
    """
    A connection each of whose channels ends with the first refusal.

    @ivar refused_gets: names, and why the broker gives no message from there.
    @ivar refused_consumers: the same of those that may not be consumed from.
    @ivar tries: how often that was tried.
    @ivar hanging: the same of which one waits.
    @ivar expired: names of queues whose messages have just expired.
    @ivar slow: seconds that a C{basic.get} takes.
    @ivar shuts: how many channels were shut.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refused_gets: dict[str, BrokerRefused] = {}
        self.refused_consumers: dict[str, BrokerRefused] = {}
        self.hanging: dict[str, Deferred[None]] = {}
        self.tries = 0
        self.expired: set[str] = set()
        self.slow = 0.0
        self.shuts = 0

    async def open_channel(self, *, confirms: bool) -> Any:
        """
        A channel.
        """
        assert not confirms
        await super().open_channel(confirms=confirms)
        return OneChannel(self)

    async def get(self, queue: str) -> Any:
        """
        The first message.
        """
        got = await super().get(queue)
        self.clock.advance(self.slow)
        if queue in self.refused_gets:
            raise self.refused_gets[queue]
        return None if queue in self.expired else got


class Spare:
    """
    A spare connection of which a test sees the same as of the other one.
    """

    async def instead_of(self, wire: ClosingWire) -> ClosingWire:
        """
        Another connection with the same queues.
        """
        spare = ClosingWire()
        spare.__dict__ = wire.__dict__
        return spare


DENIED = BrokerRefused(403, "ACCESS_REFUSED")


class RungsInUseTests(SynchronousTestCase):
    """
    Keeping rungs in use.
    """

    quorum = False

    def setUp(self) -> None:
        """
        The rungs of 1 to 9 s are there.
        """
        self.wire: Any = ClosingWire()
        self.clock = self.wire.clock
        self.made: list[str] = []

        async def make(wire: Any, wait: str) -> None:
            assert wire is self.wire
            self.made.append(wait)
            self.wire.there.add(self.name(int(wait)))

        self.rungs = Rungs(quorum=self.quorum)
        spare: Any = Spare()
        self.in_use = RungsInUse(lambda wire: self.rungs, make, spare)
        self.wire.there |= {self.name(wait) for wait in range(1, 10)}
        for _ in range(3):  # after the survey, nothing is overdue
            self.use_all()
        self.wire.calls.clear()

    def name(self, wait: int) -> str:
        """
        The name of a rung.
        """
        return self.rungs.name(wait)

    def use_all(self) -> list[str]:
        """
        Use them all; those that were used.
        """
        self.wire.calls.clear()
        now = self.clock.seconds()
        using = Deferred.fromCoroutine(self.in_use.use_all(self.wire, now))
        self.successResultOf(using)
        return [name for _, name in self.wire.calls if name is not None]

    def publish(self, *waits: int) -> None:
        """
        A message is published to each of these.
        """
        for wait in waits:
            self.in_use.published(self.wire, wait)

    def test_for_how_long(self) -> None:
        """
        A rung is used for its wait, and four hundred seconds more.
        """
        self.publish(5)
        self.use_all()
        self.clock.advance(405)
        self.assertIn(self.name(5), self.use_all())
        self.assertFalse(self.in_use.is_idle(self.wire, 5))
        self.clock.advance(0.25)
        self.use_all()  # it has to pass on what it has, at last
        self.assertEqual(self.wire.made("queue_declare"), [])
        self.clock.advance(1)
        self.assertEqual(self.use_all(), [])

    def test_messages_left(self) -> None:
        """
        One in which messages are left is used for as long again.
        """
        self.publish(5)
        self.wire.counts[self.name(5)] = 1
        for _ in range(5):
            self.clock.advance(400)
            self.assertIn(self.name(5), self.use_all())
            self.assertFalse(self.in_use.is_idle(self.wire, 5))
        self.wire.counts.clear()
        self.clock.advance(406)
        self.use_all()
        self.assertEqual(self.use_all(), [])

    def test_idle(self) -> None:
        """
        It is idle three seconds after RabbitMQ has seen it used last, and before the
        first time.
        """
        self.assertTrue(self.in_use.is_idle(self.wire, 5))
        self.successResultOf(Deferred.fromCoroutine(self.in_use.use(self.wire, 5)))
        for seconds, is_idle in ((0.0, False), (3.0, False), (0.25, True)):
            self.clock.advance(seconds)
            self.assertEqual(self.in_use.is_idle(self.wire, 5), is_idle)
        self.in_use.declared(self.wire, 5, 0)
        self.assertEqual(self.in_use.is_idle(self.wire, 5), self.quorum)
        self.publish(5)
        self.assertEqual(self.in_use.is_idle(self.wire, 5), self.quorum)

    def test_survey(self) -> None:
        """
        Rungs that others have filled are looked for every thirty seconds, and at once
        over another connection.
        """
        self.clock.advance(29.75)
        self.assertEqual(self.use_all(), [])
        self.clock.advance(0.25)
        self.assertEqual(len(self.use_all()), len(WAITS))
        self.wire.counts[self.name(7)] = 1
        self.clock.advance(29.75)
        self.assertEqual(self.use_all(), [])
        self.wire = ClosingWire()
        self.wire.clock = self.clock
        self.assertEqual(len(self.use_all()), len(WAITS))

    def test_survey_takes_few_channels(self) -> None:
        """
        A survey looks at eight at a time, each on a channel of its own.
        """
        self.clock.advance(30)
        self.wire.opens = False
        before = len(self.wire.opening)
        using = self.in_use.use_all(self.wire, self.clock.seconds())
        surveying = Deferred.fromCoroutine(using)
        self.assertEqual(len(self.wire.opening) - before, 8)
        self.wire.open()
        self.successResultOf(surveying)
        self.assertEqual(len(self.wire.opening) - before, len(WAITS))

    def test_survey_of_those_not_used(self) -> None:
        """
        Those that are used are known already; one that may not be seen hides no other.
        """
        self.publish(5)
        self.wire.counts[self.name(7)] = self.wire.counts[self.name(3)] = 1
        self.wire.refused[self.name(3)] = DENIED
        self.clock.advance(30)
        self.assertEqual(self.use_all().count(self.name(5)), 1 + self.quorum)
        self.clock.advance(CHECK)
        self.assertEqual(set(self.use_all()), {self.name(5), self.name(7)})

    def test_survey_is_of_now(self) -> None:
        """
        What was found in a survey is used from then on for as long as any.
        """
        self.wire.counts[self.name(7)] = 1
        self.clock.advance(30)
        self.use_all()
        self.wire.counts.clear()
        self.clock.advance(400)
        self.assertIn(self.name(7), self.use_all())

    def test_deleted(self) -> None:
        """
        The log tells how many messages were in a rung that was deleted, and when; once.
        """
        for depth, wanted in ((3, 1), (0, 0)):
            self.in_use.declared(self.wire, 5, depth)
            self.clock.advance(8)
            with capturedLogs() as logged:
                for _ in range(2):
                    self.in_use.is_missing(self.wire, self.name(5))
                self.in_use.is_missing(self.wire, "another")
            lines = [str(formatEvent(event)) for event in logged]
            self.assertEqual(len(lines), wanted)
            for line in lines:
                self.assertIn(self.name(5), line)
                self.assertIn("3 tasks waited there 8 s ago", line)

    def test_depth_at_a_use(self) -> None:
        """
        How many messages there are is noted whenever a rung is used.
        """
        self.wire.counts[self.name(5)] = 4
        self.publish(5)
        self.use_all()
        self.clock.advance(2)
        with capturedLogs() as logged:
            self.in_use.is_missing(self.wire, self.name(5))
        self.assertIn("4 tasks waited there 2 s ago", str(formatEvent(logged[0])))

    def test_made_anew(self) -> None:
        """
        Rungs that are missing are made anew, and all others are used.
        """
        self.wire.there -= {self.name(2), self.name(4), self.name(9)}
        self.publish(*range(1, 10))
        used = self.use_all()
        self.assertEqual(self.made, ["2", "4", "9"])
        self.assertLessEqual({self.name(wait) for wait in range(1, 10)}, set(used))

    def test_eight_at_once(self) -> None:
        """
        Rungs are used eight at a time, on a channel for each eight.
        """
        self.publish(*range(1, 10))
        before, shut = len(self.wire.opening), self.wire.shuts
        self.use_all()
        self.assertEqual(len(self.wire.opening) - before, 2)
        self.assertEqual(self.wire.shuts - shut, 2)

    def test_one_refused(self) -> None:
        """
        One that may not be used is tried once, is told to those who want to know all,
        and keeps no other from being used.
        """
        self.wire.refused = {self.name(2): DENIED, self.name(9): DENIED}
        self.publish(*range(1, 10))
        with capturedLogs() as logged:
            self.use_all()
        used = [name for name, when in self.in_use._depths.items()]
        self.assertEqual(len(used), 7)
        told = [str(formatEvent(event)) for event in logged]
        self.assertTrue(all("cannot be used: " in each for each in told))
        self.assertTrue(told)
        for wait in (2, 9):
            self.assertTrue(self.in_use.is_idle(self.wire, wait))
            tries = self.wire.made("queue_declare").count(self.name(wait))
            self.assertLessEqual(tries, 2)

    def test_use_refused(self) -> None:
        """
        Who is about to publish to a rung that may not be used is told why, each time.
        """
        self.wire.refused[self.name(2)] = DENIED
        for _ in range(2):
            using = Deferred.fromCoroutine(self.in_use.use(self.wire, 2))
            self.assertIs(self.failureResultOf(using).value, DENIED)
        self.wire.refused.clear()
        for number in range(1, 3):
            self.wire.calls.clear()
            using = Deferred.fromCoroutine(self.in_use.use(self.wire, 2))
            self.successResultOf(using)
            self.assertEqual(len(self.wire.calls), 1 + self.quorum, number)

    def test_connection_lost(self) -> None:
        self.publish(5)
        self.wire.closed = True
        using = Deferred.fromCoroutine(
            self.in_use.use_all(self.wire, self.clock.seconds())
        )
        self.failureResultOf(using, ChannelLost)


class QuorumRungsInUseTests(RungsInUseTests):
    """
    Keeping rungs of quorum queues in use.
    """

    quorum = True

    def test_gets(self) -> None:
        """
        RabbitMQ sees that a quorum queue is in use when it is asked for a message.
        """
        self.publish(5, 6)
        self.use_all()
        self.assertEqual(self.wire.made("basic_get"), [self.name(5), self.name(6)])

    def test_get_refused(self) -> None:
        """
        Where a message may not be fetched, all other rungs are used.
        """
        self.wire.refused_gets[self.name(1)] = DENIED
        self.publish(*range(1, 10))
        self.use_all()
        used = set(self.wire.made("basic_get"))
        self.assertEqual(used, {self.name(wait) for wait in range(1, 10)})

    def passed_on(self) -> list[str]:
        """
        Use all; the rungs that had to pass messages on.
        """
        self.use_all()
        made: list[str] = self.wire.made("basic_consume")
        return made

    def test_expired(self) -> None:
        """
        Where messages were counted, and none is given, RabbitMQ is made to pass them
        on: a consumer begins, on a channel that is shut.
        """
        name = self.name(5)
        self.wire.counts[name] = 1
        self.publish(5)
        self.assertEqual(self.passed_on(), [])
        self.wire.expired.add(name)
        shuts = self.wire.shuts
        self.assertEqual(self.passed_on(), [name])
        self.assertEqual(self.wire.shuts, shuts + 2)
        self.wire.counts.clear()
        self.assertEqual(self.passed_on(), [])

    def test_expired_and_refused(self) -> None:
        """
        Where that is refused, all else goes on.  Where RabbitMQ fails at it, it is
        asked again after a pause that grows.
        """
        name = self.name(5)
        self.wire.counts[name] = 1
        self.wire.expired.add(name)
        self.publish(5)
        self.wire.refused_consumers[name] = DENIED
        self.use_all()
        self.assertFalse(self.in_use.is_idle(self.wire, 5))
        self.wire.counts.clear()
        self.wire.expired.clear()
        self.wire.refused_consumers.clear()
        self.assertEqual(self.passed_on(), [])  # once was enough
        self.wire.refused_consumers[name] = BrokerRefused(541, "INTERNAL_ERROR")
        self.wire.tries = 0
        self.wire.counts[name] = 1
        self.wire.expired.add(name)
        for times in range(1, 4):
            self.use_all()
            self.clock.advance(1.5**times / 2 - 0.01)
            self.use_all()
            self.assertEqual(self.wire.tries, times)
            self.clock.advance(1.5**times / 2 + 0.02)
        self.wire.refused_consumers.clear()
        self.assertEqual(self.passed_on(), [name])

    def test_expired_meanwhile(self) -> None:
        """
        The same where the answer comes so late that one may have come since the
        messages were counted, and have expired.
        """
        self.publish(5)
        for slow, count in ((2.5, 0), (2.75, 1)):
            self.wire.slow = slow
            self.assertEqual(len(self.passed_on()), count)

    def test_expired_elsewhere(self) -> None:
        """
        Another client may have asked for a message at that moment: after each survey, a
        rung in use has to pass on what it has, counted or not.
        """
        self.publish(5)
        counts = []
        for _ in range(9):
            counts.append(len(self.passed_on()))
            self.clock.advance(10)
        self.assertEqual(counts, [0, 0, 0, 0, 1, 0, 0, 1, 0])

    def test_expired_before(self) -> None:
        """
        Another client may have ended then: over a new connection, all rungs have to do
        that, once.
        """
        self.wire = ClosingWire()
        self.wire.clock = self.clock
        self.wire.there |= {self.name(wait) for wait in (*range(1, 10), 64)}
        self.use_all()
        names = [self.passed_on() for _ in range(3)]
        self.assertEqual([len(each) for each in names], [10, 0, 0])
        self.assertEqual({*names[0]}, self.wire.there)

    def test_expired_without_a_spare_connection(self) -> None:
        """
        Over the connection that consumes, only rungs in use have to: RabbitMQ may fail
        at a rung that nobody uses, and closes the connection then.
        """
        self.in_use = RungsInUse(lambda wire: self.rungs, cast(Any, None), None)
        self.wire = ClosingWire()
        self.wire.clock = self.clock
        self.wire.there |= {self.name(wait) for wait in range(1, 10)}
        self.use_all()
        self.publish(5)
        self.assertEqual(self.passed_on(), [self.name(5)])

    def test_expired_and_told(self) -> None:
        """
        Those who want to know all are told why RabbitMQ could not pass on what a rung
        has.
        """
        name = self.name(5)
        self.wire.counts[name] = 1
        self.wire.expired.add(name)
        self.wire.refused_consumers[name] = BrokerRefused(541, "INTERNAL_ERROR")
        self.publish(5)
        with capturedLogs() as logged:
            self.use_all()
        (event,) = logged
        self.assertIs(event["log_level"], LogLevel.debug)
        self.assertIn("cannot be used: INTERNAL_ERROR", str(formatEvent(event)))

    def test_one_hangs(self) -> None:
        """
        A rung at which RabbitMQ hangs holds up no other.
        """
        hanging: Deferred[None] = Deferred()
        self.wire.hanging[self.name(3)] = hanging
        for wait in (3, 5):
            self.wire.counts[self.name(wait)] = 1
            self.wire.expired.add(self.name(wait))
        self.publish(3)
        self.assertEqual(self.passed_on(), [])
        self.publish(5)
        self.assertEqual(self.passed_on(), [self.name(5)])
        hanging.callback(None)
        self.assertIn(self.name(3), self.wire.made("basic_consume"))

    def use(self) -> list[str]:
        """
        Use the rung of 5 s, which may be refused; the rungs of which a message was
        asked for.
        """
        self.wire.calls.clear()
        using = Deferred.fromCoroutine(self.in_use.use(self.wire, 5))
        using.addErrback(lambda failure: failure.trap(BrokerRefused))
        self.successResultOf(using)
        gets: list[str] = self.wire.made("basic_get")
        return gets

    def test_rabbitmq_fails(self) -> None:
        """
        A rung at which RabbitMQ fails is asked for a message again after a pause, which
        grows each time until all is well; it counts as in use meanwhile.
        """
        name = self.name(5)
        for _ in range(2):
            self.wire.refused_gets[name] = BrokerRefused(541, "INTERNAL_ERROR")
            for times in range(1, 5):
                self.assertEqual(self.use(), [name])
                self.assertTrue(self.in_use.is_idle(self.wire, 5))
                self.clock.advance(1.5**times / 2 - 0.01)
                self.assertEqual(self.use(), [])
                self.assertFalse(self.in_use.is_idle(self.wire, 5))
                self.clock.advance(1.5**times / 2 + 0.02)
                if times < 4:
                    self.clock.advance(2 * CHECK)
            self.wire.refused_gets.clear()
            self.assertEqual(self.use(), [name])
            self.clock.advance(2 * CHECK + 1)

    def test_refusals_begin_no_pause(self) -> None:
        self.wire.refused_gets[self.name(5)] = DENIED
        for _ in range(2):
            self.assertEqual(self.use(), [self.name(5)])

    def test_over_the_spare_connection(self) -> None:
        """
        They are used over the spare connection, since RabbitMQ may close it for a
        failure at one; classic queues are not.
        """
        spare = ClosingWire()
        spare.clock = self.clock
        spare.there |= self.wire.there

        class Spare:
            async def instead_of(self, wire: Any) -> ClosingWire:
                return spare

        given: Any = Spare()
        for quorum in (True, False):
            self.rungs = Rungs(quorum=quorum)
            self.wire.there.add(self.name(5))
            in_use = RungsInUse(lambda wire: self.rungs, cast(Any, None), given)
            in_use.published(self.wire, 5)
            for act in (
                in_use.use(self.wire, 5),
                in_use.use_all(self.wire, self.clock.seconds()),
            ):
                spare.calls.clear()
                self.successResultOf(Deferred.fromCoroutine(act))
                self.assertEqual(self.name(5) in spare.made("basic_get"), quorum)
                self.assertEqual(spare.calls != [], quorum)

    def test_no_spare_connection_for_nothing(self) -> None:
        """
        Where no rung is there, no spare connection is made.
        """
        given: Any = SimpleNamespace(instead_of=self.fail)
        self.in_use = RungsInUse(lambda wire: self.rungs, cast(Any, None), given)
        self.wire.there.clear()
        for _ in range(2):
            self.use_all()
