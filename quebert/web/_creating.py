"""
The handlers of requests that create tasks.

They are not in the audit log: it has changes of what is there already, and there may be
thousands of tasks a second.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from quebert import task as tasks
from quebert._turn import InSteps
from quebert.created_tasks import PUBLISHED, CreatedTask, CreatedTasks, NewTask
from quebert.errors import (
    BrokerError,
    PublishRefused,
    QuebertError,
    TaskStoreClosed,
    TaskStoreError,
    TaskUnknown,
    TooManyTasks,
    UUIDTaken,
)
from quebert.web._call import Call
from quebert.web._exchange import APIAnswer, APIProblem
from quebert.web._idempotency import Key, key_of
from quebert.web._problems import IN_DOUBT, KEY_REUSED, LATER, QUEUE_REFUSES, problem_of
from quebert.web._request import json_of
from quebert.web._task_body import new_task

__all__ = ["MOST_TASKS", "CreatingHandlers"]

#: Tasks of a batch.
MOST_TASKS = 1_000
# Tasks that are read in a turn of the reactor: about 3 ms.
_SLICE = 50
_MAY_RUN = "the task may be carried out"


class CreatingHandlers:
    """
    Answers requests that create tasks.

    @param now: gives the seconds since the epoch.
    """

    def __init__(
        self, reactor: Any, created: CreatedTasks, now: Callable[[], float]
    ) -> None:
        self._created = created
        self._now = now
        self._steps = InSteps(lambda: reactor)

    async def create(self, call: Call) -> APIAnswer:
        """
        Create a task.
        """
        key = key_of(call.request, call.grant.name)
        given = json_of(call.request)
        task = new_task(given, self._now(), call.check, key)
        [result] = await self._create([task])
        if not isinstance(result, CreatedTask):
            raise _problem(result, key)
        shown = _shown(result)
        place = f"/v1/tasks/{quote(shown['uuid'], safe='')}"
        return APIAnswer(
            status=HTTPStatus.CREATED,
            body=tasks.encode_finite(shown),
            headers=(("Location", place),),
        )

    async def create_many(self, call: Call) -> APIAnswer:
        """
        Create tasks, each with a result of its own.
        """
        key = key_of(call.request, call.grant.name)
        given = _items(json_of(call.request))
        read = await self._steps.do(self._read(call, given, key))
        created = await self._create([t for t in read if isinstance(t, NewTask)])
        results = iter(created)
        told = [
            _told(each if isinstance(each, APIProblem) else next(results), key)
            for each in read
        ]
        return APIAnswer(body=tasks.encode_finite({"results": told}))

    def _read(
        self, call: Call, given: Sequence[object], key: Key | None
    ) -> Generator[None, None, list[NewTask | APIProblem]]:
        now = self._now()
        found: list[NewTask | APIProblem] = []
        for start in range(0, len(given), _SLICE):
            yield
            some = given[start : start + _SLICE]
            uuids = tasks.random_uuids(len(some))
            for place, (each, uuid) in enumerate(zip(some, uuids, strict=True), start):
                try:
                    task = new_task(each, now, call.check, key, str(place), uuid)
                except APIProblem as e:
                    found.append(e)
                else:
                    found.append(task)
        return found

    async def _create(
        self, new: Sequence[NewTask]
    ) -> Sequence[CreatedTask | QuebertError]:
        if not new:
            return ()
        try:
            return await self._created.create(new)
        except (TaskStoreClosed, TooManyTasks):  # they are not there
            raise
        except TaskStoreError as e:
            status = HTTPStatus.SERVICE_UNAVAILABLE
            raise APIProblem(status, f"{e}; {_MAY_RUN}", LATER, kind=IN_DOUBT) from None


def _items(given: object) -> Sequence[object]:
    """
    The tasks of a batch.

    @raise APIProblem: there are none, or too many.
    """
    items = given.get("tasks") if isinstance(given, Mapping) else None
    is_list = isinstance(items, list) and 0 < len(items) <= MOST_TASKS
    if isinstance(items, list) and is_list and given == {"tasks": items}:
        return items
    text = f"tasks must be there, and nothing else: 1 to {MOST_TASKS} tasks"
    raise APIProblem(HTTPStatus.UNPROCESSABLE_ENTITY, text, field="tasks")


def _told(result: CreatedTask | QuebertError | APIProblem, key: Key | None) -> Any:
    if isinstance(result, CreatedTask):
        return {"status": int(HTTPStatus.CREATED), "task": _shown(result)}
    problem = result if isinstance(result, APIProblem) else _problem(result, key)
    return {"status": problem.status, "problem": problem.problem}


def _shown(result: CreatedTask) -> dict[str, Any]:
    """
    The L{CreatedView<quebert.web.CreatedView>} of a task as the first answer has it, by
    hand: there may be a thousand.
    """
    task = result.task
    return {
        "uuid": task.uuid,
        "queue": task.queue,
        "name": task.name,
        "state": PUBLISHED,
        "added": task.created,
        "due": task.due,
        "end": None,
        "held_until": None,
    }


def _problem(error: QuebertError, key: Key | None) -> APIProblem:
    """
    Why a task is not created.
    """
    text = str(error)
    match error:
        case UUIDTaken() if key is not None:
            text = "the Idempotency-Key is of another request: its task differs"
            status = HTTPStatus.UNPROCESSABLE_ENTITY
            return APIProblem(status, text, field="Idempotency-Key", kind=KEY_REUSED)
        case TaskUnknown():  # the first request was refused, this one was not made
            status = HTTPStatus.SERVICE_UNAVAILABLE
            return APIProblem(status, text, LATER, kind=QUEUE_REFUSES)
        case PublishRefused():
            return problem_of(error)
        case BrokerError(added=None):
            status = HTTPStatus.SERVICE_UNAVAILABLE
            text = f"{text}; {_MAY_RUN}: it is kept, and published when that is over"
            return APIProblem(status, text, LATER, kind=IN_DOUBT)
        case _:
            return problem_of(error)
