"""
Removes entries that are too old, or for which there is no room, in slices: no
transaction keeps others from writing for long.
"""

from __future__ import annotations

from itertools import takewhile

from sqlalchemy import Connection, delete, func, select, update

from quebert.history._database import HistoryDatabase
from quebert.history._encoding import MINUTE, micros
from quebert.history._schema import (
    counts,
    entries,
    gaps,
    mediators,
    position,
    urls,
)
from quebert.history._values import Retention

__all__ = ["remove_slice"]

#: Entries that one transaction removes.
SLICE = 5000
# Rows of other tables that it removes.
_OTHERS = 2000
# Mediators that are known, however long nothing has come from them.
_MEDIATORS = 10_000


def remove_slice(database: HistoryDatabase, retention: Retention, now: float) -> bool:
    """
    Remove a slice of the entries that are too old, or too many; the oldest first.

    @return: whether there may be more.
    """
    c, at = entries.c, position.c
    cutoff = -(2**63) if retention.age is None else micros(now - retention.age) or 0
    with database.writing() as connection:
        removed = connection.execute(select(at.removed)).scalar_one()
        oldest = select(c.id, c.ended, c.segment).where(c.id > removed).order_by(c.id)
        rows = connection.execute(oldest.limit(SLICE)).all()
        full = retention.size is not None and database.size(connection) > retention.size
        # Ids are in the order in which records came, which is almost that of time.
        gone = rows if full else list(takewhile(lambda row: row.ended < cutoff, rows))
        if gone:
            last = gone[-1].id
            connection.execute(delete(entries).where(c.id.between(removed, last)))
            following = connection.execute(oldest.where(c.id > last).limit(1)).first()
            first = gone[-1].segment if following is None else following.segment
            values = {"removed": last, "segment": first}
            connection.execute(update(position).values(values))
        more = bool(gone) and len(gone) == len(rows)
        return _remove_others(connection, cutoff) or more


def _remove_others(connection: Connection, cutoff: int) -> bool:
    """
    Remove URLs, gaps, counts by the minute and mediators that are too old.
    """
    first = connection.execute(select(position.c.segment)).scalar_one()
    old = select(urls.c.id).where(urls.c.segment < first).limit(_OTHERS)
    removed = connection.execute(delete(urls).where(urls.c.id.in_(old))).rowcount
    old_gaps = select(gaps.c.id).where(gaps.c.ended < cutoff).limit(_OTHERS)
    connection.execute(delete(gaps).where(gaps.c.id.in_(old_gaps)))
    connection.execute(delete(counts).where(counts.c.minute < cutoff // MINUTE))
    # One that is forgotten, but not gone, seems to have lost its batches.
    newest = connection.execute(select(func.max(mediators.c.id))).scalar_one() or 0
    silent = mediators.c.last_at < cutoff, mediators.c.id <= newest - _MEDIATORS
    connection.execute(delete(mediators).where(*silent))
    return removed >= _OTHERS
