"""
Created tasks in PostgreSQL.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import psycopg
import pytest
import pytest_twisted
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from quebert.created_tasks import RowQuery, Standing
from quebert.errors import ConfigError, TaskStoreError
from quebert.task_store import _postgresql, _rows, open_task_rows
from quebert.task_store._boundaries import (
    AddRequest,
    FindRequest,
    StandingRequest,
    TaskStoreInUse,
    TaskStoreRefused,
)
from quebert.task_store._postgresql import PostgreSQLTasks
from quebert.task_store._store import TaskStore
from quebert.test.checks import EXAMPLES, QUICK
from quebert.test.contract import patience
from quebert.test.created_tasks.doubles import new_task
from quebert.test.postgresql import PostgreSQLServer, find_postgresql
from quebert.test.support import until
from quebert.test.task_store import contract

Another: TypeAlias = Callable[[], TaskStore]


class PostgreSQLRowsTests(contract.StoreInPostgreSQL, contract.StoredRowsContract):
    """
    Rows in a schema.
    """

    @settings(QUICK, max_examples=EXAMPLES // 4)
    @given(calls=st.lists(contract.CALLS, max_size=12), together=st.booleans())
    def test_as_in_memory(self, calls: list[tuple[Any, ...]], together: bool) -> None:
        """
        Whatever is asked for, alone or together, the answers are those of rows in
        memory.
        """
        self.compare(calls, together)


@pytest.fixture
def store(postgresql: PostgreSQLServer) -> Iterator[TaskStore]:
    """
    A database with one row.
    """
    store = TaskStore(PostgreSQLTasks(postgresql.new_database()))
    store.carry_out([AddRequest([new_task()], 0.0)])
    yield store
    store.close()


@pytest.fixture
def another(store: TaskStore) -> Iterator[Another]:
    """
    Makes other stores of that database, which are closed in the end.
    """
    with contextlib.ExitStack() as stack:

        def make() -> TaskStore:
            other = TaskStore(PostgreSQLTasks(store.where))
            stack.callback(other.close)
            return other

        yield make


def _refused(store: TaskStore) -> str:
    with (
        contextlib.closing(TaskStore(PostgreSQLTasks(store.where))) as other,
        pytest.raises(TaskStoreRefused) as caught,
    ):
        other.carry_out([])
    return str(caught.value)


def test_newer_version(store: TaskStore) -> None:
    """
    A schema of a newer version is refused.
    """
    store.close()
    with psycopg.connect(store.where, autocommit=True) as connection:
        connection.execute("UPDATE quebert_tasks.version SET number = 9")
    text = "are of version 9, and this quebert knows up to 1: use a newer quebert"
    assert text in _refused(store)


def test_foreign_schema(postgresql: PostgreSQLServer) -> None:
    """
    Another program's schema is refused.
    """
    store = TaskStore(PostgreSQLTasks(postgresql.new_database()))
    with psycopg.connect(store.where, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA quebert_tasks")
        connection.execute("CREATE TABLE quebert_tasks.tasks (x int)")
    assert "another program's" in _refused(store)


def test_durable(store: TaskStore) -> None:
    """
    Each commit waits for the disk, whatever the server's default is.
    """
    with psycopg.connect(store.where, autocommit=True) as connection:
        connection.execute("ALTER ROLE postgres SET synchronous_commit = off")
        try:
            store.close()
            store.carry_out([])
            database: Any = store._database
            shown = database._writer.execute("SHOW synchronous_commit").fetchone()
        finally:
            connection.execute("ALTER ROLE postgres RESET synchronous_commit")
    assert shown == ("on",)


def test_connection_lost(store: TaskStore, another: Another) -> None:
    """
    Where PostgreSQL ends the connections the next group has new ones; another process
    that is quicker leads then.
    """
    assert _standing(store) == Standing(leads=True, is_alone=True)
    store.page(RowQuery())
    _end_connections(store)
    with pytest.raises(psycopg.OperationalError):
        store.carry_out([FindRequest("u")])
    with pytest.raises(psycopg.OperationalError):
        store.page(RowQuery())
    assert store.carry_out([FindRequest("u")]) != [None]
    assert len(store.page(RowQuery())[0]) == 1
    assert _standing(store) == Standing(leads=True, is_alone=True)
    _end_connections(store)
    other = another()
    assert _standing(other) == Standing(leads=True, is_alone=True)
    with pytest.raises(psycopg.OperationalError):
        store.carry_out([])
    assert _standing(store) == Standing(leads=False, is_alone=False, older=1)


def test_two(store: TaskStore, another: Another) -> None:
    """
    Two processes add rows; each name and each number is that of one, and one process
    leads, until it ends.
    """
    other = another()
    both = (store, other)
    assert _standing(store) == Standing(leads=True, is_alone=True)
    assert _standing(other) == Standing(leads=False, is_alone=False)
    assert _standing(store) == Standing(leads=True, is_alone=False, older=1)

    def add(number: int) -> int:
        added = 0
        for n in range(50):
            tasks = [new_task(f"{number}-{n}", name=f"n{n}"), new_task(f"{number}+{n}")]
            [[held, nothing]] = both[number].carry_out([AddRequest(tasks, 0.0)])
            assert nothing is None
            added += held is None
        return added

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(add, (0, 1))) == 50
    rows, _ = store.page(RowQuery(size=1_000))
    assert len(rows) == 1 + 150
    assert len({each.task.name for each in rows}) == 51
    store.close()  # PostgreSQL takes note of that a little later
    patience.until(lambda: _standing(other) == Standing(leads=True, is_alone=True))


def test_left(store: TaskStore, another: Another) -> None:
    """
    Rows that were there before any of the others began are theirs no more; also where
    a connection of theirs was lost meanwhile, and not where that is not known of one.
    """
    other, third = another(), another()
    _standing(other)
    store.carry_out([AddRequest([new_task(each) for each in "vw"], 0.0)])
    _standing(third)
    assert _standing(store).older == 1
    assert _standing(third).older == 0
    _end_connections(store)
    for each in (store, other, third):
        with pytest.raises(psycopg.OperationalError):
            each.carry_out([])
        _standing(each)
    assert _standing(store).older == 1
    other.close()  # PostgreSQL takes note of that a little later
    patience.until(lambda: _standing(store).older == 3)
    [found] = store.carry_out([FindRequest("v")])
    assert found.number == 2
    with psycopg.connect(store.where, autocommit=True) as older:
        older.execute("SELECT pg_advisory_lock_shared(%s)", [_postgresql.TASKS_LOCK])
        assert _standing(store).older == 0


def test_left_of_a_restored_database(store: TaskStore, another: Another) -> None:
    """
    Where an older state of the database is restored while a process has it, that
    process writes rows with lesser numbers.
    """
    other = another()
    _standing(other)
    assert _standing(store).older == 1
    with psycopg.connect(store.where, autocommit=True) as connection:
        connection.execute("UPDATE quebert_tasks.numbers SET last = 0")
    _end_connections(store)
    for each in (store, other):
        with pytest.raises(psycopg.OperationalError):
            each.carry_out([])
        _standing(each)
    assert _standing(store).older == 0


def test_older_process(store: TaskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A process of an older version, which knows of no others, is not disturbed.
    """
    store.close()
    with (
        psycopg.connect(store.where, autocommit=True) as older,
        monkeypatch.context() as patch,
    ):
        older.execute("SELECT pg_advisory_lock(%s)", [_postgresql.TASKS_LOCK])
        patch.setattr(_postgresql, "LOCK_LIMIT", 0.1)
        with pytest.raises(TaskStoreInUse, match="a process of an older version"):
            store.carry_out([])
    assert _standing(store) == Standing(leads=True, is_alone=True)


def _standing(store: TaskStore) -> Any:
    [found] = store.carry_out([StandingRequest()])
    return found


def _end_connections(store: TaskStore) -> None:
    query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    with psycopg.connect(store.where, autocommit=True) as connection:
        connection.execute(
            f"{query} WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@h:5/d?password=secret", "postgresql://u@h:5/d"),
        ("postgresql:///d", "postgresql:///d"),
        ("postgresql://h/d", "postgresql://h/d"),
    ],
)
def test_shown(url: str, shown: str) -> None:
    """
    Nobody is told a password.
    """
    assert PostgreSQLTasks(url).where == shown


def test_wrong_url() -> None:
    """
    A URL that is none is refused, without its password.
    """
    with pytest.raises(ConfigError) as caught:
        PostgreSQLTasks("postgresql://u:secret@h:port/d?x=%")
    assert str(caught.value) == "the URL of the tasks' database is wrong"


@pytest_twisted.inlineCallbacks
def test_away(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """
    A PostgreSQL that ends, or does not answer, fails requests in bounded time, also at
    the start; and all goes on once it is back.
    """
    if find_postgresql() is None:
        pytest.skip("PostgreSQL is not installed: sh .ci/servers installs it")
    monkeypatch.setattr(_rows, "ANSWER", 5.0)

    async def work() -> None:
        with PostgreSQLServer() as server:
            rows = await open_task_rows(server.url)
            assert await rows.add([new_task()], 0.0) == [None]
            server.stop()
            with pytest.raises(TaskStoreError, match="the tasks in postgresql"):
                await rows.add([new_task("v")], 0.0)
            await rows.close()
            rows = await open_task_rows(server.url)
            assert "Connection refused" in rows.problem
            server.start()
            await until_works(rows)
            with server.frozen():
                with pytest.raises(TaskStoreError, match="no answer in 5 s"):
                    await rows.add([new_task("w")], 0.0)
                with pytest.raises(TaskStoreError, match="no answer"):
                    await rows.find("u")
            await until_works(rows)
            assert await rows.find("u") is not None
            await rows.close()
        # Else it would end within a call of a thread, which the reactor that the next
        # test iterates would repeat.
        await deferLater(reactor, 0)

    yield Deferred.fromCoroutine(work())


async def until_works(rows: Any) -> None:
    """
    Ask until there is an answer.
    """
    told: list[object] = []

    def ask() -> bool:
        if not told:
            rows.find("u").addCallbacks(told.append, lambda _: None)
        return bool(told)

    await until(ask, shown=lambda: rows.problem)
