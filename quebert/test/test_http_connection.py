"""
Tests for C{quebert.http._connection}: each row of the table of its states.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.testing import AccumulatingProtocol, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert._machine import WrongEvent
from quebert.errors import ExecutorError, IncompleteAnswer
from quebert.http._connection import HTTPConnection
from quebert.http._exchange import HTTPExchange
from quebert.http._reader import Reader
from quebert.http._response import Response
from quebert.http._states import TABLE, HTTPEvent, HTTPState
from quebert.test.transports import SocketTransport

REQUEST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
HEAD, BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"ok"
TIMEOUT = b"HTTP/1.1 408 Slow\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Owner:
    """
    Writes down what it is told.

    @ivar unsent: a request that is to be sent.
    @ivar on_release: called once the connection may be used again.
    """

    def __init__(self) -> None:
        self.told: list[str] = []
        self.unsent: HTTPExchange | None = None
        self.on_release: Callable[[], object] = list
        self.now = 1.0
        self.sent_again: list[HTTPExchange] = []

    def released(self, connection: HTTPConnection) -> None:
        """
        Note it.
        """
        self.told.append("released")
        self.on_release()

    def lost(self, connection: HTTPConnection) -> None:
        """
        Note it.
        """
        self.told.append("lost")

    def read_together(self, tcp: object) -> None:
        """
        There is no TCP.
        """

    def withdraw(self, connection: HTTPConnection) -> HTTPExchange | None:
        """
        Note it, and give the request.
        """
        self.told.append("withdrawn")
        unsent, self.unsent = self.unsent, None
        return unsent

    def body_begins(self, connection: HTTPConnection) -> None:
        """
        Note it.
        """
        self.told.append("body begins")

    def body_ends(self, connection: HTTPConnection) -> None:
        """
        Note it.
        """
        self.told.append("body ends")

    def seconds(self) -> float:
        """
        As the test says.
        """
        return self.now

    def send_again(self, exchange: HTTPExchange) -> None:
        """
        Note it.
        """
        self.sent_again.append(exchange)


class Aborting(Protocol):
    """
    Reads a body, and wants no more of it.
    """

    def dataReceived(self, data: bytes) -> None:
        """
        Have the connection closed.
        """
        transport: Any = self.transport
        transport.abortConnection()


class ConnectionTestCase(SynchronousTestCase):
    """
    A connection over a socket that takes what is written at the end of a turn.
    """

    def setUp(self) -> None:
        """
        Connect.
        """
        self.connect(SocketTransport())

    def connect(self, transport: StringTransport) -> None:
        """
        Have a new connection.
        """
        self.owner, self.transport = Owner(), transport
        readers: list[Reader] = []
        self.connection = HTTPConnection(self.owner, 1_000, readers)
        self.connection.makeConnection(transport)

    def request(self) -> HTTPExchange:
        """
        Another request, which is not sent.
        """
        self.exchange = HTTPExchange(REQUEST, bodiless=False)
        self.answers: list[Response] = []
        self.errors: list[Failure] = []
        self.exchange.answered.addCallbacks(self.answers.append, self.errors.append)
        return self.exchange

    def wait(self) -> None:
        """
        A request is to be sent at the end of the turn.
        """
        self.owner.unsent = self.request()
        self.exchange.owner = self.connection

    def ask(self) -> None:
        """
        A request is sent.
        """
        self.connection.send(self.request(), self.owner.now)

    def lose(self, why: Exception | None = None) -> None:
        """
        The transport is gone.
        """
        self.connection.connectionLost(Failure(why or ConnectionDone()))

    def use(self) -> None:
        """
        A request is answered.
        """
        self.ask()
        self.connection.dataReceived(HEAD + BODY)


class TableTests(ConnectionTestCase):
    """
    The states of a connection.
    """

    def reach(self, state: HTTPState) -> None:
        """
        A new connection, in a state.
        """
        self.connect(SocketTransport())
        if state in (HTTPState.WAITING, HTTPState.HEAD, HTTPState.BODY):
            self.ask()
        if state is HTTPState.HEAD:
            self.connection.dataReceived(HEAD[:5])
        elif state is HTTPState.BODY:
            self.connection.dataReceived(HEAD)
        elif state is HTTPState.CLOSING:
            self.connection.abort()
        elif state is HTTPState.LOST:
            self.lose()
        self.assertIs(self.connection.state, state)

    def rest_of_head(self) -> None:
        """
        The head is complete.
        """
        self.connection.dataReceived(HEAD[5:])

    def rest(self) -> None:
        """
        The answer is complete.
        """
        before = self.connection.state
        self.connection.dataReceived(
            BODY if before is HTTPState.BODY else HEAD[5:] + BODY
        )

    def test_rows(self) -> None:
        """
        Each event leads to the state that the table has.
        """
        events: dict[HTTPEvent, Callable[[], object]] = {
            HTTPEvent.SEND: self.ask,
            HTTPEvent.BEGIN: lambda: self.connection.dataReceived(HEAD[:5]),
            HTTPEvent.TELL: self.rest_of_head,
            HTTPEvent.COMPLETE: self.rest,
            HTTPEvent.CLOSE: lambda: self.connection.abort(),
            HTTPEvent.LOSE: self.lose,
        }
        for event, row in TABLE.items():
            for before, after in row.items():
                if (event, before) == (HTTPEvent.COMPLETE, HTTPState.CLOSING):
                    continue  # below
                self.reach(before)
                events[event]()
                self.assertIs(self.connection.state, after, (event, before))

    def test_complete_while_closing(self) -> None:
        """
        Who reads the body may close the connection as the last bytes of it come: the
        answer is complete, and the connection is not used again.
        """
        self.reach(HTTPState.BODY)
        [answer] = self.answers
        reader = Aborting()
        answer.deliverBody(reader)
        self.connection.dataReceived(BODY)
        self.assertIs(self.connection.state, HTTPState.CLOSING)
        self.assertNotIn("released", self.owner.told)
        self.assertEqual(answer.whole, b"")

    def test_one_request_at_a_time(self) -> None:
        """
        A request can be made where there is none, and the connection is there; else
        nothing of it is written.
        """
        for state in HTTPState:
            if state is not HTTPState.IDLE:
                self.reach(state)
                sent = self.transport.sent  # type: ignore[attr-defined]
                self.assertRaises(WrongEvent, self.ask)
                self.assertIs(self.connection.state, state)
                self.assertEqual(self.transport.sent, sent)  # type: ignore[attr-defined]

    def test_withdrawn(self) -> None:
        """
        Once it is closed or lost while it is IDLE, whoever has requests sent is told,
        at once and before all others.
        """
        for end in (
            lambda: self.connection.abort(),
            lambda: self.connection.dataReceived(HEAD + BODY),
            self.lose,
        ):
            for state in HTTPState:
                if state not in (HTTPState.CLOSING, HTTPState.LOST):
                    self.reach(state)
                    self.owner.told.clear()
                    end()
                    is_idle = state is HTTPState.IDLE
                    self.assertEqual(self.owner.told[:1] == ["withdrawn"], is_idle)

    def test_unasked(self) -> None:
        """
        What comes before a request was written is no answer to it, and what comes
        after the end is not read.
        """
        for state, closed in (
            (HTTPState.IDLE, HTTPState.CLOSING),
            (HTTPState.CLOSING, HTTPState.CLOSING),
            (HTTPState.LOST, HTTPState.LOST),
        ):
            self.reach(state)
            self.connection.dataReceived(HEAD + BODY)
            self.assertIs(self.connection.state, closed)
            self.assertNotIn("released", self.owner.told)

    def test_closed(self) -> None:
        """
        It is closed once it is told to be, or lost.
        """
        for state in HTTPState:
            self.reach(state)
            closed = state in (HTTPState.CLOSING, HTTPState.LOST)
            self.assertEqual(self.connection.closed, closed)

    def test_received(self) -> None:
        """
        It tells how much of an answer has come.
        """
        sizes = {HTTPState.HEAD: 5, HTTPState.BODY: len(HEAD)}
        for state in HTTPState:
            self.reach(state)
            self.assertEqual(self.connection.received, sizes.get(state, 0))
            self.assertFalse(self.connection.paused)


class TransportTests(ConnectionTestCase):
    """
    Over a transport that is not a plain socket.
    """

    def test_written_at_once(self) -> None:
        """
        A request is written as it is made.
        """
        self.connect(StringTransport())
        self.ask()
        self.assertIs(self.connection.state, HTTPState.WAITING)
        self.assertEqual(self.transport.value(), REQUEST)


class EndTests(ConnectionTestCase):
    """
    What is told when a connection ends.
    """

    def text(self) -> str:
        """
        What was told to who waited for an answer.
        """
        [failure] = self.errors
        self.assertIsInstance(failure.value, ExecutorError)
        return str(failure.value)

    def test_idle(self) -> None:
        """
        Where nobody waits, the owner is told alone.
        """
        self.lose()
        self.assertEqual(self.owner.told, ["withdrawn", "body ends", "lost"])

    def test_no_answer(self) -> None:
        """
        Who waits for an answer is told that there is none, and why.
        """
        for head in (b"", HEAD[:5]):
            self.setUp()
            self.ask()
            if head:
                self.connection.dataReceived(head)
            self.lose(ConnectionLost("gone"))
            self.assertIn("the connection failed before an answer: ", self.text())
            self.assertIn("gone", self.text())
            self.assertEqual(self.owner.told[-1], "lost")

    def test_long_head(self) -> None:
        """
        A head of 64 KiB is still waited for; with the next byte it is too long.
        """
        self.ask()
        head = b"HTTP/1.1 200 OK\r\nX-Long: "
        self.connection.dataReceived(head + b"x" * (65_536 - len(head)))
        self.assertEqual(self.errors, [])
        self.connection.dataReceived(b"x")
        self.assertIn("head is longer than 65536 bytes", self.text())
        self.assertIs(self.connection.state, HTTPState.CLOSING)

    def test_body_is_told_of(self) -> None:
        """
        That a body begins and ends is told where it does not come with the head.
        """
        self.use()
        self.ask()
        self.connection.dataReceived(HEAD)
        self.connection.dataReceived(BODY)
        told = ["released", "body begins", "body ends", "released"]
        self.assertEqual(self.owner.told, told)

    def test_not_kept_alive(self) -> None:
        """
        A connection that is not to be used again is closed, and not released.
        """
        self.ask()
        self.connection.dataReceived(
            HEAD.replace(b"Content", b"Connection: close\r\nContent") + BODY
        )
        self.assertEqual(len(self.answers), 1)
        self.assertNotIn("released", self.owner.told)
        self.assertIs(self.connection.state, HTTPState.CLOSING)

    def test_paused(self) -> None:
        """
        A connection is paused while the answer that comes over it is.
        """
        self.assertFalse(self.connection.paused)
        self.ask()
        self.connection.dataReceived(HEAD)
        self.assertFalse(self.connection.paused)
        self.answers[0].pause()
        self.assertTrue(self.connection.paused)
        self.assertEqual(self.transport.producerState, "paused")
        self.connection.dataReceived(BODY)
        self.assertFalse(self.connection.paused)
        self.assertEqual(self.transport.producerState, "producing")

    def test_unreadable(self) -> None:
        """
        An answer that cannot be read ends it, and who waits is told at once.
        """
        self.ask()
        self.connection.dataReceived(b"SMTP\r\n\r\n")
        self.assertIn("the answer is not HTTP: ", self.text())
        self.assertIs(self.connection.state, HTTPState.CLOSING)
        self.lose()
        self.assertEqual(len(self.errors), 1)

    def test_unreadable_body(self) -> None:
        """
        Where the head could be read, there is an answer, which is cut short.
        """
        self.ask()
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.connection.dataReceived(chunked + b"2\r\nokX")
        [answer] = self.answers
        why = self.failureResultOf(answer.content(), IncompleteAnswer)
        self.assertIn("after 2 bytes: the answer is not HTTP", str(why.value))

    def test_much_around_a_body(self) -> None:
        """
        Where there is far more around a body than in it, nobody reads on.
        """
        self.ask()
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.connection.dataReceived(chunked + b"1\r\na\r\n")
        [answer] = self.answers
        reader = AccumulatingProtocol()
        answer.deliverBody(reader)
        padded = b"1;" + b"x" * 1_000 + b"\r\na\r\n"
        for _ in range(100):
            if not self.transport.disconnecting:
                self.connection.dataReceived(padded)
        self.assertLess(len(reader.data), 99)
        self.assertTrue(self.transport.disconnecting)
        self.lose()
        why = reader.closedReason
        assert why is not None
        self.assertIn("bytes are of its body", str(why.value))

    def test_cut_short(self) -> None:
        """
        Who waits for the rest is told that it will not come.
        """
        self.ask()
        self.connection.dataReceived(HEAD + b"o")
        [answer] = self.answers
        content = answer.content()
        self.lose()
        why = self.failureResultOf(content, IncompleteAnswer).value
        self.assertEqual(why.body, b"o")

    def test_until_close(self) -> None:
        """
        An answer without a length ends with its connection, if that ends in order.
        """
        for why, whole in ((None, b"ok"), (ConnectionLost(), None)):
            self.setUp()
            self.ask()
            self.connection.dataReceived(b"HTTP/1.1 200 OK\r\n\r\nok")
            self.lose(why)
            [answer] = self.answers
            self.assertEqual(answer.whole, whole)

    def test_abandoned(self) -> None:
        """
        Where nobody waits any more, the connection is closed, and nobody told.
        """
        for begin in (self.wait, self.ask):
            self.setUp()
            self.use()
            begin()
            self.exchange.answered.cancel()
            self.assertIs(self.connection.state, HTTPState.CLOSING)
            self.assertIsNone(self.owner.unsent)
            self.lose()
            self.assertEqual(self.owner.sent_again, [])
            self.errors.pop().trap(CancelledError)

    def test_cancelled_once_answered(self) -> None:
        """
        A request that is cancelled while its connection is released, before its answer
        is told, does not close the connection, which may carry the next request.
        """
        self.ask()
        self.owner.on_release = self.exchange.answered.cancel
        self.connection.dataReceived(HEAD + BODY)
        self.assertIs(self.connection.state, HTTPState.IDLE)
        self.assertEqual(self.answers, [])
        self.errors.pop().trap(CancelledError)

    def test_closed_before_it_was_sent(self) -> None:
        """
        Who waits for the answer to a request that was to be sent is told once the
        connection is gone, whyever it was closed.
        """
        self.wait()
        self.connection.abort()
        self.assertEqual((self.errors, self.owner.unsent), ([], None))
        self.lose()
        self.assertIn("the connection failed before an answer: ", self.text())

    def test_unasked_before_it_was_sent(self) -> None:
        """
        What comes over a new connection before a request was sent is no HTTP.
        """
        self.wait()
        self.connection.dataReceived(HEAD + BODY)
        self.assertIn("the server sent bytes before the request", self.text())
        self.lose()
        self.assertEqual((self.answers, self.owner.sent_again), ([], []))

    def test_told_before_it_is_given_up(self) -> None:
        """
        The owner hears of the loss last.
        """
        self.ask()
        self.exchange.answered.addCallback(lambda _: self.owner.told.append("told"))
        self.lose()
        self.assertEqual(self.owner.told[-2:], ["told", "lost"])


class SecondTryTests(ConnectionTestCase):
    """
    A server that was closing the connection as the request came.
    """

    def test_lost(self) -> None:
        """
        A request is sent again if the connection is lost soon after it, or before it
        was written, whenever the last one was.
        """
        for begin, seconds in ((self.ask, 1.0), (self.wait, 3.0)):
            self.setUp()
            self.use()
            begin()
            self.owner.now += seconds
            self.lose()
            self.assertEqual(self.owner.sent_again, [self.exchange])
            self.assertTrue(self.exchange.is_second_try)
            self.assertEqual(self.errors, [])

    def test_answered_before(self) -> None:
        """
        So it is if the server speaks first.
        """
        self.use()
        self.wait()
        self.connection.dataReceived(TIMEOUT)
        self.assertEqual(self.owner.sent_again, [self.exchange])
        self.lose()
        self.assertEqual(self.owner.sent_again, [self.exchange])

    def test_waited_for_too_long(self) -> None:
        """
        So it is if the server says that it has waited for too long.
        """
        for pieces in ([TIMEOUT], [TIMEOUT.replace(b"h: 0", b"h: 2"), b"no"]):
            self.setUp()
            self.use()
            self.ask()
            for each in pieces:
                self.connection.dataReceived(each)
            self.assertEqual(self.owner.sent_again, [self.exchange])
            self.assertEqual(self.answers, [])
            self.assertIs(self.connection.state, HTTPState.CLOSING)

    def test_not_again(self) -> None:
        """
        It is not sent again if the request may be the reason, nor twice.
        """
        for used, seconds, tried, head in (
            (False, 0.0, False, b""),
            (True, 1.1, False, b""),
            (True, 0.0, True, b""),
            (True, 0.0, False, HEAD[:5]),
        ):
            self.setUp()
            if used:
                self.use()
            self.ask()
            self.exchange.is_second_try = tried
            if head:
                self.connection.dataReceived(head)
            self.owner.now += seconds
            self.lose()
            self.assertEqual(self.owner.sent_again, [])
            self.assertEqual(len(self.errors), 1)

    def test_not_again_before_it_was_sent(self) -> None:
        """
        So it is where the connection is lost before the second try was written.
        """
        self.use()
        self.wait()
        self.exchange.is_second_try = True
        self.lose()
        self.assertEqual(self.owner.sent_again, [])
        self.assertEqual(len(self.errors), 1)
