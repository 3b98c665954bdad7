"""
The tables of created tasks, and how a database comes to their newest version.  Pure.

To change the tables: statements at the end of L{SQLITE} and of L{POSTGRESQL}, which
make the next version of the one before.  Those that are there already have made
databases, and so are never changed.  A database is opened in the time of a group: a
step that may take longer needs a limit of its own in L{quebert.task_store._rows}.

Texts are bytes, in UTF-8 with lone surrogates let through: neither kind of database
takes each text that a client may give, and PostgreSQL takes no NUL.
"""

from __future__ import annotations

from collections.abc import Sequence

from quebert.task_store._boundaries import TaskStoreRefused

__all__ = ["COLUMNS", "POSTGRESQL", "SCHEMA", "SQLITE", "steps_from"]

#: The schema in PostgreSQL.
SCHEMA = "quebert_tasks"
#: The columns of a row, in the order of L{quebert.task_store._encoding}.
COLUMNS = (
    *("id", "uuid", "queue", "name", "digest", "created", "due"),
    *("state", "held_until", "ending", "body"),
)

# Rows that a process has begun something with, which somebody else has to end; lists of
# a queue, of tasks that live and of those that do not; rows that will go.  Leases of
# the same message, and those whose time has come.
_INDEXES = (
    "CREATE UNIQUE INDEX tasks_uuid ON tasks (uuid)",
    "CREATE UNIQUE INDEX tasks_name ON tasks (queue, name) WHERE name IS NOT NULL",
    "CREATE INDEX tasks_begun ON tasks (id) WHERE state IN ('new', 'deleting')",
    "CREATE INDEX tasks_living ON tasks (queue, id)"
    " WHERE state NOT IN ('ended', 'deleted')",
    "CREATE INDEX tasks_over ON tasks (queue, id) WHERE state IN ('ended', 'deleted')",
    "CREATE INDEX tasks_held ON tasks (held_until) WHERE held_until > 0",
    "CREATE INDEX leases_identity ON leases (identity)",
    "CREATE INDEX leases_until ON leases (state, until)",
)

#: The statements that make each version of the one before; C{user_version} counts the
#: versions.  The number in C{numbers} is the greatest that a row ever had: a row that
#: is gone leaves its place in lists to none.
SQLITE: Sequence[Sequence[str]] = (
    (
        "CREATE TABLE numbers (last INTEGER NOT NULL)",
        "INSERT INTO numbers VALUES (0)",
        "CREATE TABLE tasks (id INTEGER PRIMARY KEY, uuid BLOB NOT NULL,"
        " queue BLOB NOT NULL, name BLOB, digest BLOB NOT NULL,"
        " created REAL NOT NULL, due REAL NOT NULL, state TEXT NOT NULL,"
        " held_until REAL NOT NULL, ending TEXT, body BLOB NOT NULL)",
        "CREATE TABLE leases (id BLOB PRIMARY KEY, identity BLOB NOT NULL,"
        " state TEXT NOT NULL, until REAL NOT NULL, queue BLOB, uuid BLOB NOT NULL,"
        " last REAL NOT NULL, backoff REAL NOT NULL, body BLOB NOT NULL,"
        " properties BLOB NOT NULL) WITHOUT ROWID",
        *_INDEXES,
    ),
)
#: The same; the table C{version} counts them.
POSTGRESQL: Sequence[Sequence[str]] = (
    (
        "CREATE TABLE numbers (last bigint NOT NULL)",
        "INSERT INTO numbers VALUES (0)",
        "CREATE TABLE tasks (id bigint PRIMARY KEY, uuid bytea NOT NULL,"
        " queue bytea NOT NULL, name bytea, digest bytea NOT NULL,"
        " created double precision NOT NULL, due double precision NOT NULL,"
        " state text NOT NULL, held_until double precision NOT NULL, ending text,"
        " body bytea NOT NULL)",
        "CREATE TABLE leases (id bytea PRIMARY KEY, identity bytea NOT NULL,"
        " state text NOT NULL, until double precision NOT NULL, queue bytea,"
        " uuid bytea NOT NULL, last double precision NOT NULL,"
        " backoff double precision NOT NULL, body bytea NOT NULL,"
        " properties bytea NOT NULL)",
        *_INDEXES,
    ),
)


def steps_from(
    version: int, steps: Sequence[Sequence[str]], where: str
) -> Sequence[Sequence[str]]:
    """
    The steps that a database of a version lacks.

    @param where: the place of the database.
    @raise TaskStoreRefused: the version is a newer one.
    """
    if version > len(steps):
        text = f"the tasks in {where} are of version {version}, and this quebert knows"
        raise TaskStoreRefused(f"{text} up to {len(steps)}: use a newer quebert")
    return steps[version:]
