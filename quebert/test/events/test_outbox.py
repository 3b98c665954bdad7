"""
Tests for L{quebert.events._outbox}.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from quebert.events import AttemptBatch, Columns, _outbox, decode_batch
from quebert.events._outbox import LARGEST, LONGEST, Outbox
from quebert.test.events.strategies import record


def columns(count: int, answers: int = 0) -> Columns:
    """
    So many records, with answers that long, which cannot be compressed.
    """
    random = Random(count)
    return Columns.of(
        record(answer=random.randbytes(answers // 2).hex()) for _ in range(count)
    )


class OutboxTests(SynchronousTestCase):
    """
    L{Outbox}.
    """

    def setUp(self) -> None:
        self.outbox = Outbox("m", 100)

    def sent(self, under_way: int = 1000) -> list[AttemptBatch]:
        """
        Send and confirm all that there is.
        """
        parcels = []
        while (parcel := self.outbox.next(under_way)) is not None:
            parcels.append(parcel)
        for each in parcels:
            self.outbox.confirmed(each)
        return [decode_batch(each.body) for each in parcels]

    def test_in_order(self) -> None:
        """
        Batches go out in their order, so many at once, and tell how many records there
        were.
        """
        for number in (3, 0, 4):
            self.outbox.put(columns(number), float(number))
        first, second = self.outbox.next(2), self.outbox.next(2)
        self.assertIsNone(self.outbox.next(2))
        assert first is not None
        assert second is not None
        batch = decode_batch(first.body)
        self.assertEqual(batch.records, columns(3).records())
        self.assertEqual((batch.mediator, batch.at), ("m", 3.0))
        self.assertEqual((batch.sequence, batch.total, batch.dropped), (1, 3, 0))
        self.outbox.confirmed(first)
        self.outbox.confirmed(first)
        [last] = self.sent()
        self.assertEqual((last.sequence, last.total), (3, 7))
        self.assertEqual(len(self.outbox), 1)

    def test_again(self) -> None:
        """
        One that has failed goes out again, as it was.
        """
        self.outbox.put(columns(3), 1.0)
        first = self.outbox.next(1)
        assert first is not None
        body = first.body
        self.outbox.failed(first)
        again = self.outbox.next(1)
        assert again is not None
        self.assertEqual(again.body, body)

    def test_dropped(self) -> None:
        """
        Beyond the bound, the oldest records that are not under way are dropped, and the
        batch behind them says so, once.
        """
        self.outbox.put(columns(30), 0.0)
        under_way = self.outbox.next(1)
        assert under_way is not None
        for number in range(1, 11):
            self.outbox.put(columns(10), float(number))
        self.assertEqual(self.outbox.dropped, 30)
        self.outbox.confirmed(under_way)
        batches = self.sent()
        self.assertEqual([each.at for each in batches], [4, 5, 6, 7, 8, 9, 10])
        self.assertEqual([each.dropped for each in batches], [30] + [0] * 6)
        self.assertEqual([each.total for each in batches][:2], [70, 80])

    def test_dropped_again(self) -> None:
        """
        What a batch would have told that is dropped itself, the next one tells.
        """
        for _ in range(11):
            self.outbox.put(columns(10), 0.0)
        parcel = self.outbox.next(1)
        assert parcel is not None
        self.assertEqual(parcel.dropped, 10)
        self.outbox.failed(parcel)
        self.outbox.put(columns(10), 0.0)
        self.assertEqual(self.sent()[0].dropped, 20)
        self.assertEqual(self.outbox.dropped, 20)

    def test_large(self) -> None:
        """
        A large batch goes out in parts, none of which is too large for a broker; the
        bytes have a bound, too.
        """
        self.outbox.most = 10**6
        self.outbox.put(columns(LONGEST + 1), 0.0)
        first, second = self.sent()
        self.assertEqual((first.total, second.total), (LONGEST, LONGEST + 1))
        self.outbox.put(columns(1000, answers=1000), 0.0)
        self.assertLess(max(len(each.data) for each in self.outbox._parcels), LARGEST)
        [*_, last] = self.sent()
        self.assertEqual(last.total, LONGEST + 1001)
        self.patch(_outbox, "MOST_BYTES", 1_000_000)
        for _ in range(3):
            self.outbox.put(columns(1000, answers=1000), 0.0)
        self.assertGreater(self.outbox.dropped, 500)
        held = sum(len(each.data) for each in self.outbox._parcels)
        self.assertLessEqual(held, 1_000_000)

    def test_nobody(self) -> None:
        """
        Records that nobody wants are counted all the same.
        """
        self.outbox.put(columns(5), 0.0)
        self.outbox.clear()
        self.outbox.skip(10)
        self.outbox.put(columns(1), 0.0)
        [batch] = self.sent()
        self.assertEqual((batch.total, batch.dropped), (16, 0))
