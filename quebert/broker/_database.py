"""
The broker's database file: made, opened, and looked at before it is trusted.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
from pathlib import Path

from quebert.errors import StoreError

__all__ = ["opened"]

#: What tells our files from other SQLite files: "qbrt".
APPLICATION_ID = 0x71627274
VERSION = 1

_MAGIC = b"SQLite format 3\0"
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


def opened(path: Path) -> sqlite3.Connection:
    """
    A connection to the database at C{path}, which is made if there is none.  No
    other process can have one at the same time.

    @raise StoreError: it cannot be read or written, is damaged, is not ours, or
        another broker has it.  It is left as it was.
    """
    try:
        if not path.exists():
            _make(path)
        else:
            _check_header(path)
        return _checked(path)
    except sqlite3.Error as e:
        raise StoreError(f"{path}: {_sentence(e)}") from e
    except OSError as e:
        raise StoreError(f"{path}: {e.strerror or e}") from e


def _make(path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    if log.exists():
        text = f"the database is missing that {log.name} belongs to"
        raise StoreError(f"{path}: {text}; bring it back, or remove {log.name}")
    # Under another name until it is whole, so that a crash leaves no half of one.
    new = path.with_name(path.name + ".new")
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{new}{suffix}")
    connection = sqlite3.connect(new, isolation_level=None)
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.executescript(_SCHEMA)
    finally:
        connection.close()
    os.rename(new, path)


def _check_header(path: Path) -> None:
    """
    What is wrong is found here where it can be, before SQLite has touched the
    file.  Source: U{https://www.sqlite.org/fileformat2.html}, section 1.3.
    """
    with open(path, "rb") as file:
        header = file.read(100)
        size = file.seek(0, os.SEEK_END)
    if len(header) < 100 or not header.startswith(_MAGIC):
        raise StoreError(f"{path}: this is no database of the broker, or a damaged one")
    (page_size,) = struct.unpack_from(">H", header, 16)
    (pages,) = struct.unpack_from(">I", header, 28)
    whole = pages * (65_536 if page_size == 1 else page_size)
    if size < whole:
        text = f"the database is damaged: {size} bytes are left of {whole}"
        raise StoreError(f"{path}: {text}")
    (application,) = struct.unpack_from(">I", header, 68)
    if application != APPLICATION_ID:
        raise StoreError(f"{path}: this is another program's database")
    (version,) = struct.unpack_from(">I", header, 60)
    if version != VERSION:
        text = f"the database is of version {version}, and this broker's {VERSION}"
        raise StoreError(f"{path}: {text}")


def _checked(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, timeout=1, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")  # from now on it is ours alone
        connection.execute("COMMIT")
        # Each commit is on the disk when it returns.
        connection.execute("PRAGMA synchronous = FULL")
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            text = f"the database is damaged: {' '.join(found.split())}"
            raise StoreError(f"{path}: {text}")
    except BaseException:
        connection.close()
        raise
    return connection


def _sentence(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "another broker has this database open"
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return f"the database is damaged: {error}"
    return f"the database cannot be used: {error}"
