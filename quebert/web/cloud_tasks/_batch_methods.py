"""
The methods of several tasks at once.

Each answers an Operation that is done: the server keeps none.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from twisted.internet.defer import Deferred, gatherResults

from quebert._lanes import Lanes
from quebert.created_tasks import CreatedTasks, NewTask
from quebert.errors import QuebertError
from quebert.web._tokens import Grant
from quebert.web.cloud_tasks._enums import BatchState, DeleteState
from quebert.web.cloud_tasks._errors import CloudTasksError, Code
from quebert.web.cloud_tasks._known_tasks import KnownTasks
from quebert.web.cloud_tasks._messages import (
    BatchCreateTasksMetadata,
    BatchCreateTasksRequest,
    BatchCreateTasksResponse,
    BatchDeleteTasksMetadata,
    BatchDeleteTasksRequest,
    Empty,
    OperationMessage,
    StatusMessage,
    TaskMessage,
)
from quebert.web.cloud_tasks._names import QueueName
from quebert.web.cloud_tasks._proto import written
from quebert.web.cloud_tasks._scalars import SECOND
from quebert.web.cloud_tasks._sentences import error_of, invalid
from quebert.web.cloud_tasks._task_methods import created_task

__all__ = ["BatchMethods"]

# Tasks of a batch that are deleted at once.
_AT_ONCE = 16
_DELETE = "cloudtasks.tasks.delete"


class BatchMethods:
    """
    Creates and deletes tasks.
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
            "BatchCreateTasks": self._create,
            "BatchDeleteTasks": self._delete,
        }

    # -- Creating

    async def _create(
        self, request: BatchCreateTasksRequest, grant: Grant
    ) -> OperationMessage:
        queue = self._known.names.queue(request.parent)
        await self._known.queue(queue, grant, "cloudtasks.tasks.create")
        _check_length("requests", request.requests, self._known.limits.batch_create)
        start = self._known.now()
        results: dict[int, TaskMessage | CloudTasksError] = {}
        new: dict[int, NewTask] = {}
        for number in range(len(request.requests)):
            try:
                new[number] = self._new(queue, request, number)
            except CloudTasksError as e:
                results[number] = e
        created = await self._tasks.create(list(new.values()))
        for number, result in zip(new, created, strict=True):
            view = request.requests[number].response_view
            try:
                results[number] = created_task(queue, new[number], result, view)
            except CloudTasksError as e:
                results[number] = e
        return self._created(queue, start, [results[n] for n in sorted(results)])

    def _new(
        self, queue: QueueName, batch: BatchCreateTasksRequest, number: int
    ) -> NewTask:
        """
        One of the tasks.  A batch with a C{request_id} that comes again has the same
        uuids, and so it creates nothing.
        """
        request = batch.requests[number]
        if request.parent not in ("", batch.parent):
            raise invalid("parent must be the one of the batch, or empty.")
        if not batch.request_id:
            return self._known.new(queue, request, str(uuid4()))
        uuid = uuid5(NAMESPACE_URL, f"{queue}\n{batch.request_id}\n{number}")
        plain = json.dumps(written(request), sort_keys=True)
        digest = sha256(plain.encode()).digest()
        return self._known.new(queue, request, str(uuid), digest)

    def _created(
        self,
        queue: QueueName,
        start: float,
        results: Sequence[TaskMessage | CloudTasksError],
    ) -> OperationMessage:
        failed = _failed(results)
        metadata = BatchCreateTasksMetadata(
            start_time=round(start * SECOND),
            end_time=round(self._known.now() * SECOND),
            state=BatchState[_state(failed, results)],
            failed_requests=failed,
        )
        tasks = tuple(each for each in results if isinstance(each, TaskMessage))
        return _operation(queue, metadata, BatchCreateTasksResponse(tasks=tasks))

    # -- Deleting

    async def _delete(
        self, request: BatchDeleteTasksRequest, grant: Grant
    ) -> OperationMessage:
        queue = self._known.names.queue(request.parent)
        await self._known.queue(queue, grant, _DELETE)
        _check_length("names", request.names, self._known.limits.batch_delete)
        start = self._known.now()
        places = Lanes(_AT_ONCE)

        def deleting(name: str) -> Deferred[CloudTasksError | None]:
            return Deferred.fromCoroutine(self._result(queue, name, grant))

        results: list[CloudTasksError | None] = await gatherResults(
            [places.run(deleting, name) for name in request.names], consumeErrors=True
        )
        failed = _failed(results)
        metadata = BatchDeleteTasksMetadata(
            start_time=round(start * SECOND),
            end_time=round(self._known.now() * SECOND),
            state=DeleteState[_state(failed, results)],
            failed_requests=failed,
        )
        return _operation(queue, metadata, Empty())

    async def _result(
        self, queue: QueueName, text: str, grant: Grant
    ) -> CloudTasksError | None:
        """
        Delete one of the tasks.

        @return: why not; C{None} where it is deleted.
        """
        try:
            name = self._known.names.task(text)
            if name.queue != queue:
                return invalid(f"the task is none of the queue '{queue}'.")
            row = await self._known.row(name, grant, _DELETE, body=False)
            await self._tasks.delete(row.task.uuid, grant.name)
        except CloudTasksError as e:
            return e
        except QuebertError as e:
            return error_of(e)
        return None


def _check_length(field: str, given: Sequence[object], most: int) -> None:
    if not 0 < len(given) <= most:
        raise invalid(f"{field} must be 1 to {most}, not {len(given)}.")


def _failed(results: Sequence[object]) -> dict[str, StatusMessage]:
    return {
        str(number): StatusMessage(code=int(each.code), message=each.message)
        for number, each in enumerate(results)
        if isinstance(each, CloudTasksError)
    }


def _state(failed: Mapping[str, object], results: Sequence[object]) -> str:
    if not failed:
        return "SUCCEEDED"
    return "FAILED" if len(failed) == len(results) else "PARTIALLY_SUCCEEDED"


def _operation(queue: QueueName, metadata: Any, response: Any) -> OperationMessage:
    """
    The operation of a batch.  Where nothing was done it is an error, as with Google.
    """
    error = None
    if metadata.state.name == "FAILED":
        kind = type(metadata).__name__
        text = f"None of the requests succeeded, refer to {kind}.failed_requests for"
        error = StatusMessage(
            code=int(Code.ABORTED), message=f"{text} individual error details"
        )
    return OperationMessage(
        name=f"{queue.location}/operations/{uuid4()}",
        metadata=metadata,
        done=True,
        error=error,
        response=None if error else response,
    )
