"""
Tests for L{quebert.service._served_queues} and
L{quebert.operations._made_queue_reader}: what mediators make of queues that were made
over the API, with broker and executors in memory.
"""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import attrs
from twisted.internet.defer import CancelledError
from twisted.logger import LogLevel

from quebert import operations
from quebert.amqp import TxAMQPClient
from quebert.amqp.coordination import (
    QUEUES,
    PauseNote,
    leave_note,
    read_queues,
    set_paused,
)
from quebert.config import (
    DELETED_FOR,
    Broker,
    MadeQueues,
    QueueDefinition,
    QueueSettings,
    Settings,
)
from quebert.errors import BrokerRefused
from quebert.limits import Rate
from quebert.operations import BrokerAccess, _access, _made_queues
from quebert.operations import _made_queue_reader as reading
from quebert.operations._made_queue_reader import LOOK, MadeQueueReader
from quebert.service import ServedQueues, Watches
from quebert.task import format_time
from quebert.test.mediating import FakeHTTP
from quebert.test.memory_network import NetworkTestCase, _Client
from quebert.test.support import logged

BROKER = Broker.from_url("amqp://guest:guest@rabbit.example/?heartbeat=0")
FILE = QueueSettings(name="file", exchange="")
ALL = MadeQueues(("*",), QueueSettings(name="", default_url="http://a/"))


def settings(**more: Any) -> Settings:
    """
    The settings of a mediator that serves all queues.
    """
    given = {"queues": {"file": FILE}, "made_queues": ALL, **more}
    return Settings(broker=BROKER, **given)


class ServedQueuesTests(NetworkTestCase):
    """
    A mediator, and queues.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(_access, "TxAMQPClient", _Client)
        self.http = FakeHTTP(200)
        url = "amqp://guest:guest@rabbit.example/?heartbeat=0"
        self.access = BrokerAccess(self.network, url)

    def mediator(self, **more: Any) -> ServedQueues:
        """
        One more mediator, which has begun.
        """
        made = self.made_mediator()
        self.result(made.start(settings(**more)))
        self.network.pass_time(2)
        return made

    def made_mediator(self) -> ServedQueues:
        """
        One more mediator.
        """

        def make_client(settings: Settings, reactor: Any) -> TxAMQPClient:
            return self.client(connectTimeout=None)

        watches = Watches(self.network, make_client=make_client, http=self.http)
        served = ServedQueues(watches, self.network)
        self.addCleanup(lambda: self.result(served.stop(0)))
        return served

    def make(self, name: str = "a", **fields: Any) -> QueueDefinition:
        """
        Make a queue.
        """
        wanted = QueueDefinition(name=name, **fields)
        made = self.result(operations.make_queue(self.access, wanted))
        self.network.pass_time(2)
        assert made.queue is not None
        return made.queue

    def add(self, queue: str = "a", **fields: Any) -> None:
        """
        Add a task.
        """
        body = json.dumps({"url": "http://a/x", **fields}).encode()
        self.result(self.client().publish("", queue, body))
        self.network.pass_time(1)

    def watched(self, served: ServedQueues) -> dict[str, bool]:
        """
        Which queues a mediator watches, and whether it consumes.
        """
        return {name: each.consuming for name, each in served.health().items()}

    def test_made(self) -> None:
        """
        A queue that is made is served by mediators that run, and by those that start
        later.
        """
        first = self.mediator()
        self.assertEqual(self.watched(first), {"file": True})
        self.make()
        second = self.mediator()
        for each in (first, second):
            self.assertEqual(self.watched(each), {"file": True, "a": True})
        self.add()
        self.assertEqual(len(self.http.requests), 1)

    def test_patterns(self) -> None:
        """
        A mediator serves the queues that it is told to, and by default none.
        """
        self.make("mail-a")
        self.make("reports")
        some = attrs.evolve(ALL, serve=("mail-*",))
        served = self.mediator(queues={}, made_queues=some)
        self.assertEqual(self.watched(served), {"mail-a": True})
        none = self.mediator(made_queues=MadeQueues())
        self.assertEqual(self.watched(none), {"file": True})

    def test_changed(self) -> None:
        """
        A change is heeded at once.
        """
        served = self.mediator()
        definition = self.make(queue_type="classic")
        changed = attrs.evolve(definition, rate=5.0)
        self.result(operations.change_queue(self.access, changed))
        self.network.pass_time(2)
        (watcher,) = [
            watcher
            for queue, watcher, *_ in served._watches.watching()
            if queue.name == "a"
        ]
        assert watcher is not None
        self.assertEqual(watcher.options.rate, Rate(5.0))
        self.assertTrue(watcher.options.share_rate)

    def test_in_the_file(self) -> None:
        """
        A queue that is in the file, too, goes by the file.
        """
        self.make("file", rate=5.0)
        with logged(LogLevel.warn) as lines:
            served = self.mediator()
        self.assertEqual(self.watched(served), {"file": True})
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("'file' was made over the API, and is in the file, too", lines[0])

    def test_reload(self) -> None:
        """
        A reload of the file changes how queues are served, and which.
        """
        served = self.mediator()
        self.make()
        self.make("b")
        only_a = attrs.evolve(ALL, serve=("a",))
        served.change(settings(made_queues=only_a, queues={}))
        self.network.pass_time(2)
        self.assertEqual(self.watched(served), {"a": True})
        served.change(settings(made_queues=MadeQueues()))
        self.network.pass_time(2)
        self.assertEqual(self.watched(served), {"file": True})
        self.make("c")
        served.change(settings())
        self.network.pass_time(2)
        self.assertEqual(set(self.watched(served)), {"file", "a", "b", "c"})

    def test_other_broker(self) -> None:
        """
        Another broker has other queues.
        """
        served = self.mediator()
        self.make()
        other = Broker.from_url("amqp://guest:guest@other.example/?heartbeat=0")
        served.change(attrs.evolve(settings(), broker=other))
        self.assertEqual(set(self.watched(served)), {"file", QUEUES})
        self.network.settle()

    def test_purged(self) -> None:
        """
        Tasks that were created before a queue was purged are dropped.
        """
        self.mediator()
        definition = self.make()
        purged = attrs.evolve(definition, purge_time=1_000_000.0)
        self.result(operations.change_queue(self.access, purged))
        self.network.pass_time(2)
        for uuid, timestamp in (("old", 999_999.5), ("new", 1_000_000.5)):
            self.add(uuid=uuid, timestamp=format_time(timestamp))
        (request,) = self.http.requests
        self.assertIn(b'"new"', request.data or b"")
        self.assertEqual(self.depths()["a"], 0)

    def test_resumed(self) -> None:
        """
        A paused queue that is purged or deleted and then goes on does so as it was
        changed, although nobody has told of the change.
        """

        async def tell_nobody(wire: object) -> None:
            return None

        self.mediator()
        purged = attrs.evolve(self.make("a"), purge_time=2_000_000.0)
        self.make("b")
        for name in "ab":
            self.result(operations.pause(self.access, name))
        self.network.pass_time(2)
        for name in "ab":
            self.add(name, timestamp=format_time(999_999.0))
        self.patch(_made_queues, "announce_queues", tell_nobody)
        self.result(operations.change_queue(self.access, purged))
        self.result(operations.resume(self.access, "a"))
        self.result(operations.delete_queue(self.access, "b"))
        self.network.pass_time(5)
        self.assertEqual(self.http.requests, [])
        self.assertEqual((self.depths()["a"], self.depths()["b"]), (0, 0))

    def test_deleted(self) -> None:
        """
        Tasks of a deleted queue are dropped for seven days; then it is gone.
        """
        served = self.mediator()
        self.make()
        self.result(operations.delete_queue(self.access, "a"))
        self.network.pass_time(2)
        self.add(uuid="late")
        self.assertEqual(self.http.requests, [])
        self.assertEqual(self.depths()["a"], 0)
        self.network.advance(DELETED_FOR)
        self.network.pass_time(2 * LOOK, 1.0)
        self.assertEqual(set(self.watched(served)), {"file"})
        self.assertNotIn("a", self.depths())

    def test_unreadable(self) -> None:
        """
        A definition that a later version has written is told once, and hides no other.
        """
        self.make()
        newer = {"queues": [{"name": "b", "version": 1, "colour": "red"}]}
        self.result(self.client().publish("", QUEUES, json.dumps(newer).encode()))
        with logged(LogLevel.warn) as lines:
            served = self.mediator()
            self.network.pass_time(2 * LOOK, 1.0)
        self.assertEqual(set(self.watched(served)), {"file", "a"})
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("'b' was made over the API, and is not served", lines[0])

    def test_target(self) -> None:
        """
        A queue may replace parts of each request; one whose target cannot be read is
        not served, which is told once.
        """
        served = self.mediator()
        target = {"uriOverride": {"host": "b"}, "httpMethod": "PUT"}
        self.make(http_target=target)
        self.add()
        (request,) = self.http.requests
        self.assertEqual((request.method, request.url), ("PUT", "http://b/x"))
        with logged(LogLevel.warn) as lines:
            self.make("b", http_target={"colour": "red"})
            self.network.pass_time(2 * LOOK, 1.0)
        self.assertEqual(self.watched(served), {"file": True, "a": True})
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("and is not served: http_target has 'colour'", lines[0])

    def test_connection_lost(self) -> None:
        """
        What was made while a connection was lost is seen with the next one.
        """
        served = self.mediator()
        self.network.is_down = True
        self.network.cut()
        self.network.pass_time(1)
        self.network.is_down = False
        self.make()
        self.network.pass_time(60, 1.0)
        self.assertEqual(self.watched(served), {"file": True, "a": True})

    def test_not_told(self) -> None:
        """
        What nobody has told of is seen within a minute and a bit.
        """
        served = self.mediator()
        with self.unannounced():
            self.make()
        self.assertEqual(set(self.watched(served)), {"file"})
        self.network.pass_time(1.5 * LOOK, 1.0)
        self.assertEqual(set(self.watched(served)), {"file", "a"})

    def unannounced(self) -> Any:
        """
        In this block, nobody is told of a change.
        """

        async def announce(wire: Any) -> None:
            return None

        return patch.object(_made_queues, "announce_queues", announce)

    def test_broker_away(self) -> None:
        """
        A mediator that starts while the broker is away has all queues when it is back.
        """
        self.make()
        self.network.is_down = True
        served = self.made_mediator()
        starting = self.begin(served.start(settings()))
        self.network.pass_time(5)
        self.assertNoResult(starting)
        self.assertIn(QUEUES, self.watched(served))
        self.network.is_down = False
        self.network.pass_time(90, 1.0)
        self.successResultOf(starting)
        self.assertEqual(self.watched(served), {"file": True, "a": True})

    def test_cannot_be_read(self) -> None:
        """
        A mediator that may not read the definitions goes on with what it has, and tells
        why.
        """

        async def read_queues(*given: Any) -> None:
            raise BrokerRefused(403, "ACCESS_REFUSED - access refused")

        self.patch(reading, "read_queues", read_queues)
        with logged(LogLevel.warn) as lines:
            served = self.mediator()
        self.assertEqual(self.watched(served), {"file": True, QUEUES: False})
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("cannot be read; this mediator goes on", lines[0])

    def test_fault(self) -> None:
        """
        A fault of ours is told, and the queues are read again.
        """
        faults = [CancelledError(), ZeroDivisionError()]

        async def fail_first(*given: Any) -> Any:
            if faults:
                raise faults.pop()
            return await read_queues(*given)

        self.make()
        self.patch(reading, "read_queues", fail_first)
        served = self.mediator()
        self.network.pass_time(LOOK, 1.0)
        self.assertEqual(self.watched(served), {"file": True, "a": True})
        told = self.flushLoggedErrors(CancelledError, ZeroDivisionError)
        self.assertEqual(len(told), 2)

    def test_ended_by_a_fault(self) -> None:
        """
        A queue that was paused goes on even where nothing reads the queues any more.
        """
        served = self.mediator()
        self.make()
        self.result(operations.pause(self.access, "a"))
        self.network.pass_time(5)

        def fail(*given: Any) -> None:
            raise ZeroDivisionError

        with patch.object(MadeQueueReader, "_until", fail):
            self.network.pass_time(2 * LOOK, 1.0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.result(operations.resume(self.access, "a"))
        self.network.pass_time(5)
        self.assertEqual(self.watched(served), {"file": True, "a": True})

    def test_paused(self) -> None:
        """
        A queue that was made over the API can be paused.
        """
        served = self.mediator()
        self.make()
        self.result(set_paused(self.wire, "a", True))
        self.result(leave_note(self.wire, "a", PauseNote("ada", 1.0)))
        self.network.pass_time(5)
        self.assertTrue(served.health()["a"].paused)
        self.add()
        self.assertEqual(self.http.requests, [])
