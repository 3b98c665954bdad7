"""
Tests for L{quebert.broker.protocol._server}, L{quebert.broker.protocol._channel} and
L{quebert.broker._broker}: what the contract does not hold, since it is about turns
of the reactor, time and memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from quebert.broker import BrokerFactory
from quebert.broker.protocol._server import HANDSHAKE_TIMEOUT
from quebert.broker.state import PublishedMessage, _routing
from quebert.errors import StoreError
from quebert.test.broker.peer import Memory, Peer, check, content


class _Case(SynchronousTestCase):
    """
    A broker, and a client that has a queue C{q} and is told what is confirmed.
    """

    def setUp(self) -> None:
        """
        Open a connection.
        """
        self.clock = Clock()
        self.memory = Memory()
        self.broker = BrokerFactory(self.clock, self.memory)
        self.peer = Peer(self.broker).open()
        self.peer.call("queue.declare", queue="q")
        self.peer.call("confirm.select")
        self.peer.received.clear()


class TurnTests(_Case):
    """
    What is said when a turn ends.
    """

    def test_after_the_commit(self) -> None:
        """
        A persistent message is confirmed once it is committed, and not before.
        """
        connection = self.peer.connection
        one = self.peer.encoded("basic.publish", {"routing_key": "q"})
        connection.dataReceived(one + content(1, b"\x10\x00\x02", b"body"))
        self.assertEqual(self.peer.transport.value(), b"")
        self.assertEqual(len(self.memory.entries), 1)
        self.assertEqual(self.memory.committed, set())
        self.peer.turn()
        self.assertEqual(len(self.memory.committed), 1)
        self.assertEqual([each.name for each in self.peer.received], ["basic.ack"])

    def test_dead_letters_behind_what_is_delivered(self) -> None:
        """
        What has expired behind a message is sent on in the turn in which that message
        is delivered: to a new consumer, or after an ack.
        """
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"}
        self.peer.call("queue.declare", queue="short", arguments=arguments)
        for _ in range(2):
            self.peer.publish("short", b"stays")
            self.peer.publish("short", b"expires", expiration="1000")
        self.peer.turn(2)
        self.peer.call("basic.qos", prefetch_count=1)
        self.peer.call("basic.consume", queue="short")
        self.assertEqual(self.broker.depths(), {"q": 1, "short": 3})
        check(self.broker)
        self.peer.call("basic.ack", delivery_tag=1)
        self.assertEqual(self.broker.depths(), {"q": 2, "short": 1})
        check(self.broker)

    def test_dead_letter_for_a_full_queue(self) -> None:
        """
        A dead letter that waits for one of its queues goes once to the others.
        """
        call = self.peer.call
        call("exchange.declare", exchange="letters", exchange_type="fanout")
        full = {"x-max-length": 0, "x-overflow": "reject-publish"}
        call("queue.declare", queue="full", arguments=full)
        call("queue.bind", queue="full", exchange="letters")
        call("queue.bind", queue="q", exchange="letters")
        arguments = {
            "x-queue-type": "quorum",
            "x-overflow": "reject-publish",
            "x-dead-letter-exchange": "letters",
            "x-dead-letter-strategy": "at-least-once",
        }
        call("queue.declare", queue="short", arguments=arguments)
        self.peer.publish("short", b"body", expiration="1000")
        for _ in range(5):
            self.peer.turn(3)
            self.assertEqual(self.broker.depths()["q"], 1)
        call("queue.delete", queue="full")
        call("queue.declare", queue="full")
        call("queue.bind", queue="full", exchange="letters")
        self.peer.turn(3)
        self.assertEqual(self.broker.depths(), {"full": 1, "q": 1, "short": 0})
        self.peer.turn(3)
        self.assertEqual(self.memory.committed, set(self.memory.entries))
        self.assertEqual(len(self.memory.entries), 2)
        check(self.broker)

    def test_many_channels_of_a_lost_connection(self) -> None:
        """
        A message that one channel of a lost connection had goes to none of its other
        channels: a quorum queue would count each of them, and drop it.
        """
        other = Peer(self.broker).open()
        for single in (False, True):
            arguments = {"x-queue-type": "quorum", "x-single-active-consumer": single}
            other.call("queue.declare", queue="quorum", arguments=arguments)
            peer = Peer(self.broker).open()
            for number in range(1, 31):
                peer.call("channel.open", channel=number + 1)
                peer.call("basic.consume", channel=number, queue="quorum")
            other.publish("quorum", b"body")
            peer.transport.loseConnection()
            got = other.call("basic.get", queue="quorum")
            assert got is not None
            assert got.properties is not None
            counted = {"x-acquired-count": 1, "x-delivery-count": 1}
            self.assertEqual(got.properties["headers"], counted)
            other.call("queue.delete", queue="quorum")
            check(self.broker)

    def test_exchanges_that_go_with_each_other(self) -> None:
        """
        However many exchanges go with a queue, each with its last binding, they go, and
        the connection whose queue it was is lost.
        """
        peer = Peer(self.broker).open()
        before = len(self.broker.vhosts["/"].exchanges)
        peer.call("queue.declare", queue="mine", durable=False, exclusive=True)
        for number in range(1_000):
            name = f"x{number}"
            peer.call("exchange.declare", exchange=name, auto_delete=True)
            if number:
                before_it = f"x{number - 1}"
                peer.call("exchange.bind", source=before_it, destination=name)
        peer.call("queue.bind", exchange="x999", queue="mine")
        peer.transport.loseConnection()
        self.assertEqual(len(self.broker.vhosts["/"].exchanges), before)
        self.assertNotIn(peer.connection, self.broker.connections)

    def test_one_confirm_for_all_of_a_turn(self) -> None:
        """
        What was published in one turn is confirmed at once.
        """
        one = self.peer.encoded("basic.publish", {"routing_key": "q"})
        self.peer.send((one + content(1, b"\0\0", b"")) * 5)
        (confirmed,) = self.peer.received
        self.assertEqual((confirmed["delivery_tag"], confirmed["multiple"]), (5, True))

    def test_what_nobody_waits_for_is_committed_soon(self) -> None:
        """
        An acknowledgement is committed a moment later.
        """
        self.peer.publish("q", b"body")
        self.peer.call("basic.get", queue="q")
        self.peer.call("basic.ack", delivery_tag=1)
        self.assertEqual(len(self.memory.committed), 1)
        self.peer.turn(0.1)
        self.assertEqual(self.memory.committed, set())

    def test_no_exchange(self) -> None:
        """
        What was published to no exchange is not confirmed: the channel is closed.
        """
        self.peer.publish("q", b"body", exchange="none")
        self.assertEqual([each.name for each in self.peer.received], ["channel.close"])
        check(self.broker)

    def test_nack_among_acks(self) -> None:
        """
        A refused one is told after those before it, and not with those after.
        """
        arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
        self.peer.call("queue.declare", queue="short", arguments=arguments)
        self.peer.received.clear()
        pieces = []
        for key in ("short", "short", "q"):
            method = self.peer.encoded("basic.publish", {"routing_key": key})
            pieces.append(method + content(1, b"\0\0", b""))
        self.peer.send(b"".join(pieces))
        told = [(each.name, each["delivery_tag"]) for each in self.peer.received]
        wanted = [("basic.ack", 1), ("basic.nack", 2), ("basic.ack", 3)]
        self.assertEqual(told, wanted)
        self.assertFalse(any(each["multiple"] for each in self.peer.received))


class _Failing(Memory):
    """
    A journal on a disk that is full.
    """

    def commit(self) -> None:
        """
        It cannot be.
        """
        raise StoreError("broker.sqlite: database or disk is full")


class _Stuck(Memory):
    """
    A journal in a folder that can no longer be read.
    """

    def close(self) -> None:
        """
        It cannot be let go.
        """
        raise StoreError("broker.sqlite: Permission denied")


class _Forgetful(Memory):
    """
    A journal whose file is damaged.
    """

    def read(self, ids: Iterable[int]) -> Mapping[int, PublishedMessage]:
        """
        It cannot be.
        """
        raise StoreError("broker.sqlite: message 1 is missing")


class MemoryTests(SynchronousTestCase):
    """
    A broker that keeps nothing on a disk.
    """

    def test_many_messages(self) -> None:
        """
        However much there is, all of it stays.
        """
        self.patch(_routing, "MOST_RESIDENT", 1000)
        peer = Peer(BrokerFactory(Clock())).open()
        peer.call("queue.declare", queue="q")
        for n in range(20):
            peer.publish("q", b"%d" % n)
        for n in range(20):
            got = peer.call("basic.get", queue="q")
            assert got is not None
            self.assertEqual(got.body, b"%d" % n)


class FailureTests(SynchronousTestCase):
    """
    When what is durable cannot be written.
    """

    def test_nothing_is_confirmed(self) -> None:
        """
        Who has published is told nothing: the connection is cut, and the broker says
        why it has failed.
        """
        broker = BrokerFactory(Clock(), _Failing())
        peer = Peer(broker).open()
        peer.call("queue.declare", queue="q", durable=False)
        self.assertTrue(peer.lost)
        self.assertEqual(peer.received, [])
        error = self.successResultOf(broker.failed)
        self.assertIn("disk is full", str(error))

    def test_nothing_is_committed_after_that(self) -> None:
        """
        Nor what was to be committed a moment later: it may be half of what belongs
        together.
        """
        memory = Memory()
        clock = Clock()
        broker = BrokerFactory(clock, memory)
        peer = Peer(broker).open()
        peer.call("queue.declare", queue="q")
        peer.publish("q", b"body")
        peer.turn(1)
        peer.call("basic.get", queue="q", no_ack=True)
        self.assertTrue(memory.pending)
        broker.fail(StoreError("broker.sqlite: database or disk is full"))
        clock.advance(1)
        self.assertTrue(memory.pending)
        self.assertEqual(len(memory.committed), 1)

    def test_fails_once(self) -> None:
        """
        However much fails then, the first reason is told, once.
        """
        broker = BrokerFactory(Clock(), Memory())
        with capturedLogs() as events:
            for why in ("disk is full", "cannot be read"):
                broker.fail(StoreError(why))
        self.assertEqual(len(events), 1)
        self.assertIn("disk is full", str(self.successResultOf(broker.failed)))

    def test_what_is_answered_is_safe(self) -> None:
        """
        What is answered was committed before.
        """
        memory = Memory()
        peer = Peer(BrokerFactory(Clock(), memory)).open()
        binding = {"destination": "y", "source": "x"}
        calls: list[tuple[str, dict[str, Any]]] = [
            ("exchange.declare", {"exchange": "x", "exchange_type": "fanout"}),
            ("exchange.declare", {"exchange": "y", "exchange_type": "fanout"}),
            ("exchange.bind", binding),
            ("queue.declare", {"queue": "q"}),
            ("queue.bind", {"queue": "q", "exchange": "y"}),
            ("queue.purge", {"queue": "q"}),
            ("queue.unbind", {"queue": "q", "exchange": "y"}),
            ("exchange.unbind", binding),
            ("exchange.delete", {"exchange": "y"}),
            ("queue.delete", {"queue": "q"}),
        ]
        for method, arguments in calls:
            if method == "queue.purge":
                peer.publish("", b"body", exchange="y")
                peer.turn(1)
            peer.call(method, **arguments)
            self.assertFalse(memory.pending, method)

    def test_what_cannot_be_read(self) -> None:
        """
        The same when a message cannot be read again.
        """
        broker = BrokerFactory(Clock(), _Forgetful())
        peer = Peer(broker).open()
        peer.call("queue.declare", queue="q")
        peer.publish("q", b"body")
        (entry,) = broker.vhosts["/"].queues["q"].ready
        broker._router._page_out(entry)
        peer.call("basic.get", queue="q")
        self.assertTrue(peer.lost)
        self.assertIn("is missing", str(self.successResultOf(broker.failed)))

    def test_what_cannot_be_read_when_it_expires(self) -> None:
        """
        The same when its time is up.
        """
        broker = BrokerFactory(Clock(), _Forgetful())
        peer = Peer(broker).open()
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"}
        peer.call("queue.declare", queue="q", arguments=arguments)
        peer.publish("q", b"body", expiration="1000")
        (entry,) = broker.vhosts["/"].queues["q"].ready
        broker._router._page_out(entry)
        peer.turn(1)
        self.assertTrue(peer.lost)
        self.assertIn("is missing", str(self.successResultOf(broker.failed)))

    def test_what_cannot_be_read_for_another_client(self) -> None:
        """
        The same when a message cannot be read for a client that begins to read again,
        or for one that takes over from a client that is lost.
        """
        for lost in (False, True):
            broker = BrokerFactory(Clock(), _Forgetful())
            peer, other = Peer(broker).open(), Peer(broker).open()
            arguments = {"x-single-active-consumer": True}
            peer.call("queue.declare", queue="q", arguments=arguments)
            if lost:
                peer.call("basic.qos", prefetch_count=1)
            peer.call("basic.consume", queue="q")
            other.call("basic.consume", queue="q")
            if not lost:
                peer.connection._output.pauseProducing()
            for _ in range(2):
                other.publish("q", b"body")
            for entry in broker.vhosts["/"].queues["q"].ready:
                broker._router._page_out(entry)
            if lost:
                peer.transport.loseConnection()
            else:
                peer.connection._output.resumeProducing()
            self.assertIn("is missing", str(self.successResultOf(broker.failed)))
            self.assertTrue(other.lost)
            self.assertEqual(broker.connections, set())

    def test_what_cannot_be_let_go(self) -> None:
        """
        Who stops the broker is told, and does not wait for ever.
        """
        broker = BrokerFactory(Clock(), _Stuck())
        peer = Peer(broker).open()
        stopped = broker.stop()
        peer.turn(2)
        self.failureResultOf(stopped, StoreError)


class TimeTests(_Case):
    """
    How long things take.
    """

    def test_handshake(self) -> None:
        """
        A client that does not open its virtual host in time is cut off.
        """
        silent = Peer(self.broker)
        silent.turn(HANDSHAKE_TIMEOUT)
        self.assertTrue(silent.lost)
        self.assertFalse(self.peer.lost)

    def test_close_without_an_answer(self) -> None:
        """
        A client that does not answer a close is cut off.
        """
        self.peer.call("basic.qos", prefetch_size=1)
        self.assertFalse(self.peer.lost)
        self.peer.turn(10)
        self.assertTrue(self.peer.lost)

    def test_a_chain_of_deaths(self) -> None:
        """
        When much time passes at once, messages die one after the other, each at its
        own time.
        """
        for name, following, ttl in (("a", "b", 60_000), ("b", "c", 3_600_000)):
            arguments = {
                "x-message-ttl": ttl,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": following,
            }
            self.peer.call("queue.declare", queue=name, arguments=arguments)
        self.peer.call("queue.declare", queue="c")
        self.peer.publish("a", b"body")
        self.broker.advance(3_659.5)
        self.assertEqual(self.broker.depths(), {"a": 0, "b": 1, "c": 0, "q": 0})
        self.broker.advance(1)
        self.assertEqual(self.broker.depths(), {"a": 0, "b": 0, "c": 1, "q": 0})
        got = self.peer.call("basic.get", queue="c")
        assert got is not None
        assert got.properties is not None
        times = [
            each["time"].timestamp() for each in got.properties["headers"]["x-death"]
        ]
        self.assertEqual(times, [3_660, 60])

    def test_a_queue_that_nobody_uses(self) -> None:
        """
        A queue that expires does so after the last use, however often it was used.
        """
        arguments = {"x-expires": 10_000}
        self.peer.call("queue.declare", queue="brief", arguments=arguments)
        for _ in range(5):
            self.peer.turn(9)
            self.peer.call("basic.get", queue="brief")
        self.peer.turn(9.9)
        self.assertIn("brief", self.broker.depths())
        self.peer.turn(0.2)
        self.assertNotIn("brief", self.broker.depths())

    def test_a_queue_that_has_a_consumer(self) -> None:
        """
        It does not expire, and its time begins when the last consumer goes.
        """
        arguments = {"x-expires": 10_000}
        self.peer.call("queue.declare", queue="brief", arguments=arguments)
        self.peer.call("basic.consume", queue="brief")
        self.peer.turn(35)
        self.peer.call("basic.cancel", consumer_tag="tag")
        self.peer.turn(9.9)
        self.assertIn("brief", self.broker.depths())
        self.peer.turn(0.2)
        self.assertNotIn("brief", self.broker.depths())


class StopTests(_Case):
    """
    How the broker ends.
    """

    def test_clients_are_told(self) -> None:
        """
        Clients are told why, and it has stopped when they have all agreed.
        """
        stopped = self.broker.stop()
        self.peer.turn()
        (close,) = self.peer.take("connection.close")
        self.assertEqual(close["reply_code"], 320)
        self.assertNoResult(stopped)
        self.peer.call("connection.close-ok", channel=0)
        self.successResultOf(stopped)

    def test_clients_that_do_not_agree(self) -> None:
        """
        They are cut off.
        """
        stopped = self.broker.stop()
        self.peer.turn(2)
        self.successResultOf(stopped)

    def test_what_is_pending_is_committed(self) -> None:
        """
        What nobody waited for is committed, too.
        """
        self.peer.publish("q", b"body")
        self.peer.call("basic.get", queue="q", no_ack=True)
        stopped: Deferred[None] = self.broker.stop()
        self.peer.turn(2)
        self.successResultOf(stopped)
        self.assertEqual(self.memory.committed, set())

    def test_what_is_pending_without_clients(self) -> None:
        """
        The same where nobody is connected any more; nothing is left to be done.
        """
        self.peer.publish("q", b"body")
        self.peer.call("basic.get", queue="q", no_ack=True)
        self.peer.transport.loseConnection()
        self.assertTrue(self.memory.pending)
        self.successResultOf(self.broker.stop())
        self.assertEqual(self.memory.committed, set())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_twice(self) -> None:
        """
        Who stops it again waits for the same end.
        """
        stopped = self.broker.stop()
        self.assertIs(self.broker.stop(), stopped)
        self.peer.turn()
        self.assertEqual(len(self.peer.take("connection.close")), 1)
        self.peer.turn(2)
        self.successResultOf(stopped)

    def test_as_long_as_it_is_told(self) -> None:
        """
        Clients have two seconds to agree, or as long as is said.
        """
        for seconds, arguments in ((2, ()), (0.5, (0.5,))):
            self.setUp()
            stopped = self.broker.stop(*arguments)
            self.peer.turn(seconds - 0.25)
            self.assertNoResult(stopped)
            self.peer.turn(0.25)
            self.successResultOf(stopped)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_is_committed_after_a_failure(self) -> None:
        """
        A broker that has failed commits nothing at its end, either.
        """
        self.peer.publish("q", b"body")
        self.peer.call("basic.get", queue="q", no_ack=True)
        self.broker.fail(StoreError("broker.sqlite: database or disk is full"))
        self.successResultOf(self.broker.stop())
        self.assertTrue(self.memory.pending)

    def test_silent_clients(self) -> None:
        """
        A client that has said nothing yet is told nothing.
        """
        silent = Peer(self.broker)
        stopped = self.broker.stop()
        silent.turn()
        self.assertTrue(silent.lost)
        self.assertEqual(silent.received, [])
        self.peer.turn(2)
        self.successResultOf(stopped)
