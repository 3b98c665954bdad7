"""
Connections to the database of the history: what differs between SQLite and PostgreSQL.

One transaction writes at a time, in all processes: C{BEGIN IMMEDIATE} sees to that in
SQLite, an advisory lock in PostgreSQL.  Readers wait for nobody.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from quebert._database_threads import shut
from quebert._text import what_is_wrong
from quebert.errors import ConfigError, HistoryRefused
from quebert.history._schema import SCHEMA, entries, position

__all__ = ["HistoryDatabase"]

#: Marks the files of the history among other SQLite files: "qbrh".
APPLICATION_ID = 0x71627268
#: The advisory lock of whoever writes.
WRITER_LOCK = 0x71627268
#: Seconds that a query may take, and a statement of whoever writes.
QUERY_LIMIT, WRITE_LIMIT = 8.0, 20.0
#: Seconds for which one waits for another process that writes.
LOCK_LIMIT = 5.0
#: Readers that are connected at most.
READERS = 2
# Bytes that the index entries of a row take in PostgreSQL, and the head of the row.
_OVERHEAD = 180
# Pages that SQLite gives back to the file system in one go; and from how many free ones
# on, if these are an eighth of all.
_VACUUMED = 1000
_WORTHWHILE = 12_500

_INSERT = str(insert(entries).compile(dialect=sqlite.dialect()))
_COPY = f"COPY entries ({', '.join(entries.c.keys())}) FROM STDIN (FORMAT BINARY)"
_TYPES = {
    "BIGINT": "int8",
    "INTEGER": "int4",
    "SMALLINT": "int2",
    "TEXT": "text",
    "BYTEA": "bytea",
}


class HistoryDatabase:
    """
    The database at a URL; it connects when it is used.

    @ivar where: the place, without a password.
    @ivar is_sqlite: whether it is a file.
    @raise ConfigError: there is no such kind of database.
    """

    def __init__(self, url: str) -> None:
        address = _address(url)
        shown = address.set(drivername=address.get_backend_name())
        self.where = shown.render_as_string(hide_password=True)
        self.is_sqlite = address.get_backend_name() == "sqlite"
        self._connections: set[Any] = set()
        if self.is_sqlite:
            self.where = address.database or ""
            self._writer = self._sqlite(address, "BEGIN IMMEDIATE")
            self._reader = self._sqlite(address, "BEGIN", "PRAGMA query_only = 1")
        else:
            self._writer = self._postgresql(
                address, WRITE_LIMIT, pool_size=1, max_overflow=0
            )
            self._reader = self._postgresql(
                address,
                QUERY_LIMIT,
                pool_size=READERS,
                max_overflow=0,
                isolation_level="REPEATABLE READ",
            )

    def _sqlite(self, address: URL, begin: str, *pragmas: str) -> Engine:
        engine = create_engine(
            address,
            pool_size=READERS,
            max_overflow=0,
            connect_args={"timeout": LOCK_LIMIT, "check_same_thread": False},
        )

        @event.listens_for(engine, "connect")
        def connected(raw: Any, record: object) -> None:
            # Transactions begin where SQLAlchemy says so.
            raw.isolation_level = None
            raw.execute("PRAGMA journal_mode = WAL")
            raw.execute("PRAGMA synchronous = NORMAL")
            # Pages that change again and again are copied to the database once in a
            # while: after 64 MB.
            raw.execute("PRAGMA wal_autocheckpoint = 16384")
            raw.execute("PRAGMA journal_size_limit = 134217728")
            raw.execute("PRAGMA cache_size = -65536")
            for each in pragmas:
                raw.execute(each)
            self._connections.add(raw)

        @event.listens_for(engine, "begin")
        def begun(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        event.listen(engine, "close", lambda raw, _: self._connections.discard(raw))
        return engine

    def _postgresql(self, address: URL, limit: float, **options: Any) -> Engine:
        settings = {
            "search_path": SCHEMA,
            # To compile a query would take longer than to do it.
            "jit": "off",
            "statement_timeout": int(limit * 1000),
            "lock_timeout": int(LOCK_LIMIT * 1000),
            "idle_in_transaction_session_timeout": 60_000,
        }
        engine = create_engine(
            address,
            pool_pre_ping=True,
            pool_timeout=QUERY_LIMIT,
            connect_args={
                "application_name": "quebert history",
                "connect_timeout": 5,
                "options": " ".join(f"-c {k}={v}" for k, v in settings.items()),
                # A server that is not reached any more is noticed.
                "tcp_user_timeout": 10_000,
                "keepalives_idle": 10,
            },
            **options,
        )
        event.listen(engine, "connect", lambda raw, _: self._connections.add(raw))
        event.listen(engine, "close", lambda raw, _: self._connections.discard(raw))
        return engine

    def make(self) -> None:
        """
        Make the file, unless there is one, or the schema.

        @raise HistoryRefused: the file is another program's, or cannot be made.
        """
        if self.is_sqlite:
            _make_file(Path(self.where))
            return
        # PostgreSQL fails where two make one at the same time, IF NOT EXISTS or not.
        with self.writing() as connection:
            # Whoever may not make one may use one that is there.
            found = connection.execute(select(func.to_regnamespace(SCHEMA)))
            if found.scalar_one() is None:
                connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """
        A transaction that may write; no other does meanwhile.
        """
        with self._writer.begin() as connection:
            if not self.is_sqlite:
                connection.execute(select(func.pg_advisory_xact_lock(WRITER_LOCK)))
            yield connection

    @contextlib.contextmanager
    def migrating(self) -> Iterator[Connection]:
        """
        The same, for as long as it takes.
        """
        with self.writing() as connection:
            if not self.is_sqlite:
                connection.execute(text("SET LOCAL statement_timeout = 0"))
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """
        A transaction that reads, and sees the same all the time.
        """
        with self._reader.begin() as connection:
            if self.is_sqlite:
                end = time.monotonic() + QUERY_LIMIT
                raw: Any = connection.connection.driver_connection
                raw.set_progress_handler(lambda: time.monotonic() > end, 500_000)
            yield connection

    def append(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """
        Add rows to the entries.
        """
        if not rows:
            return
        if self.is_sqlite:
            connection.exec_driver_sql(_INSERT, list(rows))
            return
        raw: Any = connection.connection.driver_connection
        with raw.cursor().copy(_COPY) as copy:
            dialect = connection.dialect
            copy.set_types([_TYPES[c.type.compile(dialect)] for c in entries.c])
            write = copy.write_row
            for row in rows:
                write(row)

    def size(self, connection: Connection) -> int:
        """
        Bytes that the entries take.  PostgreSQL keeps the space of rows that are gone,
        and uses it again, so they do not count.
        """
        if self.is_sqlite:
            pages, free, bytes_each = (
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("page_count", "freelist_count", "page_size")
            )
            return int((pages - free) * bytes_each)
        c = position.c
        number = connection.execute(select(c.entry - c.removed - 1)).scalar_one()
        if not number:
            return 0
        sample = select(func.pg_column_size(text("entries.*"))).select_from(entries)
        newest = sample.order_by(entries.c.id.desc()).limit(200).subquery()
        width = connection.execute(select(func.avg(newest.c[0]))).scalar_one()
        return int(number * (float(width) + _OVERHEAD))

    def vacuum(self) -> bool:
        """
        Give some space back to the file system, if much of it is free.

        @return: whether there may be more to give back.
        """
        if not self.is_sqlite:  # autovacuum does it
            return False
        with self._writer.connect() as connection:
            raw: Any = connection.connection.driver_connection
            (pages,) = raw.execute("PRAGMA page_count").fetchone()
            (free,) = raw.execute("PRAGMA freelist_count").fetchone()
            if free < max(pages // 8, _WORTHWHILE):
                return False
            raw.execute(f"PRAGMA incremental_vacuum({_VACUUMED})").fetchall()
        return True

    def abort(self) -> None:
        """
        End the statement that runs now.  Any thread may call this.
        """
        for raw in tuple(self._connections):
            with contextlib.suppress(Exception):
                if isinstance(raw, sqlite3.Connection):
                    raw.interrupt()
                else:
                    shut(raw.pgconn.socket)

    def close(self) -> None:
        """
        Close all connections.
        """
        self._reader.dispose()
        self._writer.dispose()


def _address(url: str) -> URL:
    scheme, found, rest = url.partition("://")
    if not found:
        return URL.create("sqlite", database=os.path.abspath(url))
    if scheme == "sqlite":
        path = rest.removeprefix("/")
        return URL.create("sqlite", database=os.path.abspath(path))
    if scheme not in ("postgres", "postgresql"):
        problem = f"the history cannot be kept in {scheme}"
        raise ConfigError(f"{problem}: name a file, or postgresql://USER@HOST/DATABASE")
    try:
        return make_url(f"postgresql+psycopg://{rest}")
    except (ArgumentError, ValueError):
        raise ConfigError("the URL of the history's database is wrong") from None


def _make_file(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with contextlib.closing(
            sqlite3.connect(f"file:{quote(str(path))}", uri=True, timeout=LOCK_LIMIT)
        ) as raw:
            (application,) = raw.execute("PRAGMA application_id").fetchone()
            (tables,) = raw.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables and not application:
                # The first works in a new file only.
                raw.execute("PRAGMA auto_vacuum = INCREMENTAL")
                raw.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            elif application != APPLICATION_ID:
                raise HistoryRefused(f"{path} is another program's database")
    except OSError as e:
        raise HistoryRefused(f"{path}: {what_is_wrong(e)}") from e
    except sqlite3.DatabaseError as e:
        if isinstance(e, sqlite3.OperationalError):
            raise
        raise HistoryRefused(f"{path} is no database of the history: {e}") from e
