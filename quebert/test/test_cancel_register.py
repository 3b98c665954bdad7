"""
Tests for L{quebert.amqp.coordination._cancel_register} and
L{quebert.amqp.coordination._appended}, with the embedded broker in memory: what is kept
of cancelled tasks, whoever is killed.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from quebert.amqp.coordination import (
    REMEMBERED,
    Cancellation,
    _appended,
    _register,
    add_cancelled,
    lock_of,
    old_register_of,
    read_cancelled,
    register_of,
)
from quebert.amqp.coordination._cancel_register import MANY
from quebert.amqp.coordination._cancellation import REMEMBERED_AFTER_MET
from quebert.amqp.coordination._register import Register
from quebert.amqp.queues import NAME_LIMIT
from quebert.errors import BrokerError, ChannelLost
from quebert.test.memory_network import NetworkTestCase

NOW = 1000.0


class RegisterTestCase(NetworkTestCase):
    """
    The register of a queue.
    """

    def setUp(self) -> None:
        super().setUp()
        self.publisher = self.client()

    async def publish(self, queue: str, body: bytes) -> None:
        """
        Publish over a connection of its own.
        """
        await self.publisher.publish("", queue, body, {"delivery-mode": 2})

    def add(self, *uuids: str, at: float = NOW) -> bool:
        """
        Cancel tasks.
        """
        return self.add_all([Cancellation(each, at, "ada") for each in uuids])

    def add_all(self, some: list[Cancellation]) -> bool:
        """
        Cancel tasks.
        """
        return self.result(add_cancelled(self.wire, "tasks", some, self.publish))

    def reading(self, now: float = NOW, wire: Any = None) -> Deferred[Any]:
        """
        Read those that are cancelled.
        """
        wire = wire or self.wire
        return self.begin(read_cancelled(wire, "tasks", now, self.publish))

    def read(self, now: float = NOW, wire: Any = None) -> set[str]:
        """
        Those that are cancelled.
        """
        return {each.uuid for each in self.result(self.reading(now, wire))}

    def depth(self) -> int:
        """
        How many messages the register has.
        """
        name = register_of("tasks")
        count: int = self.call("queue_declare", queue=name, passive=True).message_count
        return count

    def reader(self, wire: Any) -> Any:
        """
        Another program that reads the register, and does not end; its channel.
        """

        async def consume() -> Any:
            channel = await wire.open_channel(confirms=False)
            channel.on_message = lambda message: None
            await channel.call("basic_consume", queue=register_of("tasks"))
            return channel

        return self.result(consume())


class RegisterTests(RegisterTestCase):
    """
    What is added, and read.
    """

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
        self.assertNotIn(register_of("tasks"), self.depths())

    def test_added(self) -> None:
        """
        All that was added is read, as often as anybody likes.
        """
        self.assertTrue(self.add("a"))
        self.assertFalse(self.add("b", "c"))
        for _ in range(2):
            self.assertEqual(self.read(), {"a", "b", "c"})
        self.assertEqual(self.depth(), 2)

    def test_forgotten(self) -> None:
        """
        A task is forgotten after its time, and sooner if a mediator has met it, in
        whatever order that is read.
        """
        met = Cancellation("a", NOW)
        for order in ([met, met.met(NOW + 5)], [met.met(NOW + 5), met]):
            self.add_all(order)
        self.add("b")
        self.assertEqual(self.read(NOW + 5 + REMEMBERED_AFTER_MET), {"b"})
        self.assertEqual(self.read(NOW + REMEMBERED), set())

    def test_no_publication_under_a_lock(self) -> None:
        """
        Tasks are added while another program reads, and even if it hangs.
        """
        self.add("a")
        self.reader(self.connect())
        self.add("b")
        self.assertEqual(self.depth(), 0)

    def test_many(self) -> None:
        """
        Whoever reads many messages replaces them by few.
        """
        for number in range(MANY):
            self.add(str(number))
        self.read()
        self.assertEqual(self.depth(), MANY)
        self.add("a")
        self.assertEqual(len(self.read()), MANY + 1)
        self.assertEqual(self.depth(), 1)
        self.assertEqual(len(self.read()), MANY + 1)

    def test_many_forgotten(self) -> None:
        """
        So does who reads mostly what is forgotten, and one message is left.
        """
        self.add_all([Cancellation(str(each), NOW) for each in range(1_002)])
        self.add("a", at=NOW + 9)
        self.assertEqual(self.read(NOW + REMEMBERED + 5), {"a"})
        self.assertEqual(self.depth(), 1)
        self.add_all([Cancellation(str(each), NOW) for each in range(1_002)])
        self.assertEqual(self.read(NOW + REMEMBERED + 10), set())
        self.assertEqual(self.depth(), 1)
        self.assertEqual(self.read(), set())

    def test_comes_back_often(self) -> None:
        """
        Messages that came back often are replaced, before a policy drops them.
        """
        self.patch(_register, "_MOST_RETURNS", 0)
        self.add("a")
        self.add("b")
        self.assertEqual(self.read(), {"a", "b"})
        self.assertEqual(self.depth(), 1)

    def test_not_replaced(self) -> None:
        """
        If RabbitMQ takes nothing, all is read, and nothing is lost.
        """
        self.patch(_register, "_MOST_RETURNS", 0)
        self.add("a")
        self.add("b")

        async def publish(queue: str, body: bytes) -> None:
            raise ChannelLost("it is gone")

        reading = read_cancelled(self.wire, "tasks", NOW, publish)
        self.assertEqual({each.uuid for each in self.result(reading)}, {"a", "b"})
        self.assertEqual(self.depth(), 2)

    def test_names(self) -> None:
        """
        No register is the lock of another, and no name is too long.
        """
        queues = ("tasks", "tasks.lock", "lock.tasks", "a" * 255, "ä" * 127)
        makers = (register_of, old_register_of, lock_of)
        names = [each(queue) for queue in queues for each in makers]
        self.assertEqual(len(set(names)), len(names))
        for each in names:
            self.assertLessEqual(len(each.encode()), NAME_LIMIT)

    def test_older_version(self) -> None:
        """
        What the version before has kept is read, too.
        """

        async def keep() -> None:
            old = Register(
                old_register_of("tasks"), lock_of("tasks"), REMEMBERED + 86_400
            )
            async with old.held(self.wire) as held:
                await held.replace(b'{"cancelled": [["a", 1000, "ada"]]}')

        self.result(keep())
        self.assertEqual(self.read(), {"a"})
        self.add("b")
        self.assertEqual(self.read(), {"a", "b"})
        self.assertEqual(self.read(NOW + REMEMBERED - 1), {"a", "b"})


class ReadersTests(RegisterTestCase):
    """
    Those who read at the same time, or are killed.
    """

    def test_in_turn(self) -> None:
        """
        Whoever reads has all, or waits: however the reader before ends, and whenever.
        """
        self.add("a")
        self.add("b")
        for lose in (False, True):
            for turns in range(1, 40):
                other = self.connect()
                first = self.reading(wire=other)
                for _ in range(turns):
                    self.network.step()
                second = self.reading()
                for _ in range(turns % 5):
                    self.network.step()
                first.addErrback(lambda f: f.trap(CancelledError, BrokerError))
                if lose:
                    other.transport.abortConnection()
                else:
                    first.cancel()
                found = {each.uuid for each in self.result(second)}
                self.assertEqual(found, {"a", "b"}, (lose, turns))

    def test_killed_before_the_acknowledgement(self) -> None:
        """
        A program that was killed after it had published what replaces others leaves
        both.
        """
        self.add("a")
        self.add("a", "b")
        self.result(self.publish(register_of("tasks"), b"nonsense"))
        self.assertEqual(self.read(), {"a", "b"})

    def test_hangs(self) -> None:
        """
        A reader that hangs is waited for, and after a while that is told; its end lets
        the next one read.
        """
        self.add("a")
        hanging = self.reader(self.connect())
        reading = self.reading()
        self.network.pass_time(5)
        self.assertNoResult(reading)
        self.begin(hanging.shut())
        self.assertEqual({each.uuid for each in self.result(reading)}, {"a"})
        self.reader(self.connect())
        reading = self.reading()
        self.network.pass_time(_appended._PATIENCE + 1)
        error = self.failureResultOf(reading, BrokerError).value
        self.assertIn(register_of("tasks"), str(error))

    def test_pauses(self) -> None:
        """
        Whoever waits for its turn asks RabbitMQ twenty times a second, and no more.
        """
        self.add("a")
        self.reader(self.connect())
        asked: list[float] = []
        ready = _appended.RegisterReading._ready

        async def noting(reading: _appended.RegisterReading) -> int:
            asked.append(self.network.seconds())
            return await ready(reading)

        self.patch(_appended.RegisterReading, "_ready", noting)
        reading = self.reading()
        self.network.pass_time(1, 0.05)
        self.assertNoResult(reading)
        self.assertEqual(asked, sorted(set(asked)))
        self.assertGreater(len(asked), 15)
        reading.addErrback(lambda failure: failure.trap(CancelledError))
        reading.cancel()

    def test_in_parts(self) -> None:
        """
        A register with more messages than RabbitMQ delivers at once is read in parts,
        and has fewer then.
        """
        self.patch(_appended, "_ALL", 10)
        wanted = {str(each) for each in range(35)}
        for each in sorted(wanted):
            self.add(each)
            self.add("old", at=NOW - REMEMBERED)
        self.assertEqual(self.read(), wanted)
        self.assertLess(self.depth(), 10)
        self.assertEqual(self.read(wire=self.connect()), wanted)

    def test_in_parts_and_blocked(self) -> None:
        """
        If nothing can be published, that is told, and nothing is lost.
        """
        self.patch(_appended, "_ALL", 10)
        wanted = {str(each) for each in range(25)}
        for each in sorted(wanted):
            self.add(each)
        left = 1

        async def publish(queue: str, body: bytes) -> None:
            nonlocal left
            if left == 0:
                raise ChannelLost("RabbitMQ takes no messages")
            left -= 1
            await self.publish(queue, body)

        reading = self.begin(read_cancelled(self.wire, "tasks", NOW, publish))
        self.network.pass_time(5)
        error = self.failureResultOf(reading, BrokerError).value
        self.assertIn("takes no messages", str(error))
        self.assertEqual(self.read(), wanted)

    def test_in_parts_and_killed(self) -> None:
        """
        Nothing is lost if a program is killed that reads in parts, whenever.
        """
        self.patch(_appended, "_ALL", 5)
        wanted = {str(each) for each in range(12)}
        for each in sorted(wanted):
            self.add(each)
        for turns in range(1, 60, 2):
            other = self.connect()
            reading = self.reading(wire=other)
            reading.addErrback(lambda f: f.trap(CancelledError, BrokerError))
            for _ in range(turns):
                self.network.step()
            other.transport.abortConnection()
            self.assertEqual(self.read(), wanted, turns)
            for each in sorted(wanted):
                self.add(each)

    def test_others_never_cease(self) -> None:
        """
        Somebody can read while others append all the time.
        """
        self.add("a")
        self.add("b")
        reading = self.reading()
        for number in range(200):
            publishing = self.publish(register_of("tasks"), b"%d" % number)
            Deferred.fromCoroutine(publishing)
            self.network.settle(0.02)
        found = {each.uuid for each in self.successResultOf(reading)}
        self.assertEqual(found, {"a", "b"})

    def test_enough(self) -> None:
        """
        It is enough to have all that was ready once, and all that was on its way then.
        """
        enough = _appended._Enough()
        table = [(1, 5, 0.0), (5, 1, 0.4), (7, 9, 0.5), (11, 9, 0.6)]
        self.assertEqual([enough.are(*each) for each in table], [False] * 4)
        self.assertTrue(enough.are(12, 9, 0.7))

    def test_added_meanwhile(self) -> None:
        """
        What was added before somebody begins to read is read, while others hold the
        rest.
        """
        self.add("a")
        hanging = self.reader(self.connect())
        self.add("b")
        reading = self.reading()
        self.network.pass_time(1)
        self.assertNoResult(reading)
        hanging.client.transport.abortConnection()
        self.assertEqual({each.uuid for each in self.result(reading)}, {"a", "b"})

    def test_empty(self) -> None:
        """
        A register that a program has made, and no more, has nothing in it.
        """
        kind = {"x-single-active-consumer": True}
        name = register_of("tasks")
        self.call("queue_declare", queue=name, durable=True, arguments=kind)
        for _ in range(2):
            self.assertEqual(self.read(), set())
            self.assertEqual(self.depth(), 1)

    def test_empty_and_blocked(self) -> None:
        """
        If nothing can be published, nobody knows whether it is empty.
        """
        kind = {"x-single-active-consumer": True}
        name = register_of("tasks")
        self.call("queue_declare", queue=name, durable=True, arguments=kind)

        async def publish(queue: str, body: bytes) -> None:
            raise ChannelLost("it is gone")

        reading = self.begin(read_cancelled(self.wire, "tasks", NOW, publish))
        self.network.pass_time(_appended._PATIENCE + 1)
        self.failureResultOf(reading, BrokerError)

    def test_deleted(self) -> None:
        """
        A register that somebody deletes is not read to its end.
        """
        self.add("a")
        self.reader(self.connect())
        reading = self.reading()
        self.network.pass_time(1)
        self.call("queue_delete", queue=register_of("tasks"))
        self.network.pass_time(1)
        self.failureResultOf(reading, BrokerError)
