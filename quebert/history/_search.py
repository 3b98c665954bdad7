"""
Finds tasks, by the newest entry of each.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import attrs
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
)

from quebert.history._encoding import (
    ATTEMPTS,
    DONE,
    NUMBERS,
    OUTCOME_OF,
    micros,
    prefix_ranges,
    shortened,
)
from quebert.history._names import chunks
from quebert.history._rows import TaskFold, folds_of, summaries
from quebert.history._schema import (
    entries,
    queues,
    segments_of,
    totals,
    urls,
)
from quebert.history._streams import OLDEST, Scan
from quebert.history._tokens import Place, parsed, token
from quebert.history._values import HistoryPage, HistoryQuery

__all__ = ["find_tasks"]

# Entries that are taken one by one, rather than looked for in the order of time.
_FEW = 5000
# Streams that are read for a page.
_STREAMS = 400
# URLs, the newest ones, in which a text is looked for.
_URLS = 1_000_000
# Seconds for which a page is read on while it is not full.
_PATIENCE = 0.2


def find_tasks(
    connection: Connection, query: HistoryQuery, page_token: str, page_size: int
) -> HistoryPage:
    """
    A page of the tasks that match a query.

    @raise UnknownPageToken: the token is none, or of another query.
    """
    place = parsed(page_token, query)
    if query.outcome and query.outcome not in NUMBERS:
        return HistoryPage(tasks=())
    segments = segments_of(connection)
    scan = _Planner(connection, query, segments).scan()
    found: list[TaskFold] = []
    end = time.monotonic() + _PATIENCE
    while True:
        part = scan.read(connection, place, page_size + 1)
        for each, fold in _folded(connection, segments, part.found, page_size):
            place = each
            if fold is not None and fold.newest == each:
                found.append(fold)
                if len(found) == page_size:
                    break
        else:
            place = part.end
        if part.end == OLDEST and [*part.found][-1:] == [place]:
            place = OLDEST
        if len(found) == page_size or place == OLDEST or time.monotonic() > end:
            break
    following = "" if place == OLDEST else token(place, query)
    tasks = summaries(connection, found)
    return HistoryPage(tasks=tasks, next_page_token=following)


def _folded(
    connection: Connection, segments: range, found: Mapping[Place, bytes], most: int
) -> Iterator[tuple[Place, TaskFold | None]]:
    """
    Entries and what their tasks come to, so many at a time: to look into all segments
    for more than a page takes would be most of the work.
    """
    for some in chunks(found.items(), most):
        folds = folds_of(connection, segments, {uuid for _, uuid in some if uuid})
        for each, uuid in some:
            yield each, folds.get(uuid)


@attrs.frozen
class _Streams:
    """
    Streams, and the fields of the query that all of their entries match.

    @ivar condition: on entries of a stream.
    @ivar values: the parameters of the condition, for each stream.
    """

    condition: ColumnElement[bool]
    values: Sequence[Mapping[str, Any]]
    fields: frozenset[str]


class _Planner:
    """
    Chooses the streams and the conditions for a query.
    """

    def __init__(
        self, connection: Connection, query: HistoryQuery, segments: range
    ) -> None:
        self._connection = connection
        self._query = query
        self._segments = segments
        self._sqlite = connection.dialect.name == "sqlite"
        self._patterned = self._matching()

    def scan(self) -> Scan:
        """
        The streams, and the conditions for their entries.
        """
        query = self._query
        streams = self._by_uuid() or self._by_url() or self._by_outcome()
        conditions = self._conditions()
        return Scan(
            streams.condition,
            streams.values,
            [conditions[k] for k in conditions if k not in streams.fields],
            micros(query.after),
            micros(query.before),
        )

    def _by_uuid(self) -> _Streams | None:
        c = entries.c
        if not self._query.uuid:
            return None
        ids: list[int] = []
        query = select(c.id).where(
            c.segment.in_(self._segments),
            c.uuid.between(bindparam("first"), bindparam("last")),
        )
        query = query.limit(_FEW + 1)
        for first, last in prefix_ranges(self._query.uuid):
            values = {"first": first, "last": last}
            ids += self._connection.execute(query, values).scalars()
            if len(ids) > _FEW:
                return None
        return self._some(ids, "uuid")

    def _by_url(self) -> _Streams | None:
        c = entries.c
        if not self._query.url:
            return None
        newest = select(func.coalesce(func.max(urls.c.id), 0)).scalar_subquery()
        query = select(urls.c.id).where(self._url(), urls.c.segment.in_(self._segments))
        query = query.where(urls.c.id > newest - _URLS).limit(_STREAMS + 1)
        ids = list(self._connection.execute(query).scalars())
        if len(ids) > _STREAMS:
            return None
        if not ids:
            return self._some([], "url")
        entry_ids = select(c.id).where(c.url_id.in_(ids)).limit(_FEW + 1)
        few = list(self._connection.execute(entry_ids).scalars())
        if len(few) <= _FEW:
            return self._some(few, "url")
        if (numbers := self._numbers()) and DONE not in numbers:
            return None  # those that failed are fewer
        return _Streams(
            c.url_id == bindparam("url"),
            [{"url": each} for each in ids],
            frozenset({"url"}),
        )

    def _by_outcome(self) -> _Streams:
        c = entries.c
        in_queue = c.queue_id == bindparam("queue")
        numbers = self._numbers()
        if numbers and DONE not in numbers:
            pairs = select(totals.c.queue_id, totals.c.outcome)
            pairs = pairs.where(totals.c.outcome.in_(numbers)).limit(_STREAMS + 1)
            rows = self._connection.execute(self._of_queue(pairs, totals.c.queue_id))
            streams = [{"queue": queue, "number": number} for queue, number in rows]
            if len(streams) <= _STREAMS:
                # The first has the planner take the index of those that failed.
                failed = c.outcome != literal_column("0")
                condition = failed & in_queue & (c.outcome == bindparam("number"))
                return _Streams(condition, streams, frozenset({"queue", "outcome"}))
        names = self._of_queue(select(queues.c.id), queues.c.id)
        ids = list(self._connection.execute(names).scalars())
        if len(ids) > _STREAMS:  # names stay when their last entry goes
            entry = select(c.id).where(c.queue_id == queues.c.id).limit(1)
            used = names.where(entry.scalar_subquery().is_not(None))
            ids = list(self._connection.execute(used).scalars())
        streams = [{"queue": each} for each in ids]
        return _Streams(in_queue, streams, frozenset({"queue"}))

    def _of_queue(self, query: Select[Any], column: Column[int]) -> Select[Any]:
        """
        The query for the queues that are asked for, if some are.
        """
        return query.where(*self._is_of(column))

    def _is_of(self, column: Column[int]) -> Iterator[ColumnElement[bool]]:
        """
        The conditions for the queues that are asked for.
        """
        if self._query.queue:
            name = queues.c.name == shortened(self._query.queue)
            yield column == select(queues.c.id).where(name).scalar_subquery()
        if self._patterned is not None:
            yield column.in_(self._patterned)

    def _matching(self) -> Sequence[int] | None:
        """
        The queues that match a pattern; C{None} where all do.
        """
        patterns = self._query.patterns
        if "*" in patterns:
            return None
        return [
            number
            for number, name in self._connection.execute(
                select(queues.c.id, queues.c.name)
            )
            if any(fnmatchcase(name, each) for each in patterns)
        ]

    def _some(self, ids: Sequence[int], field: str) -> _Streams:
        """
        A stream of a few entries.
        """
        condition = entries.c.id.in_(bindparam("ids", expanding=True))
        return _Streams(condition, [{"ids": ids}] if ids else [], frozenset({field}))

    def _conditions(self) -> Mapping[str, ColumnElement[bool]]:
        """
        For each field of the query.
        """
        c, query = entries.c, self._query
        found: dict[str, ColumnElement[bool]] = {}
        if query.uuid:
            ranges = prefix_ranges(query.uuid)
            found["uuid"] = or_(*(c.uuid.between(*each) for each in ranges))
        of_queue = [*self._is_of(c.queue_id)]
        if of_queue:
            found["queue"] = and_(*of_queue)
        if query.url:
            found["url"] = self._url()
        if query.status is not None:
            found["status"] = c.status.between(*_statuses(query.status))
        if query.outcome:
            found["outcome"] = c.outcome.in_(NUMBERS.get(query.outcome, ()))
        if query.reason:
            found["reason"] = self._contains(c.reason, query.reason)
        return found

    def _numbers(self) -> Sequence[int]:
        """
        The numbers of the outcomes that can match; none for all.
        """
        query = self._query
        if query.outcome:
            return NUMBERS.get(query.outcome, ())
        status = query.status
        failed = status is not None and not 200 <= _statuses(status)[0] < 300
        if failed or query.reason:
            # What has a status is an attempt.
            some = ATTEMPTS.values() if status is not None else OUTCOME_OF
            return [number for number in some if number != DONE]
        return ()

    def _url(self) -> ColumnElement[bool]:
        text = shortened(self._query.url)
        if text.startswith(("http:", "https:")):
            return (urls.c.url >= text) & (urls.c.url < text + "\U0010ffff")
        return self._contains(urls.c.url, text)

    def _contains(self, column: Column[Any], text: str) -> ColumnElement[bool]:
        position = func.instr if self._sqlite else func.strpos
        return position(column, shortened(text)) > 0


def _statuses(status: int) -> tuple[int, int]:
    status = max(0, min(status, 9999))
    return (status, status) if status > 9 else (status * 100, status * 100 + 99)
