"""
L{quebert.amqp.delays._arrivals} on a channel that only pretends.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.delays._arrivals import MOST_BYTES, Arrivals
from quebert.test.test_forwarder import FakeChannel


@attrs.frozen(eq=False)
class FakeMessage:
    """
    A message with a body.
    """

    body: bytes


class ArrivalsTests(SynchronousTestCase):
    """
    Messages that are fetched, and are on their way until their Deferreds fire.
    """

    def setUp(self) -> None:
        """
        Fetch.
        """
        self.clock = Clock()
        self.channel = cast(Any, FakeChannel(SimpleNamespace(clock=self.clock)))
        self.forwarded: list[Deferred[None]] = []
        self.wakes = 0
        self.arrivals = Arrivals(self.channel, "queue", self.forward, self.wake)
        self.fetch_or_rest()

    def forward(self, arrivals: Arrivals, message: Any) -> Deferred[None]:
        """
        Take a message.
        """
        self.forwarded.append(Deferred())
        return self.forwarded[-1]

    def wake(self) -> None:
        """
        There is something to do.
        """
        self.wakes += 1

    def fetch_or_rest(self) -> None:
        """
        Do it.
        """
        fetching = self.arrivals.fetch_or_rest()
        self.successResultOf(Deferred.fromCoroutine(fetching))

    def deliver(self, body: bytes = b"") -> None:
        """
        A message comes.
        """
        self.channel.on_message(FakeMessage(body))

    def close(self) -> Deferred[None]:
        """
        Leave the channel.
        """
        self.arrivals.stop()
        return Deferred.fromCoroutine(self.arrivals.close())

    def test_many_bytes(self) -> None:
        """
        With too many bytes on their way no more are fetched, until half of them have
        gone.
        """
        half = bytes(MOST_BYTES // 2)
        for _ in range(3):
            self.deliver(half)
        self.assertEqual(self.wakes, 1)
        self.fetch_or_rest()
        self.forwarded[0].callback(None)
        self.assertEqual(self.wakes, 1)
        self.forwarded[1].callback(None)
        self.assertEqual(self.wakes, 2)
        self.fetch_or_rest()
        calls = ["basic_consume", "basic_cancel", "basic_consume"]
        self.assertEqual(self.channel.calls, calls)

    def test_close(self) -> None:
        """
        At the end it takes nothing more, and closes the channel as soon as nothing is
        on its way.
        """
        self.deliver()
        closing = self.close()
        self.deliver()
        self.assertEqual(len(self.forwarded), 1)
        self.assertNoResult(closing)
        self.forwarded[0].callback(None)
        self.successResultOf(closing)
        self.assertEqual(self.channel.calls[1:], ["basic_cancel", "nack", "close"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_late(self) -> None:
        """
        It does not wait for ever, and what is not taken is given back.
        """
        self.deliver()
        closing = self.close()
        self.assertNoResult(closing)
        self.clock.advance(10)
        self.successResultOf(closing)
        self.assertEqual(self.channel.calls[1:], ["basic_cancel", "nack", "close"])
        self.assertEqual(self.arrivals.busy, set())

    def test_lost(self) -> None:
        """
        On a channel that is lost it waits for nothing.
        """
        self.deliver()
        self.channel.closed = True
        self.successResultOf(self.close())
