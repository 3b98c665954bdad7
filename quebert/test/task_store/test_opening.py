"""
Opening the rows of created tasks.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from quebert.created_tasks import NEW, RowQuery, Standing
from quebert.errors import ConfigError, TaskStoreClosed, TaskStoreError
from quebert.task_store import open_task_rows
from quebert.task_store._opening import open_store
from quebert.test.checks import refusal
from quebert.test.created_tasks.doubles import new_task


@pytest_twisted.inlineCallbacks
def test_opened(history_url: str):  # type: ignore[no-untyped-def]
    """
    Rows are there for the next one who opens them, at once in PostgreSQL; one who opens
    a file of another process is told so, and has it when that one closes it.
    """

    async def work() -> None:
        rows = await open_task_rows(history_url)
        assert rows.problem == ""
        assert await rows.add([new_task()], 0.0) == [None]
        other = await open_task_rows(history_url)
        if "://" not in history_url:
            assert "another process has the tasks" in other.problem
            with pytest.raises(TaskStoreClosed, match="another process has the tasks"):
                await other.find("u")
        await rows.close()
        with pytest.raises(TaskStoreError, match="are closed"):
            await rows.find("u")
        rows = other
        while await rows.standing() != Standing(leads=True, is_alone=True):
            await deferLater(reactor, 0.05)  # PostgreSQL notes the end a little later
        assert rows.problem == ""
        found, _ = await rows.page(RowQuery())
        assert [(row.task, row.state) for row in found] == [(new_task(), NEW)]
        await rows.close()
        await deferLater(reactor, 0)  # and not within a call of a thread

    yield Deferred.fromCoroutine(work())


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A file may be told as a URL, too.
    """
    monkeypatch.chdir(tmp_path)
    assert open_store("a").where == str(tmp_path / "a")
    assert open_store("sqlite:///a").where == str(tmp_path / "a")
    assert open_store(f"sqlite:///{tmp_path}/b").where == str(tmp_path / "b")


def test_unknown_kind() -> None:
    """
    Another kind of database is refused, and PostgreSQL without its driver.
    """
    text = refusal(ConfigError, open_store, "mysql://u:secret@h/d")
    wanted = "tasks cannot be kept in mysql: name a file, or postgresql://"
    assert text.startswith(wanted)


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What is missing is said, and how to install it.
    """
    monkeypatch.delitem(sys.modules, "quebert.task_store._postgresql", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    text = refusal(ConfigError, open_store, "postgresql://h/d")
    wanted = (
        "tasks in PostgreSQL need psycopg: pip install 'quebert-mediator[postgresql]'"
    )
    assert text == wanted
