"""
Tests for C{quebert.http._idle} and C{quebert.http._writes}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.http._exchange import HTTPExchange
from quebert.http._idle import Expiry
from quebert.http._writes import FEW, PAUSE, Writes


class FakeConnection:
    """
    A connection.

    @ivar idle: those that are, this one among them.
    @ivar sent: what it was told to send, and at which times.
    @ivar send_some: something, as a connection over a plain socket has it.
    """

    send_some: object = len

    def __init__(self, idle: dict[Any, float] | None = None) -> None:
        self.idle = idle
        self.aborted = False
        self.sent: list[tuple[HTTPExchange, float]] = []

    def abort(self) -> None:
        """
        Note it.
        """
        self.aborted = True
        if self.idle is not None:
            del self.idle[self]

    def send(self, exchange: HTTPExchange, now: float) -> None:
        """
        Note it.
        """
        if exchange.finish is not None:
            exchange.finish()
        self.sent.append((exchange, now))


class ExpiryTests(SynchronousTestCase):
    """
    Tests for L{Expiry}.
    """

    def setUp(self) -> None:
        """
        Three connections, that were released one second after the other.
        """
        self.clock = Clock()
        self.clock.advance(100)
        self.idle: dict[Any, float] = {}
        self.expiry = Expiry(self.clock, self.idle)
        self.connections = [FakeConnection(self.idle) for _ in range(3)]
        for each in self.connections:
            self.keep(each, 4.0)
            self.clock.advance(1)

    def keep(self, connection: FakeConnection, seconds: float) -> None:
        """
        Keep a connection for so long.
        """
        self.idle[connection] = until = self.expiry.seconds() + seconds
        if until < self.expiry.next_look:
            self.expiry.look_at(until)

    @property
    def aborted(self) -> list[bool]:
        """
        Which of them were closed.
        """
        return [each.aborted for each in self.connections]

    def test_used(self) -> None:
        """
        One that is used meanwhile is not closed.
        """
        del self.idle[self.connections[2]]
        self.clock.advance(10)
        self.assertEqual(self.aborted, [True, True, False])

    def test_expire(self) -> None:
        """
        Each is closed once it was not used for its time.
        """
        seen = []
        for _ in range(4):
            seen.append(self.aborted.count(True))
            self.clock.advance(1)
        self.assertEqual(seen, [0, 1, 2, 3])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_sooner(self) -> None:
        """
        One that is to be closed sooner than the others is.
        """
        soon = FakeConnection(self.idle)
        self.keep(soon, 0.5)
        self.clock.advance(0.5)
        self.assertTrue(soon.aborted)
        self.assertEqual(self.aborted, [False, False, False])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_looks_are_apart(self) -> None:
        """
        Connections that are to be closed one shortly after the other are closed at one
        look.
        """
        soon = [FakeConnection(self.idle) for _ in range(3)]
        for each, seconds in zip(soon, (0.5, 0.51, 0.6), strict=True):
            self.keep(each, seconds)
        closed = []
        for seconds in (0.5, 0.05, 0.05):
            self.clock.advance(seconds)
            closed.append([each.aborted for each in soon].count(True))
        self.assertEqual(closed, [1, 1, 3])

    def test_close_oldest(self) -> None:
        """
        To make room, the one is closed that was not used for longest.
        """
        for n in range(3):
            self.assertTrue(self.expiry.close_oldest())
            self.assertEqual(self.aborted.count(True), n + 1)
            self.assertTrue(self.connections[n].aborted)
        self.assertFalse(self.expiry.close_oldest())


class WritesTests(SynchronousTestCase):
    """
    Tests for L{Writes}.
    """

    def setUp(self) -> None:
        """
        No request was sent for long.
        """
        self.clock = Clock()
        self.clock.advance(3_600)
        self.writes = Writes(self.clock)

    def exchanges(self, count: int) -> list[HTTPExchange]:
        """
        Some requests.
        """
        return [HTTPExchange(b"", bodiless=False) for _ in range(count)]

    def send(self, *exchanges: HTTPExchange) -> list[Any]:
        """
        Have requests sent, each over a connection, which are given.
        """
        connections: list[Any] = [FakeConnection() for _ in exchanges]
        for connection, exchange in zip(connections, exchanges, strict=True):
            self.writes.send_soon(connection, exchange)
        return connections

    def test_turns(self) -> None:
        """
        The first few after a pause are sent at once, and all others at the end of the
        turn; each once.
        """
        for pause, count, at_once in (
            (0.0, 2, 2),
            (2 * PAUSE, FEW, FEW),
            (2 * PAUSE, FEW + 2, FEW),
            (0.0, 3, 0),
            (0.6 * PAUSE, 1, 0),
            (0.6 * PAUSE, 1, 0),
            (2 * PAUSE, 1, 1),
            (0.0, FEW, FEW - 1),
        ):
            self.clock.advance(pause)
            exchanges = self.exchanges(count)
            connections = self.send(*exchanges)
            made = [each for each in connections if each.sent]
            self.assertEqual(made, connections[:at_once])
            self.clock.advance(0)
            now = self.clock.seconds()
            sent = [each.sent for each in connections]
            self.assertEqual(sent, [[(each, now)] for each in exchanges])
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_clock_set_back(self) -> None:
        """
        Where the clock is set back, there was a pause.
        """
        self.send(*self.exchanges(FEW + 1))
        self.clock.advance(-3_600)
        [exchange] = self.exchanges(1)
        [connection] = self.send(exchange)
        self.assertEqual(connection.sent, [(exchange, 0.0)])

    def test_no_plain_socket(self) -> None:
        """
        Over a transport that keeps what it is given, each is sent at once.
        """
        self.send(*self.exchanges(FEW))
        [exchange] = self.exchanges(1)
        connection: Any = FakeConnection()
        connection.send_some = None
        self.writes.send_soon(connection, exchange)
        self.assertEqual(connection.sent, [(exchange, 3_600.0)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_withdraw(self) -> None:
        """
        What is withdrawn before the end of the turn is not sent, and given once; all
        others are sent.
        """
        exchanges = self.exchanges(FEW + 3)
        connections = self.send(*exchanges)
        for n, unsent in ((0, None), (FEW + 1, exchanges[FEW + 1]), (FEW + 1, None)):
            self.assertIs(self.writes.withdraw(connections[n]), unsent)
        self.clock.advance(0)
        sent = [len(each.sent) for each in connections]
        self.assertEqual(sent, [1] * FEW + [1, 0, 1])

    def test_at_its_connection(self) -> None:
        """
        A request that waits for the end of the turn is with its connection.
        """
        *_, exchange = exchanges = self.exchanges(FEW + 1)
        *_, connection = self.send(*exchanges)
        self.assertIs(exchange.owner, connection)

    def test_cannot_be_sent(self) -> None:
        """
        A request that cannot even be finished fails, its connection is closed, and
        those of the same turn are sent: at once, or at the end of the turn.
        """
        for number in (1, FEW + 1):
            self.setUp()
            exchanges = self.exchanges(FEW + 3)
            exchanges[number].finish = lambda: b"%d" % (1 // 0)
            connections = self.send(*exchanges)
            self.clock.advance(0)
            self.failureResultOf(exchanges[number].answered, ZeroDivisionError)
            sent = [(len(each.sent), each.aborted) for each in connections]
            expected = [(1, False)] * len(exchanges)
            expected[number] = (0, True)
            self.assertEqual(sent, expected)

    def test_while_others_are_sent(self) -> None:
        """
        While requests are sent at the end of a turn, others of these may be withdrawn,
        and more may come, which are sent, too.
        """
        *_, failing, gone, _ = exchanges = self.exchanges(FEW + 3)
        *_, late = self.exchanges(1)
        failing.finish = lambda: b"%d" % (1 // 0)
        connections = self.send(*exchanges)
        more: list[Any] = []

        def failed(_: object) -> None:
            self.assertIs(self.writes.withdraw(connections[-2]), gone)
            more.extend(self.send(late))

        failing.answered.addErrback(failed)
        self.clock.advance(0)
        sent = [len(each.sent) for each in (*connections, *more)]
        self.assertEqual(sent, [1] * FEW + [0, 0, 1, 1])
        self.assertEqual(self.clock.getDelayedCalls(), [])
