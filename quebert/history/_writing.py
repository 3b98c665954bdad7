"""
Writes several batches of attempts into the history in one transaction.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, assert_never

from sqlalchemy import Connection, Table, select, update
from sqlalchemy.dialects import postgresql, sqlite

from quebert.events import AttemptBatch, AttemptRecord
from quebert.history._database import HistoryDatabase
from quebert.history._encoding import (
    MINUTE,
    attempt_row,
    bucket_of_attempt,
    life_row,
    shortened,
)
from quebert.history._names import QueueNames, UrlNames, chunks
from quebert.history._received import ReceivedBatches
from quebert.history._schema import (
    SEGMENT,
    counts,
    entries,
    position,
    segments_of,
    totals,
)
from quebert.history._values import LifeRecord, Lives, Write

__all__ = ["EntryWriter"]


# What a row has beside its id and its segment.
_Row = tuple[Any, ...]


class EntryWriter:
    """
    Writes to a database; in one thread.
    """

    def __init__(self, database: HistoryDatabase) -> None:
        self._database = database
        self._queues = QueueNames()
        self._urls = UrlNames()

    def write(self, writes: Sequence[Write], *, without_records: bool = False) -> None:
        """
        Write all, or nothing if that fails.

        @param without_records: note the records of batches as missing: the database
            refuses them.
        """
        try:
            with self._database.writing() as connection:
                work = _Transaction(self, connection)
                work.write(writes, without_records)
        except BaseException:
            # Names that were new are not in the database.
            self._queues.forget()
            self._urls.forget()
            raise


class _Transaction:
    """
    One transaction of an L{EntryWriter}.
    """

    def __init__(self, writer: EntryWriter, connection: Connection) -> None:
        self._database = writer._database
        self._all_queues, self._all_urls = writer._queues, writer._urls
        self._all_queues.made = self._all_urls.made = 0
        self._connection = connection
        self._position = connection.execute(select(position)).one()
        self._segment = self._position.entry // SEGMENT
        self._received = ReceivedBatches(connection, self._position.mediator)

    def write(self, writes: Sequence[Write], without_records: bool) -> None:
        batches: list[AttemptBatch] = []
        lives: list[LifeRecord] = []
        for each in writes:
            match each:
                case AttemptBatch():
                    if self._received.is_new(each):
                        batches.append(each)
                case Lives(records):
                    lives += () if without_records else self._new(records)
                case _:  # pragma: no cover
                    assert_never(each)
        if not without_records:
            attempts = [r for batch in batches for r in batch.records]
            self._number_names(attempts, lives)
        rows: list[_Row] = []
        for batch in batches:
            found = [] if without_records else self._rows(batch)
            rows += found
            if len(found) < len(batch.records):
                self._received.refused(batch, len(batch.records) - len(found))
        for life in lives:
            queue, url = self._queues[life.queue], self._urls[life.url]
            rows.append(life_row(life, queue, url))
        self._count(rows)
        self._save(rows)

    def _new(self, records: Sequence[LifeRecord]) -> Iterable[LifeRecord]:
        """
        Those that are not in the database already.
        """
        c = entries.c
        valid: dict[tuple[bytes, int, int], LifeRecord] = {}
        for each in records:
            with contextlib.suppress(AttributeError, TypeError, ValueError):
                row = life_row(each, 0, 0)
                valid[row[0], row[8], row[3]] = each
        segments = segments_of(self._connection)
        for part in chunks({uuid for uuid, _, _ in valid}):
            query = select(c.uuid, c.ended, c.outcome)
            query = query.where(c.segment.in_(segments), c.uuid.in_(part))
            for found in self._connection.execute(query):
                valid.pop((bytes(found.uuid), found.ended, found.outcome), None)
        return valid.values()

    def _number_names(
        self, attempts: Sequence[AttemptRecord], lives: Sequence[LifeRecord]
    ) -> None:
        """
        Find the numbers of queues and URLs, by the names that the records have.
        """
        connection, at = self._connection, self._position
        names = {r.queue for r in attempts} | {r.queue for r in lives}
        short = {name: shortened(name) for name in names}
        known = self._all_queues.numbers(connection, {*short.values()}, at.queue)
        self._queues = {name: known[short[name]] for name in names}
        names = {r.url for r in attempts} | {r.url for r in lives}
        short = {name: shortened(name) for name in names}
        known = self._all_urls.of_segment(
            connection, self._segment, {*short.values()}, at.url
        )
        self._urls = {name: known[short[name]] for name in names}

    def _rows(self, batch: AttemptBatch) -> list[_Row]:
        """
        The rows of a batch, but for records that are none.
        """
        mediator = self._received.mediator(batch.mediator)
        queues, urls = self._queues, self._urls
        rows = []
        for record in batch.records:
            queue, url = queues[record.queue], urls[record.url]
            try:  # a context manager would take longer than all of it
                rows.append(attempt_row(record, queue, url, mediator))
            except (AttributeError, TypeError, ValueError):
                continue
        return rows

    def _count(self, rows: Sequence[_Row]) -> None:
        """
        Count attempts, by minute and by how long they took; and all that there is.
        """
        tally = Counter(
            (row[8] // MINUTE, row[1], row[3], bucket_of_attempt(row[3], *row[7:10]))
            for row in rows
            if row[4]
        )
        self._add(counts, tally)
        self._add(totals, Counter((row[1], row[3]) for row in rows))

    def _add(self, table: Table, tally: Counter[Any]) -> None:
        """
        Add to the counts in a table, whose key is its first columns.
        """
        if not tally:
            return
        dialect = sqlite if self._database.is_sqlite else postgresql
        adding = dialect.insert(table)
        adding = adding.on_conflict_do_update(
            index_elements=list(table.primary_key),
            set_={"count": table.c.count + adding.excluded.count},
        )
        values = [
            dict(zip(table.c.keys(), (*k, n), strict=True)) for k, n in tally.items()
        ]
        self._connection.execute(adding, values)

    def _save(self, rows: Sequence[_Row]) -> None:
        at, segment = self._position, self._segment
        self._database.append(
            self._connection,
            [(n, segment, *row) for n, row in enumerate(rows, at.entry)],
        )
        self._received.save()
        self._connection.execute(
            update(position).values(
                entry=at.entry + len(rows),
                url=at.url + self._all_urls.made,
                queue=at.queue + self._all_queues.made,
                mediator=at.mediator + self._received.made,
            )
        )
