"""
Tests for L{quebert.broker.protocol._frame_connection}: what is read from a client, and
when.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.frames import PROTOCOL_HEADER
from quebert.broker import BrokerFactory
from quebert.broker.protocol._output import CONGESTED, SWAMPED
from quebert.test.broker.peer import Memory, Peer, check
from quebert.test.broker.test_login import LoginTestCase, opened, start_ok, tune_ok


class HeaderTests(LoginTestCase):
    """
    The protocol header, and what comes behind it.
    """

    def test_octet_by_octet(self) -> None:
        data = PROTOCOL_HEADER + start_ok() + tune_ok() + opened()
        found = self.send(*(bytes([octet]) for octet in data))
        self.assertEqual(found, ["start", "tune", "open-ok"])

    def test_another_protocol(self) -> None:
        """
        Who speaks another protocol is told which one is spoken here, and cut off.
        """
        for data in (b"GET / HTTP/1.1\r\n", b"AMQP\0\1\0\0", b"AMQQ", b"X"):
            self.new()
            self.peer.send(data)
            self.assertEqual(self.peer.raw, PROTOCOL_HEADER)
            self.assertTrue(self.peer.lost)

    def test_older_header(self) -> None:
        self.assertEqual(self.send(b"AMQP\1\1\0\x09"), ["start"])


class HeartbeatTests(SynchronousTestCase):
    """
    Heartbeats of both ends.
    """

    def test_heartbeats(self) -> None:
        """
        A client that was to be heard of, and is not for two intervals, is cut off;
        the broker is heard of meanwhile.
        """
        silent = Peer(BrokerFactory(Clock()))
        silent.open(heartbeat=10)
        for _ in range(3):
            silent.turn(5)
        self.assertEqual(silent.heartbeats, 2)  # it had written just before
        self.assertFalse(silent.lost)
        silent.turn(5)
        silent.turn(5)
        self.assertTrue(silent.lost)


class SlowReaderTests(SynchronousTestCase):
    """
    A client that does not read what it is sent.
    """

    def setUp(self) -> None:
        """
        A full queue, and a consumer without limits.
        """
        self.broker = BrokerFactory(Clock(), Memory())
        self.peer = Peer(self.broker).open()
        self.peer.call("queue.declare", queue="q")
        for _ in range(20):
            self.peer.publish("q", bytes(100_000))
        self.slow = Peer(self.broker).open()
        self.queue = self.broker.vhosts["/"].queues["q"]
        self.addCleanup(check, self.broker)

    def test_gets_no_more(self) -> None:
        """
        It is sent no more than so much; the rest waits for others.
        """
        self.slow.connection._output.pauseProducing()
        self.slow.call("basic.consume", queue="q", no_ack=True)
        self.assertEqual(len(self.queue.ready), 20)
        self.slow.connection._output.resumeProducing()
        self.slow.turn()
        self.assertEqual(len(self.queue.ready), 0)

    def test_in_one_turn(self) -> None:
        """
        Before the turn has ended, too.
        """
        consume = self.slow.encoded("basic.consume", {"queue": "q", "no_ack": True})
        self.slow.connection.dataReceived(consume)
        written = 20 - len(self.queue.ready)
        self.assertEqual(written, CONGESTED // 100_000 + 1)
        self.slow.turn()
        self.assertEqual(len(self.queue.ready), 0)

    def test_is_not_read_from(self) -> None:
        """
        When very much waits for it, nothing is read from it until it has read that.
        """
        transport = self.slow.transport
        big = bytes(SWAMPED)
        self.peer.publish("q", big)
        self.peer.call("queue.purge", queue="q")
        self.peer.publish("q", big)
        self.slow.connection._output.pauseProducing()
        self.assertEqual(transport.producerState, "producing")
        self.slow.call("basic.get", queue="q")
        self.assertEqual(transport.producerState, "paused")
        self.slow.connection._output.resumeProducing()
        self.assertEqual(transport.producerState, "producing")

    def ask_for_much(self) -> None:
        """
        Ask for 100 MiB by 5 KB.
        """
        self.peer.call("queue.purge", queue="q")
        self.peer.publish("q", bytes(2**20))
        again = self.slow.encoded("basic.nack", {"delivery_tag": 0, "multiple": True})
        asked = self.slow.encoded("basic.get", {"queue": "q"}) + again
        self.slow.connection.dataReceived(asked * 100)

    def test_asks_for_much(self) -> None:
        """
        What has come already is not looked at, either: a client could ask for gigabytes
        by some kilobytes, in one turn.
        """
        output, written = self.slow.connection._output, list[int]()

        def write(data: bytes) -> None:
            written.append(len(data))
            output.pauseProducing()

        self.patch(self.slow.transport, "write", write)
        self.ask_for_much()
        for writes in range(1, 8):
            for _ in range(3):
                self.slow.turn()
                self.slow.connection.dataReceived(b"")
            self.assertEqual(len(written), writes)
            output.resumeProducing()
        self.assertLess(max(written), SWAMPED + 2**21)
        self.assertGreater(sum(written), 100 * 2**20)

    def test_asks_for_much_and_reads(self) -> None:
        """
        A client that reads as fast gets all of it, in several turns.
        """
        written = list[int]()
        self.patch(self.slow.transport, "write", lambda data: written.append(len(data)))
        self.ask_for_much()
        for _ in range(10):
            self.slow.turn()
        self.assertLess(max(written), SWAMPED + 2**21)
        self.assertGreater(sum(written), 100 * 2**20)

    def test_asks_for_much_and_is_lost(self) -> None:
        """
        Nothing goes on for a client that is gone.
        """
        self.ask_for_much()
        self.slow.clock.advance(0)
        self.slow.transport.loseConnection()
        self.slow.clock.advance(0)
        self.assertEqual(len(self.queue.ready), 1)
        self.assertIsNone(self.slow.connection._going_on)
