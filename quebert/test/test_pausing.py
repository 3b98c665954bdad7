"""
Pauses of L{quebert.amqp.coordination}, and a watcher that is told to pause, with a
channel that only pretends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.coordination import CONTROL, is_paused, sign_of
from quebert.amqp.coordination._pause_switch import PauseSwitch
from quebert.amqp.coordination._pauses import AGAIN, CHECK, Pauses
from quebert.errors import BrokerError, BrokerRefused, ChannelLost, MayNotLook
from quebert.outcome import Retry
from quebert.test.test_watcher import (
    FakeChannel,
    FakeClient,
    FakeQuestions,
    FakeWire,
    WatcherTestCase,
)


def texts(logged: Sequence[LogEvent]) -> list[str]:
    """
    What was logged, but for what is of no interest.
    """
    return [
        str(each["log_format"]) for each in logged if each["log_level"] > LogLevel.debug
    ]


class SignTests(SynchronousTestCase):
    """
    Tests for L{sign_of}.
    """

    def test_name(self) -> None:
        """
        It tells which queue it is of.
        """
        self.assertEqual(sign_of("tasks"), "quebert.paused.tasks")

    def test_long(self) -> None:
        """
        It is no longer than a name may be, whatever the queue is called.
        """
        self.assertEqual(sign_of("a" * 240), "quebert.paused." + "a" * 240)
        names = {sign_of("a" * 241), sign_of("a" * 242), sign_of("ä" * 120)}
        self.assertEqual(len(names), 3)
        for each in names:
            self.assertLessEqual(len(each), 255)
            self.assertIn("quebert.paused.sha256-", each)


class PausesTests(SynchronousTestCase):
    """
    Tests for L{Pauses}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.client = FakeClient(self.clock)
        self.wire: Any = FakeWire(self.client)
        self.pauses = Pauses(lambda: self.clock, FakeQuestions(lambda: self.clock))
        self.looks: list[str] = []

    def ask(self, queue: str) -> bool:
        """
        Ask, and have the looks noted.
        """

        def look() -> None:
            self.looks.append(queue)

        asking = self.pauses.ask(self.wire, queue, look)
        return self.successResultOf(Deferred.fromCoroutine(asking))

    @property
    def listener(self) -> FakeChannel:
        """
        The channel over which it hears.
        """
        (channel,) = [c for c in self.client.channels if c.consumers]
        return channel

    def hear(self, queue: str) -> None:
        """
        Somebody says that this one has changed.
        """
        self.listener.deliver(b"")
        message = list(self.listener.delivered.values())[-1]
        self.assertIn(message.delivery_tag, self.listener.acked)

    def test_listens_before_it_asks(self) -> None:
        """
        Nothing can happen between the question and the first message.
        """
        self.assertTrue(self.ask("tasks"))
        listener, mark, question = self.client.channels
        self.assertEqual(mark.methods()[-1], "exchange_bind")
        self.assertEqual(listener.methods()[-1], "queue_bind")
        self.assertEqual(listener.argument("queue_bind", "exchange"), [CONTROL])
        self.assertEqual(listener.argument("queue_bind", "routing_key"), ["tasks"])
        passive = {"exchange": "quebert.paused.tasks", "passive": True}
        asked = question.calls[-1][1]
        self.assertEqual({**asked, **passive}, asked)
        self.assertTrue(question.closed)

    def test_one_ear(self) -> None:
        """
        However many queues are watched, one queue tells of them all, and goes with
        the connection.
        """
        self.ask("a")
        self.ask("b")
        self.ask("a")
        self.assertEqual(
            self.listener.argument("queue_bind", "routing_key"), ["a", "b"]
        )
        self.assertEqual(self.listener.argument("queue_declare", "exclusive"), [True])
        self.assertEqual(self.listener.argument("queue_declare", "auto_delete"), [True])

    def test_anew(self) -> None:
        """
        With another connection, it listens there.
        """
        self.ask("a")
        self.listener.lose_connection()
        self.wire = FakeWire(self.client)
        self.ask("a")
        self.assertEqual(self.listener.argument("queue_bind", "routing_key"), ["a"])

    def test_look(self) -> None:
        """
        Who watches the queue is to look; nobody else, and nobody who has ended.
        """
        self.ask("tasks.low")  # which is what the pretended messages tell of
        self.ask("b")
        self.hear("tasks.low")
        self.assertEqual(self.looks, ["tasks.low"])
        (look,) = self.pauses._looks["tasks.low"]
        self.pauses.forget("tasks.low", look)
        self.pauses.forget("tasks.low", look)
        self.hear("tasks.low")
        self.assertEqual(self.looks, ["tasks.low"])

    def test_refused(self) -> None:
        """
        A user that may not listen may ask.  All watches look at intervals then, and
        one line tells why.
        """
        self.client.refused["queue_bind"] = BrokerRefused(403, "ACCESS_REFUSED")
        with capturedLogs() as logged:
            self.assertTrue(self.ask("a"))
            self.assertTrue(self.ask("b"))
        self.assertEqual(len(texts(logged)), 1, logged)
        self.assertIn("does not announce pauses", texts(logged)[0])
        self.assertIn(r"read quebert\.control.*: ", logged[0]["need"])
        self.clock.advance(AGAIN)
        self.assertEqual(self.looks, ["a", "b"])
        self.clock.advance(AGAIN)
        self.assertEqual(len(self.looks), 2)  # unless they ask again

    def test_what_the_user_needs(self) -> None:
        """
        The permissions are named where RabbitMQ refuses for want of one.
        """
        for code, names in ((403, True), (404, False), (406, False)):
            self.setUp()
            self.client.refused["queue_bind"] = BrokerRefused(code, "no")
            with capturedLogs() as logged:
                self.ask("a")
            (line,) = [str(formatEvent(each)) for each in logged]
            self.assertIn("is asked every 10 s whether queues are paused", line)
            self.assertEqual("the user needs to configure" in line, names)
            self.assertTrue(line.endswith("no"), line)

    def test_asks_again_once(self) -> None:
        """
        Watches that may not look, and whose client hears nothing, look once in ten
        seconds.
        """
        self.client.refused["queue_bind"] = BrokerRefused(403, "ACCESS_REFUSED")
        self.ask("a")
        self.clock.advance(5)
        self.ask("b")
        self.clock.advance(4.75)
        self.assertEqual(self.looks, [])
        self.clock.advance(0.25)
        self.assertEqual(self.looks, ["a", "b"])
        self.ask("a")
        self.assertEqual(self.looks, ["a", "b"])
        self.clock.advance(AGAIN)
        self.assertEqual(sorted(self.looks), ["a", "a", "a", "b", "b"])

    def test_checks_at_intervals(self) -> None:
        """
        The client looks every three seconds, also when the answer fails.
        """
        self.ask("a")
        for refused in (False, True, False):
            self.client.refused.clear()
            if refused:
                error = BrokerRefused(541, "INTERNAL_ERROR")
                self.client.refused["exchange_declare"] = error
            before = len(self.client.channels)
            self.clock.advance(CHECK - 0.25)
            self.assertEqual(len(self.client.channels), before)
            self.clock.advance(0.25)
            self.assertEqual(len(self.client.channels) > before, True)
            self.client.refused.clear()
            self.ask("a")

    def test_nothing_left(self) -> None:
        """
        When the last watch has ended, no timer is left, whatever has happened.
        """
        for refused in ("queue_bind", ""):
            if refused:
                self.client.refused[refused] = BrokerRefused(403, "ACCESS_REFUSED")
            self.ask("a")
            self.client.refused.clear()
            (look,) = self.pauses._looks["a"]
            self.pauses.forget("another", look)
            self.assertNotEqual(self.clock.getDelayedCalls(), [])
            self.pauses.forget("a", look)
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.pauses.forget("a", look)

    def test_permitted(self) -> None:
        """
        A user that may listen after all is told again, by a queue of the same name:
        the one before may be there still.
        """
        self.client.refused["basic_consume"] = BrokerRefused(403, "ACCESS_REFUSED")
        self.ask("a")
        self.client.refused.clear()
        with capturedLogs() as logged:
            self.ask("a")
            self.ask("b")
        self.assertEqual(
            texts(logged), ["RabbitMQ announces pauses to this mediator again."]
        )
        self.hear("tasks.low")
        declared = [c.argument("queue_declare", "queue") for c in self.client.channels]
        self.assertEqual(len({name for names in declared for name in names}), 1)

    def test_may_not_look(self) -> None:
        """
        To a user that may not see whether a queue is paused, nothing is said, and it
        is to look again.
        """
        self.client.refused["exchange_declare"] = BrokerRefused(403, "ACCESS_REFUSED")
        asking = self.pauses.ask(self.wire, "a", lambda: self.looks.append("a"))
        problem = self.failureResultOf(Deferred.fromCoroutine(asking), MayNotLook)
        self.assertIn(
            "to configure, write or read exchange 'quebert.paused.a'",
            str(problem.value),
        )
        self.clock.advance(AGAIN)
        self.assertEqual(self.looks, ["a"])

    def test_one_timer(self) -> None:
        """
        However often something has changed, it is to look again once.
        """
        self.client.refused["exchange_declare"] = BrokerRefused(403, "ACCESS_REFUSED")
        for _ in range(3):
            asking = self.pauses.ask(self.wire, "a", lambda: self.looks.append("a"))
            self.failureResultOf(Deferred.fromCoroutine(asking), MayNotLook)
            self.pauses._look_all()
        self.looks.clear()
        self.clock.advance(2 * AGAIN)
        self.assertEqual(self.looks, [])

    def test_mark(self) -> None:
        """
        It asks every few seconds for an exchange of its own, and when that is gone all
        watches look.
        """
        self.ask("a")
        self.ask("b")
        (mark,) = {
            each.argument("exchange_bind", "source")[0]
            for each in self.client.channels
            if "exchange_bind" in each.methods()
        }
        for _ in range(3):
            self.clock.advance(CHECK)
            asked = self.client.channels[-1].calls[-1][1]
            self.assertEqual((asked["exchange"], asked["passive"]), (mark, True))
        self.assertEqual(self.looks, [])

    def test_mark_is_refused(self) -> None:
        """
        A client that may not ask for it looks at intervals.
        """
        self.ask("a")
        self.client.refused["exchange_declare"] = BrokerRefused(403, "ACCESS_REFUSED")
        with capturedLogs() as logged:
            self.clock.advance(CHECK)
        self.assertEqual(len(texts(logged)), 1)
        self.assertEqual(self.looks, [])
        self.client.refused.clear()
        self.clock.advance(AGAIN)
        self.assertEqual(self.looks, ["a"])

    def test_mark_is_refused_for_long(self) -> None:
        """
        However long it may not, one line tells, and another when it may again.
        """
        self.ask("a")
        self.client.refused["exchange_declare"] = BrokerRefused(403, "ACCESS_REFUSED")
        with capturedLogs() as logged:
            for _ in range(10):
                self.clock.advance(CHECK)
                self.clock.advance(AGAIN)
                asking = self.pauses.ask(self.wire, "a", lambda: None)
                self.failureResultOf(Deferred.fromCoroutine(asking), MayNotLook)
            self.client.refused.clear()
            self.ask("a")
            self.clock.advance(CHECK)
        refused, told = texts(logged)
        self.assertIn("does not announce pauses", refused)
        self.assertIn("announces pauses to this mediator again", told)

    def test_mark_cannot_be_set(self) -> None:
        """
        A client that may not make it keeps no channel open each time that it tries.
        """
        self.client.refused["exchange_bind"] = BrokerRefused(403, "ACCESS_REFUSED")
        for _ in range(3):
            self.ask("a")
            self.clock.advance(AGAIN)
        open_channels = [each for each in self.client.channels if not each.closed]
        self.assertEqual(open_channels, [])

    def test_forgotten(self) -> None:
        """
        Where nobody watches any more, nothing is asked.
        """
        self.client.refused["queue_bind"] = BrokerRefused(403, "ACCESS_REFUSED")
        self.ask("a")
        (look,) = self.pauses._looks["a"]
        self.pauses.forget("a", look)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_permission(self) -> None:
        """
        Two versions of RabbitMQ want another permission than the others.
        """
        self.client.refused["exchange_declare"] = BrokerRefused(403, "ACCESS_REFUSED")
        for version, wanted in (
            ("4.2.6", "configure"),
            ("4.2.7", "configure, write or read"),
            ("4.3.0", "configure"),
            ("4.3.6", "configure, write or read"),
        ):
            self.wire.server_properties = {
                "product": "RabbitMQ",
                "platform": "Erlang/OTP 27",
                "version": version,
            }
            asking = Deferred.fromCoroutine(is_paused(self.wire, "a"))
            problem = self.failureResultOf(asking, MayNotLook).value
            self.assertIn(f"needs to {wanted} exchange", str(problem))

    def test_lost(self) -> None:
        """
        A lost connection is no answer.
        """
        self.client.held.add("exchange_declare")
        asking = self.pauses.ask(self.wire, "a", lambda: None)
        asked = Deferred.fromCoroutine(asking)
        self.assertNoResult(asked)
        self.client.channels[-1].lose_connection()
        self.failureResultOf(asked, ChannelLost)

    def test_lost_with_many(self) -> None:
        """
        However many watches ask, all are told of a lost connection.
        """
        self.client.held.add("exchange_declare")
        asked = [
            Deferred.fromCoroutine(
                self.pauses.ask(self.wire, f"{number}", lambda: None)
            )
            for number in range(500)
        ]
        self.client.channels[-1].lose_connection()
        for each in asked:
            self.failureResultOf(each, ChannelLost)

    def test_deaf(self) -> None:
        """
        When somebody deletes the queue by which it is told, that is said, and it
        looks, and listens anew.
        """
        self.ask("a")
        with capturedLogs() as logged:
            self.listener.cancel_consumer()
        self.assertEqual(len(texts(logged)), 1)
        self.clock.advance(AGAIN)
        self.assertEqual(self.looks, ["a"])
        self.ask("a")
        self.assertEqual(self.listener.argument("queue_bind", "routing_key"), ["a"])

    def test_ear_closed(self) -> None:
        """
        So it is when the broker closes the channel, and not when the connection
        ends, of which others tell.
        """
        self.ask("a")
        with capturedLogs() as logged:
            self.listener.lose_connection()
        self.assertEqual(texts(logged), [])
        self.wire = FakeWire(self.client)
        self.ask("a")
        with capturedLogs() as logged:
            self.listener.lose()
        self.assertEqual(len(texts(logged)), 1)

    def test_missing(self) -> None:
        """
        A sign that is not there, and nothing else, says that it is not paused.
        """
        self.client.refused["exchange_declare"] = BrokerRefused(404, "NOT_FOUND")
        asking = Deferred.fromCoroutine(is_paused(self.wire, "a"))
        self.assertFalse(self.successResultOf(asking))
        self.client.refused["exchange_declare"] = BrokerRefused(541, "INTERNAL_ERROR")
        asking = Deferred.fromCoroutine(is_paused(self.wire, "a"))
        self.failureResultOf(asking, BrokerRefused)


class AskedPauses(Pauses):
    """
    What answers when the test says so.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(lambda: clock, FakeQuestions(lambda: clock))
        self.answers: list[Deferred[bool]] = []
        self.asked = 0

    async def ask(self, wire: Any, queue: str, look: Any) -> bool:
        """
        Wait for the answer.
        """
        self.asked += 1
        self.answers.append(Deferred())
        return await self.answers[-1]


class PauseSwitchTests(SynchronousTestCase):
    """
    L{PauseSwitch}, with much to look for.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.wire: Any = FakeWire(FakeClient(self.clock))
        self.pauses = AskedPauses(self.clock)
        self.halted = 0
        self.gone_on = 0

        async def halt() -> None:
            self.halted += 1

        async def go_on() -> None:
            self.gone_on += 1

        self.switch = PauseSwitch(self.pauses, "tasks", halt, go_on)
        self.addCleanup(self.switch.end)

    def begin(self) -> Deferred[None]:
        """
        Have a connection.
        """
        return Deferred.fromCoroutine(self.switch.begin(self.wire))

    def begun(self) -> None:
        """
        Have one, with a queue that is not paused.
        """
        beginning = self.begin()
        self.pauses.answers.pop().callback(False)
        self.successResultOf(beginning)

    def test_many_looks(self) -> None:
        """
        However often it is told to look while it waits for an answer, it asks once
        more.
        """
        self.begun()
        for _ in range(1_000):
            self.switch._look()
        self.pauses.answers.pop().callback(False)
        self.pauses.answers.pop().callback(True)
        self.assertEqual((self.pauses.asked, self.halted), (3, 1))

    def test_many_looks_and_lost(self) -> None:
        """
        However often it was told to look, it begins with the next connection.
        """
        self.begun()
        for _ in range(1_000):
            self.switch._look()
        self.wire.closed = True
        self.pauses.answers.pop().errback(ChannelLost("gone"))
        self.wire = FakeWire(FakeClient(self.clock))
        self.begun()

    def test_no_answer_for_long(self) -> None:
        """
        It asks once a second, however often it is told to look, while RabbitMQ refuses
        to say.
        """
        self.begun()
        for _ in range(60):
            self.switch._look()
            while self.pauses.answers:
                self.pauses.answers.pop().errback(BrokerError("ask later"))
            self.clock.advance(1)
        self.assertEqual(len(self.pauses.answers), 1)
        self.assertEqual(self.pauses.asked, 62)

    def test_same_answer(self) -> None:
        """
        An answer that is the same as before changes nothing.
        """
        self.begun()
        self.switch._look()
        self.pauses.answers.pop().callback(False)
        self.assertEqual((self.halted, self.gone_on), (0, 1))

    def test_paused_and_hidden(self) -> None:
        """
        The watch rests while the queue is paused, and while nobody says whether it is;
        the log tells each change once.
        """
        with capturedLogs() as logged:
            self.begun()
            for answer, halted, gone_on, paused in (
                (True, 1, 1, True),
                (True, 1, 1, True),
                (None, 2, 1, True),
                (None, 2, 1, True),
                (False, 2, 2, False),
                (None, 3, 2, True),
                (True, 4, 2, True),
            ):
                self.switch._look()
                if answer is None:
                    self.pauses.answers.pop().errback(MayNotLook("may not"))
                else:
                    self.pauses.answers.pop().callback(answer)
                self.assertEqual((self.halted, self.gone_on), (halted, gone_on))
                self.assertEqual(self.switch.paused, paused)
        lines = [str(formatEvent(each)) for each in logged]
        hidden = "Queue 'tasks' is not consumed, since RabbitMQ does not tell"
        rests = "Queue 'tasks' is paused."
        expected = [
            rests,
            hidden,
            "Queue 'tasks' is not paused any more.",
            hidden,
            rests,
        ]
        self.assertEqual(len(lines), 5)
        for line, start in zip(lines, expected, strict=True):
            self.assertTrue(line.startswith(start), line)
        self.assertIn("RabbitMQ is asked again every 10 seconds: may not", lines[1])

    def test_step_fails(self) -> None:
        """
        Where the watch cannot rest since its channel is closed, the next channel will
        tell, and the queue is looked at again when that is wanted.
        """

        async def fail() -> None:
            raise ChannelLost("closed")

        self.begun()
        self.patch(self.switch, "_halt", fail)
        self.switch._look()
        self.pauses.answers.pop().callback(True)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.switch._look()
        self.assertEqual(self.pauses.asked, 3)
        self.pauses.answers.pop().callback(True)

    def test_end_leaves_no_warning(self) -> None:
        """
        What was told is over with the end, silently, and the client looks no more.
        """
        forgotten: list[str] = []
        self.patch(self.pauses, "forget", lambda queue, look: forgotten.append(queue))
        self.begun()
        with capturedLogs() as logged:
            self.switch._look()
            self.pauses.answers.pop().errback(BrokerError("ask later"))
            self.clock.advance(0.75)
            self.assertEqual(self.pauses.asked, 2)
            self.clock.advance(0.25)
            self.assertEqual(self.pauses.asked, 3)
            self.pauses.answers.pop().callback(False)
            self.switch.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((len(logged), forgotten), (1, ["tasks"]))

    def test_lost_while_it_asks(self) -> None:
        """
        A question that ends with its connection is not asked again, nor told of.
        """
        self.begun()
        self.switch._look()
        self.wire.closed = True
        self.pauses.answers.pop().errback(ChannelLost("gone"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_answered_after_all(self) -> None:
        """
        One line tells that RabbitMQ does not say, and another that it does again.
        """
        self.begun()
        self.switch._look()
        with capturedLogs() as logged:
            self.pauses.answers.pop().errback(BrokerError("ask later"))
            self.clock.advance(1)
            self.pauses.answers.pop().callback(False)
            self.clock.pump([1.0] * 20)
        asked, answered = map(formatEvent, logged)
        self.assertEqual(
            asked,
            "RabbitMQ does not tell whether queue 'tasks' is paused, and"
            " is asked again: ask later",
        )
        self.assertIn("tells again whether queue 'tasks' is paused", answered)

    def test_end_while_it_waits(self) -> None:
        """
        When the watch ends before the question is asked again, it is never asked.
        """
        self.begun()
        self.switch._look()
        self.pauses.answers.pop().errback(BrokerError("ask later"))
        self.switch.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.switch._look()
        self.assertEqual(self.pauses.asked, 2)

    def test_end_while_it_asks(self) -> None:
        """
        An answer that comes after the end of the watch is the last one, and nothing is
        halted.
        """
        self.begun()
        self.switch._look()
        self.switch._look()
        self.switch.end()
        self.pauses.answers.pop().callback(True)
        self.switch._look()
        self.assertEqual((self.pauses.asked, self.halted), (2, 0))

    def test_end_while_it_begins(self) -> None:
        """
        So it is with the answer to the first question.
        """
        beginning = self.begin()
        self.switch.end()
        self.pauses.answers.pop().callback(True)
        self.successResultOf(beginning)
        self.assertEqual(self.halted, 0)

    def test_end_while_a_look_waits(self) -> None:
        """
        A look that waits for the answer to the first question is not made after the
        end.
        """
        beginning = self.begin()
        self.switch._look()
        self.assertEqual(self.pauses.asked, 1)
        self.switch.end()
        self.pauses.answers.pop().callback(False)
        self.successResultOf(beginning)
        self.assertEqual(self.pauses.asked, 1)

    def test_begun_after_the_end(self) -> None:
        """
        With a connection that comes after its end it asks nothing.
        """
        self.switch.end()
        self.successResultOf(self.begin())
        self.assertEqual(self.pauses.asked, 0)


class PausedWatcherTests(WatcherTestCase):
    """
    Tests for a L{Watcher<quebert.amqp.Watcher>} whose queue is paused.
    """

    def change(self, paused: bool) -> None:
        """
        The queue is paused, or not any more, and it is told to look.
        """
        queues = self.client.pauses.paused
        queues.add("queue") if paused else queues.discard("queue")
        self.client.pauses.looks["queue"]()
        self.check()

    def check_consuming(self, consuming: bool) -> None:
        """
        Whether it does, and it and the broker agree.
        """
        self.assertEqual(self.watcher.consuming, consuming)
        self.assertEqual(self.watcher.paused, not consuming)
        self.assertEqual(len(self.channel.consumers), int(consuming))

    def test_not_paused(self) -> None:
        """
        It consumes; to be told to look where nothing has changed changes nothing.
        """
        channel = self.begin()
        calls = len(channel.calls)
        self.change(False)
        self.check_consuming(True)
        self.assertEqual(len(channel.calls), calls)

    def test_paused_from_the_start(self) -> None:
        """
        It starts, and consumes when it goes on.
        """
        self.client.pauses.paused.add("queue")
        self.begin()
        self.check_consuming(False)
        self.assertNotIn("basic_consume", self.channel.methods())
        self.assertNotIn("basic_cancel", self.channel.methods())
        self.change(False)
        self.check_consuming(True)
        self.deliver()
        self.assertEqual(len(self.called), 1)

    def test_paused(self) -> None:
        """
        It consumes no more; what runs may finish; the connection stays.
        """
        channel = self.begin()
        message = self.deliver()
        with capturedLogs() as logged:
            self.change(True)
            self.change(True)
        self.assertEqual(texts(logged), ["Queue {queue!r} {what}."])
        self.check_consuming(False)
        self.assertEqual(self.watcher.in_flight, 1)
        self.finish(message)
        self.check_counts(received=1, done=1)
        self.assertFalse(channel.closed)

    def test_not_begun(self) -> None:
        """
        What has not begun, and what comes before the broker knows, goes back.
        """
        channel = self.begin(prefetch=1)
        first = self.deliver()
        self.channel.deliver(beyond_prefetch=True)
        self.client.held.add("basic_cancel")
        self.change(True)
        self.finish(first)
        channel.deliver(beyond_prefetch=True)
        self.assertEqual(self.called, [first])
        self.client.held.clear()
        channel.answer()
        self.assertEqual(self.called, [first])
        self.check_counts(received=3, done=1, returned=2)
        self.check_settled([1], [2, 3])

    def test_resumed(self) -> None:
        """
        Then it consumes again, on the same channel, with as many places.
        """
        self.begin(prefetch=2)
        running = self.deliver()
        self.change(True)
        with capturedLogs() as logged:
            self.change(False)
        self.assertEqual(texts(logged), ["Queue {queue!r} {what}."])
        self.check_consuming(True)
        self.deliver()
        self.channel.deliver()  # of the new consumer, and beyond the places
        self.assertEqual(len(self.running), 2)
        self.finish(running)
        self.assertEqual(len(self.called), 3)

    def test_not_resumed(self) -> None:
        """
        Where RabbitMQ does not let it consume again, since another consumer holds the
        queue exclusively, the log tells that, once, and nothing of a pause.
        """
        channel = self.begin()
        self.change(True)
        why = BrokerRefused(403, "queue 'queue' in exclusive use")
        self.client.refused["basic_consume"] = why
        with capturedLogs() as logged:
            self.change(False)
            self.advance(1)
        self.assertEqual(
            [formatEvent(each) for each in logged],
            [
                "Queue 'queue' is not paused any more.",
                f"Queue 'queue' is not consumed for now: {why}",
            ],
        )
        self.assertTrue(channel.closed)
        del self.client.refused["basic_consume"]
        self.advance(10)
        self.check_consuming(True)

    def test_to_and_fro(self) -> None:
        """
        What is said while the broker has not answered yet is heeded in the end.
        """
        channel = self.begin()
        self.client.held.add("basic_cancel")
        self.change(True)
        self.change(False)
        self.change(True)
        self.change(False)
        self.client.held.clear()
        channel.answer()
        self.check_consuming(True)

    def test_looks_while_starting(self) -> None:
        """
        What is said between the question and the first consumer is heeded, too.
        """
        self.client.held.add("basic_consume")
        starting = Deferred.fromCoroutine(self.watcher.start())
        self.addCleanup(self.end)
        self.change(True)
        self.client.held.clear()
        self.channel.answer()
        self.successResultOf(starting)
        self.check_consuming(False)

    def test_waiting(self) -> None:
        """
        What waits for its retry goes back to the queue in its time.
        """
        self.begin()
        message = self.deliver()
        self.finish(message, Retry(after=3.0))
        self.change(True)
        self.advance(3)
        self.confirm()
        self.check_counts(received=1, retried=1)
        self.check_consuming(False)

    def test_asked_again(self) -> None:
        """
        Where the broker does not say, it is asked again, and that is told.
        """
        self.begin()
        pauses, ask = self.client.pauses, self.client.pauses.ask

        async def refuse(*asked: Any) -> bool:
            self.patch(pauses, "ask", ask)
            raise BrokerError("all channels are in use")

        self.patch(pauses, "ask", refuse)
        pauses.paused.add("queue")
        pauses.looks["queue"]()
        self.check_consuming(True)
        self.advance(1)
        self.check_consuming(False)

    def test_may_not_look(self) -> None:
        """
        Where the user may not see whether the queue is paused, it does not consume,
        which one line tells; it goes on when the user may.
        """
        self.client.pauses.hidden.add("queue")
        with capturedLogs() as logged:
            self.begin()
            self.change(False)
        self.assertEqual(len(texts(logged)), 1, logged)
        self.assertIn("is not consumed", texts(logged)[0])
        self.check_consuming(False)
        self.client.pauses.hidden.clear()
        self.change(True)
        self.check_consuming(False)
        self.change(False)
        self.check_consuming(True)

    def test_may_not_look_any_more(self) -> None:
        """
        One that is told to look, and may not, stops.
        """
        self.begin()
        self.client.pauses.hidden.add("queue")
        self.change(True)
        self.check_consuming(False)

    def test_while_renewing(self) -> None:
        """
        A consumer that is just being replaced is not left behind.
        """
        channel = self.begin(prefetch=1)
        self.client.held.add("basic_consume")
        self.finish(self.deliver(), Retry(after=60.0))
        self.change(True)
        self.client.held.clear()
        while channel.pending:
            channel.answer()
        # The pretended broker answers one call before it takes the next.
        for tag in list(channel.consumers):
            self.assertIn(tag, channel.argument("basic_cancel", "consumer_tag"))
        self.assertFalse(self.watcher.consuming)

    def test_connection_lost(self) -> None:
        """
        With another connection it asks anew: it may have been paused, ...
        """
        self.begin()
        self.client.pauses.paused.add("queue")
        self.channel.lose_connection()
        self.advance(0)
        self.assertFalse(self.channel.closed)
        self.check_consuming(False)

    def test_resumed_while_lost(self) -> None:
        """
        ... or have gone on.
        """
        self.client.pauses.paused.add("queue")
        self.begin()
        self.client.pauses.paused.clear()
        self.channel.lose_connection()
        self.advance(0)
        self.check_consuming(True)
        self.deliver()
        self.assertEqual(len(self.called), 1)

    def test_lost_while_pausing(self) -> None:
        """
        A connection that is lost in the middle of it does not matter.
        """
        self.begin()
        self.client.held.add("basic_cancel")
        self.change(True)
        self.client.held.clear()
        self.channel.lose_connection()
        self.advance(0)
        self.check_consuming(False)
        self.change(False)
        self.check_consuming(True)

    def test_queue_deleted(self) -> None:
        """
        A queue that is deleted just before is declared anew, and not consumed.
        """
        channel = self.begin()
        self.client.held.add("queue_declare")
        channel.cancel_consumer()
        self.change(True)
        self.client.held.clear()
        self.client.channels[-1].answer()
        self.check_consuming(False)
        self.change(False)
        self.check_consuming(True)

    def test_stop(self) -> None:
        """
        A paused watch stops like any other, and is told no more.
        """
        self.begin()
        self.change(True)
        stopped = self.watcher.stop()
        self.successResultOf(stopped)
        self.assertEqual(self.client.pauses.looks, {})

    def test_stop_while_going_on(self) -> None:
        """
        One that is stopped does not go on.
        """
        self.client.pauses.paused.add("queue")
        self.begin()
        look = self.client.pauses.looks["queue"]
        self.client.pauses.paused.clear()
        message_count = len(self.called)
        stopped = self.watcher.stop()
        look()
        self.successResultOf(stopped)
        self.assertNotIn("basic_consume", self.channel.methods())
        self.assertEqual(len(self.called), message_count)

    def test_never_started(self) -> None:
        """
        A watch that could not start is not told of anything.
        """
        self.client.refused["basic_consume"] = BrokerRefused(403, "ACCESS_REFUSED")
        starting = Deferred.fromCoroutine(self.watcher.start())
        self.failureResultOf(starting, BrokerRefused)
        self.assertEqual(self.client.pauses.looks, {})
