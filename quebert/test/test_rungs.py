"""
Tests for L{quebert.amqp.delays._rungs}: without a reactor, against the embedded
broker's own clock.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.properties import encode_properties
from quebert._repeated import QUIET
from quebert.amqp.delays._ladder import CHECK_ENDS, Ladder
from quebert.amqp.delays._refusals import LadderRefused
from quebert.amqp.delays._rungs import (
    ARRIVALS,
    FIRST_WAITS,
    UNCLAIMED,
    WAITS,
    Rungs,
    arrivals_of,
    due_in,
    next_wait,
    seconds_left,
    wait_for,
    wait_of,
)
from quebert.amqp.delays._rungs_in_use import CHECK, CHECK_ALL, RungsInUse
from quebert.amqp.queues._new_queues import NEW, NewQueues
from quebert.amqp.wire import DELAY, NOT_BEFORE, Call, Message
from quebert.broker import BrokerFactory
from quebert.errors import BrokerError, BrokerRefused, ChannelLost
from quebert.test.broker.peer import Peer
from quebert.test.checks import QUICK

pytestmark = pytest.mark.new_queues

YEAR = 365 * 24 * 3600
LONGEST = 10.0**9


def make(peer: Peer, *calls: Call) -> None:
    """
    Make what a ladder consists of.
    """
    for method, arguments in calls:
        answer = peer.call(method.replace("_", "."), **arguments)
        assert answer is not None
        assert answer.name.endswith("-ok"), answer


class WaitTests(SynchronousTestCase):
    """
    How long a message waits next.
    """

    @QUICK
    @given(st.one_of(st.floats(0, 100), st.floats(0, LONGEST)))
    def test_next(self, seconds: float) -> None:
        """
        It waits until it is due, rounded up to seconds; or else as long as it may, and
        for more than half of the time, up to the longest wait.
        """
        wait = wait_for(seconds)
        self.assertIn(wait, WAITS)
        if seconds <= 64:
            self.assertEqual(wait, max(1, math.ceil(seconds)))
        else:
            self.assertLessEqual(wait, seconds)
            self.assertTrue(2 * wait > seconds or wait == WAITS[-1])

    @QUICK
    @given(st.floats(0, YEAR))
    def test_all(self, seconds: float) -> None:
        """
        One wait after the other ends when it is due, and not a second later; there are
        few of them.
        """
        waits, left = [], seconds
        while left > 0:
            waits.append(wait_for(left))
            left -= waits[-1]
        self.assertGreaterEqual(left, -1.0)
        self.assertLessEqual(len(waits), 12 + seconds / WAITS[-1])

    def test_long_names(self) -> None:
        """
        There is room for the longest name of a queue.
        """
        for name in ("q" * 255, "ü" * 127):
            self.assertLessEqual(len(arrivals_of(name).encode()), 255)

    def test_each(self) -> None:
        """
        There is a wait for each second up to 64, and one for each doubling after that;
        only the latter end early, after which another wait follows.
        """
        for seconds, wait in (
            (-3.0, 1),
            (0.0, 1),
            (1.0, 1),
            (1.01, 2),
            (62.5, 63),
            (63.5, 64),
            (64.5, 64),
            (127.9, 64),
            (128.0, 128),
            (300.0, 256),
            (65_535.0, 32_768),
            (1e9, 65_536),
        ):
            self.assertEqual(wait_for(seconds), wait, seconds)
        self.assertEqual(len(WAITS), 63 + 11)
        self.assertEqual(FIRST_WAITS, (1, 2, 4, 8, 16, 32, 64))

    def test_wait_of(self) -> None:
        for queue, wait in (
            ("quebert.delay.wait.5s", 5),
            ("quebert.delay.quorum.wait.65536s", 65_536),
            ("quebert.delay.wait.999999999s", 999_999_999),
            ("quebert.delay.wait.1000000000s", 0),
            ("quebert.delay.arrivals.wait.5s", 0),
            ("quebert.delay.wait.5", 0),
            ("", 0),
        ):
            self.assertEqual(wait_of(queue), wait, queue)


HOUR, DAY = 3600.0, 86400.0


class LeftTests(SynchronousTestCase):
    """
    In how many seconds a message is due that comes from a rung.
    """

    def check(self, wanted: float, **how: float) -> None:
        """
        A message began to wait 10 s ago, when it was due in C{delay} seconds, in a rung
        of C{wait} seconds; since then the clock was set.
        """
        told = {"delay": 10.0, "wait": 10.0, "since": 10.0, "was_set": 0.0, **how}
        began, known = 1e9, told.get("known", told["was_set"])
        now = began + told["since"] + told["was_set"]
        left = seconds_left(
            began + told["delay"], told["delay"], told["wait"], now, known
        )
        self.assertAlmostEqual(left, wanted, 5)

    def test_in_time(self) -> None:
        """
        It is due, or has the rest to wait.
        """
        self.check(0.0)
        self.check(-0.5, wait=11, since=10.5)
        self.check(36.0, delay=100, wait=64, since=64)

    def test_shortened(self) -> None:
        """
        A policy has shortened its wait, or RabbitMQ was down.
        """
        self.check(9.0, since=1)
        self.check(99.0, delay=100, wait=64, since=1)
        self.check(-90.0, since=100)
        self.check(10.0, delay=100, wait=64, since=90)

    def test_clock_set(self) -> None:
        """
        The clock was set, as is known, while it waited or before.
        """
        for was_set in (-DAY, -HOUR, HOUR, DAY):
            self.check(0.0, was_set=was_set)
            self.check(36.0, delay=100, wait=64, since=64, was_set=was_set)
            self.check(9.0, since=1, was_set=was_set)
            self.check(9.0, since=1, was_set=0, known=was_set)

    def test_clock_set_unknown(self) -> None:
        """
        The clock was set back, in another process or before this one began.
        """
        for was_set in (-DAY, -HOUR):
            self.check(0.0, was_set=was_set, known=0)
            self.check(36.0, delay=100, wait=64, since=64, was_set=was_set, known=0)

    def test_no_rung(self) -> None:
        """
        Where nothing tells of its wait, the time of day decides.
        """
        self.check(9.0, since=1, delay=10, wait=0)

    def test_tolerance(self) -> None:
        """
        Of two times that differ from the wait by no more than a second, the earlier one
        is believed, and none that differs by more.
        """
        for clock, was_set, wanted in (
            (35.0, 0.0, 35.0),
            (34.9, 0.0, 34.9),
            (101.0, 0.0, 101.0),
            (102.0, 0.0, 36.0),
            (50.0, -10.0, 40.0),
            (50.0, 10.0, 50.0),
            (0.0, 35.0, 35.0),
            (0.0, 34.9, 36.0),
            (0.0, 101.0, 101.0),
            (0.0, 101.1, 36.0),
        ):
            left = seconds_left(clock, 100.0, 64.0, 0.0, was_set)
            self.assertEqual(left, wanted, (clock, was_set))

    def test_clock_of_rabbitmq(self) -> None:
        """
        Where RabbitMQ's clock has more left than ours, it is believed as far as that
        can be; otherwise ours is.
        """
        for clock, broker, wanted in (
            (-90.0, 20.0, 20.0),
            (-90.0, 36.0, 36.0),
            (-90.0, 38.0, 36.0),
            (-90.0, 38.1, -90.0),
            (-90.0, -90.0, -90.0),
            (-90.0, -100.0, -90.0),
            (200.0, 37.0, 36.0),
        ):
            due, now = 1e6, 1e6 - clock
            left = seconds_left(due, 100.0, 64.0, now, 0.0, due - broker)
            self.assertAlmostEqual(left, wanted, 5, (clock, broker))


class MessageLeftTests(SynchronousTestCase):
    """
    In how many seconds a message is due, by its headers, and how long it waits next.
    """

    def message(self, **told: Any) -> Message:
        """
        A message that is due at 1,000 s, and died in the rung of C{wait} seconds at
        C{died} by RabbitMQ's clock.
        """
        told = {"delay": 10.0, "wait": 10, "died": 1000, **told}
        queue = f"quebert.delay.wait.{told['wait']}s"
        death = {"queue": queue, "time": datetime.fromtimestamp(told["died"], UTC)}
        headers = {NOT_BEFORE: 1000.0, DELAY: told["delay"], "x-death": [death]}
        message = Message("", 1, False, "", "queue")
        message.encoded_properties = encode_properties({"headers": headers})
        return message

    def test_no_headers_of_ours(self) -> None:
        self.assertEqual(due_in(Message("", 1, False, "", "queue"), -5.0, 3.0), 0.0)

    def test_left(self) -> None:
        for now, clock_set, told, wanted in (
            (1000.0, 0.0, {}, 0.0),
            (1005.0, 0.0, {}, 0.0),
            (1000.0, 0.0, {"delay": 9.5}, 0.0),
            (999.5, 0.0, {}, 0.5),
            (991.0, 0.0, {}, 9.0),
            (1005.0, 5.0, {}, 0.0),
            (1100.0, 100.0, {"wait": 4}, 6.0),
            (1100.0, 0.0, {"wait": 4}, 0.0),
            (1100.0, 0.0, {"wait": 4, "died": 1100}, -100.0),
            (1100.0, 0.0, {"wait": 4, "died": 995}, 5.0),
            (1100.0, 0.0, {"delay": 0.0}, 0.0),
            (1100.0, 0.0, {"delay": -1.0}, 0.0),
            (990.0, 0.0, {"delay": 0.0}, 10.0),
        ):
            found = due_in(self.message(**told), now, clock_set)
            self.assertEqual(found, wanted, (now, clock_set, told))

    def test_next_wait(self) -> None:
        """
        A message of which only our clock says that it is due sooner waits for a second
        first, unless it comes from a shorter wait.
        """
        for now, seconds, told, wanted in (
            (990.0, 10.0, {}, 10.0),
            (991.0, 10.0, {}, 10.0),
            (991.1, 10.0, {}, 1.0),
            (995.0, 10.0, {"wait": 11}, 1.0),
            (995.0, 10.0, {"delay": 9.5}, 1.0),
            (995.0, 10.0, {"wait": 9}, 10.0),
            (995.0, 10.0, {"delay": 10.5}, 10.0),
        ):
            found = next_wait(self.message(**told), now, seconds)
            self.assertEqual(found, wanted, (now, seconds, told))


class RungsTests(SynchronousTestCase):
    """
    The calls that make the parts of a ladder.
    """

    def kinds(self) -> Iterator[tuple[Rungs, dict[str, Any], str, dict[str, Any]]]:
        """
        A ladder of each kind; the arguments of all its queues, the beginning of its
        rungs' names, and the arguments of those of its queues that pass messages on.
        """
        keeping = {"x-overflow": "reject-publish"}
        classic = {"x-queue-type": "classic", **keeping}
        yield Rungs(), classic, "quebert.delay.wait", {}
        quorum = {"x-queue-type": "quorum", "x-one": 1, **keeping}
        confirmed = {"x-dead-letter-strategy": "at-least-once"}
        rungs = Rungs(quorum=True, arguments={"x-one": 1}, ends={"x-two": 2})
        yield rungs, quorum, "quebert.delay.quorum.wait", confirmed

    def queue(self, name: str, arguments: dict[str, Any]) -> Call:
        """
        The declaration of a queue.
        """
        how = {"queue": name, "durable": True, "arguments": arguments}
        return "queue_declare", how

    def exchange(self, name: str, kind: str, **arguments: Any) -> Call:
        """
        The declaration of an exchange.
        """
        how = {"exchange": name, "exchange_type": kind, "durable": True}
        given = {name.replace("_", "-"): value for name, value in arguments.items()}
        return "exchange_declare", {**how, "arguments": given}

    def bind(self, queue: str, exchange: str, key: str) -> Call:
        """
        A binding.
        """
        how = {"queue": queue, "exchange": exchange, "routing_key": key}
        return "queue_bind", how

    def test_rung(self) -> None:
        """
        Its exchange routes all to its queue, which passes it on after the wait.
        """
        for rungs, keeping, prefix, confirmed in self.kinds():
            name = f"{prefix}.5s"
            self.assertEqual(rungs.name(5), name)
            onwards = {"x-message-ttl": 5000, "x-dead-letter-exchange": ARRIVALS}
            wanted = [
                self.exchange(name, "fanout"),
                self.queue(name, {**keeping, **confirmed, **onwards}),
                self.bind(name, name, ""),
            ]
            self.assertEqual(list(rungs.rung(5)), wanted)

    def test_ends(self) -> None:
        """
        What no queue is bound for is kept.
        """
        for rungs, keeping, _, confirmed in self.kinds():
            own = {"x-two": 2} if confirmed else {}
            wanted = [
                self.exchange(UNCLAIMED, "fanout"),
                self.exchange(ARRIVALS, "direct", alternate_exchange=UNCLAIMED),
                self.queue(UNCLAIMED, {**keeping, **own}),
                self.bind(UNCLAIMED, UNCLAIMED, ""),
            ]
            self.assertEqual(list(rungs.ends()), wanted)

    def test_arrivals(self) -> None:
        """
        What a policy removes there goes to the task queue, or where it is kept.
        """
        for rungs, keeping, _, confirmed in self.kinds():
            arguments = {**keeping, "x-dead-letter-exchange": UNCLAIMED}
            if confirmed:
                arguments |= {"x-two": 2, **confirmed, "x-dead-letter-exchange": ""}
                arguments |= {"x-dead-letter-routing-key": "queue"}
            name = "quebert.delay.arrivals.queue"
            wanted = [self.queue(name, arguments), self.bind(name, ARRIVALS, "queue")]
            self.assertEqual(list(rungs.arrivals("queue")), wanted)


class LadderTests(SynchronousTestCase):
    """
    What becomes of messages on a broker whose clock is the test's.
    """

    def setUp(self) -> None:
        """
        What all delays need, and two queues.
        """
        self.clock = Clock()
        self.broker = BrokerFactory(self.clock)
        self.peer = Peer(self.broker).open()
        self.rungs = Rungs()
        for _ in range(2):  # it does no harm to make it again
            make(self.peer, *self.rungs.ends())
            for queue in ("a.b", "x.a.b"):
                make(self.peer, *self.rungs.arrivals(queue))

    def send(self, queue: str, seconds: float, due: float | None = None) -> None:
        """
        Delay a message, which says when it is due.
        """
        due = self.broker._timers.now + seconds if due is None else due
        wait = wait_for(seconds)
        make(self.peer, *self.rungs.rung(wait))
        name = self.rungs.name(wait)
        self.peer.publish(queue, repr(due).encode(), exchange=name)

    def came(self, queue: str) -> list[tuple[float, float]]:
        """
        What has arrived for a queue: when it was due, and when it came.
        """
        found: list[tuple[float, float]] = []
        while True:
            got: Any = self.peer.call(
                "basic.get", queue=arrivals_of(queue), no_ack=True
            )
            if got.name == "basic.get-empty":
                return found
            last = got.properties["headers"]["x-death"][0]
            found.append((float(got.body), last["time"].timestamp()))

    def depths(self) -> dict[str, int]:
        """
        What holds any messages.
        """
        return {name: n for name, n in self.broker.depths().items() if n}

    def test_own_queue(self) -> None:
        """
        A message arrives for its own queue, and for no other.
        """
        self.send("a.b", 5)
        self.send("x.a.b", 7)
        self.broker.advance(4)
        self.assertEqual(self.came("a.b"), [])
        self.broker.advance(1)
        self.assertEqual(self.came("a.b"), [(5, 5)])
        self.broker.advance(2)
        self.assertEqual(self.came("a.b"), [])
        self.assertEqual(self.came("x.a.b"), [(7, 7)])

    def test_a_day(self) -> None:
        """
        Of delays up to a day none ends early, and none a second late.
        """
        chance = random.Random(1)
        came: list[tuple[float, float]] = []
        sent = 0
        while len(came) < 300:
            if sent < 300:
                self.send("a.b", 86_400 ** chance.random())
                sent += 1
            self.broker.advance(0.5 + chance.random() / 2)
            now = self.broker._timers.now
            for due, at in self.came("a.b"):
                if due > now:
                    self.send("a.b", due - now, due)
                else:
                    came.append((due, at))
        for due, at in came:
            # The time of a death is told in whole seconds, rounded down.
            self.assertGreater(at, due - 1)
            self.assertLessEqual(at, due + 2)

    def test_not_behind_others(self) -> None:
        """
        A short delay does not wait for a long one.
        """
        self.send("a.b", WAITS[-1])
        self.send("a.b", 1)
        self.broker.advance(1)
        self.assertEqual(len(self.came("a.b")), 1)
        self.broker.advance(WAITS[-1])
        self.assertEqual(self.came("a.b"), [(WAITS[-1], WAITS[-1])])

    def test_unclaimed(self) -> None:
        """
        A message whose queue is not known is kept where it can be found.
        """
        self.send("a.b", 1)
        self.peer.call("queue.delete", queue=arrivals_of("a.b"))
        self.broker.advance(1)
        self.assertEqual(self.depths(), {UNCLAIMED: 1})
        got: Any = self.peer.call("basic.get", queue=UNCLAIMED, no_ack=True)
        self.assertEqual(got["routing_key"], "a.b")


RABBITMQ = {"product": "RabbitMQ", "platform": "Erlang/OTP 25", "version": "4.3.6"}


class FakeWire:
    """
    A connection on which a channel may be had later.

    @ivar calls: the methods called, and on what.
    @ivar refused: names, and why the broker refuses calls about them.
    @ivar counts: how many messages there are in queues.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.opening: list[Deferred[None]] = []
        self.calls: list[tuple[str, Any]] = []
        self.refused: dict[str, BrokerRefused] = {}
        self.server_properties: dict[str, Any] = {}
        self.client = self  # it is its own channel, too
        self.there: set[str] = set()
        self.closed = False
        self.counts: dict[str, int] = {}
        self.opens = True

    async def open_channel(self, *, confirms: bool) -> FakeWire:
        """
        A channel: itself.
        """
        if self.closed:
            raise ChannelLost("gone")
        self.opening.append(Deferred())
        if self.opens:
            self.opening[-1].callback(None)
        await self.opening[-1]
        return self

    def open(self) -> None:
        """
        Open those that are wanted.
        """
        self.opens = True
        for each in self.opening:  # which may want others
            if not each.called:
                each.callback(None)

    async def call(self, method: str, **arguments: Any) -> Any:
        """
        Call a method.
        """
        name = arguments.get("queue") or arguments["exchange"]
        self.calls.append((method, name))
        if name in self.refused:
            raise self.refused[name]
        if arguments.get("passive") and name not in self.there:
            raise BrokerRefused(404, f"NOT_FOUND - no {name}")
        self.there.add(name)
        return Answer(self.counts.get(name, 0))

    async def get(self, queue: str) -> Any:
        """
        The first message, or none.
        """
        self.calls.append(("basic_get", queue))
        return Message("", 1, False, "", "") if self.counts.get(queue) else None

    def give_back(self, delivery_tag: int) -> None:
        """
        Put it at the end of the queue.
        """
        self.calls.append(("basic_nack", delivery_tag))

    def made(self, method: str) -> list[Any]:
        """
        What a method was called with.
        """
        return [name for each, name in self.calls if each == method]

    async def shut(self) -> None:
        """
        It is not needed any more.
        """


@attrs.frozen
class Answer:
    """
    An answer to C{queue.declare}.
    """

    message_count: int
    consumer_count: int = 0


class PrepareTests(SynchronousTestCase):
    """
    How the ladder is made when it is needed.
    """

    def setUp(self) -> None:
        """
        A ladder that is not there yet.
        """
        self.ladder = Ladder()
        self.wire: Any = FakeWire()

    def rung(self, seconds: float = 5, queue: str = "queue") -> Deferred[Any]:
        """
        Ask for a rung.
        """
        return Deferred.fromCoroutine(
            self.ladder.rung_for(self.wire, queue, lambda: seconds)
        )

    def test_few_calls(self) -> None:
        """
        The first delay takes forty calls, another of the same length none, one of
        another length four, and one of another queue three.
        """
        for seconds, queue, wanted in (
            (5, "queue", 40),
            (5, "queue", 40),
            (6, "queue", 44),
            (6, "another", 47),
        ):
            rung = self.successResultOf(self.rung(seconds, queue))
            self.assertEqual(rung, f"quebert.delay.wait.{seconds}s")
            self.assertEqual(len(self.wire.calls), wanted)

    def test_once_for_all(self) -> None:
        """
        However many messages wait for it, it is made once.
        """
        self.wire.opens = False
        waiting = [self.rung() for _ in range(2000)]
        self.assertEqual(len(self.wire.opening), 1)
        self.assertNoResult(waiting[0])
        self.wire.open()
        for each in waiting:
            self.successResultOf(each)
        self.assertEqual(len(self.wire.calls), 40)

    def test_shorter_meanwhile(self) -> None:
        """
        What has waited for the ladder waits that much less on it.
        """
        left = [70.0, 5.0]
        self.wire.opens = False
        rung = Deferred.fromCoroutine(
            self.ladder.rung_for(self.wire, "queue", lambda: left[0])
        )
        left[0] = 4.5
        self.wire.open()
        self.assertEqual(self.successResultOf(rung), "quebert.delay.wait.5s")

    def test_another_connection(self) -> None:
        """
        With another connection it is made anew only if a part turns out to be missing.
        """
        made = []
        for missing in (False, False, True):
            if missing:
                self.ladder.forget()
            self.wire = FakeWire()
            self.successResultOf(self.rung())
            made.append(len(self.wire.made("queue_bind")))
        self.assertEqual(made, [10, 0, 10])

    def test_refused(self) -> None:
        """
        Where it may not be made, all are told, the broker is not asked again by each,
        and the log tells once, and when it may.
        """
        text = "configure access to queue 'x' refused for user 'u'"
        name = arrivals_of("queue")
        self.wire.refused[name] = BrokerRefused(403, text)
        with capturedLogs() as logged:
            for _ in range(3):
                waiting = [self.rung() for _ in range(100)]
                for each in waiting:
                    failure = self.failureResultOf(each, LadderRefused)
                    self.assertIn(text, str(failure.value))
            self.assertEqual(self.wire.made("queue_declare").count(name), 1)
            for _ in range(3):
                self.wire.clock.advance(2)
                self.failureResultOf(self.rung(), LadderRefused)
            self.assertEqual(self.wire.made("queue_declare").count(name), 4)
            self.wire.refused.clear()
            self.wire.clock.advance(2)
            self.successResultOf(self.rung())
            self.wire.clock.pump([QUIET] * 2)
        lines = [str(formatEvent(event)) for event in logged]
        self.assertEqual(len(lines), 2, lines)
        self.assertIn(text, lines[0])
        self.assertIn("again", lines[1])

    def test_refused_in_part(self) -> None:
        """
        Where some parts may be made, and others of several queues not, the log tells
        once of each queue.
        """
        queues = ("one", "two")
        for queue in queues:
            name = arrivals_of(queue)
            self.wire.refused[name] = BrokerRefused(403, f"access to {name!r} refused")
        with capturedLogs() as logged:
            for seconds in range(1, 40):
                self.successResultOf(
                    Deferred.fromCoroutine(
                        self.ladder._made(
                            self.ladder._waits, self.wire, str(seconds), "another"
                        )
                    )
                )
                for queue in queues:
                    self.failureResultOf(self.rung(queue=queue), LadderRefused)
                self.wire.clock.advance(1)
        lines = [str(formatEvent(event)) for event in logged]
        self.assertEqual(len(lines), 2, lines)
        self.ladder.end()
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def test_leave(self) -> None:
        """
        The arrivals of a queue that nobody watches here any more are not made anew.
        """
        for queue in ("one", "two"):
            self.successResultOf(self.rung(queue=queue))
        self.wire.clock.advance(CHECK_ALL)
        self.check()
        self.ladder.leave("one")
        self.wire.there -= {arrivals_of("one"), arrivals_of("two")}
        self.wire.clock.advance(CHECK_ALL)
        self.check()
        self.assertNotIn(arrivals_of("one"), self.wire.there)
        self.assertIn(arrivals_of("two"), self.wire.there)
        self.successResultOf(self.rung(queue="one"))
        self.assertIn(arrivals_of("one"), self.wire.there)

    def test_part_missing(self) -> None:
        """
        Where a part is missing while another is made, it is made anew, too.
        """
        self.successResultOf(self.rung())
        name = arrivals_of("another")
        self.wire.refused[name] = BrokerRefused(404, f"no exchange {ARRIVALS!r}")
        self.failureResultOf(self.rung(queue="another"), LadderRefused)
        self.wire.refused.clear()
        self.wire.clock.advance(2)
        self.successResultOf(self.rung(queue="another"))
        self.assertEqual(self.wire.made("exchange_declare").count(ARRIVALS), 2)

    def test_lost(self) -> None:
        """
        Where the connection is lost all are told, and the next one asks again.
        """
        self.wire.opens = False
        waiting = [self.rung(), self.rung()]
        self.wire.opening[0].errback(ChannelLost("gone"))
        for each in waiting:
            self.failureResultOf(each, ChannelLost)
        self.wire.open()
        self.successResultOf(self.rung())

    def test_given_up(self) -> None:
        """
        One that does not wait any longer does not keep the others from it.
        """
        self.wire.opens = False
        waiting = [self.rung(), self.rung()]
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        self.wire.open()
        self.successResultOf(waiting[1])

    def check(self) -> list[tuple[str, Any]]:
        """
        Have the ladder looked after; the calls for that.
        """
        before = len(self.wire.calls)
        self.successResultOf(Deferred.fromCoroutine(self.ladder.check(self.wire)))
        calls: list[tuple[str, Any]] = self.wire.calls[before:]
        return calls

    def test_check(self) -> None:
        """
        It is looked after at times, however often somebody wants that.
        """
        self.wire.clock.advance(1000)
        self.successResultOf(self.rung())
        self.assertGreater(len(self.check()), 0)
        self.assertEqual(self.check(), [])
        self.wire.clock.advance(CHECK)
        looked_at = "quebert.delay.wait.5s", UNCLAIMED
        self.assertEqual(self.check(), [("queue_declare", each) for each in looked_at])
        self.wire.clock.advance(CHECK_ENDS)
        self.assertEqual(len(self.check()), 6)
        self.wire.clock.advance(CHECK_ALL)
        checked = {name for _, name in self.check()}
        self.assertIn("quebert.delay.wait.5s", checked)
        self.assertIn(arrivals_of("queue"), checked)

    def test_told(self) -> None:
        """
        Who is refused since the ladder is learns whether the log has told that.
        """
        clock = self.wire.clock
        denied = "access to exchange 'quebert.delay.due' refused"
        for why, told in (
            (LadderRefused("tasks cannot wait"), True),
            (BrokerRefused(403, denied), True),
            (BrokerRefused(404, denied), False),
            (BrokerRefused(403, "access to queue 'tasks' refused"), False),
            (ChannelLost("gone"), False),
        ):
            self.assertIs(self.ladder.tells(why, "tasks", clock), told, why)
        self.ladder.end()

    def test_lost_meanwhile(self) -> None:
        """
        A check ends where the connection is lost meanwhile, however many parts are
        still to be looked at; the next one looks at them.
        """
        queues = [f"queue-{number}" for number in range(500)]
        for each in queues:
            self.successResultOf(self.rung(queue=each))
        self.wire.opens, begun = False, len(self.wire.opening)
        checking = Deferred.fromCoroutine(self.ladder._check_all(self.wire))
        self.wire.closed = True
        for opening in self.wire.opening[begun:]:
            opening.errback(ChannelLost("gone"))
        self.failureResultOf(checking, ChannelLost)
        self.wire = FakeWire()
        checked = {name for _, name in self.check()}
        self.assertLessEqual({arrivals_of(each) for each in queues}, checked)

    def test_refused_in_turn(self) -> None:
        """
        However many parts are refused, all others are looked at.
        """
        for number in range(100):
            self.successResultOf(self.rung(queue=f"{number}"))
        for number in range(99):
            name = arrivals_of(f"{number}")
            self.wire.refused[name] = BrokerRefused(403, f"access to {name!r} refused")
        checking = Deferred.fromCoroutine(self.ladder.check(self.wire))
        self.failureResultOf(checking, BrokerError)
        self.assertEqual(self.wire.calls[-1][1], arrivals_of("99"))

    def test_unclaimed(self) -> None:
        """
        Each time, the ladder looks how many messages are unclaimed.
        """
        self.successResultOf(self.rung())
        for count in (0, 1, 1, 2, 0):
            self.wire.counts[UNCLAIMED] = count
            self.wire.clock.advance(CHECK)
            self.check()
            self.assertEqual(self.ladder.unclaimed, count)

    def test_deleted_exchange(self) -> None:
        """
        Where the exchange for all that arrives was deleted, all is bound to it anew at
        once, and the log tells.  Also after another part of the ladder was missing.
        """
        self.wire.clock.advance(1000)
        self.successResultOf(self.rung())
        self.check()
        self.wire.clock.advance(CHECK_ENDS)
        self.wire.there.remove("quebert.delay.arrivals")
        self.ladder.forget()
        with capturedLogs() as logged:
            self.assertIn(("queue_bind", arrivals_of("queue")), self.check())
        (line,) = [str(formatEvent(event)) for event in logged]
        self.assertIn("was deleted", line)

    def test_deleted_rung(self) -> None:
        """
        The log tells of a rung that was deleted, and how many messages waited there.
        """
        self.wire.clock.advance(1000)
        self.successResultOf(self.rung())
        self.wire.counts["quebert.delay.wait.5s"] = 7
        self.check()
        self.wire.clock.advance(CHECK)
        self.wire.there.remove("quebert.delay.wait.5s")
        with capturedLogs() as logged:
            self.check()
        (line,) = [str(formatEvent(event)) for event in logged]
        self.assertIn("quebert.delay.wait.5s", line)
        self.assertIn("7 tasks waited there 2 s ago", line)

    def test_in_use(self) -> None:
        """
        A rung is used at short intervals as long as messages may wait in it, also those
        of another process, and for the six minutes after which RabbitMQ tries again if
        it could not pass one on.
        """
        self.wire.there.add("quebert.delay.wait.9s")
        self.wire.counts["quebert.delay.wait.9s"] = 1
        self.wire.clock.advance(1000)
        self.successResultOf(self.rung(4))
        used = []
        for _ in range(280):
            calls = self.check()
            rungs = ("quebert.delay.wait.9s", "quebert.delay.wait.4s")
            used.append([("queue_declare", each) in calls for each in rungs])
            self.wire.clock.advance(CHECK)
            self.wire.counts["quebert.delay.wait.9s"] = 0
        self.assertEqual(used[0], [True, True])
        self.assertIn([True, False], used)
        self.assertEqual(used[int((4 + 360) / CHECK)], [True, True])
        self.assertEqual(used[-1], [False, False])

    def test_made_by_another_version(self) -> None:
        """
        A queue to which rungs lead, and which is there with other arguments, is used as
        it is.  It is not declared again and again: RabbitMQ logs an error each time.
        """
        arrivals, call = "quebert.delay.arrivals.queue", self.wire.call
        self.wire.there |= {UNCLAIMED, arrivals}
        declared: list[str] = []

        async def call_or_refuse(method: str, **arguments: Any) -> Any:
            name = arguments.get("queue", "")
            if method == "queue_declare" and not arguments.get("passive"):
                declared.append(name)
                if name in (UNCLAIMED, arrivals):
                    text = f"inequivalent arg 'x-max-length' for queue '{name}'"
                    raise BrokerRefused(406, text)
            return await call(method, **arguments)

        self.wire.call = call_or_refuse
        self.successResultOf(self.rung())
        for _ in range(int(2 * CHECK_ALL / CHECK)):
            self.wire.clock.advance(CHECK)
            self.check()
        self.assertNotIn(UNCLAIMED, declared)
        self.assertNotIn(arrivals, declared)
        self.assertIn(arrivals, self.wire.made("queue_bind"))

    def test_in_use_beside_refused(self) -> None:
        """
        A rung that may not be declared anew keeps no other one from being used, nor the
        ladder from the rest of a look.
        """
        for seconds in range(1, 40):
            self.successResultOf(self.rung(seconds))
        self.check()
        self.wire.clock.advance(CHECK_ENDS)
        limit = BrokerRefused(406, "cannot declare queue: queue limit is reached")
        call, gone = self.wire.call, "quebert.delay.wait.1s"

        async def call_or_refuse(method: str, **arguments: Any) -> Any:
            if arguments.get("queue") == gone and not arguments.get("passive"):
                raise limit
            return await call(method, **arguments)

        self.wire.call = call_or_refuse
        self.wire.there.remove(gone)
        looked_at = {name for _, name in self.check()}
        rungs = {f"quebert.delay.wait.{seconds}s" for seconds in range(2, 40)}
        self.assertLessEqual({*rungs, ARRIVALS}, looked_at)

    def test_spare_connection_closed(self) -> None:
        """
        When the broker closes the spare connection, for whatever reason, the other
        rungs are used at the next look, not each over a further connection.
        """
        spares: list[FakeWire] = []

        class Closing(FakeWire):
            async def open_channel(self, *, confirms: bool) -> FakeWire:
                self.closed = True
                raise BrokerRefused(530, "NOT_ALLOWED - too many channels")

        class FakeSpare:
            async def instead_of(self, wire: FakeWire) -> FakeWire:
                spares.append(Closing())
                return spares[-1]

        spare: Any = FakeSpare()
        self.ladder = Ladder(quorum=True, spare=spare)
        self.ladder._in_use._used = dict.fromkeys(range(1, 40), 0.0)
        self.assertIn(ARRIVALS, {name for _, name in self.check()})
        self.assertEqual(len(spares), 1)

    def test_of_another_process(self) -> None:
        """
        A rung that another process has filled meanwhile is found before long, and used
        as long as messages wait in it.
        """
        self.successResultOf(self.rung(4))
        self.check()
        rung = "quebert.delay.wait.9s"
        self.wire.there.add(rung)
        self.wire.counts[rung] = 1
        for _ in range(int(2 * CHECK_ALL / CHECK)):
            self.wire.clock.advance(CHECK)
            calls = self.check()
        self.assertIn(("queue_declare", rung), calls)
        self.wire.clock.advance(500)
        self.check()
        self.wire.clock.advance(CHECK)
        self.assertIn(("queue_declare", rung), self.check())

    def test_new_rung(self) -> None:
        """
        As long as a rung is new, a message begins its wait in a shorter, older one.
        """
        self.ladder = Ladder(quorum=True)
        self.wire.server_properties = RABBITMQ
        self.wire.clock.advance(1000)
        rung = self.rung(5)
        self.wire.clock.advance(4)
        self.assertEqual(self.successResultOf(rung), "quebert.delay.quorum.wait.5s")
        for seconds, wait in ((5, 5), (7, 4), (200, 64), (1, 1)):
            exchange = self.successResultOf(self.rung(seconds))
            self.assertEqual(exchange, f"quebert.delay.quorum.wait.{wait}s")

    def test_due_before_it_is_old(self) -> None:
        """
        No message waits for a rung that is new when it is due itself.
        """
        self.ladder = Ladder(quorum=True)
        self.wire.server_properties = RABBITMQ
        clock = self.wire.clock
        rung = Deferred.fromCoroutine(
            self.ladder.rung_for(self.wire, "queue", lambda: 2.0 - clock.seconds())
        )
        clock.advance(1.9)
        self.assertNoResult(rung)
        clock.advance(0.1)
        self.successResultOf(rung)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_new_queues(self) -> None:
        """
        Nothing waits in a quorum queue that RabbitMQ has just made.
        """
        for quorum in (False, True):
            self.ladder, self.wire = Ladder(quorum=quorum), FakeWire()
            self.wire.server_properties = RABBITMQ
            self.wire.clock.advance(1000)
            rung = self.rung()
            if quorum:
                self.assertNoResult(rung)
                self.wire.clock.advance(3.5)
            self.successResultOf(rung)
            self.successResultOf(self.rung())

    def test_idle(self) -> None:
        """
        A rung that was not used for a while is used before a message is published
        there, once for all messages that wait for that.
        """
        self.ladder = Ladder(quorum=True)
        self.wire.counts["quebert.delay.quorum.wait.5s"] = 1
        for seconds, uses in ((0.0, 1), (1.0, 1), (3.0, 2), (60.0, 3)):
            self.wire.clock.advance(seconds)
            for rung in [self.rung(5) for _ in range(100)]:
                self.successResultOf(rung)
            used = self.wire.made("basic_get")
            self.assertEqual(used, ["quebert.delay.quorum.wait.5s"] * uses)
        # RabbitMQ would put the message at the end of the queue, behind later ones.
        self.assertEqual(self.wire.made("basic_nack"), [])

    def test_idle_and_slow(self) -> None:
        """
        No message waits for a rung after it is due itself, although RabbitMQ takes
        longer to use the rung than that may have been idle.
        """
        self.ladder, clock = Ladder(quorum=True), self.wire.clock

        async def get(queue: str) -> None:
            self.wire.calls.append(("basic_get", queue))
            await deferLater(clock, 4.0)

        self.wire.get = get
        rung = Deferred.fromCoroutine(
            self.ladder.rung_for(self.wire, "queue", lambda: 10.0 - clock.seconds())
        )
        clock.pump([1.0] * 8)
        self.assertNoResult(rung)
        clock.pump([1.0] * 4)
        self.successResultOf(rung)

    def test_idle_and_denied(self) -> None:
        """
        One that may not be used is not published to.
        """
        self.ladder = Ladder(quorum=True)
        self.successResultOf(self.rung(5))
        self.wire.clock.advance(60)
        denied = "ACCESS_REFUSED - access to queue 'quebert.delay.quorum.wait.5s'"
        self.wire.refused["quebert.delay.quorum.wait.5s"] = BrokerRefused(403, denied)
        with capturedLogs() as logged:
            self.failureResultOf(self.rung(5), LadderRefused)
        (line,) = logged
        self.assertIn("the user needs to configure", str(formatEvent(line)))
        self.ladder.end()

    def test_kind_of_queues(self) -> None:
        """
        It is of quorum queues where these confirm what they pass on, unless it was
        said otherwise.
        """
        rabbitmq = {"product": "RabbitMQ", "platform": "Erlang/OTP 25.2.3"}
        for quorum, told, wanted in (
            (None, {}, False),
            (None, {**rabbitmq, "version": "3.10.8"}, True),
            (None, {**rabbitmq, "version": "4.0.0-rc.1"}, True),
            (None, {**rabbitmq, "version": "3.9.29"}, False),
            (None, {**rabbitmq, "version": "3.13.0", "platform": "quebert"}, False),
            (False, {**rabbitmq, "version": "3.10.8"}, False),
            (True, {}, True),
        ):
            wire: Any = FakeWire()
            wire.server_properties = told
            ladder = Ladder(quorum=quorum)
            rung = Deferred.fromCoroutine(ladder.rung_for(wire, "queue", lambda: 1.0))
            wire.clock.advance(3.5)
            exchange = self.successResultOf(rung)
            self.assertEqual("quorum" in exchange, wanted, told)

    def test_kind_is_told(self) -> None:
        """
        The log tells once which kind it is of, and why.
        """
        since = " queues, since RabbitMQ"
        rabbitmq = {"product": "RabbitMQ", "platform": "Erlang/OTP 25.2.3"}
        for quorum, told, wanted in (
            (None, {**rabbitmq, "version": "4.3.6"}, f"quorum{since} 4.3.6 has them."),
            (
                None,
                {**rabbitmq, "version": "3.9.29"},
                f"classic{since} 3.9.29 has no others with confirms.",
            ),
            (
                None,
                {"platform": "quebert"},
                "classic queues, since the broker is no RabbitMQ (quebert).",
            ),
            (True, {**rabbitmq, "version": "4.3.6"}, "quorum queues, as configured."),
            (False, {**rabbitmq, "version": "4.3.6"}, "classic queues, as configured."),
        ):
            ladder = Ladder(quorum=quorum)
            with capturedLogs() as logged:
                for _ in range(2):
                    wire: Any = FakeWire()
                    wire.server_properties = told
                    ladder.tell_kind(wire)
            (line,) = logged
            self.assertEqual(formatEvent(line), f"Delayed tasks wait in {wanted}")

    def test_worked_out_once(self) -> None:
        """
        What it consists of is worked out once for each connection.
        """
        rungs = self.ladder.rungs_of(self.wire)
        self.assertIs(self.ladder.rungs_of(self.wire), rungs)
        another: Any = FakeWire()
        another.server_properties = RABBITMQ
        self.assertTrue(self.ladder.rungs_of(another).quorum)

    def refusals(self, code: int) -> Iterator[str]:
        """
        A warning that tasks cannot wait; and the lines that end it when the end of the
        ladder was looked at, and when a part was made.
        """
        self.successResultOf(self.rung())
        self.check()
        refusal = BrokerRefused(code, "refused 'quebert.delay.x'")
        self.wire.refused[arrivals_of("another")] = refusal
        for act in (
            lambda: self.failureResultOf(self.rung(queue="another"), LadderRefused),
            self.check,
            lambda: self.successResultOf(self.rung(9)),
        ):
            with capturedLogs() as logged:
                act()
                self.wire.clock.advance(QUIET)
                yield " ".join(str(formatEvent(event)) for event in logged)
        self.ladder.end()

    def test_permission_missing_no_more(self) -> None:
        """
        Where the user lacked a permission, and the look at the ladder's end goes well,
        that is over, although no task may need the part again soon.
        """
        warning, over, more = self.refusals(403)
        self.assertIn("Tasks cannot wait in the broker for now", warning)
        self.assertIn("Tasks can wait in the broker again", over)
        self.assertEqual(more, "")

    def test_other_refusal_is_not_over(self) -> None:
        """
        A refusal for another reason is over when a part was made.
        """
        warning, over, more = self.refusals(406)
        self.assertIn("Tasks cannot wait in the broker for now", warning)
        self.assertEqual(over, "")
        self.assertIn("Tasks can wait in the broker again", more)

    def test_no_warning_after_the_end(self) -> None:
        self.wire.refused[arrivals_of("queue")] = BrokerRefused(403, "refused")
        self.failureResultOf(self.rung(), LadderRefused)
        self.assertEqual(len(self.wire.clock.getDelayedCalls()), 1)
        self.ladder.end()
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def test_permissions_are_told_once(self) -> None:
        """
        The log names the first permission that a queue's tasks lack, and what the user
        needs, however many others are refused after that; anew when that was over.
        """
        clock, lines = self.wire.clock, []
        for texts in (("one", "two"), ("three",)):
            for text in texts:
                with capturedLogs() as logged:
                    self.ladder.tells(
                        BrokerRefused(403, f"access to 'quebert.delay.{text}'"),
                        "queue",
                        clock,
                    )
                lines += [str(formatEvent(event)) for event in logged]
            self.successResultOf(self.rung(len(texts)))
            clock.pump([QUIET] * 3)
        self.assertEqual(len(lines), 2)
        for line, text in zip(lines, ("one", "three"), strict=True):
            self.assertIn(f"'quebert.delay.{text}' (the user needs to configure", line)

    def test_times_of_looks(self) -> None:
        """
        It is looked at every 1.5 s, its end every 3 s, and all its parts every 30 s.
        """
        self.wire.clock.advance(1000)
        self.successResultOf(self.rung())
        found: list[str] = []
        for _ in range(240):
            names = [name for _, name in self.check()]
            looks = UNCLAIMED in names, ARRIVALS in names, arrivals_of("queue") in names
            found.append("-+"[looks[0]] + "-+"[looks[1]] + "-+"[looks[2]])
            self.wire.clock.advance(0.25)
        every = ["---"] * 5
        wanted = ["+++", *every, "+--", *every, "++-", *every] * 2
        self.assertEqual(found[:18], wanted[:18])
        for number, look in enumerate(found):
            self.assertEqual(look[0] == "+", number % 6 == 0, number)
            self.assertEqual(look[1] == "+", number % 12 == 0, number)
            self.assertEqual(look[2] == "+", number % 120 == 0, number)

    def test_one_look_at_a_time(self) -> None:
        """
        Nobody begins another look before one has ended, well or not.
        """
        self.successResultOf(self.rung())
        for error in (None, ChannelLost("gone")):
            self.wire.clock.advance(CHECK)
            self.wire.opens = False
            looking = Deferred.fromCoroutine(self.ladder.check(self.wire))
            self.wire.clock.advance(CHECK)
            self.assertEqual(self.check(), [])
            self.wire.opens = True
            if error is None:
                self.wire.open()
                self.successResultOf(looking)
            else:
                self.wire.closed = True
                for each in self.wire.opening:
                    if not each.called:
                        each.errback(error)
                self.failureResultOf(looking, ChannelLost)
                self.wire.closed = False
            self.wire.clock.advance(CHECK)
            self.assertNotEqual(self.check(), [])

    def test_unclaimed_cannot_be_counted(self) -> None:
        """
        Where the user may not see how many messages are unclaimed, or they have no
        queue for a moment, there are as many as before.
        """
        self.successResultOf(self.rung())
        self.check()
        self.wire.counts[UNCLAIMED] = 3
        self.wire.clock.advance(CHECK)
        self.check()
        self.wire.counts[UNCLAIMED] = 5
        self.wire.refused[UNCLAIMED] = BrokerRefused(403, "ACCESS_REFUSED")
        self.ladder._checked_ends = self.wire.clock.seconds()
        self.wire.clock.advance(CHECK)
        self.check()
        self.assertEqual(self.ladder.unclaimed, 3)

    def test_ends_are_counted(self) -> None:
        """
        Where the end of the ladder is made, what is in it is counted, too.
        """
        self.wire.there.add(UNCLAIMED)
        self.wire.counts[UNCLAIMED] = 4
        self.successResultOf(self.rung())
        self.assertEqual(self.ladder.unclaimed, 4)

    def test_ages_are_forgotten(self) -> None:
        """
        The age of the queues that belong to a task queue is forgotten when nobody
        watches it any more.
        """
        self.wire.server_properties = RABBITMQ
        names = ["queue", "queue.dead", arrivals_of("queue")]
        for each in (*names, "another"):
            self.ladder.new_queues.declared(self.wire, each, "quorum")
        self.ladder.leave("queue")
        for each in names:
            self.assertFalse(self.ladder.new_queues.has(self.wire, each), each)
        self.assertTrue(self.ladder.new_queues.has(self.wire, "another"))

    def test_highest_priority(self) -> None:
        """
        In the quorum queues of some versions, a message with a higher priority than
        another holds it up.
        """
        for version, quorum, wanted in (
            ("3.10.8", True, None),
            ("4.0.0", True, 4),
            ("4.2.9", True, 4),
            ("4.2.9", False, None),
            ("4.3.0", True, None),
        ):
            wire: Any = FakeWire()
            wire.server_properties = {
                "product": "RabbitMQ",
                "platform": "Erlang/OTP 27",
                "version": version,
            }
            ladder = Ladder(quorum=quorum)
            self.assertEqual(ladder.highest_priority(wire), wanted, version)

    def test_limit_of_its_own(self) -> None:
        """
        With RabbitMQ 3, the queues to which rungs pass messages on have a limit of
        their own, and no others.
        """
        wire: Any = FakeWire()
        for version, wanted in (("3.10.8", True), ("4.0.5", False), ("4.3.6", False)):
            wire.server_properties = {**RABBITMQ, "version": version}
            rungs = Ladder(quorum=True).rungs_of(wire)
            for calls in (rungs.ends(), rungs.arrivals("queue")):
                (how,) = (each for name, each in calls if name == "queue_declare")
                self.assertEqual("x-max-length" in how["arguments"], wanted, how)
            _, (_, how), _ = rungs.rung(1)
            self.assertNotIn("x-max-length", how["arguments"])

    def test_types(self) -> None:
        """
        All its queues name their type.
        """
        for quorum, wanted in ((True, "quorum"), (False, "classic")):
            rungs = Rungs(quorum=quorum)
            calls = (*rungs.ends(), *rungs.arrivals("queue"), *rungs.rung(1))
            for method, how in calls:
                if method == "queue_declare":
                    self.assertEqual(how["arguments"]["x-queue-type"], wanted)


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
        return await self._do(self.client.call(method, **arguments))

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
    @ivar shuts: how many channels were shut.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refused_gets: dict[str, BrokerRefused] = {}
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
        if queue in self.refused_gets:
            raise self.refused_gets[queue]
        return got


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
        self.in_use = RungsInUse(lambda wire: self.rungs, make, None)
        self.wire.there |= {self.name(wait) for wait in range(1, 10)}
        self.use_all()  # after the survey
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
        return [name for _, name in self.wire.calls]

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
        self.assertEqual(self.use_all(), [])
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
        A survey looks at sixteen at a time, each on a channel of its own.
        """
        self.clock.advance(30)
        self.wire.opens = False
        before = len(self.wire.opening)
        using = self.in_use.use_all(self.wire, self.clock.seconds())
        surveying = Deferred.fromCoroutine(using)
        self.assertEqual(len(self.wire.opening) - before, 16)
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


class MovingClock(Clock):
    """
    A clock that goes on while somebody looks at it, and takes no time of the past, as
    that of a reactor.
    """

    def seconds(self) -> float:
        """
        The time.
        """
        self.rightNow += 0.001
        return self.rightNow

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        """
        Call later.
        """
        assert delay >= 0, delay
        return super().callLater(delay, callable, *args, **kw)


class NewQueuesTests(SynchronousTestCase):
    """
    What waits until a queue is no longer new.
    """

    def setUp(self) -> None:
        """
        A RabbitMQ, a while after this client began.
        """
        self.wire: Any = FakeWire()
        self.wire.server_properties = RABBITMQ
        self.clock = self.wire.clock
        self.clock.advance(100)
        self.queues = NewQueues()

    def wait(self, *queues: str) -> Deferred[None]:
        """
        Wait until these are old.
        """
        return Deferred.fromCoroutine(self.queues.old(self.wire, *queues))

    def note(self, result: None, order: list[int], number: int) -> None:
        """
        One of those who waited goes on.
        """
        order.append(number)

    def test_which_are_new(self) -> None:
        """
        A quorum queue of RabbitMQ is new, and one whose type is not known.
        """
        for kind, is_new in (("quorum", True), (None, True), ("classic", False)):
            self.queues.declared(self.wire, "queue", kind)
            self.assertEqual(self.queues.has(self.wire, "another", "queue"), is_new)
            self.assertEqual(self.queues.left(self.wire, "queue"), NEW * is_new)
        self.queues.declared(self.wire, "queue", "quorum")
        self.queues.declared(self.wire, "queue", "classic")
        self.assertFalse(self.queues.has(self.wire, "queue"))
        self.wire.server_properties = {}
        self.queues.declared(self.wire, "queue", "quorum")
        self.assertFalse(self.queues.has(self.wire, "queue"))

    def test_left(self) -> None:
        """
        The youngest of some queues tells when all are old.
        """
        self.queues.declared(self.wire, "one", "quorum")
        self.clock.advance(1)
        self.queues.declared(self.wire, "two", "quorum")
        for queues, seconds in (
            (("one",), 2.5),
            (("two",), 3.5),
            (("one", "two", "three"), 3.5),
            (("three",), 0.0),
            ((), 0.0),
        ):
            self.assertEqual(self.queues.left(self.wire, *queues), seconds)
        self.clock.advance(3)
        self.assertEqual(self.queues.left(self.wire, "one"), 0.0)
        self.assertFalse(self.queues.has(self.wire, "one"))
        self.assertTrue(self.queues.has(self.wire, "one", "two"))
        self.clock.advance(0.5)
        self.assertFalse(self.queues.has(self.wire, "one", "two"))

    def test_found(self) -> None:
        """
        A queue that is found is new the first time; one that is declared, each time.
        """
        self.queues.found(self.wire, "queue", "quorum")
        self.clock.advance(NEW)
        self.queues.found(self.wire, "queue", "quorum")
        self.assertFalse(self.queues.has(self.wire, "queue"))
        self.queues.declared(self.wire, "queue", "quorum")
        self.assertTrue(self.queues.has(self.wire, "queue"))
        self.queues.forget("another", "queue")
        self.assertFalse(self.queues.has(self.wire, "queue"))
        self.queues.found(self.wire, "queue", "quorum")
        self.assertTrue(self.queues.has(self.wire, "queue"))

    def test_declaring(self) -> None:
        """
        A queue is new while it is declared, and from when it was; one that exists is
        new when it is seen for the first time.
        """
        for exists, after in ((True, NEW - 1), (False, NEW), (True, NEW - 1)):
            self.clock.advance(NEW if not exists else 0)
            with self.queues.declaring(self.wire, "queue", "quorum", exists=exists):
                self.assertTrue(self.queues.has(self.wire, "queue"))
                self.clock.advance(1)
            self.assertEqual(self.queues.left(self.wire, "queue"), after)

    def test_is_there(self) -> None:
        """
        A queue that was seen is looked for; no other is, and none that is hidden is
        known to be there.
        """

        def is_there() -> bool:
            asking = self.queues.is_there(self.wire, "queue")
            return self.successResultOf(Deferred.fromCoroutine(asking))

        self.wire.there.add("queue")
        self.assertIs(is_there(), False)
        self.assertEqual(self.wire.calls, [])
        self.queues.declared(self.wire, "queue", "quorum")
        self.assertIs(is_there(), True)
        self.wire.refused["queue"] = BrokerRefused(403, "ACCESS_REFUSED")
        self.assertIs(is_there(), False)
        self.wire.refused.clear()
        self.wire.there.clear()
        self.assertIs(is_there(), False)

    def test_old(self) -> None:
        """
        All who wait go on when the youngest queue is old, in their order.
        """
        self.queues.declared(self.wire, "one", "quorum")
        self.clock.advance(1)
        self.queues.declared(self.wire, "two", "quorum")
        order: list[int] = []
        for number in range(3):
            waiting = self.wait("one", "two")
            waiting.addCallback(self.note, order, number)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(3.25)
        self.assertEqual(order, [])
        self.clock.advance(0.25)
        self.assertEqual(order, [0, 1, 2])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.wait("one", "two"))

    def test_waits_for_the_youngest(self) -> None:
        """
        Whoever waits for some queues waits once, for the youngest of them.
        """
        self.queues.declared(self.wire, "two", "quorum")
        self.clock.advance(1)
        self.queues.declared(self.wire, "one", "quorum")
        self.wait("one", "two")
        (timer,) = self.clock.getDelayedCalls()
        self.assertEqual(timer.getTime(), self.clock.seconds() + NEW)
        self.clock.advance(NEW)

    def test_declared_while_somebody_waits(self) -> None:
        self.queues.declared(self.wire, "queue", "quorum")
        waiting = self.wait("queue")
        self.clock.advance(2)
        self.queues.declared(self.wire, "queue", "quorum")
        self.clock.advance(2)
        self.assertNoResult(waiting)
        self.clock.advance(1.5)
        self.successResultOf(waiting)

    def test_abandoned(self) -> None:
        """
        When nobody waits any longer, no timer is left; whoever comes after that waits
        as if nobody had.
        """
        self.queues.declared(self.wire, "queue", "quorum")
        waiting = [self.wait("queue"), self.wait("queue")]
        for each in waiting:
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        another = self.wait("queue")
        self.clock.advance(NEW)
        self.successResultOf(another)

    def test_connection_lost(self) -> None:
        self.queues.declared(self.wire, "queue", "quorum")
        waiting = self.wait("queue")
        self.wire.closed = True
        self.clock.advance(NEW)
        self.failureResultOf(waiting, ChannelLost)

    def test_publish(self) -> None:
        """
        A message is published to a queue that is old, and is safe there at once, unless
        the queue was declared anew meanwhile.
        """
        published: list[float] = []

        async def publish() -> None:
            published.append(self.clock.seconds())
            if anew:
                self.queues.declared(self.wire, "queue", "quorum")

        for anew in (False, True):
            published.clear()
            self.queues.declared(self.wire, "queue", "quorum")
            publishing = Deferred.fromCoroutine(
                self.queues.publish(self.wire, "queue", publish)
            )
            self.clock.advance(NEW - 0.25)
            self.assertEqual(published, [])
            self.clock.advance(0.25)
            self.assertEqual(published, [self.clock.seconds()])
            if anew:
                self.assertNoResult(publishing)
                self.clock.advance(NEW)
            self.successResultOf(publishing)

    def test_old_meanwhile(self) -> None:
        """
        A queue may cease to be new at any moment, also while somebody asks.
        """
        for moment in range(8):
            wire: Any = FakeWire()
            wire.server_properties = RABBITMQ
            wire.clock = MovingClock()
            queues = NewQueues()
            queues.declared(wire, "queue", "quorum")
            wire.clock.rightNow += NEW - 0.001 * moment
            waiting = Deferred.fromCoroutine(queues.old(wire, "queue"))
            wire.clock.advance(0.1)
            self.successResultOf(waiting)
