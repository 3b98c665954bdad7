"""
Created tasks in PostgreSQL, by the driver alone.

Several processes may have the tasks of a database.  Each transaction that writes first
locks the row of the table C{numbers}, so that one goes on at a time, and sees all that
the others have written.  Each connection that writes shares two advisory locks.  The
first tells how many processes there are, and keeps those of older versions out.  The
second has the number of the newest row that was there when its process began.  One
process leads: it holds a third lock as long as its connection lasts.  Source:
U{https://www.postgresql.org/docs/current/explicit-locking.html}.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import Connection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from quebert._database_threads import shut
from quebert.created_tasks import Change, RowQuery, Standing
from quebert.errors import ConfigError, TaskStoreError
from quebert.task_store._boundaries import (
    RowValues,
    TaskStoreInUse,
    TaskStoreRefused,
    WantedRows,
)
from quebert.task_store._encoding import encode_over, encode_row, is_over
from quebert.task_store._queries import bounded, columns_of, conditions_of
from quebert.task_store._schema import COLUMNS, POSTGRESQL, SCHEMA, steps_from
from quebert.task_store._touched_rows import Difference

__all__ = ["PostgreSQLTasks"]

#: The advisory lock that all share who have the tasks, "qbrc"; that of whoever leads;
#: and that of whoever makes the tables.
TASKS_LOCK, LEADER_LOCK, TABLES_LOCK = 0x71627263, 0x71627264, 0x71627265
#: The locks of numbers of rows, "qb", which have 48 bits.
NUMBER_LOCKS = 0x7162 << 48
#: Seconds for which one waits for a lock: a process that was killed has it until
#: PostgreSQL has noticed.
LOCK_LIMIT = 2.0
#: Seconds that a statement may take.
STATEMENT_LIMIT = 8.0
_CONNECT_LIMIT = 5

_SETTINGS = {
    "search_path": SCHEMA,
    # Each commit is on the disk when it returns, whatever the server's default is.
    "synchronous_commit": "on",
    # To compile a query would take longer than to do it.
    "jit": "off",
    # All are served by indexes, which statistics of a young table do not tell.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # Each statement sees what others have written before it.
    "default_transaction_isolation": r"read\ committed",
    # A process that is frozen within a transaction keeps others waiting so long.
    "idle_in_transaction_session_timeout": 10_000,
    # A client that is gone without a word has the lock no longer than that.
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
}
_TYPES = (
    *("int8", "bytea", "bytea", "bytea", "bytea", "float8", "float8"),
    *("text", "float8", "text", "bytea"),
)

_ALL = ", ".join(COLUMNS)
_OURS = ", ".join(f"tasks.{each}" for each in COLUMNS)
# The same with an empty body, which is the last one.
_HEAD = ", ".join([*COLUMNS[:-1], "''::bytea"])
_BY_UUID = f"SELECT {_ALL} FROM tasks WHERE uuid = ANY(%b::bytea[])"  # nosec B608
_HEAD_BY_UUID = _BY_UUID.replace(_ALL, _HEAD)
_BY_NAME = (
    f"SELECT {_OURS} FROM unnest(%b::bytea[], %b::bytea[])"  # nosec B608
    " AS wanted (q, n)"
    " JOIN tasks ON queue = q AND name = n WHERE name IS NOT NULL"
)
_COPY = f"COPY tasks ({_ALL}) FROM STDIN (FORMAT BINARY)"
_UPDATE_STATES = (
    "UPDATE tasks SET state = s FROM unnest(%b::bigint[], %b::text[]) AS c (i, s)"
    " WHERE id = i"
)
_UPDATE = (
    "UPDATE tasks SET state = %s, held_until = %s, ending = %s, body = %b WHERE id = %s"
)
_MOVE = (
    "UPDATE tasks SET state = %s WHERE state = ANY(%s::text[])"
    " AND uuid = ANY(%b::bytea[])"
)
_LAST = "SELECT last FROM numbers FOR UPDATE"
# How many others there are, of how many the numbers are known, and the least of these.
_OTHERS = (
    "SELECT count(*) FILTER (WHERE key = %s), count(*) FILTER (WHERE key >= %s),"
    " min(key) FILTER (WHERE key >= %s)"
    " FROM (SELECT classid::bigint << 32 | objid::bigint AS key FROM pg_locks"
    " JOIN pg_database ON pg_database.oid = pg_locks.database"
    " WHERE datname = current_database() AND locktype = 'advisory' AND granted"
    " AND objsubid = 1 AND pid <> pg_backend_pid()) AS locks"
)
_SWEEP = (
    "DELETE FROM tasks WHERE id IN (SELECT id FROM tasks"
    " WHERE held_until > 0 AND held_until <= %s ORDER BY held_until LIMIT %s)"
)


class PostgreSQLTasks:
    """
    A L{TaskDatabase<quebert.task_store._boundaries.TaskDatabase>} in the schema
    C{quebert_tasks}.

    @ivar where: the URL of the database, without a password.
    @raise ConfigError: the URL is wrong.
    """

    def __init__(self, url: str) -> None:
        try:
            conninfo_to_dict(url)
        except psycopg.Error:
            raise ConfigError("the URL of the tasks' database is wrong") from None
        self._url = url
        self.where = _shown(url)
        self._writer: Connection[Any] | None = None
        self._reader: Connection[Any] | None = None
        self._leads = False
        self._first: int | None = None  # the newest row when this process began
        self._reading = Lock()

    def open(self) -> None:
        """
        Connect, and make the schema if there is none.
        """
        self._leads = False
        connection = self._connected()
        self._writer = connection  # abort() is to find it
        try:
            self._lock(connection)
            with connection.transaction():
                self._migrate(connection)
            self._lock_number(connection)
        except BaseException:
            self._writer = None
            connection.close()
            raise

    def _connected(self) -> Connection[Any]:
        settings = {**_SETTINGS, "statement_timeout": int(STATEMENT_LIMIT * 1_000)}
        return psycopg.connect(
            self._url,
            autocommit=True,  # transactions begin where they are said to
            application_name="quebert tasks",
            connect_timeout=_CONNECT_LIMIT,
            options=" ".join(f"-c {name}={value}" for name, value in settings.items()),
            # A server that is not reached any more is noticed.
            tcp_user_timeout=10_000,
            keepalives_idle=10,
        )

    def _lock(self, connection: Connection[Any]) -> None:
        try:
            connection.execute(f"SET lock_timeout = {int(LOCK_LIMIT * 1_000)}")
            connection.execute("SELECT pg_advisory_lock_shared(%s)", [TASKS_LOCK])
        except errors.LockNotAvailable:
            text = f"a process of an older version has the tasks in {self.where}"
            raise TaskStoreInUse(f"{text}: end it") from None
        # Others that write are waited for as long as a statement may take.
        connection.execute("SET lock_timeout = 0")

    def _lock_number(self, connection: Connection[Any]) -> None:
        """
        Tell others which rows this process has not written, before it writes any.
        """
        last = _one(connection.execute("SELECT last FROM numbers"))
        # It is less where an older state of the database was restored meanwhile.
        self._first = last if self._first is None else min(self._first, last)
        key = NUMBER_LOCKS | self._first
        connection.execute("SELECT pg_advisory_lock_shared(%s)", [key])

    def _migrate(self, connection: Connection[Any]) -> None:
        execute = connection.execute
        execute("SELECT pg_advisory_xact_lock(%s)", [TABLES_LOCK])
        # Whoever may not make a schema may use one that is there.
        if _one(execute("SELECT to_regnamespace(%s)::text", [SCHEMA])) is None:
            execute(f"CREATE SCHEMA {SCHEMA}".encode())
        version = 0
        if _one(execute("SELECT to_regclass('version')::text")) is not None:
            version = _one(execute("SELECT number FROM version"))
        elif _one(execute("SELECT to_regclass('tasks')::text")) is not None:
            text = f"the schema {SCHEMA} in {self.where} is another program's"
            raise TaskStoreRefused(text)
        else:
            execute("CREATE TABLE version (number bigint NOT NULL)")
            execute("INSERT INTO version VALUES (0)")
        steps = steps_from(version, POSTGRESQL, self.where)
        for step in steps:
            for statement in step:
                execute(statement.encode())
        if steps:
            execute("UPDATE version SET number = %s", [len(POSTGRESQL)])

    @contextlib.contextmanager
    def writing(self) -> Iterator[int]:
        """
        A transaction; it is on the disk once this is left.
        """
        if self._writer is None:
            self.open()
        connection = self._writer
        assert connection is not None
        try:
            with connection.transaction():
                yield _one(connection.execute(_LAST))
        except BaseException:
            if connection.info.transaction_status != TransactionStatus.IDLE:
                self._writer = None
                connection.close()
            raise

    def rows_of(self, wanted: WantedRows) -> Sequence[RowValues]:
        """
        Rows by their uuids and their names.
        """
        found: list[RowValues] = []
        with self._cursor() as cursor:
            if wanted.without_body:
                found += cursor.execute(_HEAD_BY_UUID.encode(), [wanted.without_body])
            if wanted.uuids:
                found += cursor.execute(_BY_UUID.encode(), [wanted.uuids])
            if wanted.names:
                columns = [list(column) for column in zip(*wanted.names, strict=True)]
                found += cursor.execute(_BY_NAME.encode(), columns)
        return found

    def _cursor(self) -> Any:
        assert self._writer is not None
        return self._writer.cursor(binary=True)

    def write(self, difference: Difference, last: int) -> None:
        """
        Write what has changed.
        """
        with self._cursor() as cursor:
            if difference.gone:
                query = "DELETE FROM tasks WHERE id = ANY(%b::bigint[])"
                cursor.execute(query, [list(difference.gone)])
            # Most changes leave the body as it is, which may be long.
            states = [(n, r.state) for n, r in difference.changed if not is_over(r)]
            if states:
                columns = [list(column) for column in zip(*states, strict=True)]
                cursor.execute(_UPDATE_STATES, columns)
            ends = [encode_over(n, r) for n, r in difference.changed if is_over(r)]
            if ends:
                cursor.executemany(_UPDATE.encode(), ends)
            if difference.added:
                with cursor.copy(_COPY.encode()) as copy:
                    copy.set_types(_TYPES)
                    for each in difference.added:
                        copy.write_row(encode_row(*each))
                cursor.execute("UPDATE numbers SET last = %s", [last])

    def move(self, uuids: Sequence[bytes], change: Change) -> None:
        """
        Change the states of rows.
        """
        with self._cursor() as cursor:
            cursor.execute(_MOVE, [change.to, list(change.of), list(uuids)])

    def standing(self) -> Standing:
        """
        Whether this process leads, now at the latest, and whether there are others.
        """
        with self._cursor() as cursor:
            if not self._leads:
                query = "SELECT pg_try_advisory_lock(%s)"
                self._leads = _one(cursor.execute(query, [LEADER_LOCK]))
            values = [TASKS_LOCK, NUMBER_LOCKS, NUMBER_LOCKS]
            cursor.execute(_OTHERS.encode(), values)
            others, known, least = cursor.fetchone()
        older = least - NUMBER_LOCKS if others and others == known else 0
        return Standing(leads=self._leads, is_alone=not others, older=older)

    def sweep(self, now: float, most: int) -> int:
        """
        Remove rows whose hold has ended.
        """
        with self._cursor() as cursor:
            return int(cursor.execute(_SWEEP, [now, most]).rowcount)

    def execute(self, query: str, values: Sequence[Any]) -> Sequence[RowValues]:
        """
        The rows that a query gives.
        """
        with self._cursor() as cursor:
            found = cursor.execute(query.replace("?", "%s").encode(), values)
            return list(found)

    def change(self, statement: str, values: Sequence[Any]) -> int:
        """
        Change rows.
        """
        with self._cursor() as cursor:
            done = cursor.execute(statement.replace("?", "%s").encode(), values)
            return int(done.rowcount)

    def page(self, query: RowQuery) -> tuple[Sequence[RowValues], bool]:
        """
        Rows in order.
        """
        where, values = conditions_of(query, "%s")
        columns = columns_of(query, "''::bytea")
        text = f"SELECT {columns} FROM tasks{where} ORDER BY id LIMIT %s"  # nosec B608
        with self._reading:
            if self._reader is None:
                self._reader = self._connected()
            try:
                with self._reader.cursor(binary=True) as cursor:
                    more = [*values, query.size + 1]
                    found: Any = cursor.stream(text.encode(), more)
                    with contextlib.closing(found):
                        return bounded(found, query)
            except BaseException:
                self._reader.close()
                self._reader = None
                raise

    def is_of_the_values(self, error: BaseException) -> bool:
        """
        Whether the values are the cause of an error.
        """
        of_values = psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError
        if isinstance(error, of_values):
            return True
        others = TaskStoreError, psycopg.Error, OSError, MemoryError
        return not isinstance(error, others)

    def abort(self) -> None:
        """
        End the connections: one that is frozen does not come back otherwise.
        """
        for each in (self._writer, self._reader):
            if each is not None:
                with contextlib.suppress(Exception):
                    shut(each.pgconn.socket)

    def close(self) -> None:
        """
        End the connections, and let other processes have the tasks.
        """
        self.abort()
        with self._reading:
            for each in (self._reader, self._writer):
                if each is not None:
                    each.close()
            self._reader = self._writer = None


def _one(found: Any) -> Any:
    """
    The value that a query gives.
    """
    (value,) = found.fetchone()
    return value


def _shown(url: str) -> str:
    """
    A URL without a password.
    """
    parts = urlsplit(url)
    user, found, place = parts.netloc.rpartition("@")
    shown = f"{user.partition(':')[0]}{found}{place}"
    return f"postgresql://{shown}{parts.path}"
