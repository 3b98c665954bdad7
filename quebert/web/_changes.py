"""
The handlers of requests that change something.  Each is written to the audit log, with
its result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

from quebert.created_tasks import CreatedTasks, NewTask
from quebert.errors import BrokerError, TaskUnknown
from quebert.operations import Cancelled, Match, Progress, RunNow
from quebert.web._audit import Audit
from quebert.web._background import Background
from quebert.web._boundaries import Controls
from quebert.web._call import Call
from quebert.web._exchange import APIAnswer, APIProblem, json_answer
from quebert.web._problems import IN_DOUBT, LATER, NO_TASK
from quebert.web._request import body_fields, matches_of, text_of
from quebert.web._views import BackgroundView, ChangeView

__all__ = ["ChangeHandlers"]

T = TypeVar("T")
_Bulk = Callable[[str, Sequence[Match], Progress], Awaitable[object]]


class ChangeHandlers:
    """
    Answers requests that change something.
    """

    def __init__(
        self,
        controls: Controls,
        created: CreatedTasks,
        background: Background,
        audit: Audit,
    ) -> None:
        self._controls = controls
        self._created = created
        self._background = background
        self._audit = audit

    async def _noted(
        self,
        call: Call,
        action: str,
        work: Awaitable[T],
        told: Callable[[T], str],
        **about: Any,
    ) -> T:
        """
        Await C{work}, and write its result to the audit log.
        """
        caller = call.request.caller
        try:
            result = await work
        except BaseException as e:
            self._audit.note(caller, action, f"failed: {e}", **about)
            raise
        self._audit.note(caller, action, told(result), **about)
        return result

    # -- Of a queue

    async def pause(self, call: Call) -> APIAnswer:
        """
        Pause a queue.
        """
        body_fields(call.request)
        by = call.request.caller.shown
        work = self._controls.pause(call.queue, by)
        problems = await self._noted(call, "pause", work, _told, queue=call.queue)
        return json_answer({"done": True, "count": 0, "problems": problems})

    async def resume(self, call: Call) -> APIAnswer:
        """
        Have a queue go on.
        """
        body_fields(call.request)
        work = self._controls.resume(call.queue)
        problems = await self._noted(call, "resume", work, _told, queue=call.queue)
        return json_answer({"done": True, "count": 0, "problems": problems})

    async def purge(self, call: Call) -> APIAnswer:
        """
        Drop the tasks that wait.
        """
        body_fields(call.request)
        work = self._controls.purge(call.queue)
        found = await self._noted(call, "purge", work, _dropped, queue=call.queue)
        return json_answer({"done": found.ended, "count": found.done})

    # -- Of many tasks

    async def redrive(self, call: Call) -> APIAnswer:
        """
        Put dead letters back.
        """
        return self._begin(call, "redrive", call.queue, self._controls.redrive, "match")

    async def discard(self, call: Call) -> APIAnswer:
        """
        Drop dead letters.
        """
        return self._begin(call, "discard", call.queue, self._controls.discard, "match")

    async def cancel_many(self, call: Call) -> APIAnswer:
        """
        Cancel all tasks that match.
        """
        queue = _queue(body_fields(call.request, "queue", "match"))
        by = call.request.caller.shown
        bulk = partial(self._controls.cancel_matching, by=by)
        fields = "queue", "match"
        return self._begin(call, "cancel", call.check(queue), bulk, *fields)

    def _begin(
        self, call: Call, action: str, queue: str, bulk: _Bulk, *fields: str
    ) -> APIAnswer:
        found = body_fields(call.request, *fields)
        if "match" not in found:
            text = "match must be there: a list of conditions, [] for all"
            raise APIProblem(HTTPStatus.BAD_REQUEST, text, field="match")
        matches = matches_of(found["match"], of_waiting=action == "cancel")
        about = {"queue": queue, "match": found["match"]}
        caller = call.request.caller

        def ended(view: BackgroundView) -> None:
            result = f"{view.count} done"
            if view.problem:
                result = f"{result}, then failed: {view.problem}"
            name = {"operation": view.operation}
            self._audit.note(caller, action, result, **about, **name)

        def work(progress: Progress) -> Awaitable[object]:
            return bulk(queue, matches, progress)

        view = self._background.start(action, queue, work, ended)
        name = {"operation": view.operation}
        if not view.done:
            self._audit.note(caller, action, "begun", **about, **name)
        return json_answer(name, HTTPStatus.ACCEPTED)

    async def operation(self, call: Call) -> APIAnswer:
        """
        How far an operation is.
        """
        name = call.names["id"]
        view = self._background.find(name)
        if view is None or not call.grant.sees(view.queue):
            text = f"there is no operation {name:.100}"
            raise APIProblem(HTTPStatus.NOT_FOUND, text)
        return json_answer(view)

    # -- Of one task

    async def run(self, call: Call) -> APIAnswer:
        """
        Have a delayed task be attempted now.
        """
        fields, uuid = body_fields(call.request, "queue"), call.names["uuid"]
        task = await self._created_here(call, _queue(fields) if fields else "")
        if task is not None:
            work: Awaitable[ChangeView] = self._run_created(uuid)
            return await self._changed(call, "run", task.queue, work)
        queue = call.check(_queue(fields))
        work = self._controls.run_now(queue, uuid)
        return await self._changed(call, "run", queue, work)

    async def _run_created(self, uuid: str) -> ChangeView:
        return _view(await self._created.run_now(uuid))

    async def cancel(self, call: Call) -> APIAnswer:
        """
        Cancel a task: no attempt at it begins any more.
        """
        queue, uuid = text_of(call.request, "queue"), call.names["uuid"]
        by = call.request.caller.shown
        task = await self._created_here(call, queue)
        if task is not None:
            work: Awaitable[ChangeView] = self._delete_created(uuid, by)
            return await self._changed(call, "cancel", task.queue, work)
        queue = call.check(_queue({"queue": queue}))
        work = self._controls.cancel(queue, uuid, by)
        return await self._changed(call, "cancel", queue, work)

    async def _delete_created(self, uuid: str, by: str) -> ChangeView:
        try:
            return _view(await self._created.delete(uuid, by))
        except BrokerError as e:
            text = f"{e}; the task is deleted once RabbitMQ is back"
            status = HTTPStatus.SERVICE_UNAVAILABLE
            raise APIProblem(status, text, LATER, kind=IN_DOUBT) from None

    async def _created_here(self, call: Call, queue: str) -> NewTask | None:
        """
        The task, if it was created here.

        @param queue: empty if the client names none.
        @raise APIProblem: the client names none, and there is no such task.
        """
        uuid = call.names["uuid"]
        try:
            row = await self._created.find(uuid)
        except TaskUnknown:
            row = None
        if row is not None and queue in ("", row.task.queue):
            if call.grant.sees(row.task.queue):
                return row.task
        elif queue:
            return None
        text = f"no task {uuid:.100} was created here: name the queue of any other task"
        raise APIProblem(HTTPStatus.NOT_FOUND, text, field="queue", kind=NO_TASK)

    async def _changed(
        self, call: Call, action: str, queue: str, work: Awaitable[ChangeView]
    ) -> APIAnswer:
        about = {"queue": queue, "uuid": call.names["uuid"]}
        view = await self._noted(call, action, work, lambda v: v.result, **about)
        return json_answer(view)


def _view(done: Cancelled | RunNow) -> ChangeView:
    return ChangeView(result=done.result, text="; ".join((done.text, *done.problems)))


def _told(problems: Sequence[str]) -> str:
    return "; ".join(("done", *problems))


def _dropped(found: Progress) -> str:
    return f"{found.done} dropped{'' if found.ended else '; some are left'}"


def _queue(fields: Mapping[str, Any]) -> str:
    queue = fields.get("queue")
    if isinstance(queue, str) and queue:  # Call.check knows how long it may be
        return queue
    text = "queue must be the name of a queue"
    raise APIProblem(HTTPStatus.BAD_REQUEST, text, field="queue")
