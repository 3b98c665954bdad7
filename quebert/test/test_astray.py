"""
L{quebert.amqp.delays._astray} with a broker that only pretends, and a clock that only
the tests move.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.properties import encode_properties
from quebert.amqp.delays import PREFIX, UNCLAIMED, Ladder
from quebert.amqp.delays._astray import Astray, OldLadder, browse_store, is_for
from quebert.amqp.delays._declarations import declare
from quebert.amqp.delays._rungs import ARRIVALS, Rungs
from quebert.amqp.wire import Message, Unconfirmed
from quebert.errors import BrokerRefused, ChannelLost, PublishRefused
from quebert.test.doubles import RABBITMQ
from quebert.test.support import logged
from quebert.test.test_looks import RecordingWire

# Seconds for which the broker takes its time.
_TAKES = 0.001


class FakeStore:
    """
    A connection, also as all its channels, to a broker that has one queue.

    @ivar ready: the routing keys of the messages there that nobody holds.
    @ivar came: those that were published to a task queue.
    @ivar gets: how often somebody has asked for a message.
    @ivar properties: of all messages.
    """

    closed = False

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.server_properties: dict[str, Any] = {}
        self.ready: list[str] = []
        self.came: list[str] = []
        self.gets = 0
        self.properties = encode_properties({})

    async def open_channel(self, *, confirms: bool) -> FakeChannel:
        """
        Another channel.
        """
        if self.closed:
            raise ChannelLost("gone")
        await deferLater(self.clock, _TAKES)
        return FakeChannel(self)

    async def publish(self, exchange: str, key: str, body: bytes, _: bytes) -> None:
        """
        Publish, and be confirmed.
        """
        await deferLater(self.clock, _TAKES)
        assert not exchange
        self.came.append(key)


class FakeChannel:
    """
    A channel that holds what it has got, until that is settled.
    """

    def __init__(self, wire: FakeStore) -> None:
        self._wire = wire
        self._held: dict[int, str] = {}
        self._tag = 0

    async def call(self, method: str, **arguments: Any) -> Any:
        """
        Ask for the number of messages; nothing else is there.
        """
        await deferLater(self._wire.clock, _TAKES)
        if arguments.get("queue") != UNCLAIMED:
            raise BrokerRefused(404, "NOT_FOUND")
        ready = len(self._wire.ready)
        return SimpleNamespace(message_count=ready, consumer_count=0)

    async def get(self, queue: str) -> Message | None:
        """
        The first message, or none.
        """
        self._wire.gets += 1
        key = self._wire.ready.pop(0) if self._wire.ready else None
        await deferLater(self._wire.clock, _TAKES)
        if key is None:
            return None
        self._tag += 1
        self._held[self._tag] = key
        message = Message("", self._tag, False, UNCLAIMED, key)
        message.encoded_properties = self._wire.properties
        return message

    def ack(self, delivery_tag: int) -> None:
        """
        It has left the queue.
        """
        del self._held[delivery_tag]

    def flush(self) -> None:
        """
        Write what was not written.
        """

    def give_all_back(self) -> None:
        """
        Others may have what is held.
        """
        self._wire.ready[:0] = self._held.values()
        self._held.clear()

    async def shut(self) -> None:
        """
        Close it.
        """
        await deferLater(self._wire.clock, _TAKES)


class AstrayTests(SynchronousTestCase):
    """
    Bringing back what is unclaimed.
    """

    def setUp(self) -> None:
        """
        A mediator that watches some queues.
        """
        self.clock = Clock()
        self.wire: Any = FakeStore(self.clock)
        self.ladder = Ladder()
        self.begin(8)

    def begin(self, count: int) -> None:
        """
        Watch so many queues.
        """
        self.queues = [f"queue-{number}" for number in range(count)]
        self.astrays = [
            Astray(self.ladder, OldLadder(), each, self.wire) for each in self.queues
        ]
        for each in self.astrays:
            self.addCleanup(each.end)
        self.bring_back()

    def begin_to_bring_back(self) -> list[Deferred[int]]:
        """
        The ladder was looked after, and each queue brings back what is for it.
        """
        self.ladder.unclaimed = len(self.wire.ready)
        return [
            Deferred.fromCoroutine(each.bring_back(self.wire)) for each in self.astrays
        ]

    def bring_back(self) -> list[int]:
        """
        The same until all of them are done; returns how many each has brought back.
        """
        bringing = self.begin_to_bring_back()
        self.clock.pump([_TAKES] * 3000)
        return [self.successResultOf(each) for each in bringing]

    def test_of_many_queues(self) -> None:
        """
        However many queues are watched, none holds what another one looks for, and each
        tells how many were its own.
        """
        for each in (3, 200):
            self.wire.came.clear()
            self.wire.ready.extend(self.queues * each)
            self.assertEqual(self.bring_back(), [each] * len(self.queues))
            self.assertEqual(sorted(self.wire.came), sorted(self.queues * each))

    def test_as_many_as_before(self) -> None:
        """
        A message is brought back also where as many have left meanwhile as have come;
        what stays for others is left in peace after some seconds.
        """
        self.begin(2)
        (ours, another), others = self.queues, "of another mediator"
        for each in (another, others):
            self.wire.ready += [ours, each]
            self.bring_back()
            self.wire.ready[:] = [ours]  # the other mediator has got its own
            self.bring_back()
        self.assertEqual(self.wire.came.count(ours), 4)
        self.wire.ready.append(others)
        self.clock.advance(10)
        self.bring_back()
        self.clock.advance(10)
        self.bring_back()
        gets = self.wire.gets
        self.bring_back()
        self.assertEqual(self.wire.gets, gets)

    def test_lost(self) -> None:
        """
        Where the connection is lost, however many queues are watched, all are told.
        """
        self.begin(500)
        self.wire.ready.extend(self.queues)
        bringing = self.begin_to_bring_back()
        self.wire.closed = True
        self.clock.pump([_TAKES] * 1000)
        for each in bringing:
            self.failureResultOf(each, ChannelLost)


class FakeOldLadder(OldLadder):
    """
    The ladder of earlier versions, with one store or none.

    @ivar led: the queues that it was to lead to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.led: list[str] = []
        self.there: list[str] = []

    async def lead_to(self, wire: Any, queue: str) -> None:
        """
        Lead to a queue.
        """
        self.led.append(queue)

    async def stores(self, wire: Any) -> list[str]:
        """
        Its stores.
        """
        return self.there


class OneAstrayTests(SynchronousTestCase):
    """
    Bringing back what is for one queue.
    """

    def setUp(self) -> None:
        """
        A mediator that watches the queue.
        """
        self.clock = Clock()
        self.wire: Any = FakeStore(self.clock)
        self.ladder = Ladder()
        self.old = FakeOldLadder()
        publisher: Any = self.wire
        self.astray = Astray(self.ladder, self.old, "ours", publisher)
        self.addCleanup(self.astray.end)

    def begin(self) -> Deferred[int]:
        """
        Begin to bring back.
        """
        self.ladder.unclaimed = len(self.wire.ready)
        return Deferred.fromCoroutine(self.astray.bring_back(self.wire))

    def bring_back(self) -> int:
        """
        Bring back; how many that were.
        """
        bringing = self.begin()
        self.clock.pump([_TAKES] * 60)
        return self.successResultOf(bringing)

    def test_copies(self) -> None:
        """
        A message that has come back too often, and stays, is replaced by a copy, which
        the exchange of the store gets for the same task queue.
        """
        deaths = [{"queue": "arrivals", "routing-keys": ["ours"]}]
        headers = {"x-delivery-count": 3, "x-death": deaths}
        self.wire.properties = encode_properties({"headers": headers})

        async def visit(message: Message) -> bool:
            return False

        async def send(exchange: str, key: str, *_: bytes) -> None:
            sent.append((exchange, key))
            self.wire.ready.append(key)

        for store, key in ((UNCLAIMED, "ours"), ("quebert.delay.lost", "changed")):
            sent: list[tuple[str, str]] = []
            self.wire.ready = ["changed"]
            browsing = browse_store(self.wire, store, 1, send, visit)
            staying = Deferred.fromCoroutine(browsing)
            self.clock.pump([_TAKES] * 60)
            self.assertEqual(self.successResultOf(staying), 1)
            self.assertEqual(sent, [(store, key)])

    def test_looks_at_the_old_ladder(self) -> None:
        """
        That is every thirty seconds, and at once where the queue was declared.
        """
        now = self.clock.seconds
        looks: list[float] = []
        for _ in range(130):
            self.old.led.clear()
            self.successResultOf(self.begin())
            if self.old.led:
                looks.append(now())
                self.assertEqual(self.old.led, ["ours"])
            self.clock.advance(0.5)
        self.assertEqual(looks, [0.0, 30.0, 60.0])
        self.astray.look_again()
        self.old.led.clear()
        self.successResultOf(self.begin())
        self.assertEqual(self.old.led, ["ours"])

    def test_from_the_old_ladder(self) -> None:
        """
        What is in its stores is brought back, too.
        """
        self.old.there = [UNCLAIMED]
        self.wire.ready = ["ours", "others", "ours"]
        bringing = Deferred.fromCoroutine(self.astray.bring_back(self.wire))
        self.clock.pump([_TAKES] * 60)
        self.assertEqual(self.successResultOf(bringing), 2)
        self.assertEqual(self.wire.ready, ["others"])

    def test_left_for_others(self) -> None:
        """
        What is for others is looked at once, and again when the queue was declared.
        """
        self.wire.ready = ["others"]
        for gets in (True, False, False):
            before = self.wire.gets
            self.assertEqual(self.bring_back(), 0)
            self.assertEqual(self.wire.gets > before, gets)
        self.astray.look_again()
        before = self.wire.gets
        self.bring_back()
        self.assertGreater(self.wire.gets, before)
        self.wire.ready.append("others")
        before = self.wire.gets
        self.bring_back()
        self.assertGreater(self.wire.gets, before)

    def test_empty(self) -> None:
        """
        Where nothing is unclaimed nothing is asked.
        """
        self.assertEqual(self.bring_back(), 0)
        self.assertEqual(self.wire.gets, 0)
        self.ladder.unclaimed = 3  # at the last look
        bringing = Deferred.fromCoroutine(self.astray.bring_back(self.wire))
        self.clock.pump([_TAKES] * 10)
        self.assertEqual(self.successResultOf(bringing), 0)
        self.assertEqual(self.wire.gets, 0)

    def test_told(self) -> None:
        """
        The log tells that tasks come late, and once one arrives in its own queue, that
        this is over; the end leaves no timer.
        """
        with logged(LogLevel.info) as lines:
            self.wire.ready = ["ours", "ours"]
            self.assertEqual(self.bring_back(), 2)
            self.assertEqual(len(lines), 1)
            self.astray.arrived()
            self.clock.pump([1.0] * 12)
        late, over = lines
        self.assertIn("'ours' arrive in queue 'quebert.delay.unclaimed', and", late)
        self.assertIn("the queue of their arrival was not there", late)
        self.assertIn("'ours' arrive in their own queue again", over)
        self.wire.ready = ["ours"]
        self.bring_back()
        self.astray.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def refuse(self, error: Exception) -> None:
        """
        The task queue takes nothing.
        """

        async def publish(*_: object) -> None:
            raise error

        self.patch(self.wire, "publish", publish)

    def test_task_queue_takes_nothing(self) -> None:
        """
        That is told, and where they stay; once they are brought back it is over.
        """
        publish = self.wire.publish
        self.wire.ready = ["ours"]
        with logged(LogLevel.info) as lines:
            self.refuse(PublishRefused("the queue is full"))
            bringing = self.begin()
            self.clock.pump([_TAKES] * 60)
            self.failureResultOf(bringing, PublishRefused)
            self.assertEqual(self.wire.ready, ["ours"])
            self.patch(self.wire, "publish", publish)
            self.assertEqual(self.bring_back(), 1)
            self.clock.pump([1.0] * 12)
        kept, _, reach = lines
        self.assertIn(
            "Some delayed tasks cannot be moved to queue 'ours' for now", kept
        )
        self.assertIn("they stay in queue 'quebert.delay.unclaimed'", kept)
        self.assertIn("the queue is full", kept)
        self.assertIn("Delayed tasks can be moved to queue 'ours' again", reach)

    def test_whose_loss_is_told(self) -> None:
        """
        That the connection is lost the watch tells; a refusal is told here.
        """
        refusal = BrokerRefused(403, "ACCESS_REFUSED")
        for error, count in (
            (ChannelLost("gone"), 0),
            (Unconfirmed(ChannelLost("gone")), 0),
            (Unconfirmed(refusal), 1),
            (refusal, 1),
        ):
            self.setUp()
            self.wire.ready = ["ours"]
            self.refuse(error)
            with logged(LogLevel.info) as lines:
                bringing = self.begin()
                self.clock.pump([_TAKES] * 60)
                self.failureResultOf(bringing)
            self.assertEqual(len(lines), count, error)
            self.astray.end()
            self.assertEqual(self.clock.getDelayedCalls(), [])

    @pytest.mark.new_queues
    def test_new_queue(self) -> None:
        """
        While the task queue is new, nothing is fetched for it, and other queues need
        not wait for that.
        """
        self.wire.server_properties = RABBITMQ
        self.ladder.new_queues.declared(self.wire, "ours", "quorum")
        self.wire.ready = ["ours"]
        bringing = self.begin()
        self.clock.pump([0.5] * 6)
        self.assertNoResult(bringing)
        self.assertEqual(self.wire.gets, 0)
        self.assertEqual(self.ladder.bringing_back.tokens, 1)
        self.clock.pump([0.5] * 60)
        self.assertEqual(self.successResultOf(bringing), 1)
        self.assertEqual(self.ladder.bringing_back.tokens, 1)

    def test_whose_they_are(self) -> None:
        """
        A message in the store of an earlier version tells its queue by the first word
        of its routing key, and in the other by what the rung was told.
        """
        for queue, key, store, is_ours in (
            ("a", "a.1.0.1", "old", True),
            ("a", "a", "old", True),
            ("a", "b.a", "old", False),
            ("a.b", "a%2Eb.1", "old", True),
            ("a%*#", "a%25%2A%23.1", "old", True),
            ("a.b", "a.b", UNCLAIMED, True),
            ("a", "a.b", UNCLAIMED, False),
        ):
            message = Message("", 1, False, "", key)
            self.assertIs(is_for(queue, message, store), is_ours, (queue, key))
        death = {"queue": "r", "routing-keys": ["first"]}
        message = Message("", 1, False, "", "second")
        headers = {"x-death": [death]}
        message.encoded_properties = encode_properties({"headers": headers})
        self.assertTrue(is_for("first", message, UNCLAIMED))
        self.assertFalse(is_for("second", message, UNCLAIMED))


class DeclareTests(SynchronousTestCase):
    """
    Declaring a part of the ladder.
    """

    def setUp(self) -> None:
        """
        A rung, and a queue that is none.
        """
        self.wire: Any = RecordingWire(Clock())
        rungs = Rungs()
        self.rung, self.arrivals = list(rungs.rung(5)), list(rungs.arrivals("queue"))
        self.own = {**self.rung[1][1]["arguments"]}

    def declare(self, calls: list[Any], *, exists: bool) -> Deferred[None]:
        """
        Declare it.
        """
        return Deferred.fromCoroutine(declare(self.wire, calls, exists=exists))

    def refuse(self, code: int, text: str, has: dict[str, Any] | None = None) -> None:
        """
        RabbitMQ refuses queues with other arguments than these.
        """

        def refuse(method: str, how: dict[str, Any]) -> Exception | None:
            is_it = method == "queue_declare" and how["arguments"] != has
            return BrokerRefused(code, text) if is_it else None

        self.wire.refuses = refuse

    def test_which_calls(self) -> None:
        """
        A queue that exists is not declared again, unless it is a rung.
        """
        for calls, exists, made in (
            (self.rung, False, self.rung),
            (self.rung, True, self.rung),
            (self.arrivals, False, self.arrivals),
            (self.arrivals, True, self.arrivals[1:]),
        ):
            self.wire.told.clear()
            self.successResultOf(self.declare(calls, exists=exists))
            self.assertEqual(self.wire.told, made)

    def test_refused(self) -> None:
        """
        Only that a queue is there otherwise is no reason to give up.
        """
        for code, text in (
            (403, "ACCESS_REFUSED - access to it for queue 'x'"),
            (406, "inequivalent arg 'type' for exchange 'x'"),
            (406, "PRECONDITION_FAILED - invalid arg"),
        ):
            self.refuse(code, text)
            error = self.failureResultOf(self.declare(self.rung, exists=False)).value
            self.assertEqual((error.code, str(error)), (code, text))

    def test_other_limits(self) -> None:
        """
        A queue of other limits is used as it is, and the rest is made.
        """
        text = "inequivalent arg 'x-max-length' for queue 'x' in vhost '/': received"
        text += " none but current is the value '5' of type 'signedint'"
        self.refuse(406, text, {**self.own, "x-max-length": 5})
        for calls in (self.rung, self.arrivals):
            self.wire.told.clear()
            self.successResultOf(self.declare(calls, exists=False))
            self.assertEqual(self.wire.told[-1], calls[-1])

    def test_other_ways_out(self) -> None:
        """
        A rung that messages leave otherwise is not used; the text tells what helps.
        """
        for name, current, wanted, told in (
            ("x-message-ttl", "the value '9' of type 'long'", 5000, "9"),
            ("x-message-ttl", "none", 5000, "none"),
            ("x-dead-letter-exchange", "the value 'e' of type 'l'", ARRIVALS, "e"),
            ("x-dead-letter-routing-key", "the value 'k' of type 'l'", "none", "k"),
        ):
            text = f"inequivalent arg '{name}' for queue 'x' in vhost '/': received the"
            text += f" value 'y' of type 'z' but current is {current}"
            has = {k: v for k, v in self.own.items() if k != name}
            if told != "none":
                has[name] = int(told) if told.isdigit() else told
            self.refuse(406, text, has)
            error = self.failureResultOf(self.declare(self.rung, exists=True)).value
            self.assertEqual(
                str(error),
                f"queue '{PREFIX}.wait.5s' has {name} {told}, and must have"
                f" {wanted}: delete the queue, and quebert declares it anew",
            )
            self.assertEqual(error.code, 406)

    def test_not_told(self) -> None:
        """
        Where RabbitMQ does not tell how it was declared, it is used.
        """
        self.refuse(406, "something inequivalent for queue 'x'")
        self.successResultOf(self.declare(self.rung, exists=True))
        self.assertEqual(self.wire.told[-1], self.rung[-1])
