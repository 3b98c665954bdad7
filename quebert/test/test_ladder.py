"""
Tests for L{quebert.amqp.delays._ladder}, on a connection that is made up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert._repeated import QUIET
from quebert.amqp.delays._ladder import CHECK_EXITS, Ladder
from quebert.amqp.delays._refusals import LadderRefused
from quebert.amqp.delays._rungs import ARRIVALS, UNCLAIMED, Rungs, arrivals_of
from quebert.amqp.delays._rungs_in_use import CHECK, CHECK_ALL
from quebert.errors import BrokerError, BrokerRefused, ChannelLost
from quebert.test.doubles import RABBITMQ, FakeWire

pytestmark = pytest.mark.new_queues


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

    def test_part_refused(self) -> None:
        """
        Where another part is refused for want of a permission, nothing is made anew.
        """
        self.successResultOf(self.rung())
        self.wire.refused[arrivals_of("another")] = BrokerRefused(403, "refused")
        self.failureResultOf(self.rung(queue="another"), LadderRefused)
        self.wire.refused.clear()
        self.wire.clock.advance(2)
        self.successResultOf(self.rung(queue="another"))
        self.assertEqual(self.wire.made("exchange_declare").count(ARRIVALS), 1)

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
        self.wire.clock.advance(CHECK_EXITS)
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
        self.wire.clock.advance(CHECK_EXITS)
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

    def test_not_deleted(self) -> None:
        """
        It tells nothing of a rung that is there whenever all is looked at.
        """
        self.wire.clock.advance(1000)
        self.successResultOf(self.rung())
        self.wire.counts["quebert.delay.wait.5s"] = 7
        with capturedLogs() as logged:
            for _ in range(3):
                self.check()
                self.wire.clock.advance(CHECK_ALL)
        self.assertEqual(logged, [])

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
        self.wire.clock.advance(CHECK_EXITS)
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
        opened = []

        class Closing(FakeWire):
            async def open_channel(self, *, confirms: bool) -> FakeWire:
                opened.append(self)
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
        self.assertEqual(opened, spares)
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
        self.assertIn(".wait.", self.successResultOf(rung))

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
        self.ladder._checked_exits = self.wire.clock.seconds()
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
            for calls in (rungs.exits(), rungs.arrivals("queue")):
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
            calls = (*rungs.exits(), *rungs.arrivals("queue"), *rungs.rung(1))
            for method, how in calls:
                if method == "queue_declare":
                    self.assertEqual(how["arguments"]["x-queue-type"], wanted)
