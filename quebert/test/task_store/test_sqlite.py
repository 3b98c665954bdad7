"""
Created tasks in SQLite files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from quebert.task_store import StoredTaskRows
from quebert.task_store._sqlite import SQLiteTasks
from quebert.task_store._store import TaskStore
from quebert.test.checks import EXAMPLES, QUICK
from quebert.test.doubles import ThreadClock, WorkThreads
from quebert.test.task_store import contract


class SQLiteRowsTests(contract.TaskRowsContract):
    """
    Rows in a file.
    """

    def new_rows(self) -> StoredTaskRows:
        """
        Rows in a new file.
        """
        self.clock = ThreadClock()
        self.path = Path(self.mktemp())
        store = TaskStore(SQLiteTasks(str(self.path)))
        any_pool: Any = lambda threads, name: WorkThreads()  # noqa: E731
        rows = StoredTaskRows(store, self.clock, any_pool)
        starting = Deferred.fromCoroutine(rows.start())
        self.settle()
        self.successResultOf(starting)
        self.addCleanup(store.close)
        return rows

    def settle(self) -> None:
        """
        Let the turn end.
        """
        self.clock.advance(0)
        self.clock.advance(0)

    @settings(QUICK, max_examples=EXAMPLES // 2)
    @given(calls=st.lists(contract.CALLS, max_size=12), together=st.booleans())
    def test_as_in_memory(self, calls: list[tuple[Any, ...]], together: bool) -> None:
        """
        Whatever is asked for, alone or together, the answers are those of rows in
        memory.
        """
        self.compare(calls, together)
