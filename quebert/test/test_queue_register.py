"""
Tests for L{quebert.amqp.coordination._queue_register} and
L{quebert.operations._made_queues}, with the embedded broker in memory: definitions of
queues, whoever is killed, and whoever changes them at the same time.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred

from quebert.amqp.coordination import (
    QUEUES,
    QUEUES_LOCK,
    KnownQueues,
    _queue_register,
    _register,
    announce_queues,
    change_queues,
    is_paused,
    read_queues,
    remove_gone_queue,
    set_paused,
)
from quebert.amqp.queues import find_exchange
from quebert.config import DELETED_FOR, QueueDefinition
from quebert.errors import BrokerError, ConfigError
from quebert.operations import (
    QUEUE_CHANGED,
    QUEUE_DELETED,
    QUEUE_EXISTED,
    QUEUE_EXISTS,
    QUEUE_MADE,
    QUEUE_OUTDATED,
    QUEUE_UNKNOWN,
    BrokerAccess,
    QueueChange,
    _access,
    change_queue,
    delete_queue,
    made_queues,
    make_queue,
)
from quebert.policy import RetryPolicy
from quebert.test.memory_network import NetworkTestCase, RefusingWire, _Client

NOW = 1_700_000_000.0
A, B = QueueDefinition(name="a"), QueueDefinition(name="b")


class QueueRegisterTests(NetworkTestCase):
    """
    The register of queues that were made over the API.
    """

    def put(self, *definitions: QueueDefinition, wire: Any = None) -> None:
        """
        Add definitions, or change them.
        """
        for each in definitions:
            self.result(self.putting(each, wire or self.wire))

    async def putting(self, definition: QueueDefinition, wire: Any) -> bool:
        """
        Add a definition, or change it.
        """

        async def change(known: KnownQueues) -> QueueDefinition:
            return definition

        return await change_queues(wire, change, NOW)

    def read(self, wire: Any = None) -> dict[str, QueueDefinition]:
        """
        Those that are known.
        """
        return dict(self.result(read_queues(wire or self.wire)).definitions)

    def test_kept(self) -> None:
        """
        All are read from one message, which is durable, as the queue is that keeps it.
        """
        self.assertEqual(self.read(), {})
        self.assertTrue(self.result(self.putting(A, self.wire)))
        self.assertFalse(self.result(self.putting(B, self.wire)))
        self.assertEqual(self.read(), {"a": A, "b": B})
        self.assertEqual(self.depths()[QUEUES], 1)

    def test_nothing_changed(self) -> None:
        """
        A change that changes nothing makes no register.
        """

        async def change(known: KnownQueues) -> None:
            return None

        self.assertFalse(self.result(change_queues(self.wire, change, NOW)))
        self.assertNotIn(QUEUES, self.depths())

    def test_killed_before_the_acknowledgement(self) -> None:
        """
        A program that is killed between the confirm and the acknowledgement leaves two
        messages: the change counts, and the next one leaves one message.
        """
        self.put(A, B)
        other = self.connect()

        async def die(held: Any) -> None:
            other.transport.abortConnection()
            await Deferred()

        changed = QueueDefinition(name="a", version=2, rate=5)
        with patch.object(_register.Held, "_acknowledge", die):
            self.begin(self.putting(changed, other)).addErrback(lambda f: None)
            self.network.pass_time(1)
        self.assertEqual(self.depths()[QUEUES], 2)
        self.assertEqual(self.read(), {"a": changed, "b": B})
        self.put(QueueDefinition(name="c"))
        self.assertEqual(self.depths()[QUEUES], 1)
        self.assertEqual(set(self.read()), {"a", "b", "c"})
        self.assertEqual(self.read()["a"], changed)

    def test_renewed(self) -> None:
        """
        A reader replaces two messages by one.
        """
        self.put(A)
        publisher = self.client()

        async def publish(queue: str, body: bytes) -> None:
            await publisher.publish("", queue, body)

        self.result(publish(QUEUES, b'{"queues": [{"name": "b", "version": 1}]}'))
        for _ in range(2):
            known = self.result(read_queues(self.wire, publish))
            self.assertEqual(known.definitions, {"a": A, "b": B})
            self.assertEqual(self.depths()[QUEUES], 1)

    def test_many(self) -> None:
        """
        There may be thousands.
        """
        entries = {
            f"queue-{n}": {"name": f"queue-{n}", "version": 1, "http_target": {"a": n}}
            for n in range(1_000)
        }
        with patch.object(_queue_register, "_told", lambda held: entries):
            self.put(A)
        found = self.read()
        self.assertEqual(len(found), 1_001)
        self.assertEqual(found["queue-999"].http_target, {"a": 999})

    def test_full(self) -> None:
        """
        There may be so many, and no more; the change of one that is there is no further
        one.
        """
        self.patch(_queue_register, "_MOST", 2)
        self.put(A, B, A)
        error = self.failure(
            self.putting(QueueDefinition(name="c"), self.wire), ConfigError
        )
        self.assertIn("there are 2 queues", str(error))
        self.assertEqual(set(self.read()), {"a", "b"})

    def test_locked(self) -> None:
        """
        Two who change it do so one after the other, and both changes count.
        """
        other = self.connect()
        doing = [
            self.begin(self.putting(A, self.wire)),
            self.begin(self.putting(B, other)),
        ]
        self.network.pass_time(3)
        for each in doing:
            self.successResultOf(each)
        self.assertEqual(set(self.read()), {"a", "b"})

    def test_removed(self) -> None:
        """
        A queue is removed once it was deleted long ago, is empty and is not watched.
        """
        self.call("queue_declare", queue="a", durable=True)
        self.put(QueueDefinition(name="a", deleted_at=NOW))
        later = NOW + DELETED_FOR
        self.assertTrue(self.result(remove_gone_queue(self.wire, "a", later - 1)))
        self.assertIn("a", self.depths())
        self.result(self.client().publish("", "a", b"{}"))
        self.assertFalse(self.result(remove_gone_queue(self.wire, "a", later)))
        self.call("queue_purge", queue="a")
        self.assertTrue(self.result(remove_gone_queue(self.wire, "a", later)))
        self.assertNotIn("a", self.depths())
        self.assertTrue(self.result(remove_gone_queue(self.wire, "a", later)))


class MadeQueueOperationsTests(NetworkTestCase):
    """
    Operations on queues.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(_access, "TxAMQPClient", _Client)
        url = "amqp://guest:guest@rabbit.example/?heartbeat=0"
        self.access = BrokerAccess(self.network, url)

    def change(self, work: Coroutine[Any, Any, QueueChange]) -> tuple[str, Any]:
        """
        The result of an operation, and the definition after that.
        """
        found = self.result(work)
        self.assertEqual(found.problems, ())
        return found.result, found.queue

    def test_made(self) -> None:
        """
        A queue is made once, and takes tasks.
        """
        wanted = QueueDefinition(name="a", rate=5, version=9, queue_type="classic")
        made = QueueDefinition(name="a", rate=5, version=1, queue_type="classic")
        got = self.change(make_queue(self.access, wanted))
        self.assertEqual(got, (QUEUE_MADE, made))
        self.assertEqual(self.depths()["a"], 0)
        self.assertEqual(self.change(make_queue(self.access, A)), (QUEUE_EXISTS, made))
        known = self.result(made_queues(self.access))
        self.assertEqual(known.definitions, {"a": made})

    def test_announced(self) -> None:
        """
        Mediators are told over the exchange for pauses; where that cannot be, they see
        that the mark is gone.
        """
        refusing: Any = RefusingWire(self.wire, "quebert.control")
        mark = {"exchange": "quebert.control.mark"}
        for wire, stays in ((self.wire, True), (refusing, False)):
            self.call("exchange_declare", **mark, exchange_type="fanout")
            self.assertIsNone(self.result(announce_queues(wire)))
            found = self.result(find_exchange(self.wire, mark["exchange"]))
            self.assertEqual(found is not None, stays)
        both = RefusingWire(self.wire, "quebert.control", mark["exchange"])
        why = self.result(announce_queues(both))  # type: ignore[arg-type]
        self.assertIn("quebert.control", str(why))

    def test_changed(self) -> None:
        """
        A change counts for the version that its author has seen, and no other.
        """
        self.assertEqual(
            self.change(change_queue(self.access, A)), (QUEUE_UNKNOWN, None)
        )
        self.change(make_queue(self.access, A))
        faster = QueueDefinition(name="a", rate=5, version=2)
        got = self.change(change_queue(self.access, faster, expected=1))
        self.assertEqual(got, (QUEUE_CHANGED, faster))
        retry = RetryPolicy(max_attempts=2)
        lost = QueueDefinition(name="a", retry=retry)
        got = self.change(change_queue(self.access, lost, expected=1))
        self.assertEqual(got, (QUEUE_OUTDATED, faster))
        result, queue = self.change(change_queue(self.access, lost))
        self.assertEqual(
            (result, queue.version, queue.retry), (QUEUE_CHANGED, 3, retry)
        )

    def test_type(self) -> None:
        """
        The type of a queue does not change.
        """
        self.change(make_queue(self.access, A))
        other = QueueDefinition(name="a", queue_type="classic")
        error = self.failure(change_queue(self.access, other), ConfigError)
        self.assertIn("cannot become another type", str(error))

    def test_two_at_once(self) -> None:
        """
        Of two who change the same version one wins, and the other is told.
        """
        self.change(make_queue(self.access, A))
        doing = [
            self.begin(
                change_queue(
                    self.access, QueueDefinition(name="a", rate=rate), expected=1
                )
            )
            for rate in (5, 6)
        ]
        self.network.pass_time(5)
        found = [self.successResultOf(each) for each in doing]
        results = sorted(each.result for each in found)
        self.assertEqual(results, [QUEUE_CHANGED, QUEUE_OUTDATED])
        self.assertEqual(found[0].queue, found[1].queue)

    def test_deleted(self) -> None:
        """
        The name of a deleted queue is free after seven days; the queue that gets it
        then does none of the former tasks.
        """
        self.change(make_queue(self.access, A))
        result, queue = self.change(delete_queue(self.access, "a", expected=7))
        self.assertEqual(result, QUEUE_OUTDATED)
        result, queue = self.change(delete_queue(self.access, "a", expected=1))
        self.assertEqual((result, queue.version), (QUEUE_DELETED, 2))
        self.assertTrue(queue.is_deleted)
        for work in (
            delete_queue(self.access, "a"),
            change_queue(self.access, A),
        ):
            self.assertEqual(self.change(work), (QUEUE_UNKNOWN, queue))
        got = self.change(make_queue(self.access, A))
        self.assertEqual(got, (QUEUE_EXISTED, queue))
        self.network.advance(DELETED_FOR)
        result, anew = self.change(make_queue(self.access, A))
        self.assertEqual((result, anew.version), (QUEUE_MADE, 3))
        self.assertEqual(anew.purge_time, queue.deleted_at)

    def test_other_type_in_the_broker(self) -> None:
        """
        A queue that is in the broker otherwise gets no definition.
        """
        arguments = {"x-queue-type": "classic"}
        self.call("queue_declare", queue="a", durable=True, arguments=arguments)
        quorum = QueueDefinition(name="a", queue_type="quorum")
        error = self.failure(make_queue(self.access, quorum), BrokerError)
        self.assertIn("x-queue-type", str(error))
        known = self.result(made_queues(self.access))
        self.assertEqual(known.definitions, {})

    def test_used_by_others(self) -> None:
        """
        A queue of another program gets no definition: it has messages, or consumers.
        """
        self.call("queue_declare", queue="a", durable=True)
        self.result(self.client().publish("", "a", b"theirs"))
        got = self.change(make_queue(self.access, A))
        self.assertEqual(got, (QUEUE_EXISTS, None))
        self.call("queue_purge", queue="a")
        client = self.client()
        watcher: Any = self.result(client.watch("", "a", "", lambda message: None))
        got = self.change(make_queue(self.access, A))
        self.assertEqual(got, (QUEUE_EXISTS, None))
        self.result(watcher.stop(0))
        self.assertEqual(self.change(make_queue(self.access, A)), (QUEUE_MADE, A))

    def test_paused(self) -> None:
        """
        The pause of a deleted queue ends, so that its tasks are dropped.
        """
        self.change(make_queue(self.access, A))
        self.result(set_paused(self.wire, "a", True))
        self.change(delete_queue(self.access, "a"))
        self.assertFalse(self.result(is_paused(self.wire, "a")))

    def test_lock(self) -> None:
        """
        No lock is left.
        """
        self.change(make_queue(self.access, A))
        self.assertNotIn(QUEUES_LOCK, self.depths())
