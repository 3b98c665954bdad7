"""
L{WebService} in this process: what it makes, answers and leaves.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any
from unittest import SkipTest
from urllib.error import URLError
from urllib.request import urlopen

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from quebert.config import ClusterWeb, Listen
from quebert.errors import ConfigError
from quebert.history import open_ledger
from quebert.operations import BrokerAccess, Progress
from quebert.test.history_records import batch_of, record_of, uuid_of
from quebert.test.web.doubles import MemoryAPI
from quebert.testing import EmbeddedBroker, free_port
from quebert.web import WebServer
from quebert.web.cluster import WebService

reactor: Any = global_reactor


class WebServiceTests(TestCase):
    """
    Tests for L{WebService}.
    """

    def setUp(self) -> None:
        """
        Leave these tests to trial where pytest has begun to run the reactor.
        """
        if reactor.running:
            raise SkipTest("the reactor runs already: trial runs this")

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
