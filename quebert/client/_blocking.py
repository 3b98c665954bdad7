"""
L{Client}: the API for programs that block.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self, TypeVar

from quebert.client._access import APIAccess
from quebert.client._calls import APICalls, LeaseCalls
from quebert.client._connections import BlockingConnections
from quebert.client._exchange import APICall
from quebert.client._new_tasks import OnTaskResult
from quebert.client._retrying import PATIENCE, CallProgress, checked_patience
from quebert.client._values import ChangeResult, TaskInfo, TaskRow
from quebert.errors import QuebertError

__all__ = ["Client", "LeaseClient"]

T = TypeVar("T")


class _BlockingCaller:
    """
    Makes calls, each within a limit of time.
    """

    def __init__(self, connections: BlockingConnections, patience: float) -> None:
        self._connections = connections
        self._patience = checked_patience(patience)

    def result(self, call: APICall[T]) -> T:
        """
        The result of a call.

        @raise APIError: there is none.
        """
        ends = time.monotonic() + self._patience
        progress = CallProgress(call, ends)
        while True:
            outcome = self._connections.exchange(call.request, ends)
            pause = progress.pause(outcome, time.monotonic())
            if pause is None:
                return progress.result()
            time.sleep(pause)


class Client:
    """
    The HTTP API of C{quebert web}, blocking, over connections that are kept.  Threads
    and greenlets may share one; after a fork, a child makes connections of its own.

    A call ends within its time, but for the look-up of its host.  Where the API or the
    broker is away, or too much is asked of the API, a request is made again if that is
    safe: one that adds tasks has an C{Idempotency-Key}.

    @param url: of C{quebert web}, without C{/v1}; C{QUEBERT_URL} of the environment by
        default.
    @param token: C{None} for none; with the URL of the environment, for that of
        C{QUEBERT_TOKEN_FILE} or C{QUEBERT_TOKEN}.
    @param patience: seconds that a call may take in all.
    @param context: of TLS; the authorities of the platform by default.
    @raise ConfigError: one of these is wrong.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        patience: float = PATIENCE,
        context: SSLContext | None = None,
    ) -> None:
        self._calls = APICalls(APIAccess.of(url, token))
        self._connections = BlockingConnections(context)
        self._caller = _BlockingCaller(self._connections, patience)

    def add_task(
        self,
        url: str,
        params: Any = None,
        *,
        queue: str | None = None,
        name: str | None = None,
        idempotency_key: str | None = None,
        delay: float | None = None,
        run_at: datetime | str | float | None = None,
        ttl: float | None = None,
        timeout: float | None = None,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        payload: bytes | None = None,
        retry: Mapping[str, Any] | None = None,
        filter: bool | None = None,
        extra: Mapping[str, Any] | None = None,
        callback_url: str | None = None,
        uuid: str | None = None,
    ) -> str:
        """
        Add a task, and return its uuid once the broker has confirmed it.

        @param queue: the queue itself; C{tasks} by default.
        @param name: unique in the queue, until an hour after the task has ended.
        @param idempotency_key: all calls with the same one add one task; a call without
            has its own.  The API makes the uuid of the key, so that a task with a
            C{uuid} has none, and is asked for once.
        @param uuid: of the task; other fields are as for
            L{Producer.add_task<quebert.producer.Producer.add_task>}.
        @raise NameTaken: the queue has a task of this name, or had one not long ago.
        @raise UUIDTaken: there is another task with this uuid.
        @raise BadTask: an argument is wrong.
        @raise APIError: it is not added, or nobody knows, which C{done} tells.
        """
        fields = {
            "url": url,
            "params": params,
            "queue": queue,
            "name": name,
            "delay": delay,
            "run_at": run_at,
            "ttl": ttl,
            "timeout": timeout,
            "method": method,
            "headers": headers,
            "payload": payload,
            "retry": retry,
            "filter": filter,
            "extra": extra,
            "callback_url": callback_url,
            "uuid": uuid,
        }
        return self._caller.result(self._calls.create(fields, idempotency_key))

    def add_tasks(
        self,
        items: Iterable[Mapping[str, Any]],
        on_result: OnTaskResult,
        *,
        idempotency_key: str | None = None,
    ) -> int:
        """
        Add many tasks, and return how many were added.  Those that are wrong or refused
        do not keep the others from being added.

        They are sent in batches of 1,000 tasks or 2 MiB.  The limit of time is that of
        each batch.

        @param items: mappings, each with the keywords of L{add_task}, and with C{url};
            none has a C{uuid}.
        @param on_result: called with a L{TaskResult<quebert.producer.TaskResult>} for
            each item, in their order.
        @param idempotency_key: of all of them: the same items with the same key add no
            second tasks.
        @raise APIError: no more can be added.
        @raise Exception: what C{items} or C{on_result} has raised.
        """
        steps = self._calls.create_all(items, on_result, idempotency_key)
        try:
            call = next(steps)
            while True:
                try:
                    result = self._caller.result(call)
                except QuebertError as e:
                    call = steps.throw(e)
                else:
                    call = steps.send(result)
        except StopIteration as e:
            added: int = e.value
            return added

    def task(self, uuid: str) -> TaskInfo:
        """
        A task with its attempts.

        @raise TaskUnknown: the API does not know it.
        @raise APIError: the API does not tell.
        """
        return self._caller.result(self._calls.task(uuid))

    def tasks(
        self, *, queue: str = "", name: str = "", states: Sequence[str] = ()
    ) -> Iterator[TaskRow]:
        """
        The tasks that were created over HTTP, the oldest first, page by page.

        @param queue: of this queue alone.
        @param name: of this name alone.
        @param states: in one of these alone: C{new}, C{published}, C{deleting},
            C{deleted}, C{ended}.
        @raise APIError: the API does not tell.
        """
        page = self._caller.result(self._calls.tasks(queue, name, states, ""))
        yield from page.tasks
        while page.next:
            call = self._calls.tasks(queue, name, states, page.next)
            page = self._caller.result(call)
            yield from page.tasks

    def delete(self, uuid: str, *, queue: str | None = None) -> ChangeResult:
        """
        Delete a task: no attempt at it begins any more.  The request is not repeated if
        its answer is lost.

        @param queue: of a task that was not created over HTTP.
        @raise TaskUnknown: the API does not know it.
        @raise TaskEnded: it has ended, or is deleted already.
        @raise APIError: it is not deleted, or nobody knows.
        """
        return self._caller.result(self._calls.delete(uuid, queue))

    def run(self, uuid: str, *, queue: str | None = None) -> ChangeResult:
        """
        Run a delayed task now.  The request is not repeated if its answer is lost.

        @param queue: of a task that was not created over HTTP.
        @raise TaskUnknown: the API does not know it.
        @raise TaskEnded: it has ended, or is deleted.
        @raise APIError: it is not run, or nobody knows.
        """
        return self._caller.result(self._calls.run(uuid, queue))

    def lease(self, url: str) -> LeaseClient:
        """
        The lease of a task.

        @param url: the C{Quebert-Lease-URL} of the request of the task.
        @raise ConfigError: it is none.
        """
        return LeaseClient(LeaseCalls(url), self._caller)

    def close(self) -> None:
        """
        Close the connections that are not in use.
        """
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class LeaseClient:
    """
    The lease of a task, as L{Client.lease} gives it.
    """

    def __init__(self, calls: LeaseCalls, caller: _BlockingCaller) -> None:
        self._calls = calls
        self._caller = caller

    def renew(self, seconds: float) -> float:
        """
        Have it last so many seconds from now; returns when it runs out.

        @raise LeaseLost: the executor does not have the task any more.
        @raise APIError: nobody knows whether it is renewed.
        """
        return self._caller.result(self._calls.renew(seconds))

    def complete(self) -> None:
        """
        The task is done.

        @raise LeaseLost: the executor does not have the task any more.
        @raise APIError: nobody knows whether that is noted.
        """
        self._caller.result(self._calls.complete())

    def fail(self, seconds: float | None = None) -> None:
        """
        The task is not done: it is attempted again.

        @param seconds: until then; C{None} for the backoff of its queue.
        @raise LeaseLost: the executor does not have the task any more.
        @raise APIError: nobody knows whether that is noted.
        """
        self._caller.result(self._calls.fail(seconds))
