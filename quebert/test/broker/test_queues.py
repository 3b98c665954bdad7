"""
Tests for L{quebert.broker.state._vhost}, L{quebert.broker.state._arguments} and
L{quebert.broker.state._errors}: which queues may be declared, used and deleted.
"""

from __future__ import annotations

from typing import Any

from quebert.broker.state import Queue
from quebert.broker.state._arguments import LONGEST_TTL
from quebert.broker.state._errors import (
    AMQPChannelError,
    AMQPConnectionError,
    access_refused,
    no_exchange,
    no_queue,
    not_allowed,
    not_implemented,
    precondition_failed,
    resource_locked,
    unsupported,
)
from quebert.test.broker.peer import Peer
from quebert.test.broker.test_commands import CommandsTestCase


class QueuesTestCase(CommandsTestCase):
    """
    A client.
    """

    def queue(self, name: str = "q") -> Queue:
        """
        A queue as the broker has it.
        """
        return self.broker.vhosts["/"].queues[name]

    def declared(self, **given: Any) -> Any:
        """
        Declare a queue, and see that it is there; the answer.
        """
        answer = self.call("queue.declare", **{"queue": "q", **given})
        self.assertEqual(answer.name, "queue.declare-ok", given)
        return answer


class DeclarationTests(QueuesTestCase):
    """
    What is declared.
    """

    def test_names(self) -> None:
        """
        A queue without a name is given one; names that begin with C{amq.} are the
        broker's.
        """
        answer = self.declared(queue="")
        self.assertTrue(answer["queue"].startswith("amq.gen-"))
        self.assertEqual(self.depths(), {answer["queue"]: 0})
        self.assertNotEqual(self.declared(queue="")["queue"], answer["queue"])
        text = "contains reserved prefix 'amq.*'"
        self.refused(403, text, "queue.declare", queue="amq.mine")

    def test_answer(self) -> None:
        """
        It tells what is ready, and how many consume.
        """
        self.declared()
        for _ in range(3):
            self.peer.publish("q")
        self.call("basic.get", queue="q")
        answer = self.declared()
        found = answer["queue"], answer["message_count"], answer["consumer_count"]
        self.assertEqual(found, ("q", 2, 0))
        self.call("basic.consume", queue="q")
        self.peer.received.clear()
        for passive in (False, True):
            answer = self.declared(passive=passive)
            found = answer["queue"], answer["message_count"], answer["consumer_count"]
            self.assertEqual(found, ("q", 0, 1))

    def test_same_again(self) -> None:
        """
        A declaration that differs in anything is refused.
        """
        self.declared(auto_delete=True)
        self.declared(auto_delete=True)
        for changed, code, text in (
            ({"auto_delete": False}, 406, "'auto_delete' for queue 'q' in vhost '/'"),
            ({"durable": False}, 406, "received 'false' but current is 'true'"),
            ({"exclusive": True}, 405, "locked queue 'q' in vhost '/'"),
            ({"arguments": {"x-max-length": 1}}, 406, "'x-max-length'"),
            ({"arguments": {"x-odd": 1}}, 540, "queue argument x-odd"),
        ):
            given = {"queue": "q", "auto_delete": True, **changed}
            self.refused(code, text, "queue.declare", **given)

    def test_exclusive(self) -> None:
        """
        An exclusive queue is not durable, whatever was said, and its connection may
        declare it again.
        """
        self.declared(exclusive=True)
        self.declared(exclusive=True, durable=False)
        self.assertFalse(self.queue().durable)
        self.refused(405, "locked", "queue.declare", queue="q")
        other = Peer(self.broker).open()
        for method in ("queue.purge", "queue.delete", "basic.consume"):
            answer = other.call(method, queue="q")
            assert answer is not None
            self.assertEqual(answer["reply_code"], 405)
            other.call("channel.close-ok")
            other.call("channel.open")
        self.peer.publish("q")
        self.assertEqual(self.call("basic.get", queue="q").name, "basic.get-ok")

    def test_lost_connection(self) -> None:
        """
        Only its own exclusive queues go with a connection, and when it is closed, too.
        """
        for close in (False, True):
            other = Peer(self.broker).open()
            other.call("queue.declare", queue="mine", exclusive=True)
            other.call("queue.declare", queue="shared")
            self.declared(queue="q", exclusive=True)
            if close:
                arguments = {"reply_code": 200, "reply_text": "bye"}
                answer = other.call("connection.close", channel=0, **arguments)
                assert answer is not None
                self.assertEqual(answer.name, "connection.close-ok")
            else:
                other.transport.loseConnection()
            self.assertEqual(self.depths(), {"q": 0, "shared": 0})

    def test_quorum(self) -> None:
        """
        A quorum queue is durable and for all, and stays; it has a name.
        """
        arguments = {"x-queue-type": "quorum"}
        for given, text in (
            ({"queue": ""}, "Cannot declare a server-named queue"),
            ({"durable": False}, "invalid property 'non-durable' for queue 'q'"),
            ({"exclusive": True}, "invalid property 'exclusive-owner'"),
            ({"auto_delete": True}, "invalid property 'auto-delete'"),
        ):
            named = {"queue": "q", "arguments": arguments, **given}
            self.refused(406, text, "queue.declare", **named)
        self.declared(arguments=arguments)
        self.refused(406, "'x-queue-type'", "queue.declare", queue="q")

    def test_direct_reply(self) -> None:
        """
        A queue that RabbitMQ makes up for answers is not there, by name.
        """
        for name, code in (("amq.rabbitmq.reply-to", 540), ("amq.rabbitmq", 404)):
            self.refused(code, name, "basic.consume", queue=name)


class ArgumentTests(QueuesTestCase):
    """
    What arguments may be, and what they mean.
    """

    def test_bounds(self) -> None:
        """
        The least and the greatest value is taken, and none beyond.
        """
        self.assertEqual(LONGEST_TTL, 315_360_000_000)
        quorum = {"x-queue-type": "quorum"}
        for name, least, most, with_it in (
            ("message-ttl", 0, LONGEST_TTL, {}),
            ("expires", 1, LONGEST_TTL, {}),
            ("max-length", 0, None, {}),
            ("max-length-bytes", 0, None, {}),
            ("max-priority", 0, 255, {}),
            ("queue-version", 1, 2, {}),
            ("quorum-initial-group-size", 1, None, quorum),
            ("max-in-memory-length", 0, None, quorum),
            ("max-in-memory-bytes", 0, None, quorum),
        ):
            for value, fits in (
                (least, True),
                (least - 1, False),
                (most, True),
                (None if most is None else most + 1, False),
            ):
                if value is None:
                    continue
                given = {"queue": "q", "arguments": {f"x-{name}": value, **with_it}}
                if fits:
                    self.declared(**given)
                    self.call("queue.delete", queue="q")
                else:
                    self.refused(406, f"x-{name}", "queue.declare", **given)

    def test_words(self) -> None:
        for name, words in (
            ("overflow", ("drop-head", "reject-publish", "reject-publish-dlx")),
            ("queue-mode", ("default", "lazy")),
            ("queue-leader-locator", ("client-local", "balanced")),
            ("queue-master-locator", ("min-masters", "anything")),
            ("queue-type", ("classic", "quorum")),
        ):
            for word in words:
                self.declared(arguments={f"x-{name}": word})
                self.call("queue.delete", queue="q")
            given = {"queue": "q", "arguments": {f"x-{name}": 7}}
            self.refused(406, f"x-{name}", "queue.declare", **given)

    def test_of_another_type(self) -> None:
        """
        Each type has arguments that the other has not.
        """
        for kind, name, value in (
            ("quorum", "x-max-priority", 5),
            ("quorum", "x-queue-mode", "lazy"),
            ("classic", "x-delivery-limit", 5),
            ("classic", "x-dead-letter-strategy", "at-least-once"),
        ):
            given = {"x-queue-type": kind, name: value}
            text = f"'{name}' for queue 'q' in vhost '/' of queue type rabbit_{kind}"
            self.refused(406, text, "queue.declare", queue="q", arguments=given)

    def test_meaning_for_a_classic_queue(self) -> None:
        self.declared()
        found = self.queue().settings
        times = found.message_ttl, found.expires, found.max_length, found.max_bytes
        self.assertEqual(times, (None,) * 4)
        others = found.max_priority, found.usual_priority, found.delivery_limit
        self.assertEqual(others, (0, 0, None))
        flags = found.quorum, found.single_active, found.at_least_once
        self.assertEqual(flags, (False,) * 3)
        self.assertEqual(found.overflow, "drop-head")
        arguments = {"x-message-ttl": 1_500, "x-expires": 2_500, "x-max-priority": 7}
        self.declared(queue="other", arguments=arguments)
        found = self.queue("other").settings
        meaning = found.message_ttl, found.expires, found.max_priority
        self.assertEqual(meaning, (1.5, 2.5, 7))

    def test_meaning_for_a_quorum_queue(self) -> None:
        for arguments, limit, overflow in (
            ({}, 20, "drop-head"),
            ({"x-delivery-limit": 3}, 3, "drop-head"),
            ({"x-delivery-limit": 0}, 0, "drop-head"),
            ({"x-delivery-limit": -1}, None, "drop-head"),
            ({"x-overflow": "reject-publish"}, 20, "reject-publish"),
            ({"x-overflow": "reject-publish-dlx"}, 20, "drop-head"),
        ):
            self.declared(arguments={"x-queue-type": "quorum", **arguments})
            found = self.queue().settings
            self.assertEqual((found.delivery_limit, found.overflow), (limit, overflow))
            priorities = found.max_priority, found.usual_priority
            self.assertEqual((found.quorum, priorities), (True, (31, 4)))
            self.call("queue.delete", queue="q")

    def test_priorities(self) -> None:
        """
        The most urgent comes first; above the queue's greatest there is no difference.
        """
        for arguments, bodies in (
            ({}, b"01234567"),
            ({"x-max-priority": 2}, b"23756014"),
            ({"x-queue-type": "quorum"}, b"72305614"),
        ):
            self.declared(arguments=arguments)
            for body, priority in enumerate((0, 0, 9, 9, 0, 1, 1, 32)):
                given: dict[str, Any] = {} if body == 0 else {"priority": priority}
                self.peer.publish("q", b"%d" % body, **given)
            found = b""
            while (got := self.call("basic.get", queue="q")).body is not None:
                found += got.body
            self.assertEqual(found, bodies, arguments)
            self.call("queue.delete", queue="q")


class DeletionTests(QueuesTestCase):
    """
    How queues go.
    """

    def test_conditions_of_quorum_queues(self) -> None:
        """
        RabbitMQ does not look whether a quorum queue is used or empty.
        """
        self.declared(arguments={"x-queue-type": "quorum"})
        for name in ("if_empty", "if_unused"):
            spelled = name.replace("_", "-")
            given = {"queue": "q", name: True}
            self.refused(540, f"{spelled} flag set", "queue.delete", **given)
        answer = self.call("queue.delete", queue="q")
        self.assertEqual((answer.name, answer["message_count"]), ("queue.delete-ok", 0))

    def test_conditions_that_hold(self) -> None:
        for given in ({"if_empty": True}, {"if_unused": True}):
            self.declared()
            answer = self.call("queue.delete", queue="q", **given)
            self.assertEqual(answer.name, "queue.delete-ok")
            self.assertEqual(self.depths(), {})

    def test_unused(self) -> None:
        """
        A queue that expires does so when it was neither declared, asked for nor
        consumed for its time.
        """
        given = {"arguments": {"x-expires": 10_000}}
        for used in (
            lambda: self.declared(**given),
            lambda: self.declared(passive=True),
            lambda: self.call("basic.get", queue="q"),
        ):
            self.declared(**given)
            self.peer.turn(9)
            used()
            self.peer.turn(9)
            self.peer.publish("q")  # is no use of it
            self.assertIn("q", self.depths())
            self.peer.turn(1)
            self.assertEqual(self.depths(), {})
            self.assertIsNone(self.broker._timers.next)

    def test_automatic(self) -> None:
        """
        It goes with its last consumer, and also when that one's channel ends.
        """
        for ended in (False, True):
            self.declared(auto_delete=True)
            self.call("channel.open", channel=2)
            self.call("basic.consume", channel=2, queue="q")
            self.peer.received.clear()
            if ended:
                self.call("channel.close", channel=2)
            else:
                self.call("basic.cancel", channel=2, consumer_tag="tag")
                self.call("channel.close", channel=2)
            self.assertEqual(self.depths(), {})


class ErrorTests(CommandsTestCase):
    """
    The codes of refusals, and what is closed for them.
    """

    def test_codes(self) -> None:
        for error, kind, code, text in (
            (no_queue("/", "q"), AMQPChannelError, 404, "NOT_FOUND - no queue 'q'"),
            (no_exchange("/", "x"), AMQPChannelError, 404, "NOT_FOUND - no exchange"),
            (access_refused("x"), AMQPChannelError, 403, "ACCESS_REFUSED - x"),
            (
                precondition_failed("x"),
                AMQPChannelError,
                406,
                "PRECONDITION_FAILED - x",
            ),
            (resource_locked("/", "q"), AMQPChannelError, 405, "RESOURCE_LOCKED - "),
            (not_allowed("x"), AMQPConnectionError, 530, "NOT_ALLOWED - x"),
            (not_implemented("x"), AMQPConnectionError, 540, "NOT_IMPLEMENTED - x"),
            (unsupported("x"), AMQPChannelError, 540, "NOT_IMPLEMENTED - x"),
        ):
            self.assertEqual((type(error), error.code), (kind, code))
            self.assertTrue(str(error).startswith(text), str(error))
            self.assertEqual(error.index, (0, 0))
            self.assertIs(error.about((50, 10)), error)
            self.assertEqual(error.index, (50, 10))
