"""
The handlers of requests that read tasks: from the history, and from the rows of those
that were created here.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import attrs

from quebert._text import shown_url
from quebert.created_tasks import (
    DELETED,
    DELETING,
    STATES,
    CreatedTask,
    CreatedTasks,
    RowQuery,
)
from quebert.errors import BadTask, TaskStoreError, TaskUnknown
from quebert.history import TaskSummary
from quebert.task import decode
from quebert.web._boundaries import Cluster, TaskQuery
from quebert.web._call import Call
from quebert.web._exchange import APIAnswer, APIProblem, APIRequest, json_answer
from quebert.web._problems import NO_TASK
from quebert.web._request import number_of, page_size_of, text_of, time_of
from quebert.web._views import CreatedPage, CreatedView, TaskDetail

__all__ = ["TaskHandlers", "created_view"]

# Fields of a search in the history.
_OF_HISTORY = ("q", "url", "status", "outcome", "reason", "after", "before")
# Pages of rows that are looked through for one of those of some queues alone.
_PAGES = 20
_TOKEN = re.compile(r"[1-9][0-9]{0,17}")


class TaskHandlers:
    """
    Answers requests that read tasks.
    """

    def __init__(self, cluster: Cluster, created: CreatedTasks) -> None:
        self._cluster = cluster
        self._created = created

    async def tasks(self, call: Call) -> APIAnswer:
        """
        Search: with C{state} or C{name} among the tasks that were created here, else in
        the history.
        """
        query = call.request.query
        if "state" in query or "name" in query:
            return await self._rows(call)
        wanted = _task_query(call.request)
        if wanted.queue:
            call.check(wanted.queue)
        # Whether there is another page must tell nothing of other queues.
        wanted = attrs.evolve(wanted, patterns=call.grant.queues)
        page = await self._cluster.tasks(wanted)
        tasks = tuple(each for each in page.tasks if call.grant.sees(each.queue))
        return json_answer(attrs.evolve(page, tasks=tasks))

    async def _rows(self, call: Call) -> APIAnswer:
        query = _row_query(call.request)
        if query.queue:
            call.check(query.queue)
        views: list[CreatedView] = []
        for _ in range(_PAGES):
            rows, after = await self._created.page(query)
            views += [created_view(r) for r in rows if call.grant.sees(r.task.queue)]
            left = query.size - len(views)
            if not after or not left or call.grant.is_for_all:
                break
            query = attrs.evolve(query, after=after, size=left)
        token = str(after) if after else None
        return json_answer(CreatedPage(tasks=tuple(views), next_page_token=token))

    async def task(self, call: Call) -> APIAnswer:
        """
        One task, with its attempts and its row.
        """
        uuid, sees = call.names["uuid"], call.grant.sees
        away: TaskStoreError | None = None
        row: CreatedTask | None = None
        try:
            row = await self._row(uuid)
        except TaskStoreError as e:
            away = e
        if row is not None and not sees(row.task.queue):
            row = None
        found = await self._cluster.task(uuid)
        if found is None or not sees(found.task.queue):
            if away is not None:
                raise away
            if row is None:
                text = f"there is no task {uuid:.100}, neither created here nor in the"
                raise APIProblem(HTTPStatus.NOT_FOUND, f"{text} history", kind=NO_TASK)
            found = TaskDetail(task=_summary(row))
        # Another task, of another queue, may have the same uuid.
        seen = tuple(each for each in found.attempts if sees(each.queue))
        return json_answer(_with_row(attrs.evolve(found, attempts=seen), row))

    async def _row(self, uuid: str) -> CreatedTask | None:
        try:
            return await self._created.find(uuid)
        except TaskUnknown:
            return None

    async def why(self, call: Call) -> APIAnswer:
        """
        Why a task waits.
        """
        uuid, queue = call.names["uuid"], text_of(call.request, "queue")
        if queue:
            call.check(queue)
        elif not call.grant.is_for_all:
            text = "name the queue: the token is for some queues alone"
            raise APIProblem(HTTPStatus.BAD_REQUEST, text, field="queue")
        return json_answer(await self._cluster.why(uuid, queue))


def created_view(row: CreatedTask) -> CreatedView:
    """
    The row of a task.
    """
    task = row.task
    return CreatedView(
        uuid=task.uuid,
        queue=task.queue,
        name=task.name,
        state=row.state,
        added=task.created,
        due=task.due,
        end=row.end,
        held_until=row.held_until or None,
    )


def _with_row(found: TaskDetail, row: CreatedTask | None) -> TaskDetail:
    if row is None:
        return found
    if row.state in (DELETING, DELETED):  # of which the history may know nothing
        task = attrs.evolve(found.task, state="cancelled")
        found = attrs.evolve(found, task=task)
    return attrs.evolve(found, created=created_view(row))


def _summary(row: CreatedTask) -> TaskSummary:
    """
    A task of which the history has nothing yet, or nothing any more.
    """
    task = row.task
    return TaskSummary(
        uuid=task.uuid,
        queue=task.queue,
        url=_url(task.body),
        state="waiting" if row.end is None else row.end.outcome,
        added=task.created,
        due=task.due,
    )


def _url(body: bytes) -> str:
    """
    The URL of a task, without secrets; empty where the row has no body any more.
    """
    try:
        return shown_url(decode(body)["url"])
    except (BadTask, KeyError, TypeError):
        return ""


def _row_query(request: APIRequest) -> RowQuery:
    """
    @raise APIProblem: a field is wrong.
    """
    for field in _OF_HISTORY:
        if field in request.query:
            text = f"{field} searches the history: give neither state nor name with it"
            raise APIProblem(HTTPStatus.BAD_REQUEST, text, field=field)
    states = request.query.get("state", ())
    if not set(states).issubset(STATES):
        text = f"state must be one of {', '.join(STATES)}"
        raise APIProblem(HTTPStatus.BAD_REQUEST, text, field="state")
    token = text_of(request, "page_token")
    if token and not _TOKEN.fullmatch(token):
        text = "page_token is none of such a list"
        raise APIProblem(HTTPStatus.BAD_REQUEST, text, field="page_token")
    return RowQuery(
        queue=text_of(request, "queue"),
        name=text_of(request, "name"),
        states=tuple(dict.fromkeys(states)),
        after=int(token or 0),
        size=page_size_of(request),
        bodies=False,
    )


def _task_query(request: APIRequest) -> TaskQuery:
    """
    @raise APIProblem: a field is wrong.
    """
    names = ("q", "queue", "url", "outcome", "reason", "page_token")
    texts: dict[str, Any] = {name: text_of(request, name) for name in names}
    return TaskQuery(
        status=number_of(request, "status", 0, 999),
        after=time_of(request, "after"),
        before=time_of(request, "before"),
        page_size=page_size_of(request),
        **texts,
    )
