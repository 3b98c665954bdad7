"""
A web server for C{bench/door.py}: C{POST /v1/tasks} and its batches.

    python bench/door_server.py WAY PORT [AMQP]

WAY is one of

  - C{lean}: the server as it is, over rows and a broker in memory, which answer at the
    end of each turn;
  - C{twisted}: the same API behind C{twisted.web}, as it was before;
  - C{real}: the server as it is, with rows in SQLite, in the current folder, and the
    RabbitMQ at the URL AMQP.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, succeed
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quebert._turn import EndOfTurn
from quebert._twistd import calm_garbage_collector
from quebert.created_tasks import CreatedTasks, NewTask
from quebert.executor import ExecutorSite
from quebert.operations import BrokerAccess
from quebert.task_store import open_task_rows
from quebert.test.fake_cluster import FakeCluster
from quebert.web import Grant, Tokens, WebServer
from quebert.web._exchange import APIAnswer
from quebert.web._head import RequestHead
from quebert.web._resource import WebResource
from quebert.web.cluster._task_broker import PublishedTasks

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

    def note_published(self, uuids: Sequence[str]) -> Deferred[None]:
        """
        Change nothing.
        """
        return succeed(None)


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


async def _created(amqp: str) -> CreatedTasks:
    rows: Any = Rows()
    broker: Any = Broker()
    if amqp:
        rows = await open_task_rows("tasks.sqlite", reactor=reactor)
        broker = PublishedTasks(BrokerAccess(reactor, amqp))
    return CreatedTasks(rows, broker, time.time, reactor)


async def _serve(way: str, port: int, amqp: str) -> None:
    cluster = FakeCluster(reactor, time.time)
    tokens = Tokens.of(TOKEN, Grant("bench", frozenset(["add"])))
    created = await _created(amqp)
    server = WebServer(reactor, cluster, cluster, created, cluster, tokens=tokens)
    if way == "twisted":
        before: Any = TwistedResource(server._resource)
        site = ExecutorSite(before, reactor)
        reactor.listenTCP(port, site, interface="127.0.0.1")
    else:
        server.listen(port, "127.0.0.1")
    calm_garbage_collector()  # as quebert web does


def main(way: str, port: str, amqp: str = "") -> None:
    """
    Serve until it is ended.
    """
    reactor.callWhenRunning(
        lambda: Deferred.fromCoroutine(_serve(way, int(port), amqp))
    )
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
