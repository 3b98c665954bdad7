"""
The methods of the Cloud Tasks API, over REST and gRPC alike.

To add a method: its messages in C{_messages}, a line in L{METHODS}, its function in
C{_task_methods}, C{_batch_methods}, C{_queue_methods} or C{_other_methods}, and its
path in C{_rest}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from quebert.created_tasks import CreatedTasks
from quebert.errors import QuebertError
from quebert.web._tokens import Grant
from quebert.web.cloud_tasks import _messages as messages
from quebert.web.cloud_tasks._batch_methods import BatchMethods
from quebert.web.cloud_tasks._boundaries import CloudQueues
from quebert.web.cloud_tasks._errors import CloudTasksError, Code
from quebert.web.cloud_tasks._known_tasks import KnownTasks
from quebert.web.cloud_tasks._limits import CloudTasksLimits
from quebert.web.cloud_tasks._names import CloudNames
from quebert.web.cloud_tasks._other_methods import OtherMethods
from quebert.web.cloud_tasks._proto import read_message, written
from quebert.web.cloud_tasks._queue_methods import QueueMethods
from quebert.web.cloud_tasks._sentences import error_of
from quebert.web.cloud_tasks._task_methods import TaskMethods

__all__ = ["METHODS", "CloudMethod", "CloudTasks"]


@attrs.frozen
class CloudMethod:
    """
    A method of the API.

    @ivar request: the class of its request.
    @ivar response: the class of its answer.
    """

    request: type[Any]
    response: type[Any]


#: All methods.
METHODS: Mapping[str, CloudMethod] = {
    "CreateTask": CloudMethod(messages.CreateTaskRequest, messages.TaskMessage),
    "GetTask": CloudMethod(messages.GetTaskRequest, messages.TaskMessage),
    "RunTask": CloudMethod(messages.GetTaskRequest, messages.TaskMessage),
    "ListTasks": CloudMethod(messages.ListTasksRequest, messages.ListTasksResponse),
    "DeleteTask": CloudMethod(messages.NameRequest, messages.Empty),
    "BatchCreateTasks": CloudMethod(
        messages.BatchCreateTasksRequest, messages.OperationMessage
    ),
    "BatchDeleteTasks": CloudMethod(
        messages.BatchDeleteTasksRequest, messages.OperationMessage
    ),
    "CreateQueue": CloudMethod(messages.CreateQueueRequest, messages.QueueMessage),
    "UpdateQueue": CloudMethod(messages.UpdateQueueRequest, messages.QueueMessage),
    "GetQueue": CloudMethod(messages.NameRequest, messages.QueueMessage),
    "PauseQueue": CloudMethod(messages.NameRequest, messages.QueueMessage),
    "ResumeQueue": CloudMethod(messages.NameRequest, messages.QueueMessage),
    "PurgeQueue": CloudMethod(messages.NameRequest, messages.QueueMessage),
    "ListQueues": CloudMethod(messages.ListQueuesRequest, messages.ListQueuesResponse),
    "DeleteQueue": CloudMethod(messages.NameRequest, messages.Empty),
    "GetIamPolicy": CloudMethod(messages.IamRequest, messages.PolicyMessage),
    "SetIamPolicy": CloudMethod(messages.SetIamPolicyRequest, messages.PolicyMessage),
    "TestIamPermissions": CloudMethod(
        messages.TestIamPermissionsRequest, messages.PermissionsMessage
    ),
    "ListLocations": CloudMethod(messages.ListRequest, messages.ListLocationsResponse),
    "GetLocation": CloudMethod(messages.NameRequest, messages.LocationMessage),
    "GetOperation": CloudMethod(messages.NameRequest, messages.OperationMessage),
    "GetCmekConfig": CloudMethod(messages.NameRequest, messages.CmekConfig),
    "UpdateCmekConfig": CloudMethod(
        messages.UpdateCmekConfigRequest, messages.CmekConfig
    ),
}


class CloudTasks:
    """
    Answers requests.

    @param tasks: the tasks that are created over HTTP.
    @param queues: the queues that there are.
    @param now: gives the seconds since the epoch.
    @param names: reads the names of queues and tasks.
    @param limits: what is refused beyond them.
    """

    def __init__(
        self,
        tasks: CreatedTasks,
        queues: CloudQueues,
        now: Callable[[], float],
        names: CloudNames | None = None,
        limits: CloudTasksLimits | None = None,
    ) -> None:
        names, limits = names or CloudNames(), limits or CloudTasksLimits()
        known = KnownTasks(tasks, queues, now, names, limits)
        self._handlers = {
            **TaskMethods(tasks, known).handlers,
            **BatchMethods(tasks, known).handlers,
            **QueueMethods(queues, names, limits).handlers,
            **OtherMethods(queues, names).handlers,
        }

    async def call(
        self, method: str, request: Mapping[str, Any], grant: Grant
    ) -> dict[str, Any]:
        """
        The answer to a request.

        @param method: the name of the rpc, such as C{"CreateTask"}.
        @param request: the request's message as proto JSON: keys in camelCase or as in
            the .proto, enums as numbers or names, bytes in base64, durations as
            C{"1.5s"}, times by RFC 3339.
        @param grant: the rights of the client.
        @return: the answer's message likewise; enums as names.
        @raise CloudTasksError: it is refused.
        """
        return written(await self.answered(method, request, grant))

    async def answered(
        self, method: str, request: Mapping[str, Any], grant: Grant
    ) -> Any:
        """
        The same as a message of C{_messages}.

        @raise CloudTasksError: it is refused.
        """
        found = METHODS.get(method)
        if found is None:
            raise CloudTasksError(Code.UNIMPLEMENTED, f"there is no method {method}")
        wanted = read_message(found.request, request)
        try:
            return await self._handlers[method](wanted, grant)
        except QuebertError as e:
            raise error_of(e) from None
