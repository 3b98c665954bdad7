"""
Tests for L{quebert.amqp.delays._due}.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.properties import encode_properties
from quebert.amqp.delays._due import due_in, next_wait, seconds_left
from quebert.amqp.wire import DELAY, NOT_BEFORE, Message

HOUR, DAY = 3600.0, 86400.0


class LeftTests(SynchronousTestCase):
    """
    In how many seconds a message is due that comes from a rung.
    """

    def check(self, wanted: float, **how: float) -> None:
        """
        A message began to wait 10 s ago, when it was due in C{delay} seconds, in a rung
        of C{wait} seconds; since then the clock was set.
        """
        told = {"delay": 10.0, "wait": 10.0, "since": 10.0, "was_set": 0.0, **how}
        began, known = 1e9, told.get("known", told["was_set"])
        now = began + told["since"] + told["was_set"]
        left = seconds_left(
            began + told["delay"], told["delay"], told["wait"], now, known
        )
        self.assertAlmostEqual(left, wanted, 5)

    def test_in_time(self) -> None:
        """
        It is due, or has the rest to wait.
        """
        self.check(0.0)
        self.check(-0.5, wait=11, since=10.5)
        self.check(36.0, delay=100, wait=64, since=64)

    def test_shortened(self) -> None:
        """
        A policy has shortened its wait, or RabbitMQ was down.
        """
        self.check(9.0, since=1)
        self.check(99.0, delay=100, wait=64, since=1)
        self.check(-90.0, since=100)
        self.check(10.0, delay=100, wait=64, since=90)

    def test_clock_set(self) -> None:
        """
        The clock was set, as is known, while it waited or before.
        """
        for was_set in (-DAY, -HOUR, HOUR, DAY):
            self.check(0.0, was_set=was_set)
            self.check(36.0, delay=100, wait=64, since=64, was_set=was_set)
            self.check(9.0, since=1, was_set=was_set)
            self.check(9.0, since=1, was_set=0, known=was_set)

    def test_clock_set_unknown(self) -> None:
        """
        The clock was set back, in another process or before this one began.
        """
        for was_set in (-DAY, -HOUR):
            self.check(0.0, was_set=was_set, known=0)
            self.check(36.0, delay=100, wait=64, since=64, was_set=was_set, known=0)

    def test_no_rung(self) -> None:
        """
        Where nothing tells of its wait, the time of day decides.
        """
        self.check(9.0, since=1, delay=10, wait=0)

    def test_tolerance(self) -> None:
        """
        Of two times that differ from the wait by no more than a second, the earlier one
        is believed, and none that differs by more.
        """
        for clock, was_set, wanted in (
            (35.0, 0.0, 35.0),
            (34.9, 0.0, 34.9),
            (101.0, 0.0, 101.0),
            (102.0, 0.0, 36.0),
            (50.0, -10.0, 40.0),
            (50.0, 10.0, 50.0),
            (0.0, 35.0, 35.0),
            (0.0, 34.9, 36.0),
            (0.0, 101.0, 101.0),
            (0.0, 101.1, 36.0),
        ):
            left = seconds_left(clock, 100.0, 64.0, 0.0, was_set)
            self.assertEqual(left, wanted, (clock, was_set))

    def test_clock_of_rabbitmq(self) -> None:
        """
        Where RabbitMQ's clock has more left than ours, it is believed as far as that
        can be; otherwise ours is.
        """
        for clock, broker, wanted in (
            (-90.0, 20.0, 20.0),
            (-90.0, 36.0, 36.0),
            (-90.0, 38.0, 36.0),
            (-90.0, 38.1, -90.0),
            (-90.0, -90.0, -90.0),
            (-90.0, -100.0, -90.0),
            (200.0, 37.0, 36.0),
        ):
            due, now = 1e6, 1e6 - clock
            left = seconds_left(due, 100.0, 64.0, now, 0.0, due - broker)
            self.assertAlmostEqual(left, wanted, 5, (clock, broker))


class MessageLeftTests(SynchronousTestCase):
    """
    In how many seconds a message is due, by its headers, and how long it waits next.
    """

    def message(self, **told: Any) -> Message:
        """
        A message that is due at 1,000 s, and died in the rung of C{wait} seconds at
        C{died} by RabbitMQ's clock.
        """
        told = {"delay": 10.0, "wait": 10, "died": 1000, **told}
        queue = f"quebert.delay.wait.{told['wait']}s"
        death = {"queue": queue, "time": datetime.fromtimestamp(told["died"], UTC)}
        headers = {NOT_BEFORE: 1000.0, DELAY: told["delay"], "x-death": [death]}
        message = Message("", 1, False, "", "queue")
        message.encoded_properties = encode_properties({"headers": headers})
        return message

    def test_no_headers_of_ours(self) -> None:
        self.assertEqual(due_in(Message("", 1, False, "", "queue"), -5.0, 3.0), 0.0)

    def test_left(self) -> None:
        for now, clock_set, told, wanted in (
            (1000.0, 0.0, {}, 0.0),
            (1005.0, 0.0, {}, 0.0),
            (1000.0, 0.0, {"delay": 9.5}, 0.0),
            (999.5, 0.0, {}, 0.5),
            (991.0, 0.0, {}, 9.0),
            (1005.0, 5.0, {}, 0.0),
            (1100.0, 100.0, {"wait": 4}, 6.0),
            (1100.0, 0.0, {"wait": 4}, 0.0),
            (1100.0, 0.0, {"wait": 4, "died": 1100}, -100.0),
            (1100.0, 0.0, {"wait": 4, "died": 995}, 5.0),
            (1100.0, 0.0, {"delay": 0.0}, 0.0),
            (1100.0, 0.0, {"delay": -1.0}, 0.0),
            (990.0, 0.0, {"delay": 0.0}, 10.0),
        ):
            found = due_in(self.message(**told), now, clock_set)
            self.assertEqual(found, wanted, (now, clock_set, told))

    def test_next_wait(self) -> None:
        """
        A message of which only our clock says that it is due sooner waits for a second
        first, unless it comes from a shorter wait.
        """
        for now, seconds, told, wanted in (
            (990.0, 10.0, {}, 10.0),
            (991.0, 10.0, {}, 10.0),
            (991.1, 10.0, {}, 1.0),
            (995.0, 10.0, {"wait": 11}, 1.0),
            (995.0, 10.0, {"delay": 9.5}, 1.0),
            (995.0, 10.0, {"wait": 9}, 10.0),
            (995.0, 10.0, {"delay": 10.5}, 10.0),
        ):
            found = next_wait(self.message(**told), now, seconds)
            self.assertEqual(found, wanted, (now, seconds, told))
