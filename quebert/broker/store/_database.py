"""
Makes, checks and opens the broker's database file.

A database in WAL mode is two files: pages that were committed are in its C{-wal} until
a checkpoint copies them to the database.  A kill or a full disk can interrupt that.
Then the database alone looks damaged, because its first page counts pages that are in
the C{-wal} only; but both files together are sound.

So SQLite itself says whether a page is missing: it reads both files, and
C{quick_check} finds missing and damaged pages.  Before that, this module checks three
things that SQLite does not: that the files are the broker's, that they belong together,
and that they have everything that was committed.

SQLite writes to both files when it closes a database.  A database that is refused is to
stay as it is, so L{let_go} ends its connection.

A process that closes any file loses its locks on that file: SQLite's, too.  So this
module does not open a database that is open in this process already.  Source:
U{https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_}.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from quebert._text import one_line, what_is_wrong
from quebert.broker.store._files import (
    check_folder,
    check_link,
    keep_private,
    make_private,
    open_private,
)
from quebert.broker.store._wal import Log, LogDamagedError, read_log
from quebert.errors import StoreError

__all__ = ["DATABASE_ERRORS", "DatabaseConnection", "described", "let_go", "opened"]

#: Marks the broker's files among other SQLite files: "qbrt".
APPLICATION_ID = 0x71627274
VERSION = 1
#: What SQLite raises.  It puts pieces of a damaged database into the texts of its
#: errors; if one is not UTF-8, Python has no text and raises C{UnicodeError} instead.
DATABASE_ERRORS = (sqlite3.Error, UnicodeError)
# Characters of such a text.
_ERROR_LIMIT = 300

_MAGIC = b"SQLite format 3\0"
_HEADER_SIZE = 100
_IN_USE = "another broker has this database open"
# Names are bytes: AMQP does not say that they are UTF-8.
_SCHEMA = """
CREATE TABLE exchanges (
    vhost BLOB, name BLOB, type TEXT, auto_delete INTEGER, internal INTEGER,
    arguments BLOB, PRIMARY KEY (vhost, name)
) WITHOUT ROWID;
CREATE TABLE queues (
    id INTEGER PRIMARY KEY, vhost BLOB, name BLOB, auto_delete INTEGER,
    arguments BLOB, delivered INTEGER
);
CREATE TABLE bindings (
    vhost BLOB, source BLOB, destination BLOB, to_queue INTEGER, key BLOB,
    arguments BLOB,
    PRIMARY KEY (vhost, source, destination, to_queue, key, arguments)
) WITHOUT ROWID;
CREATE TABLE messages (
    id INTEGER PRIMARY KEY, queue INTEGER, priority INTEGER, expires REAL,
    checksum INTEGER, exchange BLOB, routing_key BLOB, properties BLOB, body BLOB
);
"""
# Apart from the messages, whose bodies need not be written again.  Databases that were
# made before there were quorum queues do not have it.  C{out} is text for a dead letter
# that waits, which earlier brokers take for a message that is with a consumer.
_COUNTS = """
CREATE TABLE IF NOT EXISTS counts (
    id INTEGER PRIMARY KEY, acquired INTEGER, failed INTEGER, out INTEGER
)
"""


# The databases that are open in this process, by their real paths.
_open: set[Path] = set()


class DatabaseConnection(sqlite3.Connection):
    """
    A connection to a broker's database.

    @ivar path: the database, without symbolic links: SQLite has the C{-wal} beside it.
    @ivar claim: what ends when the connection is closed.
    """

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.path = path
        self.claim = contextlib.ExitStack()
        self._places: dict[Path, tuple[int, int]] = {}

    def check_places(self) -> None:
        """
        Check that the database and its C{-wal} are where they were at the first check.
        SQLite goes on writing to files that were removed, and says nothing.

        @raise StoreError: one was removed, or another is in its place.
        """
        for path in (self.path, _log_of(self.path)):
            try:
                found = os.stat(path)
            except OSError as e:
                text = f"{path.name} is gone while the broker runs: {e.strerror}"
                raise StoreError(f"{self.path}: {text}") from e
            place = found.st_dev, found.st_ino
            if self._places.setdefault(path, place) != place:
                text = f"{path.name} was replaced while the broker ran"
                raise StoreError(f"{self.path}: {text}")

    def close(self) -> None:
        """
        Close the connection, so that the database can be opened again.
        """
        super().close()
        self.claim.close()


def opened(path: Path) -> DatabaseConnection:
    """
    A connection to the database at C{path}, which is made if there is none.  There is
    no other at the same time, in this process or another.  While another process opens
    the same database, this call waits.

    @raise StoreError: the database cannot be read or written, is damaged, belongs to
        another program, or is open in another broker; or other users may write to its
        folder.  Its files are left as they were.
    """
    try:
        check_link(path)
        check_folder(path.parent)
        path = Path(os.path.realpath(path))
        check_folder(path.parent)
        with _alone_with(path), contextlib.ExitStack() as claim:
            claim.enter_context(_claimed(path))
            if not path.exists():
                _make(path)
            else:
                _check_files(path)
            connection = _checked(path)
            connection.claim = claim.pop_all()
            return connection
    except DATABASE_ERRORS as e:
        raise StoreError(f"{path}: {_sentence(e)}") from e
    except OSError as e:
        raise StoreError(f"{path}: {what_is_wrong(e)}") from e


@contextlib.contextmanager
def _alone_with(path: Path) -> Iterator[None]:
    """
    Lock a database, so that one broker at a time makes, checks and opens it.  Without
    that, two brokers that start at once keep each other out, and both fail.

    Whoever can open a file can lock it, and so make this call wait.  Other users may be
    able to read the folder, so the lock is on a private file beside the database.
    """
    name = str(path.with_name(path.name + "-lock"))
    while True:
        lock = open_private(name, os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), os.lstat(name)):
                break
        os.close(lock)  # the one who had it has removed it
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        os.close(lock)


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[None]:
    """
    Count a database as open in this process.

    @raise StoreError: it is open already.
    """
    if path in _open:
        raise StoreError(f"{path}: {_IN_USE}")
    _open.add(path)
    try:
        yield
    finally:
        _open.remove(path)


def let_go(connection: DatabaseConnection) -> None:
    """
    Close a connection, and leave the database and its C{-wal} as they are.

    SQLite copies the C{-wal} to the database when it closes it, and removes the
    C{-wal}.  C{interrupt()} ends the copying before the first page.  If there is no
    page to copy, SQLite removes the C{-wal} all the same, so it is put back.  (From
    Python 3.12 on, C{SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE} does all this.)

    @raise sqlite3.Error: the connection cannot be closed.
    @raise OSError: the C{-wal} cannot be read.
    """
    with contextlib.ExitStack() as stack:
        # No other process opens the database before the log is back.
        with contextlib.suppress(OSError):  # the folder was removed, or is full
            stack.enter_context(_alone_with(connection.path))
        _let_go(connection)


def _let_go(connection: DatabaseConnection) -> None:
    log = _log_of(connection.path)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError):
            before = stack.enter_context(open(log, "rb"))
            stack.callback(_put_back, log, before)
        with contextlib.suppress(sqlite3.ProgrammingError):  # it is closed already
            connection.interrupt()
        connection.close()


def _put_back(log: Path, before: BinaryIO) -> None:
    found = os.fstat(before.fileno())
    if not found.st_size or found.st_nlink:
        return
    # Under another name until it is whole.  A log that is cut short, since the disk is
    # full, would have the database refused; without a log the database is whole.
    part = log.with_name(log.name + ".part")
    try:
        part.unlink(missing_ok=True)
        with open(part, "wb", opener=open_private) as file:
            shutil.copyfileobj(before, file)
        os.rename(part, log)
    except OSError:
        part.unlink(missing_ok=True)


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _make(path: Path) -> None:
    log = _log_of(path)
    if log.exists():
        text = f"the database is missing, but its {log.name} is there"
        raise StoreError(f"{path}: {text}; bring it back, or remove {log.name}")
    # Under another name until it is whole, so that a crash leaves no half of one.
    new = path.with_name(path.name + ".new")
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{new}{suffix}")
    make_private(new)
    connection = sqlite3.connect(new, isolation_level=None)
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.executescript(_SCHEMA)
        connection.execute(_COUNTS)
    finally:
        connection.close()
    os.rename(new, path)


@attrs.frozen
class _Header:
    """
    The header on the first page of a database.

    @ivar page_size: bytes of a page.
    @ivar changes: a counter that grows each time that the database is opened and
        the page written.
    @ivar pages: how many pages the database has.
    """

    page_size: int
    changes: int
    pages: int

    @property
    def age(self) -> tuple[int, int]:
        """
        Greater for a newer first page: while the broker has the database open, the
        number of its pages never becomes smaller.
        """
        return self.changes, self.pages


def _check_files(path: Path) -> None:
    """
    Check what SQLite would not check, or would write to the files before it checks.

    @raise StoreError: the files are not the broker's, or are damaged.
    """
    with open(path, "r+b") as file:  # an error if this process may not write to it
        _lock(path, file)
        header = _header(path, file.read(_HEADER_SIZE))
        keep_private(path)
        log = _read_log(path)
        size = file.seek(0, os.SEEK_END)
    if log.pages:
        _check_log(path, header, log)
    elif size < (whole := header.pages * header.page_size):
        text = f"the database is damaged: {size} bytes are left of {whole}"
        raise StoreError(f"{path}: {text}")


def _check_log(path: Path, header: _Header, log: Log) -> None:
    """
    Check that the C{-wal} belongs to the database and was not cut: then its first page,
    if it has one, is at least as new as the database's.

    @raise StoreError: the C{-wal} was cut, or belongs to another database.
    """
    newest = _header(path, log.first_page) if log.first_page else header
    if newest.age < header.age or newest.pages != log.pages:
        text = f"{_log_of(path).name} was cut, or belongs to another database"
        raise StoreError(f"{path}: the database is damaged: {text}")


def _lock(path: Path, file: BinaryIO) -> None:
    """
    Check that no other broker has the files open, and keep others out until C{file} is
    closed.  The shared lock is on the bytes that SQLite locks.  Source:
    U{https://www.sqlite.org/fileformat2.html#the_lock_byte_page}.

    @raise StoreError: another broker has the database open.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, 510, 0x40000002)
    except (BlockingIOError, PermissionError):
        raise StoreError(f"{path}: {_IN_USE}") from None


def _read_log(path: Path) -> Log:
    try:
        with open(_log_of(path), "rb", opener=open_private) as file:
            keep_private(_log_of(path))
            return read_log(file)
    except FileNotFoundError:
        return Log()
    except LogDamagedError as e:
        text = f"the database is damaged: {_log_of(path).name}: {e}"
        raise StoreError(f"{path}: {text}") from None


def _header(path: Path, page: bytes) -> _Header:
    """
    The header on the first page of a database.  Source:
    U{https://www.sqlite.org/fileformat2.html#the_database_header}.

    @raise StoreError: the page is not of this broker's, or of another version.
    """
    if len(page) < _HEADER_SIZE or not page.startswith(_MAGIC):
        raise StoreError(f"{path}: this is no database of the broker, or a damaged one")
    (application,) = struct.unpack_from(">I", page, 68)
    if application != APPLICATION_ID:
        raise StoreError(f"{path}: this is another program's database")
    (version,) = struct.unpack_from(">I", page, 60)
    if version != VERSION:
        text = f"the database is of version {version}, and this broker's {VERSION}"
        raise StoreError(f"{path}: {text}")
    (page_size,) = struct.unpack_from(">H", page, 16)
    changes, pages = struct.unpack_from(">II", page, 24)
    return _Header(65_536 if page_size == 1 else page_size, changes, pages)


def _checked(path: Path) -> DatabaseConnection:
    connection = DatabaseConnection(
        path, isolation_level=None, timeout=1, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")  # from now on nobody else can
        connection.execute("COMMIT")
        # Each commit is on the disk when it returns.
        connection.execute("PRAGMA synchronous = FULL")
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            text = f"the database is damaged: {described(found)}"
            raise StoreError(f"{path}: {text}")
        connection.execute(_COUNTS)
    except BaseException as e:
        if _is_busy(e):  # the files are another broker's
            connection.close()
        else:
            _let_go(connection)
        raise
    return connection


def described(error: object) -> str:
    """
    The text of an error in one printable line, whatever pieces of the database are in
    it.
    """
    return one_line(str(error), _ERROR_LIMIT)


def _sentence(error: Exception) -> str:
    if _is_busy(error):
        return _IN_USE
    if isinstance(error, UnicodeError) or _name(error).startswith(
        ("SQLITE_CORRUPT", "SQLITE_NOTADB")
    ):
        return f"the database is damaged: {described(error)}"
    return f"the database cannot be used: {described(error)}"


def _is_busy(error: BaseException) -> bool:
    return _name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _name(error: BaseException) -> str:
    return getattr(error, "sqlite_errorname", "")
