"""
Tests for C{quebert.http._idle} and C{quebert.http._writes}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.http._idle import IdleConnections, Line
from quebert.http._writes import FEW, PAUSE, Writes


class FakeConnection:
    """
    A connection.

    @ivar written: the times at which it was told to write.
    """

    def __init__(self) -> None:
        self.idle_until = 0.0
        self.aborted = False
        self.written: list[float] = []

    def abort(self) -> None:
        """
        Note it.
        """
        self.aborted = True

    def write(self, now: float) -> None:
        """
        Note it.
        """
        self.written.append(now)


class IdleTests(SynchronousTestCase):
    """
    Connections of two origins.
    """

    def setUp(self) -> None:
        """
        One connection of one, and two of the other.
        """
        self.clock = Clock()
        self.clock.advance(100)
        self.idle = IdleConnections(self.clock)
        self.one: Line = []
        self.other: Line = []
        self.connections: list[Any] = [FakeConnection() for _ in range(3)]
        for each, line in zip(
            self.connections, (self.one, self.other, self.other), strict=True
        ):
            self.idle.add(each, line, 4.0)
            self.clock.advance(1)

    @property
    def aborted(self) -> list[bool]:
        """
        Which of them were closed.
        """
        return [each.aborted for each in self.connections]

    def test_take(self) -> None:
        """
        The last one of an origin is used first, and not closed any more.
        """
        self.assertIs(self.idle.take(self.other), self.connections[2])
        self.assertEqual((len(self.idle), len(self.other)), (2, 1))
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
        self.assertEqual((self.one, self.other, len(self.idle)), ([], [], 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_sooner(self) -> None:
        """
        One that is to be closed sooner than the others is.
        """
        soon: Any = FakeConnection()
        self.idle.add(soon, self.one, 0.5)
        self.clock.advance(0.5)
        self.assertTrue(soon.aborted)
        self.assertEqual(self.aborted, [False, False, False])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_looks_are_apart(self) -> None:
        """
        Connections that are to be closed one shortly after the other are closed at one
        look.
        """
        soon: list[Any] = [FakeConnection() for _ in range(3)]
        for each, seconds in zip(soon, (0.5, 0.51, 0.6), strict=True):
            self.idle.add(each, self.one, seconds)
        closed = []
        for seconds in (0.5, 0.05, 0.05):
            self.clock.advance(seconds)
            closed.append([each.aborted for each in soon].count(True))
        self.assertEqual(closed, [1, 1, 3])

    def test_forget(self) -> None:
        """
        One that is lost is in no line any more; one that was not idle never was.
        """
        self.idle.forget(self.connections[1])
        self.idle.forget(self.connections[1])
        self.assertEqual(self.other, [self.connections[2]])

    def test_close_oldest(self) -> None:
        """
        To make room, the one is closed that was not used for longest.
        """
        for n in range(3):
            self.assertTrue(self.idle.close_oldest())
            self.assertEqual(self.aborted.count(True), n + 1)
            self.assertTrue(self.connections[n].aborted)
        self.assertFalse(self.idle.close_oldest())


class WritesTests(SynchronousTestCase):
    """
    Tests for L{Writes}.
    """

    def write(self, writes: Writes, count: int) -> list[FakeConnection]:
        """
        Have some connections written to; they are given.
        """
        connections = [FakeConnection() for _ in range(count)]
        for each in connections:
            writes.write_soon(each)  # type: ignore[arg-type]
        return connections

    def test_turns(self) -> None:
        """
        The first few after a pause are made at once, and all others at the end of the
        turn; each once.
        """
        clock = Clock()
        writes = Writes(clock)
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
            clock.advance(pause)
            connections = self.write(writes, count)
            made = [each for each in connections if each.written]
            self.assertEqual(made, connections[:at_once])
            clock.advance(0)
            now = clock.seconds()
            self.assertTrue(all(each.written == [now] for each in connections))
            self.assertEqual(clock.getDelayedCalls(), [])

    def test_clock_set_back(self) -> None:
        """
        Where the clock is set back, there was a pause.
        """
        clock = Clock()
        clock.advance(3_600)
        writes = Writes(clock)
        self.write(writes, FEW + 1)
        clock.advance(-3_600)
        [connection] = self.write(writes, 1)
        self.assertEqual(connection.written, [0.0])
