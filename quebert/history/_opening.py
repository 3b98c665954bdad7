"""
Opens the history; SQLAlchemy and alembic are imported here, when they are needed.
"""

from __future__ import annotations

from typing import Any

from quebert._reactor import given_or_global
from quebert.errors import ConfigError
from quebert.history._ledger import HistoryLedger
from quebert.history._values import Retention

__all__ = ["open_ledger"]


async def open_ledger(
    url: str, retention: Retention | None = None, *, reactor: Any = None
) -> HistoryLedger:
    """
    Open the history, or begin one.  A PostgreSQL that cannot be reached now is tried
    again and again; L{HistoryLedger.problem} tells so.

    @param url: the path of a file, or C{postgresql://USER@HOST/DATABASE}.
    @param retention: how long entries are kept; by default nothing is removed.
    @raise ConfigError: there is no such kind of database, or a package is missing.
    @raise HistoryRefused: the database is of a newer version, or another program's.
    """
    extra = "postgresql" if url.startswith("postgres") else "history"
    try:
        from quebert.history._store import HistoryStore

        store = HistoryStore(url)
    except ModuleNotFoundError as e:
        package = (e.name or "").partition(".")[0]
        text = f"the history needs {package}: pip install 'quebert-mediator[{extra}]'"
        raise ConfigError(text) from e
    keeping = retention or Retention(age=None, size=None)
    ledger = HistoryLedger(store, keeping, given_or_global(reactor))
    await ledger.start()
    return ledger
