"""
The API: a table of routes, and the functions that answer.

To add a route: a line in C{_table}, with the right that it needs; its function here, in
L{quebert.web._tasks}, L{quebert.web._creating}, L{quebert.web._leasing} or
L{quebert.web._changes}; its description for OpenAPI (L{quebert.web._route_docs}) and
for people (C{docs/web.rst}); a request for each status in
C{quebert.test.web.test_routes}; and L{quebert.client}, if programs are to call it.
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
from quebert.config import OIDC
from quebert.errors import QuebertError
from quebert.signatures import JWKS_PATH, openid_configuration
from quebert.web._access_rules import AccessRules, not_allowed
from quebert.web._boundaries import Cluster, Health, OtherAPI, ServerReport
from quebert.web._call import Call
from quebert.web._changes import ChangeHandlers
from quebert.web._creating import CreatingHandlers
from quebert.web._exchange import (
    APIAnswer,
    APIProblem,
    APIRequest,
    Caller,
    json_answer,
    problem_answer,
)
from quebert.web._hub import may_operate, seen_by
from quebert.web._json import encoded
from quebert.web._leasing import LeaseHandlers
from quebert.web._openapi import openapi
from quebert.web._problems import IN_DOUBT, LATER, problem_of
from quebert.web._request import matches_of, page_size_of, text_of
from quebert.web._request_rates import RequestRates
from quebert.web._route_docs import DOCS
from quebert.web._routes import Route, Routes
from quebert.web._snapshots import Snapshots
from quebert.web._tasks import TaskHandlers
from quebert.web._tokens import Grant

__all__ = ["API", "MOST_ASKED", "Handlers", "Reply", "Streaming"]

#: Requests that ask the broker or the history, at a time.
MOST_ASKED = 32
# Seconds in which a request has its answer.
_PATIENCE = 30.0
_READ, _OPERATE, _ADD = "read", "operate", "add"
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


@attrs.frozen(kw_only=True)
class Handlers:
    """
    The handlers that are not of the API itself.
    """

    tasks: TaskHandlers
    creating: CreatingHandlers
    leasing: LeaseHandlers
    changes: ChangeHandlers


class API:
    """
    Answers requests.

    @param admission: gives the access rules in force.
    @param others: APIs beside this one, by the first word of their paths.
    @param oidc: the issuer of ID tokens; C{None} for none.
    @ivar routes: all routes.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        cluster: Cluster,
        handlers: Handlers,
        snapshots: Snapshots,
        exposition: ServerReport,
        admission: Callable[[], AccessRules],
        limits: RequestRates,
        others: Mapping[str, OtherAPI] | None = None,
        oidc: OIDC | None = None,
    ) -> None:
        self._deadlines: Deadlines[Deferred[Reply]] = Deadlines(
            lambda: reactor, Deferred.cancel
        )
        self._cluster = cluster
        self._snapshots = snapshots
        self._exposition = exposition
        self._admission = admission
        self._limits = limits
        self._others = others or {}
        self._oidc = oidc
        self._asked = 0
        self.routes = tuple(self._table(handlers))
        self._routes = Routes(self.routes)
        self._openapi = b""

    def _table(self, handlers: Handlers) -> Iterator[Route[Call]]:
        tasks, creating, leasing, changes = attrs.astuple(handlers, recurse=False)

        def get(path: str, handler: Handler, right: str = _READ) -> Route[Call]:
            return Route("GET", path, right, handler, DOCS[f"GET {path}"])

        def post(path: str, handler: Handler, right: str = _OPERATE) -> Route[Call]:
            return Route("POST", path, right, handler, DOCS[f"POST {path}"])

        def delete(path: str, handler: Handler) -> Route[Call]:
            return Route("DELETE", path, _OPERATE, handler, DOCS[f"DELETE {path}"])

        yield get("/metrics", self._metrics)
        yield get("/healthz", self._healthz, "")
        yield get("/readyz", self._readyz, "")
        yield get("/v1/openapi.json", self._document, "")
        yield get("/.well-known/openid-configuration", self._issuer_document, "")
        yield get(JWKS_PATH, self._issuer_keys, "")
        yield get("/v1/overview", self._overview)
        yield get("/v1/hosts", self._hosts)
        yield get("/v1/mediators", self._mediators)
        yield get("/v1/events", self._events)
        yield get("/v1/operations/{id}", changes.operation)
        yield get("/v1/queues/{queue}", self._asking(self._queue))
        yield get("/v1/queues/{queue}/dead", self._asking(self._dead))
        yield get("/v1/tasks", self._asking(tasks.tasks))
        yield get("/v1/tasks/{uuid}", self._asking(tasks.task))
        yield get("/v1/tasks/{uuid}/why", self._asking(tasks.why))
        yield post("/v1/tasks", creating.create, _ADD)
        yield post("/v1/tasks:batch", creating.create_many, _ADD)
        for name in ("renew", "complete", "fail"):
            yield post(f"/v1/leases/{{id}}:{name}", getattr(leasing, name), "")
        yield post("/v1/queues/{queue}:pause", changes.pause)
        yield post("/v1/queues/{queue}:resume", changes.resume)
        yield post("/v1/queues/{queue}:purge", changes.purge)
        yield post("/v1/queues/{queue}/dead:redrive", changes.redrive)
        yield post("/v1/queues/{queue}/dead:discard", changes.discard)
        yield post("/v1/tasks/{uuid}:run", changes.run)
        yield post("/v1/tasks:cancel", changes.cancel_many)
        yield delete("/v1/tasks/{uuid}", changes.cancel)

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
            answering.addCallback(self._formed, f"/{request.path[0]}/")
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
            case CancelledError():  # its time is over, or nobody waits for the answer
                return _timed_out(request).answer
            case QuebertError() as e:
                return problem_of(e).answer
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

    def admit(self, request: APIRequest) -> Grant:
        """
        The rights of a request, which counts; it may be one over something else than
        HTTP.  To be called in any thread.

        @raise APIProblem: it has no rights, or is one too many.
        """
        try:
            grant = self._admission().grant(request)
        except APIProblem:
            self._limits.count(request.caller)
            raise
        self._limits.count(Caller(name=grant.name, address=request.caller.address))
        return grant

    def _admitted(self, request: APIRequest, right: str) -> Grant:
        if not right:
            return Grant("", frozenset())
        grant = self.admit(request)
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
                raise APIProblem(HTTPStatus.SERVICE_UNAVAILABLE, text, LATER)
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
            grant = self._admission().grant(call.request)
        except APIProblem:
            grant = call.grant
        if _READ not in grant.rights:  # the reasons name the broker
            return attrs.evolve(answer, body=b"{}\n")
        return answer

    async def _document(self, call: Call) -> APIAnswer:
        if not self._openapi:
            self._openapi = encoded(openapi(self.routes))
        return APIAnswer(body=self._openapi)

    async def _issuer_document(self, call: Call) -> APIAnswer:
        return json_answer(openid_configuration(self._issuer.issuer))

    async def _issuer_keys(self, call: Call) -> APIAnswer:
        return json_answer(self._issuer.keys.jwks())

    @property
    def _issuer(self) -> OIDC:
        if self._oidc is None:
            text = "there is no table [oidc]"
            raise APIProblem(HTTPStatus.NOT_FOUND, text)
        return self._oidc

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


def _timed_out(request: APIRequest) -> APIProblem:
    text, kind = f"there was no answer in {_PATIENCE:g} s", ""
    if request.method not in ("GET", "HEAD"):
        text, kind = f"{text}: it may be done all the same", IN_DOUBT
    return APIProblem(HTTPStatus.SERVICE_UNAVAILABLE, text, LATER, kind=kind)


def _health(health: Health) -> APIAnswer:
    return APIAnswer(status=200 if health.ok else 503, body=health.body)
