"""
Tests for L{quebert.broker.state._routing}: messages that expire, are too many or are
rejected, those that only the journal has, and their headers.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

from quebert.broker.state import _routing
from quebert.test.broker.test_commands import CommandsTestCase


class LettersTestCase(CommandsTestCase):
    """
    A client with a queue C{dead}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.declare("dead")

    def queue(self, name: str = "q", **arguments: Any) -> None:
        """
        Declare a queue whose dead letters go to C{dead}.
        """
        letters = {"dead_letter_exchange": "", "dead_letter_routing_key": "dead"}
        answer = self.declare(name, **{**letters, **arguments})
        self.assertEqual(answer.name, "queue.declare-ok")

    def fill(self, number: int, queue: str = "q", **properties: Any) -> None:
        """
        Publish messages.
        """
        for n in range(number):
            self.peer.publish(queue, b"%d" % n, **properties)

    def bodies(self, queue: str = "dead") -> str:
        """
        What is in a queue, taken out.
        """
        found = b""
        while (
            got := self.call("basic.get", queue=queue, no_ack=True)
        ).body is not None:
            found += got.body
        return found.decode()

    def gathered(self) -> list[int]:
        """
        From now on: how many dead letters wait for their turn, when one is written.
        """
        found: list[int] = []
        put = self.memory.put

        def noted(*arguments: Any) -> None:
            found.append(len(self.broker._router._dead))
            put(*arguments)

        self.patch(self.memory, "put", noted)
        return found

    def reject(self, queue: str = "q", number: int = 1) -> None:
        """
        Fetch messages and reject them together.
        """
        for _ in range(number):
            tag = self.call("basic.get", queue=queue)["delivery_tag"]
        given = {"multiple": True, "requeue": False}
        self.call("basic.nack", delivery_tag=tag, **given)


class HeaderTests(LettersTestCase):
    """
    What dead letters tell.
    """

    def test_all(self) -> None:
        """
        Where, why, when and how a message died, and what it was to live.
        """
        self.queue()
        self.call("queue.bind", queue="q", exchange="amq.direct", routing_key="key")
        headers = {"mine": 1, "CC": ["other"]}
        given: dict[str, Any] = {"expiration": "1500", "headers": headers}
        self.peer.publish("key", b"body", exchange="amq.direct", priority=2, **given)
        self.peer.turn(2)
        got = self.call("basic.get", queue="dead")
        place = got["exchange"], got["routing_key"], got["redelivered"]
        self.assertEqual(place, ("", "dead", False))
        found = dict(got.properties)
        told = found.pop("headers")
        self.assertEqual(found, {"delivery-mode": 2, "priority": 2})
        (death,) = told.pop("x-death")
        self.assertEqual(death.pop("time").timestamp(), 1)
        died = {"count": 1, "reason": "expired", "queue": "q", "exchange": "amq.direct"}
        keys = {"routing-keys": ["key", "other"], "original-expiration": "1500"}
        self.assertEqual(death, died | keys)
        first = {f"x-first-death-{n}": died[n] for n in ("reason", "queue", "exchange")}
        self.assertEqual(told, {"mine": 1, **first})

    def test_counted(self) -> None:
        """
        Each queue and reason is there once, the latest first.
        """
        self.queue(dead_letter_routing_key="again")
        self.queue("again", dead_letter_routing_key="q")
        self.fill(1)
        for queue in ("q", "again", "q"):
            self.reject(queue)
        got = self.call("basic.get", queue="again")
        deaths = got.properties["headers"]["x-death"]
        found = [(each["queue"], each["count"], each["reason"]) for each in deaths]
        self.assertEqual(found, [("q", 2, "rejected"), ("again", 1, "rejected")])

    def test_its_own_key(self) -> None:
        """
        Without a key for dead letters each keeps its own, and C{CC}.
        """
        self.queue(dead_letter_exchange="amq.topic", dead_letter_routing_key="x")
        self.declare("own", dead_letter_exchange="amq.topic")
        for key in ("x", "own", "other"):
            given = {"queue": "dead", "exchange": "amq.topic", "routing_key": key}
            self.call("queue.bind", **given)
        for queue, key in (("q", "x"), ("own", "own")):
            self.fill(1, queue, headers={"CC": ["other"]})
            self.reject(queue)
            got = self.call("basic.get", queue="dead")
            self.assertEqual(got["routing_key"], key)
            kept = got.properties["headers"].get("CC")
            self.assertEqual(kept, ["other"] if queue == "own" else None)


class ExpiryTests(LettersTestCase):
    """
    When messages expire.
    """

    def test_to_the_moment(self) -> None:
        self.queue()
        self.fill(1, expiration="2000")
        self.peer.turn(1.75)
        self.assertEqual(self.depths(), {"dead": 0, "q": 1})
        self.peer.turn(0.25)
        self.assertEqual(self.depths(), {"dead": 1, "q": 0})

    def test_shorter_time(self) -> None:
        """
        The shorter one counts: the queue's, or the message's.
        """
        for own, ttl, seconds in (
            (None, 2_000, 2),
            ("3000", 2_000, 2),
            ("2000", 3_000, 2),
            ("2000", 2_000, 2),
            ("2000", None, 2),
        ):
            given: dict[str, Any] = {} if ttl is None else {"message_ttl": ttl}
            self.queue(**given)
            self.fill(1, **({} if own is None else {"expiration": own}))
            self.peer.turn(seconds - 0.5)
            self.assertEqual(self.bodies(), "", (own, ttl))
            self.peer.turn(0.5)
            self.assertEqual(self.bodies(), "0", (own, ttl))
            self.call("queue.delete", queue="q")

    def test_at_once(self) -> None:
        """
        A time to live of 0 is for a consumer that takes the message at once.
        """
        for kind in ("own", "queue"):
            of_queue: dict[str, Any] = {"message_ttl": 0} if kind == "queue" else {}
            self.queue(**of_queue)
            given: dict[str, Any] = {"expiration": "0"} if kind == "own" else {}
            self.fill(1, **given)
            self.assertEqual(self.bodies(), "0")
            self.call("basic.consume", queue="q", no_ack=True)
            self.fill(1, **given)
            (delivered,) = self.peer.take("basic.deliver")
            self.assertEqual(delivered.body, b"0")
            self.assertEqual(self.bodies(), "")
            self.call("queue.delete", queue="q")

    def test_behind_one_that_does_not(self) -> None:
        """
        A message that has expired goes when it is the head; no consumer gets it.
        """
        self.queue()
        self.peer.publish("q", b"a")
        self.peer.publish("q", b"b", expiration="1000")
        self.peer.publish("q", b"c")
        self.peer.turn(2)
        self.assertEqual(self.depths(), {"dead": 0, "q": 3})
        got = self.call("basic.get", queue="q", no_ack=True)
        self.assertEqual((got.body, got["message_count"]), (b"a", 1))
        self.assertEqual((self.bodies(), self.bodies("q")), ("b", "c"))

    def test_not_for_a_consumer(self) -> None:
        self.queue()
        self.peer.publish("q", b"a")
        self.peer.publish("q", b"b", expiration="1000")
        self.peer.publish("q", b"c")
        self.peer.turn(2)
        self.call("basic.qos", prefetch_count=2)
        self.call("basic.consume", queue="q")
        found = [each.body for each in self.peer.take("basic.deliver")]
        self.assertEqual((found, self.bodies()), ([b"a", b"c"], "b"))

    def test_given_back(self) -> None:
        """
        What has expired while a consumer had it goes when it is given back.
        """
        self.queue()
        self.fill(1, expiration="1000")
        self.call("basic.get", queue="q")
        self.peer.turn(5)
        self.assertEqual(self.depths(), {"dead": 0, "q": 1})
        self.call("basic.nack", delivery_tag=1)
        self.assertEqual(self.depths(), {"dead": 1, "q": 0})

    def test_many_at_once(self) -> None:
        """
        However many expire at a time, all go on in their order, by the hundred.
        """
        self.queue()
        self.fill(250, expiration="1000")
        gathered = self.gathered()
        self.peer.turn(1)
        hundred = [*range(99, -1, -1)]
        self.assertEqual(gathered, hundred * 2 + hundred[50:])
        self.assertEqual(self.bodies(), "".join(map(str, range(250))))

    def test_no_alarm_is_left(self) -> None:
        """
        With its queue goes what was to be done for it in time.
        """
        calls = len(self.clock.getDelayedCalls())
        self.queue(expires=90_000, message_ttl=60_000)
        self.fill(2)
        self.call("queue.delete", queue="q")
        self.peer.turn(1)
        self.assertEqual(len(self.clock.getDelayedCalls()), calls)
        self.assertIsNone(self.broker._timers.next)


class AtLeastOnceTests(LettersTestCase):
    """
    A quorum queue that keeps its dead letters until each is where it is to go.
    """

    def queue(self, name: str = "q", **arguments: Any) -> None:
        given = {"queue_type": "quorum", "overflow": "reject-publish"}
        given["dead_letter_strategy"] = "at-least-once"
        super().queue(name, **{**given, **arguments})

    def waiting(self) -> int:
        """
        How many wait.
        """
        return len(self.broker.vhosts["/"].queues["q"].stranded)

    def test_no_exchange_yet(self) -> None:
        self.queue(dead_letter_exchange="x")
        self.fill(2)
        self.reject(number=2)
        self.peer.turn(1.5)
        self.assertEqual(self.waiting(), 2)
        self.call("exchange.declare", exchange="x")
        self.peer.turn(0.25)
        self.assertEqual(self.waiting(), 2)
        self.call("queue.bind", queue="dead", exchange="x", routing_key="dead")
        self.assertEqual(self.bodies(), "")
        self.peer.turn(0.25)
        self.assertEqual((self.waiting(), self.bodies()), (0, "01"))

    def test_no_queue_yet(self) -> None:
        self.queue(dead_letter_routing_key="later")
        self.fill(1)
        self.reject()
        for _ in range(3):
            self.peer.turn(2)
            self.assertEqual(self.waiting(), 1)
        self.declare("later")
        self.peer.turn(2)
        self.assertEqual((self.waiting(), self.bodies("later")), (0, "0"))
        self.assertIsNone(self.broker._timers.next)

    def test_many(self) -> None:
        """
        However many wait, all go on in their order, by the hundred.
        """
        self.queue(dead_letter_routing_key="later")
        self.fill(250)
        self.reject(number=250)
        self.assertEqual(self.waiting(), 250)
        self.declare("later")
        gathered = self.gathered()
        self.peer.turn(2)
        hundred = [*range(99, -1, -1)]
        self.assertEqual(gathered, hundred * 2 + hundred[50:])
        self.assertEqual(self.bodies("later"), "".join(map(str, range(250))))

    def test_its_queue_deleted(self) -> None:
        """
        They go with their queue.
        """
        self.queue(dead_letter_routing_key="later")
        self.fill(1)
        self.reject()
        self.call("queue.delete", queue="q")
        self.assertIsNone(self.broker._timers.next)
        self.assertEqual(self.memory.entries, {})

    def test_its_queue_still_known(self) -> None:
        """
        They are let go although a client still has another message of their queue.
        """
        self.queue(dead_letter_routing_key="later")
        self.fill(2)
        self.reject()
        self.call("basic.get", queue="q")
        waiting = weakref.ref(self.broker.vhosts["/"].queues["q"].stranded[0])
        self.call("queue.delete", queue="q")
        gc.collect()
        self.assertIsNone(waiting())

    def test_only_where_it_may_refuse(self) -> None:
        """
        A queue that drops its head keeps no dead letters.
        """
        for arguments in (
            {"overflow": "drop-head"},
            {"dead_letter_strategy": "at-most-once"},
        ):
            self.queue(dead_letter_routing_key="later", **arguments)
            self.fill(1)
            self.reject()
            self.assertEqual(self.waiting(), 0)
            self.call("queue.delete", queue="q")

    def test_in_circles(self) -> None:
        """
        One that would go in circles is removed.
        """
        self.queue(dead_letter_routing_key="q", message_ttl=1_000)
        self.fill(1)
        self.peer.turn(5)
        self.assertEqual((self.waiting(), self.depths()), (0, {"dead": 0, "q": 0}))


class PagingTests(LettersTestCase):
    """
    Messages that only the journal has, since there are too many for the memory.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(_routing, "MOST_RESIDENT", 2_000)
        self.reads: list[int] = []
        read = self.memory.read

        def counted(ids: Any) -> Any:
            ids = list(ids)
            self.reads.append(len(ids))
            return read(ids)

        self.patch(self.memory, "read", counted)

    def test_bounded(self) -> None:
        """
        So much is in memory, and all of it comes in its order.
        """
        self.declare("q")
        self.fill(20)
        self.assertLessEqual(self.broker._router.resident, 2_000)
        self.assertGreater(self.broker._router.resident, 1_000)
        self.assertEqual(self.bodies("q"), "".join(map(str, range(20))))
        self.assertEqual(self.broker._router.resident, 0)

    def test_read_together(self) -> None:
        """
        What is read with the next one has so many bytes, and is so many.
        """
        self.declare("q")
        for _ in range(20):
            self.peer.publish("q", bytes(500))
        self.assertEqual(self.bodies("q"), "\0" * 10_000)
        self.assertLess(len(self.reads), 10)
        self.assertGreater(max(self.reads), 2)
        self.patch(_routing, "READ_AHEAD", 1)
        self.reads.clear()
        self.fill(20)
        self.bodies("q")
        self.assertEqual(max(self.reads), 2)

    def test_in_memory_already(self) -> None:
        """
        What is in memory is neither read nor counted again, behind what is not.
        """
        self.declare("q")
        self.fill(20)
        self.call("basic.get", queue="q", no_ack=True)
        self.peer.publish("q", b"kept")
        self.peer.publish("q", b"transient", delivery_mode=1)
        rest = "".join(map(str, range(1, 20)))
        self.assertEqual(self.bodies("q"), rest + "kepttransient")
        self.assertLess(sum(self.reads), 19)
        self.assertEqual(self.broker._router.resident, 0)

    def test_nothing_to_be_read(self) -> None:
        """
        What is purged, or goes with its queue, is not read again.
        """
        self.declare("q")
        for end in ("queue.purge", "queue.delete"):
            self.fill(20)
            self.call(end, queue="q")
            self.assertEqual(self.broker._router.resident, 0)
            self.assertEqual(self.memory.entries, {})
        self.assertEqual(self.reads, [])

    def test_dead_letters(self) -> None:
        self.queue(message_ttl=1_000)
        self.fill(20)
        self.peer.turn(1)
        self.assertEqual(self.bodies(), "".join(map(str, range(20))))

    def test_given_back(self) -> None:
        self.declare("q")
        self.fill(20)
        for _ in range(20):
            self.call("basic.get", queue="q")
        self.call("basic.nack", multiple=True)
        self.assertEqual(self.bodies("q"), "".join(map(str, range(20))))
