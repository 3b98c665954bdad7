"""
Tests for L{quebert.amqp.watch._properties}, seen from a whole watch.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import capturedLogs, formatEvent

from quebert.amqp.queues import KIND, REASON
from quebert.amqp.wire import DELAY, ENDS, FLIGHT, NOT_BEFORE
from quebert.outcome import POISON, Bury, Retry
from quebert.test.test_settlement import SettlementTestCase


class RetryTests(SettlementTestCase):
    """
    Messages that are put back.
    """

    def test_hardly_late(self) -> None:
        """
        What is due within a millisecond needs no delay.
        """
        self.watcher.stop(0)
        self.begin(hold_up_to=0)
        for after, is_delayed in ((0.0005, False), (0.002, True)):
            self.outcome(Retry(after=after))
            publication = self.publications[-1]
            self.assertEqual(publication.exchange != "", is_delayed)
            self.assertEqual(NOT_BEFORE in publication.headers, is_delayed)
            self.confirm()

    def test_priority(self) -> None:
        """
        What waits in the broker has no higher priority than may wait there; what goes
        back at once has its own.
        """
        self.client.ladder.highest = 4
        for after, priority in ((60, 4), (0, 9)):
            self.outcome(Retry(after=after), priority=9)
            self.assertEqual(self.publications[-1].properties["priority"], priority)
            self.confirm()


class CopyTests(SettlementTestCase):
    """
    Copies that take the places of messages that were not attempted.
    """

    options = {"exchange": ""}

    def test_priority(self) -> None:
        """
        A copy has the priority of the message; one that waits in the broker has none
        that may not wait there.
        """
        self.client.ladder.highest = 4
        for ends, priority in ((3, 4), (1, 9)):
            headers = {ENDS: ends, FLIGHT: "a" * 32}
            self.deliver(headers=headers, redelivered=True, priority=9)
            self.assertEqual(self.publications[-1].properties["priority"], priority)
            self.confirm()

    def test_due(self) -> None:
        """
        A copy that waits tells until when, and another does not.
        """
        for ends, is_told in ((3, True), (1, False)):
            self.deliver(headers={ENDS: ends, FLIGHT: "a" * 32}, redelivered=True)
            headers = self.publications[-1].headers
            self.assertEqual({NOT_BEFORE, DELAY} <= headers.keys(), is_told)
            self.confirm()


class DeadLetterTests(SettlementTestCase):
    """
    Messages that are buried.
    """

    def test_no_room_and_copies(self) -> None:
        """
        Whatever a message leaves no room for, it is buried without the headers for
        which RabbitMQ would copy it, or drop it.
        """
        nested: Any = []
        for _ in range(90):
            nested = [nested]
        for headers in ({"mine": "x" * 131_000}, {"mine": nested}):
            headers = {**headers, "CC": ["queue"], "BCC": ["queue"]}
            self.at_once[b"task"] = Bury("no task", POISON)
            self.deliver(b"task", headers, expiration="4000")
            self.confirm()
            buried = self.client.publisher.publications[-1]
            self.assertEqual(buried.routing_key, "queue.dead")
            self.assertNotIn("expiration", buried.properties)
            self.assertEqual(set(buried.headers) & {"CC", "BCC"}, set())
            self.assertEqual(buried.headers.get(KIND, POISON), POISON)

    def test_unwritable_reason(self) -> None:
        """
        A reason that UTF-8 cannot hold is told all the same, on one line.
        """
        self.at_once[b"task"] = Bury("no \ud800\x1b[31m\n" + "x" * 10_000, POISON)
        with capturedLogs() as events:
            self.deliver()
            self.confirm()
        (publication,) = self.client.publisher.publications
        self.assertTrue(publication.headers[REASON].startswith("no \\ud800"))
        told = [formatEvent(each) for each in events]
        self.assertEqual(len(told), 1)
        self.assertTrue(told[0].isprintable())
        self.assertLess(len(told[0]), 1_200)
