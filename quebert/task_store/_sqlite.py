"""
Created tasks in an SQLite file, by the driver alone: SQLAlchemy would cost more than a
row does.

One process at a time has the file: it locks another file beside that as long as it
lives.  So no process waits for another one that writes: a second one is refused at
once, and gets the file when the first one has ended.  Source:
U{https://www.sqlite.org/wal.html}.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote

from quebert._text import what_is_wrong
from quebert.created_tasks import Change, RowQuery, Standing
from quebert.errors import TaskStoreError
from quebert.task_store._boundaries import (
    RowValues,
    TaskStoreInUse,
    TaskStoreRefused,
    WantedRows,
)
from quebert.task_store._encoding import encode_over, encode_row, is_over
from quebert.task_store._queries import bounded, columns_of, conditions_of
from quebert.task_store._schema import COLUMNS, SQLITE, steps_from
from quebert.task_store._touched_rows import Difference

__all__ = ["SQLiteTasks"]

#: Marks the files of created tasks among other SQLite files: "qbrc".
APPLICATION_ID = 0x71627263
#: Seconds for which one waits for another program that has locked the file.
LOCK_LIMIT = 5.0
#: Seconds that a query may take.
QUERY_LIMIT = 8.0
# Instructions of SQLite after which one looks how long a query has taken.
_INSTRUCTIONS = 100_000
# Values that one statement looks for, and rows that it inserts, at most.
_MOST = 512

_ALL = ", ".join(COLUMNS)
# The same with an empty body, which is the last one.
_HEAD = ", ".join([*COLUMNS[:-1], "x''"])
# The columns of tasks alone, where another table has the same names.
_OURS = ", ".join(f"tasks.{each}" for each in COLUMNS)
_PLACES = f"({', '.join('?' * len(COLUMNS))})"
_INSERT = f"INSERT INTO tasks ({_ALL}) VALUES"  # nosec B608
_UPDATE = (
    "UPDATE tasks SET state = ?, held_until = ?, ending = ?, body = ? WHERE id = ?"
)
_UPDATE_STATE = "UPDATE tasks SET state = ? WHERE id = ?"
_SWEEP = (
    "DELETE FROM tasks WHERE id IN (SELECT id FROM tasks"
    " WHERE held_until > 0 AND held_until <= ? ORDER BY held_until LIMIT ?)"
)


class SQLiteTasks:
    """
    A L{TaskDatabase<quebert.task_store._boundaries.TaskDatabase>} in a file.

    @ivar where: its path.
    """

    def __init__(self, path: str) -> None:
        # Whoever has it by another name is to find the lock, too.
        self.where = os.path.realpath(path)
        self._writer: Any = None
        self._reader: Any = None
        self._reading = Lock()
        self._lock: int | None = None
        self._places: dict[str, tuple[int, int]] = {}

    def open(self) -> None:
        """
        Open the file, which is made if there is none.
        """
        try:
            if self._lock is None:
                self._lock = _locked(f"{self.where}-lock")
            _make(Path(self.where))
            self._writer = self._migrated()
        except OSError as e:
            raise TaskStoreRefused(f"{self.where}: {what_is_wrong(e)}") from e
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as e:
            text = f"{self.where} is no database of created tasks: {e}"
            raise TaskStoreRefused(text) from e

    def _connected(self) -> Any:
        connection = sqlite3.connect(
            self.where,
            isolation_level=None,
            timeout=LOCK_LIMIT,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # Each commit is on the disk when it returns.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            connection.execute("PRAGMA cache_size = -32768")
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrated(self) -> Any:
        connection = self._connected()
        try:
            with _transaction(connection):
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                for step in steps_from(version, SQLITE, self.where):
                    for statement in step:
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {len(SQLITE)}")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[int]:
        """
        A transaction; it is on the disk once this is left.
        """
        if self._writer is None:
            self.open()
        with _transaction(self._writer):
            (last,) = self._writer.execute("SELECT last FROM numbers").fetchone()
            yield last
        self._check_places()

    def _check_places(self) -> None:
        """
        Check that the files are where they were: SQLite goes on writing to files that
        were removed, and says nothing.
        """
        for path in (self.where, f"{self.where}-wal"):
            try:
                found = os.stat(path)
            except OSError as e:
                text = f"{path} is gone while quebert runs: {what_is_wrong(e)}"
                raise TaskStoreError(text) from e
            place = found.st_dev, found.st_ino
            if self._places.setdefault(path, place) != place:
                raise TaskStoreError(f"{path} was replaced while quebert ran")

    def rows_of(self, wanted: WantedRows) -> Sequence[RowValues]:
        """
        Rows by their uuids and their names.
        """
        execute = self._writer.execute
        found: list[RowValues] = []
        for columns, uuids in ((_HEAD, wanted.without_body), (_ALL, wanted.uuids)):
            for some in _padded(uuids, None):
                places = ", ".join("?" * len(some))
                query = f"SELECT {columns} FROM tasks WHERE uuid IN ({places})"  # nosec B608
                found += execute(query, some)
        for pairs in _padded(wanted.names, (None, None)):
            places = ", ".join(["(?, ?)"] * len(pairs))
            query = (
                f"WITH wanted (q, n) AS (VALUES {places}) SELECT {_OURS}"  # nosec B608
                " FROM wanted CROSS JOIN tasks"
                " WHERE queue = q AND name = n AND name IS NOT NULL"
            )
            found += execute(query, [value for pair in pairs for value in pair])
        return found

    def write(self, difference: Difference, last: int) -> None:
        """
        Write what has changed.
        """
        many = self._writer.executemany
        if difference.gone:
            gone = [(number,) for number in difference.gone]
            many("DELETE FROM tasks WHERE id = ?", gone)
        if difference.changed:
            # Most changes leave the body as it is, which may be long.
            states = [(r.state, n) for n, r in difference.changed if not is_over(r)]
            many(_UPDATE_STATE, states)
            many(
                _UPDATE, [encode_over(*c) for c in difference.changed if is_over(c[1])]
            )
        if difference.added:
            self._insert([encode_row(*each) for each in difference.added])
            self._writer.execute("UPDATE numbers SET last = ?", (last,))

    def _insert(self, rows: Sequence[RowValues]) -> None:
        """
        Insert rows by few statements: each execution lets go of the interpreter, and
        has to wait until the reactor lets go of it.
        """
        for some in _parts(rows):
            places = ", ".join([_PLACES] * len(some))
            self._writer.execute(f"{_INSERT} {places}", list(chain(*some)))

    def move(self, uuids: Sequence[bytes], change: Change) -> None:
        """
        Change the states of rows.
        """
        states = [change.to, *change.of]
        of = ", ".join("?" * len(change.of))
        for some in _padded(uuids, None):
            places = ", ".join("?" * len(some))
            statement = (
                f"UPDATE tasks SET state = ? WHERE state IN ({of})"  # nosec B608
                f" AND uuid IN ({places})"
            )
            self._writer.execute(statement, [*states, *some])

    def standing(self) -> Standing:
        """
        Nobody else has the file.
        """
        return Standing(leads=True, is_alone=True)

    def sweep(self, now: float, most: int) -> int:
        """
        Remove rows whose hold has ended.
        """
        return int(self._writer.execute(_SWEEP, (now, most)).rowcount)

    def execute(self, query: str, values: Sequence[Any]) -> Sequence[RowValues]:
        """
        The rows that a query gives.
        """
        return list(self._writer.execute(query, values))

    def change(self, statement: str, values: Sequence[Any]) -> int:
        """
        Change rows.
        """
        return int(self._writer.execute(statement, values).rowcount)

    def page(self, query: RowQuery) -> tuple[Sequence[RowValues], bool]:
        """
        Rows in order.
        """
        where, values = conditions_of(query, "?")
        columns = columns_of(query, "x''")
        text = f"SELECT {columns} FROM tasks{where} ORDER BY id LIMIT ?"  # nosec B608
        with self._reading:
            if self._reader is None:
                self._reader = self._connected()
                self._reader.execute("PRAGMA query_only = 1")
            end = time.monotonic() + QUERY_LIMIT
            self._reader.set_progress_handler(
                lambda: time.monotonic() > end, _INSTRUCTIONS
            )
            found = self._reader.execute(text, [*values, query.size + 1])
            with contextlib.closing(found):
                return bounded(found, query)

    def is_of_the_values(self, error: BaseException) -> bool:
        """
        Whether the values are the cause of an error.
        """
        of_values = sqlite3.DataError, sqlite3.IntegrityError, sqlite3.ProgrammingError
        if isinstance(error, of_values):
            return True
        others = TaskStoreError, sqlite3.Error, OSError, MemoryError
        return not isinstance(error, others)

    def abort(self) -> None:
        """
        End the statement that runs now.
        """
        for each in (self._writer, self._reader):
            if each is not None:
                with contextlib.suppress(sqlite3.Error):
                    each.interrupt()

    def close(self) -> None:
        """
        Close the file, and let other processes have it.
        """
        self.abort()
        with self._reading:
            for each in (self._reader, self._writer):
                if each is not None:
                    each.close()
            self._reader = self._writer = None
        self._places.clear()  # SQLite removes the C{-wal} when it closes the file
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


@contextlib.contextmanager
def _transaction(connection: Any) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some errors end it
            connection.execute("ROLLBACK")
        raise


def _padded(values: Sequence[Any], nothing: Any) -> Iterator[Sequence[Any]]:
    """
    Some values at a time, in few different numbers: the statements are prepared then.
    C{nothing} is found nowhere.
    """
    for start in range(0, len(values), _MOST):
        some = values[start : start + _MOST]
        size = 1 << (len(some) - 1).bit_length()
        yield [*some, *[nothing] * (size - len(some))]


def _parts(rows: Sequence[RowValues]) -> Iterator[Sequence[RowValues]]:
    """
    Some rows at a time, in few different numbers, too.
    """
    start = 0
    while start < len(rows):
        size = min(_MOST, 1 << ((len(rows) - start).bit_length() - 1))
        yield rows[start : start + size]
        start += size


def _locked(path: str) -> int:
    """
    Lock a file, which nobody need read.

    @raise TaskStoreInUse: another process has locked it.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    lock = os.open(path, flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(lock)
        if not isinstance(e, BlockingIOError):
            raise
        text = f"another process has the tasks in {path.removesuffix('-lock')}"
        raise TaskStoreInUse(f"{text}: end it, or use another file") from None
    return lock


def _make(path: Path) -> None:
    """
    Make a file that is no other program's, unless there is one.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    with contextlib.closing(
        sqlite3.connect(f"file:{quote(str(path))}", uri=True, timeout=LOCK_LIMIT)
    ) as connection:
        (found,) = connection.execute("PRAGMA application_id").fetchone()
        query = "SELECT count(*) FROM sqlite_master"
        (tables,) = connection.execute(query).fetchone()
        if not tables and not found:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        elif found != APPLICATION_ID:
            raise TaskStoreRefused(f"{path} is another program's database")
