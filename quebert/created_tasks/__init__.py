"""
Tasks that are created over HTTP: each has a row in a database from before it is
published until its name is free again.

  - C{_states}: the states of a task and their changes, as one table.
  - C{_created_tasks}: creates, deletes, and goes on after a kill; L{WINDOW} says how
    long a name is held.  It has C{_publications} publish tasks, and C{_deletions}
    delete them.  C{_in_hand} knows the tasks with which this process is busy, and
    C{_row_pages} reads those with which it goes on.
  - C{_deletions_read}: waits until the note of a deletion is read.
  - C{_unended}: ends rows whose end nobody will tell; its constants say when.
  - C{_requested}: from the fields of a request to a task.
  - C{_boundaries}: the roles that this room needs: L{TaskRows}, which
    L{quebert.task_store} fills, and L{TaskBroker}, by C{web/cluster/_task_broker}.
"""

from quebert.created_tasks._boundaries import TaskBroker, TaskRows
from quebert.created_tasks._created_tasks import WINDOW, CreatedTasks
from quebert.created_tasks._requested import requested
from quebert.created_tasks._states import (
    CHANGES,
    DELETED,
    DELETING,
    ENDED,
    EVENTS,
    LIVING,
    NEW,
    PUBLISH,
    PUBLISHED,
    STATES,
    Change,
    is_changed_by,
)
from quebert.created_tasks._unended import UNKNOWN
from quebert.created_tasks._values import (
    CreatedTask,
    NewTask,
    RowQuery,
    Standing,
    TaskChange,
)
from quebert.task_ends import DeletionNote, EndNote

__all__ = [
    "CHANGES",
    "DELETED",
    "DELETING",
    "ENDED",
    "EVENTS",
    "LIVING",
    "NEW",
    "PUBLISH",
    "PUBLISHED",
    "STATES",
    "UNKNOWN",
    "WINDOW",
    "Change",
    "CreatedTask",
    "CreatedTasks",
    "DeletionNote",
    "EndNote",
    "NewTask",
    "RowQuery",
    "Standing",
    "TaskBroker",
    "TaskChange",
    "TaskRows",
    "is_changed_by",
    "requested",
]
