"""
A server of Cloud Tasks over rows, a broker and queues in memory: by REST over HTTP, and
by gRPC over TLS.

    python -m quebert.test.clients.server REST_PORT GRPC_PORT PEM

C{PEM} has the key and the certificate.  C{TOKEN} and C{READ_TOKEN} of the environment
are the tokens; C{ready} is printed once it listens.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import attrs
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from quebert.config import TLS, Listen
from quebert.created_tasks import CreatedTasks
from quebert.test.created_tasks.doubles import MemoryBroker, MemoryRows
from quebert.test.web.cloud_tasks.doubles import MemoryCloudQueues
from quebert.web import EVERYTHING, Grant, Tokens
from quebert.web._access_rules import AccessRules
from quebert.web._exchange import APIAnswer, APIProblem
from quebert.web._head import RequestHead
from quebert.web._request import decoded
from quebert.web.cloud_tasks import (
    CloudNames,
    CloudTasks,
    CloudTasksREST,
    in_googles_form,
)
from quebert.web.cluster._grpc import GRPCFace

reactor: Any = global_reactor


class _REST(Resource):
    """
    The face over REST.
    """

    isLeaf = True

    def __init__(self, cloud_tasks: CloudTasks, rules: AccessRules) -> None:
        super().__init__()
        self._face = CloudTasksREST(cloud_tasks)
        self._rules = rules

    def render(self, request: Request) -> int:
        """
        Answer.
        """
        content: Any = request.content
        answering = self._answer(request, content.read())
        Deferred.fromCoroutine(answering).addCallback(self._write, request)
        return NOT_DONE_YET

    async def _answer(self, request: Request, body: bytes) -> APIAnswer:
        head = RequestHead(
            method=request.method.decode(),
            target=request.uri.decode("latin-1"),
            fields={
                name.decode("latin-1").lower(): values[-1].decode("latin-1")
                for name, values in request.requestHeaders.getAllRawHeaders()
            },
        )
        try:
            wanted = decoded(head, body, "127.0.0.1")
            headers = dict(wanted.headers)
            if "x-goog-api-key" in headers:
                headers["authorization"] = f"Bearer {headers['x-goog-api-key']}"
            grant = self._rules.grant(attrs.evolve(wanted, headers=headers))
        except APIProblem as e:
            return in_googles_form(e.answer)
        return await self._face.answer(wanted, grant)

    def _write(self, answer: APIAnswer, request: Request) -> None:
        request.setResponseCode(answer.status)
        request.setHeader("Content-Type", answer.content_type)
        request.write(answer.body)
        request.finish()


def main() -> None:
    """
    Serve until the process is ended.
    """
    rest, grpc, pem = sys.argv[1:]
    tokens = Tokens.of(os.environ["TOKEN"], Grant("all", EVERYTHING))
    reader = Grant("reader", frozenset({"read"}))
    tokens = tokens.and_those_of(Tokens.of(os.environ["READ_TOKEN"], reader))
    rules = AccessRules(tokens, open_reading=False)
    created = CreatedTasks(MemoryRows(), MemoryBroker(), time.time)
    queues = MemoryCloudQueues(time.time)
    names = CloudNames(projects=("shop",))
    cloud_tasks = CloudTasks(created, queues, time.time, names)
    site = Site(_REST(cloud_tasks, rules))
    reactor.listenTCP(int(rest), site, interface="127.0.0.1")
    face = GRPCFace(reactor, cloud_tasks.call, lambda: rules, TLS(certfile=pem))
    face.listen(Listen("127.0.0.1", int(grpc)))
    reactor.addSystemEventTrigger(
        "before", "shutdown", lambda: Deferred.fromCoroutine(face.stop())
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    reactor.run()


if __name__ == "__main__":
    main()
