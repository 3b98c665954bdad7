"""
Which batches have come, and which are missing.

Each mediator numbers its batches from 1, and tells with each how many records it has
made.  The history knows the number that comes next.  A batch whose number is beyond
leaves a gap; one whose number is in a gap fills it; any other has come already.
"""

from __future__ import annotations

from typing import Any

import attrs
from sqlalchemy import Connection, delete, insert, select, update

from quebert.events import AttemptBatch
from quebert.history._encoding import LARGEST, micros, shortened
from quebert.history._schema import gaps, mediators

__all__ = ["ReceivedBatches"]


@attrs.define
class _MediatorRow:
    """
    A mediator, as the database has it, or is to have it.
    """

    id: int
    next: int = 1
    last_at: int | None = None
    total: int = 0


class ReceivedBatches:
    """
    The batches of one transaction.

    @param following: the number that the next new mediator gets.
    @ivar made: how many mediators are new.
    """

    def __init__(self, connection: Connection, following: int) -> None:
        self._connection = connection
        self._following = following
        self._mediators: dict[str, _MediatorRow] = {}
        self.made = 0

    def mediator(self, name: str) -> int:
        """
        The number of a mediator.
        """
        return self._known(name).id

    def is_new(self, batch: AttemptBatch) -> bool:
        """
        Note that a batch has come, and which batches are missing before it.

        @return: whether it had not come before.
        """
        known, number = self._known(batch.mediator), batch.sequence
        at, size = micros(batch.at), len(batch.records) + batch.dropped
        if not 0 < number < LARGEST:
            return False
        if number < known.next:
            if not self._fill(known, number, size):
                return False
            self._drop(known, batch, None)
            return True
        if number > known.next:
            self._skip(known, batch, size)
        self._drop(known, batch, known.last_at)
        known.next, known.last_at = number + 1, at
        known.total = max(known.total, min(batch.total, LARGEST))
        return True

    def refused(self, batch: AttemptBatch, records: int) -> None:
        """
        Note that records of a batch could not be written.
        """
        self._add_dropped(self._known(batch.mediator), batch, records, None)

    def save(self) -> None:
        """
        Write to the database which batches have come.
        """
        for each in self._mediators.values():
            change = update(mediators).where(mediators.c.id == each.id)
            values = {"next": each.next, "last_at": each.last_at, "total": each.total}
            self._connection.execute(change.values(values))

    def _known(self, name: str) -> _MediatorRow:
        name = shortened(name)
        if name not in self._mediators:
            c = mediators.c
            query = select(c.id, c.next, c.last_at, c.total).where(c.name == name)
            row = self._connection.execute(query).one_or_none()
            known = _MediatorRow(self._following) if row is None else _MediatorRow(*row)
            if row is None:
                values = {"id": known.id, "name": name, "next": 1, "total": 0}
                self._connection.execute(insert(mediators), values)
                self._following += 1
                self.made += 1
            self._mediators[name] = known
        return self._mediators[name]

    def _skip(self, known: _MediatorRow, batch: AttemptBatch, size: int) -> None:
        """
        Note what is missing before a batch, unless those that did not come were empty:
        whoever reads them from the broker does not pass these on.
        """
        missing = batch.total - size - known.total if batch.total else -1
        if missing:
            self._add(
                known,
                first=known.next,
                last=batch.sequence - 1,
                missing=1,
                records=missing if missing > 0 else None,
                started=known.last_at,
                ended=micros(batch.at),
            )

    def _drop(
        self, known: _MediatorRow, batch: AttemptBatch, started: int | None
    ) -> None:
        if batch.dropped > 0:
            self._add_dropped(known, batch, batch.dropped, started)

    def _add_dropped(
        self,
        known: _MediatorRow,
        batch: AttemptBatch,
        records: int,
        started: int | None,
    ) -> None:
        number = batch.sequence
        self._add(
            known,
            first=number,
            last=number,
            missing=0,
            records=min(records, LARGEST),
            started=started,
            ended=micros(batch.at),
        )

    def _add(self, known: _MediatorRow, ended: int | None, **values: Any) -> None:
        row = {"mediator_id": known.id, "ended": ended or 0, **values}
        self._connection.execute(insert(gaps), row)

    def _fill(self, known: _MediatorRow, number: int, size: int) -> bool:
        """
        Take a batch out of the gap that it is in.

        @return: whether there is one.
        """
        c = gaps.c
        query = select(gaps).where(c.mediator_id == known.id, c.missing == 1)
        query = query.where(c.first <= number, c.last >= number)
        found = self._connection.execute(query).first()
        if found is None:
            return False
        self._connection.execute(delete(gaps).where(c.id == found.id))
        rest = {**found._mapping}
        del rest["id"]
        left = None if found.records is None else max(0, found.records - size)
        both = (found.first, number - 1), (number + 1, found.last)
        spans = [span for span in both if span[0] <= span[1]]
        for first, last in spans:
            # How many are on which side is not known.
            records = left if len(spans) == 1 else None
            self._connection.execute(
                insert(gaps), {**rest, "first": first, "last": last, "records": records}
            )
        return True
