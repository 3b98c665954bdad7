"""
Tests for C{quebert.amqp.link._declare_once} and C{quebert.amqp.link._failing}.
"""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.link import DeclareOnce, has_failed, pause_after
from quebert.errors import BrokerRefused, ChannelLost


class FakeWire:
    """
    A connection that has a clock.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock


class DeclareOnceTests(SynchronousTestCase):
    """
    A name is declared once for each connection.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.wire: Any = FakeWire(self.clock)
        self.making: list[tuple[Any, str, Deferred[None]]] = []
        self.once = DeclareOnce(self.make, again=10.0)

    async def make(self, wire: Any, name: str) -> None:
        """
        Make it when the test says so.
        """
        waiting: Deferred[None] = Deferred()
        self.making.append((wire, name, waiting))
        await waiting

    def made(self, name: str = "queue", wire: Any = None) -> Deferred[None]:
        """
        Ask for it.
        """
        return Deferred.fromCoroutine(self.once.made(wire or self.wire, name))

    def succeed(self) -> None:
        """
        All that is being made is made.
        """
        while self.making:
            self.making.pop()[2].callback(None)

    def refuse(self, error: Exception | None = None) -> Exception:
        """
        The broker refuses the last one.
        """
        refusal = error or BrokerRefused(403, "ACCESS_REFUSED")
        self.making.pop()[2].errback(refusal)
        return refusal

    def test_once(self) -> None:
        """
        All who ask meanwhile wait for the same; afterwards it is there.
        """
        asked = [self.made(), self.made()]
        self.assertEqual(len(self.making), 1)
        self.assertNoResult(asked[0])
        self.succeed()
        for each in (*asked, self.made()):
            self.successResultOf(each)
        self.assertEqual(self.making, [])

    def test_apart(self) -> None:
        """
        Another name, and the same on another connection, are made for themselves.
        """
        other: Any = FakeWire(self.clock)
        self.made()
        self.made("another")
        self.made(wire=other)
        self.assertEqual(
            [(wire, name) for wire, name, _ in self.making],
            [(self.wire, "queue"), (self.wire, "another"), (other, "queue")],
        )
        self.succeed()
        self.successResultOf(self.made("another"))
        self.made("a third")
        self.succeed()
        self.successResultOf(self.made())

    def test_refused(self) -> None:
        """
        A refusal stands, for all names of their own, until the time is over.
        """
        asked = self.made()
        refusal = self.refuse()
        self.assertIs(self.failureResultOf(asked).value, refusal)
        self.clock.advance(9)
        self.assertIs(self.failureResultOf(self.made()).value, refusal)
        self.assertEqual(self.making, [])
        self.made("another")
        self.succeed()
        self.clock.advance(1)
        asked = self.made()
        self.succeed()
        self.successResultOf(asked)

    def test_failed(self) -> None:
        """
        What is no refusal is told, and does not stand.
        """
        asked = self.made()
        error = self.refuse(ChannelLost("gone"))
        self.assertIs(self.failureResultOf(asked).value, error)
        asked = self.made()
        self.succeed()
        self.successResultOf(asked)

    def test_refused_without_a_time(self) -> None:
        """
        Unless told otherwise, the broker is asked each time.
        """
        self.once = DeclareOnce(self.make)
        for _ in range(2):
            asked = self.made()
            self.refuse()
            self.failureResultOf(asked, BrokerRefused)

    def test_refusal_is_let_go(self) -> None:
        """
        A refusal is let go once the name was made.
        """
        asked = self.made()
        kept = ref(self.refuse())
        self.failureResultOf(asked)
        self.clock.advance(10)
        del asked
        self.made()
        self.succeed()
        gc.collect()
        self.assertIsNone(kept())

    def test_forget(self) -> None:
        """
        What was forgotten is made again.
        """
        self.made()
        self.succeed()
        self.once.forget()
        self.assertNoResult(self.made())
        self.assertEqual(len(self.making), 1)
        self.succeed()

    def test_wire_is_let_go(self) -> None:
        """
        A connection that is gone is not kept for what was made on it.
        """
        kept = ref(self.wire)
        self.made()
        self.succeed()
        self.wire = None
        gc.collect()
        self.assertIsNone(kept())


class FailingTests(SynchronousTestCase):
    """
    How often RabbitMQ is asked again for what it fails at.
    """

    def test_has_failed(self) -> None:
        """
        Only C{INTERNAL_ERROR} is a failure of RabbitMQ.
        """
        self.assertTrue(has_failed(BrokerRefused(541, "INTERNAL_ERROR")))
        for other in (BrokerRefused(540, ""), BrokerRefused(542, ""), ChannelLost("")):
            self.assertFalse(has_failed(other))

    def test_pause_after(self) -> None:
        """
        The pause grows by half, up to an hour, and is at least half of that.
        """
        for failures, most in ((1, 1.5), (2, 2.25), (1000, 3600)):
            self.assertTrue(most / 2 <= pause_after(failures) <= most)
