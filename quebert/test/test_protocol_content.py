"""
Tests for L{quebert._protocol.content}.
"""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame as peer
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.content import (
    CONTENT_HEADER,
    ContentReader,
    ContentTooLarge,
    content_head,
    content_pieces,
    whole_content,
)
from quebert._protocol.frames import (
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_METHOD,
    FrameReader,
    UnexpectedFrame,
)
from quebert._protocol.properties import encode_properties
from quebert.test.checks import QUICK

EMPTY = b"\0\0"


def header(size: int, klass: int = 60) -> bytes:
    """
    The payload of a header frame.
    """
    return CONTENT_HEADER.pack(klass, 0, size) + EMPTY


class WriteTests(SynchronousTestCase):
    """
    Tests for L{content_head}, L{whole_content} and L{content_pieces}.
    """

    def test_as_others_write_it(self) -> None:
        """
        A content is what pamqp writes.
        """
        publish = Basic.Publish(exchange="flow", routing_key="key")
        method = struct.pack(">HH", 60, 40) + publish.marshal()
        properties = {"delivery-mode": 2, "message-id": "me"}
        wanted = b"".join(
            peer.marshal(each, 5)
            for each in (
                publish,
                ContentHeader(0, 4, Basic.Properties(delivery_mode=2, message_id="me")),
                ContentBody(b"body"),
            )
        )
        head = content_head(5, method, encode_properties(properties), 4)
        self.assertEqual(whole_content(head, 5, b"body"), wanted)
        self.assertEqual(b"".join(content_pieces(head, 5, b"body", 100)), wanted)

    @QUICK
    @given(st.binary(max_size=40), st.integers(1, 50))
    def test_pieces(self, body: bytes, most: int) -> None:
        """
        A body is cut into as few frames as the largest payload allows; an empty one has
        none.
        """
        head = content_head(1, b"method", EMPTY, len(body))
        frames = b"".join(content_pieces(head, 1, body, most))
        kinds, channels, pieces = zip(*FrameReader(100).read(frames), strict=True)
        self.assertEqual(set(channels), {1})
        count = -(-len(body) // most)
        self.assertEqual(kinds, (FRAME_METHOD, FRAME_HEADER, *[FRAME_BODY] * count))
        self.assertEqual(pieces[:2], (b"method", header(len(body))))
        self.assertEqual(b"".join(pieces[2:]), body)
        self.assertLessEqual(max(map(len, pieces[2:]), default=0), most)
        if len(body) <= most:
            self.assertEqual(whole_content(head, 1, body), frames)


class ContentReaderTests(SynchronousTestCase):
    """
    Tests for L{ContentReader}.
    """

    def setUp(self) -> None:
        self.bodies: list[bytes] = []
        self.properties: list[bytes] = []
        self.reader = ContentReader()

    def whole(self, content: Any) -> None:
        """
        Note it.
        """
        self.assertIs(content, self.expected)
        self.properties.append(content.encoded_properties)
        self.bodies.append(content.body)

    def expect(self, most: int = 1_000) -> None:
        """
        Have a content expected.
        """
        self.expected: Any = SimpleNamespace()
        self.reader.expect(self.expected, most, self.whole)

    def announce(self, size: int, most: int = 1_000) -> None:
        """
        Have a content come, up to its header.
        """
        self.expect(most)
        self.reader.header_received(header(size))

    def test_header(self) -> None:
        """
        The header tells the size of the body, and the encoded properties.
        """
        self.expect(7)
        self.reader.header_received(CONTENT_HEADER.pack(60, 0, 7) + b"more")
        self.assertEqual(self.reader.missing, 7)
        self.reader.body_received(b"content")
        self.assertEqual(self.properties, [b"more"])

    def test_empty(self) -> None:
        """
        An empty body is there with its header.
        """
        self.announce(0)
        self.assertEqual(self.bodies, [b""])

    def test_not_expected(self) -> None:
        """
        A header is refused before a method has announced a content, after the header of
        a content, and after a content.
        """
        with self.assertRaisesRegex(UnexpectedFrame, "a content header came"):
            self.reader.header_received(header(1))
        self.announce(1)
        for _ in range(2):
            with self.assertRaises(UnexpectedFrame):
                self.reader.header_received(header(1))
            if self.reader.missing:
                self.reader.body_received(b"1")
        self.announce(0)
        with self.assertRaises(UnexpectedFrame):
            self.reader.header_received(header(1))

    def test_too_large(self) -> None:
        """
        A body that is announced as larger than allowed is refused.
        """
        self.announce(9, most=9)
        self.reader.body_received(bytes(9))
        with self.assertRaisesRegex(ContentTooLarge, "10 bytes.* at most 9") as caught:
            self.announce(10, most=9)
        self.assertEqual(caught.exception.size, 10)

    def test_another_class(self) -> None:
        """
        A header of a class whose methods have no content is refused.
        """
        self.expect(1)
        with self.assertRaisesRegex(
            UnexpectedFrame, "for class 60, got one for class 50"
        ):
            self.reader.header_received(header(1, klass=50))

    def test_cut_short(self) -> None:
        """
        A header that is cut short is refused.
        """
        self.expect(1)
        with self.assertRaises(struct.error):
            self.reader.header_received(header(1)[:11])

    @QUICK
    @given(st.lists(st.lists(st.binary(max_size=9)).filter(any)))
    def test_bodies(self, bodies: list[list[bytes]]) -> None:
        """
        The body is there with its last byte, and not before; the next one begins anew.
        """
        for pieces in bodies:
            body = b"".join(pieces)
            self.bodies.clear()
            self.announce(len(body))
            for piece in pieces:
                if self.reader.missing:
                    self.assertEqual(self.bodies, [])
                    self.reader.body_received(piece)
            self.assertEqual(self.bodies, [body])
            self.assertEqual(self.reader.missing, 0)

    def test_whole(self) -> None:
        """
        A body that comes in one piece is not copied.
        """
        body = bytes(50)
        self.announce(50)
        self.reader.body_received(body)
        self.assertIs(self.bodies[0], body)

    def test_too_much(self) -> None:
        """
        More of a body than was announced is refused.
        """
        self.announce(3)
        self.reader.body_received(b"ab")
        self.assertEqual(self.bodies, [])
        with self.assertRaisesRegex(UnexpectedFrame, "more of a body"):
            self.reader.body_received(b"cd")

    def test_end(self) -> None:
        """
        After the end, nothing is kept of what has come, and nothing is expected.
        """
        self.announce(3)
        self.reader.body_received(b"ab")
        self.reader.end()
        self.assertNotEqual(self.reader.completed, self.whole)
        self.assertEqual((self.reader.content, self.reader._begun), (None, None))
        for received in (self.reader.body_received, self.reader.header_received):
            with self.assertRaises(UnexpectedFrame):
                received(b"c")
        self.assertEqual(self.bodies, [])

    def test_unannounced(self) -> None:
        """
        A body that was not announced is refused, and so is any frame of an empty body.
        """
        for piece in (b"a", b""):
            with self.assertRaises(UnexpectedFrame):
                self.reader.body_received(piece)
        self.announce(0)
        with self.assertRaises(UnexpectedFrame):
            self.reader.body_received(b"")
