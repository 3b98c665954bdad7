"""
Tests for L{quebert.broker.protocol._channel} and L{quebert.broker.state._queue}: who
gets which message of a queue, and what becomes of it.
"""

from __future__ import annotations

from typing import Any

from quebert.test.broker.peer import Peer
from quebert.test.broker.test_commands import CommandsTestCase


class ConsumersTestCase(CommandsTestCase):
    """
    A client with a queue C{q}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.declare("q")

    def consume(self, *tags: str, **arguments: Any) -> None:
        """
        Consume, on channel 1.
        """
        for tag in tags:
            given = {"queue": "q", "consumer_tag": tag, **arguments}
            answer = self.call("basic.consume", **given)
            self.assertIsNotNone(answer)

    def fill(self, number: int, queue: str = "q") -> None:
        """
        Publish messages.
        """
        for n in range(number):
            self.peer.publish(queue, b"%d" % n)

    def got(self, peer: Peer | None = None) -> str:
        """
        Who got something meanwhile: tags and bodies.
        """
        peer = peer or self.peer
        peer.turn()
        found = peer.take("basic.deliver")
        assert all(each.body is not None for each in found)
        return " ".join(f"{e['consumer_tag']}{(e.body or b'').decode()}" for e in found)


class TurnsTests(ConsumersTestCase):
    """
    Several consumers of a queue.
    """

    def test_in_turn(self) -> None:
        self.consume("a", "b", "c", no_ack=True)
        self.fill(5)
        self.assertEqual(self.got(), "a0 b1 c2 a3 b4")

    def test_passes_over_who_has_no_room(self) -> None:
        self.call("basic.qos", prefetch_count=1)
        self.consume("a")
        self.call("basic.qos", prefetch_count=0)
        self.consume("b")
        self.fill(4)
        self.assertEqual(self.got(), "a0 b1 b2 b3")
        self.call("basic.ack", delivery_tag=1)
        self.fill(2)
        self.assertEqual(self.got(), "b0 a1")

    def test_room_of_what_was_given_back(self) -> None:
        """
        A consumer that had no room for more gets what it has given back, or the next.
        """
        self.call("basic.qos", prefetch_count=1)
        self.consume("a")
        self.fill(3)
        self.assertEqual(self.got(), "a0")
        self.call("basic.nack", delivery_tag=1, requeue=True)
        self.assertEqual(self.got(), "a0")
        self.call("basic.reject", delivery_tag=2, requeue=True)
        self.assertEqual(self.got(), "a0")
        self.call("basic.reject", delivery_tag=3, requeue=False)
        self.assertEqual(self.got(), "a1")

    def test_cancelled(self) -> None:
        """
        A consumer that was cancelled gets nothing more, and keeps what it has.
        """
        self.consume("a", "b")
        self.fill(2)
        self.assertEqual(self.got(), "a0 b1")
        answer = self.call("basic.cancel", consumer_tag="a")
        self.assertEqual(
            (answer.name, answer["consumer_tag"]), ("basic.cancel-ok", "a")
        )
        self.fill(2)
        self.assertEqual(self.got(), "b0 b1")
        self.call("basic.reject", delivery_tag=1, requeue=True)
        self.assertEqual(self.got(), "b0")

    def test_cancelled_twice(self) -> None:
        for _ in range(2):
            answer = self.call("basic.cancel", consumer_tag="none")
            self.assertEqual(answer.name, "basic.cancel-ok")

    def test_cancelled_and_there_again(self) -> None:
        """
        Its tag is free again; what the first one had does not count for the second.
        """
        self.call("basic.qos", prefetch_count=1)
        self.consume("a")
        self.fill(3)
        self.assertEqual(self.got(), "a0")
        self.call("basic.cancel", consumer_tag="a")
        self.consume("a")
        self.assertEqual(self.got(), "a1")
        self.call("basic.ack", delivery_tag=1)
        self.assertEqual(self.got(), "")
        self.call("basic.ack", delivery_tag=2)
        self.assertEqual(self.got(), "a2")

    def test_tags(self) -> None:
        """
        A tag is one consumer's of a channel; without one, it is made up.
        """
        self.consume("a")
        found = [self.call("basic.consume", queue="q", consumer_tag="") for _ in "12"]
        tags = {each["consumer_tag"] for each in found}
        self.assertEqual(len(tags), 2)
        self.assertTrue(all(tag.startswith("amq.ctag-") for tag in tags))
        self.call("channel.open", channel=2)
        given = {"queue": "q", "consumer_tag": "a"}
        answer = self.call("basic.consume", channel=2, **given)
        self.assertEqual(answer["consumer_tag"], "a")
        self.refused(530, "reuse consumer tag 'a'", "basic.consume", **given)

    def test_told_of_the_end_of_their_queue(self) -> None:
        """
        All consumers are told, each by its tag.
        """
        self.consume("a", "b")
        self.peer.received.clear()
        self.call("queue.delete", queue="q")
        found = [(each.name, each.method.arguments) for each in self.peer.received[1:]]
        wanted = [{"consumer_tag": tag, "nowait": True} for tag in "ab"]
        self.assertEqual(found, [("basic.cancel", each) for each in wanted])
        self.declare("q")
        self.consume("a")
        self.fill(1)
        self.assertEqual(self.got(), "a0")

    def test_no_answer_wanted(self) -> None:
        """
        Who wants no answer gets none, and what was asked for.
        """
        for method, arguments in (
            ("basic.consume", {"queue": "q", "consumer_tag": "a", "no_ack": True}),
            ("queue.bind", {"queue": "q", "exchange": "amq.fanout"}),
            ("exchange.declare", {"exchange": "x"}),
            ("exchange.bind", {"source": "x", "destination": "amq.fanout"}),
            ("exchange.unbind", {"source": "x", "destination": "amq.fanout"}),
            ("exchange.delete", {"exchange": "x"}),
            ("confirm.select", {}),
            ("queue.purge", {"queue": "q"}),
        ):
            self.peer.received.clear()
            self.assertIsNone(self.call(method, **arguments, nowait=True), method)
        self.peer.publish("", b"0", exchange="amq.fanout")
        self.assertEqual(self.got(), "a0")
        self.peer.received.clear()
        self.assertIsNone(self.call("basic.cancel", consumer_tag="a", nowait=True))
        self.assertIsNone(self.call("queue.delete", queue="q", nowait=True))
        self.assertEqual(self.depths(), {})


class OneActiveTests(ConsumersTestCase):
    """
    A queue of which one consumer at a time gets the messages.
    """

    def setUp(self) -> None:
        super().setUp()
        self.call("queue.delete", queue="q")
        self.declare("q", single_active_consumer=True)

    def test_the_first_one(self) -> None:
        self.consume("a", "b", "c", no_ack=True)
        self.fill(3)
        self.assertEqual(self.got(), "a0 a1 a2")

    def test_the_next_one(self) -> None:
        """
        When it goes, the next one gets what is there, and what comes.
        """
        self.call("basic.qos", prefetch_count=1)
        self.consume("a", "b", "c")
        self.fill(2)
        self.assertEqual(self.got(), "a0")
        self.call("basic.cancel", consumer_tag="a")
        self.assertEqual(self.got(), "b1")
        self.call("basic.ack", delivery_tag=2)
        self.fill(1)
        self.assertEqual(self.got(), "b0")

    def test_another_goes(self) -> None:
        self.consume("a", "b", no_ack=True)
        self.call("basic.cancel", consumer_tag="b")
        self.fill(1)
        self.assertEqual(self.got(), "a0")

    def test_on_a_connection_that_is_lost(self) -> None:
        other = Peer(self.broker).open()
        other.call("basic.consume", queue="q", consumer_tag="other")
        self.consume("a")
        self.fill(2)
        self.assertEqual((self.got(other), self.got()), ("other0 other1", ""))
        other.transport.loseConnection()
        self.assertEqual(self.got(), "a0 a1")

    def test_alone(self) -> None:
        """
        Such a consumer is not alone, and cannot be.
        """
        given = {"queue": "q", "exclusive": True}
        self.refused(403, "in exclusive use", "basic.consume", **given)


class LimitTests(ConsumersTestCase):
    """
    How many deliveries there may be that are not settled.
    """

    def test_of_a_consumer(self) -> None:
        """
        It holds for those that begin later.
        """
        self.consume("a")
        self.call("basic.qos", prefetch_count=2)
        self.fill(3)
        self.assertEqual(self.got(), "a0 a1 a2")
        self.call("basic.cancel", consumer_tag="a")
        self.consume("b")
        self.fill(3)
        self.assertEqual(self.got(), "b0 b1")
        self.call("basic.ack", delivery_tag=4)
        self.assertEqual(self.got(), "b2")
        self.call("basic.nack", delivery_tag=5, requeue=False)
        self.fill(1)
        self.assertEqual(self.got(), "b0")

    def test_of_a_channel(self) -> None:
        """
        It holds for all consumers together; a settled delivery is another's room.
        """
        self.declare("other")
        self.call("basic.qos", prefetch_count=2, **{"global": True})
        self.consume("a")
        self.consume("b", queue="other")
        self.fill(3)
        self.fill(1, "other")
        self.assertEqual(self.got(), "a0 a1")
        self.call("basic.ack", delivery_tag=1)
        self.assertEqual(self.got(), "a2")
        self.call("basic.ack", delivery_tag=2)
        self.assertEqual(self.got(), "b0")

    def test_without_acks(self) -> None:
        """
        What need not be settled counts for no limit.
        """
        self.call("basic.qos", prefetch_count=1)
        self.call("basic.qos", prefetch_count=1, **{"global": True})
        self.consume("a", no_ack=True)
        self.fill(3)
        self.assertEqual(self.got(), "a0 a1 a2")
        self.assertEqual(self.depths(), {"q": 0})
        self.refused(406, "unknown delivery tag 1", "basic.ack", delivery_tag=1)

    def test_what_was_fetched(self) -> None:
        """
        C{basic.get} does not count, and its deliveries have tags of the same row.
        """
        self.call("basic.qos", prefetch_count=1, **{"global": True})
        self.fill(4)
        tags = [self.call("basic.get", queue="q")["delivery_tag"] for _ in range(2)]
        self.assertEqual(tags, [1, 2])
        self.assertEqual(self.call("basic.get", queue="q", no_ack=True).body, b"2")
        self.consume("a")
        (delivered,) = self.peer.take("basic.deliver")
        self.assertEqual((delivered["delivery_tag"], delivered.body), (4, b"3"))


class SettlingTests(ConsumersTestCase):
    """
    What becomes of deliveries.
    """

    def test_several_at_once(self) -> None:
        """
        All up to a tag, and none after it; with 0 all that there are.
        """
        for method in ("basic.ack", "basic.nack"):
            self.fill(5)
            for _ in range(5):
                got = self.call("basic.get", queue="q")
            last = got["delivery_tag"]
            given = {"multiple": True, "requeue": False}
            self.call(method, delivery_tag=last - 2, **given)
            self.assertEqual(self.depths(), {"q": 2})
            self.call(method, delivery_tag=last)
            self.assertEqual(self.depths()["q"], 1 if method == "basic.ack" else 2)
            self.call("basic.nack", delivery_tag=0, **given)
            self.call("basic.nack", delivery_tag=0, **given)  # there is none: fine
            self.call("queue.purge", queue="q")
            self.assertEqual(self.depths(), {"q": 0})

    def test_bits_without_a_meaning(self) -> None:
        """
        Only the bit that AMQP names counts.
        """
        for bits, left in ((4, 1), (5, 0), (0x80, 1), (0x81, 0)):
            self.fill(2)
            for _ in range(2):
                tag = self.call("basic.get", queue="q")["delivery_tag"]
            ack = self.peer.encoded("basic.ack", {"delivery_tag": tag})
            self.peer.send(ack[:-2] + bytes([bits, 0xCE]))
            self.assertEqual(self.peer.take("channel.close"), [])
            self.assertEqual(self.depths(), {"q": left}, bits)
            self.call("basic.recover", requeue=True)
            self.call("queue.purge", queue="q")

    def test_all_with_bits_without_a_meaning(self) -> None:
        """
        That holds for the tag that stands for all deliveries, too.
        """
        self.fill(2)
        for _ in range(2):
            self.call("basic.get", queue="q")
        ack = self.peer.encoded("basic.ack", {"delivery_tag": 0})
        self.peer.send(ack[:-2] + bytes([5, 0xCE]))
        self.assertEqual(self.peer.take("channel.close"), [])
        self.assertEqual(self.depths(), {"q": 0})

    def test_unknown_tags(self) -> None:
        """
        A tag that is not there closes the channel; 0 is one if it stands alone.
        """
        for method in ("basic.ack", "basic.nack", "basic.reject"):
            for tag, multiple in ((7, False), (7, True), (0, False)):
                if multiple and method == "basic.reject":
                    continue
                given = {"delivery_tag": tag, "multiple": multiple, "requeue": False}
                self.refused(406, f"unknown delivery tag {tag}", method, **given)

    def test_in_their_order(self) -> None:
        """
        What is given back comes again in its place, marked.
        """
        self.fill(4)
        for _ in range(3):
            self.call("basic.get", queue="q")
        self.call("basic.nack", delivery_tag=2)
        self.call("basic.reject", delivery_tag=1, requeue=True)
        found = [self.call("basic.get", queue="q") for _ in range(3)]
        marked = [(each.body, each["redelivered"]) for each in found]
        self.assertEqual(marked, [(b"0", True), (b"1", True), (b"3", False)])
        counts = [each["message_count"] for each in found]
        self.assertEqual(counts, [2, 1, 0])

    def test_redelivered_to_a_consumer(self) -> None:
        self.fill(1)
        self.consume("a")
        (first,) = self.peer.take("basic.deliver")
        self.call("basic.nack", delivery_tag=1)
        (again,) = self.peer.take("basic.deliver")
        marked = first["redelivered"], again["redelivered"]
        self.assertEqual(marked, (False, True))
        place = again["exchange"], again["routing_key"], again["delivery_tag"]
        self.assertEqual(place, ("", "q", 2))

    def test_end_of_a_channel(self) -> None:
        """
        What is not settled goes back, and not to its own consumers.
        """
        self.call("channel.open", channel=2)
        self.call("basic.consume", channel=2, queue="q", consumer_tag="two")
        self.fill(2)
        self.assertEqual(self.got(), "two0 two1")
        self.consume("one")
        self.call("channel.close", channel=2)
        self.assertEqual(self.got(), "one0 one1")
        (closed,) = self.peer.take("channel.close-ok")
        self.assertEqual(closed.channel, 2)
        self.assertEqual(len(self.broker.vhosts["/"].queues["q"].consumers), 1)

    def test_failures_of_a_quorum_queue(self) -> None:
        """
        A rejected delivery counts as a failure, and one that was given back does not.
        """
        self.declare("quorum", queue_type="quorum")
        self.fill(1, "quorum")
        for number, (method, headers) in enumerate(
            (
                ("basic.nack", None),
                ("basic.reject", {"x-acquired-count": 1}),
                ("basic.recover", {"x-acquired-count": 2, "x-delivery-count": 1}),
                ("basic.recover-async", {"x-acquired-count": 3, "x-delivery-count": 1}),
                ("basic.ack", {"x-acquired-count": 4, "x-delivery-count": 1}),
            ),
            1,
        ):
            got = self.call("basic.get", queue="quorum")
            self.assertEqual(got.properties.get("headers"), headers)
            self.assertEqual(got["redelivered"], number > 1)
            self.call(method, delivery_tag=number, requeue=True)
        self.assertEqual(self.depths()["quorum"], 0)

    def test_deleted_queue(self) -> None:
        """
        What was delivered of a queue that is gone is settled without a trace.
        """
        self.fill(2)
        for _ in range(2):
            self.call("basic.get", queue="q")
        self.call("queue.delete", queue="q")
        self.call("basic.nack", delivery_tag=1)
        self.call("basic.reject", delivery_tag=2)
        self.assertEqual(self.memory.entries, {})
        self.assertEqual(self.broker._router.resident, 0)

    def test_transient(self) -> None:
        """
        A message that is not persistent is not kept, but in a quorum queue.
        """
        self.declare("quorum", queue_type="quorum")
        for queue, kept in (("q", 0), ("quorum", 1)):
            self.peer.publish(queue, b"body", delivery_mode=1)
            self.assertEqual(len(self.memory.entries), kept)
            got = self.call("basic.get", queue=queue)
            self.assertEqual(got.body, b"body")
            self.call("basic.ack", delivery_tag=got["delivery_tag"])
            self.assertEqual(self.broker._router.resident, 0)
            self.assertEqual(self.memory.entries, {})
