"""
Looks at the broker, with one that only pretends: of bindings, and of dead letters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.queues import (
    Bindings,
    Browsing,
    Depth,
    NewQueues,
    QueueBinding,
    _keeping,
    browse,
    declare_queue,
    declare_task_queue,
    looking,
    own_quorum,
    unreached_length_limit,
)
from quebert.amqp.queues import _bindings as _binding
from quebert.amqp.queues import _browse as _browse
from quebert.amqp.queues._dead_letters import DeadLetters, _argument_sets
from quebert.amqp.queues._declaring import no_delivery_limit
from quebert.amqp.queues._existing import explained, is_gone
from quebert.amqp.queues._keeping import Keeping
from quebert.amqp.wire import Message
from quebert.errors import BrokerRefused, ChannelLost
from quebert.test.doubles import RABBITMQ, FakeWire
from quebert.test.support import logged


class LookTests(SynchronousTestCase):
    """
    What is looked at again and again.
    """

    def test_refused_exchange(self) -> None:
        """
        An exchange that was deleted, and that the user may not declare, is told once,
        and not as declared anew.
        """
        clock, wire = Clock(), FakeWire()
        connection: Any = wire
        connection.closed = False
        bindings = Bindings(lambda: clock)
        binding = QueueBinding("queue", "exchange", "topic", "key", {})
        refused = BrokerRefused(403, "access to exchange 'exchange' refused")
        self.patch(QueueBinding, "declare", _failing(refused))
        with capturedLogs() as logged:
            bindings.keep(connection, binding)
            for _ in range(5):
                clock.advance(_binding.LOOK)
        (line,) = (str(formatEvent(event)) for event in logged)
        self.assertIn("and may get no tasks", line)
        bindings.forget(binding)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_taken_meanwhile(self) -> None:
        """
        Browsing that is over waits until its messages are back, and not while somebody
        takes one after the other.
        """
        clock, ready = Clock(), [0]

        async def depth(wire: Any, queue: str) -> Depth:
            return Depth(ready[0], 1)

        async def unused(message: Any, properties: bytes) -> None:
            raise AssertionError

        self.patch(_browse, "depth", depth)
        wire: Any = SimpleNamespace(clock=clock, server_properties={})
        browsing = Browsing(wire, "queue.dead", 100, unused)
        browsing.kept = 100
        over = Deferred.fromCoroutine(browsing.are_back())
        for ready[0] in (30, 60, 90):
            clock.advance(1.5)
            self.assertNoResult(over)
        for ready[0] in range(89, 80, -1):
            clock.advance(0.5)
        self.successResultOf(over)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_dead_letters_after_reconnection(self) -> None:
        """
        However often the connection is lost, there is one timer for dead letters, and
        none at the end.
        """
        clock = Clock()
        keeping = Keeping("queue.dead", lambda: clock)
        for _ in range(3):
            wire: Any = FakeWire()
            wire.there.add("queue.dead")
            before = Deferred.fromCoroutine(keeping.before(wire))
            keeping.moved(self.successResultOf(before))
            self.assertEqual(len(clock.getDelayedCalls()), 1)
            clock.advance(_keeping.LOOK / 2)
        keeping.end()
        self.assertEqual(clock.getDelayedCalls(), [])


def _failing(why: Exception) -> Any:
    async def fail(*_: object) -> None:
        raise why

    return fail


class RecordingWire(FakeWire):
    """
    A connection, also as its own channel, on which each call has an answer.

    @ivar told: all calls with their arguments.
    @ivar refuses: takes a method and its arguments; what is raised, or C{None}.
    @ivar waits: what each call waits for, if there is anything.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.refuses: Callable[[str, dict[str, Any]], Exception | None] = (
            lambda method, arguments: None
        )
        self.waits: Deferred[None] | None = None

    async def call(self, method: str, **arguments: Any) -> Any:
        """
        Call a method.
        """
        self.told.append((method, arguments))
        if self.waits is not None:
            await self.waits
        why = self.refuses(method, arguments)
        if why is not None:
            raise why
        return await super().call(method, **arguments)

    def methods(self) -> list[str]:
        """
        The methods that were called since this was asked last.
        """
        told, self.told = self.told, []
        return [method for method, _ in told]


class LooksTestCase(SynchronousTestCase):
    """
    A clock, a connection, and what is logged.
    """

    def setUp(self) -> None:
        """
        Nothing has happened yet.
        """
        self.clock = Clock()
        self.wire: Any = RecordingWire(self.clock)
        log = logged(LogLevel.info)
        self.lines = log.__enter__()
        self.addCleanup(log.__exit__, None, None, None)

    def timers(self) -> list[float]:
        """
        In how many seconds something will be done.
        """
        now = self.clock.seconds()
        return [each.getTime() - now for each in self.clock.getDelayedCalls()]


class LookersTests(LooksTestCase):
    """
    L{looking}, by what it leaves.
    """

    def test_may_not_consume(self) -> None:
        """
        Who may declare the helper queue, and not consume from it, keeps no channel.
        """

        def refuses(method: str, arguments: dict[str, Any]) -> Exception | None:
            is_refused = method == "basic_consume"
            return BrokerRefused(403, "ACCESS_REFUSED") if is_refused else None

        async def shut() -> None:
            shuts.append(1)

        async def look() -> None:
            async with looking(self.wire, "tasks"):
                self.assertEqual(len(shuts), len(self.wire.opening))

        shuts: list[int] = []
        self.wire.refuses = refuses
        self.patch(self.wire, "shut", shut)
        self.successResultOf(Deferred.fromCoroutine(look()))


class KeptBindingsTests(LooksTestCase):
    """
    L{Bindings}, by what they ask.
    """

    def setUp(self) -> None:
        super().setUp()
        self.wire.there.add("flow")
        self.bindings = Bindings(lambda: self.clock)
        self.one = QueueBinding("one", "flow", "topic", "#", {})
        self.other = QueueBinding("other", "flow", "topic", "#", {})
        self.look = ["exchange_declare", "exchange_declare", "queue_bind"]

    def tearDown(self) -> None:
        """
        Nothing is left of bindings that are forgotten.
        """
        for each in (self.one, self.other):
            self.bindings.forget(each)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_declared(self) -> None:
        """
        The exchange is durable; arguments are told where there are any.
        """
        exchange = {"exchange": "flow", "exchange_type": "headers", "durable": True}
        bind = {"queue": "q", "exchange": "flow", "routing_key": "k"}
        for arguments in ({}, {"x-match": "all"}):
            binding = QueueBinding("q", "flow", "headers", "k", arguments)
            declaring = binding.declare(self.wire)
            self.successResultOf(Deferred.fromCoroutine(declaring))
            given = {"arguments": arguments} if arguments else {}
            told = [("exchange_declare", exchange), ("queue_bind", {**bind, **given})]
            self.assertEqual(self.wire.told, told)
            self.wire.told.clear()

    def test_default_exchange(self) -> None:
        """
        Each queue is bound to it: nothing is to be declared, and nothing looked at.
        """
        binding = QueueBinding("q", "", "direct", "q", {})
        declaring = Deferred.fromCoroutine(binding.declare(self.wire))
        self.successResultOf(declaring)
        self.bindings.keep(self.wire, binding)
        self.assertEqual((self.wire.told, self.timers()), ([], []))

    def test_looks(self) -> None:
        """
        All are looked at every five seconds, however many there are, and none is that
        nobody watches any more.
        """
        self.bindings.keep(self.wire, self.one)
        self.clock.advance(1)
        self.bindings.keep(self.wire, self.other)
        self.assertEqual(self.timers(), [4.0])
        self.clock.advance(3.75)
        self.assertEqual(self.wire.methods(), [])
        for _ in range(2):
            self.clock.advance(0.25)
            self.assertEqual(self.wire.methods(), self.look * 2)
            self.assertEqual(self.timers(), [5.0])
            self.clock.advance(4.75)
        self.bindings.forget(self.one)
        self.clock.advance(0.25)
        self.assertEqual(self.wire.methods(), self.look)
        self.bindings.forget(self.other)
        self.assertEqual(self.timers(), [])
        self.assertEqual(self.lines, [])

    def test_may_not_look(self) -> None:
        """
        Where RabbitMQ does not say whether the exchange is there, and lets it be
        declared, it does not count as deleted.
        """

        def refuses(method: str, arguments: dict[str, Any]) -> Exception | None:
            is_look = arguments.get("passive")
            return BrokerRefused(403, "ACCESS_REFUSED") if is_look else None

        self.wire.refuses = refuses
        self.bindings.keep(self.wire, self.one)
        self.clock.advance(5)
        self.assertEqual(self.wire.methods(), self.look)
        self.assertEqual(self.lines, [])

    def test_another_connection(self) -> None:
        """
        It is looked at over the newest connection, and not over one that is lost.
        """
        self.bindings.keep(self.wire, self.one)
        before, self.wire = self.wire, RecordingWire(self.clock)
        before.closed = True
        self.bindings.keep(self.wire, self.one)
        self.clock.advance(5)
        self.assertEqual((before.methods(), self.wire.methods()), ([], self.look))
        self.wire.closed = True
        self.clock.advance(5)
        self.assertEqual((before.methods(), self.wire.methods()), ([], []))
        self.assertEqual(self.timers(), [5.0])

    def test_connection_lost_meanwhile(self) -> None:
        """
        Of a connection that is lost others tell.
        """
        self.wire.refuses = lambda method, how: ChannelLost("gone")
        self.bindings.keep(self.wire, self.one)
        self.clock.advance(5)
        self.assertEqual((self.lines, self.timers()), ([], [5.0]))

    def test_slow_answer(self) -> None:
        """
        The next look is five seconds after the last one has ended.
        """
        self.bindings.keep(self.wire, self.one)
        self.wire.waits = waits = Deferred[None]()
        self.clock.advance(5)
        self.bindings.keep(self.wire, self.other)
        self.assertEqual(self.timers(), [])
        self.wire.waits = None
        waits.callback(None)
        self.assertEqual(self.timers(), [5.0])

    def test_forgotten_meanwhile(self) -> None:
        """
        Nothing is said of a binding that nobody wants any more, whatever the answer.
        """
        for refusal, there in ((BrokerRefused(406, "no"), True), (None, False)):
            self.bindings.keep(self.wire, self.one)
            self.wire.waits = waits = Deferred[None]()
            self.wire.refuses = lambda method, how, refusal=refusal: (
                None if how.get("passive") else refusal
            )
            self.wire.there = {"flow"} if there else set()
            self.clock.advance(5)
            self.bindings.forget(self.one)
            self.wire.waits = None
            waits.callback(None)
            self.assertEqual((self.lines, self.timers()), ([], []))

    def test_deleted(self) -> None:
        """
        An exchange that was deleted is told once for each queue that is bound to it.
        """
        self.wire.there.clear()
        for each in (self.one, self.other):
            self.bindings.keep(self.wire, each)
        self.clock.advance(5)
        self.clock.advance(5)
        text = "Exchange 'flow' was deleted. It is declared anew, and queue 'one' is"
        self.assertEqual(self.lines, [f"{text} bound to it."])
        self.assertEqual(self.wire.methods().count("queue_bind"), 4)

    def test_refused_and_well_again(self) -> None:
        self.bindings.keep(self.wire, self.one)
        self.wire.refuses = lambda method, how: (
            None if how.get("passive") else BrokerRefused(406, "other type")
        )
        self.clock.advance(5)
        self.wire.refuses = lambda method, how: None
        self.clock.pump([5, 5, 5])
        refused, well = self.lines
        self.assertIn(
            "Queue 'one' cannot be bound to exchange 'flow', and may get"
            " no tasks: other",
            refused,
        )
        self.assertIn("'one' is bound to exchange 'flow' again", well)

    def test_fault_of_ours(self) -> None:
        """
        It is logged, and the looks go on.
        """
        self.bindings.keep(self.wire, self.one)
        self.wire.refuses = lambda method, how: ZeroDivisionError()
        self.clock.advance(5)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.timers(), [5.0])
        self.assertEqual(
            self.lines, ["Checking the bindings of watched queues failed."]
        )


class KeepingTests(LooksTestCase):
    """
    L{Keeping}: whether a queue keeps what was moved there.
    """

    def setUp(self) -> None:
        super().setUp()
        self.wire.there.add("dead")
        self.keeping = Keeping("dead", lambda: self.clock)
        self.addCleanup(self.keeping.end)

    def hold(self, count: int) -> None:
        """
        So many messages are in the queue now.
        """
        self.wire.counts["dead"] = count

    def before(self) -> int:
        """
        A message is about to be moved.
        """
        before = self.keeping.before(self.wire)
        return self.successResultOf(Deferred.fromCoroutine(before))

    def move(self, number: int) -> None:
        """
        Messages are moved.
        """
        for _ in range(number):
            self.keeping.moved(self.before())

    def test_kept(self) -> None:
        """
        As long as the queue holds as many as were moved there, or more, nothing is
        said.
        """
        self.hold(3)
        for held in (5, 7, 12):
            self.move(2)
            self.hold(held)
            self.clock.advance(5)
        self.clock.advance(5)
        self.assertEqual((self.lines, self.timers()), ([], []))

    def test_looks_after_five_seconds(self) -> None:
        self.move(1)
        self.assertEqual(self.timers(), [5.0])
        self.hold(1)
        self.wire.methods()
        self.clock.advance(4.75)
        self.assertEqual(self.wire.methods(), [])
        self.clock.advance(0.25)
        self.assertEqual(self.wire.methods(), ["queue_declare"])

    def test_not_kept(self) -> None:
        """
        What is missing at two looks is told, with how many; once it is well, that is
        told, too.
        """
        self.hold(3)
        self.move(2)
        self.hold(2)
        self.clock.advance(5)
        self.assertEqual(self.lines, [])
        self.clock.advance(5)
        (line,) = self.lines
        self.assertIn("'dead' loses tasks that were given up, 3 times", line)
        self.assertIn("see quebert doctor", line)
        self.move(1)
        self.hold(3)
        self.clock.pump([5] * 3)
        self.assertEqual(len(self.lines), 2)
        self.assertIn("'dead' keeps the tasks that are given up again", self.lines[1])

    def test_missing_for_a_moment(self) -> None:
        """
        RabbitMQ may count some of them later.
        """
        for _ in range(2):
            self.hold(0)
            self.keeping.moved(self.before())
            self.clock.advance(5)
            self.hold(1)
            self.clock.advance(5)
            self.hold(0)
            self.clock.advance(5)
        self.assertEqual(self.lines, [])

    def test_confirmed_after_a_look(self) -> None:
        """
        A message that was moved before a look, and confirmed after it, does not count:
        the look may have seen it or not.
        """
        number = self.before()
        self.move(1)
        self.hold(1)
        self.clock.advance(5)
        self.keeping.moved(number)
        self.clock.advance(5)
        self.clock.advance(5)
        self.assertEqual((self.lines, self.timers()), ([], []))

    def test_rests(self) -> None:
        """
        While nothing is moved nothing is asked; before the next message is moved, what
        is there is counted anew.
        """
        self.hold(5)
        number = self.before()
        self.clock.advance(5)
        self.assertEqual(self.timers(), [])
        self.assertEqual(self.wire.methods(), ["queue_declare"])
        self.hold(0)  # somebody has taken them
        self.assertNotEqual(self.before(), number)
        self.assertEqual(self.wire.methods(), ["queue_declare"])
        self.move(1)
        self.assertEqual(self.wire.methods(), [])
        self.hold(1)
        self.clock.advance(5)
        self.clock.advance(5)
        self.assertEqual(self.lines, [])

    def test_no_answer(self) -> None:
        """
        Where RabbitMQ does not tell, nothing is said, and it is asked again before the
        next message is moved.
        """
        self.move(1)
        self.wire.refuses = lambda method, how: BrokerRefused(403, "ACCESS_REFUSED")
        self.clock.advance(5)
        self.wire.methods()
        self.before()
        self.assertEqual(self.wire.methods(), ["queue_declare"])
        self.before()
        self.assertEqual((self.wire.methods(), self.timers()), ([], []))

    def test_queue_is_missing(self) -> None:
        """
        A queue that is not there holds nothing.
        """
        self.wire.there.clear()
        self.move(1)
        self.clock.advance(5)
        self.clock.advance(5)
        self.assertIn("loses tasks that were given up", self.lines[0])

    def test_end(self) -> None:
        """
        Nothing is left at the end, whenever that is.
        """
        self.move(1)
        self.clock.advance(5)
        self.clock.advance(5)  # told
        self.move(1)
        self.wire.waits = waits = Deferred[None]()
        self.clock.advance(5)
        self.keeping.end()
        self.assertEqual(self.timers(), [])
        self.wire.waits = None
        waits.callback(None)
        self.before()
        self.assertEqual(self.timers(), [])


class DeadLettersTests(LooksTestCase):
    """
    L{DeadLetters}, by what RabbitMQ tells of the queue.
    """

    def setUp(self) -> None:
        super().setUp()
        self.sent: list[Any] = []
        self.kind = "stream"

        def refuse(method: str, how: dict[str, Any]) -> Exception | None:
            kind = how.get("arguments", {}).get("x-queue-type")
            if method != "queue_declare" or how.get("passive") or kind == self.kind:
                return None
            return BrokerRefused(
                406,
                "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue"
                f" 'tasks.dead' in vhost '/': received the value '{kind}' of type"
                f" 'longstr' but current is the value '{self.kind}' of type 'longstr'",
            )

        self.wire.refuses = refuse
        self.wire.there.add("tasks.dead")

    def letters(self, kind: str | None) -> DeadLetters:
        """
        Those of a queue of some type.
        """
        letters = DeadLetters("tasks", lambda: self.clock, NewQueues(), kind)
        self.addCleanup(letters.end)
        return letters

    def bury(self, letters: DeadLetters) -> None:
        """
        Move a message there.
        """

        async def send(*arguments: Any) -> None:
            self.sent.append(arguments)

        burying = letters.publish(self.wire, send, b"body", b"how", self.fail)
        self.successResultOf(Deferred.fromCoroutine(burying))

    def test_ways(self) -> None:
        """
        Beside a queue without a type, a classic queue is the second way where RabbitMQ
        knows the arguments of the first; else there is one way.
        """
        for version, number in (("3.10.8", 1), ("4.3.6", 2)):
            self.wire.server_properties = {**RABBITMQ, "version": version}
            self.assertEqual(len(_argument_sets(self.wire, None)), number)

    def test_stream(self) -> None:
        """
        A stream gets them, which is told; nobody counts what it keeps.
        """
        letters = self.letters("quorum")
        for _ in range(2):
            self.bury(letters)
        self.assertEqual(self.sent, [("", "tasks.dead", b"body", b"how")] * 2)
        (line,) = self.lines
        self.assertIn("'tasks.dead' may lose the tasks that are given up", line)
        self.assertIn("it is a stream, from which quebert dead cannot take them", line)
        self.assertEqual(self.timers(), [])

    def test_no_stream_any_more(self) -> None:
        """
        What becomes of them is looked at where the stream was replaced by a queue.
        """
        letters = self.letters("classic")
        self.bury(letters)
        self.wire.there.clear()
        self.kind = "classic"
        letters.forget()
        self.bury(letters)
        self.assertEqual(len(self.sent), 2)
        self.assertEqual(self.timers(), [5.0])

    def test_kept(self) -> None:
        """
        What was moved there is looked at, and the end leaves nothing.
        """
        self.kind = "classic"
        for kind, count in (("classic", 0), (None, 0), ("quorum", 1)):
            letters = self.letters(kind)
            self.bury(letters)
            self.assertEqual(len(self.lines), count, self.lines)
            self.wire.methods()
            self.clock.advance(5)
            self.assertEqual(self.wire.methods(), ["queue_declare"])
            letters.end()
            self.assertEqual(self.timers(), [])
        self.assertIn("it is a classic queue, which does not survive", self.lines[0])

    def test_told_again(self) -> None:
        """
        What has changed is told, and what has not is told once.
        """
        letters = self.letters("quorum")
        for self.kind, told in (("classic", 1), ("classic", 1), ("stream", 2)):
            letters.forget()
            self.bury(letters)
            self.assertEqual(len(self.lines), told, self.lines)


class DeclaringTests(LooksTestCase):
    """
    How queues are declared on several versions of RabbitMQ.
    """

    def version(self, version: str | None) -> None:
        """
        Have this version of RabbitMQ, or the embedded broker.
        """
        told = {**RABBITMQ, "version": version} if version else {}
        self.wire.server_properties = told

    def test_arguments(self) -> None:
        """
        What is told of deliveries and lengths, by the version.
        """
        limitless = {"x-delivery-limit": -1}
        own = {**limitless, "x-delayed-retry-max": 1}
        length = {"x-max-length": 2_147_483_647}
        for version, wanted in (
            (None, ({}, {}, {})),
            ("3.10.8", ({}, {}, length)),
            ("3.13.7", ({}, {}, length)),
            ("4.0.0", (limitless, own, {})),
            ("4.3.6", (limitless, own, {})),
        ):
            self.version(version)
            found = (
                no_delivery_limit(self.wire),
                own_quorum(self.wire),
                unreached_length_limit(self.wire),
            )
            self.assertEqual(found, wanted, version)

    def declare(self, queue: str = "tasks", **arguments: Any) -> Deferred[float | None]:
        """
        Declare a queue for tasks.
        """
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        declaring = declare_task_queue(self.wire, self.wire, queue, named)
        return Deferred.fromCoroutine(declaring)

    def refuse(self, text: str, *, code: int = 406, ours: bool = True) -> None:
        """
        RabbitMQ refuses our delivery limit, or all.
        """

        def refuse(method: str, how: dict[str, Any]) -> Exception | None:
            is_ours = how["arguments"].get("x-delivery-limit") == -1
            return BrokerRefused(code, text) if is_ours or not ours else None

        self.wire.refuses = refuse

    def test_limit_of_somebody_else(self) -> None:
        """
        A delivery limit that the queue has is the highest count; where its text tells
        none, a message may have come back once.
        """
        self.version("4.0.5")
        start = "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue"
        start += " 'tasks' in vhost '/': received the value '-1' of type 'signedint'"
        for current, limit in (
            ("is the value '7' of type 'signedint'", 7),
            ("is the value '-3' of type 'signedint'", math.inf),
            ("is the value 'many' of type 'longstr'", 1),
            ("is none", 1),
            ("differs", 1),
        ):
            self.refuse(f"{start} but current {current}", ours=False)
            limit_found = self.successResultOf(self.declare(x_queue_type="quorum"))
            self.assertEqual(limit_found, limit, current)

    def test_refused_otherwise(self) -> None:
        """
        Any other refusal is one.
        """
        self.version("4.0.5")
        for code, text in ((403, "x-delivery-limit"), (406, "x-max-length")):
            self.refuse(text, code=code, ours=False)
            declaring = self.declare(x_queue_type="quorum")
            error = self.failureResultOf(declaring, BrokerRefused).value
            self.assertEqual((error.code, str(error)), (code, text))

    def test_types(self) -> None:
        """
        The delivery limit is told for a quorum queue, and where the type is not named;
        which of both it is tells a second declaration.
        """
        classic, quorum = {"x-queue-type": "classic"}, {"x-queue-type": "quorum"}
        limit = {"x-delivery-limit": -1}
        Arguments = dict[str, Any]
        table: list[tuple[str | None, Arguments, list[Arguments], float | None]] = [
            ("4.0.5", classic, [classic], None),
            ("4.0.5", quorum, [{**quorum, **limit}], math.inf),
            ("4.0.5", {}, [limit, classic], None),
            ("4.0.5", {**quorum, "x-delivery-limit": 5}, [], 5),
            ("4.0.5", {**quorum, "x-delivery-limit": -2}, [], math.inf),
            ("3.13.7", quorum, [quorum], math.inf),
            ("3.13.7", {}, [{}], None),
            (None, {}, [{}], None),
            ("4.0.5", {**quorum, "x-delivery-limit": 0}, [], 0),
        ]
        for version, arguments, told, count in table:
            self.version(version)
            self.wire.told.clear()
            declaring = self.declare(**arguments)
            self.assertEqual(self.successResultOf(declaring), count, arguments)
            found = [how["arguments"] for _, how in self.wire.told]
            self.assertEqual(found, told or [arguments], (version, arguments))
            for method, how in self.wire.told:
                self.assertEqual((method, how["durable"]), ("queue_declare", True))

    def test_type_not_named_is_quorum(self) -> None:
        self.version("4.0.5")
        self.wire.refuses = lambda method, how: (
            BrokerRefused(406, "inequivalent arg 'x-queue-type'")
            if "x-queue-type" in how["arguments"]
            else None
        )
        self.assertEqual(self.successResultOf(self.declare()), math.inf)

    def test_name_with_a_risk(self) -> None:
        """
        Of a name that RabbitMQ cannot put into a refusal, none is provoked.
        """
        self.version("4.0.5")
        self.assertIsNone(self.successResultOf(self.declare("ü" * 100)))
        self.assertEqual([how["arguments"] for _, how in self.wire.told], [{}])

    def test_what_helps(self) -> None:
        """
        A refusal of an argument names what is to be set, and only such a refusal.
        """
        start = "inequivalent arg '{}' for queue 'tasks' in vhost '/': received none"
        for name, current, wanted in (
            ("x-queue-type", "the value 'quorum' of type", 'queue_type to "quorum"'),
            ("x-queue-type", "none", 'set queue_type to "classic"'),
            ("x-queue-type", "the value 'stream' of type", "tasks is a stream"),
            (
                "x-max-length",
                "the value '5' of type",
                "give the queue the argument x-max-length",
            ),
            ("durable", "'true'", ""),
        ):
            type_ = " 'longstr'" if "of type" in current else ""
            text = f"{start.format(name)} but current is {current}{type_}"
            self.refuse(text, ours=False)
            error = self.failureResultOf(self.declare(x_queue_type="classic")).value
            self.assertEqual(error.code, 406)
            self.assertIn(wanted, str(error))
            self.assertIn(text, str(error))
            if not wanted:
                self.assertEqual(str(error), text)

    def test_ways(self) -> None:
        """
        Each set of arguments is tried once, in turn, until one is accepted; the last
        refusal is told.
        """
        self.refuse("no", ours=False)
        ways: list[dict[str, Any]] = [{"a": 1}, {"b": 2}]
        declaring = Deferred.fromCoroutine(declare_queue(self.wire, "q", *ways))
        self.failureResultOf(declaring, BrokerRefused)
        self.assertEqual([how["arguments"] for _, how in self.wire.told], ways)
        self.wire.told.clear()
        self.wire.refuses = lambda method, how: None
        declaring = Deferred.fromCoroutine(declare_queue(self.wire, "q", *ways))
        self.assertIs(self.successResultOf(declaring), ways[0])
        self.assertEqual([how["arguments"] for _, how in self.wire.told], ways[:1])

    def test_is_gone(self) -> None:
        """
        A queue is gone if RabbitMQ says so, and not if only its node is down, or the
        user may not look at it.
        """
        down = "NOT_FOUND - home node 'rabbit@a' of durable queue 'q' is down"
        for code, text, gone in (
            (404, "NOT_FOUND - no queue 'q' in vhost '/'", True),
            (404, down, False),
            (403, "ACCESS_REFUSED - access to queue 'q' refused", False),
        ):
            wire: Any = FakeWire()
            wire.refused["q"] = BrokerRefused(code, text)
            looking = Deferred.fromCoroutine(is_gone(wire, "q"))
            self.assertIs(self.successResultOf(looking), gone)

    def test_explained(self) -> None:
        """
        Where RabbitMQ has failed, and the name may be the reason, the text tells so.
        """
        for code, name, is_told in (
            (541, "ü" * 100, True),
            (541, "tasks", False),
            (406, "ü" * 100, False),
        ):
            refusal = BrokerRefused(code, "refused")
            told = explained(refusal, name)
            self.assertEqual(told.code, code)
            if is_told:
                self.assertIn("refused; its name has letters that are not", str(told))
            else:
                self.assertIs(told, refusal)


class Store:
    """
    A connection to a broker with one queue, whose channels hold messages.

    @ivar ready: the messages that nobody holds.
    @ivar counts_held: whether a channel that holds messages counts as a consumer.
    @ivar most_held: how many one channel has held at once.
    @ivar most_asked: for how many messages it was asked at once.
    @ivar depths: how often the broker was asked for a depth.
    @ivar deleted_after: after so many questions the queue is not there.
    @ivar most_ready: how many are ready at most, since somebody takes the others.
    """

    closed = False

    def __init__(self, clock: Clock, version: str, count: int) -> None:
        self.clock = clock
        self.server_properties = {**RABBITMQ, "version": version}
        self.ready = [Message("", 0, False, "", f"{each}") for each in range(count)]
        self.counts_held = True
        self.channels: list[StoreChannel] = []
        self.most_held = 0
        self.asked = self.most_asked = 0
        self.depths = 0
        self.deleted_after = math.inf
        self.most_ready = 1_000_000

    async def open_channel(self, *, confirms: bool) -> StoreChannel:
        """
        Another channel.
        """
        assert not confirms
        self.channels.append(StoreChannel(self))
        return self.channels[-1]


class StoreChannel:
    """
    A channel of a L{Store}.
    """

    def __init__(self, wire: Store) -> None:
        self.client = wire
        self.closed = False
        self.held: dict[int, Message] = {}
        self.acks = SimpleNamespace(unsettled=0, outstanding=self.held)
        self.flushed = 0
        self.given_back: list[int] = []  # how many at a time
        self._tag = 0

    async def call(self, method: str, **arguments: Any) -> Any:
        """
        Ask for the depth of the queue.
        """
        assert (method, arguments["passive"]) == ("queue_declare", True)
        wire = self.client
        wire.depths += 1
        if wire.depths > wire.deleted_after:
            raise BrokerRefused(404, "NOT_FOUND")
        holding = sum(bool(each.held) for each in wire.channels)
        count = holding if wire.counts_held else 0
        ready = min(len(wire.ready), wire.most_ready)
        return SimpleNamespace(message_count=ready, consumer_count=count)

    async def get(self, queue: str) -> Message | None:
        """
        The first message, a moment later.
        """
        if not self.client.ready:
            return None
        self._tag += 1
        message = self.client.ready.pop(0)
        message.delivery_tag = self._tag
        self.held[self._tag] = message
        self.client.most_held = max(self.client.most_held, len(self.held))
        self.client.asked += 1
        self.client.most_asked = max(self.client.most_asked, self.client.asked)
        await deferLater(self.client.clock, 0.0)
        self.client.asked -= 1
        return message

    def ack(self, delivery_tag: int) -> None:
        """
        A message has left the queue.
        """
        del self.held[delivery_tag]

    def flush(self) -> None:
        """
        Write what was not written.
        """
        self.flushed += 1

    def give_all_back(self, up_to: int = 0) -> None:
        """
        Others may have what is held.
        """
        tags = [tag for tag in self.held if tag <= (up_to or tag)]
        if tags:
            self.given_back.append(len(tags))
        self.acks.unsettled += len(tags)
        self.client.ready[:0] = [self.held.pop(tag) for tag in tags]

    async def shut(self) -> None:
        """
        Close it.
        """
        self.closed = True


class BrowsingTests(LooksTestCase):
    """
    L{Browsing}, by what it holds and replaces.
    """

    def browse(
        self,
        version: str,
        *,
        count: int = 30,
        most: int | None = None,
        to_the_end: bool = False,
        counts_held: bool = True,
        deleted_after: float = math.inf,
    ) -> Browsing:
        """
        Go through a queue; all are given back at the end.
        """
        self.store = Store(self.clock, version, count)
        self.store.counts_held = counts_held
        self.store.deleted_after = deleted_after
        self.seen: list[str] = []
        wire: Any = self.store

        async def replace(message: Message, properties: bytes) -> None:
            if not to_the_end:
                copy = Message("", 0, False, "", message.routing_key)
                self.store.ready.append(copy)

        async def visit(message: Message) -> bool:
            self.seen.append(message.routing_key)
            return False

        most = count if most is None else most
        browsing = Browsing(wire, "queue", most, replace, to_the_end=to_the_end)

        async def browse() -> None:
            await browsing.through(visit)
            self.asked = self.store.depths
            await browsing.end()

        browsed = Deferred.fromCoroutine(browse())
        self.clock.pump([0.0] * 400)
        self.successResultOf(browsed)
        self.assertTrue(all(each.closed for each in self.store.channels))
        return browsing

    def test_quorum_queue_of_old_versions(self) -> None:
        """
        RabbitMQ before 4.0 bears few consumers of a quorum queue, and counts each
        channel that holds a message: all messages are replaced, eight at a time.
        """
        for version in ("3.10.8", "3.13.7"):
            browsing = self.browse(version)
            self.assertEqual((browsing.kept, browsing.replaced), (0, 30))
            self.assertLessEqual(self.store.most_held, 8)
            self.assertEqual(self.seen, [f"{each}" for each in range(30)])
            self.assertGreaterEqual(
                sum(each.flushed for each in self.store.channels), 30
            )

    def test_classic_queue_of_old_versions(self) -> None:
        browsing = self.browse("3.13.7", counts_held=False)
        self.assertEqual((browsing.kept, browsing.replaced), (30, 0))
        self.assertEqual(self.asked, 2)
        self.assertEqual(self.seen, [f"{each}" for each in range(30)])

    def test_new_versions(self) -> None:
        """
        Since 4.0, it does not matter what kind of queue it is.
        """
        browsing = self.browse("4.0.0")
        self.assertEqual((browsing.kept, browsing.replaced), (30, 0))
        self.assertEqual(self.asked, 2)

    def test_many_messages(self) -> None:
        """
        Messages are fetched 24 at a time, and a channel holds a thousand of a classic
        queue, or a few more that were under way.
        """
        browsing = self.browse("4.0.0", count=2_500, counts_held=False)
        self.assertEqual(browsing.kept, 2_500)
        self.assertEqual(self.store.most_asked, 24)
        holding = [each for each in self.store.channels if each.acks.unsettled]
        self.assertEqual(len(holding), 3)
        self.assertIn(self.store.most_held, range(1_000, 1_025))

    def test_given_back(self) -> None:
        """
        A quorum queue gets 32 messages back at a time, any other queue all at once.
        """
        for counts_held, portions in (True, [32, 32, 6]), (False, [70]):
            self.browse("4.0.0", count=70, counts_held=counts_held)
            channels = self.store.channels
            given_back = [each.given_back for each in channels if each.given_back]
            self.assertEqual(given_back, [portions])

    def hold(self, count: int) -> Browsing:
        """
        Hold the messages of a quorum queue.
        """
        self.store = Store(self.clock, "4.0.0", count)
        wire: Any = self.store
        replace: Any = self.fail

        async def visit(message: Message) -> bool:
            return False

        browsing = Browsing(wire, "queue", count, replace)
        browsed = Deferred.fromCoroutine(browsing.through(visit))
        self.clock.pump([0.0] * 400)
        self.successResultOf(browsed)
        return browsing

    def test_done_before_given_back(self) -> None:
        """
        What is done is acknowledged before the others are given back: RabbitMQ closes
        the channel when it is asked for a message that it has no more.
        """
        browsing = self.hold(100)
        (channel,) = (each for each in self.store.channels if each.held)
        flushed = channel.flushed
        ended = Deferred.fromCoroutine(browsing.end())
        self.clock.pump([0.05] * 100)
        self.successResultOf(ended)
        self.assertEqual(channel.given_back, [32, 32, 32, 4])
        self.assertEqual(channel.flushed, flushed + 1)

    def test_given_back_while_others_take(self) -> None:
        """
        Where somebody takes what is given back, the rest is given back at once.
        """
        browsing = self.hold(100)
        self.store.most_ready = 10
        (channel,) = (each for each in self.store.channels if each.held)
        ended = Deferred.fromCoroutine(browsing.end())
        self.clock.pump([0.05] * 38)
        self.assertEqual(channel.given_back, [32])
        self.clock.pump([0.05] * 4)
        self.successResultOf(ended)
        self.assertEqual(channel.given_back, [32, 68])

    def test_cancelled_while_given_back(self) -> None:
        """
        Who cancels need not wait: the rest is given back at once.
        """
        browsing = self.hold(100)
        self.store.most_ready = 10
        (channel,) = (each for each in self.store.channels if each.held)
        ended = Deferred.fromCoroutine(browsing.end())
        self.assertEqual(channel.given_back, [32])
        ended.cancel()
        self.failureResultOf(ended, CancelledError)
        self.assertEqual(channel.given_back, [32, 68])

    def test_over_when_back(self) -> None:
        """
        Browsing is over when the messages that stay are there for others.
        """
        wire: Any = Store(self.clock, "4.0.0", 10)
        wire.counts_held = False

        async def visit(message: Message) -> bool:
            return False

        async def browsed() -> None:
            how = browse(wire, "queue", 10, cast(Any, None))
            async with how as browsing:
                await browsing.through(visit)
                wire.most_ready = 9  # RabbitMQ takes its time for the last one

        over = Deferred.fromCoroutine(browsed())
        self.clock.pump([0.0] * 20)
        self.clock.advance(1.0)
        self.assertNoResult(over)
        wire.most_ready = 10
        self.clock.advance(0.05)
        self.successResultOf(over)

    def test_visitor_fails_later(self) -> None:
        """
        After a failure no further message is fetched, and none is replaced.
        """
        wire: Any = Store(self.clock, "4.0.0", 100)
        seen: list[str] = []

        async def visit(message: Message) -> bool:
            seen.append(message.routing_key)
            if message.routing_key == "1":
                raise ChannelLost("no")
            return False

        copied: list[Message] = []

        async def replace(message: Message, properties: bytes) -> None:
            copied.append(message)

        browsing = Browsing(wire, "queue", 50_001, replace, to_the_end=True)
        browsed = Deferred.fromCoroutine(browsing.through(visit))
        self.clock.pump([0.0] * 10)
        self.failureResultOf(browsed, ChannelLost)
        # The first is looked at alone.
        self.assertEqual([each.routing_key for each in copied], ["0"])
        self.assertEqual((len(seen), browsing.ahead), (1 + 24, 0))

    def test_stop(self) -> None:
        """
        After a stop, nothing more is fetched, but from a quorum queue, so that all its
        messages stay in their order.
        """
        for is_quorum, kept in ((False, 0), (True, 99)):
            self.stop_at_first(is_quorum, kept)

    def stop_at_first(self, is_quorum: bool, kept: int) -> None:
        """
        Stop at the first message.
        """
        wire: Any = Store(self.clock, "4.0.0", 100)
        wire.counts_held = is_quorum
        seen: list[str] = []

        async def visit(message: Message) -> bool:
            seen.append(message.routing_key)
            browsing.stop()
            return True

        browsing = Browsing(wire, "queue", 100, cast(Any, None))
        browsed = Deferred.fromCoroutine(browsing.through(visit))
        self.clock.pump([0.0] * 10)
        self.successResultOf(browsed)
        found = seen, browsing.kept, len(wire.ready)
        self.assertEqual(found, (["0"], kept, 99 - kept))

    def test_copies_at_once(self) -> None:
        """
        No more than eight copies are on their way, however many messages were fetched.
        """
        wire: Any = Store(self.clock, "4.0.0", 30)
        copying: list[Deferred[None]] = []

        async def replace(message: Message, properties: bytes) -> None:
            copying.append(Deferred())
            await copying[-1]

        async def visit(message: Message) -> bool:
            return False

        browsing = Browsing(wire, "queue", 50_001, replace, to_the_end=True)
        browsed = Deferred.fromCoroutine(browsing.through(visit))
        self.clock.pump([0.0] * 10)
        self.assertEqual(len(copying), 1)  # the first message is looked at alone
        copying[0].callback(None)
        self.clock.pump([0.0] * 10)
        self.assertEqual(len(copying), 1 + 8)
        for number in range(1, 30):  # each begins another
            copying[number].callback(None)
            self.clock.advance(0)
        self.successResultOf(browsed)
        self.assertEqual((len(copying), browsing.replaced), (30, 30))

    def test_few_messages(self) -> None:
        """
        Up to eight are held in any case.
        """
        for most, replaced in ((8, 0), (9, 9)):
            browsing = self.browse("3.13.7", most=most)
            self.assertEqual(browsing.kept + browsing.replaced, most)
            self.assertEqual(browsing.replaced, replaced)
            self.assertEqual(len(self.seen), most)

    def test_deleted_meanwhile(self) -> None:
        """
        Where the queue is deleted meanwhile, it does not bear few.
        """
        browsing = self.browse("3.13.7", deleted_after=1)
        self.assertEqual((browsing.kept, browsing.replaced), (30, 0))

    def test_to_the_end(self) -> None:
        """
        Where there may be more than fifty thousand, and all are to be looked at, they
        are replaced.
        """
        for most, to_the_end, replaced in (
            (50_000, True, 0),
            (50_001, True, 30),
            (50_001, False, 0),
        ):
            browsing = self.browse("4.0.0", count=30, most=most, to_the_end=to_the_end)
            found = browsing.kept, browsing.replaced
            self.assertEqual(found, (30 - replaced, replaced), (most, to_the_end))
