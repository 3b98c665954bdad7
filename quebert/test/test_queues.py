"""
Tests for L{quebert.amqp.queues}, with an embedded broker in memory.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.logger import LogLevel, capturedLogs, formatEvent

from quebert._protocol.properties import encode_properties
from quebert.amqp.queues import (
    Browsing,
    Declared,
    NewQueues,
    browse,
    check_watchable,
    count_lookers,
    dead_letters_of,
    declare_queue,
    declare_task_queue,
    declared,
    depth,
    find_exchange,
    find_queue,
    looking,
    losses,
    no_single_tasks,
)
from quebert.amqp.queues import _browse as _browse
from quebert.amqp.queues._bindings import LOOK, Bindings, QueueBinding
from quebert.amqp.queues._dead_letters import DeadLetters
from quebert.amqp.queues._declared import amended
from quebert.amqp.queues._new_queues import NEW
from quebert.amqp.wire import Channel, Message, Wire, temporary_channel
from quebert.errors import BrokerError, BrokerRefused, MayNotLook
from quebert.test.broker.peer import Peer
from quebert.test.memory_network import NetworkTestCase, RefusingWire
from quebert.test.support import logged

QUORUM = {"x-queue-type": "quorum"}


class QueuesTestCase(NetworkTestCase):
    """
    Some queues, and what lies in them.
    """

    def declare(self, queue: str, **arguments: Any) -> None:
        """
        Declare a durable queue.
        """
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.call("queue_declare", queue=queue, durable=True, arguments=named)

    def fill(self, queue: str, count: int, **properties: Any) -> None:
        """
        Publish messages with the bodies 0, 1, 2, ...
        """

        async def filled() -> None:
            channel = await self.wire.open_channel()
            encoded = encode_properties({"delivery-mode": 2, **properties})
            for number in range(count):
                await channel.publish("", queue, b"%d" % number, encoded)
            await channel.shut()

        self.result(filled())

    def bodies(self, queue: str) -> list[int]:
        """
        Take all messages of a queue.
        """

        async def taken() -> list[int]:
            found = []
            async with temporary_channel(self.wire) as channel:
                while (message := await channel.get(queue)) is not None:
                    found.append(int(message.body))
                    channel.ack(message.delivery_tag)
            return found

        return self.result(taken())

    def refusing(self, *names: str) -> Any:
        """
        The connection of a user who may not touch some names.
        """
        return RefusingWire(self.wire, *names)


class HeldCountingWire:
    """
    A connection to a broker that counts one more consumer of a queue at each question,
    as RabbitMQ does of a quorum queue with each message that is held.

    @ivar events: the questions, and what becomes of the channel with messages.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.events: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wire, name)

    async def open_channel(self, *, confirms: bool = True) -> HeldCountingChannel:
        """
        A channel of it.
        """
        return HeldCountingChannel(
            self, await self.wire.open_channel(confirms=confirms)
        )


class HeldCountingChannel:
    """
    A channel of a L{HeldCountingWire}.
    """

    def __init__(self, wire: HeldCountingWire, channel: Channel) -> None:
        self._wire = wire
        self._channel = channel
        self._gave_back = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    async def call(self, method: str, **arguments: Any) -> Any:
        """
        Call a method; the answer has one more consumer each time.
        """
        found = await self._channel.call(method, **arguments)
        if method != "queue_declare":
            return found
        self._wire.events.append("asked")
        consumers = len(self._wire.events)
        return SimpleNamespace(
            message_count=found.message_count, consumer_count=consumers
        )

    def give_all_back(self, up_to: int = 0) -> None:
        """
        Give back its messages.
        """
        self._wire.events.append("given back")
        self._gave_back = True
        self._channel.give_all_back(up_to)

    async def shut(self) -> None:
        """
        Close it.
        """
        if self._gave_back:
            self._wire.events.append("shut")
        await self._channel.shut()


class AskingTests(QueuesTestCase):
    """
    What there is.
    """

    def test_queue(self) -> None:
        """
        A queue that exists tells its messages and consumers, without a change.
        """
        self.assertIsNone(self.result(find_queue(self.wire, "tasks")))
        self.assertIsNone(self.result(depth(self.wire, "tasks")))
        self.declare("tasks")
        self.fill("tasks", 3)
        found = self.result(depth(self.wire, "tasks"))
        assert found is not None
        self.assertEqual((found.ready, found.consumers), (3, 0))

    def test_exchange(self) -> None:
        """
        An exchange is found, whatever its type.
        """
        self.assertIsNone(self.result(find_exchange(self.wire, "flow")))
        self.call("exchange_declare", exchange="flow", exchange_type="topic")
        self.assertIsNotNone(self.result(find_exchange(self.wire, "flow")))

    def test_may_not_look(self) -> None:
        """
        A user without the permission is told which one is missing.
        """
        error = self.failure(depth(self.refusing("tasks"), "tasks"), MayNotLook)
        self.assertIn(
            "the user needs to configure, write or read queue 'tasks'", str(error)
        )

    def test_lookers(self) -> None:
        """
        All that browse a queue or consume from it count, and oneself does not.
        """
        self.declare("tasks")

        async def look() -> tuple[int, ...]:
            async with temporary_channel(self.wire) as channel:
                channel.on_cancel = lambda tag: None
                await channel.call("basic_consume", queue="tasks")
                async with looking(self.wire, "tasks") as others:
                    one = await others()
                    async with looking(self.wire, "tasks"):
                        two = await others()
                    return one, two, await others()

        self.assertEqual(self.result(look()), (1, 2, 1))
        self.assertEqual(self.result(count_lookers(self.wire, "tasks")), 0)

    def test_unseen_looker(self) -> None:
        """
        Who may not have the helper queue is not seen, and sees those who consume.
        """
        self.declare("tasks")
        hidden = self.refusing("quebert.look.tasks")

        async def look() -> tuple[int, int]:
            async with looking(hidden, "tasks") as others:
                return await others(), await count_lookers(self.wire, "tasks")

        self.assertEqual(self.result(look()), (0, 0))


class DeclaringTests(QueuesTestCase):
    """
    Queues as quebert wants them, and as they are.
    """

    def declare_tasks(self, **arguments: Any) -> Any:
        """
        Declare the queue C{tasks} as a watch does.
        """
        named = {name.replace("_", "-"): value for name, value in arguments.items()}

        async def declaring() -> float | None:
            async with temporary_channel(self.wire) as channel:
                return await declare_task_queue(self.wire, channel, "tasks", named)

        return declaring()

    def test_first_way_accepted(self) -> None:
        """
        The first arguments that the broker accepts are taken.
        """
        self.declare("tasks", x_max_length=5)
        ways: list[dict[str, Any]] = [QUORUM, {"x-max-length": 5}, {}]
        accepted = self.result(declare_queue(self.wire, "tasks", *ways))
        self.assertEqual(accepted, {"x-max-length": 5})
        error = self.failure(declare_queue(self.wire, "tasks", QUORUM, {}), BrokerError)
        self.assertIn("PRECONDITION_FAILED", str(error))

    def test_refused_otherwise(self) -> None:
        """
        Where the user may not declare it, no other way is tried.
        """
        wire = self.refusing("tasks")
        error = self.failure(declare_queue(wire, "tasks", QUORUM, {}), BrokerRefused)
        self.assertEqual(error.code, 403)
        self.assertEqual(self.depths(), {})

    def test_delivery_limits(self) -> None:
        """
        A classic queue counts no deliveries; a quorum queue has its own limit, or none
        that is known.
        """
        self.assertIsNone(self.result(self.declare_tasks(x_queue_type="classic")))
        self.call("queue_delete", queue="tasks")
        limited = {"x_queue_type": "quorum", "x_delivery_limit": 7}
        self.assertEqual(self.result(self.declare_tasks(**limited)), 7)
        self.call("queue_delete", queue="tasks")
        self.assertIn(
            self.result(self.declare_tasks(x_queue_type="quorum")), (None, math.inf)
        )

    def test_no_delivery_limit(self) -> None:
        """
        Each negative number is no limit, as in RabbitMQ 4: also where somebody else has
        declared the queue with it.
        """
        told = {"product": "RabbitMQ", "platform": "Erlang/OTP 27"}
        self.wire.server_properties = {**told, "version": "4.0.5"}
        quorum = {"x_queue_type": "quorum"}
        for limit in (-1, -2):
            limitless = {**quorum, "x_delivery_limit": limit}
            self.assertEqual(self.result(self.declare_tasks(**limitless)), math.inf)
            self.assertEqual(self.result(self.declare_tasks(**quorum)), math.inf)
            self.call("queue_delete", queue="tasks")

    def test_negative_limit_of_rabbitmq_3(self) -> None:
        """
        RabbitMQ 3 takes it for 0: no message ever comes back.
        """
        told = {"product": "RabbitMQ", "platform": "Erlang/OTP 25"}
        self.wire.server_properties = {**told, "version": "3.10.8"}
        negative = {"x_queue_type": "quorum", "x_delivery_limit": -1}
        self.assertEqual(self.result(self.declare_tasks(**negative)), 0)

    def test_declared_otherwise(self) -> None:
        """
        A refusal names what is to be set so that the queue is watched as it is.
        """
        self.declare("tasks", x_max_length=5)
        error = self.failure(self.declare_tasks(x_queue_type="classic"), BrokerRefused)
        self.assertEqual(error.code, 406)
        self.assertIn("give the queue the argument x-max-length", str(error))
        self.call("queue_delete", queue="tasks")
        self.declare("tasks", x_queue_type="quorum")
        error = self.failure(self.declare_tasks(x_queue_type="classic"), BrokerRefused)
        self.assertIn('set queue_type to "quorum"', str(error))

    def test_stream(self) -> None:
        """
        Of a stream it is said that it cannot be watched, and what helps.
        """
        text = no_single_tasks("tasks", "refused")
        self.assertIn("tasks is a stream", text)
        self.assertIn("(refused)", text)

    def test_watchable(self) -> None:
        """
        A check declares nothing that is not there, and is refused where a watch is.
        """

        def check(kind: str = "topic", **arguments: Any) -> Any:
            named = {name.replace("_", "-"): value for name, value in arguments.items()}
            return check_watchable(self.wire, "tasks", named, "flow", kind)

        self.assertFalse(self.result(check()))
        self.assertEqual(self.depths(), {})
        self.assertIsNone(self.result(find_exchange(self.wire, "flow")))
        self.declare("tasks")
        self.assertTrue(self.result(check()))
        self.failure(check(x_queue_type="quorum"), BrokerRefused)
        self.call(
            "exchange_declare", exchange="flow", exchange_type="topic", durable=True
        )
        self.assertTrue(self.result(check()))
        self.failure(check("fanout"), BrokerRefused)


class DeclaredTests(QueuesTestCase):
    """
    How a queue was declared that is there.
    """

    def test_told(self) -> None:
        """
        Whatever it was declared with is found out, without a change.
        """
        for flags, arguments in (
            ({"durable": True}, {"x-queue-type": "classic"}),
            ({"durable": True}, {}),
            ({"durable": True}, {"x-queue-type": "quorum", "x-delivery-limit": 7}),
            ({"durable": True}, {"x-overflow": "reject-publish", "x-max-length": 9}),
            ({"durable": False, "auto_delete": True}, {"x-message-ttl": 60_000}),
            ({"durable": True}, {"x-single-active-consumer": True, "x-expires": 1_000}),
        ):
            self.call("queue_declare", queue="q", **flags, arguments=arguments)
            how = self.result(declared(self.wire, "q"))
            assert how is not None
            for name, value in flags.items():
                self.assertEqual(how.flags.get(name, False), value)
            told = {k: v for k, v in how.arguments.items() if k != "x-queue-type"}
            wanted = {k: v for k, v in arguments.items() if k != "x-queue-type"}
            self.assertEqual(told, wanted)
            self.assertEqual(how.kind, arguments.get("x-queue-type", "classic"))
            self.call("queue_delete", queue="q")

    def test_may_not_configure(self) -> None:
        """
        A user who may not configure it is told so.
        """
        self.declare("tasks")
        error = self.failure(declared(self.refusing("tasks"), "tasks"), BrokerRefused)
        self.assertEqual(error.code, 403)

    def test_losses(self) -> None:
        """
        What makes RabbitMQ lose tasks is told, each in a sentence.
        """
        refusing = {"x-max-length": 5, "x-overflow": "reject-publish-dlx"}
        table: list[tuple[dict[str, bool], dict[str, Any], list[str]]] = [
            ({"durable": True}, {}, []),
            ({"durable": True}, refusing, []),
            ({"durable": False}, {}, ["it is not durable"]),
            ({}, {}, ["it is not durable"]),
            ({"durable": True}, {"x-message-ttl": 0}, ["wait for 0 ms (x-message-ttl"]),
            ({"durable": True}, {"x-expires": 9}, ["after 9 ms without a consumer"]),
            ({"durable": True}, {"x-max-age": "1D"}, ["older than 1D (x-max-age"]),
            (
                {"durable": True},
                {"x-max-length": 5, "x-max-length-bytes": 6, "x-overflow": "drop-head"},
                ["beyond 5 (x-max-length)", "beyond 6 (x-max-length-bytes)"],
            ),
        ]
        for flags, arguments, expected in table:
            told = list(losses(Declared(flags, arguments)))
            self.assertEqual(len(told), len(expected), told)
            for sentence, part in zip(told, expected, strict=True):
                self.assertIn(part, sentence)

    def test_values(self) -> None:
        """
        The value of an argument is a number or a flag where its type says so, or where
        the guess was a number; else it is text.
        """
        for guess, kind, text, value in (
            (None, "signedint", "5", 5),
            (None, "long", "-5", -5),
            (None, "longstr", "5", "5"),
            (None, "bool", "true", True),
            (None, "bool", "false", False),
            (7, None, "5", 5),
            (7, None, "many", "many"),
            (None, None, "5", "5"),
        ):
            type_ = f" of type '{kind}'" if kind else ""
            refusal = (
                "PRECONDITION_FAILED - inequivalent arg 'x-mine' for queue 'q' in vhost"
                f" '/': received 'y' but current is the value '{text}'{type_}"
            )
            given = {} if guess is None else {"x-mine": guess}
            how = amended(Declared(arguments=given), refusal)
            assert how is not None
            self.assertEqual(how.arguments, {"x-mine": value})
            self.assertIs(type(how.arguments["x-mine"]), type(value))

    def test_stream(self) -> None:
        """
        Of a stream RabbitMQ's refusal tells, too.
        """
        text = (
            "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in"
            " vhost '/': received the value 'classic' of type 'longstr' but current is"
            " the value 'stream' of type 'longstr'"
        )
        how = amended(Declared(), text)
        assert how is not None
        self.assertEqual(how.kind, "stream")
        self.assertIsNone(amended(how, text))
        self.assertIsNone(amended(how, "PRECONDITION_FAILED - something else"))


@pytest.mark.new_queues
class NewQueuesTests(QueuesTestCase):
    """
    L{NewQueues}.
    """

    def test_publish(self) -> None:
        """
        Nothing is published to a queue while it is new, and what was published is safe
        once the queue is not new, if it was declared anew meanwhile.
        """
        told = {"product": "RabbitMQ", "platform": "Erlang/OTP 25", "version": "3.12.0"}
        self.wire.server_properties = {**self.wire.server_properties, **told}
        queues = NewQueues()
        queues.declared(self.wire, "q", "quorum")
        published: list[float] = []

        async def publish() -> None:
            published.append(self.network.seconds())
            queues.declared(self.wire, "q", "quorum")

        since = self.network.seconds()
        done = self.begin(queues.publish(self.wire, "q", publish))
        self.network.pass_time(NEW - 0.5)
        self.assertEqual(published, [])
        self.network.pass_time(NEW)
        self.assertNoResult(done)
        self.assertGreaterEqual(published[0], since + NEW)
        self.network.pass_time(1)
        self.successResultOf(done)


class BindingsTests(QueuesTestCase):
    """
    L{Bindings}, which are looked at.
    """

    def setUp(self) -> None:
        super().setUp()
        self.bindings = Bindings(lambda: self.network)
        self.binding = QueueBinding("tasks", "flow", "topic", "#", {})
        self.addCleanup(self.bindings.forget, self.binding)
        self.declare("tasks")

    def test_refused(self) -> None:
        """
        That the exchange is declared otherwise now is told once, and that it is well
        again, too.
        """
        with logged(LogLevel.info) as lines:
            self.bindings.keep(self.wire, self.binding)
            self.call("exchange_declare", exchange="flow", exchange_type="fanout")
            self.network.pass_time(2.5 * LOOK, 1.0)
            self.assertEqual(len(lines), 1, lines)
            self.assertIn("PRECONDITION_FAILED", lines[0])
            self.call("exchange_delete", exchange="flow")
            self.network.pass_time(1.5 * LOOK, 1.0)
        self.assertEqual(len(lines), 3, lines)
        self.assertIn("was deleted", lines[1])

    def test_may_not_look(self) -> None:
        """
        A user who may not touch the exchange is told what RabbitMQ says.
        """
        with logged(LogLevel.info) as lines:
            self.bindings.keep(self.refusing("flow"), self.binding)
            self.network.pass_time(1.5 * LOOK, 1.0)
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("ACCESS_REFUSED", lines[0])

    def test_forgotten(self) -> None:
        """
        What nobody watches any more is not looked at.
        """
        self.bindings.keep(self.wire, self.binding)
        self.bindings.forget(self.binding)
        self.network.pass_time(1.5 * LOOK, 1.0)
        self.assertIsNone(self.result(find_exchange(self.wire, "flow")))


class BrowsingTests(QueuesTestCase):
    """
    L{Browsing}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.seen: list[int] = []
        self.copies: list[bytes] = []
        self.leaves: set[int] = set()

    async def visit(self, message: Message) -> bool:
        """
        See a message.
        """
        self.seen.append(int(message.body))
        return int(message.body) in self.leaves

    async def stopped_at_first(self, wire: Any = None) -> Browsing:
        """
        Go through 100 messages, and stop at the first.
        """
        how = browse(wire or self.wire, "tasks", 100, self.replace)
        async with how as browsing:

            async def visit(message: Message) -> bool:
                browsing.stop()
                return await self.visit(message)

            await browsing.through(visit)
        return browsing

    async def replace(self, message: Message, properties: bytes) -> None:
        """
        Put a copy into the queue.
        """
        channel = await self.wire.open_channel()
        await channel.publish("", "tasks", message.body, properties)
        await channel.shut()
        self.copies.append(properties)

    async def browse(self, most: int, **options: Any) -> Browsing:
        """
        Look through the queue.
        """
        how = browse(self.wire, "tasks", most, self.replace, **options)
        async with how as browsing:
            await browsing.through(self.visit)
        return browsing

    def test_order(self) -> None:
        """
        All are seen in their order, and lie there as before.
        """
        self.declare("tasks")
        self.fill("tasks", 60)
        browsing = self.result(self.browse(60))
        self.assertEqual(self.seen, list(range(60)))
        self.assertEqual((browsing.kept, browsing.replaced), (60, 0))
        self.assertEqual(self.bodies("tasks"), list(range(60)))

    def test_most(self) -> None:
        """
        No more are looked at than was asked for, and no more than there are.
        """
        self.declare("tasks")
        self.fill("tasks", 30)
        self.result(self.browse(7))
        self.assertEqual(self.seen, list(range(7)))
        self.seen.clear()
        self.result(self.browse(500))
        self.assertEqual(self.seen, list(range(30)))

    def test_leaving(self) -> None:
        """
        A message leaves if the visitor says so.
        """
        self.declare("tasks")
        self.fill("tasks", 10)
        self.leaves = {0, 4, 9}
        browsing = self.result(self.browse(10))
        self.assertEqual(browsing.kept, 7)
        self.assertEqual(self.bodies("tasks"), [1, 2, 3, 5, 6, 7, 8])

    def test_many_at_once(self) -> None:
        """
        No channel holds many more than a thousand messages.
        """
        self.declare("tasks")
        self.fill("tasks", 1_200)
        held: list[int] = []

        async def visit(message: Message) -> bool:
            connections = self.network.broker.connections
            channels = [each for c in connections for each in c.channels]
            held.append(max(len(each._unacked) for each in channels))
            return False

        async def browsed() -> None:
            how = browse(self.wire, "tasks", 1_200, self.replace)
            async with how as browsing:
                await browsing.through(visit)

        self.result(browsed())
        self.assertEqual(len(held), 1_200)
        self.assertLess(max(held), 1_030)
        self.assertEqual(self.bodies("tasks"), list(range(1_200)))

    def test_thousands(self) -> None:
        """
        Thousands of messages are looked at, and held.
        """
        self.declare("tasks")
        self.fill("tasks", 5_100)
        self.assertEqual(self.result(self.browse(5_100)).kept, 5_100)
        self.assertEqual(self.depths(), {"tasks": 5_100})

    def test_stop(self) -> None:
        """
        After a stop no message is seen, and few are fetched.
        """
        self.declare("tasks")
        self.fill("tasks", 100)

        self.assertLess(self.result(self.stopped_at_first()).kept, 100)
        self.assertEqual(self.seen, [0])
        self.assertEqual(self.bodies("tasks"), list(range(100)))

    def test_stop_in_quorum_queue(self) -> None:
        """
        After a stop in a quorum queue, which counts each held message as a consumer,
        no message is seen, but all are fetched: RabbitMQ may put those that come back
        at the end of the queue.
        """
        self.declare("tasks", x_queue_type="quorum")
        self.fill("tasks", 100)
        browsing = self.result(self.stopped_at_first(HeldCountingWire(self.wire)))
        self.assertEqual(browsing.kept, 100)
        self.assertEqual(self.seen, [0])
        self.assertEqual(self.bodies("tasks"), list(range(100)))

    def test_back_before_shut(self) -> None:
        """
        No channel with messages of a quorum queue is closed before RabbitMQ was asked
        whether they are back: it puts others than the first 33 elsewhere.
        """
        self.declare("tasks", x_queue_type="quorum")
        self.fill("tasks", 100)
        wire = HeldCountingWire(self.wire)
        self.result(self.stopped_at_first(wire))
        events = wire.events
        until_shut = events[events.index("given back") : events.index("shut")]
        self.assertIn("asked", until_shut)

    def test_stop_among_copies(self) -> None:
        """
        After a stop, all that would be replaced by copies are, so that their order
        stays.
        """
        self.declare("tasks", x_queue_type="quorum", x_delivery_limit=50)
        self.fill("tasks", 100)
        self.come_back(3)

        self.assertEqual(self.result(self.stopped_at_first()).replaced, 100)
        self.assertEqual(self.seen, [0])
        self.assertEqual(self.bodies("tasks"), list(range(100)))

    def test_taken_meanwhile(self) -> None:
        """
        Where somebody takes what comes back, the browsing ends all the same.
        """
        self.declare("tasks")
        self.fill("tasks", 10)

        async def browsed() -> Browsing:
            async with browse(self.wire, "tasks", 10, self.replace) as browsing:
                await browsing.through(self.visit)
                channel = await self.wire.open_channel(confirms=False)
                channel.on_message = lambda message: None
                await channel.call("basic_consume", queue="tasks")
            return browsing

        self.assertEqual(self.result(browsed()).kept, 10)
        found = self.result(depth(self.wire, "tasks"))
        assert found is not None
        self.assertEqual((found.ready, self.depths()), (0, {"tasks": 10}))

    def test_visitor_fails(self) -> None:
        """
        What the visitor raises ends the browsing, and all lie there as before.
        """
        self.declare("tasks")
        self.fill("tasks", 50)

        async def visit(message: Message) -> bool:
            raise BrokerError("no")

        async def browsed() -> None:
            async with browse(self.wire, "tasks", 50, self.replace) as browsing:
                await browsing.through(visit)

        self.assertEqual(str(self.failure(browsed(), BrokerError)), "no")
        self.assertEqual(self.bodies("tasks"), list(range(50)))

    def come_back(self, times: int) -> None:
        """
        Have the broker count that all messages came back so often.
        """
        peer = Peer(self.network.broker).open()
        for _ in range(times):
            tags = []
            while (got := peer.call("basic.get", queue="tasks")) is not None:
                if got.name == "basic.get-empty":
                    break
                tags.append(got["delivery_tag"])
            for tag in tags:
                peer.call("basic.reject", delivery_tag=tag, requeue=True)
        peer.transport.loseConnection()

    def test_copies(self) -> None:
        """
        Messages that came back three times are replaced by copies in their order, with
        their properties and without the count; those that came back twice are not.
        """
        self.declare("tasks", x_queue_type="quorum", x_delivery_limit=50)
        self.fill("tasks", 20, **{"content-type": "text/x", "headers": {"mine": 1}})
        self.come_back(2)
        self.assertEqual(self.result(self.browse(20)).replaced, 0)
        self.seen.clear()
        self.come_back(1)
        browsing = self.result(self.browse(20))
        self.assertEqual((browsing.kept, browsing.replaced), (0, 20))
        self.assertEqual(self.seen, list(range(20)))
        expected = {"delivery-mode": 2, "content-type": "text/x"}
        encoded = encode_properties({**expected, "headers": {"mine": 1}})
        self.assertEqual(set(self.copies), {encoded})
        self.assertEqual(self.bodies("tasks"), list(range(20)))

    def test_copies_of_old_versions(self) -> None:
        """
        A RabbitMQ before 4.0 bears few consumers of a quorum queue, and counts a held
        message as one: there all but the first few are replaced by copies.
        """
        self.declare("tasks", x_queue_type="quorum")
        self.fill("tasks", 30)
        told = {"product": "RabbitMQ", "platform": "Erlang/OTP 25"}
        self.wire.server_properties = {**told, "version": "3.10.8"}
        browsing = self.result(self.browse(30))
        self.assertEqual(self.seen, list(range(30)))
        self.assertEqual(browsing.kept + browsing.replaced, 30)
        self.assertEqual(sorted(self.bodies("tasks")), list(range(30)))

    def test_copy_refused(self) -> None:
        """
        Where no copy is taken, the browsing ends with the reason after one attempt for
        each that was under way, and all lie there.
        """
        self.declare("tasks", x_queue_type="quorum", x_delivery_limit=50)
        self.fill("tasks", 60)
        self.come_back(3)
        tries: list[int] = []

        async def refuse(message: Message, properties: bytes) -> None:
            tries.append(int(message.body))
            raise BrokerError("no copy")

        async def browsed() -> None:
            async with browse(self.wire, "tasks", 60, refuse) as browsing:
                await browsing.through(self.visit)

        self.assertEqual(str(self.failure(browsed(), BrokerError)), "no copy")
        self.assertLessEqual(len(tries), _browse._COPIES_AT_ONCE)
        self.assertEqual(self.depths()["tasks"], 60)


class DeadLettersTests(QueuesTestCase):
    """
    L{DeadLetters}, where tasks that are given up go.
    """

    def setUp(self) -> None:
        super().setUp()
        self.new_queues = NewQueues()
        self.left = 0

    def bury(self, letters: DeadLetters) -> None:
        """
        Move a message there.
        """

        async def send(exchange: str, queue: str, body: bytes, how: bytes) -> None:
            channel = await self.wire.open_channel()
            await channel.publish(exchange, queue, body, how)
            await channel.shut()

        def leave() -> None:
            self.left += 1

        properties = encode_properties({"delivery-mode": 2})
        self.result(letters.publish(self.wire, send, b"1", properties, leave))

    def make(self, kind: str | None) -> DeadLetters:
        """
        The dead letters of a queue of some type.
        """
        clock = lambda: self.network  # noqa: E731
        letters = DeadLetters("tasks", clock, self.new_queues, kind)
        self.addCleanup(letters.end)
        return letters

    def test_made(self) -> None:
        """
        The queue is made as the queue of the tasks is, and gets the message.
        """
        for kind in ("classic", "quorum", None):
            dead = dead_letters_of("tasks")
            self.bury(self.make(kind))
            self.assertEqual(self.depths(), {dead: 1})
            queue = self.network.broker.vhosts["/"].queues[dead]
            self.assertEqual(queue.settings.quorum, kind == "quorum")
            self.call("queue_delete", queue=dead)

    def test_deleted(self) -> None:
        """
        A queue that somebody has deleted is made anew, once it is known to be missing.
        """
        letters = self.make("classic")
        self.bury(letters)
        self.call("queue_delete", queue=dead_letters_of("tasks"))
        letters.forget()
        self.bury(letters)
        self.assertEqual(self.depths(), {dead_letters_of("tasks"): 1})

    @pytest.mark.new_queues
    def test_new(self) -> None:
        """
        A message is not safe in a new quorum queue of RabbitMQ: it takes seconds, and
        its place is left meanwhile.
        """
        told = {"product": "RabbitMQ", "platform": "Erlang/OTP 25", "version": "3.12.0"}
        self.wire.server_properties = {**self.wire.server_properties, **told}
        letters = self.make("quorum")
        since = self.network.seconds()
        self.bury(letters)
        self.assertEqual(self.left, 1)
        self.assertGreaterEqual(self.network.seconds(), since + NEW)
        since = self.network.seconds()
        self.bury(letters)
        self.assertEqual(self.left, 1)
        self.assertLess(self.network.seconds(), since + 1)

    def test_weaker(self) -> None:
        """
        A classic queue beside a quorum queue, and arguments that lose messages, are
        told once, and used.
        """
        self.declare(dead_letters_of("tasks"), x_max_length=5)
        with capturedLogs() as logged:
            letters = self.make("quorum")
            self.bury(letters)
            letters.forget()
            self.bury(letters)
        (line,) = [str(formatEvent(event)) for event in logged]
        self.assertIn("may lose the tasks that are given up", line)
        self.assertEqual(self.depths(), {dead_letters_of("tasks"): 2})
