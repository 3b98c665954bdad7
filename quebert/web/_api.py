"""
The API: a table of routes, and the functions that answer.

To add a route: a line in C{_table}, its function here or in L{quebert.web._changes},
and C{docs/web.rst}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from quebert._deadlines import Deadlines
from quebert._log import Logger
from quebert.errors import ConfigError, QuebertError
from quebert.web._access_rules import AccessRules, not_allowed
from quebert.web._boundaries import (
    BadPageToken,
    Cluster,
    Health,
    OtherAPI,
    ServerReport,
    TaskQuery,
)
from quebert.web._call import Call
from quebert.web._changes import ChangeHandlers
from quebert.web._exchange import (
    APIAnswer,
    APIProblem,
    APIRequest,
    Caller,
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

__all__ = ["API", "MOST_ASKED", "Reply", "Streaming"]

#: Requests that ask the broker or the history, at a time.
MOST_ASKED = 32
# Seconds in which a request has its answer.
_PATIENCE = 30.0
_LATER = ("Retry-After", "2")
_READ, _OPERATE = "read", "operate"
# For who looks at the rights later.
_ANY = "any"


@attrs.frozen(kw_only=True)
class Streaming:
    """
    The answer to a request for a stream of events.
    """

    grant: Grant
    queue: str
    last_id: str


Reply = APIAnswer | Streaming
Handler = Callable[[Call], Awaitable[Any]]
T = TypeVar("T")


class API:
    """
    Answers requests.

    @param admission: gives the access rules in force.
    @param others: APIs beside this one, by the first word of their paths.
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
        others: Mapping[str, OtherAPI] | None = None,
    ) -> None:
        self._deadlines: Deadlines[Deferred[Reply]] = Deadlines(
            lambda: reactor, Deferred.cancel
        )
        self._cluster = cluster
        self._snapshots = snapshots
        self._exposition = exposition
        self._admission = admission
        self._others = others or {}
        self._asked = 0
        self._routes = Routes(self._table(changes))

    def _table(self, changes: ChangeHandlers) -> Iterator[Route[Call]]:
        def get(path: str, handler: Handler, right: str = _READ) -> Route[Call]:
            return Route("GET", path, right, handler)

        def post(path: str, handler: Handler) -> Route[Call]:
            return Route("POST", path, _OPERATE, handler)

        yield get("/metrics", self._metrics)
        yield get("/healthz", self._healthz, "")
        yield get("/readyz", self._readyz, "")
        yield get("/v1/overview", self._overview)
        yield get("/v1/hosts", self._hosts)
        yield get("/v1/mediators", self._mediators)
        yield get("/v1/events", self._events)
        yield get("/v1/operations/{id}", changes.operation)
        yield get("/v1/queues/{queue}", self._asking(self._queue))
        yield get("/v1/queues/{queue}/dead", self._asking(self._dead))
        yield get("/v1/tasks", self._asking(self._tasks))
        yield get("/v1/tasks/{uuid}", self._asking(self._task))
        yield get("/v1/tasks/{uuid}/why", self._asking(self._why))
        yield post("/v1/queues/{queue}:pause", changes.pause)
        yield post("/v1/queues/{queue}:resume", changes.resume)
        yield post("/v1/queues/{queue}:purge", changes.purge)
        yield post("/v1/queues/{queue}/dead:redrive", changes.redrive)
        yield post("/v1/queues/{queue}/dead:discard", changes.discard)
        yield post("/v1/tasks/{uuid}:run", changes.run)
        yield post("/v1/tasks:cancel", changes.cancel_many)
        yield Route("DELETE", "/v1/tasks/{uuid}", _OPERATE, changes.cancel)

    def answer(self, request: APIRequest) -> Deferred[Reply]:
        """
        The answer to a request, whatever happens; unless it is cancelled, as a request
        is whose answer nobody waits for.
        """
        answering = Deferred.fromCoroutine(self._answer(request))
        if not answering.called:
            self._deadlines.begin(answering, _PATIENCE)
            answering.addBoth(self._ended, answering)
        answering.addErrback(self._failed, request)
        if self._others and request.path:
            path = f"/{request.path[0]}/"
            answering.addCallback(self._formed, path)
        return answering

    def _formed(self, reply: Reply, path: str) -> Reply:
        return reply if isinstance(reply, Streaming) else self.in_form_of(path, reply)

    def in_form_of(self, path: str, answer: APIAnswer) -> APIAnswer:
        """
        An answer in the form of the API that a path is of.
        """
        other = self._others.get(path[1:].partition("/")[0])
        return answer if other is None else other.formed(answer)

    def _ended(self, result: T, answering: Deferred[Reply]) -> T:
        self._deadlines.end(answering)
        return result

    def _failed(self, failure: Failure, request: APIRequest) -> APIAnswer:
        match failure.value:
            case APIProblem() as e:
                return e.answer
            case BadPageToken() as e:
                return problem_answer(
                    HTTPStatus.BAD_REQUEST, str(e), field="page_token"
                )
            case ConfigError() as e:
                return problem_answer(HTTPStatus.NOT_FOUND, str(e))
            case CancelledError():  # its time is over, or nobody waits for the answer
                return _unavailable(f"there was no answer in {_PATIENCE:g} s")
            case QuebertError() as e:  # the broker, or the database
                return _unavailable(str(e))
        self.log.failure("A request to the API failed.", failure)
        text = "this is a fault of the server; its log has it"
        return problem_answer(HTTPStatus.INTERNAL_SERVER_ERROR, text)

    async def _answer(self, request: APIRequest) -> Reply:
        other = self._others.get(request.path[0]) if request.path else None
        if other is not None:
            request = other.prepared(request)
            return await other.answer(request, self._admitted(request, _ANY))
        route, names = self._routes.find(request)
        grant = self._admitted(request, route.right)
        caller = Caller(name=grant.name, address=request.caller.address)
        request = attrs.evolve(request, caller=caller)
        call = Call(request=request, grant=grant, right=route.right, names=names)
        if "queue" in names:
            call.check(names["queue"])
        found: Reply = await route.handler(call)
        return found

    def _admitted(self, request: APIRequest, right: str) -> Grant:
        if not right:
            return Grant("", frozenset())
        grant = self._admission().grant(request)
        if right != _ANY and right not in grant.rights:
            raise not_allowed(grant, right)
        return grant

    def _asking(self, handler: Handler) -> Handler:
        """
        The same, for a while not more than L{MOST_ASKED} times: it asks the broker, or
        the history.
        """

        async def asking(call: Call) -> object:
            if self._asked >= MOST_ASKED:
                text = f"{MOST_ASKED} requests wait for the broker or the history"
                raise APIProblem(HTTPStatus.SERVICE_UNAVAILABLE, text, _LATER)
            self._asked += 1
            try:
                return await handler(call)
            finally:
                self._asked -= 1

        return asking

    # -- Of the process

    async def _metrics(self, call: Call) -> APIAnswer:
        call.check_all()
        accept = call.request.headers.get("accept", "")
        content_type, body = self._exposition.metrics(accept)
        return APIAnswer(body=body, content_type=content_type)

    async def _healthz(self, call: Call) -> APIAnswer:
        return _health(self._exposition.alive())

    async def _readyz(self, call: Call) -> APIAnswer:
        answer = _health(self._exposition.ready())
        try:
            self._admitted(call.request, _READ)
        except APIProblem:  # the reasons name the broker
            return attrs.evolve(answer, body=b"{}\n")
        return answer

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
        # Another task, of another queue, may have the same uuid.
        seen = [each for each in found.attempts if call.grant.sees(each.queue)]
        return json_answer(attrs.evolve(found, attempts=tuple(seen)))

    async def _why(self, call: Call) -> APIAnswer:
        uuid, queue = call.names["uuid"], text_of(call.request, "queue")
        if queue:
            call.check(queue)
        elif not call.grant.is_for_all:
            text = "name the queue: the token is for some queues alone"
            raise APIProblem(HTTPStatus.BAD_REQUEST, text, field="queue")
        return json_answer(await self._cluster.why(uuid, queue))


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


def _unavailable(text: str) -> APIAnswer:
    return problem_answer(HTTPStatus.SERVICE_UNAVAILABLE, text, _LATER)


def _health(health: Health) -> APIAnswer:
    return APIAnswer(status=200 if health.ok else 503, body=health.body)
