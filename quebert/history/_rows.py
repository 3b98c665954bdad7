"""
Entries with the names of their queues, URLs and mediators; and tasks, folded from the
entries that they have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
from sqlalchemy import Connection, Select, bindparam, select

from quebert.events import was_requested
from quebert.history._encoding import (
    OUTCOME_OF,
    attempt,
    seconds,
    unpacked,
)
from quebert.history._names import chunks
from quebert.history._schema import entries, mediators, queues, urls
from quebert.history._values import PastAttempt, TaskSummary

__all__ = ["TaskFold", "folds_of", "named", "named_rows", "summary"]

# Entries that are looked at for some tasks, at most, or else for each of them.
_ENTRIES = 20_000
_NEWEST = 5_000
_STATES = {"retry": "retrying", "postponed": "delayed"}


def named() -> Select[Any]:
    """
    A query for entries, with names.
    """
    c = entries.c
    joined = entries.outerjoin(queues, queues.c.id == c.queue_id)
    joined = joined.outerjoin(urls, urls.c.id == c.url_id)
    joined = joined.outerjoin(mediators, mediators.c.id == c.mediator_id)
    names = (
        queues.c.name.label("queue"),
        urls.c.url.label("url"),
        mediators.c.name.label("mediator"),
    )
    return select(entries, *names).select_from(joined)


def named_rows(connection: Connection, ids: Iterable[int]) -> Mapping[int, Any]:
    """
    Entries by their ids.
    """
    return {
        row.id: row
        for part in chunks(ids)
        for row in connection.execute(named().where(entries.c.id.in_(part)))
    }


@attrs.define
class TaskFold:
    """
    Sums up the entries of a task.

    @ivar newest: when the newest entry ended, and its id.
    @ivar last: the same of the newest attempt.
    @ivar attempts: how many requests there were.
    @ivar added: when the task was added.
    @ivar request: the place of the newest request.
    @ivar highest: the highest number of a request.
    @ivar answers: how many requests were answered.
    @ivar first: when the first request began.
    """

    newest: tuple[int, int] = (-(2**63), 0)
    last: tuple[int, int] | None = None
    attempts: int = 0
    added: int | None = None
    request: tuple[int, int] | None = None
    highest: int = 0
    answers: int = 0
    first: int | None = None

    def take(self, row: Any) -> None:
        """
        An entry of the task.
        """
        place = row.ended, row.id
        self.newest = max(self.newest, place)
        if row.added is not None:
            self.added = min(row.added, row.added if self.added is None else self.added)
        if row.number:
            self.last = max(self.last or place, place)
            outcome = OUTCOME_OF.get(row.outcome, "")
            took = row.ended - row.started
            if was_requested(row.status, outcome, took):
                self._take_request(row, place)

    def _take_request(self, row: Any, place: tuple[int, int]) -> None:
        self.attempts += 1
        self.answers += row.status is not None
        self.highest = max(self.highest, row.number)
        self.request = max(self.request or place, place)
        if row.number == 1:
            self.first = row.started


def folds_of(
    connection: Connection, segments: range, uuids: Iterable[bytes]
) -> Mapping[bytes, TaskFold]:
    """
    Sum up the entries of tasks.
    """
    c = entries.c
    folds: dict[bytes, TaskFold] = {}
    names = c.uuid, c.ended, c.id, c.number, c.outcome, c.added, c.started, c.status
    query = select(*names)
    query = query.where(c.segment.in_(segments))
    query = query.where(c.uuid.in_(bindparam("uuids", expanding=True)))

    def read(part: Sequence[bytes], most: Select[Any]) -> Sequence[Any]:
        return connection.execute(most, {"uuids": part}).all()

    for part in chunks(uuids):
        rows = read(part, query.limit(_ENTRIES + 1))
        if len(rows) > _ENTRIES:
            # A task has that many: of each the newest.
            newest = query.order_by(c.ended.desc(), c.id.desc()).limit(_NEWEST)
            rows = [row for each in part for row in read([each], newest)]
        for row in rows:
            folds.setdefault(bytes(row.uuid), TaskFold()).take(row)
    return folds


def summary(row: Any, fold: TaskFold, last: PastAttempt | None) -> TaskSummary:
    """
    A task, by the row of its newest entry.
    """
    outcome = OUTCOME_OF.get(row.outcome, "")
    return TaskSummary(
        uuid=unpacked(bytes(row.uuid)),
        queue=row.queue or "",
        url=row.url or (last.url if last else ""),
        state=_STATES.get(outcome, outcome),
        added=seconds(fold.added),
        due=seconds(row.due),
        attempts=fold.attempts,
        last=last,
        retry_at=seconds(row.retry_at),
    )


def summaries(
    connection: Connection, folds: Sequence[TaskFold]
) -> Sequence[TaskSummary]:
    """
    Tasks, in the order of their folds.
    """
    ids = {fold.newest[1] for fold in folds}
    ids |= {fold.last[1] for fold in folds if fold.last}
    rows = named_rows(connection, ids)
    return [
        summary(
            rows[fold.newest[1]],
            fold,
            attempt(rows[fold.last[1]]) if fold.last else None,
        )
        for fold in folds
    ]
