"""
The methods of the Cloud Tasks API, over REST and gRPC alike.

To add a method: its messages in C{_messages}; a line in L{METHODS}; its function in
C{_task_methods}, C{_batch_methods}, C{_queue_methods} or C{_other_methods}, which
checks a permission of C{_rights}; its path in C{_rest}; and for gRPC its types and
messages in C{grpc/_schema}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from quebert.created_tasks import CreatedTasks
from quebert.errors import QuebertError
from quebert.web._audit import Audit
from quebert.web._exchange import Caller
from quebert.web._tokens import Grant
from quebert.web.cloud_tasks import _messages as messages
from quebert.web.cloud_tasks._batch_methods import BatchMethods
from quebert.web.cloud_tasks._boundaries import CloudQueues, TriesOfTasks
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
    @ivar is_change: whether it changes something, so that the audit log has it.  The
        tasks that are created are not in it.
    """

    request: type[Any]
    response: type[Any]
    is_change: bool = False


#: All methods.
METHODS: Mapping[str, CloudMethod] = {
    "CreateTask": CloudMethod(messages.CreateTaskRequest, messages.TaskMessage),
    "GetTask": CloudMethod(messages.GetTaskRequest, messages.TaskMessage),
    "RunTask": CloudMethod(
        messages.GetTaskRequest, messages.TaskMessage, is_change=True
    ),
    "ListTasks": CloudMethod(messages.ListTasksRequest, messages.ListTasksResponse),
    "DeleteTask": CloudMethod(messages.NameRequest, messages.Empty, is_change=True),
    "BatchCreateTasks": CloudMethod(
        messages.BatchCreateTasksRequest, messages.OperationMessage
    ),
    "BatchDeleteTasks": CloudMethod(
        messages.BatchDeleteTasksRequest, messages.OperationMessage, is_change=True
    ),
    "CreateQueue": CloudMethod(
        messages.CreateQueueRequest, messages.QueueMessage, is_change=True
    ),
    "UpdateQueue": CloudMethod(
        messages.UpdateQueueRequest, messages.QueueMessage, is_change=True
    ),
    "GetQueue": CloudMethod(messages.NameRequest, messages.QueueMessage),
    "PauseQueue": CloudMethod(
        messages.NameRequest, messages.QueueMessage, is_change=True
    ),
    "ResumeQueue": CloudMethod(
        messages.NameRequest, messages.QueueMessage, is_change=True
    ),
    "PurgeQueue": CloudMethod(
        messages.NameRequest, messages.QueueMessage, is_change=True
    ),
    "ListQueues": CloudMethod(messages.ListQueuesRequest, messages.ListQueuesResponse),
    "DeleteQueue": CloudMethod(messages.NameRequest, messages.Empty, is_change=True),
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
    @param audit: where changes are written down.
    @param history: tells of attempts; C{None} for nothing.
    """

    def __init__(
        self,
        tasks: CreatedTasks,
        queues: CloudQueues,
        now: Callable[[], float],
        names: CloudNames | None = None,
        limits: CloudTasksLimits | None = None,
        audit: Audit | None = None,
        history: TriesOfTasks | None = None,
    ) -> None:
        names, limits = names or CloudNames(), limits or CloudTasksLimits()
        self._audit = audit
        known = KnownTasks(tasks, queues, now, names, limits, history)
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
        result = "failed"
        try:
            answer = await self._handlers[method](wanted, grant)
            result = "done"
            return answer
        except CloudTasksError as e:
            result = e.message
            raise
        except QuebertError as e:
            error = error_of(e)
            result = error.message
            raise error from None
        finally:
            if found.is_change and self._audit is not None:
                caller = Caller(name=grant.name)
                self._audit.note(caller, method, result, **_resource(wanted))


def _resource(request: Any) -> dict[str, Any]:
    """
    What a request is about, for the audit log.
    """
    for field in ("names", "name", "queue", "resource", "cmek_config"):
        found = getattr(request, field, None)
        if found:
            return {field: getattr(found, "name", found)}
    return {}
