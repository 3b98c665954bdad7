"""
Tests for L{quebert.web.cloud_tasks._made_cloud_queues}: queues of the Cloud Tasks API
that stand in a broker, which is in memory.
"""

from __future__ import annotations

from typing import Any

import attrs

from quebert import operations
from quebert.amqp.coordination import is_paused, set_paused
from quebert.config import QueueDefinition
from quebert.errors import BrokerUnreachable
from quebert.operations import BrokerAccess, _access
from quebert.policy import RetryPolicy
from quebert.test.memory_network import NetworkTestCase, _Client
from quebert.web.cloud_tasks import (
    CloudQueue,
    CloudQueueChanged,
    CloudQueueExists,
    CloudQueues,
    CloudQueueUnknown,
    NameTooRecent,
)
from quebert.web.cloud_tasks._made_cloud_queues import _FRESH, MadeCloudQueues

MAIL = CloudQueue(
    name="mail",
    rate=5.0,
    burst=2,
    concurrency=7,
    retry=RetryPolicy(max_attempts=3),
    http_target={"httpMethod": "PUT"},
)


class MadeCloudQueuesTests(NetworkTestCase):
    """
    Queues.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(_access, "TxAMQPClient", _Client)
        url = "amqp://guest:guest@rabbit.example/?heartbeat=0"
        self.access = BrokerAccess(self.network, url)
        self.queues = self.face()

    def face(self, **options: Any) -> MadeCloudQueues:
        """
        One more web server, which knows the queues.
        """
        queues = MadeCloudQueues(self.access, self.client(), **options)
        queues.start()
        self.addCleanup(queues.stop)
        self.network.pass_time(2)
        return queues

    def names(self, queues: CloudQueues) -> list[str]:
        """
        Which queues there are.
        """
        return [each.name for each in self.result(_awaited(queues.list()))]

    def test_created(self) -> None:
        """
        What is created is there at once, and soon in other web servers, with all that
        was said of it.
        """
        other = self.face()
        self.assertEqual(self.result(self.queues.create(MAIL)), MAIL)
        self.assertEqual(self.result(self.queues.get("mail")), MAIL)
        self.network.pass_time(2)
        self.assertEqual(self.result(other.get("mail")), MAIL)
        self.assertEqual(self.names(other), ["mail"])
        self.assertIsNone(self.result(other.get("reports")))
        self.failure(other.create(MAIL), CloudQueueExists)

    def test_type(self) -> None:
        """
        New queues are of the configured type.
        """
        face = self.face(queue_type="classic")
        made = self.result(face.create(MAIL))
        self.result(face.update(made))
        definition = self.result(operations.made_queues(self.access)).of("mail")
        assert definition is not None
        self.assertEqual((definition.queue_type, definition.version), ("classic", 2))

    def test_updated(self) -> None:
        """
        A change counts for the version that was seen, here and elsewhere.
        """
        other = self.face()
        made = self.result(self.queues.create(MAIL))
        self.network.pass_time(2)
        faster = self.result(other.update(attrs.evolve(made, rate=50.0)))
        self.assertEqual((faster.rate, faster.version), (50.0, 2))
        lost = attrs.evolve(made, rate=1.0)
        self.failure(self.queues.update(lost), CloudQueueChanged)
        self.assertEqual(self.result(self.queues.get("mail")), faster)
        unknown = attrs.evolve(made, name="reports")
        self.failure(self.queues.update(unknown), CloudQueueUnknown)

    def test_deleted(self) -> None:
        """
        A deleted queue is unknown, and its name is not free yet.
        """
        made = self.result(self.queues.create(MAIL))
        self.result(self.queues.delete("mail"))
        self.assertIsNone(self.result(self.queues.get("mail")))
        self.assertEqual(self.names(self.queues), [])
        for work in (
            self.queues.delete("mail"),
            self.queues.update(made),
            self.queues.pause("mail", "ada"),
            self.queues.resume("mail"),
            self.queues.purge("mail"),
        ):
            self.failure(work, CloudQueueUnknown)
        self.failure(self.queues.create(MAIL), NameTooRecent)

    def test_paused(self) -> None:
        """
        A pause is told at once here, and that of another one after some seconds.
        """
        self.result(self.queues.create(MAIL))
        self.assertTrue(self.result(self.queues.pause("mail", "ada")).paused)
        self.assertTrue(self.result(is_paused(self.wire, "mail")))
        found = self.result(self.queues.get("mail"))
        assert found is not None
        self.assertTrue(found.paused)
        self.assertFalse(self.result(self.queues.resume("mail")).paused)
        self.result(set_paused(self.wire, "mail", True))
        self.network.advance(_FRESH)
        self.result(self.queues.get("mail"))
        self.network.settle()
        found = self.result(self.queues.get("mail"))
        assert found is not None
        self.assertTrue(found.paused)

    def test_purged(self) -> None:
        """
        A purge drops what was created before, although others change the queue.
        """
        self.result(self.queues.create(MAIL))
        definition = QueueDefinition(name="mail", rate=9.0)
        self.result(operations.change_queue(self.access, definition))
        purged = self.result(self.queues.purge("mail"))
        self.assertEqual((purged.rate, purged.version), (9.0, 3))
        self.assertGreater(purged.purge_time, 1_700_000_000)

    def test_not_known_yet(self) -> None:
        """
        Before RabbitMQ has told, no queue is said to be unknown.
        """
        self.network.is_down = True
        queues = MadeCloudQueues(self.access, self.client(connectTimeout=None))
        queues.start()
        self.addCleanup(queues.stop)
        self.failure(queues.get("mail"), BrokerUnreachable)
        self.failure(queues.list(), BrokerUnreachable)
        self.network.is_down = False
        self.network.pass_time(60, 1.0)
        self.assertIsNone(self.result(queues.get("mail")))


async def _awaited(work: Any) -> Any:
    return await work
