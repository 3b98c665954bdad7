"""
L{MemoryRows} does what databases do.
"""

from __future__ import annotations

from quebert.test.created_tasks.doubles import MemoryRows
from quebert.test.task_store import contract


class MemoryRowsTests(contract.TaskRowsContract):
    """
    Rows in memory.
    """

    def new_rows(self) -> MemoryRows:
        """
        Rows in a new dict.
        """
        return MemoryRows()
