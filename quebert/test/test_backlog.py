"""
Tests for L{quebert.amqp.watch._backlog}: how many deliveries may wait beside those with
places.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.watch._backlog import MAX_HELD, MAX_HELD_BYTES, Backlog
from quebert.amqp.watch._delivery import State


class BacklogTests(SynchronousTestCase):
    """
    A watch with one held message, and room.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        self.ledger = SimpleNamespace(numbers=[0] * len(State), bytes=0)
        self.hosts = SimpleNamespace(waiting=0)
        self.throttles = SimpleNamespace(limit_fetching=False)
        self.room = True
        self.may_fetch = True
        places = SimpleNamespace(has_room=lambda: self.room)
        postponements = SimpleNamespace(let_fetch=lambda: self.may_fetch)
        self.backlog = Backlog(
            cast(Any, self.ledger),
            cast(Any, self.hosts),
            cast(Any, places),
            cast(Any, self.throttles),
            cast(Any, postponements),
        )
        self.ledger.numbers[State.HELD] = 1

    def test_size(self) -> None:
        """
        It counts those that are held, those whose callbacks take long, and those that
        wait for a host.
        """
        self.ledger.numbers[:] = range(10, 10 + len(State))
        self.hosts.waiting = 100
        held, overdue = 10 + State.HELD, 10 + State.OVERDUE
        self.assertEqual(self.backlog.size(), held + overdue + 100)

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
        self.assertEqual(MAX_HELD, 10_000)

    def test_not_too_large(self) -> None:
        """
        So are 64 MiB.
        """
        for size, may in ((2**26 - 1, True), (2**26, False)):
            self.ledger.bytes = size
            self.assertIs(self.backlog.may_widen(), may)
        self.assertEqual(MAX_HELD_BYTES, 2**26)

    def test_room(self) -> None:
        """
        None may where it would get no place.
        """
        self.room = False
        self.assertFalse(self.backlog.may_widen())

    def test_postponed(self) -> None:
        """
        While messages were postponed, not too often.
        """
        for may in (True, False):
            self.may_fetch = may
            self.assertEqual(self.backlog.may_widen(), may)
