"""
The history of all attempts, in SQLite or PostgreSQL.

To keep something more of an attempt: a column in C{_schema}, a migration in
C{migrations}, and both directions in C{_encoding}.  To answer another question: a
function in C{_looking}, its place in C{_store}, and a method of L{HistoryLedger}.  To
keep the history in another database: C{_database}, with all that differs between them,
and C{history} in C{config/_cluster_web}.
"""

from quebert.history._ledger import HistoryLedger
from quebert.history._opening import open_ledger
from quebert.history._values import (
    BUCKETS,
    LIVES,
    DueCount,
    DurationColumn,
    HistoryGap,
    HistoryPage,
    HistoryQuery,
    LatencyMap,
    LifeRecord,
    PastAttempt,
    Retention,
    TaskHistory,
    TaskSummary,
    TaskTries,
)

__all__ = [
    "BUCKETS",
    "LIVES",
    "DueCount",
    "DurationColumn",
    "HistoryGap",
    "HistoryLedger",
    "HistoryPage",
    "HistoryQuery",
    "LatencyMap",
    "LifeRecord",
    "PastAttempt",
    "Retention",
    "TaskHistory",
    "TaskSummary",
    "TaskTries",
    "open_ledger",
]
