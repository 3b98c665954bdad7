"""
Tests for C{quebert.http._request_writer}: each row of its table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper
from twisted.trial.unittest import SynchronousTestCase

from quebert._machine import WrongEvent
from quebert.http._request_writer import (
    PIECE,
    SMALL,
    TABLE,
    RequestWriter,
    WriterEvent,
    WriterState,
    socket_below,
)

LARGE = b"x" * (SMALL + 1)


class Socket(StringTransport, FileDescriptor):  # type: ignore[misc]
    """
    The transport that has the socket.

    @ivar taken: what was written into it.
    @ivar broken: whether it takes no more.
    """

    def __init__(self) -> None:
        StringTransport.__init__(self)
        self.taken = b""
        self.broken = False

    def writeSomeData(self, data: bytes) -> Any:
        """
        Take all, or tell why not.
        """
        if self.broken:
            return ConnectionLost()
        self.taken += data
        return len(data)


class FullSocket(Socket):
    """
    A socket that is full after each large write.
    """

    def write(self, data: bytes) -> None:
        super().write(data)
        if len(data) >= PIECE:
            cast(Any, self.producer).pauseProducing()


class WriterTestCase(SynchronousTestCase):
    """
    A writer with a socket.
    """

    def setUp(self) -> None:
        """
        Make one.
        """
        self.socket = Socket()
        self.writer = RequestWriter(self.socket)

    def fail_to_write(self) -> None:
        """
        The socket takes no more.
        """
        self.socket.broken = True
        self.assertEqual(self.socket.writeSomeData(b"1234"), 4)

    @property
    def state(self) -> WriterState:
        """
        Where the writer stands.
        """
        return self.writer._machine.state


class TableTests(WriterTestCase):
    """
    The states of a writer.
    """

    def reach(self, state: WriterState) -> None:
        """
        A new writer, in a state.
        """
        WriterTestCase.setUp(self)
        if state is not WriterState.FREE:
            self.writer.write(b"head", LARGE)
        if state is WriterState.CLOGGED:
            self.writer.pauseProducing()
        if state is WriterState.REFUSED:
            self.writer.reject()
        self.assertIs(self.state, state)

    def happen(self, event: WriterEvent) -> None:
        """
        Have an event happen.
        """
        calls: dict[WriterEvent, Callable[[], object]] = {
            WriterEvent.WRITE: lambda: self.writer.write(b"head", LARGE),
            WriterEvent.CLOG: self.writer.pauseProducing,
            WriterEvent.DRAIN: self.writer.resumeProducing,
            WriterEvent.FINISH: self.writer.finish,
            WriterEvent.REJECT: self.writer.reject,
            WriterEvent.FAIL: self.fail_to_write,
        }
        calls[event]()

    def test_rows(self) -> None:
        """
        Each event leads to the state that the table has.
        """
        for event, row in TABLE.items():
            for before, after in row.items():
                self.reach(before)
                self.happen(event)
                self.assertIs(self.state, after, (event, before))

    def test_wrong_events(self) -> None:
        """
        An event that cannot be, such as another request before an answer, is refused.
        """
        for event, row in TABLE.items():
            for before in WriterState:
                if before not in row:
                    self.reach(before)
                    self.assertRaises(WrongEvent, self.happen, event)
                    self.assertIs(self.state, before)

    def test_ready(self) -> None:
        """
        It can write another request where nothing is left to write, or little.
        """
        for state in WriterState:
            self.reach(state)
            ready = state in (WriterState.FREE, WriterState.WRITING)
            self.assertEqual(self.writer.is_ready, ready)
            self.assertEqual(self.writer.is_refused, state is WriterState.REFUSED)


class WritingTests(WriterTestCase):
    """
    What is written.
    """

    def test_small(self) -> None:
        """
        A small request is written, and the transport need not tell how that goes.
        """
        self.writer.write(b"small")
        self.assertEqual(self.socket.value(), b"small")
        self.assertIs(self.socket.producer, None)

    def test_large(self) -> None:
        """
        Of a large one the transport tells, until it is answered; so it does of the
        next.
        """
        for _ in range(2):
            self.writer.write(b"head", LARGE)
            self.assertIs(self.socket.producer, self.writer)
            self.writer.finish()
            self.assertIs(self.socket.producer, None)

    def test_pieces(self) -> None:
        """
        The transport gets a piece of a large body when it has sent the one before.
        """
        socket = self.socket = FullSocket()
        self.writer = RequestWriter(socket)
        body = bytes(range(256)) * (3 * PIECE // 256)
        self.writer.write(b"head", body)
        for number in range(1, 4):
            self.assertEqual(socket.value(), b"head" + body[: number * PIECE])
            self.assertFalse(self.writer.is_ready)
            self.writer.resumeProducing()
        self.assertEqual(socket.value(), b"head" + body)
        self.assertTrue(self.writer.is_ready)

    def test_pieces_refused(self) -> None:
        """
        Once the server has refused the rest, the transport gets no further piece.
        """
        socket = self.socket = FullSocket()
        self.writer = RequestWriter(socket)
        self.writer.write(b"head", bytes(3 * PIECE))
        self.writer.reject()
        self.writer.resumeProducing()
        self.assertEqual(len(socket.value()), len(b"head") + PIECE)

    def test_stopped(self) -> None:
        """
        A transport that stops its producer has sent not all of the request.
        """
        self.writer.write(b"head", LARGE)
        self.writer.stopProducing()
        self.assertFalse(self.writer.is_ready)

    def test_dropped(self) -> None:
        """
        Once the server has refused the rest, the socket gets nothing more, and the
        transport is told that all is written.
        """
        self.assertEqual(self.socket.writeSomeData(b"1"), 1)
        self.fail_to_write()
        self.socket.broken = False
        self.assertEqual(self.socket.writeSomeData(b"2"), 1)
        self.assertEqual(self.socket.taken, b"1")

    def test_no_socket(self) -> None:
        """
        A transport without a socket writes as it does.
        """
        transport = StringTransport()
        RequestWriter(transport).write(b"small")
        self.assertEqual(transport.value(), b"small")


class SocketTests(SynchronousTestCase):
    """
    L{socket_below} finds the transport that has the socket.
    """

    def test_wrapped(self) -> None:
        """
        It is below all protocols that wrap each other, as TLS does.
        """
        socket = Socket()
        nothing: Any = None
        inner, outer = (ProtocolWrapper(nothing, nothing) for _ in range(2))
        for wrapper, transport in ((inner, socket), (outer, inner)):
            wrapped: Any = wrapper
            wrapped.transport = transport
        for each in (socket, inner, outer):
            self.assertIs(socket_below(each), socket)
