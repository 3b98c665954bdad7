"""
What is documented of each route, for OpenAPI: parameters, bodies, answers.  Pure.

Answers are classes of L{quebert.web._views} and others, or schemas in which such
classes stand for theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from quebert._bounds import SHORT_STRING
from quebert.created_tasks import STATES
from quebert.operations import LiveHost, LiveMediator
from quebert.signatures import JWKS_PATH
from quebert.web._creating import MOST_TASKS
from quebert.web._exchange import JSON
from quebert.web._leasing import LONGEST
from quebert.web._schemas import (
    MATCHES,
    NEW_TASK,
    QUEUE_NAME,
    Schema,
    array,
    closed,
    opened,
)
from quebert.web._views import (
    BackgroundView,
    ChangeView,
    ClusterView,
    CreatedPage,
    CreatedView,
    DeadPage,
    QueueDetail,
    TaskDetail,
    TaskPage,
    WhyView,
)

__all__ = ["DOCS", "RouteDoc"]


@attrs.frozen(kw_only=True)
class RouteDoc:
    """
    What is documented of a route.

    @ivar name: of the operation, for the names of functions that tools make.
    @ivar summary: a line.
    @ivar status: of the answer if all is well.
    @ivar answer: its class or schema; C{None} where it is no JSON.
    @ivar content_type: of the answer.
    @ivar problems: other statuses, beside those that each route of its right has.
    @ivar query: parameters of the query, with their schemas.
    @ivar headers: parameters that are headers, likewise.
    @ivar body: the schema of the body; C{None} for none.
    @ivar needs_body: whether it must be there.
    """

    name: str
    summary: str
    status: int = 200
    answer: Any = None
    content_type: str = JSON
    problems: tuple[int, ...] = ()
    query: Mapping[str, Schema] = attrs.field(factory=dict)
    headers: Mapping[str, Schema] = attrs.field(factory=dict)
    body: Schema | None = None
    needs_body: bool = False


def _said(description: str, schema: Schema) -> Schema:
    return {"description": description, **schema}


_TEXT: Schema = {"type": "string", "maxLength": 2_048, "pattern": "^[^\\u0000]*$"}
_QUEUE: Schema = {**_TEXT, "maxLength": SHORT_STRING}
# An empty text is as good as none.
_NONE: Schema = {"type": "string", "maxLength": 0}
_TIME: Schema = {
    "anyOf": [{"type": "number", "minimum": 0, "exclusiveMaximum": 1e12}, _NONE]
}
_PAGE: Mapping[str, Schema] = {
    "page_token": _said("next_page_token of the page before.", _TEXT),
    "page_size": {
        "anyOf": [{"type": "integer", "minimum": 1, "maximum": 500}, _NONE],
        "default": 50,
    },
}
_KEY: Mapping[str, Schema] = {
    "Idempotency-Key": {
        "description": "Makes the request safe to repeat.",
        "type": "string",
        "pattern": "^[!-~]([ -~]{0,253}[!-~])?$",
    },
}
_HEALTH: Schema = {"type": "object"}
_OPERATION = opened(operation={"type": "string"})
_DONE = opened(done={"type": "boolean"}, count={"type": "integer"})
_ITEM: Schema = {
    "type": "object",
    "properties": {
        "status": {"type": "integer"},
        "task": CreatedView,
        "problem": {"$ref": "#/components/schemas/Problem"},
    },
    "required": ["status"],
}
# A task that is wrong has a result of its own.
_TASKS = array(
    {"description": "A task, as createTask takes it."},
    minItems=1,
    maxItems=MOST_TASKS,
    examples=[[{"url": "http://localhost:8000/hello", "params": {"name": "Ada"}}]],
)
_SEARCH: Mapping[str, Schema] = {
    "q": _said("How the uuid begins.", _TEXT),
    "url": _said("A part of the URL.", _TEXT),
    "outcome": _said("Of the last attempt.", _TEXT),
    "reason": _said("A part of the reason of the last attempt.", _TEXT),
    "name": _said("Of a task that was created here.", _TEXT),
    "queue": _QUEUE,
    "status": _said(
        "Of the last answer.",
        {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 999}, _NONE]},
    ),
    "after": _said("The last attempt ended then or later: seconds since 1970.", _TIME),
    "before": _said("Likewise, then or earlier.", _TIME),
    "state": _said(
        "Of tasks that were created here.",
        {"type": "array", "items": {"enum": list(STATES)}},
    ),
    **_PAGE,
}


def _of_queue(name: str, summary: str) -> RouteDoc:
    problems = 404, 413, 415, 503
    return RouteDoc(
        name=name, summary=summary, answer=_DONE, problems=problems, body=closed()
    )


def _of_many(name: str, summary: str, *fields: str) -> RouteDoc:
    given = {"queue": QUEUE_NAME, "match": MATCHES}
    return RouteDoc(
        name=name,
        summary=summary,
        status=202,
        answer=_OPERATION,
        problems=(404, 413, 415),
        body=closed(*fields, **{field: given[field] for field in fields}),
        needs_body=True,
    )


def _of_lease(name: str, summary: str, **body: Any) -> RouteDoc:
    problems = (404, 409, 413, 415, 503) if not body else (404, 409, 413, 415, 422, 503)
    return RouteDoc(
        name=name,
        summary=summary,
        answer=opened(state={"type": "string"}, until={"type": "number"}),
        problems=problems,
        body=closed(*(["seconds"] if name == "renewLease" else []), **body),
        needs_body=name == "renewLease",
    )


#: What is documented of each route, by its method and path.
DOCS: Mapping[str, RouteDoc] = {
    "GET /metrics": RouteDoc(
        name="getMetrics",
        summary="Metrics of the cluster, for Prometheus.",
        content_type="text/plain",
    ),
    "GET /.well-known/openid-configuration": RouteDoc(
        name="getIssuer",
        summary="The issuer of the ID tokens of Cloud Tasks handlers.",
        answer=_HEALTH,
        problems=(404,),
    ),
    f"GET {JWKS_PATH}": RouteDoc(
        name="getIssuerKeys",
        summary="The public keys of the issuer.",
        answer=_HEALTH,
        problems=(404,),
    ),
    "GET /healthz": RouteDoc(
        name="getHealth",
        summary="Whether the process lives.",
        answer=_HEALTH,
    ),
    "GET /readyz": RouteDoc(
        name="getReadiness",
        summary="Whether the process does all that it should.",
        answer=_HEALTH,
        problems=(503,),
    ),
    "GET /v1/openapi.json": RouteDoc(
        name="getOpenAPI", summary="This document.", answer={"type": "object"}
    ),
    "GET /v1/overview": RouteDoc(
        name="getOverview",
        summary="All queues, hosts and mediators, and problems.",
        answer=ClusterView,
    ),
    "GET /v1/hosts": RouteDoc(
        name="listHosts",
        summary="The hosts of the overview.",
        answer=opened(hosts=array(LiveHost)),
    ),
    "GET /v1/mediators": RouteDoc(
        name="listMediators",
        summary="The mediators of the overview.",
        answer=opened(mediators=array(LiveMediator)),
    ),
    "GET /v1/events": RouteDoc(
        name="streamEvents",
        summary="Server-sent events.",
        content_type="text/event-stream",
        problems=(404, 503),
        query={"queue": _QUEUE},
    ),
    "GET /v1/operations/{id}": RouteDoc(
        name="getOperation",
        summary="How far a long operation is.",
        answer=BackgroundView,
        problems=(404,),
    ),
    "GET /v1/queues/{queue}": RouteDoc(
        name="getQueue",
        summary="A queue, with latencies, due times and attempts.",
        answer=QueueDetail,
        problems=(404, 503),
    ),
    "GET /v1/queues/{queue}/dead": RouteDoc(
        name="listDead",
        summary="Dead letters of a queue, and how many for which reason.",
        answer=DeadPage,
        problems=(404, 503),
        query={"match": MATCHES, **_PAGE},
    ),
    "GET /v1/tasks": RouteDoc(
        name="listTasks",
        summary="Search the history, or by state or name the tasks created here.",
        answer={"anyOf": [TaskPage, CreatedPage]},
        problems=(404, 503),
        query=_SEARCH,
    ),
    "POST /v1/tasks": RouteDoc(
        name="createTask",
        summary="Create a task.",
        status=201,
        answer=CreatedView,
        problems=(404, 409, 413, 415, 422, 503),
        headers=_KEY,
        body=NEW_TASK,
        needs_body=True,
    ),
    "POST /v1/tasks:batch": RouteDoc(
        name="createTasks",
        summary="Create tasks, each with a result of its own.",
        answer=opened(results=array(_ITEM)),
        problems=(413, 415, 422, 503),
        headers=_KEY,
        body=closed("tasks", tasks=_TASKS),
        needs_body=True,
    ),
    "GET /v1/tasks/{uuid}": RouteDoc(
        name="getTask",
        summary="A task with all its attempts, and its row if it was created here.",
        answer=TaskDetail,
        problems=(404, 503),
    ),
    "DELETE /v1/tasks/{uuid}": RouteDoc(
        name="deleteTask",
        summary="Cancel a task: no attempt at it begins any more.",
        answer=ChangeView,
        problems=(404, 410, 503),
        query={"queue": _QUEUE},
    ),
    "GET /v1/tasks/{uuid}/why": RouteDoc(
        name="explainTask",
        summary="Why a task waits.",
        answer=WhyView,
        problems=(404, 503),
        query={"queue": _QUEUE},
    ),
    "POST /v1/tasks/{uuid}:run": RouteDoc(
        name="runTask",
        summary="Run a delayed task now.",
        answer=ChangeView,
        problems=(404, 410, 413, 415, 503),
        body=closed(queue=QUEUE_NAME),
    ),
    "POST /v1/tasks:cancel": _of_many(
        "cancelTasks", "Cancel all tasks that match.", "queue", "match"
    ),
    "POST /v1/leases/{id}:renew": _of_lease(
        "renewLease",
        "Have a lease run out later.",
        seconds={"type": "number", "minimum": 1, "maximum": LONGEST, "examples": [300]},
    ),
    "POST /v1/leases/{id}:complete": _of_lease(
        "completeLease", "Tell that a leased task is done."
    ),
    "POST /v1/leases/{id}:fail": _of_lease(
        "failLease",
        "Tell that a leased task is not done: it is attempted again.",
        seconds={"type": ["number", "null"], "minimum": 0, "maximum": LONGEST},
    ),
    "POST /v1/queues/{queue}:pause": _of_queue("pauseQueue", "Pause a queue."),
    "POST /v1/queues/{queue}:resume": _of_queue("resumeQueue", "Have a queue go on."),
    "POST /v1/queues/{queue}:purge": _of_queue("purgeQueue", "Drop what waits in it."),
    "POST /v1/queues/{queue}/dead:redrive": _of_many(
        "redriveDead", "Put dead letters back.", "match"
    ),
    "POST /v1/queues/{queue}/dead:discard": _of_many(
        "discardDead", "Drop dead letters.", "match"
    ),
}
