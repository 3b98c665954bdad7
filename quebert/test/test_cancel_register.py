"""
Tests for L{quebert.amqp.coordination._cancel_register}, with the embedded broker in
memory: what is kept of cancelled tasks, whoever is killed.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError

from quebert.amqp.coordination import (
    KEPT,
    MOST,
    Cancellation,
    _register,
    add_cancelled,
    lock_of,
    read_cancelled,
    register_of,
)
from quebert.amqp.coordination import _cancel_register as module
from quebert.amqp.coordination._cancellation import to_plain
from quebert.amqp.queues import NAME_LIMIT
from quebert.errors import BrokerError, ConfigError
from quebert.test.memory_network import NetworkTestCase

NOW = 1000.0


class RegisterTests(NetworkTestCase):
    """
    The register of a queue.
    """

    def add(self, *uuids: str, at: float = NOW, wire: Any = None) -> bool:
        """
        Cancel tasks.
        """
        some = [Cancellation(each, at, "ada") for each in uuids]
        return self.result(add_cancelled(wire or self.wire, "tasks", some, at))

    def read(self, now: float = NOW, wire: Any = None) -> set[str]:
        """
        Those that are cancelled.
        """
        return set(self.result(read_cancelled(wire or self.wire, "tasks", now)))

    def depth(self) -> int:
        """
        How many messages the register has.
        """
        name = register_of("tasks")
        count: int = self.call("queue_declare", queue=name, passive=True).message_count
        return count

    def publish(self, *bodies: bytes) -> None:
        """
        Leave messages in the register.
        """

        async def publishing() -> None:
            channel = await self.wire.open_channel()
            for body in bodies:
                await channel.publish("", register_of("tasks"), body, b"\x00\x00")
            await channel.shut()

        self.result(publishing())

    def test_channels(self) -> None:
        """
        No channel is left, however often the register is read and changed.
        """
        before = set(self.wire.channels)
        self.add("a")
        self.read()
        self.network.settle()
        self.assertEqual(set(self.wire.channels), before)

    def test_none(self) -> None:
        """
        A queue without a register has no cancelled tasks, and gets none by reading.
        """
        self.assertEqual(self.read(), set())
        self.assertEqual(self.read(), set())

    def test_added(self) -> None:
        """
        All that was added is read, from one message.
        """
        self.assertTrue(self.add("a"))
        self.assertFalse(self.add("b", "c"))
        self.assertEqual(self.read(), {"a", "b", "c"})
        self.assertEqual(self.read(), {"a", "b", "c"})
        self.assertEqual(self.depth(), 1)

    def test_forgotten(self) -> None:
        """
        After thirty days a task is forgotten.
        """
        self.add("a")
        self.add("b", at=NOW + 10)
        self.assertEqual(self.read(NOW + KEPT + 5), {"b"})

    def test_killed_before_the_acknowledgement(self) -> None:
        """
        A program that was killed leaves two messages; both count, and become one.
        """
        self.add("a")
        self.publish(to_plain([Cancellation("b", NOW)]))
        self.assertEqual(self.read(), {"a", "b"})
        self.assertEqual(self.depth(), 2)
        publisher = self.client()

        async def publish(queue: str, body: bytes) -> None:
            await publisher.publish("", queue, body)

        for _ in range(2):
            reading = read_cancelled(self.wire, "tasks", NOW, publish)
            self.assertEqual(set(self.result(reading)), {"a", "b"})
            self.assertEqual(self.depth(), 1)
        self.publish(to_plain([Cancellation("c", NOW)]), b"nonsense")
        self.add("d")
        self.assertEqual(self.depth(), 1)
        self.assertEqual(self.read(), {"a", "b", "c", "d"})

    def test_killed_with_the_lock(self) -> None:
        """
        The lock of a connection that is gone is gone; one that is there is waited for.
        """
        self.add("a")
        other = self.connect()
        self.result(other_lock(other))
        reading = self.begin(read_cancelled(self.wire, "tasks", NOW))
        self.network.pass_time(5)
        self.assertNoResult(reading)
        other.transport.abortConnection()
        self.network.pass_time(1)
        found: dict[str, Cancellation] = self.successResultOf(reading)
        self.assertEqual(set(found), {"a"})

    def test_cancelled(self) -> None:
        """
        Who stops reading half-way leaves no lock behind, though the connection lasts.
        """
        self.add("a")
        other = self.connect()
        for turns in range(1, 30):
            reading = self.begin(read_cancelled(self.wire, "tasks", NOW))
            for _ in range(turns):
                self.network.advance(0)
            reading.addErrback(lambda failure: failure.trap(CancelledError))
            reading.cancel()
            self.network.settle()
            again = self.begin(read_cancelled(other, "tasks", NOW))
            self.network.pass_time(1)
            found: dict[str, Cancellation] = self.successResultOf(again)
            self.assertEqual(set(found), {"a"}, turns)

    def test_locked_for_long(self) -> None:
        """
        A program that has it for too long is told.
        """
        self.add("a")
        other = self.connect()
        self.result(other_lock(other))
        reading = self.begin(read_cancelled(self.wire, "tasks", NOW))
        self.network.pass_time(_register._PATIENCE + 1)
        error = self.failureResultOf(reading, BrokerError).value
        self.assertIn("quebert.cancelling.tasks", str(error))

    def test_empty(self) -> None:
        """
        A register that a program has made, and no more, has nothing in it.
        """
        self.call("queue_declare", queue=register_of("tasks"), durable=True)
        reading = self.begin(read_cancelled(self.wire, "tasks", NOW))
        self.network.pass_time(2)
        self.assertEqual(self.successResultOf(reading), {})

    def test_comes_back(self) -> None:
        """
        A register that is empty for a moment is read again.
        """
        self.add("a")
        other = self.connect()

        async def take() -> Any:
            channel = await other.open_channel(confirms=False)
            await channel.get(register_of("tasks"))
            return channel

        channel = self.result(take())
        reading = self.begin(read_cancelled(self.wire, "tasks", NOW))
        self.network.pass_time(0.5)
        self.assertNoResult(reading)
        self.begin(channel.shut())
        self.network.pass_time(0.5)
        found: dict[str, Cancellation] = self.successResultOf(reading)
        self.assertEqual(set(found), {"a"})

    def test_full(self) -> None:
        """
        It takes so many tasks, and no more; one that it has is no further one.
        """
        self.patch(module, "MOST", 3)
        self.add("a", "b", "c")
        self.assertFalse(self.add("a"))
        error = self.failure(self.adding("d"), ConfigError)
        self.assertIn("has 3 cancelled tasks, and may have 3", str(error))
        self.assertEqual(self.read(), {"a", "b", "c"})
        self.assertEqual(MOST, 10_000)

    async def adding(self, uuid: str) -> object:
        """
        Cancel a task.
        """
        some = [Cancellation(uuid, NOW)]
        return await add_cancelled(self.wire, "tasks", some, NOW)

    def test_names(self) -> None:
        """
        No register is the lock of another, and no name is too long.
        """
        queues = ("tasks", "tasks.lock", "lock.tasks", "a" * 255, "ä" * 127)
        names = [each(queue) for queue in queues for each in (register_of, lock_of)]
        self.assertEqual(len(set(names)), len(names))
        for each in names:
            self.assertLessEqual(len(each.encode()), NAME_LIMIT)


async def other_lock(wire: Any) -> None:
    """
    Have the lock for this connection.
    """
    channel = await wire.open_channel(confirms=False)
    await channel.call("queue_declare", queue=lock_of("tasks"), exclusive=True)
