"""
Tests for L{quebert.amqp._delay}: without a reactor, against the embedded broker's
own clock.
"""

from __future__ import annotations

import math
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp._delay import LONGEST, UNITS, Call, Ladder, Rungs
from quebert.broker import Broker
from quebert.errors import ChannelLost
from quebert.test.broker.peer import Peer
from quebert.test.checks import QUICK

YEAR = 365 * 24 * 3600


def make(peer: Peer, *calls: Call) -> None:
    """
    Make what a ladder consists of.
    """
    for method, arguments in calls:
        answer = peer.call(method.replace("_", "."), **arguments)
        assert answer is not None
        assert answer.name.endswith("-ok"), answer


class RouteTests(SynchronousTestCase):
    """
    Where a message is to be published for a delay.
    """

    @QUICK
    @given(st.floats(0, LONGEST, exclude_min=True))
    def test_digits(self, seconds: float) -> None:
        """
        The routing key has the seconds, rounded up, as digits, the lowest first; the
        exchange is that of the first that is not zero.
        """
        exchange, key = Rungs().route("queue", seconds)
        queue, *digits = key.split(".")
        waits = [int(n) * unit for n, unit in zip(digits, UNITS, strict=False)]
        self.assertEqual(queue, "queue")
        self.assertEqual(sum(waits), max(1, math.ceil(seconds)))
        self.assertGreater(waits[-1], 0)
        first = next(unit for n, unit in zip(digits, UNITS, strict=False) if n != "0")
        self.assertEqual(exchange, f"quebert.delay.{first}s")

    @QUICK
    @given(st.one_of(st.integers(1, 64), st.integers(1, LONGEST)))
    def test_one_long_wait(self, seconds: int) -> None:
        """
        What is less than 64 seconds is one wait; of what is longer the last is more
        than half.
        """
        last = Rungs().route("queue", seconds)[1].split(".")[1:]
        wait = int(last[-1]) * UNITS[len(last) - 1]
        self.assertGreaterEqual(wait, seconds if seconds < 64 else seconds // 2 + 1)

    def test_longest(self) -> None:
        """
        What is longer than all levels together is cut.
        """
        self.assertEqual(Rungs().route("queue", 1e18), Rungs().route("queue", LONGEST))

    @QUICK
    @given(st.text(max_size=60), st.text(max_size=60))
    def test_words(self, one: str, other: str) -> None:
        """
        Whatever a queue is called, it is one word, which no other queue has, and
        which is no wildcard.
        """
        ladder = Rungs()
        words = [ladder.route(name, 1)[1][: -len(".1")] for name in (one, other)]
        self.assertEqual(words[0] == words[1], one == other)
        for word in words:
            self.assertFalse(set(word) & set(".*#"))

    def test_long_names(self) -> None:
        """
        A routing key has room for the longest name of a queue.
        """
        for name in ("q" * 255, "#" * 255, "ü" * 127):
            key = Rungs().route(name, LONGEST)[1]
            self.assertLessEqual(len(key.encode()), 255)


class LadderTests(SynchronousTestCase):
    """
    What becomes of messages on a broker whose clock is the test's.
    """

    def setUp(self) -> None:
        """
        A ladder, and two queues that it leads to.
        """
        self.clock = Clock()
        self.broker = Broker(self.clock)
        self.peer = Peer(self.broker).open()
        self.ladder = Rungs()
        for queue in ("a.b", "x.a.b"):
            self.peer.call("queue.declare", queue=queue)
        make(self.peer, *self.ladder.declarations())
        make(self.peer, self.ladder.arrival("a.b"), self.ladder.arrival("x.a.b"))

    def send(self, queue: str, seconds: float) -> None:
        """
        Delay a message, which says when it is due.
        """
        exchange, key = self.ladder.route(queue, seconds)
        due = self.broker._agenda.now + seconds
        self.peer.publish(key, repr(due).encode(), exchange=exchange)

    def came(self, queue: str) -> list[tuple[float, float]]:
        """
        What is in a queue: when it was due, and when it came.
        """
        found: list[tuple[float, float]] = []
        while True:
            got: Any = self.peer.call("basic.get", queue=queue, no_ack=True)
            if got.name == "basic.get-empty":
                return found
            last = got.properties["headers"]["x-death"][0]
            found.append((float(got.body), last["time"].timestamp()))

    def test_again(self) -> None:
        """
        It does no harm to make it again.
        """
        make(self.peer, *self.ladder.declarations(), self.ladder.arrival("a.b"))

    def test_own_queue(self) -> None:
        """
        A message comes to its own queue, and to no other.
        """
        self.send("a.b", 5)
        self.send("x.a.b", 7)
        self.broker.advance(4)
        self.assertEqual(self.broker.depths()["a.b"], 0)
        self.broker.advance(1)
        self.assertEqual(self.came("a.b"), [(5, 5)])
        self.broker.advance(2)
        self.assertEqual(self.came("a.b"), [])
        self.assertEqual(self.came("x.a.b"), [(7, 7)])

    def test_a_year(self) -> None:
        """
        Of delays up to a year none ends early, and none a second late.
        """
        chance = random.Random(1)
        for _ in range(1000):
            self.send("a.b", YEAR ** chance.random())
            self.broker.advance(chance.random())
        self.broker.advance(YEAR)
        came = self.came("a.b")
        self.assertEqual(len(came), 1000)
        for due, at in came:
            # The time of a death is told in whole seconds, rounded down.
            self.assertGreater(at, due - 1)
            self.assertLessEqual(at, due + 1)

    def test_not_behind_others(self) -> None:
        """
        A short delay does not wait for a long one.
        """
        self.send("a.b", LONGEST)
        self.send("a.b", 1)
        self.broker.advance(1)
        self.assertEqual(len(self.came("a.b")), 1)
        self.broker.advance(LONGEST)
        self.assertEqual(self.came("a.b"), [(LONGEST, LONGEST)])

    def test_no_way_back(self) -> None:
        """
        A message whose queue is gone is kept where it can be found.
        """
        self.send("a.b", 1)
        self.peer.call("queue.delete", queue="a.b")
        self.broker.advance(1)
        depths = {name: n for name, n in self.broker.depths().items() if n}
        self.assertEqual(depths, {"quebert.delay.lost": 1})

    def test_nothing_is_left(self) -> None:
        """
        When all have come, no level holds any.
        """
        for seconds in (1, 2, 3, 63, 64, 1000, 4095, 4096):
            self.send("a.b", seconds)
        self.broker.advance(5000)
        depths = {name: n for name, n in self.broker.depths().items() if n}
        self.assertEqual(depths, {"a.b": 8})


class FakeWire:
    """
    A connection on which a channel may be had later.
    """

    def __init__(self) -> None:
        self.opening: list[Deferred[None]] = []
        self.calls: list[str] = []
        self.server_properties: dict[str, Any] = {}

    async def open_channel(self, *, confirms: bool) -> FakeWire:
        """
        A channel: itself.
        """
        self.opening.append(Deferred())
        await self.opening[-1]
        return self

    def open(self) -> None:
        """
        Open those that are wanted.
        """
        for each in self.opening:  # which may want others
            if not each.called:
                each.callback(None)

    async def call(self, method: str, **arguments: object) -> None:
        """
        Call a method.
        """
        self.calls.append(method)

    async def shut(self) -> None:
        """
        It is not needed any more.
        """


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

    def prepare(self) -> Deferred[Rungs]:
        """
        Ask for it.
        """
        return Deferred.fromCoroutine(self.ladder.prepare(self.wire, "queue"))

    def test_once_for_all(self) -> None:
        """
        However many messages wait for it, it is made once.
        """
        waiting = [self.prepare() for _ in range(2000)]
        self.assertEqual(len(self.wire.opening), 1)
        self.assertNoResult(waiting[0])
        self.wire.open()
        for each in waiting:
            self.successResultOf(each)
        self.assertEqual(self.wire.calls.count("queue_bind"), 63 + 22 + 2)
        self.successResultOf(self.prepare())
        self.assertEqual(len(self.wire.opening), 2)

    def test_another_queue(self) -> None:
        """
        For another queue there is a way more, but no other ladder.
        """
        for queue in ("queue", "another"):
            preparing = Deferred.fromCoroutine(self.ladder.prepare(self.wire, queue))
            self.wire.open()
            self.successResultOf(preparing)
        self.assertEqual(self.wire.calls.count("queue_bind"), 63 + 22 + 3)

    def test_another_connection(self) -> None:
        """
        With another connection only the way to the queue is made anew, until a part
        turns out to be missing.
        """
        made = []
        for missing in (False, False, True):
            if missing:
                self.ladder.forget()
            self.wire = FakeWire()
            preparing = self.prepare()
            self.wire.open()
            self.successResultOf(preparing)
            made.append(self.wire.calls.count("queue_bind"))
        self.assertEqual(made, [63 + 22 + 2, 1, 63 + 22 + 2])

    def test_refused(self) -> None:
        """
        Where it cannot be made all are told, and the next one asks again.
        """
        waiting = [self.prepare(), self.prepare()]
        self.wire.opening[0].errback(ChannelLost("gone"))
        for each in waiting:
            self.failureResultOf(each, ChannelLost)
        again = self.prepare()
        self.wire.open()
        self.successResultOf(again)

    def test_given_up(self) -> None:
        """
        One that does not wait any longer does not keep the others from it.
        """
        waiting = [self.prepare(), self.prepare()]
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        self.wire.open()
        self.successResultOf(waiting[1])

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
            prepared = Deferred.fromCoroutine(ladder.prepare(wire, "queue"))
            wire.open()
            exchange, _ = self.successResultOf(prepared).route("queue", 1)
            self.assertEqual("quorum" in exchange, wanted, told)

    def test_kind_is_told(self) -> None:
        """
        The log tells once which kind it is of, and why.
        """
        rabbitmq = {"product": "RabbitMQ", "platform": "Erlang/OTP 25.2.3"}
        for quorum, told, wanted in (
            (None, {**rabbitmq, "version": "4.3.6"}, "quorum queues, since RabbitMQ 4"),
            (None, {**rabbitmq, "version": "3.9.29"}, "classic queues, since RabbitMQ"),
            (None, {"platform": "quebert"}, "no RabbitMQ (quebert)"),
            (True, {**rabbitmq, "version": "4.3.6"}, "quorum queues, as configured"),
            (False, {**rabbitmq, "version": "4.3.6"}, "classic queues, as configured"),
        ):
            ladder = Ladder(quorum=quorum)
            with capturedLogs() as logged:
                for _ in range(2):
                    wire: Any = FakeWire()
                    wire.server_properties = told
                    ladder.tell_kind(wire)
            (line,) = logged
            self.assertIn(wanted, str(formatEvent(line)))

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

    def test_types(self) -> None:
        """
        All its queues name their type, but for those that there were without one.
        """
        for quorum, wanted in ((True, "quorum"), (False, "classic")):
            for method, how in Rungs(quorum=quorum).declarations():
                if method == "queue_declare":
                    self.assertEqual(how["arguments"]["x-queue-type"], wanted)
        for method, how in Rungs().declarations(typed=False):
            if method == "queue_declare":
                self.assertNotIn("x-queue-type", how["arguments"])
