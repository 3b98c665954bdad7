"""
Tests for L{quebert.amqp.delays._rungs}: without a reactor, against the embedded
broker's own clock.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.delays._rungs import (
    ARRIVALS,
    FIRST_WAITS,
    UNCLAIMED,
    WAITS,
    Rungs,
    arrivals_of,
    latest_due,
    wait_for,
    wait_of,
)
from quebert.amqp.wire import Call
from quebert.broker import BrokerFactory
from quebert.test.broker.peer import Peer
from quebert.test.checks import QUICK

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
    @given(st.floats(0, WAITS[-1], exclude_max=True))
    def test_latest(self, seconds: float) -> None:
        """
        What is due in some seconds is due before that which its rung tells.
        """
        wait = wait_for(seconds)
        self.assertGreaterEqual(latest_due(wait), seconds)
        self.assertLessEqual(latest_due(wait), 2 * wait)

    def test_latest_of_each(self) -> None:
        """
        Behind a rung of less than 64 s a message is due; behind a longer one before the
        next wait would be over; behind the longest at any time.
        """
        waits = 1, 62, 63, 64, 128, 32_768, 65_536
        found = [latest_due(wait) for wait in waits]
        self.assertEqual(found, [1, 62, 63, 128, 256, 65_536, math.inf])

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
        rungs = Rungs(quorum=True, arguments={"x-one": 1}, exits={"x-two": 2})
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

    def test_exits(self) -> None:
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
            self.assertEqual(list(rungs.exits()), wanted)

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
            make(self.peer, *self.rungs.exits())
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
