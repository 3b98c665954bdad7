"""
Batches that are to be published: those that wait, and those that are under way.  Pure.

There is a bound, of records and of bytes.  What is beyond it is dropped, the oldest
first, and the next batch tells how many records that were.  A batch stays until it is
confirmed; if that fails, it is sent once more, and readers know it again.
"""

from __future__ import annotations

from collections import deque

import attrs

from quebert.events._batch_encoder import body_of, compressed
from quebert.events._columns import Columns

__all__ = ["Outbox", "Parcel"]

#: Bytes of a body that RabbitMQ takes at once, and of all that wait.
LARGEST, MOST_BYTES = 200_000, 16 * 2**20
#: Records of one batch.
LONGEST = 10_000


@attrs.define(eq=False)
class Parcel:
    """
    A batch, written and compressed.

    @ivar count: of its records.
    @ivar dropped: how many records before it were dropped.
    @ivar is_sent: whether it is under way.
    """

    data: bytes
    count: int
    dropped: int = 0
    is_sent: bool = False

    @property
    def body(self) -> bytes:
        """
        As the body of a message.
        """
        return body_of(self.data, self.dropped)


class Outbox:
    """
    The batches of a mediator.

    @param mediator: its name.
    @ivar most: how many records may wait.
    @ivar dropped: how many records were dropped in all.
    """

    def __init__(self, mediator: str, most: int) -> None:
        self.most = most
        self.dropped = 0
        self._mediator = mediator
        self._parcels: deque[Parcel] = deque()  # those that are sent come first
        self._records = self._bytes = 0
        self._sequence = self._total = 0
        self._untold = 0  # dropped records of which no batch tells yet

    def __len__(self) -> int:
        return len(self._parcels)

    def put(self, columns: Columns, at: float) -> None:
        """
        Have records published.

        @param at: the time.
        """
        for start in range(0, max(1, len(columns)), LONGEST):
            self._put(columns.part(start, start + LONGEST), at)
        self._drop()

    def _put(self, columns: Columns, at: float) -> None:
        total, sequence = self._total + len(columns), self._sequence + 1
        data = compressed(columns, self._mediator, sequence, at, total)
        if len(data) > LARGEST and len(columns) > 1:  # long answers
            middle = len(columns) // 2
            self._put(columns.part(0, middle), at)
            self._put(columns.part(middle, len(columns)), at)
            return
        self._total, self._sequence = total, sequence
        self._parcels.append(Parcel(data, len(columns)))
        self._records += len(columns)
        self._bytes += len(data)

    def skip(self, count: int) -> None:
        """
        Count records that are published to no queue.
        """
        self._total += count

    def _drop(self) -> None:
        while self._records > self.most or self._bytes > MOST_BYTES:
            oldest = next((each for each in self._parcels if not each.is_sent), None)
            if oldest is None:
                return
            self._remove(oldest)
            self._untold += oldest.count + oldest.dropped
            self.dropped += oldest.count

    def next(self, under_way: int) -> Parcel | None:
        """
        The batch that is to be sent next; C{None} if there is none.

        @param under_way: how many may be, with this one.
        """
        for place, each in enumerate(self._parcels):
            if place >= under_way:
                return None
            if not each.is_sent:
                each.is_sent = True
                each.dropped += self._untold
                self._untold = 0
                return each
        return None

    def confirmed(self, parcel: Parcel) -> None:
        """
        RabbitMQ has confirmed a batch, or has no queue for it.
        """
        if parcel in self._parcels:
            self._remove(parcel)

    def failed(self, parcel: Parcel) -> None:
        """
        A batch is to be sent again.
        """
        parcel.is_sent = False

    def clear(self) -> None:
        """
        Drop all batches: no queue is there to get them.
        """
        self._parcels.clear()
        self._records = self._bytes = self._untold = 0

    def _remove(self, parcel: Parcel) -> None:
        self._parcels.remove(parcel)
        self._records -= parcel.count
        self._bytes -= len(parcel.data)
