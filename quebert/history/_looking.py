"""
Reads a task, the counts of a queue, and the gaps from the history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, ScalarSelect, func, or_, select

from quebert.events import FINAL
from quebert.history._encoding import (
    ATTEMPTS,
    MINUTE,
    NO_REQUEST,
    OUTCOME_OF,
    attempt,
    life,
    micros,
    packed,
    seconds,
    shortened,
)
from quebert.history._rows import folds_of, named, named_rows, summaries
from quebert.history._schema import (
    counts,
    entries,
    gaps,
    mediators,
    queues,
    segments_of,
)
from quebert.history._schema import totals as all_totals
from quebert.history._values import (
    BUCKETS,
    DueCount,
    DurationColumn,
    HistoryGap,
    LatencyMap,
    PastAttempt,
    TaskHistory,
    TaskTries,
    Totals,
)

__all__ = [
    "attempts_of",
    "due",
    "gaps_between",
    "latency",
    "life_of",
    "positions",
    "totals",
    "tries_of",
]

# Entries of one task that are told, the newest ones.
_ENTRIES = 10_000
# Tasks that wait, of which one looks whether something has happened to them since.
_VERIFIED = 5000
_GAPS = 1000
_MEDIATORS = 10_000


def life_of(connection: Connection, uuid: str) -> TaskHistory | None:
    """
    The whole life of a task; C{None} if the history does not know it.
    """
    c, raw = entries.c, packed(uuid)
    segments = segments_of(connection)
    query = named().where(c.segment.in_(segments), c.uuid == raw)
    query = query.order_by(c.ended.desc(), c.id.desc()).limit(_ENTRIES)
    rows = connection.execute(query).all()[::-1]
    if not rows or not raw:
        return None
    (task,) = summaries(connection, [folds_of(connection, segments, [raw])[raw]])
    first = min(seconds(rows[0].started) or 0.0, task.added or float("inf"))
    last = seconds(rows[-1].ended) if task.state in FINAL else None
    return TaskHistory(
        summary=task,
        attempts=[attempt(row) for row in rows if row.number],
        lives=[life(row) for row in rows if not row.number],
        gaps=gaps_between(connection, first, last),
    )


def tries_of(connection: Connection, uuids: Sequence[str]) -> Mapping[str, TaskTries]:
    """
    The requests for tasks, in sum; only of those for which the history has any.
    """
    raws = {packed(each): each for each in uuids}
    folds = folds_of(connection, segments_of(connection), raws)
    tried = {raws[raw]: fold for raw, fold in folds.items() if fold.request}
    rows = named_rows(connection, [f.request[1] for f in tried.values() if f.request])
    return {
        uuid: TaskTries(
            count=fold.highest,
            answers=fold.answers,
            first=seconds(fold.first),
            last=attempt(rows[fold.request[1]]),
        )
        for uuid, fold in tried.items()
        if fold.request and fold.request[1] in rows
    }


def attempts_of(
    connection: Connection, queue: str, before: float | None, most: int
) -> Sequence[PastAttempt]:
    """
    The newest attempts at tasks of a queue, the newest first.
    """
    c = entries.c
    query = named().where(c.queue_id == _number(queue), c.number > 0)
    if before is not None:
        query = query.where(c.ended < micros(before))
    query = query.order_by(c.ended.desc(), c.id.desc()).limit(most)
    return [attempt(row) for row in connection.execute(query)]


def latency(connection: Connection, queue: str, since: float) -> LatencyMap:
    """
    How long the requests of a queue took, by the minute.
    """
    c = counts.c
    query = select(c.minute, c.bucket, func.sum(c["count"]))
    query = query.where(c.minute >= (micros(since) or 0) // MINUTE)
    query = query.where(c.queue_id == _number(queue), c.bucket != NO_REQUEST)
    query = query.group_by(c.minute, c.bucket)
    columns: dict[int, list[int]] = {}
    for minute, bucket, count in connection.execute(query):
        column = columns.setdefault(minute, [0] * (len(BUCKETS) + 1))
        column[bucket] += int(count)
    return LatencyMap(
        buckets=BUCKETS,
        columns=[
            DurationColumn(at=minute * 60.0, counts=columns[minute])
            for minute in sorted(columns)
        ],
    )


def totals(connection: Connection, since: float | None) -> Totals:
    """
    Count attempts by queue and outcome.
    """
    table = all_totals if since is None else counts
    c = table.c
    query = select(queues.c.name, c.outcome, func.sum(c["count"]))
    query = query.join(queues, queues.c.id == c.queue_id)
    query = query.where(c.outcome.in_(ATTEMPTS.values()))
    if since is not None:
        query = query.where(counts.c.minute >= (micros(since) or 0) // MINUTE)
    found: dict[str, dict[str, int]] = {}
    for name, outcome, count in connection.execute(
        query.group_by(queues.c.name, c.outcome)
    ):
        found.setdefault(name, {})[OUTCOME_OF[outcome]] = int(count)
    return found


def due(
    connection: Connection, queue: str, now: float, width: float
) -> Sequence[DueCount]:
    """
    How many tasks of a queue are due, from C{now} on, in spans of C{width} seconds.
    """
    c = entries.c
    start, span = micros(now) or 0, max(1, micros(width) or 1)
    waiting = (
        c.queue_id == _number(queue),
        c.retry_at.is_not(None),
        c.retry_at >= start,
    )
    query = select(c.uuid, c.ended, c.id, c.retry_at, c.segment).where(*waiting)
    rows = connection.execute(query.order_by(c.retry_at).limit(_VERIFIED + 1)).all()
    tally: Counter[int] = Counter()
    if len(rows) > _VERIFIED:
        end = rows[_VERIFIED].retry_at
        number = ((c.retry_at - start) // span).label("number")
        query_rest = select(number, func.count()).where(*waiting, c.retry_at >= end)
        rest = connection.execute(query_rest.group_by(number))
        tally.update({int(n): count for n, count in rest})
        rows = [row for row in rows if row.retry_at < end]
    segments = segments_of(connection)
    if rows:
        segments = range(min(row.segment for row in rows), segments.stop)
    folds = folds_of(connection, segments, {bytes(row.uuid) for row in rows})
    for row in rows:
        if folds[bytes(row.uuid)].newest == (row.ended, row.id):
            tally[(row.retry_at - start) // span] += 1
    return [
        DueCount(at=(start + n * span) / 1e6, count=tally[n]) for n in sorted(tally)
    ]


def gaps_between(
    connection: Connection, after: float | None, before: float | None
) -> Sequence[HistoryGap]:
    """
    Gaps that may have held records of a time, the newest first.
    """
    c = gaps.c
    query = select(gaps, mediators.c.name.label("mediator"))
    query = query.outerjoin(mediators, mediators.c.id == c.mediator_id)
    # Batches without a record may be missing, too: nobody misses anything.
    query = query.where(or_(c.records.is_(None), c.records > 0))
    if after is not None:
        query = query.where(c.ended >= micros(after))
    if before is not None:
        query = query.where(or_(c.started.is_(None), c.started <= micros(before)))
    query = query.order_by(c.ended.desc(), c.id.desc()).limit(_GAPS)
    return [
        HistoryGap(
            mediator=row.mediator or "",
            start=seconds(row.started),
            end=row.ended / 1e6,
            batches=row.last - row.first + 1 if row.missing else 0,
            records=row.records,
        )
        for row in connection.execute(query)
    ]


def positions(connection: Connection) -> Mapping[str, int]:
    """
    How many records each mediator had made with the last batch that was written.
    """
    c = mediators.c
    query = select(c.name, c.total).order_by(c.id.desc()).limit(_MEDIATORS)
    return {name: total for name, total in connection.execute(query) if total}


def _number(queue: str) -> ScalarSelect[int]:
    """
    The number of a queue, as a part of a query.
    """
    query = select(queues.c.id).where(queues.c.name == shortened(queue))
    return query.scalar_subquery()
