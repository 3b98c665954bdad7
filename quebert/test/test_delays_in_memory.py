"""
Delayed tasks that an earlier version, a policy or an administrator has left behind,
with an embedded broker in memory.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel

from quebert._protocol.properties import encode_properties
from quebert.amqp.delays import PREFIX, UNCLAIMED, Ladder, OldLadder, arrivals_of
from quebert.amqp.queues import find_queue
from quebert.amqp.queues._new_queues import NEW
from quebert.amqp.wire import call_in_one_write
from quebert.errors import BrokerError, BrokerRefused
from quebert.outcome import Retry
from quebert.test.memory_network import NetworkTestCase, RefusingWire
from quebert.test.old_ladder import declarations, route
from quebert.test.support import logged
from quebert.test.test_client_in_memory import ClientTestCase

RABBITMQ = {"product": "RabbitMQ", "platform": "Erlang/OTP 25", "version": "3.12.0"}


class LeftTestCase(ClientTestCase):
    """
    Messages that others have put somewhere.
    """

    def put(self, exchange: str, key: str, body: bytes, **headers: Any) -> None:
        """
        Publish one.
        """

        async def put() -> None:
            channel = await self.wire.open_channel()
            properties = {"delivery-mode": 2, "headers": headers}
            await channel.publish(exchange, key, body, encode_properties(properties))
            await channel.shut()

        self.result(put())


class OldLadderTests(LeftTestCase):
    """
    The ladder of earlier versions.
    """

    def setUp(self) -> None:
        super().setUp()
        self.result(call_in_one_write(self.wire, list(declarations(PREFIX))))

    def test_waiting(self) -> None:
        """
        What waits there comes in time to the queue that is watched now.
        """
        self.watch()
        self.put(*route(PREFIX, "tasks", 70), b"old")
        self.network.pass_time(69)
        self.assertEqual(self.bodies, [])
        self.network.pass_time(5)
        self.assertEqual(self.bodies, [b"old"])

    def test_come_before(self) -> None:
        """
        What was due before the queue was bound there comes soon; what is for another
        queue stays.
        """
        for queue in ("tasks", "others", "tasks"):
            self.put(*route(PREFIX, queue, 2), queue.encode())
        self.network.pass_time(5)
        self.assertEqual(self.depths()[f"{PREFIX}.lost"], 3)
        self.watch()
        self.network.pass_time(5)
        self.assertEqual(self.bodies, [b"tasks", b"tasks"])
        self.assertEqual(self.depths()[f"{PREFIX}.lost"], 1)

    def test_names(self) -> None:
        """
        A queue whose name has dots and wildcards gets its own, and no others.
        """
        name, word = "a.b*#%", "a%2Eb%2A%23%25"
        watching = self.amqp.watch("flow", name, "odd", self.run_task)
        self.result(watching)
        self.network.pass_time(10)
        for each in (word, "a", "b"):
            self.put(*route(PREFIX, each, 2), each.encode())
        self.network.pass_time(10)
        self.assertEqual(self.bodies, [word.encode()])
        self.assertEqual(self.depths()[f"{PREFIX}.lost"], 2)

    def test_no_queue(self) -> None:
        """
        That there is no such queue is no error; that the user may not bind it is one.
        """
        old = OldLadder()
        self.result(old.lead_to(self.wire, "nowhere"))
        self.call("queue_declare", queue="tasks")
        wire: Any = RefusingWire(self.wire, "tasks")
        self.failure(OldLadder().lead_to(wire, "tasks"), BrokerRefused)

    def test_may_not_look(self) -> None:
        """
        For a user who may not see it, it is not there.
        """
        wire: Any = RefusingWire(self.wire, f"{PREFIX}.due")
        self.assertEqual(self.result(OldLadder().stores(wire)), [])
        stores = self.result(OldLadder().stores(self.wire))
        self.assertEqual(stores, [f"{PREFIX}.lost"])


class AstrayTests(LeftTestCase):
    """
    What lies where nobody has asked for it.
    """

    def died(self, key: str) -> dict[str, Any]:
        """
        The headers of a message that had a routing key before it was due.
        """
        death = {"queue": f"{PREFIX}.wait.2s", "routing-keys": [key], "count": 1}
        return {"x-death": [death]}

    def test_rerouted(self) -> None:
        """
        A task to which a policy gave another routing key comes, and that is told.
        """
        self.watch()
        with logged(LogLevel.warn) as lines:
            self.put(UNCLAIMED, "elsewhere", b"1", **self.died("tasks"))
            self.put(UNCLAIMED, "elsewhere", b"2", **self.died("others"))
            self.network.pass_time(70)
        self.assertEqual(self.bodies, [b"1"])
        self.assertEqual(self.depths()[UNCLAIMED], 1)
        (line,) = lines
        self.assertIn("arrive in queue 'quebert.delay.unclaimed'", line)
        self.assertIn("dead-letter-routing-key", line)

    def test_stopped(self) -> None:
        """
        A watch that has stopped tells nothing more.
        """
        watcher = self.watch()
        with logged(LogLevel.info) as lines:
            for _ in range(3):
                self.put(UNCLAIMED, "tasks", b"1", **self.died("tasks"))
                self.network.pass_time(5)
            self.result(watcher.stop(0))
            before = list(lines)
            self.network.pass_time(200, 1.0)
        self.assertEqual((len(before), lines), (1, before))

    def test_queue_takes_nothing(self) -> None:
        """
        Where the queue takes nothing it stays, which is told, and comes when there is
        room.
        """
        full = {"x-max-length": 1, "x-overflow": "reject-publish"}
        self.watch(arguments=full, prefetch=1)
        blocking: Deferred[None] = Deferred()
        self.answers = [blocking]
        self.publish(b"blocks", b"fills")
        with logged(LogLevel.warn) as lines:
            self.put(UNCLAIMED, "tasks", b"astray", **self.died("tasks"))
            self.network.pass_time(50)
        self.assertEqual(self.depths()[UNCLAIMED], 1)
        kept = [line for line in lines if "cannot be moved to queue 'tasks'" in line]
        self.assertEqual(len(kept), 1, lines)
        self.assertIn("they stay in queue 'quebert.delay.unclaimed'", kept[0])
        blocking.callback(None)
        self.network.pass_time(70)
        self.assertEqual(self.bodies, [b"blocks", b"fills", b"astray"])
        self.assertEqual(self.depths()[UNCLAIMED], 0)


class OtherRungTests(ClientTestCase):
    """
    A rung that somebody else has declared.
    """

    rung = f"{PREFIX}.wait.20s"

    def declare(self, **changes: Any) -> None:
        """
        Declare it.
        """
        arguments = {
            "x-queue-type": "classic",
            "x-overflow": "reject-publish",
            "x-message-ttl": 20_000,
            "x-dead-letter-exchange": f"{PREFIX}.arrivals",
        }
        named = {name.replace("_", "-"): value for name, value in changes.items()}
        wanted = {k: v for k, v in {**arguments, **named}.items() if v is not None}
        self.call("queue_declare", queue=self.rung, durable=True, arguments=wanted)

    def delay(self, seconds: float = 20.0) -> list[str]:
        """
        Have a task wait; returns the warnings.
        """
        self.watch()
        self.answers = [Retry(after=seconds)]
        with logged(LogLevel.warn) as lines:
            self.publish(b"task")
            self.network.pass_time(15)
        return lines

    def test_other_limits(self) -> None:
        """
        Where only its limits differ it is used.
        """
        self.declare(x_max_length=1_000)
        self.assertEqual(self.delay(), [])
        self.assertEqual(self.depths()[self.rung], 1)
        self.network.pass_time(10)
        self.assertEqual(self.bodies, [b"task", b"task"])

    def test_other_ways_out(self) -> None:
        """
        Where its messages would leave it at another time, or for another place, it is
        not used, and what helps is told; once it was deleted the task waits there.
        """
        for changes in (
            {"x_message_ttl": 30_000},
            {"x_dead_letter_exchange": "elsewhere"},
            {"x_dead_letter_exchange": None, "x_message_ttl": None},
        ):
            self.seen.clear()
            self.declare(**changes)
            lines = self.delay()
            self.assertEqual(len(lines), 1, lines)
            self.assertIn("Tasks cannot wait in the broker for now", lines[0])
            self.assertIn("delete the queue, and quebert declares it anew", lines[0])
            self.assertEqual(self.depths()[self.rung], 0)
            self.call("queue_delete", queue=self.rung)
            self.network.pass_time(30)
            self.assertEqual(self.bodies, [b"task", b"task"])
            self.call("queue_delete", queue=self.rung)
            self.result(self.amqp.stop(0))
            self.amqp = self.client()

    def test_refused_for_long(self) -> None:
        """
        However long that is so, the task waits there seconds after it was deleted.
        """
        self.rung = f"{PREFIX}.wait.512s"
        self.declare(x_message_ttl=30_000)
        self.delay(700.0)
        self.network.pass_time(100, 1.0)
        self.call("queue_delete", queue=self.rung)
        self.network.pass_time(3)
        self.assertEqual(self.depths()[self.rung], 1)


@pytest.mark.new_queues
class NewRungTests(NetworkTestCase):
    """
    A ladder of quorum queues, in which RabbitMQ may lose messages while they are new.
    """

    def test_kept(self) -> None:
        """
        A message is safe at once, unless its rung or the queue of its arrival was
        declared just now.
        """
        self.wire.server_properties = {**self.wire.server_properties, **RABBITMQ}
        ladder = Ladder(quorum=True)
        self.addCleanup(ladder.end)
        self.result(ladder.prepare(self.wire, "tasks"))
        rung = ladder.rungs_of(self.wire).name(1)
        self.network.pass_time(NEW)
        self.successResultOf(self.begin(ladder.kept(self.wire, rung, "tasks")))
        for deleted in (rung, arrivals_of("tasks")):
            self.call("queue_delete", queue=deleted)
            ladder.forget()
            self.result(ladder.prepare(self.wire, "tasks"))
            self.assertIsNotNone(self.result(find_queue(self.wire, deleted)))
            kept = self.begin(ladder.kept(self.wire, rung, "tasks"))
            self.network.pass_time(NEW - 1)
            self.assertNoResult(kept)
            self.network.pass_time(1.5)
            self.successResultOf(kept)

    def test_lost_meanwhile(self) -> None:
        """
        Nobody knows whether it is safe where the connection is lost first.
        """
        self.wire.server_properties = {**self.wire.server_properties, **RABBITMQ}
        ladder = Ladder(quorum=True)
        self.addCleanup(ladder.end)
        self.result(ladder.prepare(self.wire, "tasks"))
        rung = ladder.rungs_of(self.wire).name(1)
        kept = self.begin(ladder.kept(self.wire, rung, "tasks"))
        self.network.cut()
        self.network.pass_time(NEW + 1)
        self.failureResultOf(kept, BrokerError)
