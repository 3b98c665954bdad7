"""
A server of Cloud Tasks over rows, a broker and queues in memory: by REST over HTTP, and
by gRPC over TLS::

    python -m quebert.test.clients.server REST_PORT GRPC_PORT PEM

C{PEM} has the key and the certificate.  C{TOKEN} and C{READ_TOKEN} of the environment
are the tokens; C{ready} is printed once it listens.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from quebert.config import TLS, Listen
from quebert.test.created_tasks.doubles import in_memory
from quebert.test.fake_cluster import FakeCluster
from quebert.test.web.cloud_tasks.doubles import MemoryCloudQueues
from quebert.web import EVERYTHING, Grant, Tokens, WebServer
from quebert.web.cloud_tasks import CloudNames, CloudTasks, CloudTasksREST
from quebert.web.cluster._grpc import GRPCFace


def main(reactor: Any, rest: str, grpc: str, pem: str) -> Deferred[None]:
    """
    Serve, until it is interrupted.
    """
    tokens = Tokens.of(os.environ["TOKEN"], Grant("all", EVERYTHING))
    reader = Grant("reader", frozenset({"read"}))
    tokens = tokens.and_those_of(Tokens.of(os.environ["READ_TOKEN"], reader))
    cluster = FakeCluster(reactor, time.time)
    created = in_memory(reactor, time.time)
    cloud_tasks = CloudTasks(
        created,
        MemoryCloudQueues(time.time),
        time.time,
        CloudNames(projects=("shop",)),
    )
    server = WebServer(
        reactor,
        cluster,
        cluster,
        created,
        cluster,
        tokens=tokens,
        open_reading=False,
        others={"v2": CloudTasksREST(cloud_tasks)},
    )
    server.listen(int(rest), "127.0.0.1")
    face = GRPCFace(reactor, cloud_tasks.call, server.admit, TLS(certfile=pem))
    face.listen(Listen("127.0.0.1", int(grpc)))
    reactor.addSystemEventTrigger(
        "before", "shutdown", lambda: Deferred.fromCoroutine(face.stop())
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
