"""
Tests for L{quebert._transport_writer}.
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from quebert._transport_writer import TransportWriter
from quebert.test.transports import FullTransport


class TransportWriterTests(SynchronousTestCase):
    """
    Tests for L{TransportWriter}.
    """

    def setUp(self) -> None:
        self.transport = FullTransport()
        self.writer = TransportWriter()
        self.writer.begin(self.transport)
        self.made = 0

    def pieces(self, *pieces: bytes) -> Iterator[bytes]:
        """
        The pieces of a content, of which L{made} are made.
        """
        for piece in pieces:
            self.made += 1
            yield piece

    def send(self) -> None:
        """
        The transport has sent what was written.
        """
        assert self.transport.producer is not None
        self.transport.producer.resumeProducing()

    def test_write(self) -> None:
        """
        Frames are written at once.
        """
        self.writer.write(b"a")
        self.writer.write(b"b")
        self.assertEqual(self.transport.value(), b"ab")

    def test_pieces(self) -> None:
        """
        A piece is made when the transport has sent the one before.
        """
        self.writer.write_pieces(self.pieces(b"a", b"b", b"c"))
        self.assertEqual((self.made, self.transport.value()), (1, b"a"))
        self.send()
        self.assertEqual((self.made, self.transport.value()), (2, b"ab"))
        self.send()
        self.send()
        self.assertEqual(self.transport.value(), b"abc")
        self.assertIsNone(self.transport.producer)

    def test_order(self) -> None:
        """
        Nothing comes between the pieces of a content.
        """
        self.writer.write_pieces(self.pieces(b"a", b"b"))
        self.writer.write(b"c")
        self.writer.write_pieces(self.pieces(b"d", b"e"))
        self.writer.write(b"f")
        while self.transport.producer is not None:
            self.send()
        self.writer.write(b"g")
        self.assertEqual(self.transport.value(), b"abcdefg")

    def test_again(self) -> None:
        """
        Another content follows later.
        """
        for _ in range(2):
            self.writer.write_pieces(self.pieces(b"a", b"b"))
            while self.transport.producer is not None:
                self.send()
        self.assertEqual(self.transport.value(), b"abab")

    def test_quick(self) -> None:
        """
        A transport that takes all has all at once.
        """
        transport = StringTransport()
        self.writer.begin(transport)
        self.writer.write_pieces(self.pieces(b"a", b"b"))
        self.assertEqual(transport.value(), b"ab")
        self.assertIsNone(transport.producer)

    def test_lost(self) -> None:
        """
        When the connection is lost, no more pieces are made.
        """
        self.writer.write_pieces(self.pieces(b"a", b"b"))
        self.writer.stopProducing()
        self.writer.resumeProducing()
        self.assertEqual(self.made, 1)
