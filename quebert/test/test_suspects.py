"""
What mediators know of each other's attempts (L{Suspects}), with an embedded broker in
memory.
"""

from __future__ import annotations

from typing import Any

from quebert._protocol.properties import encode_properties
from quebert.amqp.watch import _suspects
from quebert.amqp.watch._suspects import PERIOD, Suspects, flight_sign, in_order_sign
from quebert.amqp.wire import ENDS, Message
from quebert.amqp.wire import FLIGHT as FLIGHT_HEADER
from quebert.test.memory_network import NetworkTestCase, RefusingWire
from quebert.test.support import logged

FLIGHT = "0123456789abcdef"


def in_flight(flight: str) -> Message:
    """
    A copy that a mediator has published.
    """
    message = Message("consumer", 1, False, "", "queue")
    headers = {ENDS: 1, FLIGHT_HEADER: flight}
    message.encoded_properties = encode_properties({"headers": headers})
    return message


class SuspectsTestCase(NetworkTestCase):
    """
    Two mediators.

    @ivar now: the time of day of both.
    """

    now = 0.0

    def setUp(self) -> None:
        super().setUp()
        self.ours = Suspects(lambda: self.network, lambda: self.now)
        self.others = Suspects(lambda: self.network, lambda: self.now)
        for each in (self.ours, self.others):
            self.addCleanup(each.warn_no_more)


class AttemptTests(SuspectsTestCase):
    """
    The sign that a message is attempted alone.
    """

    def test_of_another(self) -> None:
        """
        Who attempts it does not take the sign for the end of another mediator; others
        do, until the attempt has ended.
        """
        self.result(self.ours.begin(self.wire, FLIGHT))
        self.assertFalse(self.result(self.ours.ended(self.wire, FLIGHT)))
        self.assertTrue(self.result(self.others.ended(self.wire, FLIGHT)))
        self.result(self.ours.end(self.wire, FLIGHT))
        self.assertFalse(self.result(self.others.ended(self.wire, FLIGHT)))

    def test_after_ours(self) -> None:
        """
        After our own attempt, a sign is another mediator's.
        """
        self.result(self.ours.begin(self.wire, FLIGHT))
        self.result(self.ours.end(self.wire, FLIGHT))
        self.result(self.others.begin(self.wire, FLIGHT))
        self.assertTrue(self.result(self.ours.ended(self.wire, FLIGHT)))

    def test_refused(self) -> None:
        """
        So it is where we may not make the sign.
        """
        sign = flight_sign(FLIGHT)
        wire: Any = RefusingWire(self.wire, sign)
        self.result(self.ours.begin(wire, FLIGHT))
        self.assertEqual(self.depths(), {})
        self.result(self.others.begin(self.wire, FLIGHT))
        self.assertTrue(self.result(self.ours.ended(self.wire, FLIGHT)))
        self.result(self.ours.end(self.wire, FLIGHT))
        self.assertEqual(list(self.depths()), [sign])

    def test_connection_lost(self) -> None:
        """
        A sign whose attempt was interrupted goes with the next connection.
        """
        self.result(self.ours.begin(self.wire, FLIGHT))
        self.network.cut()
        self.network.settle()
        self.result(self.ours.end(self.wire, FLIGHT))
        self.wire = self.connect()
        self.assertEqual(list(self.depths()), [flight_sign(FLIGHT)])
        self.result(self.ours.reconnected(self.wire))
        self.assertEqual(self.depths(), {})

    def test_ended_once(self) -> None:
        """
        A sign that was deleted, or may not be, is not deleted again with the next
        connection: it may be another mediator's then.
        """
        refusing: Any = RefusingWire(self.wire, flight_sign(FLIGHT))
        for wire in (self.wire, refusing):
            self.result(self.ours.begin(self.wire, FLIGHT))
            self.result(self.ours.end(wire, FLIGHT))
            self.result(self.others.begin(self.wire, FLIGHT))
            self.result(self.ours.reconnected(self.wire))
            self.assertEqual(list(self.depths()), [flight_sign(FLIGHT)])

    def test_without_a_name(self) -> None:
        """
        A message that has no name has no sign, and is nobody's.
        """
        self.result(self.ours.begin(self.wire, ""))
        self.assertEqual(self.depths(), {})
        self.result(self.others.begin(self.wire, FLIGHT))
        self.assertFalse(self.result(self.ours.ended(self.wire, "")))

    def test_of_another_while_ours_is_not_begun(self) -> None:
        """
        Who has not begun an attempt leaves its sign alone.
        """
        self.result(self.others.begin(self.wire, FLIGHT))
        self.result(self.ours.end(self.wire, FLIGHT))
        self.assertEqual(list(self.depths()), [flight_sign(FLIGHT)])

    def test_counted(self) -> None:
        """
        An end that is counted is told to nobody else.
        """
        self.result(self.others.begin(self.wire, FLIGHT))
        self.result(self.ours.counted(self.wire, FLIGHT))
        self.assertEqual(self.depths(), {})

    def test_interrupted(self) -> None:
        """
        The next connection removes the signs of attempts that the loss of a channel has
        interrupted, and no others.
        """
        flights = "a" * 32, "b" * 32
        for each in flights:
            self.result(self.ours.begin(self.wire, each))
        self.ours.interrupted([in_flight(flights[0]), in_flight("c" * 32)])
        self.result(self.ours.reconnected(self.wire))
        self.assertEqual(list(self.depths()), [flight_sign(flights[1])])

    def test_expires(self) -> None:
        """
        A sign that nobody asks for is gone after a day.
        """
        self.result(self.ours.begin(self.wire, FLIGHT))
        day = 24 * 3600
        self.network.settle(day - 1)
        self.assertEqual(list(self.depths()), [flight_sign(FLIGHT)])
        self.network.settle(2)
        self.assertEqual(self.depths(), {})


class HadTests(SuspectsTestCase):
    """
    What this mediator had on channels that it has lost.
    """

    def test_once(self) -> None:
        """
        A message that it had is known once: the next loss is another.
        """
        first, second = "a" * 32, "b" * 32
        self.ours.interrupted([in_flight(first), in_flight(second)])
        self.assertTrue(self.ours.had(first))
        self.assertFalse(self.ours.had(first))
        self.assertTrue(self.ours.had(second))

    def test_without_a_name(self) -> None:
        """
        Messages without names are not told from each other.
        """
        self.ours.interrupted([in_flight("no name")])
        self.assertFalse(self.ours.had(""))

    def test_so_many(self) -> None:
        """
        Of many, the last ones are remembered.
        """
        self.patch(_suspects, "_REMEMBERED", 2)
        flights = [letter * 32 for letter in "abc"]
        self.ours.interrupted([in_flight(each) for each in flights])
        self.assertEqual([self.ours.had(each) for each in flights], [False, True, True])


class InOrderTests(SuspectsTestCase):
    """
    The sign that messages were given back in good order.
    """

    now = 1000 * PERIOD + 10.0

    def in_order(self, who: Suspects, *, once: bool = False) -> bool:
        """
        Whether messages of the queue were, as a mediator sees it.
        """
        return self.result(who.in_order(self.wire, "queue", once=once))

    def test_names(self) -> None:
        """
        Mediators of all versions call the signs the same.
        """
        self.assertEqual(flight_sign("a"), "quebert.flight.a")
        for when, name in (
            (0.0, "quebert.in-order.queue.0"),
            (59.9, "quebert.in-order.queue.0"),
            (60.0, "quebert.in-order.queue.1"),
            (6000.0, "quebert.in-order.queue.100"),
        ):
            self.assertEqual(in_order_sign("queue", when), name)

    def test_for_two_periods(self) -> None:
        """
        It counts in this period and in the next.
        """
        self.result(self.others.end_in_order(self.wire, "queue"))
        for periods, is_told in ((0, True), (1, True), (2, False)):
            self.now = type(self).now + periods * PERIOD
            self.assertIs(self.in_order(self.ours), is_told, periods)

    def test_expires(self) -> None:
        """
        The signs are gone after twice as long.
        """
        self.result(self.others.end_in_order(self.wire, "queue"))
        self.assertEqual(len(self.depths()), 2)
        self.network.settle(2 * PERIOD - 1)
        self.assertEqual(len(self.depths()), 2)
        self.network.settle(2)
        self.assertEqual(self.depths(), {})

    def test_any_number_of_times(self) -> None:
        """
        Where RabbitMQ counts deliveries, the signs stay for all mediators.
        """
        self.result(self.others.end_in_order(self.wire, "queue"))
        for each in (self.ours, self.ours, self.others):
            self.assertTrue(self.in_order(each))
        self.assertEqual(len(self.depths()), 2)

    def test_once(self) -> None:
        """
        Where it does not, the mediator that finds them deletes them, and remembers them
        for this period and the next.
        """
        self.result(self.others.end_in_order(self.wire, "queue"))
        self.assertTrue(self.in_order(self.ours, once=True))
        self.assertEqual(self.depths(), {})
        self.assertFalse(self.in_order(self.others, once=True))
        for periods, is_told in ((0, True), (1, True), (2, False)):
            self.now = type(self).now + periods * PERIOD
            self.assertIs(self.in_order(self.ours, once=True), is_told, periods)

    def test_of_another_queue(self) -> None:
        """
        It tells nothing of other queues.
        """
        self.result(self.others.end_in_order(self.wire, "another"))
        self.assertFalse(self.in_order(self.ours))

    def test_asked_together(self) -> None:
        """
        All that ask at the same time get one answer; who asks later asks anew.
        """
        first, second = (
            self.begin(self.ours.in_order(self.wire, "queue", once=False))
            for _ in range(2)
        )
        self.network.settle()
        self.assertEqual([self.result(each) for each in (first, second)], [False] * 2)
        self.result(self.others.end_in_order(self.wire, "queue"))
        self.assertTrue(self.in_order(self.ours))


class CopyingTests(SuspectsTestCase):
    """
    Copies whose originals RabbitMQ may still have.
    """

    def test_waits(self) -> None:
        """
        Who wants to attempt a copy waits until the block is over, however it ends.
        """

        def fail() -> None:
            with self.ours.copying("a"):
                waiting.append(self.begin(self.ours.copied("a")))
                self.assertTrue(self.ours.is_copying("a"))
                self.assertFalse(self.ours.is_copying("b"))
                self.successResultOf(self.begin(self.ours.copied("b")))
                self.assertNoResult(waiting[0])
                raise ValueError

        waiting: list[Any] = []
        self.assertRaises(ValueError, fail)
        self.successResultOf(waiting[0])
        self.assertFalse(self.ours.is_copying("a"))


class WarningTests(SuspectsTestCase):
    """
    What RabbitMQ does not let a mediator do is told, and that it does so again.
    """

    def check_told(self, what: str, sign: str, ask: Any, name: str) -> None:
        """
        Whoever may not touch a sign tells so once, without its changing name; and when
        that is over.
        """
        refusing: Any = RefusingWire(self.wire, sign)
        with logged() as lines:
            self.result(ask(refusing, name))
            self.result(ask(refusing, name))
            (line,) = lines
            self.assertIn(f"RabbitMQ does not let this mediator {what}", line)
            self.assertIn("docs/reliability.rst", line)
            self.assertIn(sign.rpartition(".")[0] + ".…'", line)
            self.result(ask(self.wire, name))
            self.network.pass_time(10)
        self.assertEqual(len(lines), 2)
        self.assertIn(f"RabbitMQ lets this mediator {what} again", lines[1])

    def test_attempt(self) -> None:
        """
        That a task is attempted alone.
        """
        flight = "a" * 32
        what = "tell that it attempts a task alone"
        self.check_told(what, flight_sign(flight), self.ours.begin, flight)

    def test_look(self) -> None:
        """
        How another mediator has ended.
        """
        flight = "a" * 32
        what = "look how another mediator has ended"
        self.check_told(what, flight_sign(flight), self.ours.ended, flight)

    def test_give(self) -> None:
        """
        That messages are given back in good order.
        """
        what = "tell that it gives messages back in good order"
        sign = in_order_sign("queue", self.now)
        self.check_told(what, sign, self.ours.end_in_order, "queue")

    def test_lost(self) -> None:
        """
        A connection that is lost is told elsewhere.
        """
        self.network.cut()
        self.network.settle()
        with logged() as lines:
            self.result(self.ours.begin(self.wire, FLIGHT))
            self.result(self.ours.end_in_order(self.wire, "queue"))
            self.assertFalse(self.result(self.others.ended(self.wire, FLIGHT)))
        self.assertEqual(lines, [])
        self.wire = self.connect()

    def test_no_more(self) -> None:
        """
        At the end all warnings are forgotten, and nothing is left to do later.
        """
        refusing: Any = RefusingWire(self.wire, flight_sign(FLIGHT))
        self.result(self.ours.begin(refusing, FLIGHT))
        self.assertNotEqual(self.network.getDelayedCalls(), [])
        self.ours.warn_no_more()
        self.assertEqual(self.network.getDelayedCalls(), [])
