"""
Tests for L{quebert.broker._broker}: what is committed and said at the end of a turn,
and when it looks again; and the connections of clients that are slow, silent or lost.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.frames import HEARTBEAT_FRAME
from quebert.broker import BrokerFactory
from quebert.errors import StoreError
from quebert.test.broker.peer import Memory, Peer


class Journal(Memory):
    """
    A journal that counts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.commits = 0
        self.closed = 0
        self.error: StoreError | None = None

    def commit(self) -> None:
        self.commits += 1
        if self.error is not None:
            raise self.error
        super().commit()

    def close(self) -> None:
        self.closed += 1


class TurnsTestCase(SynchronousTestCase):
    """
    A broker that has a queue, and a client.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.journal = Journal()
        self.broker = BrokerFactory(self.clock, self.journal)
        self.peer = Peer(self.broker).open()
        self.peer.call("queue.declare", queue="q")
        self.peer.received.clear()
        self.clock.advance(1)
        self.journal.commits = 0

    def times(self) -> list[float]:
        """
        When something is to be done, from now on.
        """
        now = self.clock.seconds()
        calls = self.clock.getDelayedCalls()
        return sorted(round(call.getTime() - now, 6) for call in calls)


class CommitTests(TurnsTestCase):
    """
    When the journal commits.
    """

    def test_not_where_nobody_relies_on_it(self) -> None:
        for method in ("basic.get", "queue.declare", "exchange.declare"):
            given: dict[str, Any] = {"exchange": "amq.direct", "queue": "q"}
            self.peer.call(method, **given, passive=True)
        self.assertEqual(self.journal.commits, 0)
        self.assertEqual(self.times(), [])

    def test_soon(self) -> None:
        """
        What nobody waits for is committed once, 50 ms after the first of it.
        """
        self.peer.publish("q")
        self.assertEqual(self.times(), [0.05])
        self.peer.turn(0.03125)
        self.peer.publish("q")
        self.assertEqual(self.journal.commits, 0)
        self.peer.turn(0.03125)
        self.assertEqual(self.journal.commits, 1)
        self.peer.turn(1)
        self.assertEqual(self.journal.commits, 1)
        self.peer.publish("q")
        self.peer.turn(0.0625)
        self.assertEqual(self.journal.commits, 2)

    def test_at_once(self) -> None:
        """
        Where somebody relies on it, it is committed at the end of the turn, and of that
        turn only.
        """
        self.peer.call("confirm.select")
        self.peer.publish("q")
        self.assertEqual(self.journal.commits, 1)
        self.peer.call("basic.get", queue="q", no_ack=True)
        self.assertEqual(self.journal.commits, 1)

    def test_fails_later(self) -> None:
        """
        A commit that nobody waits for fails as loudly; nothing more is said.
        """
        self.journal.error = StoreError("broker.sqlite: disk is full")
        self.peer.publish("q")
        self.peer.turn(1)
        self.assertTrue(self.peer.lost)
        self.assertIs(self.successResultOf(self.broker.failed), self.journal.error)
        self.successResultOf(self.broker.stop())
        self.assertEqual((self.journal.commits, self.journal.closed), (1, 1))
        self.assertEqual(self.times(), [])

    def test_says_nothing_after_a_failure(self) -> None:
        """
        Nothing is written that relies on a commit which has failed, although TCP tells
        of the loss in a later turn.
        """
        self.peer.call("confirm.select")
        self.patch(self.peer.transport, "abortConnection", lambda: None)
        self.patch(self.peer.connection, "finish_turn", self.fail)
        self.journal.error = StoreError("broker.sqlite: disk is full")
        self.peer.publish("q")
        self.assertIs(self.successResultOf(self.broker.failed), self.journal.error)

    def test_fails_while_it_speaks(self) -> None:
        """
        Where the journal fails while one client is told something, as a message for it
        cannot be read, nothing more is said to the others.
        """
        other = Peer(self.broker).open()
        error = StoreError("broker.sqlite: cannot be read")
        self.patch(self.peer.transport, "write", lambda data: self.broker.fail(error))
        for each in (self.peer, other):
            # TCP tells of the loss in a later turn.
            self.patch(each.transport, "abortConnection", lambda: None)
            asked = each.encoded("queue.declare", {"queue": "q", "passive": True})
            each.connection.dataReceived(asked)
        self.journal.pending = True
        self.clock.advance(0)
        self.assertIs(self.successResultOf(self.broker.failed), error)
        self.assertEqual(other.transport.value(), b"")
        self.assertEqual(self.times(), [])  # nothing is committed later


TOLD = {
    "exchange_declared",
    "exchange_deleted",
    "queue_declared",
    "queue_deleted",
    "bound",
    "unbound",
    "put",
    "removed",
    "delivered",
    "counted",
}


class Telling(Memory):
    """
    A journal that notes what it is told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in TOLD:
            self.told.append(name)
        return found


class TellingTests(SynchronousTestCase):
    """
    What the journal is told.
    """

    def told(self, *, durable: bool, kind: str = "classic", mode: int = 2) -> list[str]:
        """
        What it is told of an exchange, a queue, and a message.
        """
        journal = Telling()
        peer = Peer(BrokerFactory(Clock(), journal)).open()
        names: dict[str, Any] = {"exchange": "x", "queue": "q"}
        peer.call("exchange.declare", exchange="x", durable=durable)
        arguments = {"x-queue-type": kind}
        peer.call("queue.declare", queue="q", durable=durable, arguments=arguments)
        for _ in range(2):
            peer.call("queue.bind", **names)
        peer.publish("", exchange="x", delivery_mode=mode)
        for _ in range(2):
            peer.call("basic.get", queue="q")
            peer.call("basic.nack", multiple=True)
        peer.call("basic.get", queue="q", no_ack=True)
        for _ in range(2):
            peer.call("queue.unbind", **names)
        for _ in range(2):
            peer.call("queue.delete", queue="q")
            peer.call("exchange.delete", exchange="x")
        return journal.told

    def test_durable(self) -> None:
        """
        Each thing once.
        """
        declared, ended = ["exchange_declared", "queue_declared", "bound"], ["unbound"]
        ended += ["queue_deleted", "exchange_deleted"]
        message = ["put", "delivered", "removed"]
        self.assertEqual(self.told(durable=True), declared + message + ended)
        self.assertEqual(self.told(durable=True, mode=1), declared + ended)
        counted = ["put", *["counted"] * 5, "removed"]
        for mode in (1, 2):
            told = self.told(durable=True, kind="quorum", mode=mode)
            self.assertEqual(told, declared + counted + ended)

    def test_transient(self) -> None:
        """
        Nothing of what does not outlive the broker.
        """
        self.assertEqual(self.told(durable=False), [])

    def test_binding_to_what_is_transient(self) -> None:
        """
        A binding is as durable as its ends together.
        """
        for source, destination in ((True, False), (False, True)):
            journal = Telling()
            peer = Peer(BrokerFactory(Clock(), journal)).open()
            peer.call("exchange.declare", exchange="x", durable=source)
            peer.call("queue.declare", queue="q", durable=destination)
            for method in ("queue.bind", "queue.unbind"):
                peer.call(method, exchange="x", queue="q")
            kind = "exchange" if source else "queue"
            self.assertEqual(journal.told, [f"{kind}_declared"])


class AlarmTests(TurnsTestCase):
    """
    When the broker looks again.
    """

    def test_for_the_next_that_expires(self) -> None:
        self.peer.publish("q", expiration="8000")
        self.peer.turn(1)
        self.assertEqual(self.times(), [7])
        arguments = {"x-message-ttl": 2_000}
        self.peer.call("queue.declare", queue="short", arguments=arguments)
        self.peer.publish("short")
        self.assertIn(2, self.times())
        self.peer.turn(2)
        self.peer.turn(1)
        self.assertEqual(self.times(), [4])
        self.peer.turn(4)
        self.assertEqual(self.broker.depths(), {"q": 0, "short": 0})
        self.peer.turn(1)
        self.assertEqual(self.times(), [])

    def test_in_time_that_has_passed_at_once(self) -> None:
        self.peer.publish("q", expiration="8000")
        self.broker.advance(5)
        self.peer.turn(1)
        self.assertEqual(self.times(), [2])
        self.broker.advance(1.5)
        self.peer.turn()
        self.assertEqual(self.broker.depths(), {"q": 1})
        self.broker.advance(0.5)
        self.peer.turn()
        self.assertEqual(self.broker.depths(), {"q": 0})


class ConnectionsTests(TurnsTestCase):
    """
    What is left of clients.
    """

    def test_nothing_of_a_lost_one(self) -> None:
        self.assertEqual(self.broker.connections, {self.peer.connection})
        self.peer.call("basic.consume", queue="q")
        self.peer.transport.loseConnection()
        self.peer.turn()
        self.assertEqual(self.broker.connections, set())
        self.assertEqual(self.broker.vhosts["/"].queues["q"].consumers, [])
        self.assertEqual(self.times(), [])
        self.assertEqual(list(self.peer.connection.channels), [])
        self.assertEqual(self.peer.connection.state, "over")

    def test_what_a_lost_one_had(self) -> None:
        """
        Another client gets it in the same turn.
        """
        other = Peer(self.broker).open()
        self.peer.call("basic.consume", queue="q")
        other.publish("q", b"body")
        other.call("basic.consume", queue="q")
        other.received.clear()
        self.peer.transport.loseConnection()
        other.turn()
        (delivered,) = other.received
        self.assertEqual((delivered.body, delivered["redelivered"]), (b"body", True))

    def test_heartbeats(self) -> None:
        """
        They are sent where nothing else is, twice in an interval, and end with the
        connection.
        """
        peer = Peer(self.broker).open(heartbeat=8)
        peer.turn()
        sent = []
        for seconds in range(1, 17):
            if seconds % 4 == 3:
                peer.send(HEARTBEAT_FRAME)
            if seconds == 10:
                peer.call("queue.declare", queue="q", passive=True)
            before = peer.heartbeats
            peer.turn(1)
            sent += [seconds] * (peer.heartbeats - before)
        self.assertFalse(peer.lost)
        self.assertEqual(sent, [8, 16])
        peer.transport.loseConnection()
        peer.turn()
        self.assertEqual(self.times(), [])

    def test_no_heartbeats(self) -> None:
        """
        A client that wants none may be silent for as long as it likes.
        """
        self.assertEqual(self.times(), [])
        self.peer.turn(10_000)
        self.assertEqual((self.peer.heartbeats, self.peer.lost), (0, False))
