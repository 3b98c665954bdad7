"""
All that the ledger asks of its database, as functions for threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from quebert.history import _looking, _search
from quebert.history._database import HistoryDatabase
from quebert.history._migrating import migrate
from quebert.history._problems import is_of_the_records, problem_of
from quebert.history._retaining import remove_slice
from quebert.history._values import Retention, Write
from quebert.history._writing import EntryWriter

__all__ = ["HistoryStore"]

P = ParamSpec("P")
T = TypeVar("T")


class HistoryStore:
    """
    All that the history asks of its database.  One thread at a time writes; several
    read.

    @raise ConfigError: there is no such kind of database.
    """

    def __init__(self, url: str) -> None:
        self._database = HistoryDatabase(url)
        self._writer = EntryWriter(self._database)
        self.find_tasks = self._reads(_search.find_tasks)
        self.life_of = self._reads(_looking.life_of)
        self.tries_of = self._reads(_looking.tries_of)
        self.attempts_of = self._reads(_looking.attempts_of)
        self.latency = self._reads(_looking.latency)
        self.totals = self._reads(_looking.totals)
        self.due = self._reads(_looking.due)
        self.gaps_between = self._reads(_looking.gaps_between)
        self.positions = self._reads(_looking.positions)
        self.abort = self._database.abort
        self.close = self._database.close

    def open(self) -> None:
        """
        Make the tables, or bring them up to date; no other process does meanwhile.

        @raise HistoryRefused: the database is of a newer version, or another program's.
        """
        self._database.make()
        with self._database.migrating() as connection:
            migrate(connection, self._database.where)

    def write(self, writes: Sequence[Write]) -> None:
        """
        Write all, or nothing if that fails.
        """
        self._writer.write(writes)

    def refuse(self, write: Write) -> None:
        """
        Note that the records cannot be written.
        """
        self._writer.write([write], without_records=True)

    def retain(self, retention: Retention, now: float) -> bool:
        """
        Remove a slice of the entries that are too old, or too many.

        @return: whether there may be more.
        """
        more = remove_slice(self._database, retention, now)
        return self._database.vacuum() or more

    def problem_of(self, error: BaseException) -> str:
        """
        Describe an error of the database in one sentence.
        """
        return problem_of(error, self._database.where)

    def is_of_the_records(self, error: BaseException) -> bool:
        """
        Whether the records are the cause of an error, rather than the database.
        """
        return is_of_the_records(error)

    def _reads(self, work: Callable[Concatenate[Connection, P], T]) -> Callable[P, T]:
        def read(*args: P.args, **kwargs: P.kwargs) -> T:
            with self._database.reading() as connection:
                return work(connection, *args, **kwargs)

        return read
