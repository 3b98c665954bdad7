"""
Groups of requests in one transaction, and what they leave after a kill.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from quebert.created_tasks import ENDED, CreatedTask, RowQuery, TaskChange
from quebert.created_tasks._states import END
from quebert.errors import TaskStoreError
from quebert.task_store import _postgresql, _sqlite
from quebert.task_store._boundaries import (
    AddRequest,
    ChangeRequest,
    FindRequest,
    SweepRequest,
)
from quebert.task_store._opening import open_store
from quebert.task_store._store import TaskStore
from quebert.test.created_tasks.doubles import new_task
from quebert.test.task_store import adding_rows


@pytest.fixture
def store(history_url: str) -> Iterator[TaskStore]:
    """
    A database of each kind.
    """
    store = open_store(history_url)
    yield store
    store.close()


def _uuids(store: TaskStore, size: int = 100) -> list[str]:
    return [row.task.uuid for row in store.page(RowQuery(size=size))[0]]


def test_value_refused(store: TaskStore) -> None:
    """
    A request with something that no database takes fails alone.
    """
    wrong: dict[str, Any] = {"queue": 7}
    bad = attrs.evolve(new_task("bad"), **wrong)
    wrong = {"due": None}
    worse = attrs.evolve(new_task("worse"), **wrong)
    results = store.carry_out(
        [
            AddRequest([new_task("u"), new_task("v")], 0.0),
            AddRequest([new_task("w"), worse], 0.0),
            AddRequest([bad], 0.0),
            FindRequest("u"),
            AddRequest([new_task("x")], 0.0),
        ]
    )
    assert results[0] == [None, None]
    assert isinstance(results[1], TaskStoreError)
    assert str(results[1]).startswith(f"the tasks in {store.where}: ")
    assert "\n" not in str(results[1])
    assert isinstance(results[2], TaskStoreError)
    assert isinstance(results[3], CreatedTask)
    assert results[4] == [None]
    assert _uuids(store) == ["u", "v", "x"]


def test_few_transactions(store: TaskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    One bad request does not cost each of the others a commit of its own.
    """
    wrong: dict[str, Any] = {"due": None}
    bad = attrs.evolve(new_task("bad"), **wrong)
    tasks = [bad, *[new_task(str(n)) for n in range(255)]]
    begun: list[None] = []
    database = store._database
    writing = database.writing

    def counted() -> Any:
        begun.append(None)
        return writing()

    monkeypatch.setattr(database, "writing", counted)
    results = store.carry_out([AddRequest([each], 0.0) for each in tasks])
    assert isinstance(results[0], TaskStoreError)
    assert results[1:] == [[None]] * 255
    assert len(begun) < 20


def test_empty_group(store: TaskStore) -> None:
    """
    Nothing may be asked for.
    """
    assert store.carry_out([]) == []


def test_bodies_not_read(store: TaskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The body of a task that only ends is not read.
    """
    store.carry_out([AddRequest([new_task("u", body=b"x")], 0.0)])
    read: list[Any] = []
    database = store._database
    rows_of = database.rows_of

    def seen(wanted: Any) -> Any:
        found = rows_of(wanted)
        read.extend(found)
        return found

    monkeypatch.setattr(database, "rows_of", seen)
    store.carry_out([ChangeRequest([TaskChange(uuid="u", event=END, held_until=5.0)])])
    assert [each[-1] for each in read] == [b""]


def test_long_bodies(store: TaskStore) -> None:
    """
    A list is shorter where bodies are long, and the next one goes on.
    """
    tasks = [new_task(str(n), body=bytes(700)) for n in range(7)]
    store.carry_out([AddRequest(tasks, 0.0)])
    sizes = []
    after = -1
    while after:
        rows, after = store.page(RowQuery(after=max(after, 0), body_bytes=2_000))
        sizes.append([row.task.uuid for row in rows])
    assert sizes == [["0", "1", "2"], ["3", "4", "5"], ["6"]]


def test_sweep_between(store: TaskStore) -> None:
    """
    A sweep sees what was asked for before, and what is asked for after it does not see
    what is gone.
    """
    end = TaskChange(uuid="u", event=END, held_until=5.0)
    results = store.carry_out(
        [
            AddRequest([new_task("u", name="n")], 0.0),
            ChangeRequest([end]),
            SweepRequest(5.0),
            FindRequest("u"),
            AddRequest([new_task("u", name="n")], 0.0),
        ]
    )
    assert results[2:] == [1, None, [None]]


def test_slices(store: TaskStore) -> None:
    """
    A sweep removes a bounded number of rows, those that were to go first.
    """
    tasks = [new_task(str(n)) for n in range(1_005)]
    ends = [
        TaskChange(uuid=each.uuid, event=END, held_until=2_000.0 - n)
        for n, each in enumerate(tasks)
    ]
    store.carry_out([AddRequest(tasks, 0.0), ChangeRequest(ends)])
    assert store.carry_out([SweepRequest(1e9), SweepRequest(1e9)]) == [500, 500]
    assert _uuids(store) == ["0", "1", "2", "3", "4"]
    assert store.carry_out([SweepRequest(1e9), SweepRequest(1e9)]) == [5, 0]


def test_next_version(store: TaskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A database of an earlier version is brought up to date, with what is in it; the
    earlier quebert refuses it then.
    """
    store.carry_out([AddRequest([new_task()], 0.0)])
    store.close()
    with monkeypatch.context() as patch:
        for module, name in ((_sqlite, "SQLITE"), (_postgresql, "POSTGRESQL")):
            step = ["CREATE INDEX tasks_due ON tasks (due)"]
            patch.setattr(module, name, [*getattr(module, name), step])
        for _ in range(2):
            assert store.carry_out([FindRequest("u")]) != [None]
            store.close()
    with pytest.raises(
        TaskStoreError, match="are of version 2, and this quebert knows"
    ):
        store.carry_out([])


def _killed(where: str, rounds: int) -> None:
    chance = random.Random(rounds)
    added: set[str] = set()
    ended: set[str] = set()
    for n in range(rounds):
        command = [sys.executable, "-m", adding_rows.__name__, where, f"r{n}"]
        lines: list[str] = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines += [
                process.stdout.readline() for _ in range(chance.randrange(1, 200))
            ]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout
        told = [each.split() for each in lines if each.endswith("\n")]
        added |= {batch for batch, what in told if what == "added"}
        ended |= {batch for batch, what in told if what == "ended"}
        _check(where, added, ended)
    assert ended


def _check(where: str, added: set[str], ended: set[str]) -> None:
    store = open_store(where)
    store.carry_out([])
    batches: dict[str, list[CreatedTask]] = {}
    after = -1
    while after:
        rows, after = store.page(RowQuery(after=max(after, 0), size=1_000))
        for row in rows:
            batches.setdefault(row.task.uuid.rpartition("-")[0], []).append(row)
    store.close()
    assert added <= batches.keys()
    for batch, rows in batches.items():
        assert len(rows) == adding_rows.SIZE
        (state,) = {row.state for row in rows}
        assert state == ENDED or batch not in ended


def test_killed(history_url: str) -> None:
    """
    Whatever was told is there after a kill, and no half of what was not.
    """
    _killed(history_url, 2)


@pytest.mark.long
def test_killed_often(history_url: str) -> None:
    """
    The same, many times.
    """
    _killed(history_url, 40)
