"""
Tests for L{quebert.web.cluster._cloud_tasks}: the Cloud Tasks API of C{quebert web},
with a broker.
"""

from __future__ import annotations

import base64
import importlib
import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import attrs
from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from quebert.amqp.queues import depth
from quebert.config import CloudTasksAPI, ClusterWeb, Listen
from quebert.errors import PortTaken
from quebert.operations import BrokerAccess, made_queues
from quebert.test.trial_only import TrialOnlyTestCase
from quebert.test.web.cloud_tasks.recorded import task
from quebert.testing import EmbeddedBroker, free_port
from quebert.web import EVERYTHING, Grant, Tokens
from quebert.web.cluster import WebService

reactor: Any = global_reactor
PARENT = "projects/shop/locations/here"
QUEUE = f"{PARENT}/queues/mail"


class CloudTasksServiceTests(TrialOnlyTestCase):
    """
    C{quebert web} with a broker.
    """

    def setUp(self) -> None:
        """
        A broker.
        """
        folder = Path(self.mktemp()).absolute()
        self.broker = BrokerAccess(reactor, self.enterContext(EmbeddedBroker()).url)
        self.asked = ClusterWeb(
            listen=Listen("127.0.0.1", free_port()),
            history=str(folder / "history.db"),
            tasks=str(folder / "tasks.db"),
            cloud_tasks=CloudTasksAPI(
                home="shop/here", projects=("shop",), queue_type="classic"
            ),
        )

    def _service(self, asked: ClusterWeb) -> WebService:
        tokens = Tokens.of("secret", Grant("all", EVERYTHING))
        service = WebService(reactor, self.broker, asked, tokens=tokens)
        self.addCleanup(service.stop)
        return service

    async def _ask(
        self, service: WebService, method: str, target: str, body: Any = None
    ) -> tuple[int, Any]:
        headers = {"X-Goog-Api-Key": "secret"}
        content = None if body is None else json.dumps(body).encode()
        url = f"{service.url}v2/{target}"
        request = Request(url, content, headers, method=method)

        def ask() -> tuple[int, Any]:
            try:
                with urlopen(request, timeout=60) as answer:
                    return answer.status, json.load(answer)
            except HTTPError as e:
                return e.code, json.load(e)

        return await deferToThread(ask)

    async def test_serves(self) -> None:
        """
        A queue that is made and a task that is created in it stand in the broker, and
        are there for another process, until they are deleted.  A task may be as large
        as Google's.
        """
        service = self._service(self.asked)
        await service.start()
        while (await self._ask(service, "GET", f"{PARENT}/queues"))[0] == 503:
            await deferLater(reactor, 0.05)  # it has not read which queues there are
        made = await self._ask(service, "POST", f"{PARENT}/queues", {"name": QUEUE})
        self.assertEqual((made[0], made[1]["state"]), (200, "RUNNING"))
        other = {"name": f"{QUEUE}2"}
        await self._ask(service, "POST", f"{PARENT}/queues", other)
        wanted = {"task": task(name=f"{QUEUE}/tasks/t")}
        created = await self._ask(service, "POST", f"{QUEUE}/tasks", wanted)
        self.assertEqual(created[0], 200)
        status, error = await self._ask(service, "POST", f"{QUEUE}/tasks", wanted)
        self.assertEqual((status, error["error"]["status"]), (409, "ALREADY_EXISTS"))
        for size, status in ((1_048_000, 200), (1_049_000, 400)):
            body = base64.b64encode(b"x" * size).decode()
            large = task(httpRequest={"url": "http://localhost/", "body": body})
            target = f"{QUEUE}2/tasks"
            found = await self._ask(service, "POST", target, {"task": large})
            self.assertEqual(found[0], status, str(found)[:200])
        self.assertEqual(found[1]["error"]["message"], "Task size too large")
        async with self.broker.client() as (_, wire):
            there = await depth(wire, "mail")
            assert there is not None
            self.assertEqual(there.ready, 1)
        known = (await made_queues(self.broker)).definitions
        types = {each.queue_type for each in known.values()}
        self.assertEqual(types, {"classic"})
        await service.stop()
        service = self._service(self.asked)
        await service.start()
        while (await self._ask(service, "GET", QUEUE))[0] == 503:
            await deferLater(reactor, 0.05)
        found = await self._ask(service, "GET", f"{QUEUE}/tasks/t")
        self.assertEqual(found, created)
        for target in (f"{QUEUE}/tasks/t", QUEUE):
            status, found = await self._ask(service, "DELETE", target)
            self.assertEqual((status, found), (200, {}))
        status, error = await self._ask(service, "GET", QUEUE)
        self.assertEqual((status, error["error"]["status"]), (404, "NOT_FOUND"))

    async def test_grpc(self) -> None:
        """
        Over gRPC it answers where the file says, with the same tokens, until it ends.
        """
        grpc: Any = importlib.import_module("grpc")
        listen = Listen("127.0.0.1", free_port())
        cloud_tasks = CloudTasksAPI(home="shop/here", grpc=listen)
        asked = attrs.evolve(self.asked, cloud_tasks=cloud_tasks)
        service = self._service(asked)
        await service.start()

        def location() -> bytes:
            with grpc.insecure_channel(f"127.0.0.1:{listen.port}") as channel:
                call = channel.unary_unary(
                    "/google.cloud.location.Locations/GetLocation"
                )
                name = bytes([10, len(PARENT)]) + PARENT.encode()
                metadata = (("x-goog-api-key", "secret"),)
                found: bytes = call(name, metadata=metadata, timeout=60)
                return found

        self.assertIn(PARENT.encode(), await deferToThread(location))
        service.reload()
        await service.stop()
        with self.assertRaises(grpc.RpcError):
            await deferToThread(location)

    async def test_grpc_port_in_use(self) -> None:
        """
        If it cannot listen for gRPC, it does not start.
        """
        port = self.asked.listen.port
        grpc = CloudTasksAPI(grpc=Listen("127.0.0.1", port))
        service = self._service(attrs.evolve(self.asked, cloud_tasks=grpc))
        with self.assertRaises(PortTaken):
            await service.start()

    async def test_not_asked_for(self) -> None:
        """
        Without a table for it there is no such API.
        """
        service = self._service(attrs.evolve(self.asked, cloud_tasks=None))
        await service.start()
        status, problem = await self._ask(service, "GET", QUEUE)
        self.assertEqual((status, problem["title"]), (404, "Not Found"))
