"""
The methods of single tasks, and of lists.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import uuid4

from quebert.created_tasks import LIVING, CreatedTask, CreatedTasks, NewTask, RowQuery
from quebert.errors import QuebertError
from quebert.operations import NOT_FOUND
from quebert.web._tokens import Grant
from quebert.web.cloud_tasks._enums import TaskView
from quebert.web.cloud_tasks._errors import CloudTasksError, Code
from quebert.web.cloud_tasks._known_tasks import KnownTasks, is_purged
from quebert.web.cloud_tasks._messages import (
    CreateTaskRequest,
    Empty,
    GetTaskRequest,
    ListTasksRequest,
    ListTasksResponse,
    NameRequest,
    TaskMessage,
)
from quebert.web.cloud_tasks._names import QueueName
from quebert.web.cloud_tasks._pages import number_in, page_size, page_token
from quebert.web.cloud_tasks._sentences import error_of
from quebert.web.cloud_tasks._task_values import task_message

__all__ = ["TaskMethods", "created_task"]

# Tasks of a page: each is read from the database with its body.
_MOST_LISTED = 100
_DELETE = "cloudtasks.tasks.delete"


class TaskMethods:
    """
    Creates tasks, shows and deletes them.
    """

    def __init__(self, tasks: CreatedTasks, known: KnownTasks) -> None:
        self._tasks = tasks
        self._known = known

    @property
    def handlers(self) -> Mapping[str, Callable[[Any, Grant], Awaitable[Any]]]:
        """
        The functions, by the methods that they answer.
        """
        return {
            "CreateTask": self._create,
            "GetTask": self._get,
            "ListTasks": self._list,
            "DeleteTask": self._delete,
            "RunTask": self._run,
        }

    async def _create(self, request: CreateTaskRequest, grant: Grant) -> TaskMessage:
        name = self._known.names.queue(request.parent)
        await self._known.queue(name, grant, "cloudtasks.tasks.create")
        new = self._known.new(name, request, str(uuid4()))
        [result] = await self._tasks.create([new])
        return created_task(name, new, result, request.response_view)

    async def _get(self, request: GetTaskRequest, grant: Grant) -> TaskMessage:
        name = self._known.names.task(request.name)
        view = self._known.check_view(request.response_view, name.queue, grant)
        row = await self._known.row(name, grant, "cloudtasks.tasks.get")
        [found] = await self._known.messages([row], name.queue, view)
        return found

    async def _run(self, request: GetTaskRequest, grant: Grant) -> TaskMessage:
        name = self._known.names.task(request.name)
        row = await self._known.row(name, grant, "cloudtasks.tasks.run")
        done = await self._tasks.run_now(row.task.uuid)
        if done.result == NOT_FOUND and row.task.due > self._known.now():
            text = "the task was not found in RabbitMQ: it may be ending, or on its way"
            raise CloudTasksError(Code.UNAVAILABLE, text)
        view = request.response_view or TaskView.BASIC
        [found] = await self._known.messages([row], name.queue, view)
        return found

    async def _delete(self, request: NameRequest, grant: Grant) -> Empty:
        name = self._known.names.task(request.name)
        row = await self._known.row(name, grant, _DELETE, body=False)
        await self._tasks.delete(row.task.uuid, grant.name)
        return Empty()

    async def _list(self, request: ListTasksRequest, grant: Grant) -> ListTasksResponse:
        name = self._known.names.queue(request.parent)
        view = self._known.check_view(request.response_view, name, grant)
        queue = await self._known.queue(name, grant, "cloudtasks.tasks.list")
        scope = f"tasks {queue.name}"
        query = RowQuery(
            queue=queue.name,
            states=LIVING,
            after=number_in(scope, request.page_token),
            size=page_size(request.page_size, _MOST_LISTED),
        )
        rows, after = await self._tasks.page(query)
        shown = [each for each in rows if not is_purged(each, queue)]
        found = await self._known.messages(shown, name, view)
        token = page_token(scope, str(after)) if after else ""
        return ListTasksResponse(tasks=tuple(found), next_page_token=token)


def created_task(
    queue: QueueName, new: NewTask, result: CreatedTask | QuebertError, view: TaskView
) -> TaskMessage:
    """
    The answer to a request to create a task.

    @param result: what L{CreatedTasks.create} says.
    @raise CloudTasksError: it is not created.
    """
    if isinstance(result, QuebertError):
        raise error_of(result) from None
    # One that was created by an earlier request may have ended, and has no body then.
    shown = result if result.task.body else new
    return task_message(shown, queue, view or TaskView.BASIC)
