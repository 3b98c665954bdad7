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

__all__ = ["open_task_rows"]


async def open_task_rows(where: str, *, reactor: Any = None) -> StoredTaskRows:
    """
    Open the rows of created tasks, or begin some.  A database that is away is tried
    again with each request; L{StoredTaskRows.problem} tells so.

    @param where: the path of a file, or C{postgresql://USER@HOST/DATABASE}.
    @raise ConfigError: there is no such kind of database, or a package is missing.
    @raise TaskStoreError: the database is another program's, of a newer version, or in
        use, or the file cannot be made.
    """
    rows = StoredTaskRows(TaskStore(_database(where)), given_or_global(reactor))
    await rows.start()
    return rows


def _database(where: str) -> TaskDatabase:
    scheme, found, rest = where.partition("://")
    if not found or scheme == "sqlite":
        from quebert.task_store._sqlite import SQLiteTasks

        return SQLiteTasks(rest.removeprefix("/") if found else where)
    problem = f"tasks cannot be kept in {scheme}"
    raise ConfigError(f"{problem}: name a file, or postgresql://USER@HOST/DATABASE")
