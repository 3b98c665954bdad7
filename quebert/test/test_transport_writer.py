"""
Tests for L{quebert._transport_writer}.
"""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from quebert._transport_writer import TransportWriter
from quebert.test.transports import FullTransport, SocketTransport


class FullSocketTransport(FullTransport, SocketTransport):  # type: ignore[misc]
    """
    A socket behind a transport that has enough after each write.
    """

    dataBuffer = b""

    def __init__(self) -> None:
        SocketTransport.__init__(self)
        self._tempDataBuffer: list[bytes] = []


class WriteLastTests(SynchronousTestCase):
    """
    Data that goes straight into a socket.
    """

    def setUp(self) -> None:
        self.transport = FullSocketTransport()
        self.writer = TransportWriter()
        self.writer.begin(self.transport)

    def last(self, data: bytes = b"last") -> tuple[bytes, bytes]:
        """
        What goes into the socket, and what the reactor is to send.
        """
        self.transport.clear()
        self.transport.sent = b""
        self.writer.write_last(data)
        return self.transport.sent, self.transport.value()

    def test_once(self) -> None:
        """
        It is sent once after something has come; more is sent together.
        """
        self.assertEqual(self.last(), (b"", b"last"))
        for _ in range(2):
            self.writer.may_send = True
            self.assertEqual(self.last(), (b"last", b""))
            self.assertEqual(self.last(), (b"", b"last"))

    def test_full(self) -> None:
        """
        What the socket does not take is left to the reactor.
        """
        for room, sent in ((3, b"las"), (0, b""), (BlockingIOError(), b"")):
            self.writer.may_send, self.transport.room = True, room
            self.assertEqual(self.last(), (sent, b"last"[len(sent) :]))

    def test_behind(self) -> None:
        """
        It overtakes nothing.
        """
        for name, value in ("dataBuffer", b"a"), ("_tempDataBuffer", [b"a"]):
            self.writer.may_send = True
            with mock.patch.object(self.transport, name, value):
                self.assertEqual(self.last(), (b"", b"last"))
        self.writer.may_send = True
        self.writer.write_pieces(iter((b"a", b"b")))
        self.assertEqual(self.last(), (b"", b""))
        for _ in range(3):
            self.writer.resumeProducing()
        self.assertEqual(self.transport.value(), b"blast")

    def test_not_a_socket(self) -> None:
        """
        TLS, what is no TCP, and a connection that is lost are written to as ever.
        """
        for name, value in ("TLS", True), ("connected", False):
            self.transport = FullSocketTransport()
            self.writer = TransportWriter()
            with mock.patch.object(self.transport, name, value):
                self.writer.begin(self.transport)
                self.writer.may_send = True
                self.assertEqual(self.last(), (b"", b"last"))


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
