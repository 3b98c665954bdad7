"""
Looks at the broker, with one that only pretends: of bindings, and of dead letters.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.queues import Bindings, Browsing, Depth, QueueBinding, _keeping
from quebert.amqp.queues import _bindings as _binding
from quebert.amqp.queues import _browse as _browse
from quebert.amqp.queues._keeping import Keeping
from quebert.errors import BrokerRefused
from quebert.test.test_rungs import FakeWire


class LookTests(SynchronousTestCase):
    """
    What is looked at again and again.
    """

    def test_refused_exchange(self) -> None:
        """
        An exchange that was deleted, and that the user may not declare, is told once,
        and not as declared anew.
        """
        clock, wire = Clock(), FakeWire()
        connection: Any = wire
        connection.closed = False
        bindings = Bindings(lambda: clock)
        binding = QueueBinding("queue", "exchange", "topic", "key", {})
        refused = BrokerRefused(403, "access to exchange 'exchange' refused")
        self.patch(QueueBinding, "declare", _failing(refused))
        with capturedLogs() as logged:
            bindings.keep(connection, binding)
            for _ in range(5):
                clock.advance(_binding.LOOK)
        (line,) = (str(formatEvent(event)) for event in logged)
        self.assertIn("may get no tasks", line)
        bindings.forget(binding)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_taken_meanwhile(self) -> None:
        """
        Browsing that is over waits until its messages are back, and not while somebody
        takes one after the other.
        """
        clock, ready = Clock(), [0]

        async def depth(wire: Any, queue: str) -> Depth:
            return Depth(ready[0], 1)

        async def unused(message: Any, properties: bytes) -> None:
            raise AssertionError

        self.patch(_browse, "depth", depth)
        wire: Any = SimpleNamespace(clock=clock, server_properties={})
        browsing = Browsing(wire, "queue.dead", 100, unused)
        browsing.kept = 100
        over = Deferred.fromCoroutine(browsing.are_back())
        for ready[0] in (30, 60, 90):
            clock.advance(1.5)
            self.assertNoResult(over)
        for ready[0] in range(89, 80, -1):
            clock.advance(0.5)
        self.successResultOf(over)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_dead_letters_after_reconnection(self) -> None:
        """
        However often the connection is lost, there is one timer for dead letters, and
        none at the end.
        """
        clock = Clock()
        keeping = Keeping("queue.dead", lambda: clock)
        for _ in range(3):
            wire: Any = FakeWire()
            wire.there.add("queue.dead")
            before = Deferred.fromCoroutine(keeping.before(wire))
            keeping.moved(self.successResultOf(before))
            self.assertEqual(len(clock.getDelayedCalls()), 1)
            clock.advance(_keeping.LOOK / 2)
        keeping.end()
        self.assertEqual(clock.getDelayedCalls(), [])


def _failing(why: Exception) -> Any:
    async def fail(*_: object) -> None:
        raise why

    return fail
