"""
Tests for L{quebert.task_store._lease_rows}: what is true of rows of leases in memory is
true of those in a database.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import psycopg
import pytest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SkipTest

from quebert.leases import LeaseRows
from quebert.task_store import StoredLeaseRows, StoredTaskRows
from quebert.task_store._postgresql import PostgreSQLTasks
from quebert.task_store._sqlite import SQLiteTasks
from quebert.task_store._store import TaskStore
from quebert.test.doubles import ThreadClock, WorkThreads
from quebert.test.leases import test_leases
from quebert.test.postgresql import PostgreSQLServer


class SQLiteLeasesTests(test_leases.LeasesTests):
    """
    Rows in a file.
    """

    def new_store(self) -> TaskStore:
        """
        A database that has nothing yet.
        """
        folder = self.enterContext(tempfile.TemporaryDirectory())
        return TaskStore(SQLiteTasks(str(Path(folder) / "tasks.sqlite")))

    def new_rows(self) -> LeaseRows:
        """
        Its rows.
        """
        self.turns = ThreadClock()
        store = self.new_store()
        self.addCleanup(store.close)
        any_pool: Any = lambda threads, name: WorkThreads()  # noqa: E731
        rows = StoredTaskRows(store, self.turns, any_pool)
        starting = Deferred.fromCoroutine(rows.start())
        self.settle()
        self.successResultOf(starting)
        return StoredLeaseRows(rows)

    def settle(self) -> None:
        """
        Let some turns end.
        """
        for _ in range(30):
            self.turns.advance(0)


class PostgreSQLLeasesTests(SQLiteLeasesTests):
    """
    Rows in a schema.
    """

    url = ""

    @pytest.fixture(autouse=True)
    def server(self, postgresql: PostgreSQLServer) -> None:
        """
        Make one database for all tests; trial knows no fixtures.
        """
        if not self.url:
            type(self).url = postgresql.new_database()

    def new_store(self) -> TaskStore:
        """
        A new schema.
        """
        if not self.url:
            raise SkipTest("pytest starts PostgreSQL")
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS quebert_tasks CASCADE")
        return TaskStore(PostgreSQLTasks(self.url))
