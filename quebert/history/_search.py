"""
Finds tasks, by the newest entry of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    func,
    literal_column,
    or_,
    select,
)

from quebert.history._encoding import (
    DONE,
    NUMBERS,
    OUTCOME_OF,
    micros,
    prefix_ranges,
    shortened,
)
from quebert.history._rows import TaskFold, folds_of, summaries
from quebert.history._schema import entries, queues, segments_of, urls
from quebert.history._streams import OLDEST, Scan
from quebert.history._tokens import Place, parsed, token
from quebert.history._values import HistoryPage, HistoryQuery

__all__ = ["find_tasks"]

# Entries that are taken one by one, rather than looked for in the order of time.
_FEW = 2000
# Streams that are read for a page.
_STREAMS = 400
# URLs, the newest ones, in which a text is looked for.
_URLS = 1_000_000
# How often a page is read on while it is not full.
_ROUNDS = 8


def find_tasks(
    connection: Connection, query: HistoryQuery, page_token: str, page_size: int
) -> HistoryPage:
    """
    A page of the tasks that match a query.

    @raise UnknownPageToken: the token is none, or of another query.
    """
    place = parsed(page_token, query)
    segments = segments_of(connection)
    scan = _Planner(connection, query, segments).scan()
    found: list[TaskFold] = []
    for _ in range(_ROUNDS):
        part = scan.read(connection, place, page_size + 1)
        rows = _uuids(connection, part.places)
        folds = folds_of(connection, segments, {uuid for uuid in rows.values() if uuid})
        for each in part.places:
            place = each
            fold = folds.get(rows[each])
            if fold is not None and fold.newest == each:
                found.append(fold)
                if len(found) == page_size:
                    break
        else:
            place = part.end
        if part.end == OLDEST and part.places[-1:] == [place]:
            place = OLDEST
        if len(found) == page_size or place == OLDEST:
            break
    following = "" if place == OLDEST else token(place, query)
    tasks = summaries(connection, found)
    return HistoryPage(tasks=tasks, next_page_token=following)


def _uuids(connection: Connection, places: Sequence[Place]) -> dict[Place, bytes]:
    c = entries.c
    ids = [id_ for _, id_ in places]
    rows = connection.execute(select(c.ended, c.id, c.uuid).where(c.id.in_(ids)))
    return {(row.ended, row.id): bytes(row.uuid) for row in rows}


@attrs.frozen
class _Streams:
    """
    Streams, and the fields of the query that all of their entries match.
    """

    conditions: Sequence[ColumnElement[bool]]
    fields: frozenset[str]


class _Planner:
    """
    Finds out where to look for what matches a query.
    """

    def __init__(
        self, connection: Connection, query: HistoryQuery, segments: range
    ) -> None:
        self._connection = connection
        self._query = query
        self._segments = segments
        self._sqlite = connection.dialect.name == "sqlite"

    def scan(self) -> Scan:
        """
        Where to look, and for what.
        """
        query = self._query
        streams = self._by_uuid() or self._by_url() or self._by_outcome()
        conditions = self._conditions()
        return Scan(
            streams=streams.conditions,
            matching=[conditions[k] for k in conditions if k not in streams.fields],
            after=micros(query.after),
            before=micros(query.before),
        )

    def _by_uuid(self) -> _Streams | None:
        c = entries.c
        if not self._query.uuid:
            return None
        ranges = prefix_ranges(self._query.uuid)
        return self._few(["uuid"], *(c.uuid.between(*each) for each in ranges))

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
        few = self._few(["url"], c.url_id.in_(ids))
        return few or _Streams([c.url_id == i for i in ids], frozenset({"url"}))

    def _by_outcome(self) -> _Streams:
        c, query = entries.c, self._query
        names = select(queues.c.id)
        if query.queue:
            names = names.where(queues.c.name == shortened(query.queue))
        ids = list(self._connection.execute(names).scalars())
        numbers = self._numbers()
        if numbers and DONE not in numbers and len(ids) * len(numbers) <= _STREAMS:
            conditions = [
                # The first has the planner take the index of those that failed.
                (c.outcome != literal_column("0"))
                & (c.queue_id == i)
                & (c.outcome == number)
                for i in ids
                for number in numbers
            ]
            return _Streams(conditions, frozenset({"queue", "outcome"}))
        return _Streams([c.queue_id == i for i in ids], frozenset({"queue"}))

    def _few(
        self, fields: Iterable[str], *conditions: ColumnElement[bool]
    ) -> _Streams | None:
        """
        A stream of the entries that meet one of several conditions, if these are few.
        """
        c = entries.c
        ids: list[int] = []
        for each in conditions:
            query = select(c.id).where(each, c.segment.in_(self._segments))
            query = query.limit(_FEW + 1)
            ids += self._connection.execute(query).scalars()
            if len(ids) > _FEW:
                return None
        return _Streams([c.id.in_(ids)] if ids else [], frozenset(fields))

    def _conditions(self) -> Mapping[str, ColumnElement[bool]]:
        """
        For each field of the query.
        """
        c, query = entries.c, self._query
        found: dict[str, ColumnElement[bool]] = {}
        if query.uuid:
            ranges = prefix_ranges(query.uuid)
            found["uuid"] = or_(*(c.uuid.between(*each) for each in ranges))
        if query.queue:
            name = queues.c.name == shortened(query.queue)
            number = select(queues.c.id).where(name).scalar_subquery()
            found["queue"] = c.queue_id == number
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
            return [number for number in OUTCOME_OF if number != DONE]
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
    return (status, status) if status > 9 else (status * 100, status * 100 + 99)
