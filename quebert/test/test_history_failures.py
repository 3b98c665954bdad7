"""
The history while its database fails, and after its process was killed.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from quebert import _database_threads
from quebert.errors import HistoryError
from quebert.history import (
    HistoryLedger,
    Retention,
    _database,
    _recorder,
    open_ledger,
)
from quebert.history._store import HistoryStore
from quebert.test import writing_history
from quebert.test.history_records import batch_of, record_of, uuid_of
from quebert.test.postgresql import PostgreSQLServer, find_postgresql
from quebert.test.support import PATIENCE, until

#: The tests happen in the past.
KEEP = Retention(age=None, size=None)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nothing is waited for as long as elsewhere.
    """
    monkeypatch.setattr(_recorder, "_LATE", 0.5)


@pytest.fixture(scope="module")
def own_postgresql() -> Iterator[PostgreSQLServer]:
    """
    A PostgreSQL that the tests of this module stop, and start again.
    """
    if find_postgresql() is None:
        pytest.skip("PostgreSQL is not installed: sh .ci/servers installs it")
    with PostgreSQLServer() as server:
        yield server


async def _goes_on(ledger: HistoryLedger, writing: Deferred[None], said: str) -> None:
    """
    The batch is not written, and the ledger says why.
    """
    await until(lambda: ledger.problem, shown=lambda: writing)
    assert said in ledger.problem
    assert "\n" not in ledger.problem
    assert not writing.called


async def _written(ledger: HistoryLedger, writing: Deferred[None], task: int) -> None:
    """
    The batch is written after all, and all is well.
    """
    await until(lambda: writing.called, shown=lambda: ledger.problem)
    assert ledger.problem == ""
    assert await ledger.task(uuid_of(task)) is not None


def _write(ledger: HistoryLedger, number: int) -> Deferred[None]:
    batch = batch_of(number, [record_of(number, answer="x" * 1000)])
    return Deferred.fromCoroutine(ledger.record(batch))


@pytest_twisted.inlineCallbacks
def test_locked(  # type: ignore[no-untyped-def]
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    A file that another process has locked is waited for; readers do not notice.
    """
    monkeypatch.setattr(_database, "LOCK_LIMIT", 0.1)

    async def work() -> None:
        ledger = await open_ledger(str(tmp_path / "h"), KEEP)
        await ledger.record(batch_of(1, [record_of(1)]))
        other = sqlite3.connect(tmp_path / "h", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        writing = _write(ledger, 2)
        await _goes_on(ledger, writing, "/h: database is locked")
        assert await ledger.task(uuid_of(1)) is not None
        other.close()
        await _written(ledger, writing, 2)
        await ledger.close()

    yield Deferred.fromCoroutine(work())


@pytest_twisted.inlineCallbacks
def test_full_disk(tmp_path: Path):  # type: ignore[no-untyped-def]
    """
    A full disk is waited for; readers do not notice.
    """

    async def work() -> None:
        store = HistoryStore(str(tmp_path / "h"))
        from twisted.internet import reactor

        ledger = HistoryLedger(store, KEEP, reactor)
        await ledger.start()
        await ledger.record(batch_of(1, [record_of(1)]))
        (raw, *_) = store._database._connections
        raw.execute("PRAGMA max_page_count = 1").fetchone()
        big = batch_of(2, [record_of(n, answer="x" * 1000) for n in range(200)])
        writing = Deferred.fromCoroutine(ledger.record(big))
        await _goes_on(ledger, writing, "/h: database or disk is full")
        assert await ledger.task(uuid_of(1)) is not None
        raw.execute("PRAGMA max_page_count = 1000000").fetchone()
        await _written(ledger, writing, 2)
        await ledger.close()

    yield Deferred.fromCoroutine(work())


@pytest_twisted.inlineCallbacks
def test_server_is_away(own_postgresql: PostgreSQLServer):  # type: ignore[no-untyped-def]
    """
    A PostgreSQL that ends is waited for, also at the start.
    """

    async def work() -> None:
        url = own_postgresql.new_database()
        ledger = await open_ledger(url, KEEP)
        await ledger.record(batch_of(1, [record_of(1)]))
        own_postgresql.stop()
        writing = _write(ledger, 2)
        await _goes_on(ledger, writing, "the history in postgresql")
        with pytest.raises(HistoryError, match="the history in postgresql"):
            await ledger.task(uuid_of(1))
        late = await open_ledger(url, KEEP)
        assert "Connection refused" in late.problem
        own_postgresql.start()
        await _written(ledger, writing, 2)
        await until(lambda: not late.problem)
        assert await late.task(uuid_of(2)) is not None
        await ledger.close()
        await late.close()

    yield Deferred.fromCoroutine(work())


@pytest_twisted.inlineCallbacks
def test_frozen_server(  # type: ignore[no-untyped-def]
    own_postgresql: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
):
    """
    A PostgreSQL that says nothing any more keeps nobody waiting for ever.
    """

    async def work() -> None:
        ledger = await open_ledger(own_postgresql.new_database(), KEEP)
        await ledger.record(batch_of(1, [record_of(1)]))
        assert await ledger.task(uuid_of(1)) is not None
        monkeypatch.setattr(_database_threads, "_LIMIT", 0.5)
        with own_postgresql.frozen():
            writing = _write(ledger, 2)
            asking = Deferred.fromCoroutine(ledger.task(uuid_of(1)))
            await _goes_on(ledger, writing, "the history in postgresql")
            with pytest.raises(HistoryError):
                await asking
        monkeypatch.setattr(_database_threads, "_LIMIT", PATIENCE)
        await _written(ledger, writing, 2)
        await ledger.close()

    yield Deferred.fromCoroutine(work())


def test_kill(history_url: str) -> None:
    """
    A process that is killed again and again while it writes loses nothing that it said
    was written, and has nothing twice.
    """
    chance, last = random.Random(19), 0
    command = [sys.executable, "-m", writing_history.__name__, history_url]
    for _ in range(3):
        with subprocess.Popen(
            # What was written last is sent again, as by a broker.
            [*command, str(max(0, last - 3))],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(3, 20)):
                last = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            for line in process.stdout:
                last = int(line)
    store = HistoryStore(history_url)
    store.open()
    (counted,) = (each["done"] for each in store.totals(None).values())
    assert counted % writing_history.SIZE == 0
    assert counted // writing_history.SIZE in (last, last + 1)
    assert store.gaps_between(None, None) == []
    for number in range(1, last + 3):
        records = [record_of(n) for n in range(writing_history.SIZE)]
        store.write([batch_of(number, records)])
    assert store.totals(None) == {"mail": {"done": (last + 2) * writing_history.SIZE}}
    life = store.life_of(uuid_of(3))
    assert life is not None
    assert len(life.attempts) == last + 2
    store.close()


def test_several_writers(history_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Several processes write the same batches into one database, which has each once.
    """
    # The last one waits for all that the others do, in threads of the same process.
    monkeypatch.setattr(_database, "LOCK_LIMIT", PATIENCE)
    stores = [HistoryStore(history_url) for _ in range(3)]
    batches = [
        batch_of(n, [record_of(n, url=f"http://x/{n % 7}", queue=f"q{n % 5}")])
        for n in range(1, 40)
    ]
    errors: list[BaseException] = []

    def write(store: HistoryStore, seed: int) -> None:
        order = random.Random(seed).sample(batches, len(batches))
        try:
            store.open()
            for each in order:
                store.write([each])
        except BaseException as e:
            errors.append(e)

    threads = [Thread(target=write, args=(s, n)) for n, s in enumerate(stores)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert errors == []
    found = stores[0].totals(None)
    assert sum(each["done"] for each in found.values()) == len(batches)
    assert stores[0].gaps_between(None, None) == []
    for store in stores:
        store.close()
