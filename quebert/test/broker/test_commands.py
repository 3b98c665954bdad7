"""
Tests for L{quebert.broker.protocol._commands} and
L{quebert.broker.state._arguments}: what a client may ask for, and what it is answered
otherwise.  The contract holds the same of sockets, and of RabbitMQ.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.broker import BrokerFactory
from quebert.broker.state._arguments import kind_of
from quebert.test.broker.peer import Memory, Peer, check


class CommandsTestCase(SynchronousTestCase):
    """
    A broker, and a client of it.
    """

    def setUp(self) -> None:
        """
        Open a connection.
        """
        self.clock = Clock()
        self.memory = Memory()
        self.broker = BrokerFactory(self.clock, self.memory)
        self.peer = Peer(self.broker).open()

    def tearDown(self) -> None:
        """
        The books of the broker are right.
        """
        check(self.broker)

    def call(self, method: str, /, **arguments: Any) -> Any:
        """
        Call a method; its answer.
        """
        return self.peer.call(method, **arguments)

    def declare(self, queue: str, **arguments: Any) -> Any:
        """
        Declare a durable queue with arguments.
        """
        named = {f"x-{name.replace('_', '-')}": v for name, v in arguments.items()}
        return self.call("queue.declare", queue=queue, arguments=named)

    def refused(self, code: int, text: str, method: str, /, **arguments: Any) -> None:
        """
        A call is refused with a code, and with a text that contains C{text}; the
        client goes on with another channel or connection.
        """
        answer = self.call(method, **arguments)
        self.assertIn(answer.name, ("channel.close", "connection.close"))
        self.assertEqual(answer["reply_code"], code)
        self.assertIn(text, answer["reply_text"])
        if answer.name == "channel.close":
            self.call("channel.close-ok")
            self.call("channel.open")
        else:
            self.call("connection.close-ok", channel=0)
            self.peer = Peer(self.broker).open()

    def depths(self) -> dict[str, int]:
        """
        How many messages each queue holds.
        """
        return self.broker.depths()


class ExchangeTests(CommandsTestCase):
    """
    Exchanges and their bindings.
    """

    def test_passive(self) -> None:
        """
        A passive declaration finds an exchange, and makes none.
        """
        self.refused(404, "'x'", "exchange.declare", exchange="x", passive=True)
        self.assertEqual(
            self.call("exchange.declare", exchange="x").name, "exchange.declare-ok"
        )
        found = self.call("exchange.declare", exchange="x", passive=True)
        self.assertEqual(found.name, "exchange.declare-ok")

    def test_unknown_type(self) -> None:
        """
        An exchange of a type that the broker does not know is an error of the
        connection, as in RabbitMQ.
        """
        odd = {"exchange": "x", "exchange_type": "odd"}
        self.refused(503, "unknown exchange type 'odd'", "exchange.declare", **odd)

    def test_between_exchanges(self) -> None:
        """
        What an exchange gets, those that are bound to it get, until they are not.
        """
        for name in ("one", "two"):
            self.call("exchange.declare", exchange=name, exchange_type="fanout")
        self.declare("q")
        self.call("queue.bind", queue="q", exchange="two")
        bound = {"source": "one", "destination": "two"}
        self.assertEqual(self.call("exchange.bind", **bound).name, "exchange.bind-ok")
        self.peer.publish("", exchange="one")
        self.assertEqual(self.depths(), {"q": 1})
        answer = self.call("exchange.unbind", **bound)
        self.assertEqual(answer.name, "exchange.unbind-ok")
        self.peer.publish("", exchange="one")
        self.assertEqual(self.depths(), {"q": 1})

    def test_delete_one_of_two(self) -> None:
        """
        Where an exchange is deleted, nothing is bound to it any more.
        """
        for name in ("one", "two"):
            self.call("exchange.declare", exchange=name, exchange_type="fanout")
        self.call("exchange.bind", source="one", destination="two")
        self.call("exchange.delete", exchange="two")
        self.peer.publish("", exchange="one")
        self.declare("q")
        self.call("exchange.declare", exchange="two", exchange_type="fanout")
        self.call("queue.bind", queue="q", exchange="two")
        self.peer.publish("", exchange="one")
        self.assertEqual(self.depths(), {"q": 0})

    def test_order_of_arguments(self) -> None:
        """
        The order of its arguments does not tell a binding from another; their values
        do.
        """
        self.declare("q")
        bound = {"queue": "q", "exchange": "amq.headers"}
        one, other = {"x-match": "all", "a": 1}, {"a": 1, "x-match": "all"}
        for arguments in (one, other):
            self.call("queue.bind", **bound, arguments=arguments)
        self.call("queue.unbind", **bound, arguments={"a": 2, "x-match": "all"})
        self.peer.publish("", exchange="amq.headers", headers={"a": 1})
        self.assertEqual(self.depths(), {"q": 1})
        self.call("queue.unbind", **bound, arguments=other)
        self.peer.publish("", exchange="amq.headers", headers={"a": 1})
        self.assertEqual(self.depths(), {"q": 1})

    def test_unbind_what_is_not_there(self) -> None:
        """
        A binding that does not exist is taken away without a complaint.
        """
        for source, destination in (("none", "amq.fanout"), ("amq.fanout", "none")):
            bound = {"source": source, "destination": destination}
            answer = self.call("exchange.unbind", **bound)
            self.assertEqual(answer.name, "exchange.unbind-ok")
        answer = self.call("queue.unbind", queue="none", exchange="amq.topic")
        self.assertEqual(answer.name, "queue.unbind-ok")

    def test_delete(self) -> None:
        """
        An exchange in use is kept if the client says so.
        """
        self.call("exchange.declare", exchange="x")
        self.declare("q")
        self.call("queue.bind", queue="q", exchange="x", routing_key="k")
        unused = {"exchange": "x", "if_unused": True}
        self.refused(406, "in use", "exchange.delete", **unused)
        self.call("queue.unbind", queue="q", exchange="x", routing_key="k")
        self.assertEqual(
            self.call("exchange.delete", **unused).name, "exchange.delete-ok"
        )
        self.refused(404, "'x'", "exchange.declare", exchange="x", passive=True)


class QueueTests(CommandsTestCase):
    """
    Queues.
    """

    def test_passive(self) -> None:
        """
        A passive declaration tells what a queue holds.
        """
        self.refused(404, "'q'", "queue.declare", queue="q", passive=True)
        self.declare("q")
        self.peer.publish("q")
        self.call("basic.consume", queue="q", no_ack=True)
        self.peer.publish("q")
        self.call("basic.cancel", consumer_tag="tag")
        self.peer.publish("q")
        found = self.call("queue.declare", queue="q", passive=True)
        self.assertEqual((found["message_count"], found["consumer_count"]), (1, 0))

    def test_last_queue(self) -> None:
        """
        Without a name the queue is meant that was declared last on the channel, and its
        name is the binding's key, too.
        """
        self.refused(404, "no previously declared queue", "queue.purge", queue="")
        self.declare("q")
        self.call("queue.bind", exchange="amq.direct")
        self.peer.publish("q", exchange="amq.direct")
        self.assertEqual(self.depths(), {"q": 1})
        self.assertEqual(self.call("queue.purge")["message_count"], 1)

    def test_delete(self) -> None:
        """
        A queue in use, or with messages, is kept if the client says so.
        """
        self.declare("q")
        self.peer.publish("q")
        only_empty = {"queue": "q", "if_empty": True}
        self.refused(406, "not empty", "queue.delete", **only_empty)
        self.call("basic.consume", queue="q", no_ack=True)
        only_unused = {"queue": "q", "if_unused": True}
        self.refused(406, "in use", "queue.delete", **only_unused)
        self.peer.publish("q")
        self.assertEqual(self.call("queue.delete", queue="q")["message_count"], 1)
        self.assertEqual(self.depths(), {})
        self.assertEqual(self.call("queue.delete", queue="q")["message_count"], 0)

    def test_purge(self) -> None:
        """
        What is purged is gone for good before that is told.
        """
        self.declare("q")
        self.call("confirm.select")
        for _ in range(3):
            self.peer.publish("q")
        self.assertEqual(len(self.memory.committed), 3)
        self.assertEqual(self.call("queue.purge", queue="q")["message_count"], 3)
        self.assertEqual(self.memory.committed, set())

    def test_no_answer_wanted(self) -> None:
        """
        A client that wants no answer gets none.
        """
        self.call("queue.declare", queue="q", durable=True, nowait=True)
        self.assertEqual(self.peer.received, [])
        self.assertEqual(self.depths(), {"q": 0})


class MessageTests(CommandsTestCase):
    """
    Messages.
    """

    def deliveries(self) -> list[bytes | None]:
        """
        The bodies that were delivered meanwhile.
        """
        return [each.body for each in self.peer.take("basic.deliver")]

    def test_not_implemented(self) -> None:
        """
        What RabbitMQ does not do, or this broker does not, is refused by name.
        """
        self.declare("q")
        table: list[tuple[str, str, dict[str, Any]]] = [
            ("immediate=true", "basic.publish", {"immediate": True}),
            ("prefetch_size!=0 (9)", "basic.qos", {"prefetch_size": 9}),
            ("requeue=false", "basic.recover", {}),
            ("requeue=false", "basic.recover-async", {}),
            ("active=false", "channel.flow", {"active": False}),
            (
                "consumer argument x-priority",
                "basic.consume",
                {"queue": "q", "arguments": {"x-priority": 1}},
            ),
            ("transactions", "tx.select", {}),
        ]
        for text, method, arguments in table:
            self.refused(540, text, method, **arguments)
        for method in ("tx.commit", "tx.rollback"):
            self.refused(406, "not transactional", method)
        self.refused(504, "second 'channel.open'", "channel.open")

    def test_unopened_channels(self) -> None:
        """
        On a channel that is not open, C{close-ok} is nothing, and anything else an
        error of the connection.
        """
        self.assertIsNone(self.call("channel.close-ok", channel=5))
        self.declare("q")
        self.assertEqual(self.depths(), {"q": 0})
        text = "expected 'channel.open'"
        self.refused(504, text, "basic.get", channel=5, queue="q")

    def test_flow(self) -> None:
        """
        A channel may be told to go on.
        """
        self.assertTrue(self.call("channel.flow", active=True)["active"])

    def test_recover(self) -> None:
        """
        A client gets again what it has not settled, with or without an answer.
        """
        self.declare("q")
        for body in (b"1", b"2"):
            self.peer.publish("q", body)
        self.call("basic.consume", queue="q")
        self.assertEqual(self.deliveries(), [b"1", b"2"])
        self.call("basic.recover-async", requeue=True)
        self.assertEqual(self.deliveries(), [b"1", b"2"])
        self.call("basic.recover", requeue=True)
        names = [each.name for each in self.peer.received]
        self.assertEqual(names[-3:], ["basic.recover-ok", *["basic.deliver"] * 2])

    def test_prefetch(self) -> None:
        """
        A limit holds for each consumer, or for all of a channel.
        """
        self.declare("q")
        for _ in range(9):
            self.peer.publish("q")
        self.call("basic.qos", prefetch_count=2)
        for tag in ("one", "two"):
            self.call("basic.consume", queue="q", consumer_tag=tag)
        self.assertEqual(len(self.deliveries()), 4)
        self.call("basic.qos", prefetch_count=5, **{"global": True})
        self.call("basic.ack", delivery_tag=1)
        self.assertEqual(len(self.deliveries()), 1)
        self.call("basic.qos", prefetch_count=3, **{"global": True})
        self.call("basic.ack", delivery_tag=2)
        self.assertEqual(len(self.deliveries()), 0)

    def test_larger_limit(self) -> None:
        """
        A larger limit for all of a channel counts at once.
        """
        self.declare("q")
        for _ in range(9):
            self.peer.publish("q")
        for limit, delivered in ((2, 2), (5, 3), (0, 4)):
            self.call("basic.qos", prefetch_count=limit, **{"global": True})
            if limit == 2:
                self.call("basic.consume", queue="q")
            self.assertEqual(len(self.deliveries()), delivered)

    def test_get(self) -> None:
        """
        A message is fetched with what is left behind it, or the queue is empty.
        """
        self.declare("q")
        self.assertEqual(self.call("basic.get", queue="q").name, "basic.get-empty")
        self.peer.publish("q", b"1")
        self.peer.publish("q", b"2")
        got = self.call("basic.get", queue="q")
        self.assertEqual(
            (got.body, got["message_count"], got["redelivered"]), (b"1", 1, False)
        )
        self.call("basic.nack", delivery_tag=got["delivery_tag"])
        again = self.call("basic.get", queue="q", no_ack=True)
        self.assertEqual((again.body, again["redelivered"]), (b"1", True))
        self.assertEqual(self.depths(), {"q": 1})

    def test_reject(self) -> None:
        """
        What is rejected is gone, and what is given back comes again; C{multiple} counts
        for all before.
        """
        self.declare("q")
        for number in range(4):
            self.peer.publish("q", b"%d" % number)
        self.call("basic.consume", queue="q")
        self.deliveries()
        self.call("basic.nack", delivery_tag=2, multiple=True, requeue=False)
        self.assertEqual(self.depths(), {"q": 2})
        self.call("basic.reject", delivery_tag=3, requeue=True)
        self.assertEqual(self.deliveries(), [b"2"])
        self.call("basic.reject", delivery_tag=4, requeue=False)
        self.assertEqual(self.depths(), {"q": 1})
        self.refused(406, "unknown delivery tag 4", "basic.ack", delivery_tag=4)

    def test_exclusive_consumer(self) -> None:
        """
        One that consumes alone lets no other consume, and does not join others.
        """
        self.declare("q")
        self.call("basic.consume", queue="q", exclusive=True)
        other = {"queue": "q", "consumer_tag": "other"}
        self.refused(403, "exclusive", "basic.consume", **other)
        self.call("basic.consume", **other)
        self.refused(403, "exclusive", "basic.consume", queue="q", exclusive=True)


class ArgumentTests(CommandsTestCase):
    """
    The arguments of queues.
    """

    def test_kinds(self) -> None:
        """
        Refusals name the type of a value in RabbitMQ's words.
        """
        table = {
            "signedint": 2**31 - 1,
            "long": 2**31,
            "bool": True,
            "longstr": "text",
            "double": 1.5,
            "array": [1],
            "table": {},
        }
        for name, value in table.items():
            self.assertEqual(kind_of(value), name)
        self.assertEqual(kind_of(-(2**31)), "signedint")
        self.assertEqual(kind_of(-(2**31) - 1), "long")

    def test_refusals(self) -> None:
        """
        A value of the wrong type, or out of range, is refused, and names its argument.
        """
        wrong: list[tuple[str, Any]] = [
            ("message-ttl", "10"),
            ("message-ttl", True),
            ("message-ttl", -1),
            ("expires", 0),
            ("max-length", -1),
            ("max-length", 1.5),
            ("max-priority", 256),
            ("overflow", "explode"),
            ("single-active-consumer", 1),
            ("dead-letter-exchange", 1),
            ("dead-letter-routing-key", "k"),
        ]
        for name, value in wrong:
            argument = f"x-{name}"
            given = {"queue": "q", "arguments": {argument: value}}
            self.refused(406, argument, "queue.declare", **given)
        self.assertEqual(self.depths(), {})

    def test_no_name_of_an_exchange(self) -> None:
        """
        As from RabbitMQ, a client learns what it gave in the place of a name.
        """
        text = "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q'"
        given = {"queue": "q", "arguments": {"x-dead-letter-exchange": 1}}
        self.refused(406, text, "queue.declare", **given)

    def test_types(self) -> None:
        """
        A queue has a type that the broker knows, and arguments that suit it.
        """
        table: list[tuple[int, str, dict[str, Any]]] = [
            (406, "unacceptable_type,signedint", {"queue_type": 1}),
            (406, "unsupported queue type 'odd'", {"queue_type": "odd"}),
            (540, "queue type stream", {"queue_type": "stream"}),
            (406, "x-delivery-limit", {"delivery_limit": 3}),
            (540, "queue argument x-odd", {"odd": 3}),
        ]
        for code, text, arguments in table:
            named = {f"x-{n.replace('_', '-')}": v for n, v in arguments.items()}
            self.refused(code, text, "queue.declare", queue="q", arguments=named)
        self.call("queue.declare", queue="q", arguments={"mine": 3})
        self.assertEqual(self.depths(), {"q": 0})

    def test_equivalent(self) -> None:
        """
        A declaration that differs is refused, and both values are told.
        """
        self.declare("q", max_length=5)
        table: list[tuple[dict[str, Any], str]] = [
            ({}, "received none but current is the value '5' of type 'signedint'"),
            ({"x-max-length": 6}, "received '6' but current is '5'"),
            (
                {"x-max-length": 5, "x-single-active-consumer": True},
                "received the value 'true' of type 'bool' but current is none",
            ),
        ]
        for arguments, text in table:
            self.refused(406, text, "queue.declare", queue="q", arguments=arguments)
        same = {"x-max-length": 5, "x-queue-type": "classic"}
        answer = self.call("queue.declare", queue="q", arguments=same)
        self.assertEqual(answer.name, "queue.declare-ok")
