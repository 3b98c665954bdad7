"""
The rows of tasks that are created over HTTP, and of leases, in SQLite or PostgreSQL.

  - C{_lease_rows}: the rows of leases, in the same database.
  - C{_rows}: gathers requests into groups, and tells callers how it went; its
    C{MOST_ROWS} and C{MOST_BYTES} bound one transaction.
  - C{_store}: carries out a group in one transaction, on a thread; its C{SWEPT} bounds
    the rows that are removed at a time.
  - C{_sqlite}, C{_postgresql}: all that differs between them.
  - C{_schema}: the tables, and their versions.

To keep something more of a task: a column in C{_schema}, as another version, and both
directions in C{_encoding}; of its end: a field of L{EndNote
<quebert.created_tasks.EndNote>} with a default, and nothing here.  To add a kind of
database: a C{TaskDatabase} (C{_boundaries}) beside C{_sqlite}, its tables in
C{_schema}, its URL in C{_opening}; C{cli/_web}, C{config/_cluster_web} and
C{docs/web.rst}, which name both kinds.
"""

from quebert.task_store._lease_rows import StoredLeaseRows
from quebert.task_store._opening import open_task_rows
from quebert.task_store._rows import StoredTaskRows

__all__ = ["StoredLeaseRows", "StoredTaskRows", "open_task_rows"]
