"""
L{TxAMQPClient} with an embedded broker in memory: the whole way of a message, in
virtual time.
"""

from __future__ import annotations

import gc
import time
from itertools import pairwise
from typing import Any, cast
from weakref import ref

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.ssl import optionsForClientTLS
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert import operations
from quebert._bounds import AT_WORK
from quebert._protocol.properties import encode_properties
from quebert.amqp import TxAMQPClient, Watcher, WatchOptions
from quebert.amqp.delays import UNCLAIMED, arrivals_of
from quebert.amqp.link import BrokerConnection
from quebert.amqp.queues._bindings import LOOK
from quebert.amqp.watch._suspects import flight_sign
from quebert.amqp.wire import Message
from quebert.broker import BrokerFactory
from quebert.config import TLS, Address, Broker
from quebert.errors import (
    BrokerRefused,
    BrokerUnreachable,
    ConfigError,
    MessageRefused,
    Unroutable,
)
from quebert.operations import BrokerAccess, DeadLetter, Match, Progress
from quebert.outcome import Bury, Discard, Retry
from quebert.test.memory_network import MemoryNetwork, NetworkTestCase, RefusingWire

URL = "amqp://guest:guest@rabbit.example/?heartbeat=0"


class ClientTestCase(NetworkTestCase):
    """
    One client, which watches C{tasks}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.amqp: TxAMQPClient = self.client()
        self.seen: list[tuple[float, Message]] = []
        self.answers: list[Any] = []

    def run_task(self, message: Message) -> Any:
        """
        Answer as the test says; the task is done if it says nothing.
        """
        self.seen.append((self.network.seconds(), message))
        return self.answers.pop(0) if self.answers else None

    def watch(self, **options: Any) -> Watcher:
        """
        Watch the queue.
        """
        chosen = WatchOptions(**options)
        watching = self.amqp.watch("flow", "tasks", "#", self.run_task, options=chosen)
        watcher = self.result(watching)
        self.network.pass_time(10)  # until the queue is no longer new
        return watcher

    def publish(self, *bodies: bytes, **headers: Any) -> None:
        """
        Add tasks.
        """
        for body in bodies:
            properties = {"delivery-mode": 2, "headers": headers}
            self.result(self.amqp.publish("flow", "key", body, properties))

    @property
    def bodies(self) -> list[bytes]:
        """
        Those that the callback got.
        """
        return [message.body for _, message in self.seen]

    @property
    def times(self) -> list[float]:
        """
        When the callback got them, from the first on.
        """
        return [time - self.seen[0][0] for time, _ in self.seen]


class MakingTests(SynchronousTestCase):
    """
    What a client is made with.
    """

    def make(self, host: Any = "h", **options: Any) -> TxAMQPClient:
        """
        A client, which connects to nobody.
        """
        return TxAMQPClient(host, "user", "s3cret", **options)

    def test_defaults(self) -> None:
        client = self.make()
        expected = Broker((Address("h", 5672),), "user", "s3cret", "/", 30, None)
        self.assertEqual(client.broker, expected)
        self.assertEqual((client.connectTimeout, client.watchers), (30.0, []))
        self.assertEqual(client.budget.most, AT_WORK)
        self.assertIsNone(client.blocked)

    def test_options(self) -> None:
        client = self.make(port=1, vhost="v", heartbeat=4, maxMemory=10**9)
        expected = Broker((Address("h", 1),), "user", "s3cret", "v", 4, None)
        self.assertEqual(client.broker, expected)
        self.assertEqual(client.budget.most, 10**9)

    def test_no_hosts(self) -> None:
        error = self.assertRaises(ConfigError, self.make, [])
        self.assertEqual(
            str(error), "TxAMQPClient: host=[] must name at least one host"
        )

    def test_tls(self) -> None:
        """
        TLS with the platform's authorities, with others, or by a creator of one's own.
        """
        self.assertEqual(self.make(tls=True).broker.tls, TLS())
        self.assertIsNone(self.make(tls=False).broker.tls)
        own = optionsForClientTLS("h")
        self.assertIsNone(self.make(tls=own).broker.tls)
        missing = TLS(cacertfile="/there/is/no/such/file")
        self.assertRaises(ConfigError, self.make, tls=missing)

    def test_of_broker(self) -> None:
        """
        Options go before what the configuration says.
        """
        broker = Broker(
            (Address("a", 1), Address("::1", 2)), "user", "s3cret", "v", 7, TLS()
        )
        self.assertEqual(TxAMQPClient.of_broker(broker).broker, broker)
        client = TxAMQPClient.of_broker(broker, vhost="w", heartbeat=8, tls=None)
        expected = attrs.evolve(broker, vhost="w", heartbeat=8, tls=None)
        self.assertEqual(client.broker, expected)

    def test_heartbeats(self) -> None:
        """
        A failure of the connection on which rungs are used is noticed after five
        seconds, or sooner if all are to be.
        """
        for heartbeat, spare in ((30, 5), (2, 2), (0, 0)):
            client = self.make(heartbeat=heartbeat)
            self.assertEqual(client.spare._connection.broker.heartbeat, spare)
            for each in (client._consuming, client._publishing):
                self.assertEqual(each.broker.heartbeat, heartbeat)

    def test_names(self) -> None:
        """
        RabbitMQ shows an operator what each connection is for.
        """
        client = self.make()
        names = [
            each.name
            for each in (
                client._consuming,
                client._publishing,
                client.spare._connection,
            )
        ]
        for name, purpose in zip(
            names,
            ("consuming", "publishing", "looking after delayed tasks"),
            strict=True,
        ):
            self.assertEqual(name, f"quebert, {purpose}")

    def test_reactor(self) -> None:
        network = MemoryNetwork()
        self.assertIs(self.make(reactor=network).reactor, network)

    def test_now(self) -> None:
        self.patch(time, "time", lambda: 123.5)
        self.assertEqual(TxAMQPClient.now(), 123.5)

    def test_wrong_prefetch(self) -> None:
        """
        The error names the argument as the caller knows it.
        """
        watching = self.make().watch("e", "q", "#", lambda message: None, maxEvents=-1)
        error = self.failureResultOf(watching, ConfigError).value
        self.assertIn("maxEvents", str(error))
        self.assertNotIn("prefetch", str(error))


class WatchesTests(ClientTestCase):
    """
    What a client knows of its watches.
    """

    def watching(self, queue: str = "tasks", **options: Any) -> Deferred[Watcher]:
        """
        Begin to watch a queue.
        """
        return self.amqp.watch("flow", queue, "#", self.run_task, **options)

    def test_known_until_they_end(self) -> None:
        watchers = [self.result(self.watching(queue)) for queue in ("a", "b")]
        self.assertEqual(self.amqp.watchers, watchers)
        self.result(watchers[0].stop(0))
        self.assertEqual(self.amqp.watchers, watchers[1:])
        self.amqp.watch_ended(watchers[0])
        self.assertEqual(self.amqp.watchers, watchers[1:])

    def test_prefetch(self) -> None:
        """
        What the watch is told is in its options, or beside them.
        """
        options = WatchOptions(prefetch=7)
        for given, prefetch in ((None, 7), (3, 3), (0, 0)):
            watching = self.watching(f"q{given}", maxEvents=given, options=options)
            self.assertEqual(self.result(watching).options.prefetch, prefetch)

    def test_refused(self) -> None:
        """
        A watch that is refused is known no more.
        """
        self.call("exchange_declare", exchange="flow", exchange_type="fanout")
        self.failure(self.watching(), BrokerRefused)
        self.assertEqual(self.amqp.watchers, [])

    def test_stopped_while_it_begins(self) -> None:
        self.network.is_down = True
        watching = self.watching()
        (watcher,) = self.amqp.watchers
        self.result(self.amqp.stop(0))
        self.assertEqual(self.amqp.watchers, [])
        self.failureResultOf(watching)
        self.assertEqual(watcher.in_flight, 0)
        self.network.is_down = False

    def test_unreachable(self) -> None:
        """
        A watch, and a message, wait for a connection as long as the client was told.
        """
        self.amqp = self.client(connectTimeout=7.0)
        self.network.is_down = True
        begun = self.watching(), self.amqp.publish("", "q", b"x")
        self.network.pass_time(6.75)
        for each in begun:
            self.assertNoResult(each)
        self.network.pass_time(0.5)
        for each in begun:
            self.failureResultOf(each, BrokerUnreachable)
        self.assertEqual(self.amqp.watchers, [])
        self.network.is_down = False

    def test_ladder_is_left_with_the_last(self) -> None:
        """
        Arrivals of a queue are looked after until its last watch has ended.
        """
        left: list[str] = []
        self.patch(self.amqp.ladder, "leave", left.append)
        watchers = [self.result(self.watching(queue)) for queue in ("a", "a", "b")]
        for watcher, expected in zip(watchers, ([], ["a"], ["a", "b"]), strict=True):
            self.result(watcher.stop(0))
            self.assertEqual(left, expected)

    def test_disconnected(self) -> None:
        """
        All watches are told that the connection is lost, and watch over the next one.
        """
        told: list[str] = []
        for queue in ("a", "b"):
            watching = self.watching(
                queue, onDisconnect=lambda failure, queue=queue: told.append(queue)
            )
            self.result(watching)
        self.assertEqual(self.amqp.reconnects, 0)
        self.network.cut()
        self.network.settle()
        self.assertEqual(told, ["a", "b"])
        self.network.pass_time(30)
        self.assertEqual(self.amqp.reconnects, 1)
        self.assertTrue(all(each.consuming for each in self.amqp.watchers))
        self.wire = self.connect()

    def test_stop(self) -> None:
        """
        Nothing is left of a client that is stopped, no warning either; and it may be
        used again.
        """
        for _ in range(2):
            self.result(self.watching())
            self.publish(b"x")
            why = BrokerRefused(403, "access to 'quebert.delay.x' refused")
            self.amqp.ladder.tells(why, "tasks", self.network)
            signs = RefusingWire(self.wire, flight_sign("x"))
            self.result(self.amqp.suspects.begin(cast(Any, signs), "x"))
            self.result(self.amqp.stop(0))
            self.assertEqual(self.amqp.watchers, [])
            before = self.network.broker.connections
            self.assertEqual(len(before), 1)  # that of the test
            self.network.pass_time(1)
            own = [
                str(each)
                for each in self.network.getDelayedCalls()
                if "quebert.broker" not in str(each)
            ]
            self.assertEqual(own, [])
        self.assertEqual(self.bodies, [b"x"] * 2)


class OutcomeTests(ClientTestCase):
    """
    What becomes of a message.
    """

    def test_done(self) -> None:
        """
        A task that is done is gone.
        """
        watcher = self.watch()
        self.publish(b"1", b"2")
        self.network.settle()
        self.assertEqual(self.bodies, [b"1", b"2"])
        self.assertEqual(self.depths()["tasks"], 0)
        self.assertEqual(watcher.counts.done, 2)

    def test_held(self) -> None:
        """
        What is to come soon waits here, and comes with its new body and headers.
        """
        watcher = self.watch()
        self.answers = [Retry(b"again", 3.0, {"tried": 1, "old": None})]
        self.publish(b"first", old="x", kept="y")
        self.network.pass_time(2.5)
        self.assertEqual(self.bodies, [b"first"])
        self.network.pass_time(1)
        self.assertEqual(self.bodies, [b"first", b"again"])
        headers = self.seen[1][1].headers
        self.assertEqual((headers["tried"], headers["kept"]), (1, "y"))
        self.assertNotIn("old", headers)
        self.assertEqual((watcher.counts.retried, watcher.counts.done), (1, 1))

    def test_delayed(self) -> None:
        """
        What is to come later waits in the broker, for as long as was said.
        """
        self.watch()
        waits = [6.0, 61.0, 700.0, 3_700.0]
        self.answers = [Retry(after=wait) for wait in waits]
        self.publish(b"task")
        for wait in waits:
            before, began = len(self.seen), self.network.seconds()
            self.network.settle()
            while len(self.seen) == before and self.network.seconds() < began + 9_999:
                self.network.settle(2.0)
            self.assertEqual(len(self.seen), before + 1)
            since = self.seen[-1][0] - self.seen[-2][0]
            self.assertGreaterEqual(since, wait)
            self.assertLess(since, wait + 8)  # a new queue is not used at once
        self.assertEqual(sum(self.depths().values()), 0)

    def test_delayed_over_a_lost_connection(self) -> None:
        """
        What waits in the broker comes, also if connections are lost meanwhile.
        """
        watcher = self.watch()
        self.answers = [Retry(after=60.0)]
        self.publish(b"task")
        self.network.pass_time(20)
        self.network.cut()
        self.flushLoggedErrors()
        self.network.pass_time(70)
        self.assertEqual(self.bodies, [b"task", b"task"])
        self.assertLess(self.times[1], 85)
        self.assertEqual(watcher.counts.done, 1)

    def test_at_work_when_the_connection_is_lost(self) -> None:
        """
        An outcome from before is dropped, and the message is delivered again.
        """
        watcher = self.watch()
        late: Deferred[None] = Deferred()
        self.answers = [late]
        self.publish(b"task")
        self.network.settle()
        self.network.cut()
        self.network.pass_time(30)
        self.assertEqual(self.bodies, [b"task", b"task"])
        self.assertTrue(self.seen[1][1].redelivered)
        late.callback(None)
        self.network.settle()
        self.assertEqual(self.depths()["tasks"], 0)
        self.assertEqual(watcher.in_flight, 0)

    def test_discarded_and_buried(self) -> None:
        """
        What is given up is gone, or lies among the dead letters with its reason.
        """
        watcher = self.watch()
        self.answers = [Discard("expired"), Bury("hopeless", headers={"why": "x"})]
        self.publish(b"1", b"2")
        self.network.pass_time(30)
        self.assertEqual(self.depths()["tasks.dead"], 1)
        self.assertEqual(self.depths()["tasks"], 0)
        self.assertEqual((watcher.counts.discarded, watcher.counts.buried), (1, 1))

    def test_raises(self) -> None:
        """
        A callback that raises has its task come again, each time later.
        """
        times: list[float] = []

        def fail(message: Message) -> None:
            times.append(self.network.seconds())
            if len(times) < 4:
                raise RuntimeError("no")

        watcher = self.result(self.amqp.watch("flow", "tasks", "#", fail))
        self.network.pass_time(10)
        self.publish(b"task")
        self.network.pass_time(12)
        self.flushLoggedErrors(RuntimeError)
        gaps = [round(later - time) for time, later in pairwise(times)]
        self.assertEqual(gaps, [1, 2, 4])
        self.assertEqual((watcher.counts.retried, watcher.counts.done), (3, 1))

    def test_nothing_left(self) -> None:
        """
        However many tasks are put back, nothing is kept of them.
        """
        self.watch()

        def count() -> int:
            gc.collect()
            return sum(isinstance(each, Deferred) for each in gc.get_objects())

        before = 0
        for n in range(3):
            self.answers = [Retry(b"again") for _ in range(100)]
            self.publish(*(b"%d" % n for n in range(100)))
            self.network.pass_time(10)
            self.seen.clear()
            before = before or count()
        self.assertLess(count(), before + 50)

    def test_exchange_deleted(self) -> None:
        """
        As often as somebody deletes the exchange, it is made anew, and the queue gets
        its tasks again.
        """
        self.watch()
        for number in range(3):
            self.call("exchange_delete", exchange="flow")
            self.network.pass_time(LOOK + 5)
            self.publish(b"%d" % number)
            self.network.settle()
        self.assertEqual(self.bodies, [b"0", b"1", b"2"])

    def test_unroutable(self) -> None:
        """
        What no queue gets is told to its publisher.
        """
        self.watch()
        lost = self.amqp.publish("", "nowhere", b"x")
        self.network.settle()
        self.failureResultOf(lost, Unroutable)

    def test_stop(self) -> None:
        """
        A watch that stops waits for what runs, and leaves the rest to others.
        """
        watcher = self.watch(prefetch=1)
        running: Deferred[None] = Deferred()
        self.answers = [running]
        self.publish(b"1", b"2")
        self.network.settle()
        stopped = watcher.stop(30)
        self.network.pass_time(5)
        self.assertNoResult(stopped)
        running.callback(None)
        self.result(stopped)
        self.assertEqual(self.bodies, [b"1"])
        self.assertEqual(self.depths()["tasks"], 1)

    def test_stop_in_time(self) -> None:
        """
        What has not finished in time goes back.
        """
        watcher = self.watch()
        self.answers = [Deferred()]
        self.publish(b"1")
        self.network.settle()
        stopped = watcher.stop(3)
        self.network.pass_time(5)
        self.successResultOf(stopped)
        self.assertEqual(self.depths()["tasks"], 1)

    def test_nothing_kept_after_stop(self) -> None:
        """
        A watch that has stopped keeps nothing of the messages that it gave up.
        """
        watcher = self.watch()
        self.answers = [Deferred()]
        self.publish(b"1")
        self.network.settle()
        self.result(watcher.stop(3))
        given_up = ref(self.seen[0][1])
        self.seen.clear()
        gc.collect()
        self.assertIsNone(given_up())
        self.assertEqual(watcher.in_flight, 0)


class ArrivalTests(ClientTestCase):
    """
    What arrives after its wait, where the way to its queue is not free.
    """

    def delayed(self) -> None:
        """
        Have a task wait for 20 seconds.
        """
        self.answers = [Retry(after=20.0)]
        self.publish(b"task")
        self.network.pass_time(2)
        self.assertEqual(len(self.seen), 1)

    def test_queue_deleted(self) -> None:
        """
        A queue that somebody has deleted is made anew, and gets what waited for it.
        """
        self.watch()
        self.delayed()
        self.call("queue_delete", queue="tasks")
        self.network.pass_time(60)
        self.assertEqual(self.bodies, [b"task", b"task"])

    def test_arrivals_deleted(self) -> None:
        """
        Where the queue of arrivals was deleted it is made anew.
        """
        self.watch()
        self.call("queue_delete", queue=arrivals_of("tasks"))
        self.network.pass_time(5)
        self.delayed()
        self.network.pass_time(40)
        self.assertEqual(self.bodies, [b"task", b"task"])

    def test_full_queue(self) -> None:
        """
        Where the queue is full the task waits until there is room; that is told once.
        """
        full = {"x-max-length": 1, "x-overflow": "reject-publish"}
        watcher = self.watch(arguments=full, prefetch=1)
        self.delayed()
        blocking: Deferred[None] = Deferred()
        self.answers = [blocking]
        self.publish(b"blocks", b"fills")
        with capturedLogs() as events:
            self.network.pass_time(40)
        told = [str(formatEvent(event)) for event in events]
        refused = [line for line in told if "takes no delayed tasks for now" in line]
        self.assertEqual(len(refused), 1, told)
        self.assertEqual(self.depths()[arrivals_of("tasks")], 1)
        blocking.callback(None)
        self.network.pass_time(60)
        self.assertEqual(self.bodies, [b"task", b"blocks", b"fills", b"task"])
        self.assertEqual(watcher.counts.done, 3)

    def test_many_for_a_full_queue(self) -> None:
        """
        Once there is room again, all that have waited come, and not one by one.
        """
        full = {"x-max-length": 20, "x-overflow": "reject-publish"}
        self.watch(arguments=full, prefetch=1)
        self.answers = [Retry(after=20.0) for _ in range(10)]
        self.publish(*(b"%d" % number for number in range(10)))
        self.network.pass_time(2)
        self.assertEqual(len(self.seen), 10)
        blocking: Deferred[None] = Deferred()
        self.answers = [blocking]
        self.publish(*(b"fills" for _ in range(21)))
        self.network.pass_time(60)
        self.assertEqual(self.depths()[arrivals_of("tasks")], 10)
        blocking.callback(None)
        self.network.pass_time(40)
        self.assertEqual(len(self.seen), 10 + 21 + 10)

    def test_shortened_wait(self) -> None:
        """
        A message that a policy has sent on too early waits again for what is left.
        """
        self.watch()
        self.delayed()
        rungs = {q: n for q, n in self.depths().items() if n and "tasks" not in q}
        (rung,) = rungs

        async def send_on() -> None:
            channel = await self.wire.open_channel()
            message = await channel.get(rung)
            assert message is not None
            arrivals = arrivals_of("tasks")
            await channel.publish(
                "", arrivals, message.body, message.encoded_properties
            )
            channel.ack(message.delivery_tag)
            await channel.shut()

        self.result(send_on())
        self.network.pass_time(10)
        self.assertEqual(len(self.seen), 1)
        self.network.pass_time(50)
        self.assertEqual(len(self.seen), 2)
        self.assertGreaterEqual(self.times[1], 20)


class AstrayTests(ClientTestCase):
    """
    What waited, and whose queue was not there.
    """

    def test_unclaimed(self) -> None:
        """
        A task that is due while nobody has bound its queue comes when somebody watches
        it again.
        """
        watcher = self.watch()
        self.answers = [Retry(after=20.0)]
        self.publish(b"task")
        self.network.pass_time(2)
        self.result(watcher.stop(1))
        self.call("queue_delete", queue=arrivals_of("tasks"))
        self.network.pass_time(40)
        self.assertEqual(self.depths()[UNCLAIMED], 1)
        self.watch()
        self.network.pass_time(60)
        self.assertEqual(self.bodies, [b"task", b"task"])
        self.assertEqual(sum(self.depths().values()), 0)

    def test_of_another_queue(self) -> None:
        """
        A watch leaves what is for other queues.
        """
        watcher = self.watch()
        self.answers = [Retry(after=20.0)]
        self.publish(b"task")
        self.network.pass_time(2)
        self.result(watcher.stop(1))
        self.call("queue_delete", queue=arrivals_of("tasks"))
        self.network.pass_time(40)
        self.result(self.amqp.watch("flow", "others", "other", self.run_task))
        self.network.pass_time(60)
        self.assertEqual(self.depths()[UNCLAIMED], 1)
        self.assertEqual(len(self.seen), 1)


class PublisherTests(ClientTestCase):
    """
    L{Publisher<quebert.amqp.link.Publisher>}.
    """

    def publish_alone(self, exchange: str, key: str, **properties: Any) -> Any:
        """
        Publish over a channel of its own.
        """
        publisher = self.amqp.make_publisher()
        self.addCleanup(publisher.shut)
        encoded = encode_properties({"delivery-mode": 2, **properties})
        return publisher.publish_alone(exchange, key, b"body", encoded)

    def test_alone(self) -> None:
        """
        A message that the broker takes is there; one that it refuses is told from what
        is refused for another reason.
        """
        self.call("queue_declare", queue="q")
        inner = {"exchange": "inner", "exchange_type": "fanout", "internal": True}
        self.call("exchange_declare", **inner)
        self.result(self.publish_alone("", "q"))
        self.assertEqual(self.depths(), {"q": 1})
        refused = self.failure(self.publish_alone("inner", "q"), BrokerRefused)
        self.assertEqual(refused.code, 403)
        self.assertNotIsInstance(refused, MessageRefused)
        wrong = self.publish_alone("", "q", expiration="soon")
        self.assertEqual(self.failure(wrong, MessageRefused).code, 406)
        self.failure(self.publish_alone("", "nowhere"), Unroutable)

    def test_refused_by_its_broker(self) -> None:
        """
        A task that the broker does not take back as it is goes back otherwise, or lies
        among the dead letters.
        """
        watcher = self.watch()
        wrong = {"CC": "no list"}
        otherwise = Retry(b"otherwise")
        first = Retry(b"again", headers=wrong, otherwise=otherwise)
        self.answers = [first, Retry(b"again", headers=wrong)]
        self.publish(b"task")
        self.network.pass_time(60)
        self.assertEqual(self.bodies, [b"task", b"otherwise"])
        self.assertEqual(self.depths()["tasks.dead"], 1)
        self.assertEqual(watcher.counts.buried, 1)


class PauseTests(ClientTestCase):
    """
    Pausing a queue.
    """

    def access(self) -> BrokerAccess:
        """
        What an operator has.
        """
        return BrokerAccess(self.network, URL)

    def test_pause_and_resume(self) -> None:
        """
        A paused queue is not consumed until it is resumed, also over a connection that
        was lost meanwhile.
        """
        self.watch()
        paused = self.result(operations.pause(self.access(), "tasks"))
        self.assertEqual((paused.paused, paused.consumers), (True, 0))
        self.publish(b"1")
        self.network.pass_time(30)
        self.assertEqual(self.bodies, [])
        self.network.cut()
        self.wire = self.connect()
        self.network.pass_time(30)
        self.assertEqual(self.bodies, [])
        before = self.result(operations.resume(self.access(), "tasks"))
        self.assertTrue(before.paused)
        self.network.pass_time(5)
        self.assertEqual(self.bodies, [b"1"])

    def test_paused_before(self) -> None:
        """
        A watch that begins with a paused queue consumes nothing.
        """
        self.result(operations.pause(self.access(), "tasks"))
        self.watch()
        self.publish(b"1")
        self.network.pass_time(30)
        self.assertEqual(self.bodies, [])
        self.result(operations.resume(self.access(), "tasks"))
        self.network.pass_time(5)
        self.assertEqual(self.bodies, [b"1"])


class OperationsTests(ClientTestCase):
    """
    L{quebert.operations}, on dead letters.
    """

    def setUp(self) -> None:
        super().setUp()
        self.access = BrokerAccess(self.network, URL)
        self.watch()
        self.answers = [Bury(f"reason {n}") for n in range(5)]
        self.publish(*(b'{"url": "http://%d/"}' % n for n in range(5)))
        self.network.pass_time(30)
        self.assertEqual(self.depths()["tasks.dead"], 5)

    def browse(self, *matches: Match) -> list[bytes]:
        """
        The dead letters that match.
        """
        found: list[DeadLetter] = []
        asked = operations.browse(self.access, "tasks", matches, found.append)
        progress = self.result(asked)
        self.assertTrue(progress.ended)
        return [letter.body for letter in found]

    def test_status(self) -> None:
        """
        It tells what waits, what is dead, and who consumes.
        """
        status = self.result(operations.status(self.access, "tasks"))
        self.assertEqual((status.dead, status.consumers, status.ready), (5, 1, 0))
        self.assertFalse(status.paused)

    def test_browse(self) -> None:
        """
        All dead letters are shown from the oldest on, and stay.
        """
        bodies = [b'{"url": "http://%d/"}' % n for n in range(5)]
        self.assertEqual(self.browse(), bodies)
        self.assertEqual(self.browse(), bodies)

    def test_find(self) -> None:
        """
        The first that matches is found, or none.
        """
        found = self.result(operations.find(self.access, "tasks", []))
        assert found is not None
        self.assertEqual(found.body, b'{"url": "http://0/"}')
        nothing: Match = Match.parse("url=http://9/")
        self.assertIsNone(self.result(operations.find(self.access, "tasks", [nothing])))

    def test_redrive(self) -> None:
        """
        They go back to their queue, and are done.
        """
        self.seen.clear()
        progress = self.result(operations.redrive(self.access, "tasks", []))
        self.assertEqual((progress.seen, progress.done), (5, 5))
        self.network.pass_time(10)
        self.assertEqual(len(self.seen), 5)
        self.assertEqual(sum(self.depths().values()), 0)

    def test_discard(self) -> None:
        """
        They can be dropped, if whoever asks is sure of that.
        """
        progress = Progress()
        asked: list[int] = []

        def sure(count: int) -> bool:
            asked.append(count)
            return len(asked) > 1

        for agreed in (False, True):
            done = operations.discard(self.access, "tasks", [], progress, sure)
            self.assertIs(self.result(done), agreed)
            self.assertEqual(len(self.browse()), 0 if agreed else 5)
        self.assertEqual((asked, progress.done), ([5, 5], 5))

    def test_purge(self) -> None:
        """
        What waits in a queue can be dropped.
        """
        self.call("queue_declare", queue="others", durable=True)
        for _ in range(3):
            self.result(self.amqp.publish("", "others", b"x", {}))
        progress = Progress()
        self.assertTrue(self.result(operations.purge(self.access, "others", progress)))
        self.assertEqual(progress.done, 3)
        self.assertEqual(self.depths()["others"], 0)

    def test_unknown_queue(self) -> None:
        """
        A queue that is not there is no queue without dead letters.
        """
        asked = operations.browse(self.access, "nowhere", [], lambda letter: None)
        self.assertIn("there is no queue", str(self.failure(asked, ConfigError)))


class ConnectionTests(SynchronousTestCase):
    """
    Two connections to one broker, of which one knows that the user was let in.
    """

    def test_impatient(self) -> None:
        """
        A connection that is not patient gives up as soon as no host has let it in; the
        next who asks has it tried again.
        """
        network = MemoryNetwork()
        network.is_down = True
        broker = Broker.from_url("amqp://guest:guest@192.0.2.1,192.0.2.2/")
        connection = BrokerConnection(
            broker, None, lambda: network, "test", patient=False
        )
        asked = Deferred.fromCoroutine(connection.connected(60))
        for number in (1, 2):
            network.pass_time(1)
            self.assertEqual(len(network.tcpClients), number)
            self.assertNoResult(asked)
            factory: Any = network.tcpClients[-1][2]
            factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        network.pass_time(1)
        told = self.failureResultOf(asked, BrokerUnreachable).value
        self.assertIn("was not reached: Connection was refused", str(told))
        network.is_down = False
        asked = Deferred.fromCoroutine(connection.connected(60))
        network.pass_time(1)
        self.successResultOf(asked)
        stopped = Deferred.fromCoroutine(connection.stop())
        network.pass_time(1)
        self.successResultOf(stopped)

    def test_refused_beside_a_sibling(self) -> None:
        """
        A refusal is final for a connection that was never let in, nor its sibling; an
        optional one gives up in any case.
        """
        network = MemoryNetwork()
        broker = Broker.from_url(URL)
        first = BrokerConnection(broker, None, lambda: network, "first")
        connected = Deferred.fromCoroutine(first.connected())
        network.settle()
        self.successResultOf(connected)
        network.broker = BrokerFactory(network, users={"guest": "another"})
        table: list[tuple[dict[str, Any], type[Exception]]] = [
            ({}, BrokerRefused),
            ({"sibling": first, "optional": True}, BrokerRefused),
            ({"sibling": first}, BrokerUnreachable),
        ]
        for options, kind in table:
            other = BrokerConnection(broker, None, lambda: network, "other", **options)
            asked = Deferred.fromCoroutine(other.connected(20))
            network.pass_time(30)
            self.failureResultOf(asked, kind)
            stopped = Deferred.fromCoroutine(other.stop())
            network.pass_time(1)
            self.successResultOf(stopped)
        stopped = Deferred.fromCoroutine(first.stop())
        network.pass_time(1)
        self.successResultOf(stopped)
