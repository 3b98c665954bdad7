"""
What the clients of one broker know of each other, with an embedded broker in memory:
pauses, and rates that they share.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel

from quebert.amqp import TxAMQPClient, WatchOptions
from quebert.amqp.coordination import CONTROL, set_paused
from quebert.amqp.coordination._pace import Pace
from quebert.amqp.coordination._pause_listener import PauseListener
from quebert.amqp.coordination._pause_mark import PauseMark
from quebert.amqp.coordination._pause_sign import MARK
from quebert.amqp.coordination._pauses import AGAIN, CHECK, Pauses
from quebert.amqp.coordination._rate_queues import rate_queue_of
from quebert.amqp.coordination._spare_tokens import SpareTokens
from quebert.amqp.link import Publisher
from quebert.amqp.wire import Channel, Message, Wire
from quebert.errors import BrokerError, BrokerRefused
from quebert.limits import Rate
from quebert.test.memory_network import (
    NetworkTestCase,
    RefusingChannel,
    RefusingWire,
)
from quebert.test.support import logged
from quebert.test.test_watcher import FakeQuestions


class DeletingWire(RefusingWire):
    """
    A connection beside which somebody deletes L{MARK} just before it is bound.

    @ivar times: how often yet.
    @ivar binds: how often it was to be bound.
    """

    def __init__(self, wire: Wire, times: int, *names: str) -> None:
        super().__init__(wire, *names)
        self.times = times
        self.binds = 0

    async def open_channel(self, *, confirms: bool = True) -> RefusingChannel:
        """
        A channel of it.
        """
        return DeletingChannel(self, await self.wire.open_channel(confirms=confirms))


class DeletingChannel(RefusingChannel):
    """
    A channel of a L{DeletingWire}.
    """

    async def call(self, method: str, **arguments: Any) -> Any:
        """
        Call a method.
        """
        wire: Any = self._wire
        if method == "exchange_bind":
            wire.binds += 1
            if wire.times:
                wire.times -= 1
                await self._channel.call("exchange_delete", exchange=MARK)
        return await super().call(method, **arguments)


class PausesTestCase(NetworkTestCase):
    """
    A client that asks for pauses.
    """

    def setUp(self) -> None:
        super().setUp()
        self.pauses = Pauses(lambda: self.network, FakeQuestions())
        self.looks: list[str] = []
        self._looks: dict[str, Any] = {}
        self.addCleanup(self.forget, "a", "b")

    def ask(self, *queues: str) -> None:
        """
        Ask whether these are paused, which they are not.
        """
        for queue in queues:

            def look(queue: str = queue) -> None:
                self.looks.append(queue)

            look = self._looks.setdefault(queue, look)
            self.assertFalse(self.result(self.pauses.ask(self.wire, queue, look)))

    def forget(self, *queues: str) -> None:
        """
        Ask no more.
        """
        for queue in queues:
            if queue in self._looks:
                self.pauses.forget(queue, self._looks.pop(queue))
        self.network.settle()

    def marks(self) -> list[str]:
        """
        The exchanges of the clients.
        """
        names = self.network.broker.vhosts["/"].exchanges
        return [name for name in names if name.startswith(f"{MARK}.")]


class MarkTests(PausesTestCase):
    """
    The exchange of a client that tells that something has changed.
    """

    def test_each_change(self) -> None:
        """
        As often as something has changed, all look within seconds, and once.
        """
        self.ask("a", "b")
        for _ in range(3):
            self.looks.clear()
            self.call("exchange_delete", exchange=MARK)
            self.network.pass_time(2 * CHECK)
            self.assertEqual(sorted(self.looks), ["a", "b"])
            self.assertEqual(len(self.marks()), 1)

    def test_nothing_left(self) -> None:
        """
        It is there as long as somebody asks for a queue.
        """
        self.ask("a", "b")
        self.forget("a")
        self.assertEqual(len(self.marks()), 1)
        self.forget("b")
        self.assertEqual(self.marks(), [])

    def test_deleted_at_once(self) -> None:
        """
        It is made, though others pause queues at the same time.
        """
        wire: Any = DeletingWire(self.wire, 4)
        self.result(PauseMark().make(wire))
        self.assertEqual((wire.binds, len(self.marks())), (5, 1))

    def test_deleted_for_ever(self) -> None:
        """
        It is not tried for ever.
        """
        wire: Any = DeletingWire(self.wire, 99)
        error = self.failure(PauseMark().make(wire), BrokerRefused)
        self.assertEqual((error.code, wire.binds), (404, 5))

    def test_not_permitted(self) -> None:
        """
        What the user may not do is not tried again.
        """
        wire: Any = DeletingWire(self.wire, 0, MARK)
        mark = PauseMark()
        self.assertEqual(self.failure(mark.make(wire), BrokerRefused).code, 403)
        wire.names = (mark.name,)
        self.assertEqual(self.failure(mark.make(wire), BrokerRefused).code, 403)
        self.assertEqual(wire.binds, 0)

    def test_was_deleted(self) -> None:
        """
        A change is told once, since the exchange is made anew then.
        """
        mark = PauseMark()
        self.result(mark.make(self.wire))
        self.call("exchange_delete", exchange=mark.name)
        told = [self.result(mark.was_deleted(self.wire)) for _ in range(2)]
        self.assertEqual(told, [True, False])
        self.assertEqual(self.marks(), [mark.name])
        self.result(mark.remove(self.wire))

    def test_connection_lost(self) -> None:
        """
        Without a connection nobody tells of a change, and that is no error.
        """
        mark = PauseMark()
        self.result(mark.make(self.wire))
        wire = self.wire
        self.network.cut()
        self.network.settle()
        self.assertTrue(wire.closed)
        self.assertFalse(self.result(mark.was_deleted(wire)))
        self.result(mark.remove(wire))
        self.wire = self.connect()


class ListenerTests(PausesTestCase):
    """
    The queue over which a client hears of pauses.
    """

    def listening(self) -> list[str]:
        """
        The queues over which clients hear.
        """
        return [name for name in self.depths() if name.startswith(f"{CONTROL}.")]

    def test_end_told_once(self) -> None:
        """
        When somebody deletes the queue the reason is told once, and the channel closed.
        """
        ended: list[BrokerError] = []
        before = len(self.wire.channels)
        name = f"{CONTROL}.1"
        listener = PauseListener(
            self.wire, name, PauseMark(), self.looks.append, self.fail, ended.append
        )
        self.result(listener.listen("a"))
        self.assertEqual(len(self.wire.channels), before + 1)
        self.call("queue_delete", queue=name)
        self.network.pass_time(1)
        self.assertEqual(len(ended), 1)
        self.assertIn("somebody deleted the queue", str(ended[0]))
        self.assertEqual(len(self.wire.channels), before)

    def test_connection_lost(self) -> None:
        """
        That the connection is lost is not told, since its owner knows that.
        """
        ended: list[BrokerError] = []
        listener = PauseListener(
            self.wire,
            f"{CONTROL}.1",
            PauseMark(),
            self.looks.append,
            self.fail,
            ended.append,
        )
        self.result(listener.listen("a"))
        self.network.cut()
        self.network.settle()
        self.assertEqual((ended, listener.dead), ([], False))
        self.wire = self.connect()

    def test_hears_again(self) -> None:
        """
        A client whose queue was deleted looks for a while at intervals, and hears again
        once a watch has asked.
        """
        self.ask("a")
        (queue,) = self.listening()
        with logged(LogLevel.info) as lines:
            self.call("queue_delete", queue=queue)
            self.network.pass_time(AGAIN + 1)
            self.assertEqual(self.looks, ["a"])
            self.ask("a")
        self.assertEqual(len(lines), 2, lines)
        self.assertEqual(self.listening(), [queue])
        self.looks.clear()
        self.result(set_paused(self.wire, "a", True))
        self.network.settle()
        self.assertEqual(self.looks, ["a"])

    def test_no_channel_left(self) -> None:
        """
        However often a queue is paused and resumed, no channel stays open.
        """
        self.ask("a")
        before = len(self.wire.channels)
        for paused in (True, False, True, False):
            self.result(set_paused(self.wire, "a", paused))
        self.network.pass_time(1)
        self.assertEqual(len(self.wire.channels), before)


class SharedRateTests(NetworkTestCase):
    """
    Two clients that watch one queue with a rate.
    """

    def setUp(self) -> None:
        super().setUp()
        self.clients = [self.client(), self.client()]
        self.begun = [0, 0]
        self.answers: dict[int, Deferred[None]] = {}
        options = WatchOptions(rate=Rate(10), burst=1, prefetch=5)
        self.watchers = [
            self.result(client.watch("flow", "tasks", "#", run, options=options))
            for client, run in zip(
                self.clients, (self.count(0), self.count(1)), strict=True
            )
        ]
        self.network.pass_time(3)

    def count(self, number: int) -> Any:
        """
        The callback of one of them.
        """

        def run(message: Message) -> Deferred[None] | None:
            self.begun[number] += 1
            return self.answers.get(number)

        return run

    def publish(self, client: TxAMQPClient, count: int) -> None:
        """
        Add tasks.
        """
        for _ in range(count):
            self.result(client.publish("flow", "key", b"x", {"delivery-mode": 2}))

    def test_together(self) -> None:
        """
        Together they keep to the rate, and each has its half.
        """
        self.publish(self.clients[0], 400)
        self.begun = [0, 0]
        self.network.pass_time(20, 0.05)
        self.assertLessEqual(sum(self.begun), 202)
        self.assertGreaterEqual(min(self.begun), 90)
        for watcher in self.watchers:
            assert watcher.pace is not None
            self.assertEqual(watcher.pace.members, 2)

    def test_one_stops(self) -> None:
        """
        The one that is left has the whole rate, and nothing of the other is left over.
        """
        self.publish(self.clients[0], 400)
        self.network.pass_time(5)
        self.result(self.watchers[1].stop(0))
        self.network.pass_time(5)
        self.begun = [0, 0]
        self.network.pass_time(10, 0.05)
        self.assertGreaterEqual(self.begun[0], 95)
        self.assertLessEqual(self.begun[0], 101)
        self.assertEqual(self.depths()[rate_queue_of("tasks", ".spare")], 0)

    def test_one_has_no_place(self) -> None:
        """
        What one does not need the other gets, and once: together they keep to the rate.
        """
        self.answers[1] = Deferred()
        self.publish(self.clients[0], 400)
        self.network.pass_time(10, 0.05)
        self.begun = [0, 0]
        self.network.pass_time(20, 0.05)
        self.assertEqual(self.begun[1], 0)
        self.assertGreaterEqual(self.begun[0], 150)
        self.assertLessEqual(self.begun[0], 202)
        passed, got = (each.pace for each in reversed(self.watchers))
        assert passed is not None
        assert got is not None
        self.assertGreater(got.got, 50)
        self.assertGreater(passed.passed_on, 50)
        self.answers[1].callback(None)
        self.result(self.watchers[0].stop(0))
        self.assertEqual(self.depths()[rate_queue_of("tasks", ".spare")], 0)


class NotBegunTests(NetworkTestCase):
    """
    A watch with a rate that cannot begin.
    """

    def test_not_counted(self) -> None:
        """
        It does not count among those who share the rate.
        """
        self.call("queue_declare", queue="tasks", durable=True)

        async def consume_alone() -> None:
            channel = await self.wire.open_channel(confirms=False)
            channel.on_message = lambda message: None
            await channel.call("basic_consume", queue="tasks", exclusive=True)

        self.result(consume_alone())
        options = WatchOptions(rate=Rate(10))
        client = self.client()
        watching = client.watch("", "tasks", "", lambda _: None, options=options)
        error = self.failure(watching, BrokerRefused)
        self.assertIn("exclusive", str(error))
        self.network.pass_time(5)
        members = self.network.broker.vhosts["/"].queues[rate_queue_of("tasks")]
        self.assertEqual(len(members.consumers), 0)


class SpareTokensTests(NetworkTestCase):
    """
    Whether a member listens for what others have to spare.
    """

    def setUp(self) -> None:
        super().setUp()
        self.call("queue_declare", queue="spare")
        self.pace = Pace(Rate(10), None, lambda: self.network)
        self.pace.shared_by(2)
        client = self.client()
        publisher: Publisher = client.make_publisher()
        clock = lambda: self.network  # noqa: E731
        self.tokens = SpareTokens("spare", self.pace, publisher, clock, 1.0)
        self.channel: Channel = self.result(self.wire.open_channel(confirms=False))
        self.channel.on_message = self.tokens.received

    def look(self, *, delayed: bool) -> int:
        """
        Look, after messages had to wait or not; returns how many listen then.
        """
        self.pace.delayed += delayed
        self.network.pass_time(1)
        self.result(self.tokens.look(self.channel))
        queue = self.network.broker.vhosts["/"].queues["spare"]
        return len(queue.consumers)

    def test_now_and_then(self) -> None:
        """
        As long as messages have to wait now and then, it goes on listening; when none
        has for some seconds, it does not.
        """
        for _ in range(4):
            listening = [self.look(delayed=each) for each in (True, False, False)]
            self.assertEqual(listening, [1, 1, 1])
        self.assertEqual([self.look(delayed=False) for _ in range(2)], [0, 0])

    def test_another_channel(self) -> None:
        """
        Over another channel it listens when messages had to wait since.
        """
        self.assertEqual(self.look(delayed=True), 1)
        self.result(self.channel.shut())
        self.channel = self.result(self.wire.open_channel(confirms=False))
        self.tokens.begin()
        self.assertEqual(self.look(delayed=False), 0)
        self.assertEqual(self.look(delayed=True), 1)
