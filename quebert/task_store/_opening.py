"""
Opens the rows of created tasks; the driver is imported here, when it is needed.
"""

from __future__ import annotations

from typing import Any

from quebert._reactor import given_or_global
from quebert.errors import ConfigError
from quebert.task_store._boundaries import TaskDatabase
from quebert.task_store._rows import StoredTaskRows
from quebert.task_store._store import TaskStore

__all__ = ["open_store", "open_task_rows"]


async def open_task_rows(where: str, *, reactor: Any = None) -> StoredTaskRows:
    """
    Open the rows of created tasks, or begin some.  A database that is away, or that
    another process has, is tried again with each request; L{StoredTaskRows.problem}
    tells so.

    @param where: the path of a file, or C{postgresql://USER@HOST/DATABASE}.
    @raise ConfigError: there is no such kind of database, or a package is missing.
    @raise TaskStoreError: the database is another program's, or of a newer version, or
        the file cannot be made.
    """
    rows = StoredTaskRows(open_store(where), given_or_global(reactor))
    await rows.start()
    return rows


def open_store(where: str) -> TaskStore:
    """
    The same rows for threads; the database is opened when it is used.

    @raise ConfigError: there is no such kind of database, or a package is missing.
    """
    return TaskStore(_database(where))


def _database(where: str) -> TaskDatabase:
    scheme, found, rest = where.partition("://")
    if not found or scheme == "sqlite":
        from quebert.task_store._sqlite import SQLiteTasks

        return SQLiteTasks(rest.removeprefix("/") if found else where)
    if scheme in ("postgres", "postgresql"):
        try:
            from quebert.task_store._postgresql import PostgreSQLTasks
        except ModuleNotFoundError as e:
            package = (e.name or "").partition(".")[0]
            text = f"tasks in PostgreSQL need {package}: pip install"
            raise ConfigError(f"{text} 'quebert-mediator[postgresql]'") from e
        return PostgreSQLTasks(f"postgresql://{rest}")
    problem = f"tasks cannot be kept in {scheme}"
    raise ConfigError(f"{problem}: name a file, or postgresql://USER@HOST/DATABASE")
