"""
Tests for L{quebert.amqp.queues._new_queues}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.queues._new_queues import NEW, NewQueues
from quebert.errors import BrokerRefused, ChannelLost
from quebert.test.doubles import RABBITMQ, FakeWire

pytestmark = pytest.mark.new_queues


class MovingClock(Clock):
    """
    A clock that goes on while somebody looks at it, and takes no time of the past, as
    that of a reactor.
    """

    def seconds(self) -> float:
        """
        The time.
        """
        self.rightNow += 0.001
        return self.rightNow

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        """
        Call later.
        """
        assert delay >= 0, delay
        return super().callLater(delay, callable, *args, **kw)


class NewQueuesTests(SynchronousTestCase):
    """
    What waits until a queue is no longer new.
    """

    def setUp(self) -> None:
        """
        A RabbitMQ, a while after this client began.
        """
        self.wire: Any = FakeWire()
        self.wire.server_properties = RABBITMQ
        self.clock = self.wire.clock
        self.clock.advance(100)
        self.queues = NewQueues()

    def wait(self, *queues: str) -> Deferred[None]:
        """
        Wait until these are old.
        """
        return Deferred.fromCoroutine(self.queues.old(self.wire, *queues))

    def note(self, result: None, order: list[int], number: int) -> None:
        """
        One of those who waited goes on.
        """
        order.append(number)

    def test_which_are_new(self) -> None:
        """
        A quorum queue of RabbitMQ is new, and one whose type is not known.
        """
        for kind, is_new in (("quorum", True), (None, True), ("classic", False)):
            self.queues.declared(self.wire, "queue", kind)
            self.assertEqual(self.queues.has(self.wire, "another", "queue"), is_new)
            self.assertEqual(self.queues.left(self.wire, "queue"), NEW * is_new)
        self.queues.declared(self.wire, "queue", "quorum")
        self.queues.declared(self.wire, "queue", "classic")
        self.assertFalse(self.queues.has(self.wire, "queue"))
        self.wire.server_properties = {}
        self.queues.declared(self.wire, "queue", "quorum")
        self.assertFalse(self.queues.has(self.wire, "queue"))

    def test_left(self) -> None:
        """
        The youngest of some queues tells when all are old.
        """
        self.queues.declared(self.wire, "one", "quorum")
        self.clock.advance(1)
        self.queues.declared(self.wire, "two", "quorum")
        for queues, seconds in (
            (("one",), 2.5),
            (("two",), 3.5),
            (("one", "two", "three"), 3.5),
            (("three",), 0.0),
            ((), 0.0),
        ):
            self.assertEqual(self.queues.left(self.wire, *queues), seconds)
        self.clock.advance(3)
        self.assertEqual(self.queues.left(self.wire, "one"), 0.0)
        self.assertFalse(self.queues.has(self.wire, "one"))
        self.assertTrue(self.queues.has(self.wire, "one", "two"))
        self.clock.advance(0.5)
        self.assertFalse(self.queues.has(self.wire, "one", "two"))

    def test_found(self) -> None:
        """
        A queue that is found is new the first time; one that is declared, each time.
        """
        self.queues.found(self.wire, "queue", "quorum")
        self.clock.advance(NEW)
        self.queues.found(self.wire, "queue", "quorum")
        self.assertFalse(self.queues.has(self.wire, "queue"))
        self.queues.declared(self.wire, "queue", "quorum")
        self.assertTrue(self.queues.has(self.wire, "queue"))
        self.queues.forget("another", "queue")
        self.assertFalse(self.queues.has(self.wire, "queue"))
        self.queues.found(self.wire, "queue", "quorum")
        self.assertTrue(self.queues.has(self.wire, "queue"))

    def test_declaring(self) -> None:
        """
        A queue is new while it is declared, and from when it was; one that exists is
        new when it is seen for the first time.
        """
        for exists, after in ((True, NEW - 1), (False, NEW), (True, NEW - 1)):
            self.clock.advance(NEW if not exists else 0)
            with self.queues.declaring(self.wire, "queue", "quorum", exists=exists):
                self.assertTrue(self.queues.has(self.wire, "queue"))
                self.clock.advance(1)
            self.assertEqual(self.queues.left(self.wire, "queue"), after)

    def test_is_there(self) -> None:
        """
        A queue that was seen is looked for; no other is, and none that is hidden is
        known to be there.
        """

        def is_there() -> bool:
            asking = self.queues.is_there(self.wire, "queue")
            return self.successResultOf(Deferred.fromCoroutine(asking))

        self.wire.there.add("queue")
        self.assertIs(is_there(), False)
        self.assertEqual(self.wire.calls, [])
        self.queues.declared(self.wire, "queue", "quorum")
        self.assertIs(is_there(), True)
        self.wire.refused["queue"] = BrokerRefused(403, "ACCESS_REFUSED")
        self.assertIs(is_there(), False)
        self.wire.refused.clear()
        self.wire.there.clear()
        self.assertIs(is_there(), False)

    def test_old(self) -> None:
        """
        All who wait go on when the youngest queue is old, in their order.
        """
        self.queues.declared(self.wire, "one", "quorum")
        self.clock.advance(1)
        self.queues.declared(self.wire, "two", "quorum")
        order: list[int] = []
        for number in range(3):
            waiting = self.wait("one", "two")
            waiting.addCallback(self.note, order, number)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(3.25)
        self.assertEqual(order, [])
        self.clock.advance(0.25)
        self.assertEqual(order, [0, 1, 2])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.wait("one", "two"))

    def test_waits_for_the_youngest(self) -> None:
        """
        Whoever waits for some queues waits once, for the youngest of them.
        """
        self.queues.declared(self.wire, "two", "quorum")
        self.clock.advance(1)
        self.queues.declared(self.wire, "one", "quorum")
        self.wait("one", "two")
        (timer,) = self.clock.getDelayedCalls()
        self.assertEqual(timer.getTime(), self.clock.seconds() + NEW)
        self.clock.advance(NEW)

    def test_declared_while_somebody_waits(self) -> None:
        self.queues.declared(self.wire, "queue", "quorum")
        waiting = self.wait("queue")
        self.clock.advance(2)
        self.queues.declared(self.wire, "queue", "quorum")
        self.clock.advance(2)
        self.assertNoResult(waiting)
        self.clock.advance(1.5)
        self.successResultOf(waiting)

    def test_abandoned(self) -> None:
        """
        When nobody waits any longer, no timer is left; whoever comes after that waits
        as if nobody had.
        """
        self.queues.declared(self.wire, "queue", "quorum")
        waiting = [self.wait("queue"), self.wait("queue")]
        for each in waiting:
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        another = self.wait("queue")
        self.clock.advance(NEW)
        self.successResultOf(another)

    def test_connection_lost(self) -> None:
        self.queues.declared(self.wire, "queue", "quorum")
        waiting = self.wait("queue")
        self.wire.closed = True
        self.clock.advance(NEW)
        self.failureResultOf(waiting, ChannelLost)

    def test_publish(self) -> None:
        """
        A message is published to a queue that is old, and is safe there at once, unless
        the queue was declared anew meanwhile.
        """
        published: list[float] = []

        async def publish() -> None:
            published.append(self.clock.seconds())
            if anew:
                self.queues.declared(self.wire, "queue", "quorum")

        for anew in (False, True):
            published.clear()
            self.queues.declared(self.wire, "queue", "quorum")
            publishing = Deferred.fromCoroutine(
                self.queues.publish(self.wire, "queue", publish)
            )
            self.clock.advance(NEW - 0.25)
            self.assertEqual(published, [])
            self.clock.advance(0.25)
            self.assertEqual(published, [self.clock.seconds()])
            if anew:
                self.assertNoResult(publishing)
                self.clock.advance(NEW)
            self.successResultOf(publishing)

    def test_old_meanwhile(self) -> None:
        """
        A queue may cease to be new at any moment, also while somebody asks.
        """
        for moment in range(8):
            wire: Any = FakeWire()
            wire.server_properties = RABBITMQ
            wire.clock = MovingClock()
            queues = NewQueues()
            queues.declared(wire, "queue", "quorum")
            wire.clock.rightNow += NEW - 0.001 * moment
            waiting = Deferred.fromCoroutine(queues.old(wire, "queue"))
            wire.clock.advance(0.1)
            self.successResultOf(waiting)
