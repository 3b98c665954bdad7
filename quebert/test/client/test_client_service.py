"""
Both clients with a real C{quebert web} in this process, beside the embedded broker.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.threads import deferToThread

from quebert.amqp.queues import CLASSIC, declare_queue, depth
from quebert.client import APIError, AsyncClient, Client
from quebert.config import ClusterWeb, Listen
from quebert.created_tasks import _deletions_read
from quebert.errors import BadTask, NameTaken, TaskEnded, TaskUnknown, UUIDTaken
from quebert.http import Agent, Limits
from quebert.operations import BrokerAccess
from quebert.producer import TaskResult
from quebert.test.trial_only import TrialOnlyTestCase
from quebert.testing import EmbeddedBroker, free_port
from quebert.web import EVERYTHING, Grant, Tokens
from quebert.web.cluster import WebService

reactor: Any = global_reactor
URL = "http://127.0.0.1:1/"
DAY = 86_400.0


class ClientServiceTests(TrialOnlyTestCase):
    """
    Tests for L{Client} and L{AsyncClient}.
    """

    async def begin(self) -> None:
        """
        Start the service.
        """
        self.patch(_deletions_read, "PATIENCE", 60.0)  # the machine may be busy
        folder = Path(self.mktemp()).absolute()
        self.broker = BrokerAccess(reactor, self.enterContext(EmbeddedBroker()).url)
        asked = ClusterWeb(
            listen=Listen("127.0.0.1", free_port()),
            history=str(folder / "history.db"),
            tasks=str(folder / "tasks.db"),
        )
        async with self.broker.client() as (_, wire):
            await declare_queue(wire, "mail", CLASSIC)
        tokens = Tokens.of("secret", Grant("all", EVERYTHING))
        self.service = WebService(reactor, self.broker, asked, tokens=tokens)
        self.addCleanup(self.service.stop)
        await self.service.start()
        self.url = self.service.url

    def on_twisted(self) -> AsyncClient:
        """
        A client that keeps no connections.
        """
        agent = Agent(reactor, limits=Limits(idle=0))
        return AsyncClient(self.url, "secret", patience=60, agent=agent)

    async def waiting(self) -> int:
        """
        How many tasks wait in the queue.
        """
        async with self.broker.client() as (_, wire):
            found = await depth(wire, "mail")
        assert found is not None
        return found.ready

    async def test_blocking(self) -> None:
        """
        L{Client} adds tasks, finds, runs and deletes them.  The message of a deleted
        task stays until a mediator drops it.
        """
        await self.begin()
        with Client(self.url, "secret", patience=60) as client:
            await deferToThread(self._one, client)
            await deferToThread(self._many, client)
        self.assertEqual(await self.waiting(), 1_004)

    def _one(self, client: Client) -> None:
        uuid = client.add_task(URL, {"to": 1}, queue="mail", name="n", delay=DAY)
        again = [
            client.add_task(URL, queue="mail", delay=DAY, idempotency_key="k")
            for _ in range(2)
        ]
        self.assertEqual(len(set(again)), 1)
        with self.assertRaises(NameTaken) as taken:
            client.add_task(URL, queue="mail", name="n")
        assert isinstance(taken.exception, APIError)
        self.assertEqual(taken.exception.field, "name")
        client.add_task(URL, queue="mail", uuid="u/v:w", delay=DAY)
        with self.assertRaises(UUIDTaken):
            client.add_task(URL, queue="mail", uuid="u/v:w")
        with self.assertRaises(BadTask):
            client.add_task("nothing:", queue="mail")
        with self.assertRaisesRegex(BadTask, "callback_url"):
            client.add_task(URL, queue="mail", callback_url="nothing:")
        with self.assertRaises(APIError) as unknown:
            client.add_task(URL, queue="none")
        told = unknown.exception.type, unknown.exception.done
        self.assertEqual(told, ("/problems/no-queue", False))
        found = client.task("u/v:w")
        assert found.created is not None
        self.assertEqual((found.queue, found.created.state), ("mail", "published"))
        [named] = client.tasks(name="n")
        self.assertEqual((named.uuid, named.end), (uuid, None))
        # No mediator has had them.
        self.assertEqual(client.run(uuid).result, "running")
        self.assertEqual(client.delete("u/v:w").result, "cancelled")
        with self.assertRaises(TaskEnded):
            client.delete("u/v:w")
        with self.assertRaises(TaskUnknown):
            client.task("no-such")
        with self.assertRaises(APIError) as no_lease:
            client.lease(f"{self.url}v1/leases/none").complete()
        self.assertEqual(no_lease.exception.type, "/problems/no-lease")
        with Client(self.url) as nobody, self.assertRaises(APIError) as stranger:
            nobody.add_task(URL)
        self.assertEqual(stranger.exception.status, 401)

    def _many(self, client: Client) -> None:
        told: list[TaskResult] = []
        items = [{"url": URL, "queue": "mail", "params": n} for n in range(1_001)]
        for _ in range(2):
            added = client.add_tasks(items, told.append, idempotency_key="all")
            self.assertEqual(added, 1_001)
        uuids = [each.uuid for each in told]
        self.assertEqual(uuids[:1_001], uuids[1_001:])
        self.assertEqual(len({each.uuid for each in client.tasks()} & {*uuids}), 1_001)

    async def test_twisted(self) -> None:
        """
        L{AsyncClient} does the same.
        """
        await self.begin()
        client = self.on_twisted()
        uuid = await client.add_task(URL, queue="mail", name="n", payload=b"\xff")
        with self.assertRaisesRegex(BadTask, "callback_url"):
            await client.add_task(URL, queue="mail", callback_url="nothing:")
        told: list[TaskResult] = []
        item = {"url": URL, "queue": "mail", "name": "n"}
        self.assertEqual(await client.add_tasks([item], told.append), 0)
        self.assertIsInstance(told[0].error, NameTaken)
        self.assertEqual([r.uuid async for r in client.tasks(queue="mail")], [uuid])
        self.assertEqual((await client.task(uuid)).url, URL)
        self.assertEqual((await client.delete(uuid)).result, "cancelled")
        with self.assertRaises(TaskEnded):
            await client.run(uuid)

    async def test_command(self) -> None:
        """
        C{quebert add} adds a task with a name, and tells that it is there already.
        """
        await self.begin()
        first = await self.add("--json")
        self.assertEqual(first.returncode, 0, first.stderr)
        uuid = json.loads(first.stdout)["uuid"]
        second = await self.add()
        self.assertEqual((second.returncode, second.stdout), (1, ""))
        told = f"Error: the queue mail has a task of the name n already: {uuid}"
        self.assertTrue(second.stderr.startswith(told), second.stderr)
        self.assertEqual(await self.waiting(), 1)

    async def add(self, *options: str) -> subprocess.CompletedProcess[str]:
        """
        Run the command.
        """
        words = ["-m", "quebert", "add", URL, "--queue=mail", "--name=n", *options]
        there = {"QUEBERT_URL": self.url, "QUEBERT_TOKEN": "secret"}
        return await deferToThread(
            subprocess.run,
            [sys.executable, *words],
            env={**os.environ, **there},
            capture_output=True,
            text=True,
            timeout=300,
        )

    async def test_restart(self) -> None:
        """
        A client that finds nobody waits for the service.
        """
        await self.begin()
        await self.service.stop()
        blocking = Client(self.url, "secret", patience=60)
        client = self.on_twisted()
        adding = [
            deferToThread(blocking.add_task, URL, queue="mail"),
            client.add_task(URL, queue="mail"),
        ]
        await self.service.start()
        for each in adding:
            await each
        self.assertEqual(await self.waiting(), 2)
        blocking.close()
