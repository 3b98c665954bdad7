"""
Tests for L{quebert.broker.protocol._publishing},
L{quebert.broker.protocol._channel_writer} and L{quebert.broker.protocol._channels}:
what is published over a channel, frame by frame.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

from quebert._protocol.content import CONTENT_HEADER
from quebert._protocol.frames import (
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_METHOD,
    FRAME_START,
    frame,
)
from quebert._protocol.methods import METHODS
from quebert.broker.protocol._publishing import MOST_BODY
from quebert.test.broker.peer import content
from quebert.test.broker.test_commands import CommandsTestCase

#: Bytes of a message in a frame, as the client has agreed to.
MOST = 131_072 - 8
PUBLISH = METHODS["basic.publish"].numbers
CLOSE = "connection.close"


class PublishingTestCase(CommandsTestCase):
    """
    A client with a queue C{q}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.declare("q")
        self.peer.received.clear()

    def method(self, **arguments: Any) -> bytes:
        """
        The frame that begins a publication.
        """
        return self.peer.encoded("basic.publish", {"routing_key": "q", **arguments})

    def names(self) -> list[str]:
        """
        What came.
        """
        return [each.name for each in self.peer.received]

    def told(self) -> list[tuple[str, int, bool]]:
        """
        What was confirmed or refused.
        """
        received, self.peer.received = self.peer.received, []
        return [(e.name, e["delivery_tag"], e["multiple"]) for e in received]


class ReturnTests(PublishingTestCase):
    """
    Messages that reach no queue.
    """

    def test_mandatory(self) -> None:
        """
        It comes back as it was, and with the reason.
        """
        self.peer.publish("nowhere", b"body", mandatory=True, priority=3)
        (back,) = self.peer.received
        self.assertEqual(back.name, "basic.return")
        self.assertEqual((back["reply_code"], back["reply_text"]), (312, "NO_ROUTE"))
        self.assertEqual((back["exchange"], back["routing_key"]), ("", "nowhere"))
        self.assertEqual(back.properties, {"delivery-mode": 2, "priority": 3})
        self.assertEqual(back.body, b"body")

    def test_reaches_a_queue(self) -> None:
        self.peer.publish("q", mandatory=True)
        self.assertEqual(self.names(), [])
        self.assertEqual(self.depths(), {"q": 1})

    def test_not_mandatory(self) -> None:
        self.peer.publish("nowhere")
        self.assertEqual(self.names(), [])

    def test_confirmed_behind_its_return(self) -> None:
        self.call("confirm.select")
        self.peer.received.clear()
        self.peer.publish("nowhere", mandatory=True)
        self.assertEqual(self.names(), ["basic.return", "basic.ack"])

    def test_bits_without_a_meaning(self) -> None:
        """
        Only the bits that AMQP names count.
        """
        for bits, names in ((4, []), (5, ["basic.return"])):
            method = self.method(routing_key="nowhere")
            self.peer.send(method[:-2] + bytes([bits, 0xCE]) + content(1, b"\0\0", b""))
            self.assertEqual(self.names(), names)

    def test_immediate(self) -> None:
        self.refused(540, "immediate=true", "basic.publish", immediate=True)


class ConfirmTests(PublishingTestCase):
    """
    What is confirmed, and by which number.
    """

    def test_counted_from_the_selection_on(self) -> None:
        for _ in range(3):
            self.peer.publish("q")
        self.assertEqual(self.names(), [])
        self.call("confirm.select")
        self.peer.received.clear()
        self.peer.publish("q")
        self.assertEqual(self.told(), [("basic.ack", 1, False)])
        self.call("confirm.select")
        self.peer.received.clear()
        self.peer.publish("q")
        self.assertEqual(self.told(), [("basic.ack", 2, False)])

    def test_nothing_twice(self) -> None:
        """
        What was refused is not confirmed later, nor what was confirmed.
        """
        self.declare("short", max_length=0, overflow="reject-publish")
        self.call("confirm.select")
        self.peer.received.clear()
        told = []
        for key in ("q", "short", "short", "q", "q"):
            self.peer.publish(key)
            told += self.told()
        names = "ack", "nack", "nack", "ack", "ack"
        wanted = [(f"basic.{name}", n, False) for n, name in enumerate(names, 1)]
        self.assertEqual(told, wanted)

    def test_before_the_end_of_the_channel(self) -> None:
        """
        What was published before an error is confirmed before the channel is closed.
        """
        self.call("confirm.select")
        self.peer.received.clear()
        good = self.method() + content(1, b"\0\0", b"")
        bad = self.method(exchange="none") + content(1, b"\0\0", b"")
        self.peer.send(good * 2 + bad)
        self.assertEqual(self.names(), ["basic.ack", "channel.close"])
        self.assertEqual(self.peer.received[0]["delivery_tag"], 2)

    def test_of_two_channels(self) -> None:
        """
        Each channel counts for itself.
        """
        self.call("channel.open", channel=2)
        for channel in (1, 2):
            self.call("confirm.select", channel=channel)
        self.peer.received.clear()
        for channel in (2, 1, 2):
            self.peer.publish("q", channel=channel)
        found = [(each.channel, each["delivery_tag"]) for each in self.peer.received]
        self.assertEqual(found, [(2, 1), (1, 1), (2, 2)])


class RefusalTests(PublishingTestCase):
    """
    What may not be published.
    """

    def error(self, data: bytes) -> tuple[str, int, tuple[int, int]]:
        """
        What is closed for it, with which code, and the method that is to blame.
        """
        self.peer.send(data)
        (close,) = self.peer.received
        index = close["class_id"], close["method_id"]
        return close.name, close["reply_code"], index

    def test_no_exchange(self) -> None:
        found = self.error(self.method(exchange="none") + content(1, b"\0\0", b"x"))
        self.assertEqual(found, ("channel.close", 404, PUBLISH))

    def test_internal_exchange(self) -> None:
        self.call("exchange.declare", exchange="x", internal=True)
        self.peer.received.clear()
        found = self.error(self.method(exchange="x") + content(1, b"\0\0", b""))
        self.assertEqual(found, ("channel.close", 403, PUBLISH))

    def test_another_user(self) -> None:
        self.peer.publish("q", user_id="guest")
        self.assertEqual(self.depths(), {"q": 1})
        self.peer.publish("q", user_id="other")
        (close,) = self.peer.received
        self.assertEqual(close["reply_code"], 406)
        text = "user_id property set to 'other' but authenticated user was 'guest'"
        self.assertIn(text, close["reply_text"])
        self.assertEqual(self.depths(), {"q": 1})

    def test_too_large(self) -> None:
        """
        A body has 128 MiB at most: that is told before it has come.
        """
        self.assertEqual(MOST_BODY, 2**27)
        header = CONTENT_HEADER.pack(60, 0, MOST_BODY) + b"\0\0"
        self.peer.send(self.method() + frame(FRAME_HEADER, 1, header))
        self.assertEqual(self.names(), [])
        self.call("channel.open", channel=2)
        self.peer.received.clear()
        header = CONTENT_HEADER.pack(60, 0, MOST_BODY + 1) + b"\0\0"
        method = self.peer.encoded("basic.publish", {"routing_key": "q"}, 2)
        found = self.error(method + frame(FRAME_HEADER, 2, header))
        self.assertEqual(found, ("channel.close", 406, PUBLISH))

    def test_frames_out_of_place(self) -> None:
        """
        A method, a header and the pieces of a body come in this order.
        """
        method, body = self.method(), frame(FRAME_BODY, 1, b"x")
        header = frame(FRAME_HEADER, 1, CONTENT_HEADER.pack(60, 0, 2) + b"\0\0")
        closed = "connection.close", 505
        for data, index in (
            (header, (0, 0)),
            (body, (0, 0)),
            (method + method, PUBLISH),
            (method + body, PUBLISH),
            (method + header + header, PUBLISH),
            (method + header + body + method, PUBLISH),
        ):
            self.assertEqual(self.error(data), (*closed, index), data)
            self.call("connection.close-ok", channel=0)
            self.peer = type(self.peer)(self.broker).open()

    def test_header_of_another_class(self) -> None:
        header = frame(FRAME_HEADER, 1, CONTENT_HEADER.pack(61, 0, 2) + b"\0\0")
        found = self.error(self.method() + header)
        self.assertEqual(found, ("connection.close", 505, PUBLISH))

    def test_more_than_the_header_says(self) -> None:
        header = frame(FRAME_HEADER, 1, CONTENT_HEADER.pack(60, 0, 2) + b"\0\0")
        found = self.error(self.method() + header + frame(FRAME_BODY, 1, b"xyz"))
        self.assertEqual(found, ("connection.close", 501, PUBLISH))

    def test_method_cut_short(self) -> None:
        """
        A method whose lengths do not fit is an error of the connection.
        """
        whole = self.method()[7:-1]
        for payload in (whole[:-2] + b"\0", whole[:-1] + b"\0\0"):
            self.peer.send(frame(FRAME_METHOD, 1, payload))
            (close,) = self.peer.received
            self.assertEqual((close.name, close["reply_code"]), (CLOSE, 501))
            self.call("connection.close-ok", channel=0)
            self.peer = type(self.peer)(self.broker).open()


class FrameTests(PublishingTestCase):
    """
    Messages in frames that are as large as the client has agreed to.
    """

    def test_large(self) -> None:
        """
        A body of one frame comes in one, a larger one in more, and none is larger.
        """
        for size, sizes in (
            (0, []),
            (1, [1]),
            (MOST, [MOST]),
            (MOST + 1, [MOST, 1]),
            (2 * MOST + 5, [MOST, MOST, 5]),
        ):
            self.peer.publish("q", bytes(size))
            self.peer.connection.dataReceived(
                self.peer.encoded("basic.get", {"queue": "q", "no_ack": True})
            )
            self.clock.advance(0)
            data, at, found = self.peer.transport.value(), 0, []
            while at < len(data):
                kind, channel, length = FRAME_START.unpack_from(data, at)
                found += [length] * (kind == FRAME_BODY)
                self.assertEqual(channel, 1)
                at += length + 8
            self.assertEqual(found, sizes)
            self.peer.turn()

    def test_let_go(self) -> None:
        """
        What has come of a body is let go with its connection, at once.
        """
        data = content(1, b"\0\0", b"0123456789", most=3)
        self.peer.send(self.method() + data[:-20])
        (channel,) = self.peer.connection.channels
        self.assertEqual(channel.publishing.expects, FRAME_BODY)
        begun = weakref.ref(channel.publishing._content._begun)
        self.assertIsNotNone(begun())
        gc.disable()
        self.addCleanup(gc.enable)
        self.peer.transport.loseConnection()
        self.assertIsNone(begun())

    def test_in_pieces(self) -> None:
        """
        A body may come in as many frames as the client likes.
        """
        data = content(1, b"\0\0", b"0123456789", most=3)
        for at, octet in enumerate(self.method() + data):
            self.assertEqual(self.depths(), {"q": 0}, at)
            self.peer.send(bytes([octet]))
        got = self.call("basic.get", queue="q")
        self.assertEqual(got.body, b"0123456789")
