"""
The database of the history: its versions, and what it is not.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    OperationalError,
)

from quebert.errors import ConfigError, HistoryRefused
from quebert.history import Retention, _database
from quebert.history._database import HistoryDatabase
from quebert.history._migrating import FOLDER, migrate
from quebert.history._schema import metadata
from quebert.history._store import HistoryStore
from quebert.test.history_records import NOW, batch_of, record_of, uuid_of

VERSIONS = [
    each.revision
    for each in ScriptDirectory(
        str(FOLDER), version_locations=[str(FOLDER)]
    ).walk_revisions()
]


@pytest.mark.parametrize("version", VERSIONS)
def test_from_each_version(history_url: str, version: str) -> None:
    """
    The tables of each version become those of the schema, and keep what is in them.
    """
    database = HistoryDatabase(history_url)
    database.make()
    with database.migrating() as connection:
        migrate(connection, "here", version)
    with database.migrating() as connection:
        migrate(connection, "here")
        # Text with another collation counts as another type.
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
    database.close()
    store = HistoryStore(history_url)
    store.open()
    store.write([batch_of(1, [record_of(1)])])
    store.open()
    assert store.life_of(uuid_of(1)) is not None
    store.close()


def test_newer_version(history_url: str) -> None:
    """
    A database of a newer version is refused, and left as it is.
    """
    store = HistoryStore(history_url)
    store.open()
    database = HistoryDatabase(history_url)
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    text_ = r"is of version 9999, and this quebert knows up to \d+: use a newer quebert"
    with pytest.raises(HistoryRefused, match=text_):
        store.open()
    store.close()
    database.close()


def test_file(tmp_path: Path) -> None:
    """
    The file is made for its owner alone; space that is free is given back.
    """
    path = tmp_path / "hi story?#%41.db"
    store = HistoryStore(str(path))
    store.open()
    store.close()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    raw.close()


def test_shrinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A file that has much free space gets smaller.
    """
    monkeypatch.setattr(_database, "_WORTHWHILE", 1)
    monkeypatch.setattr(_database, "_VACUUMED", 50)
    path = tmp_path / "h"
    store = HistoryStore(str(path))
    store.open()
    many = [record_of(n, answer="x" * 1000) for n in range(2000)]
    store.write([batch_of(1, many)])
    store.close()
    before = path.stat().st_size
    while store.retain(Retention(age=1.0), NOW + 9999):
        pass
    store.close()
    assert path.stat().st_size < before / 8


def test_slow_query(history_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A query that takes too long is ended.
    """
    monkeypatch.setattr(_database, "QUERY_LIMIT", 1.5)  # of each statement
    store = HistoryStore(history_url)
    store.open()
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
        " SELECT count(*) FROM n"
    )
    with pytest.raises(DBAPIError) as caught, store._database.reading() as connection:
        connection.execute(text(endless))
    assert "interrupted" in (problem := store.problem_of(caught.value)) or (
        "statement timeout" in problem
    )
    assert store.life_of(uuid_of(1)) is None
    store.close()


def test_aborted(tmp_path: Path) -> None:
    """
    What is being asked of a file can be ended.
    """
    database = HistoryDatabase(str(tmp_path / "h"))
    database.make()
    counting = (
        "WITH RECURSIVE n(i) AS (SELECT coalesce(abort(), 1) UNION ALL"
        " SELECT i + 1 FROM n WHERE i < 100000) SELECT count(*) FROM n"
    )
    with database.reading() as connection:
        raw: Any = connection.connection.driver_connection
        raw.create_function("abort", 0, database.abort)
        with pytest.raises(DBAPIError, match="interrupted"):
            connection.execute(text(counting))
        connection.rollback()
    database.close()


def test_problems_of_records() -> None:
    """
    What would fail again is told from what is wrong with the database.
    """
    store = HistoryStore("x.db")
    for of_records in DataError, IntegrityError:
        assert store.is_of_the_records(of_records("", None, sqlite3.Error()))
    assert store.is_of_the_records(ValueError())
    for error in OperationalError("", None, sqlite3.Error()), OSError(), MemoryError():
        assert not store.is_of_the_records(error)


@pytest.mark.parametrize(
    ("missing", "url", "extra"),
    [
        ("sqlalchemy", "x.db", "history"),
        ("alembic", "x.db", "history"),
        ("psycopg", "postgresql://localhost/x", "postgresql"),
    ],
)
def test_missing_packages(missing: str, url: str, extra: str) -> None:
    """
    Where a package is missing, the extra is named that brings it.
    """
    program = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "from quebert.history import open_ledger\n"
        f"open_ledger({url!r}).send(None)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wanted = f"the history needs {missing}: pip install 'quebert-mediator[{extra}]'"
    assert done.stderr.strip().splitlines()[-1].endswith(f"ConfigError: {wanted}")


def test_other_files(tmp_path: Path) -> None:
    """
    Another program's database, another file, and a place without a folder are refused.
    """
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as raw:
        raw.execute("CREATE TABLE t (x)")
    raw.close()
    before = other.read_bytes()
    with pytest.raises(
        HistoryRefused, match=r"other\.db is another program's database"
    ):
        HistoryStore(str(other)).open()
    assert other.read_bytes() == before
    note = tmp_path / "note"
    note.write_text("This is no database, but a note.\n" * 99)
    with pytest.raises(HistoryRefused, match="note is no database of the history"):
        HistoryStore(str(note)).open()
    with pytest.raises(HistoryRefused, match=r"/none/x\.db: No such file or directory"):
        HistoryStore(str(tmp_path / "none" / "x.db")).open()
    with pytest.raises(HistoryRefused, match="Is a directory"):
        HistoryStore(str(tmp_path)).open()


def test_other_urls() -> None:
    """
    A URL of another kind is refused, without telling the password.
    """
    with pytest.raises(ConfigError, match="cannot be kept in mysql: name a file"):
        HistoryDatabase("mysql://root:secret@localhost/x")
    with pytest.raises(ConfigError, match="database is wrong") as caught:
        HistoryDatabase("postgresql://a:secret@host:port/x")
    assert "secret" not in str(caught.value)
    where = HistoryDatabase("postgres://a:secret@host/x").where
    assert where == "postgresql://a:***@host/x"
    assert HistoryDatabase("sqlite:///history.db").where == os.path.abspath(
        "history.db"
    )
