"""
Tests for L{quebert.amqp.delays._rungs}: without a reactor, against the embedded
broker's own clock.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert._repeated import QUIET
from quebert.amqp.delays._ladder import CHECK_ENDS, Ladder
from quebert.amqp.delays._refusals import LadderRefused
from quebert.amqp.delays._rungs import (
    ARRIVALS,
    UNCLAIMED,
    WAITS,
    Rungs,
    arrivals_of,
    seconds_left,
    wait_for,
)
from quebert.amqp.delays._rungs_in_use import CHECK, CHECK_ALL
from quebert.amqp.queues._new_queues import NEW, NewQueues
from quebert.amqp.wire import Call, Message
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
