"""
L{quebert.amqp.wire._frame_client} against the broker of L{quebert.test.test_wire}.
"""

from __future__ import annotations

import struct

from pamqp import frame, heartbeat
from pamqp.commands import Basic, Connection, Queue
from twisted.internet.error import ConnectionLost as TCPLost

from quebert._protocol.frames import FRAME_MAX
from quebert.amqp.wire import Message
from quebert.errors import ChannelLost, ProtocolError, ReplyCode
from quebert.test.test_wire import (
    OpenChannelTestCase,
    WireTestCase,
    contents,
    delivery,
    marshalled,
    raw_frame,
)
from quebert.test.transports import SocketTransport


class FrameTests(OpenChannelTestCase):
    """
    Frames from the broker.
    """

    def test_unknown_channel(self) -> None:
        """
        A frame for a channel that is not open is a 504.
        """
        self.wire.dataReceived(delivery(b"x", channel=9))
        self.check_failed(504)

    def test_unknown_method(self) -> None:
        """
        A method that does not exist is a 503.
        """
        for unknown in ((60, 999), (999, 10)):
            self.wire.dataReceived(raw_frame(1, 1, struct.pack(">HH", *unknown)))
            self.check_failed(503)
            self.broker.lose()
            self.make()
            self.let_in()
            self.channel()

    def test_method_of_clients(self) -> None:
        """
        A method that only a client may send closes the connection, with one
        error in the log.
        """
        self.broker.send(Queue.Delete(queue="q"), channel=1)
        self.assertTrue(self.wire.closed)
        self.assertTrue(self.transport.disconnecting)
        self.check_failed(503)

    def test_content_method_of_clients(self) -> None:
        """
        A C{basic.publish} from the broker closes the connection, and leaves
        nothing waiting.
        """
        waiting = self.ask(self.opened.call("queue_declare", queue="q"))
        method = Basic.Publish(exchange="", routing_key="k")
        self.wire.dataReceived(marshalled(method, channel=1) + contents(b"x"))
        self.assertTrue(self.wire.closed)
        self.failed(waiting)
        self.flushLoggedErrors()

    def test_bad_frame_end(self) -> None:
        """
        A frame that does not end with 0xCE is a 501.
        """
        self.wire.dataReceived(raw_frame(1, 1, b"payload", end=b"\x00"))
        self.check_failed(501)

    def test_before_a_bad_frame(self) -> None:
        """
        The frames that came in one segment with it, and before it, count.
        """
        bad = raw_frame(1, 1, b"payload", end=b"\x00")
        self.wire.dataReceived(delivery(b"before") + bad + delivery(b"behind"))
        self.check_failed(501)
        self.assertEqual([each.body for each in self.messages], [b"before"])

    def test_bad_frame_type(self) -> None:
        """
        A frame of an unknown type is a 501, before its payload has come.
        """
        self.wire.dataReceived(b"\x04\x00\x01\x00\x00\x00\x10?")
        self.check_failed(501)

    def test_oversized_frame(self) -> None:
        """
        A frame larger than was negotiated is a 501, as soon as its size is
        known.
        """
        size = FRAME_MAX - 8
        self.wire.dataReceived(struct.pack(">BHI", 3, 1, size + 1) + b"x")
        self.check_failed(501)

    def test_oversized_properties(self) -> None:
        """
        Properties may be larger than was negotiated, since the broker has added to
        them what befell the message; but not without end.
        """
        self.wire.dataReceived(struct.pack(">BHI", 2, 1, FRAME_MAX) + b"x")
        self.assertFalse(self.wire.closed)
        self.wire.dataReceived(bytes(FRAME_MAX - 1) + b"\xce")
        self.check_failed(505)

    def test_endless_properties(self) -> None:
        """
        Nobody has a megabyte of them.
        """
        self.wire.dataReceived(struct.pack(">BHI", 2, 1, 2**20 + 1) + b"x")
        self.check_failed(501)

    def test_read_at_once(self) -> None:
        """
        More is read at once while a large frame comes, and not of many small ones.
        """
        self.wire.transport = tcp = SocketTransport()
        little, more = 65_536, 262_144
        many = b"".join(delivery(b"x" * 2_000, tag=n) for n in range(1, 91))
        large = delivery(b"x" * 600_000, tag=91)
        for data, sizes in ((many, [little] * 3), (large, [little, more, more, more])):
            seen = []
            while data:
                seen.append(tcp.bufferSize)
                self.wire.dataReceived(data[: tcp.bufferSize])
                data = data[seen[-1] :]
            self.assertEqual(seen, sizes)
            self.assertEqual(tcp.bufferSize, little)
        self.assertEqual(len(self.messages), 91)

    def test_largest_frame(self) -> None:
        """
        A frame of just the size that was negotiated is fine.
        """
        self.wire.dataReceived(struct.pack(">BHI", 3, 1, FRAME_MAX - 8) + b"x")
        self.assertFalse(self.wire.closed)

    def test_malformed(self) -> None:
        """
        A method that is cut short is a 502.
        """
        whole = frame.marshal(Basic.Deliver("consumer", 1, False, "", "k"), 1)[7:-1]
        for size in (0, 3, 4, 8, 15):
            self.wire.dataReceived(raw_frame(1, 1, whole[:size]))
            self.assertTrue(self.wire.closed, size)
            self.assertIsInstance(self.broker.take()[-1], Connection.Close)
            self.broker.lose()
            self.make()
            self.let_in()
            self.channel()

    def test_malformed_header(self) -> None:
        """
        A content header that is cut short is a 502.
        """
        deliver = marshalled(Basic.Deliver("c", 1, False, "", "k"), channel=1)
        self.wire.dataReceived(deliver + raw_frame(2, 1, b"\x00\x3c\x00\x00\x00"))
        self.check_failed(502)

    def test_nothing_after_the_end(self) -> None:
        """
        What comes after the connection was closed is not looked at.
        """
        self.wire.dataReceived(delivery(b"x", channel=9) + delivery(b"later"))
        self.wire.dataReceived(delivery(b"later"))
        self.check_failed(504)
        self.assertEqual(self.messages, [])

    def test_nothing_after_a_close(self) -> None:
        """
        Nor what came in one segment with the frame that has a callback close it.
        """

        def close(message: Message) -> None:
            self.messages.append(message)
            self.wire.fail(ProtocolError(ReplyCode.NOT_ALLOWED, "enough"))

        self.opened.on_message = close
        self.wire.dataReceived(delivery(b"x") + delivery(b"later", tag=2))
        self.check_failed(530)
        self.assertEqual([each.body for each in self.messages], [b"x"])

    def test_larger_frames_agreed(self) -> None:
        """
        A frame that is too large fits if larger ones are agreed to by the frames before
        it; each frame is taken once.
        """

        def agree(message: Message) -> None:
            self.messages.append(message)
            self.wire.agree(2 * FRAME_MAX, 0)

        self.opened.on_message = agree
        large = bytes(FRAME_MAX)
        frames = delivery(large, tag=2, step=FRAME_MAX)
        self.wire.dataReceived(delivery(b"x") + frames + delivery(b"y", tag=3))
        self.assertFalse(self.wire.closed)
        bodies = [each.body for each in self.messages]
        self.assertEqual(bodies, [b"x", large, b"y"])

    def test_close_ok_after_a_failure(self) -> None:
        """
        The peer's C{close-ok} to that is no further error.
        """
        self.wire.dataReceived(delivery(b"x", channel=9))
        self.broker.send(Connection.CloseOk())
        self.check_failed(504)


class HeartbeatTests(WireTestCase):
    """
    Tests for heartbeats, of ten seconds here.
    """

    heartbeat = 10

    def setUp(self) -> None:
        super().setUp()
        self.let_in(heartbeat=60)

    def pass_time(self, seconds: int) -> None:
        """
        Let time pass, in seconds.
        """
        for _ in range(seconds):
            self.clock.advance(1)

    def test_sent(self) -> None:
        """
        A heartbeat is sent every half interval.
        """
        self.pass_time(4)
        self.broker.expect()
        self.pass_time(1)
        self.assertEqual(self.broker.take_numbered()[0][0], 0)
        self.pass_time(10)
        self.broker.expect(heartbeat.Heartbeat, heartbeat.Heartbeat)

    def test_silent_peer(self) -> None:
        """
        A peer of which nothing is heard for two intervals is dropped, and not
        before; all who wait are told why.
        """
        waiting = self.ask(self.wire.open_channel())
        self.pass_time(19)
        self.assertFalse(self.transport.disconnected)
        self.pass_time(6)
        self.assertTrue(self.transport.disconnected)
        self.broker.lose(TCPLost())
        self.assertIn("heartbeat", str(self.failed(waiting, ChannelLost)))
        self.assertIn("heartbeat", str(self.successResultOf(self.wire.lost)))

    def test_falls_silent(self) -> None:
        """
        Two intervals count from what was heard last, at any time.
        """
        for offset in range(10):
            self.broker.lose()
            self.make()
            self.let_in(heartbeat=60)
            for _ in range(3):
                self.pass_time(7)
                self.broker.send(heartbeat.Heartbeat())
            self.pass_time(offset)
            self.broker.send(heartbeat.Heartbeat())
            self.pass_time(19)
            self.assertFalse(self.transport.disconnected, offset)
            self.pass_time(7)
            self.assertTrue(self.transport.disconnected, offset)

    def test_heartbeats_are_enough(self) -> None:
        """
        A peer that sends heartbeats, one each interval, stays.
        """
        for _ in range(20):
            self.pass_time(10)
            self.broker.send(heartbeat.Heartbeat())
        self.assertFalse(self.transport.disconnecting)

    def test_busy_peer(self) -> None:
        """
        A peer that sends anything at all stays, even a frame in small pieces.
        """
        channel = self.channel()
        messages: list[Message] = []
        channel.on_message = messages.append
        for each in delivery(b"slowly"):
            self.pass_time(9)
            self.wire.dataReceived(bytes([each]))
        self.assertEqual(messages[0].body, b"slowly")
        self.assertFalse(self.transport.disconnecting)

    def test_slept(self) -> None:
        """
        A machine that was asleep for hours gives the peer a chance to be heard.
        """
        self.clock.advance(36_000)
        self.assertFalse(self.transport.disconnected)
        self.broker.send(heartbeat.Heartbeat())
        self.pass_time(15)
        self.assertFalse(self.transport.disconnected)

    def test_none(self) -> None:
        """
        Without a heartbeat, nothing is sent and nobody is dropped.
        """
        self.broker.lose()
        self.make(heartbeat=0)
        self.let_in(heartbeat=60)
        self.pass_time(1000)
        self.broker.expect()
        self.assertFalse(self.transport.disconnecting)

    def test_ends(self) -> None:
        """
        No heartbeat is sent on a connection that is lost.
        """
        self.broker.take()
        self.broker.lose()
        self.pass_time(100)
        self.broker.expect()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closing_to_a_mute_peer(self) -> None:
        """
        A connection that is closed to a peer which reads nothing ends all the
        same: it is dropped after two intervals.
        """
        self.wire.dataReceived(delivery(b"x", channel=9))
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.transport.disconnected)
        self.pass_time(26)
        self.assertTrue(self.transport.disconnected)
