"""
Tests for L{quebert.web.cluster._history_feeder}: what is told of attempts on their way
to the history.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import HistoryError
from quebert.events import AttemptBatch, Gap
from quebert.operations import BrokerAccess
from quebert.test.history_records import NOW, batch_of, record_of
from quebert.web.cluster._history_feeder import HistoryFeeder


class _Ledger:
    """
    A history that may be full.
    """

    problem = ""

    def __init__(self) -> None:
        self.is_full = True

    async def record(self, batch: AttemptBatch) -> None:
        """
        Write a batch.
        """
        if self.is_full:
            raise HistoryError("full")


class HistoryFeederTests(SynchronousTestCase):
    """
    A feeder whose reader passes batches on.
    """

    def test_gap_again(self) -> None:
        """
        A batch that is not written comes again; the gap before it counts once.
        """
        ledger: Any = _Ledger()
        feeder = HistoryFeeder(BrokerAccess(Clock(), "amqp://localhost"), ledger)
        batch = batch_of(3, [record_of(1)], total=9)
        gap = Gap(mediator="m1", count=8, since=None, until=NOW)

        def passed() -> Deferred[None]:
            return Deferred.fromCoroutine(feeder.attempts(batch, gap))

        for _ in range(2):
            self.failureResultOf(passed(), HistoryError)
        self.assertEqual((feeder.view.gaps, feeder.view.dropped), (0, 0))
        ledger.is_full = False
        self.successResultOf(passed())
        self.assertEqual((feeder.view.gaps, feeder.view.dropped), (1, 8))
