"""
Tests for L{quebert.web.cluster._keep_going}.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import BrokerError
from quebert.web.cluster._keep_going import KeepGoing


class KeepGoingTests(SynchronousTestCase):
    """
    Work that may fail.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.begun: list[Deferred[None]] = []
        self.going = KeepGoing(
            self.work, self.clock, Logger(), "It fails", "It goes on", "not begun"
        )

    async def work(self) -> None:
        """
        What is to go on.
        """
        self.begun.append(Deferred())
        self.going.goes()
        await self.begun[-1]

    def test_again(self) -> None:
        """
        Work that fails, or ends, is begun again after two seconds.
        """
        self.assertEqual(self.going.problem, "not begun")
        self.going.start()
        self.assertEqual(self.going.problem, "")
        self.begun[0].errback(BrokerError("away"))
        self.assertEqual(self.going.problem, "away")
        self.clock.advance(1)
        self.assertEqual(len(self.begun), 1)
        self.clock.advance(1)
        self.assertEqual((len(self.begun), self.going.problem), (2, ""))
        self.begun[1].callback(None)
        self.clock.advance(2)
        self.begun[2].errback(ZeroDivisionError())
        self.assertEqual(self.going.problem, "ZeroDivisionError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.successResultOf(Deferred.fromCoroutine(self.going.stop()))
        self.clock.advance(60)
        self.assertEqual(len(self.begun), 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped(self) -> None:
        """
        A stop waits until the work has ended, and ends its waits.
        """

        async def work() -> None:
            while not self.going.is_stopped:
                await self.going.wait(Deferred())
            self.begun.append(Deferred())
            await self.begun[-1]

        self.going = KeepGoing(work, self.clock, Logger(), "a", "b", "c")
        self.going.start()
        stopped = Deferred.fromCoroutine(self.going.stop())
        self.assertNoResult(stopped)
        self.begun[0].callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
