"""
Tests for C{quebert._waiters}.
"""

from __future__ import annotations

import gc

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert._waiters import Once, Waiters, another_waiter


class WaitersTests(SynchronousTestCase):
    """
    All who wait for one event.
    """

    def test_in_order(self) -> None:
        """
        All fire with the same result, in the order in which they began to wait.
        """
        waiters: Waiters[str] = Waiters()
        fired: list[tuple[str, int]] = []

        def note(result: str, n: int) -> None:
            fired.append((result, n))

        for n in range(3):
            waiters.wait().addCallback(note, n)
        waiters.fire("it")
        self.assertEqual(fired, [("it", 0), ("it", 1), ("it", 2)])
        self.assertEqual(len(waiters), 0)

    def test_failure(self) -> None:
        """
        All fail with the same failure.
        """
        waiters: Waiters[None] = Waiters()
        waiting = [waiters.wait() for _ in range(2)]
        waiters.fire(Failure(ValueError()))
        for each in waiting:
            self.failureResultOf(each, ValueError)

    def test_begun_meanwhile(self) -> None:
        """
        Who begins to wait while others are told waits for the next event.
        """
        waiters: Waiters[None] = Waiters()
        later: list[Deferred[None]] = []
        waiters.wait().addCallback(lambda _: later.append(waiters.wait()))
        waiters.fire(None)
        self.assertNoResult(later[0])
        waiters.fire(None)
        self.successResultOf(later[0])

    def test_cancelled(self) -> None:
        """
        One that is cancelled leaves the others; the last one that is cancelled is told.
        """
        abandoned: list[bool] = []
        waiters: Waiters[None] = Waiters(lambda: abandoned.append(True))
        one, other = waiters.wait(), waiters.wait()
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.assertEqual((len(waiters), abandoned), (1, []))
        other.cancel()
        self.failureResultOf(other, CancelledError)
        self.assertEqual((len(waiters), abandoned), (0, [True]))

    def test_cancelled_by_another(self) -> None:
        """
        One that is cancelled by one before it is not fired.
        """
        waiters: Waiters[None] = Waiters()
        one, other = waiters.wait(), waiters.wait()
        one.addCallback(lambda _: other.cancel())
        waiters.fire(None)
        self.failureResultOf(other, CancelledError)

    def test_cancelled_too_late(self) -> None:
        """
        An event that has come is not abandoned, even if one that it is told to cancels
        the last of the others.
        """
        abandoned: list[bool] = []
        waiters: Waiters[None] = Waiters(lambda: abandoned.append(True))
        one, other = waiters.wait(), waiters.wait()
        one.addCallback(lambda _: other.cancel())
        waiters.fire(None)
        self.failureResultOf(other, CancelledError)
        self.assertEqual(abandoned, [])


class AnotherWaiterTests(SynchronousTestCase):
    """
    L{another_waiter}.
    """

    def test_result(self) -> None:
        """
        Each waiter has the event, and one that was cancelled disturbs no other.
        """
        event: Deferred[None] = Deferred()
        cancelled, other = another_waiter(event), another_waiter(event)
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        event.callback(None)
        self.successResultOf(other)

    def test_failure(self) -> None:
        """
        All waiters learn that it has failed.
        """
        event: Deferred[None] = Deferred()
        waiters = another_waiter(event), another_waiter(event)
        event.errback(ValueError())
        for each in (*waiters, event):
            self.failureResultOf(each, ValueError)


class OnceTests(SynchronousTestCase):
    """
    Work that is done once.
    """

    def setUp(self) -> None:
        """
        No work is begun.
        """
        self.begun: list[int] = []
        self.event: Deferred[None] = Deferred()

    async def work(self, number: int) -> None:
        """
        Wait for the event.
        """
        self.begun.append(number)
        await self.event

    def test_once(self) -> None:
        """
        All who ask for it wait for the same end, also those who ask after that.
        """
        once = Once(self.work)
        first, second = once(1), once(2)
        self.assertNoResult(first)
        self.event.callback(None)
        for each in (first, second, once(3)):
            self.successResultOf(each)
        self.assertEqual(self.begun, [1])

    def test_again(self) -> None:
        """
        It may be done again for who asks after its end, or within it.
        """
        once = Once(self.work, again=True)
        first = once(1)
        first.addCallback(lambda _: once(2))
        self.event.callback(None)
        self.successResultOf(first)
        self.assertEqual(self.begun, [1, 2])

    def test_failure(self) -> None:
        """
        All who ask are told if it fails.
        """
        once = Once(self.work)
        first, second = once(1), once(2)
        self.event.errback(ValueError())
        for each in (first, second, once(3)):
            self.failureResultOf(each, ValueError)
        del once  # which keeps the failure, and nobody asks for that
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_cancelled(self) -> None:
        """
        Who gives up waiting does not end the work for the others.
        """
        once = Once(self.work)
        first, second = once(1), once(2)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.event.callback(None)
        self.successResultOf(second)
