"""
Tests for L{quebert.amqp.watch._backlog}: how many deliveries may wait beside those with
places.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.watch._backlog import MAX_BACKLOG, MAX_BACKLOG_BYTES, PAUSE, Backlog
from quebert.amqp.watch._delivery import State
from quebert.amqp.watch._waits import Waits


class BacklogTests(SynchronousTestCase):
    """
    A watch with one held message, and room.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        self.ledger = SimpleNamespace(numbers=[0] * len(State), bytes=0)
        self.hosts = SimpleNamespace(waiting=0, some_refuse=False, is_crowded=False)
        self.throttles = SimpleNamespace(limit_fetching=False)
        self.room = True
        places = SimpleNamespace(has_room=lambda: self.room)
        self.postponements = SimpleNamespace(number=0)
        self.clock = Clock()
        self.adapted = 0
        self.backlog = Backlog(
            cast(Any, self.ledger),
            cast(Any, self.hosts),
            cast(Any, places),
            cast(Any, self.throttles),
            cast(Any, self.postponements),
            Waits(lambda: self.clock),
            lambda: self.clock,
            self.adapt,
        )
        self.ledger.numbers[State.HELD] = 1

    def adapt(self) -> None:
        """
        More may be fetched now.
        """
        self.adapted += 1

    def test_size(self) -> None:
        """
        It counts those that are held, those whose callbacks take long, and those that
        wait for a host.
        """
        self.ledger.numbers[:] = range(10, 10 + len(State))
        self.hosts.waiting = 100
        held, overdue = 10 + State.HELD, 10 + State.OVERDUE
        self.assertEqual(self.backlog.size(), held + overdue + 100)
        self.assertFalse(self.backlog.is_crowded())

    def test_crowded(self) -> None:
        """
        Those that wait for places alone do not count.
        """
        self.hosts.waiting, self.hosts.is_crowded = 100, True
        self.assertEqual(self.backlog.size(), 1)
        self.assertTrue(self.backlog.is_crowded())

    def test_some(self) -> None:
        """
        RabbitMQ may deliver more if some wait, or if a throttle limits what is fetched.
        """
        for number, limits, may in (
            (0, False, False),
            (0, True, True),
            (1, False, True),
            (1, True, True),
        ):
            self.ledger.numbers[State.HELD] = number
            self.throttles.limit_fetching = limits
            self.assertIs(self.backlog.may_widen(), may, (number, limits))

    def test_not_too_many(self) -> None:
        """
        Ten thousand are enough.
        """
        for number, may in ((9_999, True), (10_000, False)):
            self.ledger.numbers[State.HELD] = number
            self.assertIs(self.backlog.may_widen(), may)
        self.assertEqual(MAX_BACKLOG, 10_000)

    def test_not_too_large(self) -> None:
        """
        So are 64 MiB.
        """
        for size, may in ((2**26 - 1, True), (2**26, False)):
            self.ledger.bytes = size
            self.assertIs(self.backlog.may_widen(), may)
        self.assertEqual(MAX_BACKLOG_BYTES, 2**26)

    def test_room(self) -> None:
        """
        None may where it would get no place.
        """
        self.room = False
        self.assertFalse(self.backlog.may_widen())

    def test_paced(self) -> None:
        """
        While messages are postponed, or wait for a host that takes no requests now, it
        may once in C{PAUSE} seconds.  The watch is told when it may again.
        """
        for number, some_refuse in ((1, False), (0, True)):
            self.postponements.number, self.hosts.some_refuse = number, some_refuse
            self.clock.advance(PAUSE)
            self.adapted = 0
            self.assertTrue(self.backlog.may_widen())
            self.clock.advance(PAUSE / 4)
            for _ in range(2):
                self.assertFalse(self.backlog.may_widen())
            self.clock.advance(PAUSE / 2)
            self.assertEqual(self.adapted, 0)
            self.clock.advance(PAUSE / 3)
            self.assertEqual((self.adapted, self.clock.getDelayedCalls()), (1, []))

    def test_not_paced(self) -> None:
        """
        Else it may at once.
        """
        for _ in range(3):
            self.assertTrue(self.backlog.may_widen())

    def test_none_wasted(self) -> None:
        """
        Where there is no room, no time has to pass afterwards.
        """
        self.hosts.some_refuse = True
        self.room = False
        self.assertFalse(self.backlog.may_widen())
        self.room = True
        self.assertTrue(self.backlog.may_widen())
