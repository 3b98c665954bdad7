"""
The Cloud Tasks API over rows, a broker, queues and a history in memory; no socket.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from quebert.errors import QuebertError
from quebert.history import TaskTries
from quebert.test.created_tasks.doubles import MemoryBroker, MemoryRows, in_memory
from quebert.test.web.doubles import ListedAudit
from quebert.web._exchange import APIAnswer
from quebert.web._head import RequestHead
from quebert.web._request import decoded
from quebert.web._tokens import EVERYTHING, Grant
from quebert.web.cloud_tasks import (
    CloudNames,
    CloudQueue,
    CloudQueueChanged,
    CloudQueueExists,
    CloudQueueUnknown,
    CloudTasks,
    CloudTasksLimits,
    CloudTasksREST,
    Location,
    NameTooRecent,
)

__all__ = [
    "ALL",
    "LOCATION",
    "NOW",
    "QUEUE",
    "MemoryCloudQueues",
    "MemoryCloudTasks",
    "MemoryTries",
]

#: 2026-11-29 12:00:00 UTC, and a bit.
NOW = 1_795_953_600.123456
ALL = Grant("all", EVERYTHING)
LOCATION = "projects/shop/locations/here"
#: A queue that is there.
QUEUE = f"{LOCATION}/queues/mail"


class MemoryCloudQueues:
    """
    Queues that are kept in a dict.

    @ivar queues: by their names.
    @ivar deleted: names of those that were deleted.
    @ivar problem: with which each call fails, if set.
    @ivar meanwhile: called before each change.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.queues: dict[str, CloudQueue] = {}
        self.deleted: set[str] = set()
        self.problem: QuebertError | None = None
        self.meanwhile: Callable[[], object] = lambda: None
        self._now = now

    def _done(self, work: Callable[[], Any]) -> Deferred[Any]:
        if self.problem is not None:
            return fail(self.problem)
        try:
            return succeed(work())
        except QuebertError as e:
            return fail(e)

    def get(self, name: str) -> Deferred[CloudQueue | None]:
        """
        A queue.
        """
        return self._done(lambda: self.queues.get(name))

    def list(self) -> Deferred[list[CloudQueue]]:
        """
        All queues.
        """
        return self._done(lambda: [q for _, q in sorted(self.queues.items())])

    def create(self, queue: CloudQueue) -> Deferred[CloudQueue]:
        """
        Make a queue.
        """

        def work() -> CloudQueue:
            if queue.name in self.queues:
                raise CloudQueueExists(queue.name)
            if queue.name in self.deleted:
                raise NameTooRecent(queue.name)
            self.queues[queue.name] = queue
            return queue

        return self._done(work)

    def update(self, queue: CloudQueue) -> Deferred[CloudQueue]:
        """
        Change a queue.
        """

        def work() -> CloudQueue:
            self.meanwhile()
            if self._known(queue.name).version != queue.version:
                raise CloudQueueChanged(queue.name)
            return self._change(queue)

        return self._done(work)

    def delete(self, name: str) -> Deferred[None]:
        """
        Delete a queue.
        """

        def work() -> None:
            del self.queues[self._known(name).name]
            self.deleted.add(name)

        return self._done(work)

    def pause(self, name: str, by: str) -> Deferred[CloudQueue]:
        """
        Pause a queue.
        """
        return self._done(lambda: self._change(self._known(name), paused=True))

    def resume(self, name: str) -> Deferred[CloudQueue]:
        """
        Have a queue go on.
        """
        return self._done(lambda: self._change(self._known(name), paused=False))

    def purge(self, name: str) -> Deferred[CloudQueue]:
        """
        Purge a queue.
        """
        now = self._now()
        return self._done(lambda: self._change(self._known(name), purge_time=now))

    def _known(self, name: str) -> CloudQueue:
        if name not in self.queues:
            raise CloudQueueUnknown(name)
        return self.queues[name]

    def _change(self, queue: CloudQueue, **changes: Any) -> CloudQueue:
        changed = attrs.evolve(queue, version=queue.version + 1, **changes)
        self.queues[queue.name] = changed
        return changed


class MemoryTries:
    """
    A history.

    @ivar known: what it tells, by the uuids of tasks.
    @ivar problem: with which it fails, if set.
    """

    def __init__(self) -> None:
        self.known: dict[str, TaskTries] = {}
        self.problem: QuebertError | None = None

    def tries(self, uuids: Sequence[str]) -> Deferred[Mapping[str, TaskTries]]:
        """
        The requests for tasks.
        """
        if self.problem is not None:
            return fail(self.problem)
        return succeed({u: self.known[u] for u in uuids if u in self.known})


class MemoryCloudTasks:
    """
    The API, and all that it stands on.

    @ivar time: seconds since the epoch.
    """

    def __init__(self, limits: CloudTasksLimits | None = None) -> None:
        self.time = NOW
        self.audit = ListedAudit()
        self.history = MemoryTries()
        self.rows = MemoryRows()
        self.broker = MemoryBroker()
        self.queues = MemoryCloudQueues(lambda: self.time)
        self.queues.queues["mail"] = CloudQueue(name="mail")
        self.tasks = in_memory(Clock(), lambda: self.time, self.rows, self.broker)
        home = Location("shop", "here")
        self.cloud_tasks = CloudTasks(
            self.tasks,
            self.queues,
            lambda: self.time,
            CloudNames(home, ("shop", "other.org:*")),
            limits,
            self.audit,
            self.history,
        )
        self.rest = CloudTasksREST(self.cloud_tasks)

    def call(
        self, method: str, request: Mapping[str, Any], grant: Grant = ALL
    ) -> dict[str, Any]:
        """
        The answer to a request.
        """
        answer: dict[str, Any] = _result(self.cloud_tasks.call(method, request, grant))
        return answer

    @staticmethod
    def wait(coroutine: Any) -> Any:
        """
        What a coroutine returns that waits for nothing.
        """
        return _result(coroutine)

    def http(
        self, method: str, target: str, body: object = None, grant: Grant = ALL
    ) -> APIAnswer:
        """
        The answer over REST.

        @param body: bytes, or a value that becomes JSON.
        """
        if not isinstance(body, bytes):
            body = b"" if body is None else json.dumps(body).encode()
        request = decoded(RequestHead(method=method, target=target), body, "127.0.0.1")
        answer: APIAnswer = _result(self.rest.answer(request, grant))
        return answer


def _result(coroutine: Any) -> Any:
    """
    What a coroutine returns that waits for nothing.
    """
    results: list[Any] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    [result] = results
    return result
