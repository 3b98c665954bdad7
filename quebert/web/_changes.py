"""
The handlers of requests that change something.  Each is written to the audit log, with
its result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

from quebert.operations import Match, Progress
from quebert.web._audit import Audit
from quebert.web._background import Background
from quebert.web._boundaries import Controls
from quebert.web._call import Call
from quebert.web._exchange import APIAnswer, APIProblem, json_answer
from quebert.web._request import body_fields, matches_of, text_of
from quebert.web._views import BackgroundView

__all__ = ["ChangeHandlers"]

T = TypeVar("T")
_Bulk = Callable[[str, Sequence[Match], Progress], Awaitable[object]]


class ChangeHandlers:
    """
    Answers requests that change something.
    """

    def __init__(
        self, controls: Controls, background: Background, audit: Audit
    ) -> None:
        self._controls = controls
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
        count = await self._noted(
            call, "purge", work, lambda n: f"{n} dropped", queue=call.queue
        )
        return json_answer({"done": True, "count": count})

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
        Have tasks never be attempted.
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
        matches = matches_of(found["match"])
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
        queue = call.check(_queue(body_fields(call.request, "queue")))
        uuid = call.names["uuid"]
        work = self._controls.run_now(queue, uuid)
        view = await self._noted(
            call, "run", work, lambda v: v.result, queue=queue, uuid=uuid
        )
        return json_answer(view)

    async def cancel(self, call: Call) -> APIAnswer:
        """
        Have a task never be attempted.
        """
        queue = text_of(call.request, "queue")
        queue = call.check(_queue({"queue": queue} if queue else {}))
        uuid = call.names["uuid"]
        work = self._controls.cancel(queue, uuid, call.request.caller.shown)
        view = await self._noted(
            call, "cancel", work, lambda v: v.result, queue=queue, uuid=uuid
        )
        return json_answer(view)


def _told(problems: Sequence[str]) -> str:
    return "; ".join(("done", *problems))


def _queue(fields: Mapping[str, Any]) -> str:
    queue = fields.get("queue")
    if isinstance(queue, str) and 0 < len(queue.encode("utf-8", "replace")) < 256:
        return queue
    text = "queue must be the name of a queue"
    raise APIProblem(HTTPStatus.BAD_REQUEST, text, field="queue")
