"""
Where mediators leave the tasks that have ended, until the next batch.
"""

from __future__ import annotations

from quebert.events._columns import Columns
from quebert.events._ended_tasks import columns_of
from quebert.task_events import EndedTask, TaskRecorder

__all__ = ["Recorder"]


class Recorder:
    """
    The tasks of all queues of a process.
    """

    def __init__(self) -> None:
        self._ended: dict[str, list[EndedTask]] = {}

    def of(self, queue: str) -> TaskRecorder:
        """
        Give a function that records tasks of a queue.  A call costs an append.
        """
        return self._ended.setdefault(queue, []).append

    def take(self) -> Columns:
        """
        The tasks that have ended since this was called last.
        """
        ended = {queue: tasks.copy() for queue, tasks in self._ended.items() if tasks}
        for tasks in self._ended.values():
            tasks.clear()
        return columns_of(ended)
