"""
Tests for L{quebert.web.cluster._cluster}: what there is to read, where the history does
not answer.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import HistoryError
from quebert.history import LatencyMap, PastAttempt
from quebert.operations import Live, LiveQueue
from quebert.test.history_records import NOW, record_of
from quebert.web.cluster._cluster import RealCluster


class _LiveCluster:
    """
    A cluster with one queue.

    @param attempts: how many there were of late.
    """

    def __init__(self, attempts: int = 0) -> None:
        self._recent = [(record_of(1, uuid="recent"), "m")] * attempts

    async def view(self) -> Live:
        """
        All of it.
        """
        return Live(at=NOW, queues=(LiveQueue(name="mail", problems=("odd",)),))

    def recent(self, queue: str) -> list[Any]:
        """
        The last attempts.
        """
        return self._recent


class _HangingLedger:
    """
    A history that does not answer yet.
    """

    def __init__(self) -> None:
        self.asked: list[Deferred[Any]] = []

    def _ask(self, *args: object, **kwargs: object) -> Deferred[Any]:
        self.asked.append(Deferred())
        return self.asked[-1]

    latency = due = attempts_of = _ask


class RealClusterTests(SynchronousTestCase):
    """
    Tests for L{RealCluster}.
    """

    def test_problems(self) -> None:
        """
        The overview tells what is wrong with all that is kept here.
        """
        live: Any = _LiveCluster()
        any_mock: Any = mock.Mock(view=None)
        kept: Any = [mock.Mock(problems=[each]) for each in ("no rows", "no leases")]
        given = live, any_mock, any_mock, any_mock, any_mock, lambda: NOW, kept
        overview = Deferred.fromCoroutine(RealCluster(*given).overview())
        found = self.successResultOf(overview).problems
        self.assertEqual(found, ("no rows", "no leases"))

    def test_history_hangs(self) -> None:
        """
        All that a queue's page needs of the history is asked for at once; what does not
        come is told once, and the rest is there.
        """
        live: Any = _LiveCluster()
        ledger: Any = _HangingLedger()
        none: Any = None
        cluster = RealCluster(live, none, ledger, none, none, lambda: NOW)
        reading = Deferred.fromCoroutine(cluster.queue("mail"))
        self.assertEqual(len(ledger.asked), 3)
        for each in ledger.asked:
            self.assertNoResult(reading)
            each.errback(HistoryError("no answer"))
        found = self.successResultOf(reading)
        self.assertEqual(found.queue.problems, ("odd", "no answer"))
        self.assertEqual(found.latency, LatencyMap(buckets=(), columns=()))
        self.assertEqual((found.due, found.attempts), ((), ()))

    def test_attempts(self) -> None:
        """
        A queue's page shows fifty attempts.  The history is asked where there were
        fewer of late, and counts where it has more.
        """
        none: Any = None
        for recent, past, shown in (
            (50, None, ["recent"] * 50),
            (49, 50, ["past"] * 50),
            (49, 49, ["recent"] * 49),
        ):
            live: Any = _LiveCluster(recent)
            ledger: Any = _HangingLedger()
            cluster = RealCluster(live, none, ledger, none, none, lambda: NOW)
            reading = Deferred.fromCoroutine(cluster.queue("mail"))
            self.assertEqual(len(ledger.asked), 2 if past is None else 3)
            for each in ledger.asked[:2]:
                each.errback(HistoryError("no answer"))
            if past is not None:
                ledger.asked[2].callback(
                    [PastAttempt.of(record_of(1, uuid="past"), "m")] * past
                )
            found = self.successResultOf(reading).attempts
            self.assertEqual([each.uuid for each in found], shown)
