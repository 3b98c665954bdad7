"""
Version 1: entries, their queues, URLs and mediators, gaps, and counts.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

#: The number of this version.
revision = "0001"
#: The version before: none.
down_revision = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT: sa.types.TypeEngine[str] = sa.Text().with_variant(
    sa.Text(collation="C"), "postgresql"
)


def upgrade() -> None:
    """
    Make the tables.
    """
    op.create_table(
        "entries",
        sa.Column("id", _BIG, primary_key=True, autoincrement=False),
        sa.Column("segment", sa.Integer, nullable=False),
        sa.Column("uuid", sa.LargeBinary, nullable=False),
        sa.Column("queue_id", sa.Integer, nullable=False),
        sa.Column("url_id", _BIG, nullable=False),
        sa.Column("outcome", sa.SmallInteger, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("added", sa.BigInteger),
        sa.Column("due", sa.BigInteger),
        sa.Column("started", sa.BigInteger, nullable=False),
        sa.Column("ended", sa.BigInteger, nullable=False),
        sa.Column("status", sa.SmallInteger),
        sa.Column("reason", sa.Text),
        sa.Column("answer", sa.Text),
        sa.Column("retry_at", sa.BigInteger),
        sa.Column("mediator_id", sa.Integer),
    )
    op.create_index("entries_uuid", "entries", ["segment", "uuid", "ended"])
    op.create_index("entries_queue", "entries", ["queue_id", "ended"])
    op.create_index("entries_url", "entries", ["url_id", "ended"])
    _partial_index("entries_failed", ["queue_id", "outcome", "ended"], "outcome != 0")
    _partial_index("entries_waiting", ["queue_id", "retry_at"], "retry_at IS NOT NULL")
    op.create_table(
        "queues",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", _TEXT, nullable=False, unique=True),
    )
    op.create_table(
        "urls",
        sa.Column("id", _BIG, primary_key=True, autoincrement=False),
        sa.Column("segment", sa.Integer, nullable=False),
        sa.Column("url", _TEXT, nullable=False),
        sa.UniqueConstraint("segment", "url"),
    )
    op.create_table(
        "mediators",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", _TEXT, nullable=False, unique=True),
        sa.Column("next", sa.BigInteger, nullable=False),
        sa.Column("last_at", sa.BigInteger),
        sa.Column("total", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "gaps",
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("mediator_id", sa.Integer, nullable=False),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("missing", sa.SmallInteger, nullable=False),
        sa.Column("records", sa.BigInteger),
        sa.Column("started", sa.BigInteger),
        sa.Column("ended", sa.BigInteger, nullable=False),
    )
    op.create_index("gaps_mediator", "gaps", ["mediator_id", "first"])
    op.create_index("gaps_ended", "gaps", ["ended"])
    op.create_table(
        "counts",
        sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("queue_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("outcome", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("bucket", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "totals",
        sa.Column("queue_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("outcome", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    position = op.create_table(
        "position",
        sa.Column("entry", sa.BigInteger, nullable=False),
        sa.Column("url", sa.BigInteger, nullable=False),
        sa.Column("queue", sa.Integer, nullable=False),
        sa.Column("mediator", sa.Integer, nullable=False),
        sa.Column("removed", sa.BigInteger, nullable=False),
        sa.Column("segment", sa.Integer, nullable=False),
    )
    row = {"entry": 1, "url": 1, "queue": 1, "mediator": 1, "removed": 0, "segment": 0}
    op.bulk_insert(position, [row])
    if op.get_bind().dialect.name == "postgresql":
        # Rows come and go all the time: the space of those that are gone is used again
        # soon, and the planner knows how many there are.
        op.execute(
            "ALTER TABLE entries SET (autovacuum_vacuum_scale_factor = 0.02,"
            " autovacuum_vacuum_insert_scale_factor = 0.05,"
            " autovacuum_analyze_scale_factor = 0.02,"
            " autovacuum_vacuum_cost_delay = 0)"
        )


def _partial_index(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(
        name, "entries", columns, sqlite_where=where, postgresql_where=where
    )
