"""
A web server for C{bench/door.py}: the API with C{POST /v1/tasks} and its batches, over
rows and a broker in memory, which answer at the end of each turn.

    python bench/door_server.py WAY PORT

WAY is C{lean}, the server as it is, or C{twisted}: the same API behind C{twisted.web},
as it was before.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, succeed
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quebert import task as tasks
from quebert._turn import EndOfTurn
from quebert._twistd import calm_garbage_collector
from quebert.created_tasks import CreatedTask, CreatedTasks, NewTask, TaskChange
from quebert.errors import QuebertError
from quebert.executor import ExecutorSite
from quebert.test.fake_cluster import FakeCluster
from quebert.web import Assets, Audit, Grant, Tokens
from quebert.web._access_rules import AccessRules
from quebert.web._api import API
from quebert.web._background import Background
from quebert.web._call import Call
from quebert.web._changes import ChangeHandlers
from quebert.web._exchange import APIAnswer, json_answer
from quebert.web._head import RequestHead
from quebert.web._hub import EventHub
from quebert.web._request import body_fields
from quebert.web._resource import LIMITS, WebResource
from quebert.web._routes import Route
from quebert.web._site import WebSite
from quebert.web._snapshots import Snapshots

#: A token, for its bearer to add tasks.
TOKEN = "qbt_bench"
reactor: Any = global_reactor


class Grouped:
    """
    Does what is asked for at the end of the turn, as a group.
    """

    def __init__(self) -> None:
        self._asked: list[tuple[Deferred[Any], object]] = []
        self._turn = EndOfTurn(reactor, self._answer)

    def ask(self, answer: object) -> Deferred[Any]:
        """
        Give an answer in this turn's group.
        """
        asked: Deferred[Any] = Deferred()
        self._asked.append((asked, answer))
        self._turn.ask()
        return asked

    def _answer(self) -> None:
        group, self._asked = self._asked, []
        for asked, answer in group:
            asked.callback(answer)


class Rows:
    """
    Takes all rows, and keeps none.
    """

    def __init__(self) -> None:
        self._group = Grouped()

    def add(self, new: Sequence[NewTask], now: float) -> Deferred[Any]:
        """
        Take rows.
        """
        return self._group.ask([None] * len(new))

    def change(self, changes: Sequence[TaskChange]) -> Deferred[Any]:
        """
        Change nothing.
        """
        return succeed([None] * len(changes))


class Broker:
    """
    Takes all tasks, and keeps none.
    """

    def __init__(self) -> None:
        self._group = Grouped()

    def publish(self, new: Sequence[NewTask]) -> Deferred[Any]:
        """
        Take tasks.
        """
        return self._group.ask([None] * len(new))


class DoorAPI(API):
    """
    The API, with two routes more.
    """

    created: CreatedTasks

    def _table(self, changes: ChangeHandlers) -> Iterator[Route[Call]]:
        yield from super()._table(changes)
        yield Route("POST", "/v1/tasks", "add", self._create)
        yield Route("POST", "/v1/tasks:batch", "add", self._create_many)

    async def _create(self, call: Call) -> APIAnswer:
        fields = body_fields(call.request, "queue", "url", "params")
        [result] = await self.created.create([_new(call, fields)])
        return json_answer(_shown(result), 201)

    async def _create_many(self, call: Call) -> APIAnswer:
        fields = body_fields(call.request, "tasks")
        new = [_new(call, each) for each in fields["tasks"]]
        results = await self.created.create(new)
        return json_answer({"results": [_shown(each) for each in results]})


def _new(call: Call, fields: Any) -> NewTask:
    now = time.time()
    task = tasks.make(now, fields["url"], fields.get("params"))
    queue = call.check(fields["queue"])
    body = tasks.encode_new(task)
    return NewTask(queue=queue, uuid=task["uuid"], body=body, created=now)


def _shown(result: CreatedTask | QuebertError) -> Any:
    if isinstance(result, QuebertError):
        raise result
    return {"id": result.task.uuid, "queue": result.task.queue}


class TwistedResource(Resource):
    """
    From requests of C{twisted.web} to the API and back, as it was done before.
    """

    isLeaf = True

    def __init__(self, resource: WebResource) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._resource = resource
        self.limits, self.transit = resource.limits, resource.transit
        self.log_refused = resource.log_refused

    def render(self, request: Any) -> int:
        """
        Answer a request.
        """
        body = request.content.read(self.limits.body + 1)
        request.content.close()
        fields = {
            name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        head = RequestHead(
            method=request.method.decode("latin-1"),
            target=request.uri.decode("latin-1"),
            fields=fields,
        )
        hung_up = request.notifyFinish()
        hung_up.addErrback(lambda _: None)
        address = request.getClientAddress().host
        answering: Any = self._resource.answer(head, body, address)
        answering.addCallback(self._write, request)
        return NOT_DONE_YET

    def _write(self, answer: APIAnswer, request: Any) -> None:
        request.setResponseCode(answer.status)
        for name, value in (
            ("Server", "quebert"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
            *answer.headers,
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
        ):
            request.setHeader(name, value)
        request.write(answer.body)
        request.finish()


def _site(way: str) -> Any:
    cluster = FakeCluster(reactor, time.time)
    snapshots = Snapshots(reactor, cluster.overview, time.time)
    hub = EventHub(reactor, snapshots)
    background = Background(reactor, hub.changed)
    grant = Grant("bench", frozenset(["add"]))
    rules = AccessRules(Tokens.of(TOKEN, grant))
    changes = ChangeHandlers(cluster, background, Audit())
    admission: Callable[[], AccessRules] = lambda: rules  # noqa: E731
    api = DoorAPI(reactor, cluster, changes, snapshots, cluster, admission)
    rows: Any = Rows()
    broker: Any = Broker()
    api.created = CreatedTasks(rows, broker, time.time)
    resource = WebResource(reactor, api, Assets(), hub, LIMITS)
    if way == "lean":
        return WebSite(resource, reactor)
    before: Any = TwistedResource(resource)
    return ExecutorSite(before, reactor)


def main(way: str, port: str) -> None:
    """
    Serve until it is ended.
    """
    reactor.listenTCP(int(port), _site(way), backlog=500, interface="127.0.0.1")
    calm_garbage_collector()  # as quebert web does
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
