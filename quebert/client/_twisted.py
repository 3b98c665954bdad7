"""
L{AsyncClient}: the API for programs on Twisted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.task import deferLater

from quebert._reactor import given_or_global
from quebert.client._access import APIAccess
from quebert.client._calls import APICalls, CreatingAll, LeaseCalls
from quebert.client._exchange import (
    APICall,
    LostAnswer,
    Outcome,
    OutgoingRequest,
    ReceivedAnswer,
)
from quebert.client._new_tasks import OnTaskResult
from quebert.client._retrying import PATIENCE, CallProgress, checked_patience
from quebert.client._values import ChangeResult, TaskInfo, TaskRow
from quebert.errors import ExecutorError, QuebertError
from quebert.http import Agent, Limits

__all__ = ["AsyncClient", "AsyncLeaseClient"]

T = TypeVar("T")

# Bytes of an answer: more are none of the API.
_MOST = 64 * 2**20
_RETRY_AFTER = b"retry-after"


class _AsyncCaller:
    """
    Makes calls, each within a limit of time.
    """

    def __init__(self, reactor: Any, agent: Agent, patience: float) -> None:
        self._reactor = reactor
        self._agent = agent
        self._patience = checked_patience(patience)

    def begin(self, call: APICall[T]) -> Deferred[T]:
        """
        As L{result}, in a Deferred.
        """
        return Deferred.fromCoroutine(self.result(call))

    async def result(self, call: APICall[T]) -> T:
        """
        The result of a call.

        @raise APIError: there is none.
        """
        ends = self._reactor.seconds() + self._patience
        progress = CallProgress(call, ends)
        while True:
            outcome = await self._exchange(call.request, ends)
            pause = progress.pause(outcome, self._reactor.seconds())
            if pause is None:
                return progress.result()
            await deferLater(self._reactor, pause)

    async def _exchange(self, request: OutgoingRequest, ends: float) -> Outcome:
        asking = Deferred.fromCoroutine(self._answer(request))
        left = max(0.0, ends - self._reactor.seconds())
        try:
            return await asking.addTimeout(left, self._reactor)
        except TimeoutError:
            return LostAnswer("no answer in time", True)
        except ExecutorError as e:
            sent = not isinstance(e.__cause__, (ConnectError, DNSLookupError))
            return LostAnswer(str(e), sent)

    async def _answer(self, request: OutgoingRequest) -> ReceivedAnswer:
        method, url, headers = request.method, request.url, request.headers.items()
        answer = await self._agent.send(method, url, headers, request.body)
        body = await answer.content()
        after = (value for name, value in answer.fields if name.lower() == _RETRY_AFTER)
        return ReceivedAnswer(answer.code, body, next(after, b"").decode("latin-1"))


class AsyncClient:
    """
    The HTTP API of C{quebert web} for programs on Twisted, over connections that are
    kept for some seconds.  Methods return Deferreds, but for L{tasks}; they fail with
    what those of L{Client<quebert.client.Client>} raise.

    A call ends within its time.  Where the API or the broker is away, or too much is
    asked of the API, a request is made again if that is safe: one that adds tasks has
    an C{Idempotency-Key}.

    @param url: of C{quebert web}, without C{/v1}; C{QUEBERT_URL} of the environment by
        default.
    @param token: C{None} for none; with the URL of the environment, for that of
        C{QUEBERT_TOKEN_FILE} or C{QUEBERT_TOKEN}.
    @param patience: seconds that a call may take in all.
    @param reactor: the global one by default.
    @param agent: makes the requests; by default one that trusts the authorities of the
        platform.
    @raise ConfigError: one of these is wrong.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        patience: float = PATIENCE,
        reactor: Any = None,
        agent: Agent | None = None,
    ) -> None:
        reactor = given_or_global(reactor)
        self._calls = APICalls(APIAccess.of(url, token))
        agent = agent or Agent(reactor, limits=Limits(body=_MOST))
        self._caller = _AsyncCaller(reactor, agent, patience)

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
    ) -> Deferred[str]:
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
        return self._caller.begin(self._calls.create(fields, idempotency_key))

    def add_tasks(
        self,
        items: Iterable[Mapping[str, Any]],
        on_result: OnTaskResult,
        *,
        idempotency_key: str | None = None,
    ) -> Deferred[int]:
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
        return Deferred.fromCoroutine(self._add_all(steps))

    async def _add_all(self, steps: CreatingAll) -> int:
        try:
            call = next(steps)
            while True:
                try:
                    result = await self._caller.result(call)
                except QuebertError as e:
                    call = steps.throw(e)
                else:
                    call = steps.send(result)
        except StopIteration as e:
            added: int = e.value
            return added

    def task(self, uuid: str) -> Deferred[TaskInfo]:
        """
        A task with its attempts.

        @raise TaskUnknown: the API does not know it.
        @raise APIError: the API does not tell.
        """
        return self._caller.begin(self._calls.task(uuid))

    async def tasks(
        self, *, queue: str = "", name: str = "", states: Sequence[str] = ()
    ) -> AsyncIterator[TaskRow]:
        """
        The tasks that were created over HTTP, the oldest first, page by page.

        @param queue: of this queue alone.
        @param name: of this name alone.
        @param states: in one of these alone: C{new}, C{published}, C{deleting},
            C{deleted}, C{ended}.
        @raise APIError: the API does not tell.
        """
        after: str | None = ""
        while after is not None:
            call = self._calls.tasks(queue, name, states, after)
            page = await self._caller.result(call)
            for each in page.tasks:
                yield each
            after = page.next or None

    def delete(self, uuid: str, *, queue: str | None = None) -> Deferred[ChangeResult]:
        """
        Delete a task: no attempt at it begins any more.

        @param queue: of a task that was not created over HTTP.
        @raise TaskUnknown: the API does not know it.
        @raise TaskEnded: it has ended, or is deleted already.
        @raise APIError: it is not deleted, or nobody knows.
        """
        return self._caller.begin(self._calls.delete(uuid, queue))

    def run(self, uuid: str, *, queue: str | None = None) -> Deferred[ChangeResult]:
        """
        Run a delayed task now.

        @param queue: of a task that was not created over HTTP.
        @raise TaskUnknown: the API does not know it.
        @raise TaskEnded: it has ended, or is deleted.
        @raise APIError: it is not run, or nobody knows.
        """
        return self._caller.begin(self._calls.run(uuid, queue))

    def lease(self, url: str) -> AsyncLeaseClient:
        """
        The lease of a task.

        @param url: the C{Quebert-Lease-URL} of the request of the task.
        @raise ConfigError: it is none.
        """
        return AsyncLeaseClient(LeaseCalls(url), self._caller)


class AsyncLeaseClient:
    """
    The lease of a task, as L{AsyncClient.lease} gives it.
    """

    def __init__(self, calls: LeaseCalls, caller: _AsyncCaller) -> None:
        self._calls = calls
        self._caller = caller

    def renew(self, seconds: float) -> Deferred[float]:
        """
        Have it last so many seconds from now; returns when it runs out.

        @raise LeaseLost: the executor does not have the task any more.
        @raise APIError: nobody knows whether it is renewed.
        """
        return self._caller.begin(self._calls.renew(seconds))

    def complete(self) -> Deferred[None]:
        """
        The task is done.

        @raise LeaseLost: the executor does not have the task any more.
        @raise APIError: nobody knows whether that is noted.
        """
        return self._caller.begin(self._calls.complete())

    def fail(self, seconds: float | None = None) -> Deferred[None]:
        """
        The task is not done: it is attempted again.

        @param seconds: until then; C{None} for the backoff of its queue.
        @raise LeaseLost: the executor does not have the task any more.
        @raise APIError: nobody knows whether that is noted.
        """
        return self._caller.begin(self._calls.fail(seconds))
