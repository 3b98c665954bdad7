"""
The tables of the history.

C{entries} has a row for each attempt and each other event of a task.  Rows are added
and, at the other end, removed; no row is changed.  The newest entry of a task tells how
the task is.  So writing needs no look-up, and records may come twice or in any order.

Uuids are random: one index over all of them would have each new row change a page of
its own.  So the index begins with the C{segment}, the id divided by L{SEGMENT}: new
rows are in one segment, whose part of the index is small.  A look-up looks into each
segment.  URLs are numbered in each segment anew, and go with it.

A change of this module needs a migration in C{quebert/history/migrations}; a test
compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    select,
)
from sqlalchemy.types import TypeEngine

__all__ = [
    "SCHEMA",
    "SEGMENT",
    "counts",
    "entries",
    "gaps",
    "mediators",
    "metadata",
    "position",
    "queues",
    "segments_of",
    "totals",
    "urls",
]

#: Where the tables are in PostgreSQL.
SCHEMA = "quebert_history"
#: How many ids a segment has.
SEGMENT = 2**18

# SQLite has one kind of integer, and calls a primary key of it the row's own id.
_BIG = BigInteger().with_variant(Integer(), "sqlite")
# Compared byte by byte, as SQLite does; elsewhere no range finds a prefix.
_TEXT: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")

metadata = MetaData()

#: What has happened to tasks.  Times are microseconds since the epoch.
entries = Table(
    "entries",
    metadata,
    Column("id", _BIG, primary_key=True, autoincrement=False),
    Column("segment", Integer, nullable=False),
    Column("uuid", LargeBinary, nullable=False),
    Column("queue_id", Integer, nullable=False),
    Column("url_id", _BIG, nullable=False),
    Column("outcome", SmallInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("added", BigInteger),
    Column("due", BigInteger),
    Column("started", BigInteger, nullable=False),
    Column("ended", BigInteger, nullable=False),
    Column("status", SmallInteger),
    Column("reason", Text),
    Column("answer", Text),
    Column("retry_at", BigInteger),
    Column("mediator_id", Integer),
)
Index("entries_uuid", entries.c.segment, entries.c.uuid, entries.c.ended)
Index("entries_queue", entries.c.queue_id, entries.c.ended)
Index("entries_url", entries.c.url_id, entries.c.ended)
# Those that went well are most of all, and not looked for by their outcome.
_failed = entries.c.outcome != 0
Index(
    "entries_failed",
    entries.c.queue_id,
    entries.c.outcome,
    entries.c.ended,
    sqlite_where=_failed,
    postgresql_where=_failed,
)
_waiting = entries.c.retry_at.is_not(None)
Index(
    "entries_waiting",
    entries.c.queue_id,
    entries.c.retry_at,
    sqlite_where=_waiting,
    postgresql_where=_waiting,
)

queues = Table(
    "queues",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", _TEXT, nullable=False, unique=True),
)
urls = Table(
    "urls",
    metadata,
    Column("id", _BIG, primary_key=True, autoincrement=False),
    Column("segment", Integer, nullable=False),
    Column("url", _TEXT, nullable=False),
    UniqueConstraint("segment", "url"),
)
#: C{next}: the number of the batch that comes next; C{last_at}: when the newest one was
#: made; C{total}: how many records the mediator had made then.
mediators = Table(
    "mediators",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", _TEXT, nullable=False, unique=True),
    Column("next", BigInteger, nullable=False),
    Column("last_at", BigInteger),
    Column("total", BigInteger, nullable=False),
)
#: Batches C{first} to C{last} are missing, with so many C{records}; or C{missing} is 0,
#: and records were dropped before the batch C{last}.
gaps = Table(
    "gaps",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("mediator_id", Integer, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("missing", SmallInteger, nullable=False),
    Column("records", BigInteger),
    Column("started", BigInteger),
    Column("ended", BigInteger, nullable=False),
)
Index("gaps_mediator", gaps.c.mediator_id, gaps.c.first)
Index("gaps_ended", gaps.c.ended)
#: Attempts that ended in a minute, by how long they took (C{bucket}); C{NO_REQUEST} for
#: those that came to no request.
counts = Table(
    "counts",
    metadata,
    Column("minute", BigInteger, primary_key=True, autoincrement=False),
    Column("queue_id", Integer, primary_key=True, autoincrement=False),
    Column("outcome", SmallInteger, primary_key=True, autoincrement=False),
    Column("bucket", SmallInteger, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
)
#: All that was ever written of a queue, by the outcome.
totals = Table(
    "totals",
    metadata,
    Column("queue_id", Integer, primary_key=True, autoincrement=False),
    Column("outcome", SmallInteger, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
)
#: One row: the ids that the next entry, the next URL, queue and mediator get; up to
#: which id all entries are removed, and the first segment that has any.  To ask the
#: indexes would take long where much was removed that PostgreSQL still holds.
position = Table(
    "position",
    metadata,
    Column("entry", BigInteger, nullable=False),
    Column("url", BigInteger, nullable=False),
    Column("queue", Integer, nullable=False),
    Column("mediator", Integer, nullable=False),
    Column("removed", BigInteger, nullable=False),
    Column("segment", Integer, nullable=False),
)


def segments_of(connection: Connection) -> range:
    """
    The segments that may have entries.
    """
    c = position.c
    first, following = connection.execute(select(c.segment, c.entry)).one()
    return range(first, following // SEGMENT + 1)
