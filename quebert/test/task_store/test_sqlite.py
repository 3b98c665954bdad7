"""
Created tasks in SQLite files.
"""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quebert.created_tasks import STATES, RowQuery, TaskChange
from quebert.created_tasks._states import END, PUBLISH
from quebert.task_store import _sqlite
from quebert.task_store._boundaries import (
    AddRequest,
    ChangeRequest,
    FindRequest,
    SweepRequest,
    TaskStoreRefused,
)
from quebert.task_store._queries import conditions_of
from quebert.task_store._sqlite import SQLiteTasks
from quebert.task_store._store import TaskStore
from quebert.test.checks import EXAMPLES, QUICK
from quebert.test.created_tasks.doubles import new_task
from quebert.test.task_store import contract


class SQLiteRowsTests(contract.StoredRowsContract):
    """
    Rows in a file.
    """

    def new_store(self) -> TaskStore:
        """
        A new file.
        """
        return TaskStore(SQLiteTasks(self.mktemp()))

    @settings(QUICK, max_examples=EXAMPLES // 2)
    @given(calls=st.lists(contract.CALLS, max_size=12), together=st.booleans())
    def test_as_in_memory(self, calls: list[tuple[Any, ...]], together: bool) -> None:
        """
        Whatever is asked for, alone or together, the answers are those of rows in
        memory.
        """
        self.compare(calls, together)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """
    A file with a name that URLs would have to quote.
    """
    return tmp_path / "ta sks?#%41.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[TaskStore]:
    """
    A file with one row.
    """
    store = TaskStore(SQLiteTasks(str(path)))
    store.carry_out([AddRequest([new_task()], 0.0)])
    yield store
    store.close()


@contextmanager
def _sqlite_of(path: Path) -> Iterator[Any]:
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        yield raw


def _refused(path: Path) -> str:
    store = TaskStore(SQLiteTasks(str(path)))
    with pytest.raises(TaskStoreRefused) as caught:
        store.carry_out([])
    store.close()
    return str(caught.value)


def _fails(store: TaskStore, uuid: str = "v") -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        store.carry_out([AddRequest([new_task(uuid)], 0.0)])
    return str(store.problem_of(caught.value))


def _works(store: TaskStore, uuid: str = "v") -> None:
    assert store.carry_out([AddRequest([new_task(uuid)], 0.0)]) == [[None]]
    (found,) = store.carry_out([FindRequest("u")])
    assert found is not None


def test_private(store: TaskStore, path: Path) -> None:
    """
    The files are their owner's alone, and each commit is on the disk.
    """
    for each in path.parent.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
    writer: Any = store._database
    assert writer._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert writer._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert writer._writer.execute("PRAGMA user_version").fetchone() == (1,)


def test_again(store: TaskStore, path: Path) -> None:
    """
    What was kept is there when the file is opened again, and numbers go on.
    """
    store.close()
    with _sqlite_of(path) as raw:
        raw.execute("DELETE FROM tasks")
    # The next log has another inode.
    path.with_name("in the place of the last log").touch()
    store.carry_out([AddRequest([new_task("v")], 0.0)])
    rows, _ = store.page(RowQuery(after=1))
    assert [row.task.uuid for row in rows] == ["v"]


def test_foreign_file(tmp_path: Path) -> None:
    """
    What is no database, or another program's, is refused and left as it is.
    """
    path = tmp_path / "tasks"
    path.write_bytes(b"something else" * 500)
    assert "is no database of created tasks" in _refused(path)
    assert path.read_bytes() == b"something else" * 500
    path = tmp_path / "other"
    with _sqlite_of(path) as raw:
        raw.execute("CREATE TABLE tasks (x)")
    before = path.read_bytes()
    assert _refused(path) == f"{path} is another program's database"
    assert path.read_bytes() == before


def test_newer_version(store: TaskStore, path: Path) -> None:
    """
    A file of a newer version is refused, and left as it is.
    """
    store.close()
    with _sqlite_of(path) as raw:
        raw.execute("PRAGMA user_version = 9")
    text = f"the tasks in {path} are of version 9, and this quebert knows up to 1"
    assert _refused(path) == f"{text}: use a newer quebert"


def test_no_folder(tmp_path: Path) -> None:
    """
    A file that cannot be made is refused.
    """
    path = tmp_path / "none" / "tasks"
    assert _refused(path) == f"{path}: No such file or directory"
    assert "directory" in _refused(tmp_path)


def test_in_use(store: TaskStore, path: Path) -> None:
    """
    A file that another process has is refused at once.
    """
    text = f"another process has the tasks in {path}: end it, or use another file"
    assert _refused(path) == text
    link = path.with_name("link")
    link.symlink_to(path)
    assert _refused(link) == text
    _works(store)


def test_locked(store: TaskStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A file that another program has locked is tried again with each request.
    """
    store.close()
    monkeypatch.setattr(_sqlite, "LOCK_LIMIT", 0.1)
    with _sqlite_of(path) as raw:
        raw.execute("BEGIN EXCLUSIVE")
        assert _fails(store) == f"the tasks in {path}: database is locked"
    _works(store)
    with _sqlite_of(path) as raw:
        raw.execute("BEGIN IMMEDIATE")
        assert _fails(store, "w") == f"the tasks in {path}: database is locked"
    _works(store, "w")


def test_full_disk(store: TaskStore, path: Path) -> None:
    """
    Nothing of a group is there for which the disk has no room, and the next one is
    tried.
    """
    database: Any = store._database
    database._writer.execute("PRAGMA max_page_count = 1").fetchone()
    big = AddRequest([new_task(str(n), body=bytes(9_000)) for n in range(9)], 0.0)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.carry_out([FindRequest("u"), big])
    assert [r.task.uuid for r in store.page(RowQuery())[0]] == ["u"]
    database._writer.execute("PRAGMA max_page_count = 1000000").fetchone()
    _works(store)


def test_file_too_large(store: TaskStore, path: Path) -> None:
    """
    The same, where the system refuses to write.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = new_task("big", body=bytes(1_000_000))
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(sqlite3.OperationalError) as caught:
            store.carry_out([AddRequest([ignored], 0.0)])
        assert str(path) in str(store.problem_of(caught.value))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    _works(store)
    assert len(store.page(RowQuery())[0]) == 2


def test_removed(store: TaskStore, path: Path) -> None:
    """
    While the file is gone, or another is in its place, nothing is promised.
    """
    aside = path.with_name("aside")
    os.rename(path, aside)
    assert (
        _fails(store) == f"{path} is gone while quebert runs: No such file or directory"
    )
    path.write_bytes(b"")
    assert _fails(store, "w") == f"{path} was replaced while quebert ran"
    os.rename(aside, path)
    _works(store, "x")


def test_stays_small(store: TaskStore, path: Path) -> None:
    """
    Bodies of tasks that have ended are dropped, rows go, and their room is used again.
    """

    def round_(n: int) -> None:
        tasks = [new_task(f"{n}-{m}", body=bytes(3_000)) for m in range(200)]
        ends = [TaskChange(uuid=t.uuid, event=END, held_until=1.0) for t in tasks]
        store.carry_out([AddRequest(tasks, 0.0)])
        store.carry_out([ChangeRequest(ends), SweepRequest(1.0)])

    sizes = []
    for n in range(6):
        round_(n)
        database: Any = store._database
        sizes.append(database._writer.execute("PRAGMA page_count").fetchone()[0])
    assert sizes[-1] == sizes[1]


def test_bodies_go(store: TaskStore) -> None:
    """
    The room of a body is free once its task has ended.
    """
    tasks = [new_task(f"{m}", body=bytes(100_000)) for m in range(20)]
    store.carry_out([AddRequest(tasks, 0.0)])
    ends = [TaskChange(uuid=t.uuid, event=END, held_until=1.0) for t in tasks]
    store.carry_out([ChangeRequest(ends)])
    database: Any = store._database
    (free,) = database._writer.execute("PRAGMA freelist_count").fetchone()
    assert free * 4096 > 1_900_000


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (RowQuery(), "PRIMARY KEY"),
        (RowQuery(states=("new",), before=5.0), "tasks_begun"),
        (RowQuery(states=("deleting",)), "tasks_begun"),
        (RowQuery(queue="q", states=("new", "published")), "tasks_living"),
        (RowQuery(queue="q", states=("ended",), after=7), "tasks_over"),
        (RowQuery(queue="q", name="n"), "tasks_name"),
    ],
)
def test_indexes(store: TaskStore, query: RowQuery, index: str) -> None:
    """
    Lists are read by indexes.
    """
    where, values = conditions_of(query, "?")
    text = f"EXPLAIN QUERY PLAN SELECT * FROM tasks{where} ORDER BY id LIMIT 5"
    database: Any = store._database
    plan = database._writer.execute(text, values).fetchall()
    assert index in str(plan)
    assert "SCAN" not in str(plan)
    assert set(query.states) <= set(STATES)


def test_slow_list(store: TaskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A list that takes too long is ended; what is written is not held up.
    """
    store.page(RowQuery())
    monkeypatch.setattr(_sqlite, "QUERY_LIMIT", -1.0)
    many = [new_task(str(n)) for n in range(30_000)]
    store.carry_out([AddRequest(many, 0.0)])
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        store.page(RowQuery(before=-1.0))
    change = TaskChange(uuid="u", event=PUBLISH)
    assert store.carry_out([ChangeRequest([change])]) != [[None]]
