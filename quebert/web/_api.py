"""
The API: a table of routes, and what answers them.

To add a route: a line in L{API}, its function here or in L{quebert.web._changes},
and C{docs/web.rst}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, TimeoutError

from quebert._log import Logger
from quebert.errors import ConfigError, QuebertError
from quebert.web._access_rules import AccessRules, not_allowed
from quebert.web._boundaries import (
    BadPageToken,
    Cluster,
    Health,
    ServerReport,
    TaskQuery,
)
from quebert.web._call import Call
from quebert.web._changes import ChangeHandlers
from quebert.web._exchange import (
    APIAnswer,
    APIProblem,
    APIRequest,
    json_answer,
    problem_answer,
)
from quebert.web._hub import may_operate, seen_by
from quebert.web._request import (
    matches_of,
    number_of,
    page_size_of,
    text_of,
    time_of,
)
from quebert.web._routes import Route, Routes
from quebert.web._snapshots import Snapshots
from quebert.web._tokens import Grant

__all__ = ["API", "Streaming"]

# Seconds in which a request has its answer.
_PATIENCE = 30.0
_LATER = ("Retry-After", "2")
_READ, _OPERATE = "read", "operate"


@attrs.frozen(kw_only=True)
class Streaming:
    """
    The answer to somebody who wants to be told of events.
    """

    grant: Grant
    queue: str
    last_id: str


Reply = APIAnswer | Streaming


class API:
    """
    Answers requests.

    @param admission: gives who may do what now.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        cluster: Cluster,
        changes: ChangeHandlers,
        snapshots: Snapshots,
        exposition: ServerReport,
        admission: Callable[[], AccessRules],
    ) -> None:
        self._reactor = reactor
        self._cluster = cluster
        self._snapshots = snapshots
        self._exposition = exposition
        self._admission = admission
        self._routes: Routes[Call] = Routes(
            [
                Route("GET", "/metrics", _READ, self._metrics),
                Route("GET", "/healthz", "", self._healthz),
                Route("GET", "/readyz", "", self._readyz),
                Route("GET", "/v1/overview", _READ, self._overview),
                Route("GET", "/v1/queues/{queue}", _READ, self._queue),
                Route("GET", "/v1/queues/{queue}/dead", _READ, self._dead),
                Route("GET", "/v1/tasks", _READ, self._tasks),
                Route("GET", "/v1/tasks/{uuid}", _READ, self._task),
                Route("GET", "/v1/tasks/{uuid}/why", _READ, self._why),
                Route("GET", "/v1/hosts", _READ, self._hosts),
                Route("GET", "/v1/mediators", _READ, self._mediators),
                Route("GET", "/v1/events", _READ, self._events),
                Route("GET", "/v1/operations/{id}", _READ, changes.operation),
                Route("POST", "/v1/queues/{queue}:pause", _OPERATE, changes.pause),
                Route("POST", "/v1/queues/{queue}:resume", _OPERATE, changes.resume),
                Route("POST", "/v1/queues/{queue}:purge", _OPERATE, changes.purge),
                Route(
                    "POST",
                    "/v1/queues/{queue}/dead:redrive",
                    _OPERATE,
                    changes.redrive,
                ),
                Route(
                    "POST",
                    "/v1/queues/{queue}/dead:discard",
                    _OPERATE,
                    changes.discard,
                ),
                Route("POST", "/v1/tasks/{uuid}:run", _OPERATE, changes.run),
                Route("DELETE", "/v1/tasks/{uuid}", _OPERATE, changes.cancel),
                Route("POST", "/v1/tasks:cancel", _OPERATE, changes.cancel_many),
            ]
        )

    async def answer(self, request: APIRequest) -> Reply:
        """
        The answer to a request, whatever happens.
        """
        try:
            route, names = self._routes.find(request)
            grant = Grant("", frozenset())
            if route.right:
                grant = self._admission().grant(request)
                if route.right not in grant.rights:
                    raise not_allowed(grant, route.right)
            caller = attrs.evolve(request.caller, name=grant.name)
            request = attrs.evolve(request, caller=caller)
            call = Call(request=request, grant=grant, right=route.right, names=names)
            if route.right and "queue" in names:
                call.check(names["queue"])
            answering = Deferred.fromCoroutine(_awaited(route.handler(call)))
            found: Reply = await answering.addTimeout(_PATIENCE, self._reactor)
            return found
        except APIProblem as e:
            return e.answer
        except BadPageToken as e:
            return problem_answer(400, str(e), field="page_token")
        except ConfigError as e:
            return problem_answer(404, str(e))
        except CancelledError:
            raise
        except TimeoutError:
            text = f"there was no answer in {_PATIENCE:g} s"
            return problem_answer(503, text, _LATER)
        except QuebertError as e:  # the broker, or the database
            return problem_answer(503, str(e), _LATER)
        except Exception:
            self.log.failure("A request to the API failed.")
            return problem_answer(500, "this is a fault of the server; its log has it")

    # -- Of the process

    async def _metrics(self, call: Call) -> APIAnswer:
        call.check_all()
        accept = call.request.headers.get("accept", "")
        content_type, body = self._exposition.metrics(accept)
        return APIAnswer(body=body, content_type=content_type)

    async def _healthz(self, call: Call) -> APIAnswer:
        return _health(self._exposition.alive())

    async def _readyz(self, call: Call) -> APIAnswer:
        return _health(self._exposition.ready())

    # -- Of the cluster

    async def _overview(self, call: Call) -> APIAnswer:
        view = seen_by(await self._snapshots.get(), call.grant)
        return json_answer(view, may_operate=may_operate(call.grant))

    async def _hosts(self, call: Call) -> APIAnswer:
        call.check_all()
        return json_answer({"hosts": (await self._snapshots.get()).hosts})

    async def _mediators(self, call: Call) -> APIAnswer:
        call.check_all()
        return json_answer({"mediators": (await self._snapshots.get()).mediators})

    async def _events(self, call: Call) -> Reply:
        queue = text_of(call.request, "queue")
        if queue:
            call.check(queue)
        last_id = call.request.headers.get("last-event-id", "")
        return Streaming(grant=call.grant, queue=queue, last_id=last_id)

    async def _queue(self, call: Call) -> APIAnswer:
        return json_answer(await self._cluster.queue(call.queue))

    async def _dead(self, call: Call) -> APIAnswer:
        request = call.request
        matches = matches_of(request.query.get("match", ()))
        token = text_of(request, "page_token")
        size = page_size_of(request)
        page = self._cluster.dead(call.queue, matches, token, size)
        return json_answer(await page)

    # -- Of tasks

    async def _tasks(self, call: Call) -> APIAnswer:
        query = _task_query(call.request)
        if query.queue:
            call.check(query.queue)
        page = await self._cluster.tasks(query)
        if not call.grant.is_for_all:
            tasks = tuple(each for each in page.tasks if call.grant.sees(each.queue))
            page = attrs.evolve(page, tasks=tasks)
        return json_answer(page)

    async def _task(self, call: Call) -> APIAnswer:
        uuid = call.names["uuid"]
        found = await self._cluster.task(uuid)
        if found is None or not call.grant.sees(found.task.queue):
            text = f"the history has no task {uuid:.100}"
            raise APIProblem(HTTPStatus.NOT_FOUND, text)
        return json_answer(found)

    async def _why(self, call: Call) -> APIAnswer:
        uuid, queue = call.names["uuid"], text_of(call.request, "queue")
        if not queue:
            found = await self._cluster.task(uuid)
            queue = found.task.queue if found is not None else ""
        if not queue:
            text = "name the queue: the history has no such task"
            raise APIProblem(HTTPStatus.BAD_REQUEST, text, field="queue")
        return json_answer(await self._cluster.why(uuid, call.check(queue)))


def _task_query(request: APIRequest) -> TaskQuery:
    """
    @raise APIProblem: a field is wrong.
    """
    names = ("q", "queue", "url", "outcome", "reason", "page_token")
    texts = {name: text_of(request, name) for name in names}
    return TaskQuery(
        status=number_of(request, "status", 0, 999),
        after=time_of(request, "after"),
        before=time_of(request, "before"),
        page_size=page_size_of(request),
        **texts,
    )


def _health(health: Health) -> APIAnswer:
    return APIAnswer(status=200 if health.ok else 503, body=health.body)


async def _awaited(given: Awaitable[object]) -> Any:
    return await given
