"""
Tests for L{quebert.task_store._lease_rows}: what is true of rows of leases in memory is
true of those in a database.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from quebert.leases import LeaseRows
from quebert.task_store import StoredLeaseRows
from quebert.task_store._sqlite import SQLiteTasks
from quebert.task_store._store import TaskStore
from quebert.test.doubles import ThreadClock
from quebert.test.leases import test_leases
from quebert.test.task_store import contract


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
        rows = contract.start_rows(self, self.new_store(), self.turns)
        return StoredLeaseRows(rows)

    def settle(self) -> None:
        """
        Let some turns end.
        """
        for _ in range(30):
            self.turns.advance(0)


class PostgreSQLLeasesTests(contract.StoreInPostgreSQL, SQLiteLeasesTests):
    """
    Rows in a schema.
    """
