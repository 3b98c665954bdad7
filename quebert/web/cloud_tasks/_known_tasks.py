"""
The tasks and queues that there are, by their names in the Cloud Tasks API.

Theory of operation.  Each task that this API creates has a name: that which its client
has given, or its uuid.  So no other task of the queue can get the same name.  A task
that was created by another API may have no name, and is found by its uuid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from uuid import UUID

from quebert.created_tasks import LIVING, CreatedTask, CreatedTasks, NewTask, RowQuery
from quebert.errors import HistoryError, TaskUnknown
from quebert.history import TaskTries
from quebert.web._tokens import Grant
from quebert.web.cloud_tasks._boundaries import CloudQueue, CloudQueues, TriesOfTasks
from quebert.web.cloud_tasks._enums import TaskView
from quebert.web.cloud_tasks._limits import CloudTasksLimits
from quebert.web.cloud_tasks._messages import (
    CreateTaskRequest,
    TaskMessage,
)
from quebert.web.cloud_tasks._names import CloudNames, QueueName, TaskName
from quebert.web.cloud_tasks._rights import check
from quebert.web.cloud_tasks._sentences import (
    invalid,
    no_entity,
    no_longer,
    no_queue,
)
from quebert.web.cloud_tasks._task_values import new_task, task_message

__all__ = ["KnownTasks", "is_purged"]


class KnownTasks:
    """
    Finds tasks and queues, and says which ones may be created.

    @ivar names: reads names.
    @ivar limits: what is refused beyond them.
    @ivar now: gives the seconds since the epoch.
    """

    def __init__(
        self,
        tasks: CreatedTasks,
        queues: CloudQueues,
        now: Callable[[], float],
        names: CloudNames,
        limits: CloudTasksLimits,
        history: TriesOfTasks | None = None,
    ) -> None:
        self._tasks = tasks
        self._queues = queues
        self._history = history
        self.now = now
        self.names = names
        self.limits = limits

    async def queue(self, name: QueueName, grant: Grant, permission: str) -> CloudQueue:
        """
        A queue, for a client that has a permission.

        @raise CloudTasksError: there is none, or the client has not.
        """
        in_rabbitmq = self.names.in_rabbitmq(name)
        check(grant, permission, name, in_rabbitmq)
        queue = await self._queues.get(in_rabbitmq)
        if queue is None:
            raise no_queue()
        return queue

    def new(
        self,
        queue: QueueName,
        request: CreateTaskRequest,
        uuid: str,
        digest: bytes = b"",
    ) -> NewTask:
        """
        The task that a request is for.

        @raise CloudTasksError: there can be none such.
        """
        self.names.check_new(queue)
        message = request.task or TaskMessage()
        name = TaskName(queue, uuid)
        if message.name:
            name = self.names.task(message.name)
        if name.queue != queue:
            raise invalid(
                f"The queue name from request ('{queue}') must be the same as the queue"
                f" name in the named task ('{name.queue}')."
            )
        in_rabbitmq, now = self.names.in_rabbitmq(queue), self.now()
        return new_task(name, in_rabbitmq, uuid, message, now, self.limits, digest)

    def check_view(self, view: TaskView, name: QueueName, grant: Grant) -> TaskView:
        """
        The view of tasks that a client wants; without a body, where it says nothing.

        @raise CloudTasksError: the client may not see bodies.
        """
        if view == TaskView.FULL:
            in_rabbitmq = self.names.in_rabbitmq(name)
            check(grant, "cloudtasks.tasks.fullView", name, in_rabbitmq)
        return view or TaskView.BASIC

    async def row(
        self, name: TaskName, grant: Grant, permission: str, *, body: bool = True
    ) -> CreatedTask:
        """
        The row of a task that may run still.

        @param body: whether its body is needed, which may be large.
        @raise CloudTasksError: there is none.
        """
        queue = await self.queue(name.queue, grant, permission)
        row = await self._named(queue.name, name.task, body)
        if row is None or 0 < row.held_until <= self.now():
            raise no_entity()
        if row.state not in LIVING or is_purged(row, queue):
            raise no_longer()
        return row

    async def messages(
        self, rows: Sequence[CreatedTask], queue: QueueName, view: TaskView
    ) -> list[TaskMessage]:
        """
        Tasks of a queue, with their attempts; without any while the history does not
        answer.
        """
        tries: Mapping[str, TaskTries] = {}
        if rows and self._history is not None:
            with suppress(HistoryError):
                tries = await self._history.tries([each.task.uuid for each in rows])
        return [task_message(r, queue, view, tries.get(r.task.uuid)) for r in rows]

    async def _named(self, queue: str, task: str, body: bool) -> CreatedTask | None:
        query = RowQuery(queue=queue, name=task, size=1, bodies=body)
        rows, _ = await self._tasks.page(query)
        if rows:
            return rows[0]
        if not _is_uuid(task):
            return None
        try:
            row = await self._tasks.find(task)
        except TaskUnknown:
            return None
        return row if row.task.queue == queue and row.task.name is None else None


def is_purged(row: CreatedTask, queue: CloudQueue) -> bool:
    """
    Whether mediators drop a task, since its queue was purged.
    """
    return row.task.created < queue.purge_time


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
