"""
L{WebService} in this process: what it makes, answers and leaves.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.queues import CLASSIC, declare_queue, depth
from quebert.config import ClusterWeb, Listen
from quebert.errors import ConfigError
from quebert.history import open_ledger
from quebert.operations import BrokerAccess, Progress
from quebert.task_ends import ENDED, EndNote, encode_end_note
from quebert.test.history_records import batch_of, record_of, uuid_of
from quebert.test.trial_only import TrialOnlyTestCase
from quebert.test.web.doubles import MemoryAPI
from quebert.testing import EmbeddedBroker, free_port
from quebert.web import EVERYTHING, Grant, Tokens, WebServer
from quebert.web.cluster import WebService

reactor: Any = global_reactor
_AWAY = "/problems/database-away"


class WebServiceTests(TrialOnlyTestCase):
    """
    Tests for L{WebService}.
    """

    async def test_serves(self) -> None:
        """
        It makes the folder of its history, answers from that, and leaves nothing.
        """
        folder = Path(self.mktemp()) / ".kept"
        history = str(folder / "history.db")
        asked = ClusterWeb(listen=Listen("127.0.0.1", free_port()), history=history)
        broker = BrokerAccess(reactor, self.enterContext(EmbeddedBroker()).url)
        service = WebService(reactor, broker, asked)
        await service.start()
        self.addCleanup(service.stop)
        self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)
        self.assertEqual((folder / ".gitignore").read_text(), "*\n")
        ledger = await open_ledger(history, reactor=reactor)
        await ledger.record(batch_of(1, [record_of(1)]))
        await ledger.close()
        target = f"{service.url}v1/tasks/{uuid_of(1)}"
        answer = await deferToThread(lambda: urlopen(target, timeout=60).read())
        found = json.loads(answer)
        self.assertEqual(found["state"], "done")
        (attempt,) = found["attempts"]
        self.assertEqual((attempt["uuid"], attempt["status"]), (uuid_of(1), 200))
        await service.stop()
        with self.assertRaises(URLError):
            await deferToThread(urlopen, target, timeout=60)

    async def test_creates(self) -> None:
        """
        It creates tasks; a second one that is given the same database creates none, and
        shows why; after a restart the tasks are there, and their ends are read.
        """
        folder = Path(self.mktemp()).absolute()
        broker = BrokerAccess(reactor, self.enterContext(EmbeddedBroker()).url)
        first, second = self._service(broker, folder), self._service(broker, folder)
        async with broker.client() as (client, wire):
            await declare_queue(wire, "mail", CLASSIC)
            await first.start()
            await second.start()
            body = {"url": "http://127.0.0.1:1/", "queue": "mail", "name": "n"}
            status, told = await self._ask(first, "POST", "/v1/tasks", body)
            self.assertEqual((status, told["state"]), (201, "published"))
            there = await depth(wire, "mail")
            assert there is not None
            self.assertEqual(there.ready, 1)
            status, problem = await self._ask(first, "POST", "/v1/tasks", body)
            self.assertEqual((status, problem["type"]), (409, "/problems/name-taken"))
            unroutable = {**body, "queue": "none"}
            status, problem = await self._ask(first, "POST", "/v1/tasks", unroutable)
            self.assertEqual((status, problem["type"]), (404, "/problems/no-queue"))
            status, problem = await self._ask(second, "POST", "/v1/tasks", body)
            self.assertEqual(
                (status, problem["type"]), (503, "/problems/database-away")
            )
            _, overview = await self._ask(second, "GET", "/v1/overview")
            self.assertIn("another process has the tasks", str(overview["problems"]))
            await second.stop()
            await first.stop()
            uuid = told["uuid"]
            note = EndNote(uuid=uuid, queue="mail", outcome="done", ended=1.0)
            await declare_queue(wire, ENDED, CLASSIC)
            await client.publish("", ENDED, encode_end_note(note))
        await first.start()
        place = f"/v1/tasks/{uuid}"
        while not await self._has_ended(first, place):
            await deferLater(reactor, 0.05)
        _, found = await self._ask(first, "GET", "/v1/tasks?state=ended&queue=mail")
        self.assertEqual([each["name"] for each in found["tasks"]], ["n"])

    def _service(self, broker: BrokerAccess, folder: Path) -> WebService:
        asked = ClusterWeb(
            listen=Listen("127.0.0.1", free_port()),
            history=str(folder / f"{free_port()}.db"),
            tasks=str(folder / "tasks.db"),
        )
        tokens = Tokens.of("secret", Grant("all", EVERYTHING))
        service = WebService(reactor, broker, asked, tokens=tokens)
        self.addCleanup(service.stop)
        return service

    async def _ask(
        self, service: WebService, method: str, target: str, body: Any = None
    ) -> tuple[int, Any]:
        headers = {"Authorization": "Bearer secret", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        url = f"{service.url.rstrip('/')}{target}"
        request = Request(url, content, headers, method=method)

        def ask() -> tuple[int, Any]:
            try:
                with urlopen(request, timeout=60) as answer:
                    return answer.status, json.load(answer)
            except HTTPError as e:
                return e.code, json.load(e)

        return await deferToThread(ask)

    async def _has_ended(self, service: WebService, place: str) -> bool:
        _, found = await self._ask(service, "GET", place)
        state: str = found["created"]["state"]
        return state == "ended"

    async def test_no_tokens(self) -> None:
        """
        A file of tokens that is not there is called so.
        """
        broker = BrokerAccess(reactor, self.enterContext(EmbeddedBroker()).url)
        service = WebService(reactor, broker, ClusterWeb(tokens="/no/such"))
        with self.assertRaisesRegex(ConfigError, "the tokens: /no/such cannot be read"):
            await service.start()


class WebServerStopTests(SynchronousTestCase):
    """
    Tests for L{WebServer.stop}.
    """

    def test_background(self) -> None:
        """
        What goes on in the background is stopped, and the end waits for that.
        """
        memory = MemoryAPI()
        cluster = memory.cluster
        server = WebServer(memory.clock, cluster, cluster, memory.created, cluster)
        ended: list[str] = []

        async def work(progress: Progress) -> None:
            try:
                await Deferred[None]()
            except CancelledError:
                ended.append("work")
                raise

        server._background.start("redrive", "mail", work, lambda view: None)
        self.successResultOf(Deferred.fromCoroutine(server.stop()))
        self.assertEqual(ended, ["work"])
        self.assertEqual(memory.clock.getDelayedCalls(), [])
