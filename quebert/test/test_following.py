"""
Tests for L{follow<quebert.operations.follow>}, with an embedded broker in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from quebert import operations
from quebert._protocol.properties import encode_properties
from quebert.errors import BrokerError, ChannelLost, ConfigError
from quebert.events import (
    ATTEMPTS,
    EXCHANGE,
    AttemptBatch,
    AttemptRecord,
    EventReader,
    encode_batch,
)
from quebert.operations import AttemptFilter, BrokerAccess, _access
from quebert.operations._following import _Follower
from quebert.test.memory_network import NetworkTestCase, _Client
from quebert.test.support import logged
from quebert.test.test_client_in_memory import URL
from quebert.test.test_live_fold import record


class FilterTests(NetworkTestCase):
    """
    Which attempts one wants to see.
    """

    def wants(self, attempt: AttemptRecord, **filtered: Any) -> bool:
        """
        Whether a filter lets an attempt through.
        """
        return AttemptFilter(**filtered).wants(attempt)

    def test_all(self) -> None:
        """
        What is empty lets all through.
        """
        self.assertTrue(self.wants(record()))

    def test_parts(self) -> None:
        """
        Each part must let it through; one of several is enough.
        """
        attempt = record("mail", status=503, outcome="retry", url="http://a/x")
        for filtered, wanted in (
            ({"queues": ["mail", "b"]}, True),
            ({"queues": ["b"]}, False),
            ({"statuses": ["503"]}, True),
            ({"statuses": ["200", "5xx"]}, True),
            ({"statuses": ["4xx", "none"]}, False),
            ({"outcomes": ["retry"]}, True),
            ({"outcomes": ["done"]}, False),
            ({"url": "a/x"}, True),
            ({"url": "a/y"}, False),
            ({"queues": ["mail"], "outcomes": ["done"]}, False),
        ):
            self.assertIs(self.wants(attempt, **filtered), wanted, filtered)
        self.assertTrue(self.wants(record(status=None), statuses=["none"]))
        self.assertFalse(self.wants(record(status=None), statuses=["5xx"]))

    def test_wrong(self) -> None:
        """
        What can be none is refused.
        """
        for each in ("", "abc", "60", "6xx", "5x", "\u0665\u0660\u0663"):
            self.assertRaises(ConfigError, AttemptFilter, statuses=[each])
        self.assertRaises(ConfigError, AttemptFilter, outcomes=["gone"])


class FollowTests(NetworkTestCase):
    """
    Attempts as they end.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(_access, "TxAMQPClient", _Client)
        self.seen: list[Any] = []
        self.total = 0
        self.busy: Deferred[None] | None = None

    def see(self, mediator: str, records: list[AttemptRecord], gap: Any) -> Any:
        """
        Note them, and take some time.
        """
        self.seen.append(([each.uuid for each in records], gap and gap.count))
        return self.busy

    def follow(self, wanted: AttemptFilter | None = None) -> Deferred[Any]:
        """
        Begin.
        """
        access = BrokerAccess(self.network, URL)
        following = self.begin(operations.follow(access, self.see, wanted))
        self.network.settle()
        return following

    def tell(self, *records: AttemptRecord, lost: int = 0) -> None:
        """
        A mediator tells.
        """
        self.total += len(records) + lost
        batch = AttemptBatch(
            mediator="m", sequence=1, at=1.0, records=records, total=self.total
        )

        async def publish() -> None:
            channel = await self.wire.open_channel()
            body = encode_batch(batch)
            await channel.publish(EXCHANGE, ATTEMPTS, body, encode_properties({}))
            await channel.shut()

        self.result(publish())
        self.network.settle()

    def test_sees(self) -> None:
        """
        Those that are wanted are seen, and how many are missing; it ends when it is
        cancelled.
        """
        following = self.follow(AttemptFilter(queues=["mail"]))
        self.tell(record(uuid="a"), record("other", uuid="b"))
        self.tell(record("other", uuid="c"))
        self.tell(record("other", uuid="d"), lost=7)
        self.tell(record(uuid="e"))
        self.assertEqual(self.seen, [(["a"], None), ([], 7), (["e"], None)])
        following.cancel()
        self.network.settle()
        self.failureResultOf(following, CancelledError)
        self.assertEqual(self.depths(), {})

    def test_started(self) -> None:
        """
        It is told when the first one would be seen.
        """
        started: list[int] = []
        access = BrokerAccess(self.network, URL)
        following = self.begin(
            operations.follow(access, self.see, started=lambda: started.append(1))
        )
        self.network.settle()
        self.assertEqual(started, [1])
        following.cancel()
        self.network.settle()
        self.failureResultOf(following)

    def test_interrupted(self) -> None:
        """
        It is told that the connection is lost, and that attempts come again.
        """
        told: list[BrokerError | None] = []
        access = BrokerAccess(self.network, URL)
        following = self.begin(
            operations.follow(access, self.see, interrupted=told.append)
        )
        self.network.settle()
        self.assertEqual(told, [])
        self.network.cut()
        why = told.pop()
        self.assertIsInstance(why, ChannelLost)
        self.assertEqual(told, [])
        self.wire = self.connect()
        self.network.pass_time(5)
        self.assertEqual(told, [None])
        self.tell(record(uuid="a"))
        self.assertEqual(self.seen, [(["a"], None)])
        following.cancel()
        self.network.settle()
        self.failureResultOf(following)

    def test_interrupted_badly(self) -> None:
        """
        Attempts come again although who is told fails.
        """

        def interrupted(why: BrokerError | None) -> None:
            raise ZeroDivisionError

        access = BrokerAccess(self.network, URL)
        following = self.begin(
            operations.follow(access, self.see, interrupted=interrupted)
        )
        self.network.settle()
        self.network.cut()
        self.wire = self.connect()
        self.network.pass_time(5)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.tell(record(uuid="a"))
        self.assertEqual(self.seen, [(["a"], None)])
        following.cancel()
        self.network.settle()
        self.failureResultOf(following)

    def test_deleted(self) -> None:
        """
        The reason is told where a durable queue is deleted, too.
        """
        told: list[str] = []
        reader = EventReader(
            self.client(),
            _Follower(self.see, AttemptFilter()),
            queue="log",
            interrupted=lambda why: told.append(str(why)),
        )
        self.result(reader.start())
        self.call("queue_delete", queue="log")
        self.network.pass_time(5)
        self.assertIn("its queue is deleted", told[0])
        self.assertEqual(told[1:], ["None"])
        self.result(reader.stop())

    def test_waits(self) -> None:
        """
        No more are told while those before are being taken.
        """
        following = self.follow()
        self.busy = Deferred()
        self.tell(record(uuid="a"))
        self.tell(record(uuid="b"))
        self.assertEqual(self.seen, [(["a"], None)])
        self.busy.callback(None)
        self.network.settle()
        self.assertEqual(len(self.seen), 2)
        following.cancel()
        self.network.settle()
        self.failureResultOf(following)

    def test_fails(self) -> None:
        """
        It fails as the one who sees does.
        """
        following = self.follow()
        self.busy = Deferred()
        self.tell(record(uuid="a"))
        self.busy.errback(ZeroDivisionError())
        self.network.settle(11)
        self.failureResultOf(following, ZeroDivisionError)

    def test_fails_too_late(self) -> None:
        """
        Nobody hears of a failure of what was going on when it was cancelled.
        """
        following = self.follow()
        self.busy = Deferred()
        self.tell(record(uuid="a"))
        following.cancel()
        self.network.settle()
        with logged() as lines:
            self.busy.errback(ZeroDivisionError())
            self.network.settle(11)
        self.failureResultOf(following, CancelledError)
        self.assertEqual(lines, [])
