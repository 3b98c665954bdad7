"""
The methods of queues.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from quebert.errors import ConfigError
from quebert.web._tokens import Grant
from quebert.web.cloud_tasks._boundaries import (
    CloudQueue,
    CloudQueueChanged,
    CloudQueueExists,
    CloudQueues,
    CloudQueueUnknown,
    NameTooRecent,
)
from quebert.web.cloud_tasks._enums import QueueState
from quebert.web.cloud_tasks._errors import CloudTasksError, Code
from quebert.web.cloud_tasks._limits import CloudTasksLimits
from quebert.web.cloud_tasks._messages import (
    CreateQueueRequest,
    Empty,
    ListQueuesRequest,
    ListQueuesResponse,
    NameRequest,
    QueueMessage,
    UpdateQueueRequest,
)
from quebert.web.cloud_tasks._names import CloudNames, QueueName
from quebert.web.cloud_tasks._pages import page_size, page_token, position_in
from quebert.web.cloud_tasks._queue_values import (
    new_queue,
    queue_message,
    updated_queue,
)
from quebert.web.cloud_tasks._rights import check
from quebert.web.cloud_tasks._sentences import invalid, no_entity, no_queue

__all__ = ["QueueMethods"]

# Queues of a page, as with Google.
_MOST_LISTED = 9_800
# How often a change is tried while others change the same queue.
_TRIES = 5
# The one filter that is known.
_FILTER = re.compile(r"\s*state\s*(!=|[:=])\s*\"?([A-Z_]{1,40})\"?\s*", re.ASCII)


class QueueMethods:
    """
    Makes queues, shows and changes them.
    """

    def __init__(
        self, queues: CloudQueues, names: CloudNames, limits: CloudTasksLimits
    ) -> None:
        self._queues = queues
        self._names = names
        self._limits = limits

    @property
    def handlers(self) -> Mapping[str, Callable[[Any, Grant], Awaitable[Any]]]:
        """
        The functions, by the methods that they answer.
        """
        return {
            "CreateQueue": self._create,
            "GetQueue": self._get,
            "ListQueues": self._list,
            "UpdateQueue": self._update,
            "DeleteQueue": self._delete,
            "PauseQueue": self._pause,
            "ResumeQueue": self._resume,
            "PurgeQueue": self._purge,
        }

    def _checked(self, name: QueueName, grant: Grant, verb: str) -> str:
        """
        The name of a queue in RabbitMQ.

        @raise CloudTasksError: the client has not the permission.
        """
        in_rabbitmq = self._names.in_rabbitmq(name)
        check(grant, f"cloudtasks.queues.{verb}", name, in_rabbitmq)
        return in_rabbitmq

    async def _create(self, request: CreateQueueRequest, grant: Grant) -> QueueMessage:
        location = self._names.location(request.parent)
        message = request.queue or QueueMessage()
        name = self._names.queue(message.name)
        if name.location != location:
            raise invalid(
                f"The parent from request ('{location}') must be the same as the one in"
                f" the name of the queue ('{name.location}')."
            )
        in_rabbitmq = self._checked(name, grant, "create")
        self._names.check_new(name)
        made = await self._made(new_queue(in_rabbitmq, message, self._limits))
        return queue_message(name, made)

    async def _made(self, queue: CloudQueue) -> CloudQueue:
        try:
            return await self._queues.create(queue)
        except CloudQueueExists:
            text = "Queue already exists"
            raise CloudTasksError(Code.ALREADY_EXISTS, text) from None
        except NameTooRecent:
            raise CloudTasksError(
                Code.FAILED_PRECONDITION,
                "The queue cannot be created because a queue with this name existed too"
                " recently.",
            ) from None
        except ConfigError as e:
            raise invalid(f"The queue cannot be made: {e}.") from None

    async def _get(self, request: NameRequest, grant: Grant) -> QueueMessage:
        name = self._names.queue(request.name)
        queue = await self._queues.get(self._checked(name, grant, "get"))
        if queue is None:
            raise no_queue()
        return queue_message(name, queue)

    async def _list(
        self, request: ListQueuesRequest, grant: Grant
    ) -> ListQueuesResponse:
        location = self._names.location(request.parent)
        check(grant, "cloudtasks.queues.list", location)
        fits = _filter(request.filter)
        scope = f"queues {location} {request.filter}"
        after = position_in(scope, request.page_token)
        size = page_size(request.page_size, _MOST_LISTED)
        found = []
        for queue in await self._queues.list():
            name = self._names.in_cloud_tasks(queue.name)
            if name is None or name.location != location or name.queue <= after:
                continue
            if grant.sees(queue.name) and fits(queue):
                found.append((name.queue, queue_message(name, queue)))
        found.sort(key=lambda each: each[0])
        page = found[:size]
        token = page_token(scope, page[-1][0]) if len(found) > len(page) else ""
        queues = tuple(message for _, message in page)
        return ListQueuesResponse(queues=queues, next_page_token=token)

    async def _update(self, request: UpdateQueueRequest, grant: Grant) -> QueueMessage:
        message = request.queue or QueueMessage()
        name = self._names.queue(message.name)
        in_rabbitmq = self._checked(name, grant, "update")
        for _ in range(_TRIES):
            queue = await self._queues.get(in_rabbitmq)
            if queue is None:  # then it is made, as Google does
                self._checked(name, grant, "create")
                self._names.check_new(name)
                new = new_queue(in_rabbitmq, message, self._limits)
                return queue_message(name, await self._made(new))
            changed = updated_queue(queue, message, request.update_mask, self._limits)
            try:
                return queue_message(name, await self._queues.update(changed))
            except (CloudQueueChanged, CloudQueueUnknown):
                continue
            except ConfigError as e:
                raise invalid(f"The queue cannot be changed so: {e}.") from None
        text = "The queue is being changed by others at the same time."
        raise CloudTasksError(Code.ABORTED, text)

    async def _delete(self, request: NameRequest, grant: Grant) -> Empty:
        name = self._names.queue(request.name)
        try:
            await self._queues.delete(self._checked(name, grant, "delete"))
        except CloudQueueUnknown:
            raise no_entity() from None
        return Empty()

    async def _pause(self, request: NameRequest, grant: Grant) -> QueueMessage:
        name = self._names.queue(request.name)
        pausing = self._queues.pause(self._checked(name, grant, "pause"), grant.name)
        return await _shown(name, pausing)

    async def _resume(self, request: NameRequest, grant: Grant) -> QueueMessage:
        name = self._names.queue(request.name)
        return await _shown(
            name, self._queues.resume(self._checked(name, grant, "resume"))
        )

    async def _purge(self, request: NameRequest, grant: Grant) -> QueueMessage:
        name = self._names.queue(request.name)
        return await _shown(
            name, self._queues.purge(self._checked(name, grant, "purge"))
        )


async def _shown(name: QueueName, changing: Awaitable[CloudQueue]) -> QueueMessage:
    try:
        return queue_message(name, await changing)
    except CloudQueueUnknown:
        raise no_queue() from None


def _filter(text: str) -> Callable[[CloudQueue], bool]:
    """
    What a filter lets through.

    @raise CloudTasksError: it is none that is known.
    """
    if not text.strip():
        return lambda queue: True
    found = _FILTER.fullmatch(text) if len(text) < 200 else None
    if found is None or found[2] not in QueueState.__members__:
        raise invalid('filter can be "state: PAUSED" or "state: RUNNING".')
    is_wanted = found[1] != "!="
    state = QueueState[found[2]]
    return lambda queue: (_state(queue) == state) == is_wanted


def _state(queue: CloudQueue) -> QueueState:
    return QueueState.PAUSED if queue.paused else QueueState.RUNNING
