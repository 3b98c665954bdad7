"""
The calls of the API: each is a request, and a function that reads its answer.  Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

import attrs

from quebert.client._access import APIAccess, checked_url
from quebert.client._exchange import APICall, OutgoingRequest
from quebert.client._new_tasks import (
    OnTaskResult,
    TaskBatch,
    batch_body,
    batches,
    task_json,
)
from quebert.client._problems import APIError, error_of
from quebert.client._values import ChangeResult, TaskInfo, TaskRow
from quebert.errors import ConfigError, QuebertError

__all__ = ["STATES", "APICalls", "CreatingAll", "LeaseCalls"]

T = TypeVar("T")

#: The states of tasks that were created over HTTP.
STATES = ("new", "published", "deleting", "deleted", "ended")
_JSON = {"Content-Type": "application/json"}
_LARGEST_PAGE = 500
# Characters of a key, without what is put behind it.
_LONGEST_KEY = 200
# Each task of a batch has its own status.
_REFUSED_FOR_NOW = (429, 503)

#: Creates the tasks of a batch: gives the uuid of each, or what is wrong with it.
CreatingMany = APICall[Sequence[str | QuebertError]]
#: Creates tasks, batch by batch: see L{APICalls.create_all}.
CreatingAll = Generator[CreatingMany, Sequence[str | QuebertError], int]


def _new_key() -> str:
    """
    An C{Idempotency-Key} of nobody else.
    """
    return str(uuid4())


@attrs.frozen
class _RowPage:
    """
    A page of tasks.

    @ivar next: where the next page begins; empty after the last one.
    """

    tasks: tuple[TaskRow, ...]
    next: str

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> _RowPage:
        """
        From JSON.
        """
        tasks = tuple(map(TaskRow.of, told["tasks"]))
        return cls(tasks, told.get("next_page_token") or "")


@attrs.frozen
class APICalls:
    """
    Makes the calls.
    """

    access: APIAccess

    def create(self, fields: Mapping[str, Any], key: str | None) -> APICall[str]:
        """
        Create a task; gives its uuid.

        @param key: C{None} for one that is made here, unless the task has a uuid: the
            API makes one of the key.
        @raise BadTask: it has no form in JSON.
        @raise ConfigError: the key cannot be.
        """
        if key is not None:
            key = _checked_key(key)
        elif fields.get("uuid") is None:
            key = _new_key()
        request = self._creating("tasks", task_json(fields), key)
        return APICall(request=request, read=lambda told: str(told["uuid"]), key=key)

    def create_many(self, batch: TaskBatch, key: str) -> CreatingMany:
        """
        Create the tasks of a batch; gives the uuid of each, or what is wrong with it.

        @param key: of all batches together.
        """
        body = batch_body(batch.tasks)
        count = len(batch.tasks)
        own = f"{key}/{batch.number}"

        def read(told: Mapping[str, Any]) -> Sequence[str | QuebertError]:
            results = [_result(each, key) for each in told["results"]]
            if len(results) != count:
                raise ValueError("there is not one for each")
            return results

        return APICall(
            request=self._creating("tasks:batch", body, own),
            read=read,
            key=key,
            is_doubtful=_may_change,
        )

    def create_all(
        self,
        items: Iterable[Mapping[str, Any]],
        on_result: OnTaskResult,
        key: str | None,
    ) -> CreatingAll:
        """
        Create many tasks: yields a call for each batch, is sent the result of that or
        thrown its error, and returns how many are created.
        """
        key = _new_key() if key is None else _checked_key(key)
        added = 0
        for batch in batches(items):
            told: Sequence[str | QuebertError] | APIError = ()
            if batch.tasks:
                try:
                    told = yield self.create_many(batch, key)
                except APIError as e:
                    told = e
            for each in batch.results(told):
                added += each.added
                on_result(each)
            if isinstance(told, APIError):
                raise told
        return added

    def task(self, uuid: str) -> APICall[TaskInfo]:
        """
        A task with its attempts.
        """
        return APICall(request=self._request("GET", _task(uuid)), read=TaskInfo.of)

    def tasks(
        self, queue: str, name: str, states: Sequence[str], page: str
    ) -> APICall[_RowPage]:
        """
        A page of the tasks that were created over HTTP.
        """
        query = [("state", each) for each in states or STATES]
        given = (("queue", queue), ("name", name), ("page_token", page))
        query += [(field, each) for field, each in given if each]
        query.append(("page_size", str(_LARGEST_PAGE)))
        request = self._request("GET", f"tasks?{urlencode(query)}")
        return APICall(request=request, read=_RowPage.of)

    def delete(self, uuid: str, queue: str | None) -> APICall[ChangeResult]:
        """
        Have a task never be attempted.
        """
        query = "" if queue is None else f"?{urlencode({'queue': queue})}"
        request = self._request("DELETE", f"{_task(uuid)}{query}", repeatable=False)
        return APICall(request=request, read=ChangeResult.of)

    def run(self, uuid: str, queue: str | None) -> APICall[ChangeResult]:
        """
        Run a delayed task now.
        """
        given = {} if queue is None else {"queue": queue}
        request = self._request(
            "POST", f"{_task(uuid)}:run", _encoded(given), repeatable=False
        )
        return APICall(request=request, read=ChangeResult.of)

    def _creating(self, path: str, body: bytes, key: str | None) -> OutgoingRequest:
        if key is None:
            return self._request("POST", path, body, repeatable=False)
        request = self._request("POST", path, body)
        headers = {**request.headers, "Idempotency-Key": key}
        return attrs.evolve(request, headers=headers)

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        repeatable: bool = True,
    ) -> OutgoingRequest:
        headers = {} if body is None else dict(_JSON)
        if self.access.token:
            headers["Authorization"] = f"Bearer {self.access.token}"
        return OutgoingRequest(
            method=method,
            url=f"{self.access.url}/v1/{path}",
            headers=headers,
            body=body,
            repeatable=repeatable,
        )


def _lease_url(url: str) -> str:
    return checked_url(url, "the URL of the lease")


@attrs.frozen
class LeaseCalls:
    """
    The calls of an executor that has leased its task.  They have no token: the URL is
    the secret.

    @ivar url: the C{Quebert-Lease-URL} of the request.
    """

    url: str = attrs.field(repr=False, converter=_lease_url)

    def renew(self, seconds: float) -> APICall[float]:
        """
        Have the lease last so many seconds from now; gives when it runs out.
        """
        return self._call("renew", {"seconds": seconds}, lambda t: float(t["until"]))

    def complete(self) -> APICall[None]:
        """
        The task is done.
        """
        return self._call("complete", {}, _noted)

    def fail(self, seconds: float | None) -> APICall[None]:
        """
        The task is not done.
        """
        given = {} if seconds is None else {"seconds": seconds}
        return self._call("fail", given, _noted)

    def _call(
        self, verb: str, given: Mapping[str, Any], read: Callable[[Any], T]
    ) -> APICall[T]:
        request = OutgoingRequest(
            method="POST",
            url=f"{self.url}:{verb}",
            headers=_JSON,
            body=_encoded(given),
        )
        return APICall(request=request, read=read)


def _noted(told: Mapping[str, Any]) -> None:
    if not isinstance(told["state"], str):
        raise TypeError("the state is no text")


def _checked_key(key: str) -> str:
    """
    A key that a program gives.

    @raise ConfigError: it cannot be one.
    """
    if 0 < len(key) <= _LONGEST_KEY and key.isascii() and key.isprintable():
        return key
    text = f"must have 1 to {_LONGEST_KEY} printable characters of ASCII"
    raise ConfigError(f"idempotency_key {text}")


def _task(uuid: str) -> str:
    return f"tasks/{quote(uuid, safe='')}"


def _encoded(given: Mapping[str, Any]) -> bytes:
    return json.dumps(given).encode("ascii")


def _result(told: Mapping[str, Any], key: str) -> str | QuebertError:
    task = told.get("task")
    if task is not None:
        return str(task["uuid"])
    return error_of(int(told["status"]), told["problem"], key)


def _may_change(results: Sequence[str | QuebertError]) -> bool:
    return any(
        isinstance(each, APIError) and each.status in _REFUSED_FOR_NOW
        for each in results
    )
